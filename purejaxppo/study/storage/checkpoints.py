"""Checkpoints: written whole or not at all, and known to be damaged when they are.

A checkpoint is a folder, named by the update that it is of, with a tree of arrays that
orbax wrote and a manifest of all its files' digests. It gets its name when everything
has reached the disk; the one before it is kept beside it.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import jax

from purejaxppo.study.devices import processes
from purejaxppo.study.storage import digests, disk, files

MANIFEST, TREE = "manifest.json", "tree"
KEPT = 2
"""How many of a kind are kept: the last, and one to fall back on."""


class DamagedWarning(UserWarning):
    """A checkpoint is not as it was written, and is left aside."""


class PartError(RuntimeError):
    """A process could not write its part, for which the others wait: it is to end."""


def save(folder: Path, update: int, tree: Any) -> Path:
    """Write a checkpoint; all processes take part.

    Args:
      folder: of all checkpoints of the same runs.
      update: the number of updates made.
      tree: arrays, of devices or of NumPy.

    Returns:
      Where it is.

    Raises:
      disk.WriteError: it could not be written; those that are there are as they
        were.
      PartError: one of several processes could not write its part.
    """
    final = folder / f"{update:09d}"
    unfinished = folder / f"{update:09d}{disk.UNFINISHED}"
    try:
        with disk.writing(unfinished):
            processes.first_does(
                lambda: _begin(folder, unfinished), "write a checkpoint"
            )
            _write(unfinished / TREE, tree)
            processes.first_does(
                lambda: _finish(unfinished, final), "write a checkpoint"
            )
    except OSError:
        if processes.is_first():
            with contextlib.suppress(OSError):
                disk.remove(unfinished)
        raise
    return final


def _write(path: Path, tree: Any) -> None:
    try:
        files.write_tree(path, tree)
    except disk.WriteError as error:
        if jax.process_count() == 1:
            raise
        raise PartError(str(error)) from error


def _begin(folder: Path, unfinished: Path) -> None:
    disk.make_folder(folder)
    for rest in folder.glob(f"*{disk.UNFINISHED}"):
        disk.remove(rest)
    unfinished.mkdir()


def _finish(unfinished: Path, final: Path) -> None:
    """Write the manifest, bring all to the disk, and only then give it its name."""
    found = digests.digests_of(unfinished)
    disk.write_json(unfinished / MANIFEST, found, indent=1)
    disk.sync(unfinished)
    files.remove(final)  # Damaged: else nobody would write it again.
    unfinished.rename(final)
    disk.sync(final.parent)
    for path in _useless(final):
        files.remove(path)


def _useless(final: Path) -> list[Path]:
    """What need not be kept beside a new one: old ones, and later ones, all damaged."""
    found = _all(final.parent)
    place = found.index(final)
    return found[:place] + found[place + KEPT :]


def newest(folder: Path) -> Path | None:
    """The last checkpoint that is whole, if there is one.

    Warns of each later one that is damaged.
    """
    for path in _all(folder):
        fault = digests.fault(path, path / MANIFEST)
        if fault is None:
            return path
        warnings.warn(
            f"Damaged: checkpoint {path} {fault}; an earlier one is taken, or the runs "
            f"begin anew.",
            DamagedWarning,
            stacklevel=2,
        )
    return None


def read(path: Path) -> Any:
    """The tree of a checkpoint, arrays as NumPy's."""
    return files.read_tree(path / TREE)


def update_of(path: Path) -> int:
    """How many updates a checkpoint is of."""
    return int(path.name)


def _all(folder: Path) -> list[Path]:
    """The folder's checkpoints, the last one first."""
    return sorted((p for p in folder.glob("*") if p.name.isdigit()), reverse=True)
