"""The training of a study: chunk by chunk, so that nothing done is done again."""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from purejaxppo.study import directory
from purejaxppo.study.devices import processes
from purejaxppo.study.devices.sharding import AXIS, at_most, run_mesh
from purejaxppo.study.directory import ChangedWarning, Task
from purejaxppo.study.execution.chunks import (
    Outcome,
    Training,
    check_masks,
    read_outcome,
    split_checkpoint,
)
from purejaxppo.study.execution.plans import Chunk, Plan
from purejaxppo.study.execution.programs import Programmer, make_plan
from purejaxppo.study.execution.resources import Means
from purejaxppo.study.execution.segments import Segment
from purejaxppo.study.loggers import Logged, Logger
from purejaxppo.study.storage import checkpoints, disk, files
from purejaxppo.study.storage.locking import Lock, locked

if TYPE_CHECKING:
    import xarray


class Status(NamedTuple):
    """How far a study is: before compiling (0 seconds), then after each segment.

    Updates are those of all chunks together. `episode_return` is the mean over the
    latest returns of the runs that are trained at the time, NaN before the first;
    `seconds` and `steps_per_second` (over all runs) count training alone.
    """

    num_runs: int
    update: int
    num_updates: int
    seconds: float = 0.0
    steps_per_second: float = 0.0
    episode_return: float = float("nan")
    chunk: int = 0
    num_chunks: int = 1


OnStatus = Callable[[Status], None]


class Work:
    """A study under way.

    Args:
      task: what is to be trained.
      means: what with.
      chunks: those that it was begun with, if it goes on.
      logger: is told of each segment.
      is_new: whether it takes the directory anew.
      lock: what this process holds of the directory, if it is the first one.
    """

    def __init__(
        self,
        task: Task,
        means: Means,
        chunks: list[Chunk],
        logger: Logger,
        is_new: bool = True,
        lock: Lock | None = None,
    ) -> None:
        self.task, self.means, self.chunks, self.logger = task, means, chunks, logger
        self.is_new, self.lock = is_new, lock
        self.programmer = Programmer(task.groups, task.algorithm, means.devices_per_run)
        self.now: tuple[Chunk, Training] | None = None
        self.kept: dict[Chunk, Outcome] = {}
        self.finished: set[Chunk] = set()
        self.steps, self.began = 0, time.perf_counter()

    def run(
        self, on_plan: Callable[[Plan], None] | None, on_status: OnStatus
    ) -> "xarray.Dataset":
        """Train what is not trained yet; see `Study.run`."""
        num_updates = max(group.config.num_updates for group in self.task.groups)
        on_status(Status(len(self.task.seeds), 0, num_updates))
        self._plan(on_plan)
        self._begin()
        self.began = time.perf_counter()
        self._begin_log()
        try:
            with _asked_to_stop() as stop_asked:
                while chunk := self._next():
                    if self._train(chunk, on_status, stop_asked):
                        break
        except BaseException as error:
            # Where one of several processes fails, the others do not come to write.
            if jax.process_count() == 1:
                self._leave_all(error)
            raise
        else:
            outcomes = self._leave_all()
        finally:
            self.logger.close()
        return self.task.dataset(outcomes)

    def _plan(self, on_plan: Callable[[Plan], None] | None) -> None:
        """Plan the chunks, unless the study was begun with some."""
        if self.chunks:
            self._shrink()
            return
        timed, seeds = on_plan is not None, self.task.seeds
        plan = make_plan(self.programmer, self.means, seeds, timed=timed)
        if on_plan is not None:
            on_plan(plan)
        self.chunks = list(plan.chunks)

    def _shrink(self) -> None:
        """Cut what is not trained yet, where fewer runs at once are meant than planned.

        The system may kill a process that takes too much memory, and would again.
        """
        most = self.means.chunk_size
        if most is None:
            return
        size = at_most(most, self.means.devices_per_run)
        smaller = {
            c: c.parts(size)
            for c in self.chunks
            if c.size > most and self._stored(c) < self.task.num_updates(c)
        }
        if not smaller:
            return
        warnings.warn(
            f"Going on with {size} runs at once; the results are not to the bit those "
            "of an uninterrupted study.",
            ChangedWarning,
            stacklevel=2,
        )
        self._cut(smaller)

    def _begin(self) -> None:
        """Take the directory, now that the plan is known and agreed to."""
        task, output = self.task, self.task.output
        self._check_there()
        if output is not None and self.is_new:
            processes.first_does(
                lambda: directory.begin(task, output), "begin the study"
            )
        self._note_chunks()

    def _note_chunks(self) -> None:
        task, output = self.task, self.task.output
        share = self.means.devices_per_run
        if output is not None:
            processes.first_does(
                lambda: directory.write_chunks(output, task, self.chunks, share),
                "write the plan",
            )

    def _begin_log(self) -> None:
        """Tell the logger where each run goes on from."""
        done = np.zeros(len(self.task.seeds), np.int64)
        for chunk in self.chunks:
            done[self.task.runs(chunk)] = self._stored(chunk)
        about = self.task.about(done)
        processes.first_does(lambda: self.logger.begin(about), "begin the log")

    def _stored(self, chunk: Chunk) -> int:
        """Updates of a chunk that are kept, and are not made again."""
        if chunk in self.finished:
            return self.task.num_updates(chunk)
        folder = self._folder(chunk)
        found = None if folder is None else checkpoints.newest(folder)
        return 0 if found is None else checkpoints.update_of(found)

    # --- Chunks ---------------------------------------------------------------------

    def _folder(self, chunk: Chunk) -> Path | None:
        output = self.task.output
        return None if output is None else output / files.CHUNKS / chunk.name

    def _read(self, chunk: Chunk) -> Outcome | None:
        """Where a chunk's runs are, by what is kept of them."""
        folder = self._folder(chunk)
        if chunk in self.kept or folder is None:
            return self.kept.get(chunk)
        return read_outcome(folder, chunk.num_runs)

    def _next(self) -> Chunk | None:
        """The first chunk that is not trained to its end."""
        for chunk in self.chunks:
            if chunk in self.finished:
                continue
            outcome = self._read(chunk)
            if outcome is None or outcome.update < self.task.num_updates(chunk):
                return chunk
            check_masks(outcome.metrics, self._who(chunk))
            self.finished.add(chunk)
        return None

    def _train(
        self, chunk: Chunk, on_status: OnStatus, stop_asked: threading.Event
    ) -> bool:
        """Train a chunk to its end, or until it is to stop, or halve it.

        Returns:
          Whether the study is to stop. A chunk whose last update is made is finished
          even then.
        """
        try:
            return self._advance(chunk, on_status, stop_asked)
        except RuntimeError as error:
            if not processes.is_exhausted(error):
                raise
            self.now = None
            self._halve(chunk)
            return False

    def _advance(
        self, chunk: Chunk, on_status: OnStatus, stop_asked: threading.Event
    ) -> bool:
        group, runs = self.task.groups[chunk.group], self.task.runs(chunk)
        rows = slice(chunk.start, chunk.stop)
        training = Training(
            self.programmer.programs(chunk.group, chunk.size),
            {name: values[rows] for name, values in group.values.items()},
            self.task.seeds[runs],
            self._folder(chunk),
            60 * self.means.checkpoint_minutes,
        )
        self.now, stops = (chunk, training), False
        check_masks(training.metrics, self._who(chunk))
        for segment in training.segments():
            self._check_there()
            updates = segment.stop - segment.start
            self.steps += updates * group.config.batch_size * len(runs)
            check_masks(segment.metrics, self._who(chunk), segment.start)
            self.logger.log(self._logged(chunk, segment))
            on_status(self._status(chunk, segment))
            stops = processes.any_of(stop_asked.is_set())
            if stops and segment.stop < self.task.num_updates(chunk):
                return True
        self._finish(chunk, training)
        return stops

    def _finish(self, chunk: Chunk, training: Training) -> None:
        """Put a trained chunk away: on the disk, unless it is the whole study."""
        is_all = len(self.chunks) == 1
        if training.saved or not is_all:
            training.save()
        if is_all or training.saved < training.update:  # No disk, or a full one.
            self.kept[chunk] = training.outcome()
        self.finished.add(chunk)
        self.now = None

    def _halve(self, chunk: Chunk) -> None:
        """Train half as many of the group's runs at once, from where they are."""
        devices = run_mesh(chunk.size, self.means.devices_per_run).shape[AXIS]
        self.programmer.forget(chunk.group)
        halves = {
            c: c.halves(devices)
            for c in self.chunks
            if c.group == chunk.group and c not in self.finished
        }
        warnings.warn(
            f"Out of memory with {chunk.size} runs at once; going on with "
            f"{halves[chunk][0].size}.",
            ChangedWarning,
            stacklevel=2,
        )
        self._cut(halves)
        self._note_chunks()
        self.logger.close()
        self._begin_log()

    def _cut(self, smaller: dict[Chunk, list[Chunk]]) -> None:
        """Train chunks in smaller ones, which go on from where they are."""
        for whole, parts in smaller.items():
            self._split(whole, parts)
        self.chunks = [part for c in self.chunks for part in smaller.get(c, [c])]

    def _split(self, whole: Chunk, parts: list[Chunk]) -> None:
        """Give the parts of a chunk what its last checkpoint has of them."""
        folder = self._folder(whole)
        if folder is None:
            return
        rows = [slice(p.start - whole.start, p.stop - whole.start) for p in parts]
        folders = [folder.with_name(part.name) for part in parts]
        split_checkpoint(folder, dict(zip(folders, rows, strict=True)))

    def _who(self, chunk: Chunk) -> Callable[[int], str]:
        runs = self.task.runs(chunk)
        return lambda row: self.task.named(runs[row])

    def _logged(self, chunk: Chunk, segment: Segment) -> Logged:
        batch_size = self.task.groups[chunk.group].config.batch_size
        return Logged(
            runs=self.task.runs(chunk),
            start=segment.start,
            stop=segment.stop,
            env_steps=np.arange(segment.start + 1, segment.stop + 1) * batch_size,
            metrics=segment.metrics,
            seconds=time.perf_counter() - self.began,
        )

    def _status(self, chunk: Chunk, segment: Segment) -> Status:
        latest = segment.metrics["episode_return"][:, -1]
        seen = latest[np.isfinite(latest)]
        seconds = time.perf_counter() - self.began
        number = self.chunks.index(chunk)
        before = sum(map(self.task.num_updates, self.chunks[:number]))
        return Status(
            num_runs=len(self.task.seeds),
            update=before + segment.stop,
            num_updates=sum(map(self.task.num_updates, self.chunks)),
            seconds=seconds,
            steps_per_second=self.steps / seconds,
            episode_return=float(seen.mean()) if seen.size else float("nan"),
            chunk=number,
            num_chunks=len(self.chunks),
        )

    # --- What is left ---------------------------------------------------------------

    @property
    def _is_there(self) -> bool:
        """Whether the directory is still the one that was taken."""
        return self.lock is None or self.lock.is_there()

    def _check_there(self) -> None:
        """Raise in all processes if the directory was removed, or another put there.

        Raises:
          disk.WriteError: it was.
        """
        if processes.any_of(not self._is_there):
            raise disk.WriteError(f"{self._removed()}.")

    def _removed(self) -> str:
        return f"Output {self.task.output} was removed while it was trained"

    def _leave_all(
        self, raised: BaseException | None = None
    ) -> list[tuple[Chunk, Outcome]]:
        """Leave the study, also where its directory was removed; returns how far it is.

        Args:
          raised: why the training ended, if it failed.

        Raises:
          disk.WriteError: the directory was removed, or cannot be written.
        """
        try:
            self._check_there()
            outcomes = self._leave()
            self._check_there()
        except OSError as error:
            if not self._is_there:
                raise self._leave_anew() from raised
            raise disk.WriteError(
                f"{str(error).removesuffix('.')}; `purejaxppo resume "
                f"{self.task.output}` goes on from the last checkpoint."
            ) from raised
        return outcomes

    def _leave_anew(self) -> disk.WriteError:
        """Leave what is in memory where the directory was; returns what is to be said.

        Nothing is touched where somebody else has put something there since.
        """
        task, output = self.task, self.task.output
        assert output is not None  # Else it could not be removed.
        if jax.process_count() > 1:
            return disk.WriteError(f"{self._removed()}.")
        try:
            with locked(output) as self.lock:
                if files.holds_study(output):
                    raise ValueError("another study is there")
                directory.write_facts(output, task, (), 0.0, complete=False)
                files.write_job(output, task.job)
                self._note_chunks()
                if self.now is not None:
                    self.now[1].saved = 0
                self._leave()
        except (ValueError, OSError) as error:
            return disk.WriteError(
                f"{self._removed()}, and what was in memory could not be saved: "
                f"{disk.reason(error)}."
            )
        return disk.WriteError(
            f"{self._removed()}; what was in memory is saved there again, and "
            f"`purejaxppo resume {output}` goes on."
        )

    def _outcomes(self) -> Iterator[tuple[Chunk, Outcome]]:
        """Where the runs are, chunk by chunk, of those that have begun."""
        for chunk in self.chunks:
            if self.now is not None and self.now[0] == chunk:
                outcome = self.now[1].outcome()
            else:
                outcome = self._read(chunk)
            if outcome is not None and outcome.update:
                yield chunk, outcome

    def _leave(self) -> list[tuple[Chunk, Outcome]]:
        """Leave the study in its directory, as far as it is; returns how far."""
        if self.now is not None and self.now[1].lost and self.now[1].saved:
            return []  # What was left before fits together, and can be resumed.
        if self.now is not None and self.task.output is not None:
            self.now[1].save()
        outcomes = list(self._outcomes())
        output, seconds = self.task.output, time.perf_counter() - self.began
        if output is not None and outcomes:
            complete = self._is_complete(outcomes)
            directory.leave(output, self.task, outcomes, seconds, complete)
        return outcomes

    def _is_complete(self, outcomes: list[tuple[Chunk, Outcome]]) -> bool:
        """Whether all runs are trained to their end, and nothing of that was lost."""
        whole = {c for c, x in outcomes if x.update == self.task.num_updates(c)}
        return whole & self.finished == set(self.chunks)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event set by the first Ctrl-C or SIGTERM; the second one does as usual.

    SIGTERM is what clusters send some seconds before they kill.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():  # None is one that is not Python's.
            signal.signal(number, handler or signal.SIG_DFL)

    def ask(*_: object) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
