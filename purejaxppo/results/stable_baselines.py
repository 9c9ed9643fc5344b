"""What Stable-Baselines3 leaves without TensorBoard: three kinds of files.

| file | written by | steps | return |
| --- | --- | --- | --- |
| `monitor.csv`, `0.monitor.csv` | `Monitor` | sum of `l` so far | each episode's `r` |
| `progress.csv` | the `csv` logger | `time/total_timesteps` | `rollout/ep_rew_mean` |
| `evaluations.npz` | `EvalCallback` | `timesteps` | mean of `results` |

Each folder with such files is a run, at any depth below the folder that is read:
several seeds are several folders. `0.monitor.csv`, `1.monitor.csv`, ... in one folder
are the environments of one run. Their episodes are merged in the order of the time at
which they ended, as `load_results` of Stable-Baselines3 does, and the steps are the sum
of all lengths up to then; steps of episodes that are still running are not counted.
Other names, as in `PPO_1.monitor.csv`, are a run each.

A run's name is the path of its folder, from the one above the folder that is read. The
task is the `env_id` of a monitor file in the run's folder. Algorithm and seed are told
by the name, as `PATTERNS` has it: `ppo/CartPole-v1_1`, `ppo/seed_1`, `ppo/1`, `PPO_1`;
else the algorithm is called as the folder that is read, and runs are numbered.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejaxppo.reliability.runs import Runs
from purejaxppo.results import cells
from purejaxppo.results.common_grid import gather, warn
from purejaxppo.results.folders import by_number, grouped, read_name, seeds_of

MONITOR, PROGRESS, EVALUATIONS = "*monitor.csv", "progress.csv", "evaluations.npz"

STEPS = ("time/total_timesteps", "total_timesteps", "misc/total_timesteps")
"""What `progress.csv` calls environment steps: Stable-Baselines3, 2, and Baselines."""

RETURNS = (
    *("rollout/ep_rew_mean", "eval/mean_reward"),
    *("ep_reward_mean", "ep_rewmean", "eprewmean"),
)
"""What it calls the return, likewise."""

PATTERNS = (
    # RL Zoo: ppo/CartPole-v1_1, where the number counts runs and is taken as the seed.
    r"(?P<algorithm>[^/]+)/(?P<task>[^/]+-v\d+)_(?P<seed>\d+)$",
    # A folder for each seed: ppo/seed_1, ppo/run-1, ppo/1
    r"(?P<algorithm>[^/]+)/(?:(?:seed|run|s)[ _=-]?)?(?P<seed>\d+)$",
    # As Stable-Baselines3 numbers runs: PPO_1
    r"(?P<algorithm>[^/]+)_(?P<seed>\d+)$",
    # Any other, from the folder that is read on.
    r"^[^/]*/(?P<algorithm>[^/]+)",
)


class _Curve(NamedTuple):
    """What a run's files say: `[rows]` each; the task if they tell it."""

    env_steps: np.ndarray
    values: np.ndarray
    task: str | None


# --- Recognised by themselves -------------------------------------------------------


def holds_monitors(path: Path) -> bool:
    """Whether a file is a monitor's, or a folder has one at any depth."""
    if path.is_dir():
        return next(path.rglob(MONITOR), None) is not None
    first = _first_line(path) if path.suffix == ".csv" else ""
    return first.startswith("#") and first.lstrip("# ").startswith("{")


def holds_progress(path: Path) -> bool:
    """Whether a file is a `progress.csv`, or a folder has one at any depth."""
    if path.is_dir():
        return next(path.rglob(PROGRESS), None) is not None
    names = (
        set(_first_line(path).strip().split(",")) if path.suffix == ".csv" else set()
    )
    has_return = path.name == PROGRESS or not names.isdisjoint(RETURNS)
    return has_return and not names.isdisjoint(STEPS)


def holds_evaluations(path: Path) -> bool:
    """Whether a file is an `evaluations.npz`, or a folder has one at any depth."""
    if path.is_dir():
        return next(path.rglob(EVALUATIONS), None) is not None
    if path.suffix != ".npz":
        return False
    try:
        return {"timesteps", "results"} <= set(_read_npz(path, ()))
    except ValueError:
        return False


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(10_000)


# --- Readers ------------------------------------------------------------------------


def read_monitors(
    path: Path | str,
    *,
    pattern: str | None = None,
    algorithm: str | None = None,
    task: str | None = None,
    points: int | None = None,
) -> list[Runs]:
    """Read monitor files: each episode's return; see the module's text.

    Args:
      path: of one, or of a folder with some at any depth.
      pattern: regular expression with groups among `algorithm`, `task` and `seed`, to
        be found in each run's name; the first of `PATTERNS` that is found if None.
      algorithm: where names do not tell, or in place of the only one.
      task: where no file tells, or in place of the only one.
      points: see `gather`.

    Returns:
      A record for each algorithm and task.

    Raises:
      ValueError: one line that names what is missing, or the file and its row.
    """
    names = _Names(pattern, algorithm, task)
    return _records(Path(path), MONITOR, merge_monitors, names, points)


def read_progress(
    path: Path | str,
    *,
    tag: str | None = None,
    pattern: str | None = None,
    algorithm: str | None = None,
    task: str | None = None,
    points: int | None = None,
) -> list[Runs]:
    """Read the logger's `progress.csv`; see the module's text and `read_monitors`.

    Args:
      path: of one, or of a folder with some at any depth.
      tag: the column that is the return; the first of `RETURNS` that is there if None.
      pattern: as for `read_monitors`.
      algorithm: likewise.
      task: likewise.
      points: likewise.
    """

    def read_run(files: Sequence[Path]) -> _Curve:
        return _logged(files[0], tag)

    names = _Names(pattern, algorithm, task)
    return _records(Path(path), PROGRESS, read_run, names, points)


def read_evaluations(
    path: Path | str,
    *,
    pattern: str | None = None,
    algorithm: str | None = None,
    task: str | None = None,
    points: int | None = None,
) -> list[Runs]:
    """Read the callback's `evaluations.npz`; see the module's text, `read_monitors`.

    Args:
      path: of one, or of a folder with some at any depth.
      pattern: as for `read_monitors`.
      algorithm: likewise.
      task: likewise.
      points: likewise.
    """
    names = _Names(pattern, algorithm, task)
    return _records(Path(path), EVALUATIONS, _evaluated, names, points)


# --- Runs ---------------------------------------------------------------------------


class _Names(NamedTuple):
    """What the caller says of the runs."""

    pattern: str | None
    algorithm: str | None
    task: str | None


def _records(
    path: Path,
    wanted: str,
    read_run: Callable[[Sequence[Path]], _Curve],
    names: _Names,
    points: int | None,
) -> list[Runs]:
    """A record for each algorithm and task whose files are in a folder."""
    curves, runs = {}, []
    for place, files in _files_of_runs(path, wanted).items():
        curve = read_run(files)
        run = read_name(place, _name(place, path), names.pattern, PATTERNS)
        task = names.task or curve.task or run.task
        curves[place] = curve
        runs.append(run._replace(task=task))
    return [
        _record(name, [curves[run.path] for run in own], own, points)
        for name, own in grouped(runs, names.algorithm, names.task).items()
    ]


def _record(
    name: tuple[str, str], curves: list[_Curve], runs: list[Any], points: int | None
) -> Runs:
    label = " on ".join(name)
    sizes = [len(curve.env_steps) for curve in curves]
    if not any(sizes):
        raise ValueError(f"Expected the runs of {label} to have a return, got none.")
    if not all(sizes):
        warn(
            f"Without a return: {sizes.count(0)} of the {len(sizes)} runs of {label}, "
            f"the first in {runs[sizes.index(0)].path}; NaN throughout."
        )
    return gather(
        name,
        np.repeat(np.arange(len(curves)), sizes),
        np.concatenate([curve.env_steps for curve in curves]),
        np.concatenate([curve.values for curve in curves]),
        seeds_of(label, runs),
        points,
    )


def _files_of_runs(path: Path, wanted: str) -> dict[Path, list[Path]]:
    """Folder of each run, or a monitor file with a name of its own -> its files."""
    if path.is_file():
        beside = [x for x in path.parent.glob(MONITOR) if _place(x) == _place(path)]
        if path in beside and len(beside) > 1:
            warn(
                f"One of {len(beside)} environments of a run: {path} alone; its folder "
                "has all of them."
            )
        return {_place(path): [path]}
    found: dict[Path, list[Path]] = {}
    for file in sorted(path.rglob(wanted), key=by_number):
        found.setdefault(_place(file), []).append(file)
    if not found:
        raise ValueError(f"Expected {wanted} in {path}, found none.")
    return found


def _place(file: Path) -> Path:
    """The folder of a file; the file without its ending where that has a name."""
    prefix = file.name.removesuffix("monitor.csv").removesuffix(".")
    named = file.name != prefix and prefix and not prefix.isdecimal()
    return file.with_name(prefix) if named else file.parent


def _name(place: Path, path: Path) -> str:
    """A run's name, from the folder above the one that is read on."""
    top = path if path.is_dir() else path.parent
    above = Path(*top.resolve().parts[-2:]).as_posix().lstrip("/")
    return (Path(above) / place.relative_to(top)).as_posix()


# --- Monitor ------------------------------------------------------------------------


def merge_monitors(files: Sequence[Path]) -> _Curve:
    """The episodes of all environments of a run, by the time at which they ended."""
    parts = [_episodes(file) for file in files]
    ended, lengths, returns = (np.concatenate([p[i] for p in parts]) for i in range(3))
    order = np.argsort(ended, kind="stable")
    return _Curve(np.cumsum(lengths[order]), returns[order], _task(files))


def _episodes(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time of the end, length and return of each episode in a monitor file."""
    header, lines = _header(file), _lines(file)[1:]
    columns = _columns(file, lines, ("r", "l", "t"))
    seconds = cells.numbers("t", columns["t"], file)
    # A run that went on appends, and its time begins anew: the order in the file holds.
    ended = float(header.get("t_start", 0.0)) + np.maximum.accumulate(seconds)
    lengths = cells.whole("l", columns["l"], file, least=1)
    return ended, lengths, cells.numbers("r", columns["r"], file)


def _header(file: Path) -> dict[str, Any]:
    """The JSON in the first line of a monitor file."""
    first = (_lines(file) or [""])[0]
    try:
        header = json.loads(first.removeprefix("#"))
        float(header.get("t_start", 0.0))
    except (ValueError, TypeError, AttributeError):
        header = None
    if header is None or not first.startswith("#"):
        raise ValueError(
            f"{file} is no monitor file: its first line is not # and a JSON object "
            "with t_start and env_id."
        )
    return header


def _task(files: Sequence[Path]) -> str | None:
    """The environment of some monitor files; None where they do not tell.

    Raises:
      ValueError: they are of several.
    """
    told = {str(_header(file).get("env_id")): file for file in files}
    told = {name: file for name, file in told.items() if name not in ("None", "")}
    if len(told) > 1:
        places = " and ".join(f"{name} in {file}" for name, file in told.items())
        raise ValueError(
            f"Monitor files in one folder are the environments of one run, but there "
            f"are {places}: give each run a folder of its own."
        )
    return next(iter(told), None)


# --- Logger and evaluations ---------------------------------------------------------


def _logged(file: Path, tag: str | None) -> _Curve:
    """The rows of a `progress.csv` that have steps and a return."""
    lines = _lines(file)
    known = next(csv.reader(lines), [])
    steps = _one_of(file, "environment steps", known, STEPS)
    value = _one_of(file, "the return", known, RETURNS if tag is None else (tag,))
    columns = _columns(file, lines, (steps, value))
    told = [bool(step and cell) for step, cell in zip(*columns.values(), strict=True)]
    return _Curve(
        cells.whole(steps, columns[steps][told], file, least=0),
        cells.numbers(value, columns[value][told], file),
        _task(sorted(file.parent.glob(MONITOR))),
    )


def _one_of(file: Path, what: str, known: list[str], names: Sequence[str]) -> str:
    for name in names:
        if name in known:
            return name
    raise ValueError(
        f"{file} has no column for {what}: none of {', '.join(names)}, but "
        f"{', '.join(known) or 'nothing'}."
    )


def _evaluated(files: Sequence[Path]) -> _Curve:
    """The mean return of each evaluation in an `evaluations.npz`."""
    (file,) = files
    found = _read_npz(file, ("timesteps", "results"))
    steps, returns = found["timesteps"], found["results"]
    if steps.ndim != 1 or returns.shape[:1] != steps.shape or returns.ndim != 2:
        raise ValueError(
            f"Expected {file} to hold timesteps [evaluations] and results "
            f"[evaluations, episodes], got shapes {steps.shape} and {returns.shape}."
        )
    return _Curve(
        cells.whole("timesteps", steps, file, least=0),
        cells.numbers("results", returns.mean(axis=1, dtype=np.float64), file),
        _task(sorted(file.parent.glob(MONITOR))),
    )


# --- Files --------------------------------------------------------------------------


def _read_npz(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Some arrays of an NPZ file; of no names, all names without their arrays."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            if not names:
                return dict.fromkeys(archive.files)
            return {name: archive[name] for name in names}
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"Expected {file} to be NPZ, got: {error}.") from None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"Expected {file} to be text in UTF-8, it is not.") from None


def _columns(
    file: Path, lines: Sequence[str], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Columns of texts below a header; a last row that breaks off is left out."""
    reader = csv.reader(lines)
    header = next(reader, [])
    for name in names:
        if name not in header:
            raise ValueError(
                f"Expected {file} to have a column {name}, got "
                f"{', '.join(header) or 'none'}."
            )
    rows = [row for row in reader if row]
    if rows and len(rows[-1]) < len(header):
        warn(f"Breaks off: {file}; its last row is left out.")
        rows.pop()
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"Expected row {number + 1} of {file} to have {len(header)} cells, got "
                f"{len(row)}."
            )
    places = {name: header.index(name) for name in names}
    return {
        name: np.array([row[place] for row in rows], object)
        for name, place in places.items()
    }
