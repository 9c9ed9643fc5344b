"""Digests of files, by which damage is known before anything is made of it."""

import hashlib
import json
from pathlib import Path


def digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path) -> dict[str, str]:
    """Path below the folder -> digest of each file in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): digest(path) for path in files}


def fault(folder: Path, manifest: Path) -> str | None:
    """What is wrong with a folder whose files' digests a manifest has, if anything."""
    try:
        written = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        written = None
    if not isinstance(written, dict) or not written:
        return f"has no {manifest.name} that can be read"
    faults = (_fault_of_file(folder, name, of) for name, of in written.items())
    return next(filter(None, faults), None)


def _fault_of_file(folder: Path, name: str, written: str) -> str | None:
    try:
        found = digest(folder / name)
    except FileNotFoundError:
        return f"lacks {name}"
    except (OSError, ValueError):  # A disk that fails; a name that is none.
        return f"has a {name} that cannot be read"
    return None if found == written else f"has another {name} than was written"
