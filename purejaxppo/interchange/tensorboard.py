"""TensorBoard's event files: each folder that holds some is a run.

As CleanRL leaves them, `runs/CartPole-v1__ppo__1__1690000000/events.out.tfevents.*`,
Stable-Baselines3, `PPO_1/events.out.tfevents.*`, or this library's logger, `seed=1/`,
at any depth below the folder given.
A run's name is the path of its folder from the given one on, that one's name included.

Values at one step, as when a run was resumed, become their mean. Each run has steps of
its own: they are brought to their union, NaN where a run has no value, and a
`ReadingWarning` counts these; or to bins, as `on_grid` describes. A run without the tag
is NaN throughout, with a warning. A file is read up to where it breaks off, as
TensorBoard does.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purejaxppo import disk
from purejaxppo.interchange.gathering import on_grid, renamed, require, warn
from purejaxppo.labels import printable
from purejaxppo.reliability.records import Runs, check_runs

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


class _Folder(NamedTuple):
    """A run: what its folder's name says."""

    path: Path
    algorithm: str | None
    task: str | None
    seed: int | None


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
      points: number of bins of equal width in place of the union of steps.

    Returns:
      A record for each algorithm and task.

    Raises:
      ValueError: something is missing: tensorboard, event files, the tag, a name.
    """
    folder = Path(folder)
    require("tensorboard", "tensorboard", folder)
    patterns = PATTERNS if pattern is None else (_compiled(pattern).pattern,)
    runs = [_folder(path, folder, patterns) for path in _run_folders(folder)]
    groups = _groups(runs, algorithm, task)
    seeds = {name: _seeds(" on ".join(name), own) for name, own in groups.items()}
    scalars = {run.path: _scalars(run.path) for run in runs}
    tag = _tag(scalars, tag, folder)
    return [
        _record(name, own, seeds[name], scalars, tag, points)
        for name, own in groups.items()
    ]


# --- Folders ------------------------------------------------------------------------


def _run_folders(folder: Path) -> list[Path]:
    """Folders that hold event files, PPO_2 before PPO_10."""

    def natural(path: Path) -> list[Any]:
        parts = re.split(r"(\d+)", path.as_posix())
        return [int(part) if part.isdecimal() else part for part in parts]

    folders = {path.parent for path in folder.rglob(EVENTS)}
    if not folders:
        raise ValueError(f"Expected event files in {folder}, found none.")
    return sorted(folders, key=natural)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"Expected pattern to be a regular expression, got {pattern!r}: {error}."
        ) from None


def _folder(path: Path, top: Path, patterns: Sequence[str]) -> _Folder:
    name = (Path(top.resolve().name) / path.relative_to(top)).as_posix()
    found = (re.search(pattern, name) for pattern in patterns)
    match = next((match for match in found if match), None)
    if match is None:
        raise ValueError(
            f"Expected pattern {patterns[0]!r} to be found in the name of each run, "
            f"got {name!r}."
        )
    told = match.groupdict()
    seed = told.get("seed")
    if seed is not None and not seed.isdecimal():
        raise ValueError(
            f"Expected the seed in the name of {path} to be a whole number, got "
            f"{seed!r}."
        )
    return _Folder(
        path=path,
        algorithm=told.get("algorithm"),
        task=told.get("task"),
        seed=None if seed is None else int(seed),
    )


def _groups(
    runs: list[_Folder], algorithm: str | None, task: str | None
) -> dict[tuple[str, str], list[_Folder]]:
    """The runs of each algorithm and task, in the order of the first ones."""
    renamed("algorithm", algorithm, (run.algorithm for run in runs))
    renamed("task", task, (run.task for run in runs))
    groups: dict[tuple[str, str], list[_Folder]] = {}
    for run in runs:
        name = (
            _told(run, "algorithm", algorithm or run.algorithm),
            _told(run, "task", task or run.task),
        )
        groups.setdefault(name, []).append(run)
    return groups


def _told(run: _Folder, field: str, name: str | None) -> str:
    if not name:
        raise ValueError(
            f"Expected the {field} of {run.path}, which its name does not tell; give "
            f"{field}, or a pattern with a group (?P<{field}>...)."
        )
    return name


def _seeds(name: str, runs: list[_Folder]) -> np.ndarray:
    """The seeds that names tell, or 0, 1, ... if none does."""
    paths: dict[int | None, Path] = {}
    for run in runs:
        if run.seed is not None and run.seed in paths:
            raise ValueError(
                f"Expected the runs of {name} to have seeds of their own, got seed "
                f"{run.seed} in {paths[run.seed]} and {run.path}."
            )
        paths[run.seed] = run.path
    if list(paths) == [None]:
        return np.arange(len(runs))
    if None in paths:
        raise ValueError(
            f"Expected all names of the runs of {name} to tell a seed, or none, got "
            f"{paths[None]} without."
        )
    return np.array(list(paths))


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
    runs: list[_Folder],
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
    grid, curves = on_grid(
        np.repeat(seen, [len(own) for own in steps]),
        np.concatenate(steps),
        np.concatenate(values),
        len(runs),
        label,
        points,
    )
    return check_runs(Runs(*name, grid, curves, seeds))
