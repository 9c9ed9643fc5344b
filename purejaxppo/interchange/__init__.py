"""Runs from elsewhere, and for elsewhere: studies, tables, TensorBoard, rliable.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from purejaxppo.interchange.gathering import ReadingWarning, distinct
from purejaxppo.interchange.scores import (
    final_scores,
    from_scores,
    read_scores,
    write_scores,
)
from purejaxppo.interchange.studies import read_settings, read_study
from purejaxppo.interchange.tables import read_table, write_table
from purejaxppo.interchange.tensorboard import holds_events, read_tensorboard
from purejaxppo.reliability.records import Runs
from purejaxppo.study import store

__all__ = [
    "ReadingWarning",
    "Runs",
    "final_scores",
    "from_scores",
    "read",
    "read_scores",
    "read_settings",
    "read_study",
    "read_table",
    "read_tensorboard",
    "write",
    "write_scores",
    "write_table",
]

READERS: dict[str, Callable[..., list[Runs]]] = {
    ".csv": read_table,
    ".parquet": read_table,
    ".json": read_scores,
    ".npz": read_scores,
}
WRITERS: dict[str, Callable[..., None]] = {
    ".csv": write_table,
    ".parquet": write_table,
    ".json": write_scores,
    ".npz": write_scores,
}


def read(paths: Path | str | Sequence[Path | str], **how: Any) -> list[Runs]:
    """Read runs from whatever is there.

    A study's directory, in which each setting of a grid is an algorithm; a folder with
    TensorBoard's event files at any depth; a table (`.csv`, `.parquet`); or rliable's
    scores (`.json`, `.npz`). What is worth knowing of how it was read comes as a
    `ReadingWarning`.

    Args:
      paths: one, or several.
      how: arguments of `read_settings`, `read_tensorboard`, `read_table` or
        `read_scores`, such as `metric`, `tag`, `algorithm` or `tasks`; each path's
        reader must know all of them.

    Returns:
      A record for each algorithm and task, in the order of the paths.

    Raises:
      ValueError: there is nothing of the kind; or it is not as it should be; or two
        paths have the same algorithm on the same task.
    """
    several = [paths] if isinstance(paths, Path | str) else list(paths)
    if not several:
        raise ValueError("Expected paths to read runs from, got none.")
    readers = [_reader(Path(path), how) for path in several]
    parts = [read(Path(path)) for read, path in zip(readers, several, strict=True)]
    return distinct([record for part in parts for record in part])


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


def _reader(path: Path, how: dict[str, Any]) -> Callable[[Path], list[Runs]]:
    """What reads a path, in the way asked for."""
    reader = _kind(path)
    known = list(inspect.signature(reader).parameters)[1:]
    for name in how:
        if name not in known:
            raise ValueError(
                f"Expected {path} to be read with {', '.join(known)}, got {name}."
            )

    def read_path(path: Path) -> list[Runs]:
        read = reader(path, **how)
        return [read] if isinstance(read, Runs) else read

    return read_path


def _kind(path: Path) -> Callable[..., Any]:
    if path.is_dir():
        if store.holds_study(path):
            return read_settings
        if holds_events(path):
            return read_tensorboard
    elif path.is_file() and path.suffix in READERS:
        return READERS[path.suffix]
    found = "nothing"
    if path.exists():
        found = "a folder with neither" if path.is_dir() else "another file"
    raise ValueError(
        f"Expected a study, TensorBoard's event files, or a file that ends in "
        f"{', '.join(READERS)} at {path}, found {found}."
    )
