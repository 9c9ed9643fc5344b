"""What the readers share: rows of many runs become one record, and nothing is lost.

Rows are flat: run index, environment steps and value, one entry of each per row. Rows
at the same, equally spaced steps are a grid as they are, where a run is NaN at those it
has no row for. Others are brought to bins of equal width, see `reliability.grids`.
"""

import importlib
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from purejaxppo.reliability import grids
from purejaxppo.reliability.runs import Runs, check_runs

LARGEST = 2**28
"""Values that a grid may hold, 2 GiB of float64."""


class ReadingWarning(UserWarning):
    """What a reader of the numbers should know of how they were read."""


def warn(message: str) -> None:
    """Warn of one thing that was found while reading, in one line."""
    warnings.warn(message, ReadingWarning, stacklevel=2)


def says_normalized(name: str) -> bool:
    """Return whether a column, a tag or a file is called as one of normalised scores.

    >>> says_normalized("human_normalized_score"), says_normalized("normalised-returns")
    (True, True)
    >>> says_normalized("normalized_obs"), says_normalized("non_normalized_return")
    (False, False)
    """
    words = set(re.split("[^a-z]+", name.lower()))
    of_scores = {"score", "scores", "return", "returns", "performance", "human"}
    return bool(
        words & {"normalized", "normalised"}
        and words & of_scores
        and not words & {"not", "non", "un"}
    )


def gather(
    name: tuple[str, str],
    run: np.ndarray,
    env_steps: np.ndarray,
    value: np.ndarray,
    seeds: np.ndarray,
    points: int | None = None,
) -> Runs:
    """Make a record of rows on a regular grid, and warn of what was done for that.

    Rows of a run at one place become the mean of those that are not NaN.

    Args:
      name: algorithm and task.
      run: `[rows]` index of each row's run, in [0, runs).
      env_steps: `[rows]` whole numbers >= 0.
      value: `[rows]` floats, NaN where nothing was observed.
      seeds: `[runs]`; a run without a row is NaN throughout.
      points: number of bins; `None` for the steps as they are where they are a grid,
        and else `grids.POINTS`.

    Raises:
      ValueError: `points` is not in [1, last step]; the curves exceed `LARGEST`.
    """
    label = " on ".join(name)
    union = np.unique(env_steps)
    uneven = not grids.is_regular(union)
    in_bins = uneven or points is not None
    if in_bins:
        _check_points(points, int(union[-1]), label)
        grid, place = grids.bins(env_steps, points or grids.num_bins(union))
    else:
        grid, place = union, np.searchsorted(union, env_steps)
    shape = len(seeds), len(grid)
    lacking = _lacking(run, place, shape, label)
    if uneven and points is None:
        warn(
            f"Uneven: the runs of {label} were not all logged at the same, equally "
            f"spaced steps. Their curves are means of {len(grid)} bins of equal width; "
            f"{lacking.sum():,} of {lacking.size:,} values are NaN."
        )
    else:
        _warn_of(lacking, label, "bins" if in_bins else "steps")
    curves = grids.means(run, place, value, shape)
    gaps = in_bins or bool(lacking.any())
    return check_runs(Runs(*name, grid, curves, seeds, gaps=gaps))


def on_union(
    run: np.ndarray, steps: np.ndarray, value: np.ndarray, num_runs: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Bring rows to all steps that any run has, and warn of runs that lack some.

    Args:
      run: `[rows]` index of each row's run, in [0, `num_runs`).
      steps: `[rows]` whole numbers.
      value: `[rows]` floats, NaN where nothing was observed.
      num_runs: number of runs; one without a row is NaN throughout.
      name: what messages call the runs.

    Returns:
      Steps `[time]` and values `[num_runs, time]`.

    Raises:
      ValueError: the values exceed `LARGEST`.
    """
    union, place = np.unique(steps, return_inverse=True)
    shape = num_runs, len(union)
    _warn_of(_lacking(run, place, shape, name), name, "steps")
    return union, grids.means(run, place, value, shape)


def _check_points(points: int | None, last: int, label: str) -> None:
    if points is not None and not 1 <= points <= last:
        raise ValueError(
            f"Expected points to be in [1, {last}], the steps of {label}, got {points}."
        )


def _lacking(
    run: np.ndarray, place: np.ndarray, shape: tuple[int, int], name: str
) -> np.ndarray:
    """Return where a run has no row, or raise if there are too many places."""
    if np.prod(shape) > LARGEST:
        raise ValueError(
            f"Expected the curves of {name} to hold {LARGEST:,} values at most, got "
            f"{shape[0]:,} runs x {shape[1]:,} steps; points (--points 1000) makes "
            "1000 bins of them."
        )
    lacking = np.ones(shape, np.bool_)
    lacking[run, place] = False
    return lacking


def _warn_of(lacking: np.ndarray, name: str, places: str) -> None:
    if lacking.any():
        warn(
            f"Ragged: {lacking.any(axis=1).sum()} of the {len(lacking)} runs of {name} "
            f"lack a row at some of the {lacking.shape[1]:,} {places}; "
            f"{lacking.sum():,} of {lacking.size:,} values are NaN."
        )


def renamed(field: str, given: str | None, found: Iterable[str | None]) -> None:
    """Refuse one name for what has several.

    Raises:
      ValueError: a name is given, and more than one was found.
    """
    names = dict.fromkeys(name for name in found if name is not None)
    if given is not None and len(names) > 1:
        raise ValueError(
            f"Expected one {field} to be called {given!r}, got {', '.join(names)}."
        )


def distinct(records: list[Runs]) -> list[Runs]:
    """Return the records as they are, or refuse two of one algorithm on one task.

    Raises:
      ValueError: two records have the same names, or two runs of one the same seed; or
        a name has characters that do not print.
    """
    names = [(record.algorithm, record.task) for record in records]
    for name, record in zip(names, records, strict=True):
        if not "".join(name).isprintable():
            raise ValueError(
                "Names of algorithms and tasks must consist of characters that print, "
                f"but one is {name[0]!r} on {name[1]!r}."
            )
        if names.count(name) > 1:
            raise ValueError(
                f"Expected each algorithm to be there once on each task, got "
                f"{name[0]} on {name[1]} {names.count(name)} times; algorithm "
                "(--names) tells them apart."
            )
        seeds, count = np.unique(record.seeds, return_counts=True)
        if (count > 1).any():
            raise ValueError(
                f"Expected the runs of {name[0]} on {name[1]} to have seeds of their "
                f"own, got seed {seeds[count > 1][0]} {count.max()} times."
            )
    return records


def require(package: str, extra: str, path: Path) -> None:
    """Refuse to read or write a file without the package that does it.

    Raises:
      ValueError: the package is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        raise ValueError(
            f"Expected {package} to be installed for {path}, found none: "
            f'pip install "purejaxppo[{extra}]".'
        ) from None
