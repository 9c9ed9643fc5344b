"""Digests of files, by which damage is known before anything is made of it."""

import hashlib
from pathlib import Path

from purejaxppo.study.storage import disk


def digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path) -> dict[str, str]:
    """Path below the folder -> digest of each file in it."""
    return {name: digest(path) for name, path in _files(folder).items()}


def _files(folder: Path) -> dict[str, Path]:
    """Path below the folder -> path, of each file in it; links are none."""
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_symlink())
    return {str(path.relative_to(folder)): path for path in paths if path.is_file()}


def fault(folder: Path, manifest: Path) -> str | None:
    """What is wrong with a folder whose files' digests a manifest has, if anything.

    Files are looked for in the folder, not by the names in the manifest.
    """
    try:
        written = disk.read_json(manifest)
    except (OSError, ValueError):
        written = None
    if not isinstance(written, dict) or not written:
        return f"has no {manifest.name} that can be read"
    there = _files(folder)
    for name in there:
        if name not in written and there[name] != manifest:
            return f"has a file {name} that was not written with it"
    faults = (_fault_of_file(there.get(name), name, of) for name, of in written.items())
    return next(filter(None, faults), None)


def _fault_of_file(path: Path | None, name: str, written: str) -> str | None:
    if path is None:
        return f"lacks {name}"
    try:
        found = digest(path)
    except OSError:  # A disk that fails.
        return f"has a {name} that cannot be read"
    return None if found == written else f"has another {name} than was written"
