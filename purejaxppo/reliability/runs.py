"""The record that studies, tables and other libraries' files are read into."""

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """The runs of one algorithm on one task.

    Attributes:
        algorithm: what was run, the same for all its tasks.
        task: what it was run on.
        env_steps: `[time]`, increasing; environment steps at each point of a curve.
        curves: `[runs, time]` returns, NaN where nothing was observed.
        seeds: `[runs]` integers that tell the runs apart; 0, 1, ... if not known.
        finite: `[runs]` bools, whether all updates of a run were finite; `None` if
            nobody recorded it.
        rollouts: `[runs, episodes]` returns of each run's final policy; `None` if there
            was no evaluation.
        gaps: whether runs have no row at some of the steps, as in a log with a row an
            episode: a NaN between two observations then stands for the one before it
            where values are to count by steps; see `grids.filled`.
        normalized: whether the returns were normalised before they were read, so that 0
            and 1 are what they are to be compared with.
    """

    algorithm: str
    task: str
    env_steps: np.ndarray
    curves: np.ndarray
    seeds: np.ndarray
    finite: np.ndarray | None = None
    rollouts: np.ndarray | None = None
    gaps: bool = False
    normalized: bool = False


def check_runs(runs: Runs) -> Runs:
    """Return the record as it is, or refuse one whose shapes do not fit each other.

    Raises:
        ValueError: there is no run or no time; steps do not increase or are infinite; a
            shape does not fit the curves'.
    """
    if not isinstance(runs, Runs):
        raise ValueError(
            f"Expected runs to be a reliability.Runs (algorithm, task, env_steps, "
            f"curves, seeds, ...), got {type(runs).__name__}."
        )
    name = f"{runs.algorithm} on {runs.task}"
    if runs.curves.ndim != 2 or 0 in runs.curves.shape:
        raise ValueError(
            f"Expected curves of {name} to be [runs, time], with one run and one time "
            f"at least, got shape {runs.curves.shape}."
        )
    num_runs, num_times = runs.curves.shape
    if runs.env_steps.shape != (num_times,):
        raise ValueError(
            f"Expected env_steps of {name} to be [time] = ({num_times},), got shape "
            f"{runs.env_steps.shape}."
        )
    if not (np.diff(runs.env_steps) > 0).all():
        raise ValueError(f"Expected env_steps of {name} to increase.")
    if not np.isfinite(runs.env_steps).all():
        raise ValueError(f"Expected env_steps of {name} to be finite.")
    for field in ("seeds", "finite", "rollouts"):
        value = getattr(runs, field)
        if value is not None and len(value) != num_runs:
            raise ValueError(
                f"Expected {field} of {name} to be of {num_runs} runs, got "
                f"{len(value)}."
            )
    if runs.rollouts is not None and (
        np.ndim(runs.rollouts) != 2 or 0 in np.shape(runs.rollouts)
    ):
        raise ValueError(
            f"Expected rollouts of {name} to be [runs, episodes], with one episode at "
            f"least, got shape {np.shape(runs.rollouts)}."
        )
    return runs
