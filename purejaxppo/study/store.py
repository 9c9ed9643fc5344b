"""A study's directory: what is in it, written and read."""

import hashlib
import json
import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import tomli_w

from purejaxppo.config import Config
from purejaxppo.fields import flatten, nearest, replace
from purejaxppo.study import digests
from purejaxppo.study.grids import TABLES, from_tables
from purejaxppo.study.origins import package_versions

if TYPE_CHECKING:
    import xarray

CONFIG, ENVIRONMENT, RESULTS = "config.toml", "environment.json", "results.zarr"
PARAMETERS, EVALUATION = "parameters", "evaluation.zarr"
PLAN, CHUNKS = "plan.json", "chunks"
REPORTS = (
    *("report.md", "learning_curve.png", "evaluation_curve.png"),
    *("report.html", "report.json"),
    *("sweep.md", "sweep.csv", "sweep.png"),
)


class Job(NamedTuple):
    """What a study trains, as its `config.toml` says."""

    env: str
    num_seeds: int
    seed: int
    config: Config
    settings: tuple[dict[str, Any], ...] = ()


def holds_study(directory: Path) -> bool:
    """Whether a study was written to the directory."""
    return (directory / CONFIG).exists()


def clear(directory: Path) -> None:
    """Delete a study's own files and nothing else."""
    arrays = RESULTS, EVALUATION, PARAMETERS, CHUNKS
    # The config goes first: without it there is no study, but for its rests.
    for name in (CONFIG, ENVIRONMENT, PLAN, *arrays, *REPORTS):
        remove(directory / name)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there, and first its digests."""
    _manifest_of(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.digests.json")


def write_digests(path: Path) -> None:
    """Write the digests of a folder's files beside it."""
    write_json(_manifest_of(path), digests.digests_of(path))


def _check_whole(path: Path) -> None:
    """Refuse a folder that is not as its digests say, where it has some."""
    manifest = _manifest_of(path)
    if manifest.exists() and (told := digests.fault(path, manifest)):
        raise _damaged(path, f"it {told}")


def check_policies(directory: Path) -> None:
    """Refuse a study whose policies are not as they were written.

    Raises:
      ValueError: naming what is damaged.
    """
    for manifest in sorted((directory / PARAMETERS).glob("*.digests.json")):
        _check_whole(manifest.with_name(manifest.name.removesuffix(".digests.json")))


def write_job(directory: Path, job: Job, name: str = CONFIG) -> None:
    """Write `config.toml`, from which `--config` makes the same study again."""
    make_folder(directory)
    _write_text(directory / name, _job_text(job))


def _job_text(job: Job) -> str:
    config = nested({k: _plain(v) for k, v in flatten(job.config).items()})
    table: dict[str, Any] = {**job._asdict(), "config": config}
    del table["settings"]
    if job.settings:
        names = job.settings[0]
        table["zip"] = {k: [_plain(s[k]) for s in job.settings] for k in names}
    return tomli_w.dumps(table)


def job_digest(job: Job) -> str:
    """The digest that a job's `config.toml` has."""
    return hashlib.sha256(_job_text(job).encode()).hexdigest()


def read_own_job(directory: Path) -> Job:
    """Read a study's own `config.toml`, which must be as it was written.

    Raises:
      ValueError: as `read_job`, or it was changed.
    """
    path, written = directory / CONFIG, read_environment(directory).get("config")
    if written is not None and digests.digest(path) != written:
        raise _damaged(
            path,
            "it is not the one that the study was begun with; undo the change, or "
            f"train what it says as another study, with --config {path} and --output",
        )
    return read_job(path)


def read_job(path: Path) -> Job:
    """Read a `config.toml`, a study's or one's own; what is left out is default.

    Raises:
      ValueError: no such file, no TOML, an unknown key, a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"Expected a config file at {path}, found none.") from None
    except UnicodeDecodeError:
        raise ValueError(f"Expected {path} to be TOML, but it is not UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"Expected {path} to be TOML: {error}.") from None
    known = (*Job._fields[:-1], *TABLES)
    for name in table:
        if name not in known:
            raise ValueError(f"Unknown key {name!r} in {path}; {nearest(name, known)}.")
    return Job(
        env=table.get("env", ""),
        num_seeds=table.get("num_seeds", 1),
        seed=table.get("seed", 0),
        config=replace(Config(), table.get("config", {})),
        settings=tuple(from_tables({k: table[k] for k in TABLES if k in table})),
    )


def check_same(
    directory: Path, job: Job, objects: tuple[str, ...], resume: bool
) -> None:
    """Refuse to take a directory's study for another one, or to take it at all.

    Raises:
      ValueError: it is another job, or was given other objects; or it is not resumed.
    """
    if not resume:
        raise ValueError(
            f"Expected output to hold no study, but {directory} does; overwrite "
            "replaces it, resume goes on with it."
        )
    there, here = _flat(read_own_job(directory)), _flat(job)
    differing = [name for name in there | here if there.get(name) != here.get(name)]
    if differing:
        name = differing[0]
        raise ValueError(
            f"Expected resume to go on with the study in {directory}, but its "
            f"{CONFIG} differs: {name} is {there.get(name)!r} there and "
            f"{here.get(name)!r} here."
        )
    theirs = tuple(read_environment(directory).get("objects", objects))
    if theirs != objects:
        raise ValueError(
            f"Expected resume to go on with the study in {directory}, but as Python "
            f"objects it was given {', '.join(theirs) or 'nothing'}, and this one "
            f"{', '.join(objects) or 'nothing'}."
        )


def _flat(job: Job) -> dict[str, Any]:
    """A job by the names of its fields, each setting's included."""
    settings = {
        f"setting {i}: {name}": _plain(value)
        for i, setting in enumerate(job.settings)
        for name, value in setting.items()
    }
    table = {**job._asdict(), **flatten(job.config), **settings}
    return {k: v for k, v in table.items() if k not in ("config", "settings")}


def write_environment(directory: Path, facts: dict[str, Any]) -> None:
    """Write `environment.json`: versions, devices, and what is known of the study."""
    device = jax.devices()[0]
    record = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "packages": package_versions(),
        "platform": device.platform,
        "device": device.device_kind,
        "num_devices": jax.device_count(),
        **facts,
    }
    make_folder(directory)
    write_json(directory / ENVIRONMENT, record)


def read_environment(directory: Path) -> dict[str, Any]:
    """Read `environment.json`.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    if not (directory / ENVIRONMENT).exists():
        raise ValueError(f"Expected {ENVIRONMENT} in {directory}, found none.")
    kinds = {"status": str, "updates": int}
    return _read_json(directory / ENVIRONMENT, kinds)


def read_plan(directory: Path) -> dict[str, Any] | None:
    """Read `plan.json`: how a study was begun; None if it had not got so far.

    Raises:
      ValueError: it is damaged.
    """
    kinds = {"provenance": dict, "devices_per_run": int, "chunks": list}
    path = directory / PLAN
    return _read_json(path, kinds) if path.exists() else None


def _read_json(path: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Read an object with at least these names and kinds of values."""
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from None
    for name, kind in kinds.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise _damaged(path, f"it has no {name}")
    return record


def _damaged(path: Path, why: object) -> ValueError:
    """The error of a file, or a folder of files, that is not as it was written."""
    first = (str(why).strip().splitlines() or [type(why).__name__])[0]
    told = first.removesuffix(".")
    return ValueError(f"Expected {path} as it was written, but it is damaged: {told}.")


def write_json(path: Path, record: Any) -> None:
    """Write a file of JSON, whole or not at all."""
    _write_text(path, json.dumps(record, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, "utf-8")
    sync(unfinished)
    unfinished.replace(path)
    _sync_one(path.parent)


def make_folder(path: Path) -> list[Path]:
    """Make a folder, and bring it and those made above it to the disk.

    Returns:
      Those that were made, the innermost first.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in made:
        _sync_one(folder.parent)
    return made


def sync(path: Path) -> None:
    """Bring a file, or a folder and all that is in it, to the disk."""
    for inner in (path, *path.rglob("*")) if path.is_dir() else (path,):
        _sync_one(inner)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_results(directory: Path, dataset: "xarray.Dataset") -> None:
    """Write `results.zarr`."""
    _write_dataset(directory / RESULTS, dataset)


def read_results(directory: Path) -> "xarray.Dataset":
    """Read `results.zarr`.

    Raises:
      ValueError: the directory holds no results, or damaged ones.
    """
    if not (directory / RESULTS).exists():
        raise ValueError(f"Expected a study with results in {directory}, found none.")
    return _read_dataset(directory / RESULTS)


def write_evaluation(directory: Path, dataset: "xarray.Dataset") -> None:
    """Write `evaluation.zarr`."""
    _write_dataset(directory / EVALUATION, dataset)


def read_evaluation(directory: Path) -> "xarray.Dataset":
    """Read `evaluation.zarr`, see `study.evaluate_study`.

    Raises:
      ValueError: the directory holds none, or a damaged one.
    """
    if not (directory / EVALUATION).exists():
        raise ValueError(
            f"Expected an evaluation in {directory}, found none; "
            f"`purejaxppo evaluate {shlex.quote(str(directory))}` makes it."
        )
    return _read_dataset(directory / EVALUATION)


def _write_dataset(path: Path, dataset: "xarray.Dataset") -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    remove(unfinished)
    dataset.to_zarr(unfinished, mode="w", zarr_format=3, consolidated=False)
    sync(unfinished)
    remove(path)
    unfinished.replace(path)
    write_digests(path)


def _read_dataset(path: Path) -> "xarray.Dataset":
    import xarray

    _check_whole(path)
    try:
        return xarray.open_zarr(path, consolidated=False, chunks=None).load()
    except Exception as error:  # Of many kinds.
        raise _damaged(path, error) from error


def write_tree(path: Path, tree: Any) -> None:
    """Write a tree of arrays with orbax; all processes take part."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), tree, force=True)


def read_tree(path: Path) -> Any:
    """Read a tree of arrays as NumPy's, in nested dicts and lists.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    import orbax.checkpoint as ocp

    if not path.exists():
        raise ValueError(f"Expected {path.name} in {path.parent}, found none.")
    _check_whole(path)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path.absolute()).item_metadata.tree
            like = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), saved
            )
            return checkpointer.restore(path.absolute(), like)
    except Exception as error:  # Of many kinds.
        raise _damaged(path, error) from error


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """A tree by the dots in its names.

    >>> nested({"params.kernel": 1, "params.bias": 2})
    {'params': {'kernel': 1, 'bias': 2}}
    """
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *path, last = name.split(".")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


def plain(settings: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Settings with values as TOML knows them."""
    return tuple({k: _plain(v) for k, v in setting.items()} for setting in settings)


def _plain(value: Any) -> Any:
    """A value as TOML knows it; NumPy and JAX scalars become Python's."""
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value
