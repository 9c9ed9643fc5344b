"""rliable's dictionary of scores, in memory and in JSON or NPZ files.

`{algorithm: [runs, tasks]}`, final scores, or `{algorithm: [runs, tasks, frames]}`,
scores over time. In JSON an array is a list of lists, in NPZ an array by the
algorithm's name. Neither knows the names of tasks, nor seeds. Source: Agarwal et al.
2021, "Deep reinforcement learning at the edge of the statistical precipice".
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejaxppo.reliability import final_performance, num_observed
from purejaxppo.reliability.grids import on_regular_grid
from purejaxppo.reliability.runs import Runs, check_runs
from purejaxppo.results.common_grid import distinct, renamed, says_normalized
from purejaxppo.study.storage import disk


def from_scores(
    scores: Mapping[str, Any],
    *,
    tasks: Sequence[str] | None = None,
    env_steps: Sequence[int] | None = None,
) -> list[Runs]:
    """Turn a dictionary of scores into records, whose curves they are.

    Args:
      scores: `[runs, tasks]` or `[runs, tasks, frames]` for each algorithm; NaN where a
        score is missing.
      tasks: their names; task_0, task_1, ... if None.
      env_steps: those of the frames; 1, 2, ... if None. Final scores are one frame.

    Returns:
      A record for each algorithm and task, tasks within algorithms; seeds 0, 1, ...

    Raises:
      ValueError: an array is not of such a shape, or the names do not fit it.
    """
    if not scores:
        raise ValueError("Expected scores to hold an algorithm, got none.")
    return [
        record
        for algorithm, values in scores.items()
        for record in _records(algorithm, values, tasks, env_steps)
    ]


def final_scores(
    records: Sequence[Runs], *, fraction: float = 0.1
) -> dict[str, np.ndarray]:
    """Final scores as rliable wants them: `{algorithm: [runs, tasks]}`.

    A score is `final_performance(curve, fraction)`, on a regular grid of steps.
    rliable knows no missing scores, so that what would need one is refused rather than
    padded with NaN.

    Args:
      records: of one or more algorithms, each on the same tasks.
      fraction: in (0, 1], the share of the time that counts as the end.

    Returns:
      An array for each algorithm, in the order of the records; tasks are in the order
      of the first algorithm's.

    Raises:
      ValueError: an algorithm lacks a task, has different numbers of runs on two, or
        has a run without a score.
    """
    distinct([check_runs(record) for record in records])
    algorithms: dict[str, dict[str, np.ndarray]] = {}
    for record in records:
        curves = on_regular_grid(record).curves.astype(np.float64)
        final = final_performance(curves, fraction)
        algorithms.setdefault(record.algorithm, {})[record.task] = final
    if not algorithms:
        raise ValueError("Expected runs to take final scores of, got none.")
    tasks = list(next(iter(algorithms.values())))
    return {name: _matrix(name, own, tasks) for name, own in algorithms.items()}


def read_scores(
    path: Path | str,
    *,
    tasks: Sequence[str] | None = None,
    env_steps: Sequence[int] | None = None,
    algorithm: str | None = None,
    task: str | None = None,
) -> list[Runs]:
    """Read a dictionary of scores from a `.json` or `.npz`; see `from_scores`.

    The scores of a file that is called so, such as `human_normalized_scores.json`, are
    taken for normalised ones: a comparison then counts 0 as 0 and 1 as 1.

    Args:
      path: of the file.
      tasks: as for `from_scores`.
      env_steps: likewise.
      algorithm: in place of the only one.
      task: name of the only one.

    Raises:
      ValueError: the file is not such a dictionary.
    """
    path = Path(path)
    if path.is_dir() or path.suffix not in (".json", ".npz"):
        raise ValueError(f"{path} holds no scores: a file that ends in .json or .npz.")
    scores = _read_npz(path) if path.suffix == ".npz" else _read_json(path)
    try:
        records = from_scores(scores, tasks=tasks, env_steps=env_steps)
        renamed("algorithm", algorithm, (record.algorithm for record in records))
        renamed("task", task, (record.task for record in records))
    except ValueError as error:
        line = str(error).removesuffix(".")
        raise ValueError(f"{line}, in {path}.") from None
    return [
        record._replace(
            algorithm=algorithm or record.algorithm,
            task=task or record.task,
            normalized=says_normalized(path.stem),
        )
        for record in records
    ]


def write_scores(
    records: Sequence[Runs], path: Path | str, *, fraction: float = 0.1
) -> None:
    """Write `final_scores` to a `.json` or `.npz`.

    Raises:
      ValueError: as `final_scores`.
    """
    path, scores = Path(path), final_scores(records, fraction=fraction)
    if path.suffix == ".json":
        lists = {name: array.tolist() for name, array in scores.items()}
        disk.write_text(path, json.dumps(lists) + "\n")
        return
    # As np.savez, which takes no algorithm that is called as one of its arguments.
    with disk.replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name, array in scores.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())


# --- Arrays -------------------------------------------------------------------------


def _records(
    algorithm: str,
    values: Any,
    tasks: Sequence[str] | None,
    env_steps: Sequence[int] | None,
) -> list[Runs]:
    array = _array(algorithm, values)
    num_runs, num_tasks, num_frames = array.shape
    names = [f"task_{i}" for i in range(num_tasks)] if tasks is None else list(tasks)
    steps = range(1, num_frames + 1) if env_steps is None else env_steps
    sizes = (("tasks", names, num_tasks), ("env_steps", steps, num_frames))
    for field, given, size in sizes:
        if len(given) != size:
            raise ValueError(
                f"Expected {field} to be the {size} of {algorithm}, got {len(given)}."
            )
    if len(set(names)) < num_tasks:
        raise ValueError(f"Expected tasks to differ, got {', '.join(names)}.")
    return [
        check_runs(
            Runs(algorithm, name, np.array(steps), array[:, i], np.arange(num_runs))
        )
        for i, name in enumerate(names)
    ]


def _array(algorithm: str, values: Any) -> np.ndarray:
    """Scores `[runs, tasks, frames]`."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected scores of {algorithm} to be an array of numbers, got "
            f"{str(values)[:60]!r}."
        ) from None
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(
            f"Expected scores of {algorithm} to be [runs, tasks] or [runs, tasks, "
            f"frames], with one of each at least, got shape {array.shape}."
        )
    return array if array.ndim == 3 else array[:, :, None]


def _matrix(
    algorithm: str, scores: Mapping[str, np.ndarray], tasks: list[str]
) -> np.ndarray:
    """The scores of one algorithm, `[runs, tasks]`."""
    if set(scores) != set(tasks):
        raise ValueError(
            f"Expected {algorithm} to be on {', '.join(tasks)}, as the first algorithm "
            f"is, got {', '.join(scores)}."
        )
    columns = [scores[task] for task in tasks]
    sizes = [len(column) for column in columns]
    if len(set(sizes)) > 1:
        counts = ", ".join(map(str, sizes))
        raise ValueError(
            f"Expected {algorithm} to have as many runs on each of {', '.join(tasks)}, "
            f"got {counts}."
        )
    for task, column in zip(tasks, columns, strict=True):
        missing = len(column) - int(num_observed(column))
        if missing:
            raise ValueError(
                f"Expected each run of {algorithm} on {task} to have a final score, "
                f"got {missing} of {len(column)} without."
            )
    return np.stack(columns, axis=1)


# --- Files --------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    try:
        scores = disk.read_json(path, object_pairs_hook=_once)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be JSON, got: {error}.") from None
    if not isinstance(scores, dict):
        raise ValueError(
            f"Expected {path} to be of the form {{algorithm: [runs, tasks]}}, got a "
            f"{type(scores).__name__}."
        )
    return scores


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of what a file says once; JSON lets a name stand twice."""
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} stands twice")
    return dict(pairs)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"Expected {path} to be NPZ, got: {error}.") from None
