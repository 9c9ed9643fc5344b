"""Files: read within bounds, written whole or not at all, never through a link.

A folder may come from somebody else. Every file of this library is written here, beside
its place and then renamed, so that a link in its place is never followed and a crash
leaves the old file. Folders that a user names may be links; what lies in them may not.
"""

import errno
import json
import os
import re
import shutil
import stat
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

LARGEST = 2**28
"""Bytes of a text file that is read."""

PREFIX, UNFINISHED = ".", ".unfinished"
"""What a file's name has around it while the file is written."""


class WriteError(OSError):
    """A file could not be written, as on a full disk: a failure, not bad input."""


# --- Reading ------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
      ValueError: it is no UTF-8; or as `read_bytes`.
    """
    return read_bytes(path).decode("utf-8-sig")


def read_bytes(path: Path) -> bytes:
    """Read a file of text in any encoding.

    Raises:
      ValueError: it is no regular file, or larger than `LARGEST`.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is not a file.")
    if found.st_size > LARGEST:
        raise ValueError(f"{path} has {found.st_size:,} bytes, more than {LARGEST:,}.")
    return path.read_bytes()


def read_json(path: Path, **how: Any) -> Any:
    """Read a JSON file in UTF-8, -16 or -32.

    NaN and the like are allowed, as Python's `json` writes them.

    Args:
      path: of the file.
      how: further arguments of `json.loads`.

    Raises:
      ValueError: it is not JSON, or too deeply nested; or as `read_bytes`.
    """
    try:
        return json.loads(read_bytes(path), **how)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
      ValueError: it is not TOML, or too deeply nested; or as `read_text`.
    """
    try:
        return tomllib.loads(read_text(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


# --- Checks before anything is written ----------------------------------------------


def check_no_link(path: Path) -> None:
    """Raise if a link is in the place of a file.

    Raises:
      ValueError: naming it.
    """
    if path.is_symlink():
        _refuse_link(path)


def _refuse_link(path: Path) -> NoReturn:
    raise ValueError(
        f"{path} is a link, and no file is read or written through one there; "
        "remove it, or put a copy of what it leads to in its place."
    )


def check_entry(path: Path, *, is_folder: bool, links_within: bool = False) -> None:
    """Raise unless a path is absent, or a plain file or folder without links in it.

    Args:
      path: a link in its place is refused wherever it leads.
      is_folder: whether it is to be a folder; else a file.
      links_within: allow links in the folder that do not lead out of it.

    Raises:
      ValueError: naming what is wrong.
    """
    check_no_link(path)
    if not path.exists():
        return
    if path.is_dir() != is_folder:
        kinds = "a folder", "a file"
        found, wanted = kinds if path.is_dir() else kinds[::-1]
        raise ValueError(f"{path} is {found}, not {wanted} as it should be.")
    if is_folder:
        top = path.resolve() if links_within else None
        _check_tree(path, top)
    elif not path.is_file():
        raise ValueError(f"{path} is not a file.")


def _check_tree(folder: Path, top: Path | None) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            if top is None or not path.resolve().is_relative_to(top):
                _refuse_link(path)
        elif path.is_dir():
            _check_tree(path, top)
        elif not path.is_file():
            raise ValueError(f"{path} is neither a file nor a folder.")


def check_output(directory: Path, names: Iterable[str] = ()) -> None:
    """Raise if a folder cannot be made or written into, or a file in it is a link.

    Args:
      directory: it may be a link to a folder.
      names: files that are to be written there.

    Raises:
      ValueError: naming the folder or the file.
    """
    paths = directory, *directory.absolute().parents
    there = next(path for path in paths if path.is_symlink() or path.exists())
    if not there.is_dir():
        raise ValueError(f"Expected output {directory} to be a directory, got a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        _refuse_unwritable(directory, errno.EACCES)
    for name in names:
        check_entry(directory / name, is_folder=False)


def check_file(path: Path) -> None:
    """Raise if a file cannot be written in the folder that it is to be in.

    Raises:
      ValueError: naming the file.
    """
    if not path.parent.exists():
        _refuse_unwritable(path, errno.ENOENT)
    check_output(path.parent, [path.name])


def _refuse_unwritable(path: Path, code: int) -> NoReturn:
    raise ValueError(f"Expected output {path} to be writable: {os.strerror(code)}.")


# --- Writing ------------------------------------------------------------------------


@contextmanager
def writing(
    path: Path, errors: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Turn what fails in the block into a `WriteError` of one line.

    Args:
      path: what is being written.
      errors: kinds of exceptions that a failing disk may cause in the block.
    """
    try:
        yield
    except WriteError:
        raise
    except errors as error:
        raise WriteError(f"{path} could not be written: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """Return why an operation failed, in a few words.

    >>> reason(OSError(28, "No space left on device", "a/b"))
    'No space left on device'
    """
    told = re.search(r"os_error_code='(\d+)'", str(error))  # tensorstore's.
    code = int(told[1]) if told else getattr(error, "errno", None)
    if code:
        return os.strerror(code)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.removesuffix(".")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new, empty file to write, which takes the path's place at the end.

    If the block fails, the path is as it was.

    Raises:
      ValueError: the path is a link.
      WriteError: the file could not be written.
    """
    check_no_link(path)
    beside = path.with_name(f"{PREFIX}{uuid.uuid4().hex}{UNFINISHED}{path.suffix}")
    try:
        with writing(path):
            _create(beside)
            yield beside
            sync(beside)
            beside.replace(path)
            sync(path.parent, deep=False)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _create(path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o666))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; raises as `replacing`."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all; raises as `replacing`.

    Of the text, a path's bytes that are no text become escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, record: Any, indent: int = 2) -> None:
    """Write a file of JSON, whole or not at all; raises as `replacing`."""
    write_text(path, json.dumps(record, indent=indent) + "\n")


def open_in_place(path: Path, mode: Literal["ab", "r+b"]) -> BinaryIO:
    """Open a file that is added to or cut; it must be nobody else's, too.

    Args:
      path: of the file.
      mode: `ab`, which makes it if need be, or `r+b`.

    Raises:
      ValueError: it is a link, or has another name elsewhere, or is no file.
    """
    flags = {"ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT, "r+b": os.O_RDWR}[mode]
    return os.fdopen(open_plain(path, flags), mode)


def open_plain(path: Path, flags: int) -> int:
    """Open a file that is neither a link nor has another name; returns a descriptor.

    Raises:
      ValueError: it is, or no file.
      OSError: it cannot be opened.
    """
    check_no_link(path)
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise ValueError(f"{path} is not a file of its own; remove it.")
    return descriptor


# --- Folders ------------------------------------------------------------------------


def make_folder(path: Path) -> list[Path]:
    """Make a folder, and bring it and those made above it to the disk.

    Returns:
      Those that were made, the innermost first.

    Raises:
      WriteError: it could not be made.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        for folder in made:
            sync(folder.parent, deep=False)
    return made


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(directory: Path) -> None:
    """Delete what processes that were killed left of files that they wrote."""
    for path in directory.glob(f"{PREFIX}{'[0-9a-f]' * 32}{UNFINISHED}*"):
        remove(path)


def sync(path: Path, deep: bool = True) -> None:
    """Bring a file, or a folder and all that is in it if `deep`, to the disk."""
    inner = path.rglob("*") if deep and path.is_dir() else ()
    for each in (path, *inner):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
