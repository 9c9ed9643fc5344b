"""TensorBoard's event files: a folder for each line of the charts, x is env_steps.

`tensorboard/seed=5` for a run; of a large study `tensorboard/all/mean`, `.../iqm`,
`.../p5` and `.../p95`, which TensorBoard draws in the same charts.
"""

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from purejaxppo.study.loggers.chart_lines import Line, Lines, check_counts, tag
from purejaxppo.study.loggers.packages import require
from purejaxppo.study.loggers.records import About, Logged, checked_output
from purejaxppo.study.storage import disk

FOLDER = "tensorboard"
FILES = "events.out.tfevents.*.purejaxppo"


class TensorBoard:
    """Writes event files in the study's directory; see the module's text.

    On resume nothing remains of updates that are repeated: neither in the files, nor
    in a TensorBoard that has read them already.

    Args:
      per_run: most runs of a study in which each has a folder; of more, mean,
        interquartile mean, 5th and 95th percentile are written for each setting of the
        grid.
      points: most points of a line; each is a mean of the updates since the one before.

    Raises:
      ValueError: tensorboard is not installed, or a number is out of range.
    """

    def __init__(self, *, per_run: int = 64, points: int = 1000) -> None:
        check_counts("TensorBoard", per_run, points)
        require("tensorboard", "TensorBoard")
        self._per_run, self._points = per_run, points

    def begin(self, about: About) -> None:
        """Forget what another study left here.

        Raises:
          ValueError: the study has no directory.
        """
        self._top = checked_output(about, "TensorBoard") / FOLDER
        self._lines = Lines(about, self._per_run, self._points)
        self._files: dict[Path, Path] = {}
        if not about.done.any():
            forget_events(self._top.parent)

    def log(self, logged: Logged) -> None:
        """Append the points that the segment completes."""
        for line in self._lines.of(logged):
            folder = self._top / folder_name(line.name) / line.statistic
            if folder not in self._files:
                self._files[folder] = _begin_file(folder, int(line.env_steps[0]))
            _append(self._files[folder], _events(line))

    def close(self) -> None:
        """Nothing is left to write."""


def forget_events(directory: Path) -> None:
    """Delete the event files of an earlier study, and folders that are empty then."""
    for path in sorted((directory / FOLDER).rglob(FILES)):
        path.unlink()
        for folder in itertools.takewhile(lambda f: f != directory, path.parents):
            if any(folder.iterdir()):
                break
            folder.rmdir()


def folder_name(label: str) -> str:
    """A label without what a file system may refuse.

    >>> folder_name("optimizer=a/b seed=5")
    'optimizer=a_b seed=5'
    """
    return re.sub(r"[^\w .,=+()-]", "_", label)


def _events(line: Line) -> Iterator[Any]:
    """An event for each point at which something was observed."""
    from tensorboard.compat.proto.event_pb2 import (
        Event,  # pyright: ignore[reportAttributeAccessIssue]
    )

    now, tags = time.time(), [tag(name) for name in line.metrics]
    rows = np.stack(list(line.metrics.values()), axis=1).tolist()
    for step, row in zip(line.env_steps.tolist(), rows, strict=True):
        event = Event(wall_time=now, step=step)
        for name, value in zip(tags, row, strict=True):
            if value == value:  # Not NaN.
                event.summary.value.add(tag=name, simple_value=value)
        yield event


def _append(path: Path, events: Iterator[Any]) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with disk.open_in_place(path, "ab") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def _begin_file(folder: Path, step: int) -> Path:
    """A file for events from `step` on, and none of those in the folder before."""
    from tensorboard.compat.proto.event_pb2 import (
        Event,  # pyright: ignore[reportAttributeAccessIssue]
        SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
    )

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob(FILES)):
        _cut(path, step)
    # Files are read in the order of their names.
    last = max((int(path.name.split(".")[3]) for path in folder.glob(FILES)), default=0)
    number = max(int(time.time()), last + 1)
    path = folder / FILES.replace("*", f"{number:010d}")
    now = time.time()
    version = Event(wall_time=now, file_version="brain.Event:2")
    # A TensorBoard that is running drops what it has read from this step on.
    start = Event(
        wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START)
    )
    _append(path, iter([version, start]))
    return path


def _cut(path: Path, step: int) -> None:
    """Truncate a file before its first event at `step` or later, or where it is torn.

    Steps increase in our files, so that those events are the last ones. The file stays
    itself: a TensorBoard that has it open goes on to the next one.
    """
    from tensorboard.backend.event_processing.event_file_loader import (
        RawEventFileLoader,
    )
    from tensorboard.compat.proto.event_pb2 import (
        Event,  # pyright: ignore[reportAttributeAccessIssue]
    )

    size = 0
    for record in RawEventFileLoader(str(path)).Load():
        if Event.FromString(record).step >= step:
            break
        size += len(record) + 16  # Length, and two checksums.
    with disk.open_in_place(path, "r+b") as file:
        file.truncate(size)
