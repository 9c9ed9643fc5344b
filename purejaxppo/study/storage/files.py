"""A study's directory: what is in it, written and read."""

import hashlib
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import tomli_w

from purejaxppo.config.config import Config
from purejaxppo.config.fields import flatten, nearest, replace
from purejaxppo.config.labels import printable
from purejaxppo.study.grids.grids import TABLES, from_tables
from purejaxppo.study.storage import arrays, digests, disk, schemas
from purejaxppo.study.storage.reproducibility import package_versions

if TYPE_CHECKING:
    import xarray

CONFIG, ENVIRONMENT, RESULTS = "config.toml", "environment.json", "results.zarr"
PARAMETERS, EVALUATION = "parameters", "evaluation.zarr"
PLAN, CHUNKS = "plan.json", "chunks"
LOCK = ".lock"
DIGESTS = ".digests.json"
REPORTS = (
    *("report.md", "learning_curve.png", "evaluation_curve.png"),
    *("report.html", "report.json"),
    *("sweep.md", "sweep.csv", "sweep.png"),
)
FILES = (
    *(CONFIG, ENVIRONMENT, PLAN, LOCK, *REPORTS),
    *(f"{RESULTS}{DIGESTS}", f"{EVALUATION}{DIGESTS}"),
    *("metrics.csv", "wandb.json", "play.gif"),
)
FOLDERS = RESULTS, EVALUATION, PARAMETERS, CHUNKS, "tensorboard"
EXPORTS = "policy-*"
"""What this library leaves in a study's directory: none of it may be a link."""
LINKED = ("wandb",)
"""A folder in which Weights & Biases makes links, to what is in it."""


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


def check_directory(directory: Path) -> None:
    """Raise if anything of a study's is a link, or not of its kind.

    Raises:
      ValueError: naming it.
    """
    for name in FILES:
        disk.check_entry(directory / name, is_folder=False)
    exports = [path.name for path in directory.glob(EXPORTS)]
    for name in (*FOLDERS, *exports):
        disk.check_entry(directory / name, is_folder=True)
    for name in LINKED:
        disk.check_entry(directory / name, is_folder=True, links_within=True)


def check_study(directory: Path) -> None:
    """Raise unless a directory holds a study, all of it plain files and folders.

    Raises:
      ValueError: as `check_directory`, or there is none.
    """
    if not holds_study(directory):
        raise ValueError(f"Expected a study in {directory}, found none.")
    check_directory(directory)


def clear(directory: Path) -> None:
    """Delete a study's own files and nothing else."""
    arrays = RESULTS, EVALUATION, PARAMETERS, CHUNKS
    # The config goes first: without it there is no study, but for its rests.
    for name in (CONFIG, ENVIRONMENT, PLAN, *arrays, *REPORTS):
        remove(directory / name)
    disk.remove_unfinished(directory)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there, and first its digests."""
    _manifest_of(path).unlink(missing_ok=True)
    disk.remove(path)


def _manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{DIGESTS}")


def write_digests(path: Path) -> None:
    """Write the digests of a folder's files beside it."""
    disk.write_json(_manifest_of(path), digests.digests_of(path))


def _check_whole(path: Path) -> None:
    """Raise if a folder is not as its digests say, or has none."""
    if told := digests.fault(path, _manifest_of(path)):
        raise _damaged(path, f"it {told}")


def check_policies(directory: Path) -> None:
    """Refuse a study whose policies are not as they were written.

    Raises:
      ValueError: naming what is damaged.
    """
    parameters = directory / PARAMETERS
    names = {path.name.removesuffix(DIGESTS) for path in parameters.glob("*")}
    for name in sorted(names):
        _check_whole(parameters / name)


def write_job(directory: Path, job: Job, name: str = CONFIG) -> None:
    """Write `config.toml`, from which `--config` makes the same study again."""
    disk.make_folder(directory)
    disk.write_text(directory / name, _job_text(job))


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
    path, written = directory / CONFIG, read_environment(directory)["config"]
    disk.check_entry(path, is_folder=False)
    if digests.digest(path) != written:
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
    if not path.exists():
        raise ValueError(f"Expected a config file at {path}, found none.")
    try:
        table = disk.read_toml(path)
    except UnicodeDecodeError:
        raise ValueError(f"Expected {path} to be TOML, but it is not UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"Expected {path} to be TOML: {error}.") from None
    known = (*Job._fields[:-1], *TABLES)
    for name in table:
        if name not in known:
            raise ValueError(f"Unknown key {name!r} in {path}; {nearest(name, known)}.")
    own = {name: table[name] for name in schemas.JOB if name in table}
    if told := schemas.fault(own, schemas.JOB, needed=()):
        raise ValueError(f"{path} cannot be used: {told}.")
    try:
        return Job(
            env=table.get("env", ""),
            num_seeds=table.get("num_seeds", 1),
            seed=table.get("seed", 0),
            config=replace(Config(), table.get("config", {})),
            settings=tuple(from_tables({k: table[k] for k in TABLES if k in table})),
        )
    except RecursionError:
        raise ValueError(f"{path} cannot be used: it is nested too deeply.") from None


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
    disk.make_folder(directory)
    disk.write_json(directory / ENVIRONMENT, record)


def read_environment(directory: Path) -> dict[str, Any]:
    """Read `environment.json`.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    if not (directory / ENVIRONMENT).exists():
        raise ValueError(f"Expected {ENVIRONMENT} in {directory}, found none.")
    record = _read_record(directory / ENVIRONMENT, schemas.ENVIRONMENT)
    if record["updates"] > record["num_updates"]:
        raise _damaged(directory / ENVIRONMENT, "updates are more than num_updates")
    return record


def read_plan(directory: Path) -> dict[str, Any] | None:
    """Read `plan.json`: how a study was begun; None if it had not got so far.

    Raises:
      ValueError: it is damaged.
    """
    path = directory / PLAN
    return _read_record(path, schemas.PLAN) if path.exists() else None


def _read_record(path: Path, schema: schemas.Schema) -> dict[str, Any]:
    """Read an object whose fields are as a schema says."""
    disk.check_entry(path, is_folder=False)
    try:
        record = disk.read_json(path)
    except ValueError as error:
        raise _damaged(path, error) from None
    if told := schemas.fault(record, schema):
        raise _damaged(path, told)
    return record


def _damaged(path: Path, why: object) -> ValueError:
    """The error of a file, or a folder of files, that is not as it was written."""
    first = (str(why).strip().splitlines() or [type(why).__name__])[0]
    told = printable(first).removesuffix(".")
    return ValueError(f"Expected {path} as it was written, but it is damaged: {told}.")


def write_results(directory: Path, dataset: "xarray.Dataset") -> None:
    """Write `results.zarr`."""
    _write_dataset(directory / RESULTS, dataset)


def read_results(directory: Path) -> "xarray.Dataset":
    """Read `results.zarr`.

    Raises:
      ValueError: the directory holds no results, or damaged ones.
    """
    path = directory / RESULTS
    if not path.exists():
        raise ValueError(f"Expected a study with results in {directory}, found none.")
    return _read_dataset(path, arrays.results_fault)


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
    return _read_dataset(directory / EVALUATION, arrays.evaluation_fault)


def _write_dataset(path: Path, dataset: "xarray.Dataset") -> None:
    unfinished = path.with_name(f"{path.name}{disk.UNFINISHED}")
    # Each chunk is written, also one of zeros: one that is missing is damage.
    how = {"zarr_format": 3, "consolidated": False, "write_empty_chunks": True}
    with disk.writing(path):
        disk.remove(unfinished)
        try:
            dataset.to_zarr(unfinished, mode="w", **how)
            disk.sync(unfinished)
        except BaseException:
            with suppress(OSError):
                disk.remove(unfinished)
            raise
        remove(path)
        unfinished.replace(path)
        write_digests(path)


def _read_dataset(
    path: Path, fault: Callable[["xarray.Dataset"], str]
) -> "xarray.Dataset":
    import xarray

    disk.check_entry(path, is_folder=True)
    _check_whole(path)
    try:
        if told := arrays.files_fault(path):
            raise ValueError(told)
        how = {"zarr_format": 3, "consolidated": False, "chunks": None}
        dataset = xarray.open_zarr(path, **how).load()
        if told := fault(dataset):
            raise ValueError(told)
    except Exception as error:  # Of many kinds.
        raise _damaged(path, error) from error
    return dataset


def write_tree(path: Path, tree: Any) -> None:
    """Write a tree of arrays with orbax; all processes take part.

    Raises:
      disk.WriteError: it could not be written.
    """
    import orbax.checkpoint as ocp

    with (
        disk.writing(path, (Exception,)),  # orbax's are of many kinds.
        _quiet(),
        ocp.StandardCheckpointer() as checkpointer,
    ):
        checkpointer.save(path.absolute(), tree, force=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's threads from logging what they raise: we are told it, too."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def read_tree(path: Path) -> Any:
    """Read a tree of arrays as NumPy's, in nested dicts and lists.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    import orbax.checkpoint as ocp

    if not path.exists():
        raise ValueError(f"Expected {path.name} in {path.parent}, found none.")
    disk.check_entry(path, is_folder=True)
    try:
        with _quiet(), ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(path.absolute()).item_metadata.tree
            like = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), saved
            )
            return checkpointer.restore(path.absolute(), like)
    except Exception as error:  # Of many kinds.
        raise _damaged(path, error) from error


def read_policies(directory: Path, number: int) -> Any:
    """Read the policies of a group as a tree of NumPy's arrays.

    Raises:
      ValueError: there are none, or they are damaged.
    """
    path = directory / PARAMETERS / str(number)
    if path.exists():
        _check_whole(path)
    return read_tree(path)


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
