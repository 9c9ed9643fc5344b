"""A study's directory: whose it is, and what is left in it."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxppo.config.fields import flatten
from purejaxppo.config.labels import label
from purejaxppo.study import loggers
from purejaxppo.study.devices import processes
from purejaxppo.study.execution.chunks import Outcome
from purejaxppo.study.execution.plans import Chunk
from purejaxppo.study.execution.resources import Means
from purejaxppo.study.execution.segments import Algorithm
from purejaxppo.study.grids.grids import Setting
from purejaxppo.study.grids.groups import Group
from purejaxppo.study.results import merge
from purejaxppo.study.storage import disk, files
from purejaxppo.study.storage.reproducibility import changes, provenance


class ChangedWarning(UserWarning):
    """A study goes on in another way than it was begun."""


class Task(NamedTuple):
    """What is to be trained.

    Attributes:
      job: as `config.toml` has it.
      objects: names of what was given as Python objects.
      groups: of runs.
      algorithm: of a group, for a mesh axis that its environments are spread over.
      seeds: of all runs.
      settings: of the grid.
      attributes: what the results say of the environment.
      output: the directory; None for none.
    """

    job: files.Job
    objects: tuple[str, ...]
    groups: Sequence[Group]
    algorithm: Callable[[Group, str | None], Algorithm]
    seeds: np.ndarray
    settings: Sequence[Setting]
    attributes: dict[str, Any]
    output: Path | None

    def runs(self, chunk: Chunk) -> np.ndarray:
        """Numbers of a chunk's runs."""
        return self.groups[chunk.group].runs[chunk.start : chunk.stop]

    def num_updates(self, chunk: Chunk) -> int:
        """Updates of each of a chunk's runs."""
        return self.groups[chunk.group].config.num_updates

    def about(self, done: np.ndarray) -> loggers.About:
        """What loggers are told first; `done` counts the stored updates of each run."""
        settings = [
            self.settings[i * len(self.settings) // len(self.seeds)]
            for i in range(len(self.seeds))
        ]
        num_updates = np.zeros(len(self.seeds), np.int64)
        for group in self.groups:
            num_updates[group.runs] = group.config.num_updates
        return loggers.About(
            env=self.job.env,
            output=self.output,
            config=flatten(self.job.config),
            labels=tuple(
                " ".join(filter(None, (loggers.setting_label(s), f"seed={seed}")))
                for s, seed in zip(settings, self.seeds, strict=True)
            ),
            settings=tuple(settings),
            seeds=self.seeds,
            done=done,
            num_updates=num_updates,
        )

    def named(self, run: int) -> str:
        """What a message calls a run."""
        setting = self.settings[run * len(self.settings) // len(self.seeds)]
        of = f" of {label(setting)}" if setting else ""
        return f"the run with seed {self.seeds[run]}{of}"

    def dataset(self, outcomes: Iterable[tuple[Chunk, Outcome]]) -> Any:
        """The results of all runs; see `results.merge`."""
        sizes = np.zeros(len(self.seeds), np.int64)
        for group in self.groups:
            sizes[group.runs] = group.config.batch_size
        parts = [(self.runs(chunk), outcome) for chunk, outcome in outcomes]
        return merge(parts, self.seeds, sizes, self.settings, self.attributes)


def check_claim(
    task: Task, output: Path, overwrite: bool, resume: bool, allow_changes: bool
) -> None:
    """Refuse a directory that the study cannot be left in, before anything is changed.

    Raises:
      ValueError: it holds a study and neither `overwrite` nor `resume` was asked for,
        or both; or another study; or this one, begun in another way, or complete with
        damaged policies; or none to resume; or a link in the place of its own files.
    """
    if resume and overwrite:
        raise ValueError("Expected at most one of overwrite and resume, got both.")
    files.check_directory(output)
    if files.holds_study(output) and not overwrite:
        files.check_same(output, task.job, task.objects, resume)
        if files.read_environment(output)["status"] == "complete":
            files.check_policies(output)
        else:
            _check_provenance(output, task.job.env, allow_changes)
    elif resume:
        raise ValueError(f"Expected a study to resume in {output}, found none.")


def begin(task: Task, output: Path) -> None:
    """Make a directory the study's, in the place of any other one."""
    files.clear(output)
    loggers.clear(output)
    write_facts(output, task, (), 0.0, complete=False)
    files.write_job(output, task.job)


def _check_provenance(output: Path, env: str, allow_changes: bool) -> None:
    """Refuse to go on with what would not give the same bits."""
    plan = files.read_plan(output)
    changed = [] if plan is None else changes(plan["provenance"], provenance(env))
    if not changed:
        return
    told = "; ".join(changed)
    if not allow_changes:
        raise ValueError(
            f"Expected resume to go on as the study in {output} was begun, but "
            f"{told}. With allow_changes it goes on; its results are then not to the "
            "bit those of an uninterrupted study."
        )
    warnings.warn(
        f"Changed: {told}; the results are not to the bit those of an uninterrupted "
        "study.",
        ChangedWarning,
        stacklevel=2,
    )


def as_begun(
    output: Path, task: Task, means: Means, allow_changes: bool
) -> tuple[list[Chunk], Means]:
    """The chunks that a study was begun with, and means that give the same bits.

    There are no chunks if it had not got so far. A chunk size counts only where other
    bits are allowed.

    Raises:
      ValueError: the note of them is damaged.
    """
    plan = files.read_plan(output)
    if plan is None:
        return [], means
    numbers = np.asarray(plan["chunks"])
    if not _has_all_runs(numbers, task.groups):
        raise ValueError(
            f"Expected {output / files.PLAN} to have each run in one chunk, as it was "
            "written; it is damaged."
        )
    share = min(plan["devices_per_run"], jax.device_count())
    chunks = [Chunk(*map(int, row)) for row in numbers]
    size = means.chunk_size if allow_changes else None
    return chunks, dataclasses.replace(means, devices_per_run=share, chunk_size=size)


def _has_all_runs(chunks: np.ndarray, groups: Sequence[Group]) -> bool:
    """Whether chunks `[C, 4]`, read from a file, have each run of each group once."""
    if chunks.dtype.kind != "i" or chunks.shape[1:] != (len(Chunk._fields),):
        return False
    number, start, stop, size = chunks.T
    if (start >= stop).any() or (stop - start > size).any():
        return False
    return all(
        _follow(start[number == i], stop[number == i], len(group.runs))
        for i, group in enumerate(groups)
    )


def _follow(start: np.ndarray, stop: np.ndarray, end: int) -> bool:
    """Whether ranges follow one another from 0 to an end."""
    return [*start, end] == [0, *stop]


def write_chunks(
    output: Path, task: Task, chunks: Sequence[Chunk], devices_per_run: int
) -> None:
    """Note the chunks, and all that the bits of the results depend on."""
    record = {
        "provenance": provenance(task.job.env),
        "devices_per_run": devices_per_run,
        "chunks": chunks,
    }
    disk.write_json(output / files.PLAN, record)


def leave(
    output: Path,
    task: Task,
    outcomes: Sequence[tuple[Chunk, Outcome]],
    seconds: float,
    complete: bool,
) -> None:
    """Leave results and policies, without an evaluation of earlier policies.

    All processes take part. The note that the study is complete comes last: whatever
    happens until then, it can be resumed.
    """
    parameters = output / files.PARAMETERS
    unfinished = parameters.with_name(f"{parameters.name}{disk.UNFINISHED}")

    def begin() -> None:
        files.write_results(output, task.dataset(outcomes))
        with disk.writing(unfinished):
            disk.remove(unfinished)
            disk.make_folder(unfinished)

    def finish() -> None:
        with disk.writing(parameters):
            disk.sync(unfinished)
            files.remove(output / files.EVALUATION)
            files.remove(parameters)
            unfinished.replace(parameters)
        write_facts(output, task, outcomes, seconds, complete)
        if complete:
            files.remove(output / files.CHUNKS)

    processes.first_does(begin, "write the results")
    for number, group in enumerate(task.groups):
        found = [(c, x.policies) for c, x in outcomes if c.group == number]
        rows = [policies for _, policies in found if policies is not None]
        if sum(c.num_runs for c, p in found if p is not None) == len(group.runs):
            _leave_policies(unfinished / str(number), rows)
    processes.first_does(finish, "write the results")


def _leave_policies(path: Path, rows: Sequence[dict[str, np.ndarray]]) -> None:
    """Leave the policies of a group, given those of each of its chunks."""
    tree = {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}
    files.write_tree(path, files.nested(tree))
    processes.first_does(lambda: files.write_digests(path), "write the policies")


def write_facts(
    output: Path,
    task: Task,
    outcomes: Sequence[tuple[Chunk, Outcome]],
    seconds: float,
    complete: bool,
) -> None:
    """Write `environment.json`: where and how far the study is."""
    sizes = [(len(group.runs), group.config.num_updates) for group in task.groups]
    facts = {
        "status": "complete" if complete else "incomplete",
        # Of the run that has most of them; then of all runs together.
        "updates": max((outcome.update for _, outcome in outcomes), default=0),
        "num_updates": max(updates for _, updates in sizes),
        "run_updates": sum(c.num_runs * outcome.update for c, outcome in outcomes),
        "num_run_updates": sum(runs * updates for runs, updates in sizes),
        "training_seconds": round(seconds, 3),
        "objects": task.objects,
        "config": files.job_digest(task.job),
    }
    files.write_environment(output, facts)
