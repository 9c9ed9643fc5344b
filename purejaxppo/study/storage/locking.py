"""One process, or one group of them, at a time works on a study's directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from purejaxppo.config.labels import printable
from purejaxppo.study.storage import disk
from purejaxppo.study.storage.files import LOCK


class Lock(NamedTuple):
    """A directory that is held.

    Attributes:
      directory: its path.
      file: descriptor of the lock's file.
    """

    directory: Path
    file: int

    def is_there(self) -> bool:
        """Return whether the path is still the directory that is held."""
        try:
            found = os.stat(self.directory / LOCK, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self.file))


@contextmanager
def locked(directory: Path) -> Iterator[Lock]:
    """Hold the directory, which is made if need be, until the end of the block.

    The operating system lets go of it when the process ends, however it ends.

    Raises:
      ValueError: another process holds it, or it is a file, or cannot be written.
      disk.WriteError: the disk is full, or fails.
    """
    try:
        made = disk.make_folder(directory)
        with disk.writing(directory / LOCK):
            file = disk.open_plain(directory / LOCK, os.O_RDWR | os.O_CREAT)
    except disk.WriteError as error:
        why = error.__cause__
        if isinstance(why, FileExistsError):
            raise ValueError(
                f"Expected output {directory} to be a directory, got a file."
            ) from None
        if isinstance(why, PermissionError | NotADirectoryError):
            told = disk.reason(why)
            raise ValueError(
                f"Expected output {directory} to be writable: {told}."
            ) from None
        raise
    try:
        _take(file, directory)
        yield Lock(directory, file)
    finally:
        with contextlib.suppress(OSError):  # It may be gone, or another study beside.
            if made and [path.name for path in directory.iterdir()] == [LOCK]:
                (directory / LOCK).unlink()  # Nothing came of it.
                for path in made:
                    path.rmdir()
        os.close(file)


def _take(file: int, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 64, 0).decode(errors="replace").strip()
        whose = f" ({printable(holder)})" if holder else ""
        raise ValueError(
            f"Expected no other process to train in {directory}, but one does{whose}."
        ) from None
    with disk.writing(directory / LOCK):
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} of {os.uname().nodename}".encode(), 0)
