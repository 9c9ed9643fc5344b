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

Runs of a technique have metrics that others lack: the columns of these are added, at
the right, when the first of them is logged.

Rows are in the order of updates, and of runs within one update, so that the file does
not depend on how fast the study was. Every float32 comes back bit for bit when it is
read as one. `purejaxppo report metrics.csv` and `results.read` read the file.
"""

import csv
import io
import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from purejaxppo.config.labels import cell
from purejaxppo.study.loggers.records import (
    About,
    Logged,
    LoggingWarning,
    checked_output,
    setting_label,
)
from purejaxppo.study.storage import disk

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
        self._metrics: list[str] | None = None
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
          ValueError: the file is of another grid.
        """
        if self._metrics is None:
            self._metrics = self._logged_before()
        new = [name for name in logged.metrics if name not in self._metrics]
        if new:
            self._metrics += new
            _widen(self._path, _line([*self._before, *self._metrics]), len(new))
        with disk.open_in_place(self._path, "ab") as file:
            for text in self._texts(logged, self._metrics):
                file.write(text.encode())

    @property
    def _before(self) -> list[str]:
        """The columns before the metrics."""
        return [*FIRST, *(f"config.{name}" for name in self._fields)]

    def _logged_before(self) -> list[str]:
        """The metrics that the file has columns of."""
        columns = next(csv.reader([_first_line(self._path)]), [])
        if columns and columns[: len(self._before)] != self._before:
            raise ValueError(
                f"Expected {self._path} to have the columns {_line(self._before)} and "
                f"metrics, got {_line(columns)}."
            )
        return columns[len(self._before) :]

    def _texts(self, logged: Logged, metrics: Sequence[str]) -> Iterator[str]:
        """Rows as text, some updates at a time."""
        columns = [logged.metrics.get(name) for name in metrics]
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
            rows = _numbers([None if x is None else x[:, at] for x in columns])
            pairs = zip(before, rows, strict=True)
            yield "".join(f"{left},{right}\n" for left, right in pairs)

    def close(self) -> None:
        """Nothing is left to write."""


def _numbers(columns: Sequence[np.ndarray | None]) -> list[str]:
    """The cells of each row, of columns `[runs, updates]`, update after update.

    A column that is None, though not all are, is empty.
    """
    row = ",".join("" if x is None else _format(x.dtype) for x in columns) + "\n"
    flat = [x.T.ravel().tolist() for x in columns if x is not None]
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
    """One line, though a cell be several: the repr of a user's environment may be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return " ".join(text.getvalue().splitlines())


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
    with (
        path.open("rb") as old,
        disk.replacing(path) as beside,
        beside.open("wb") as new,
    ):
        header = old.readline()
        if header.endswith(b"\n"):
            new.write(header)
            for line in _kept(old, limits, path):
                new.write(line)
                kept += 1
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


def _widen(path: Path, header: str, more: int) -> None:
    """Give a file another header, and `more` empty cells to each row that it has."""
    cells = b"," * more
    with disk.replacing(path) as beside, beside.open("wb") as new:
        new.write(f"{header}\n".encode())
        if path.exists():
            with path.open("rb") as old:
                old.readline()
                new.writelines(line.rstrip(b"\n") + cells + b"\n" for line in old)


def _warn_of_missing(path: Path, missing: int) -> None:
    if missing > 0:
        warnings.warn(
            f"{path} lacks {missing:,} rows of updates that were made before it was "
            "asked for.",
            LoggingWarning,
            stacklevel=3,
        )
