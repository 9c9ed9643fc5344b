"""`metrics.csv`: every number of a study, a row for each update of each run.

| column | holds |
| --- | --- |
| run | the run's number in the study |
| update | how many updates it has made |
| env_steps | how many environment steps |
| seed | its seed |
| algorithm | the directory's name, and what a grid gave the run |
| task | the environment's name |
| config.NAME | what a grid gave the run, a column for each field |
| any other | a metric, by name; empty where nothing was observed |

Rows are in the order of updates, and of runs within one update, so that the file does
not depend on how fast the study was. Every float32 comes back bit for bit when it is
read as one. `purejaxppo report metrics.csv` and `interchange.read` read the file.
"""

import csv
import io
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from purejaxppo.labels import cell
from purejaxppo.loggers.records import (
    About,
    Logged,
    LoggingWarning,
    checked_output,
    setting_label,
)

FILE = "metrics.csv"
FIRST = ("run", "update", "env_steps", "seed", "algorithm", "task")

ROWS_AT_ONCE = 2**14
"""Turned into text together: few enough for a cache, and for memory."""


class CSV:
    """Writes `metrics.csv` in the study's directory; see the module's text.

    On resume the rows of updates that will be repeated are removed first, and a last
    line that was not finished, so that the file equals that of a study which was never
    stopped.
    """

    def begin(self, about: About) -> None:
        """Make the file ready, as far as it goes.

        Raises:
          ValueError: the study has no directory, or the file there is not such a log.
        """
        self._path = checked_output(about, "CSV") / FILE
        self._fields = list(dict.fromkeys(itertools.chain(*about.settings)))
        self._cells = [self._constant(about, run) for run in range(len(about.labels))]
        self._header: str | None = None
        if self._path.exists():
            _check_is_log(self._path)
        if about.done.any():
            kept = _keep(self._path, about.done) if self._path.exists() else 0
            _warn_of_missing(self._path, int(about.done.sum()) - kept)
        else:
            forget_csv(self._path.parent)

    def _constant(self, about: About, run: int) -> str:
        """The cells of a run that are the same in all its rows."""
        setting, output = about.settings[run], checked_output(about, "CSV")
        algorithm = f"{output.resolve().name} {setting_label(setting)}".rstrip()
        given = [cell(setting[k]) if k in setting else "" for k in self._fields]
        return _line([about.seeds[run], algorithm, about.env, *given])

    def log(self, logged: Logged) -> None:
        """Append a row for each run and update.

        Raises:
          ValueError: the file has other columns, being of other metrics.
        """
        config = [f"config.{name}" for name in self._fields]
        header = _line([*FIRST, *config, *logged.metrics])
        if self._header is None:
            self._header = _first_line(self._path)
        with self._path.open("ab") as file:
            if not self._header:
                file.write(f"{header}\n".encode())
                self._header = header
            elif self._header != header:
                raise ValueError(
                    f"Expected {self._path} to have the columns {header}, got "
                    f"{self._header}."
                )
            for text in self._texts(logged):
                file.write(text.encode())

    def _texts(self, logged: Logged) -> Iterator[str]:
        """Rows as text, some updates at a time."""
        count = max(1, ROWS_AT_ONCE // len(logged.runs))
        cells = [self._cells[run] for run in logged.runs]
        for first in range(logged.start, logged.stop, count):
            updates = range(first, min(first + count, logged.stop))
            at = slice(first - logged.start, updates.stop - logged.start)
            steps = logged.env_steps[at].tolist()
            before = (
                f"{run},{update + 1},{step},{constant}"
                for update, step in zip(updates, steps, strict=True)
                for run, constant in zip(logged.runs.tolist(), cells, strict=True)
            )
            rows = _numbers([x[:, at] for x in logged.metrics.values()])
            pairs = zip(before, rows, strict=True)
            yield "".join(f"{left},{right}\n" for left, right in pairs)

    def close(self) -> None:
        """Nothing is left to write."""


def _numbers(columns: Sequence[np.ndarray]) -> list[str]:
    """The cells of each row, of columns `[runs, updates]`, update after update."""
    row = ",".join(_format(column.dtype) for column in columns) + "\n"
    flat = [column.T.ravel().tolist() for column in columns]
    text = row * len(flat[0]) % tuple(itertools.chain(*zip(*flat, strict=True)))
    return text.replace("nan", "").splitlines()


def _format(dtype: np.dtype) -> str:
    """Of so many digits that every float comes back bit for bit."""
    if dtype.kind == "b":
        return "%s"
    if dtype.kind in "iu":
        return "%d"
    return "%.17g" if dtype == np.float64 else "%.9g"


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


# --- What was there before ----------------------------------------------------------


def forget_csv(directory: Path) -> None:
    """Delete the log of an earlier study, but no other file of its name."""
    path = directory / FILE
    if path.exists() and _is_log(path):
        path.unlink()


def _is_log(path: Path) -> bool:
    header, expected = _first_line(path), ",".join(FIRST)
    # Of a study that was killed at once there may be the beginning of a header.
    return header.startswith(expected) or expected.startswith(header)


def _first_line(path: Path) -> str:
    """Without its end; empty if the file is, or is not there."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n")


def _check_is_log(path: Path) -> None:
    if not _is_log(path):
        raise ValueError(
            f"Expected {path} to be the log of a study, whose columns begin with "
            f"{','.join(FIRST)}, got {_first_line(path)[:80]!r}; move it away."
        )


def _keep(path: Path, done: np.ndarray) -> int:
    """Remove rows of updates beyond `done`, and what is torn; return how many stay."""
    limits, kept = done.tolist(), 0
    beside = path.with_name(f".{path.name}.new")
    with path.open("rb") as old, beside.open("wb") as new:
        header = old.readline()
        if header.endswith(b"\n"):
            new.write(header)
            for line in _kept(old, limits, path):
                new.write(line)
                kept += 1
    os.replace(beside, path)
    return kept


def _kept(lines: BinaryIO, limits: list[int], path: Path) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            run, update = map(int, line.split(b",", 2)[:2])
            limit = limits[run]
        except (ValueError, IndexError):
            raise ValueError(
                f"Expected row {number} of {path} to begin with a run of the study and "
                f"an update, got {line[:40].decode(errors='replace').rstrip()!r}."
            ) from None
        if update <= limit:
            yield line


def _warn_of_missing(path: Path, missing: int) -> None:
    if missing > 0:
        warnings.warn(
            f"{path} lacks {missing:,} rows of updates that were made before it was "
            "asked for.",
            LoggingWarning,
            stacklevel=3,
        )
