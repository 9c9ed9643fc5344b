"""Where runs come from: studies, read into records, and what is known of them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxppo.fields import flatten
from purejaxppo.reliability.records import Runs, check_runs
from purejaxppo.study import store

EVALUATION = "evaluation.zarr"

METRICS = {
    "episode_return": "training return",
    "evaluation_return": "evaluation return",
}
"""Recorded metrics that are returns, and what they are called."""


class Source(NamedTuple):
    """A study, or another place that runs were read from.

    Attributes:
        path: where they are.
        records: the runs, one for each algorithm and task.
        config: option -> value, those of the whole study; empty if not known.
        environment: versions, devices, date, status; empty if not known.
        notes: what is worth knowing of how they were read, a sentence each.
    """

    path: Path
    records: list[Runs]
    config: dict[str, Any]
    environment: dict[str, Any]
    notes: list[str]


def read_source(
    path: Path,
    *,
    metric: str = "episode_return",
    algorithm: str | None = None,
    rollouts: str = "sampled",
) -> Source:
    """Read runs and what is known of them.

    Args:
        path: a study's directory.
        metric: the recorded metric that is the curve.
        algorithm: its name; that of the directory if None.
        rollouts: whether they are those of "sampled" or of "greedy" actions.

    Raises:
        ValueError: there are no results, or not this metric.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        how = {"metric": metric, "algorithm": algorithm, "rollouts": rollouts}
        records = read(path, **how)
    config, environment = {}, {}
    if store.holds_study(path):
        job = store.read_job(path / store.CONFIG)
        config = {**job._asdict(), **flatten(job.config)}
        del config["config"]
        environment = store.read_environment(path)
    notes = [str(warning.message) for warning in caught]
    return Source(path, records, config, environment, notes)


def metrics_of(path: Path) -> list[str]:
    """Return which of `METRICS` a study has recorded."""
    results = store.read_results(path)
    return [name for name in METRICS if name in results]


def read_sources(
    paths: Sequence[Path], names: Sequence[str] | None = None, **how: Any
) -> list[Source]:
    """Read several sources, each under a name of its own if names are given.

    Raises:
        ValueError: as `read_source`; or there are not as many names as paths.
    """
    if names is not None and len(names) != len(paths):
        raise ValueError(
            f"Expected names to be one for each of the {len(paths)} paths, got "
            f"{len(names)}."
        )
    given = names or [None] * len(paths)
    return [
        read_source(path, algorithm=name, **how)
        for path, name in zip(paths, given, strict=True)
    ]


def read(
    path: Path, *, metric: str, algorithm: str | None, rollouts: str
) -> list[Runs]:
    """Read a study's runs: what `interchange.read` is for, and for much else."""
    results = store.read_results(path)
    if metric not in results:
        raise ValueError(f"Expected {path / store.RESULTS} to hold {metric}.")
    runs = Runs(
        algorithm=algorithm or path.resolve().name,
        task=results.attrs["env"],
        env_steps=results["env_steps"].values,
        curves=results[metric].values.astype(np.float64),
        seeds=results["seed"].values,
        finite=np.all(results["finite"].values, axis=1),
        rollouts=_rollouts(path, rollouts),
    )
    return [check_runs(runs)]


def _rollouts(path: Path, actions: str) -> np.ndarray | None:
    import xarray

    if not (path / EVALUATION).exists():
        return None
    played = xarray.open_zarr(path / EVALUATION, consolidated=False, chunks=None)
    return played[f"{actions}_return"].values.astype(np.float64)
