"""TensorBoard's event files: each folder that holds some is a run.

As CleanRL leaves them, `runs/CartPole-v1__ppo__1__1690000000/events.out.tfevents.*`,
Stable-Baselines3, `PPO_1/events.out.tfevents.*`, or this library's logger, `seed=1/`,
at any depth below the folder given.
A run's name is the path of its folder from the given one on, that one's name included.

Values at one step, as when a run was resumed, become their mean. Runs with values at
the same, equally spaced steps keep these, NaN where a run has no value. Others are
brought to bins of equal width (`reliability.grids`); a `ReadingWarning` says so. A run
without the tag is NaN throughout, with a warning. A file is read up to where it breaks
off, as TensorBoard does.
"""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from purejaxppo.config.labels import printable
from purejaxppo.reliability.runs import Runs
from purejaxppo.results.common_grid import gather, require, says_normalized, warn
from purejaxppo.results.folders import (
    RunFolder,
    by_number,
    grouped,
    read_name,
    seeds_of,
)
from purejaxppo.study.storage import disk

EVENTS = "*tfevents*"

TAGS = (
    "charts/episodic_return",
    "rollout/ep_rew_mean",
    "charts/episode_return",
    "episode_return",
    "eval/mean_reward",
)
"""What others call the return: CleanRL, Stable-Baselines3, this library's logger, its
studies, evaluation."""

PATTERNS = (
    # CleanRL: CartPole-v1__ppo__1__1690000000
    r"(?P<task>[^/]+)__(?P<algorithm>[^/]+)__(?P<seed>\d+)__\d+$",
    # Stable-Baselines3: PPO_1, where the number counts runs and is taken as the seed.
    r"(?P<algorithm>[^/]+)_(?P<seed>\d+)$",
    # This library's logger: seed=5, or learning_rate=0.001 seed=5.
    r"(?:(?P<algorithm>[^/]+) )?seed=(?P<seed>\d+)$",
    # Any other: what it is must be said.
    r"",
)


Scalars: TypeAlias = dict[str, tuple[np.ndarray, np.ndarray]]
"""Tag -> steps and values, in the order in which they were written."""


def holds_events(folder: Path) -> bool:
    """Whether there are event files in the folder, at any depth."""
    return next(folder.rglob(EVENTS), None) is not None


def read_tensorboard(
    folder: Path | str,
    *,
    tag: str | None = None,
    pattern: str | None = None,
    algorithm: str | None = None,
    task: str | None = None,
    points: int | None = None,
) -> list[Runs]:
    """Read every value of one tag, of all runs below a folder; see the module's text.

    Args:
      folder: with event files at any depth.
      tag: of the return; the first of `TAGS` that a run has if None.
      pattern: regular expression with groups among `algorithm`, `task` and `seed`, to
        be found in each run's name; the first of `PATTERNS` that is found if None.
        Where no name has a seed, runs are numbered in the order of names.
      algorithm: where names do not tell, or in place of the only one.
      task: likewise.
      points: number of bins of equal width, whatever the steps are.

    Returns:
      A record for each algorithm and task.

    Raises:
      ValueError: something is missing: tensorboard, event files, the tag, a name.
    """
    folder = Path(folder)
    require("tensorboard", "tensorboard", folder)
    runs = [
        read_name(path, _name(path, folder), pattern, PATTERNS)
        for path in _run_folders(folder)
    ]
    groups = grouped(runs, algorithm, task)
    seeds = {name: seeds_of(" on ".join(name), own) for name, own in groups.items()}
    scalars = {run.path: _scalars(run.path) for run in runs}
    tag = _tag(scalars, tag, folder)
    return [
        _record(name, own, seeds[name], scalars, tag, points)
        for name, own in groups.items()
    ]


def _run_folders(folder: Path) -> list[Path]:
    """Folders that hold event files, PPO_2 before PPO_10."""
    folders = {path.parent for path in folder.rglob(EVENTS)}
    if not folders:
        raise ValueError(f"Expected event files in {folder}, found none.")
    return sorted(folders, key=by_number)


def _name(path: Path, top: Path) -> str:
    return (Path(top.resolve().name) / path.relative_to(top)).as_posix()


# --- Events -------------------------------------------------------------------------


def _scalars(path: Path) -> Scalars:
    """Every scalar of a run.

    Raises:
      ValueError: a file is none, or cannot be read.
    """
    for file in path.glob(EVENTS):
        if not file.is_file() and not file.is_dir():  # A pipe would never end.
            raise ValueError(f"{file} is not a file.")
    try:
        return _read_scalars(path)
    except Exception as error:  # Of many kinds.
        told = printable(f"{type(error).__name__}: {disk.reason(error)}")
        raise ValueError(f"The event files in {path} are damaged: {told}.") from error


def _read_scalars(path: Path) -> Scalars:
    from tensorboard.backend.event_processing import event_accumulator as events
    from tensorboard.util.tensor_util import make_ndarray

    # Size 0 keeps everything; by default 10,000 values are sampled. Nor is what a
    # restart left behind discarded.
    accumulator = events.EventAccumulator(
        str(path),
        size_guidance={events.SCALARS: 0, events.TENSORS: 0},
        purge_orphaned_data=False,
    ).Reload()
    scalars = {
        tag: _columns((event.step, event.value) for event in accumulator.Scalars(tag))
        for tag in accumulator.Tags()[events.SCALARS]
    }
    for tag in accumulator.Tags()[events.TENSORS]:  # TensorFlow 2's scalars
        metadata = accumulator.SummaryMetadata(tag)
        if metadata.plugin_data.plugin_name == "scalars":
            scalars[tag] = _columns(
                (event.step, make_ndarray(event.tensor_proto).item())
                for event in accumulator.Tensors(tag)
            )
    return scalars


def _columns(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    steps, values = zip(*rows, strict=True)
    return np.array(steps, np.int64), np.array(values, np.float64)


def _tag(scalars: dict[Path, Scalars], tag: str | None, folder: Path) -> str:
    tags = sorted({name for own in scalars.values() for name in own})
    wanted = TAGS if tag is None else (tag,)
    for name in wanted:
        if name in tags:
            return name
    rule = f"one of {', '.join(TAGS)}" if tag is None else tag
    raise ValueError(
        f"Expected {folder} to have the tag {rule}; tags: {', '.join(tags) or 'none'}."
    )


def _record(
    name: tuple[str, str],
    runs: list[RunFolder],
    seeds: np.ndarray,
    scalars: dict[Path, Scalars],
    tag: str,
    points: int | None,
) -> Runs:
    label = " on ".join(name)
    seen = [i for i, run in enumerate(runs) if tag in scalars[run.path]]
    if not seen:
        raise ValueError(f"Expected a run of {label} to have the tag {tag}, got none.")
    if len(seen) < len(runs):
        first = next(run for run in runs if tag not in scalars[run.path])
        warn(
            f"Without {tag}: {len(runs) - len(seen)} of the {len(runs)} runs of "
            f"{label}, the first in {first.path}; NaN throughout."
        )
    steps, values = zip(*(scalars[runs[i].path][tag] for i in seen), strict=True)
    found = gather(
        name,
        np.repeat(seen, [len(own) for own in steps]),
        np.concatenate(steps),
        np.concatenate(values),
        seeds,
        points,
    )
    return found._replace(normalized=says_normalized(tag))
