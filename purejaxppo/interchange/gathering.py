"""What the readers share: rows of many runs become one record, and nothing is lost.

Rows are flat: run index, environment steps and value, one entry of each per row. The
grid that runs with steps of their own are brought to is the union of all steps, where a
run is NaN at those it has no row for; or so many bins of equal width over [0, last
step]: bin k holds the steps in ((k - 1) last / points, k last / points], the first one
step 0 as well, and is named by its last whole step.
"""

import importlib
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from purejaxppo.reliability.records import Runs

LARGEST = 2**28
"""Values that a grid may hold, 2 GiB of float64."""


class ReadingWarning(UserWarning):
    """What a reader of the numbers should know of how they were read."""


def warn(message: str) -> None:
    """Warn of one thing that was found while reading, in one line."""
    warnings.warn(message, ReadingWarning, stacklevel=2)


def on_grid(
    run: np.ndarray,
    env_steps: np.ndarray,
    value: np.ndarray,
    num_runs: int,
    name: str,
    points: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring runs to one grid, and warn of what lacks there.

    Rows of a run at one place become the mean of those that are not NaN.

    Args:
      run: `[rows]` index of each row's run, in [0, `num_runs`).
      env_steps: `[rows]` whole numbers >= 0.
      value: `[rows]` floats, NaN where nothing was observed.
      num_runs: number of runs; one without a row is NaN throughout.
      name: what messages call the runs.
      points: number of bins; None for the union.

    Returns:
      Steps `[time]` and curves `[num_runs, time]`.

    Raises:
      ValueError: `points` is not in [1, last step]; the curves exceed `LARGEST`.
    """
    binned = points is not None
    grid, place = _bins(env_steps, points, name) if binned else _union(env_steps)
    shape = num_runs, len(grid)
    if np.prod(shape) > LARGEST:
        raise ValueError(
            f"Expected the curves of {name} to hold {LARGEST:,} values at most, got "
            f"{num_runs:,} runs x {len(grid):,} steps; points=1000 makes 1000 bins."
        )
    lacking = np.ones(shape, np.bool_)
    lacking[run, place] = False
    _warn_of(lacking, name, "bins" if binned else "steps")
    return grid, _means(run, place, value, shape)


def _union(env_steps: np.ndarray) -> tuple[np.ndarray, ...]:
    """All steps, and each row's place among them."""
    return np.unique(env_steps, return_inverse=True)


def _bins(env_steps: np.ndarray, points: int, name: str) -> tuple[np.ndarray, ...]:
    """The last step of each bin, and each row's bin; exact, in whole numbers."""
    last = int(env_steps.max())
    if not 1 <= points <= last:
        raise ValueError(
            f"Expected points to be in [1, {last}], the steps of {name}, got {points}."
        )
    ends = np.array([k * last // points for k in range(1, points + 1)])
    return ends, np.searchsorted(ends, env_steps)


def _warn_of(lacking: np.ndarray, name: str, places: str) -> None:
    if lacking.any():
        warn(
            f"Ragged: {lacking.any(axis=1).sum()} of the {len(lacking)} runs of {name} "
            f"lack a row at some of the {lacking.shape[1]:,} {places}; "
            f"{lacking.sum():,} of {lacking.size:,} values are NaN."
        )


def _means(
    run: np.ndarray, place: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    seen = ~np.isnan(value)
    where = run[seen], place[seen]
    # From -0.0 on, which is neutral to every float, so that a single value keeps its
    # bits: 0.0 + -0.0 is 0.0.
    total, count = np.full(shape, -0.0), np.zeros(shape, np.int64)
    np.add.at(total, where, value[seen])
    np.add.at(count, where, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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
                f"{name[0]} on {name[1]} {names.count(name)} times; algorithm=NAME "
                f"tells them apart."
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
