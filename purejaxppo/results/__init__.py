"""Runs from elsewhere, and for elsewhere: tables, TensorBoard, other libraries.

>>> import tempfile, numpy as np
>>> curves = np.array([[1.0, 2.0], [3.0, np.nan]])
>>> runs = Runs("ppo", "CartPole-v1", np.array([64, 128]), curves, np.array([0, 1]))
>>> with tempfile.TemporaryDirectory() as folder:
...     write([runs], f"{folder}/runs.csv")
...     read(f"{folder}/runs.csv")[0].curves
array([[ 1.,  2.],
       [ 3., nan]])
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejaxppo.config.fields import nearest
from purejaxppo.config.labels import as_text
from purejaxppo.reliability.runs import Runs
from purejaxppo.results.common_grid import ReadingWarning, distinct, warn
from purejaxppo.results.rliable_scores import (
    final_scores,
    from_scores,
    read_scores,
    write_scores,
)
from purejaxppo.results.stable_baselines import (
    holds_evaluations,
    holds_monitors,
    holds_progress,
    read_evaluations,
    read_monitors,
    read_progress,
)
from purejaxppo.results.studies import read_settings, read_study
from purejaxppo.results.tables import read_table, write_table
from purejaxppo.results.tensorboard import holds_events, read_tensorboard
from purejaxppo.study.storage import files

__all__ = [
    "FORMATS",
    "ReadingWarning",
    "Runs",
    "final_scores",
    "from_scores",
    "read",
    "read_evaluations",
    "read_monitors",
    "read_progress",
    "read_scores",
    "read_settings",
    "read_study",
    "read_table",
    "read_tensorboard",
    "write",
    "write_scores",
    "write_table",
]


class Format(NamedTuple):
    """A kind of files: how a path is known to hold it, and what reads it."""

    holds: Callable[[Path], bool]
    read: Callable[..., list[Runs]]


def _ends_in(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.suffix in suffixes


FORMATS: dict[str, Format] = {
    "study": Format(files.holds_study, read_settings),
    "tensorboard": Format(
        lambda path: path.is_dir() and holds_events(path), read_tensorboard
    ),
    "monitor": Format(holds_monitors, read_monitors),
    "progress": Format(holds_progress, read_progress),
    "evaluations": Format(holds_evaluations, read_evaluations),
    "table": Format(_ends_in(".csv", ".parquet"), read_table),
    "scores": Format(_ends_in(".json", ".npz"), read_scores),
}
"""Name of each format that is read; the first that a path holds is read."""

WRITERS: dict[str, Callable[..., None]] = {
    ".csv": write_table,
    ".parquet": write_table,
    ".json": write_scores,
    ".npz": write_scores,
}


def read(
    paths: Path | str | Sequence[Path | str], format: str | None = None, **how: Any
) -> list[Runs]:
    """Read runs from whatever is there.

    A study's directory, in which each setting of a grid is an algorithm; a folder with
    TensorBoard's event files at any depth; Stable-Baselines3's `monitor.csv`,
    `progress.csv` or `evaluations.npz`, or a folder with some of one kind at any depth;
    a table (`.csv`, `.parquet`); or rliable's scores (`.json`, `.npz`). What is worth
    knowing of how it was read comes as a `ReadingWarning`.

    Args:
      paths: one, or several.
      format: one of `FORMATS`, of all paths; each is recognised by itself if None.
      how: arguments of the formats' readers, such as `metric`, `tag`, `algorithm` or
        `columns`; each is given to the readers that know it.

    Returns:
      A record for each algorithm and task, in the order of the paths.

    Raises:
      ValueError: there is nothing of the kind; or it is not as it should be; or two
        paths have the same algorithm on the same task; or no reader knows an argument.
    """
    several = [paths] if isinstance(paths, Path | str) else list(paths)
    if not several:
        raise ValueError("Expected paths to read runs from, got none.")
    taken = arguments(several, format, how)
    return distinct(
        [
            record._replace(algorithm=as_text(record.algorithm))
            for path, own in zip(several, taken, strict=True)
            for record in _read(Path(path), format, own)
        ]
    )


def arguments(
    paths: Sequence[Path | str], format: str | None, how: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return those arguments of `read` that the reader of each path takes.

    Raises:
      ValueError: a path holds nothing that is known, or no reader takes an argument.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"Unknown format {format!r}; {nearest(format, FORMATS)}.")
    formats = [format or _held(Path(path))[0] for path in paths]
    known = [inspect.signature(FORMATS[name].read).parameters for name in formats]
    for name in how:
        if not any(name in names for names in known):
            kinds = ", ".join(f"{p} ({f})" for p, f in zip(paths, formats, strict=True))
            raise ValueError(f"{name} says nothing about how to read {kinds}.")
    return [{k: v for k, v in how.items() if k in names} for names in known]


def _read(path: Path, format: str | None, how: Mapping[str, Any]) -> list[Runs]:
    """Read one path; of several formats that a folder holds the first one."""
    first, *others = _held(path) if format is None else [format]
    if path.is_dir() and first != "study" and others:
        warn(
            f"{path} is read as {first}; format (--format) chooses what else it holds: "
            f"{', '.join(others)}."
        )
    return FORMATS[first].read(path, **how)


def _held(path: Path) -> list[str]:
    """The formats that a path holds.

    Raises:
      ValueError: it holds none.
    """
    if not path.exists():
        raise ValueError(f"There is nothing to read runs from at {path}.")
    held = [name for name, format in FORMATS.items() if format.holds(path)]
    if not held:
        inner = (
            sorted(p for p in path.iterdir() if files.holds_study(p))
            if path.is_dir()
            else []
        )
        if inner:
            raise ValueError(
                f"{path} is a folder of studies, which are paths of their own: "
                f"{' '.join(map(str, inner[:8]))}{' ...' if inner[8:] else ''}."
            )
        kind = "folder" if path.is_dir() else "file"
        raise ValueError(
            f"{path} is a {kind} of no known format: a study, TensorBoard's event "
            "files, Stable-Baselines3's monitor.csv, progress.csv or evaluations.npz, "
            "a table (.csv, .parquet), or rliable's scores (.json, .npz)."
        )
    return held


def write(records: Sequence[Runs], path: Path | str) -> None:
    """Write runs as a table (`.csv`, `.parquet`) or final scores (`.json`, `.npz`).

    What is there is replaced. A table keeps everything; see `write_table`. Scores are
    what rliable reads, and keep no more; see `final_scores`.

    Raises:
      ValueError: another suffix, or runs that cannot be written so.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(
            f"Expected {path} to end in one of {', '.join(WRITERS)}, got "
            f"{path.suffix!r}."
        )
    WRITERS[path.suffix](records, path)
