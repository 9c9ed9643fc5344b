"""Folders of runs: what their names say, and which runs belong together."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxppo.results.common_grid import renamed

OPTIONS = {"algorithm": "--names", "task": "--task"}
"""Argument of a reader -> the command line's option for it."""


class RunFolder(NamedTuple):
    """A run, and what its name says of it."""

    path: Path
    algorithm: str | None
    task: str | None
    seed: int | None


def by_number(path: Path) -> list[Any]:
    """Return a key that sorts PPO_2 before PPO_10."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [int(part) if part.isdecimal() else part for part in parts]


def read_name(
    path: Path, name: str, pattern: str | None, patterns: Sequence[str]
) -> RunFolder:
    """Return a run with what its name says.

    Args:
      path: of the run.
      name: that is read.
      pattern: regular expression with groups among `algorithm`, `task` and `seed`; the
        first of `patterns` that is found if None.
      patterns: the usual ones.

    Raises:
      ValueError: the pattern is none, or is not found; or the seed is no number.
    """
    found = (
        _compiled(p).search(name) for p in (patterns if pattern is None else (pattern,))
    )
    match = next((match for match in found if match), None)
    if match is None:
        raise ValueError(
            f"Expected pattern {pattern!r} to be found in the name of each run, got "
            f"{name!r}."
        )
    told = match.groupdict()
    seed = told.get("seed")
    if seed is not None and not seed.isdecimal():
        raise ValueError(
            f"Expected the seed in the name of {path} to be a whole number, got "
            f"{seed!r}."
        )
    return RunFolder(
        path=path,
        algorithm=told.get("algorithm"),
        task=told.get("task"),
        seed=None if seed is None else int(seed),
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"Expected pattern to be a regular expression, got {pattern!r}: {error}."
        ) from None


def grouped(
    runs: Sequence[RunFolder], algorithm: str | None, task: str | None
) -> dict[tuple[str, str], list[RunFolder]]:
    """Return the runs of each algorithm and task, in the order of the first ones.

    Args:
      runs: at least one.
      algorithm: where names do not tell, or in place of the only one.
      task: likewise.

    Raises:
      ValueError: a name is missing, or there are several in place of one.
    """
    renamed("algorithm", algorithm, (run.algorithm for run in runs))
    renamed("task", task, (run.task for run in runs))
    groups: dict[tuple[str, str], list[RunFolder]] = {}
    for run in runs:
        name = (
            _told(run, "algorithm", algorithm or run.algorithm),
            _told(run, "task", task or run.task),
        )
        groups.setdefault(name, []).append(run)
    return groups


def _told(run: RunFolder, field: str, name: str | None) -> str:
    if not name:
        raise ValueError(
            f"The name of {run.path} does not tell the {field}: give it as {field} "
            f"({OPTIONS[field]} NAME), or give a pattern with a group "
            f"(?P<{field}>...)."
        )
    return name


def seeds_of(name: str, runs: Sequence[RunFolder]) -> np.ndarray:
    """Return the seeds that names tell, or 0, 1, ... if none does.

    Args:
      name: what messages call the runs.
      runs: those of one algorithm and task.

    Raises:
      ValueError: two runs have the same seed, or only some have one.
    """
    paths: dict[int | None, Path] = {}
    for run in runs:
        if run.seed is not None and run.seed in paths:
            raise ValueError(
                f"Expected the runs of {name} to have seeds of their own, got seed "
                f"{run.seed} in {paths[run.seed]} and {run.path}."
            )
        paths[run.seed] = run.path
    if list(paths) == [None]:
        return np.arange(len(runs))
    if None in paths:
        raise ValueError(
            f"Expected all names of the runs of {name} to tell a seed, or none, got "
            f"{paths[None]} without."
        )
    return np.array(list(paths))
