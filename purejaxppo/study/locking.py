"""One process, or one group of them, at a time works on a study's directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purejaxppo.study import store

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory, which is made if need be, until the end of the block.

    The operating system lets go of it when the process ends, however it ends.

    Raises:
      ValueError: another process holds it, or it is a file, or cannot be written.
    """
    try:
        made = store.make_folder(directory)
        file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise ValueError(
            f"Expected output {directory} to be a directory, got a file."
        ) from None
    except OSError as error:
        raise ValueError(
            f"Expected output {directory} to be writable: {error.strerror}."
        ) from None
    try:
        _take(file, directory)
        yield
    finally:
        if made and [path.name for path in directory.iterdir()] == [LOCK]:
            (directory / LOCK).unlink()  # Nothing came of it.
            with contextlib.suppress(OSError):  # Another study may be beside it by now.
                for path in made:
                    path.rmdir()
        os.close(file)


def _take(file: int, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 64, 0).decode(errors="replace").strip()
        whose = f" ({holder})" if holder else ""
        raise ValueError(
            f"Expected no other process to train in {directory}, but one does{whose}."
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} of {os.uname().nodename}".encode(), 0)
