"""The runs of one chunk under way: their states, their metrics, their checkpoints."""

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxppo.environments.spaces import MASK
from purejaxppo.study.devices import processes
from purejaxppo.study.execution.segments import (
    Programs,
    Segment,
    Values,
    fill,
    first_runs,
    run_segments,
    start_runs,
)
from purejaxppo.study.storage import checkpoints, disk
from purejaxppo.study.storage.reproducibility import changes

POLICY = "params", "obs_statistics", "critic_scale"
"""What of a run's state its policy acts with."""


class Outcome(NamedTuple):
    """Where the runs of a chunk are: metrics `[runs, update]`, policies `[runs, ...]`.

    A tree of policies is `{path: array}`, None if it was lost.
    """

    update: int
    metrics: dict[str, np.ndarray]
    policies: dict[str, np.ndarray] | None


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the training goes on without it."""


class Training:
    """The runs of a chunk, advanced in segments.

    Args:
      programs: compiled for them.
      values: `[runs]` each, what they differ in besides their seeds.
      seeds: `[runs]`.
      folder: of their checkpoints; they begin where the last one is. None for none.
      every: seconds between checkpoints.

    Attributes:
      update: how many updates were made.
      saved: those that the last checkpoint has, 0 if there is none.
    """

    def __init__(
        self,
        programs: Programs,
        values: Values,
        seeds: np.ndarray,
        folder: Path | None = None,
        every: float = 300.0,
    ) -> None:
        self.programs, self.values, self.seeds = programs, values, seeds
        self.folder, self.every = folder, every
        self.columns: dict[str, list[np.ndarray]] = {}
        self.update = self.saved = 0
        self.state = start_runs(programs, values, seeds)
        self._saved_at = time.monotonic()
        found = None if folder is None else checkpoints.newest(folder)
        processes.check_alike(lambda: {"checkpoint": found and found.name})
        if found is not None:
            self._restore(checkpoints.read(found))
            self.update = self.saved = checkpoints.update_of(found)

    @property
    def num_runs(self) -> int:
        """How many there are, without the filling."""
        return len(self.seeds)

    def _restore(self, saved: Any) -> None:
        self.columns = {name: [column] for name, column in saved["metrics"].items()}
        fresh, structure = jax.tree.flatten(self.state)
        ours = _kinds(processes.named(self.state))
        if told := changes(_kinds(saved["state"]), ours, "absent"):
            raise ValueError(
                f"Expected the checkpoints in {self.folder} to be of this code and "
                f"these versions, but {told[0]}; the study cannot go on with them."
            )
        leaves = []
        for name, like in zip(ours, fresh, strict=True):
            leaves.append(
                processes.as_key(self._placed(saved["state"][name], like), like)
            )
            like.delete()  # A plan does not count the state twice.
        self.state = jax.tree.unflatten(structure, leaves)

    def _placed(self, rows: np.ndarray, like: jax.Array) -> jax.Array:
        """What a checkpoint has, whose filling may be of another size."""
        return fill(rows[: self.num_runs], self.programs.size, like.sharding)

    def segments(self) -> Iterator[Segment]:
        """Advance to the end, segment by segment, with a checkpoint now and then."""
        run = run_segments(
            self.programs, self.values, self.state, self.num_runs, self.update
        )
        for state, segment in run:
            self.state, self.update = state, segment.stop
            for name, column in segment.metrics.items():
                self.columns.setdefault(name, []).append(column)
            yield segment
            due = time.monotonic() - self._saved_at >= self.every
            if self.folder is not None and processes.any_of(due):
                self.save()

    def save(self) -> None:
        """Leave a checkpoint if there is something new; if that fails, say so."""
        if self.folder is None or self.lost or self.saved == self.update:
            return
        tree = {"state": processes.named(self.state), "metrics": self.metrics}
        if _left(self.folder, self.update, tree):
            self.saved = self.update
        self._saved_at = time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether a segment failed after it had taken the state's memory."""
        return any(x.is_deleted() for x in jax.tree.leaves(self.state))

    def outcome(self) -> Outcome:
        """Where the runs are."""
        return Outcome(
            update=self.update,
            metrics=self.metrics,
            policies=None if self.lost else self._policies(),
        )

    def _policies(self) -> dict[str, np.ndarray]:
        return first_runs(_of_policies(processes.named(self.state)), self.num_runs)

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Those of all updates so far, `[runs, update]`."""
        return {name: np.concatenate(x, axis=1) for name, x in self.columns.items()}


def _kinds(state: dict[str, Any]) -> dict[str, str]:
    """Type and shape of each array of a run's state, as a message has it."""
    return {name: f"{x.dtype}{list(x.shape[1:])}" for name, x in state.items()}


def read_outcome(folder: Path, num_runs: int) -> Outcome | None:
    """Where the runs were at their last checkpoint that is whole, if there is one."""
    found = checkpoints.newest(folder)
    if found is None:
        return None
    saved = checkpoints.read(found)
    policies = {k: v[:num_runs] for k, v in _of_policies(saved["state"]).items()}
    return Outcome(checkpoints.update_of(found), saved["metrics"], policies)


def split_checkpoint(folder: Path, parts: dict[Path, slice]) -> None:
    """Leave the last whole checkpoint, if there is one, as one of each part's rows."""
    found = checkpoints.newest(folder)
    if found is None:
        return
    tree = checkpoints.read(found)
    for part, rows in parts.items():
        own = jax.tree.map(lambda x, rows=rows: x[rows], tree)
        _left(part, checkpoints.update_of(found), own)


def _left(folder: Path, update: int, tree: Any) -> bool:
    """Leave a checkpoint; if that fails, say so. Returns whether it is there."""
    try:
        checkpoints.save(folder, update, tree)
    except OSError as error:
        why = disk.reason(error.__cause__ or error)
        warnings.warn(
            f"No checkpoint: {folder} could not be written: {why}; the training goes "
            "on without.",
            CheckpointWarning,
            stacklevel=3,
        )
        return False
    return True


def _of_policies(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k.partition(".")[0] in POLICY}


def check_masks(
    metrics: dict[str, np.ndarray], who: Callable[[int], str], start: int = 0
) -> None:
    """Refuse to go on with an environment that at some step allowed no action.

    Args:
      metrics: `[runs, updates]` each.
      who: number of a run -> what a message calls it.
      start: number of the first update.

    Raises:
      ValueError: with run and update.
    """
    masked = metrics.get("num_fully_masked")
    if masked is None or not masked.any():
        return
    run, update = np.argwhere(masked)[0]
    raise ValueError(
        f"Expected observation.{MASK} to allow an action at each step, got none at "
        f"{masked[run, update]} steps of update {start + update} of {who(int(run))}."
    )
