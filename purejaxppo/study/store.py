"""A study's directory: what is in it, written and read."""

import json
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import tomli_w

from purejaxppo.config import Config
from purejaxppo.fields import flatten, nearest, replace

if TYPE_CHECKING:
    import xarray

CONFIG, ENVIRONMENT, RESULTS = "config.toml", "environment.json", "results.zarr"
PARAMETERS, STATE, EVALUATION = "parameters", "state", "evaluation.zarr"
REPORTS = (
    *("report.md", "learning_curve.png", "evaluation_curve.png"),
    *("report.html", "report.json"),
)
PACKAGES = (
    "purejaxppo",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "gymnax",
    "numpy",
)


class Job(NamedTuple):
    """What a study trains, as its `config.toml` says."""

    env: str
    num_seeds: int
    seed: int
    config: Config


def holds_study(directory: Path) -> bool:
    """Whether a study was written to the directory."""
    return (directory / CONFIG).exists()


def clear(directory: Path) -> None:
    """Delete a study's own files and nothing else."""
    arrays = RESULTS, EVALUATION, PARAMETERS, STATE
    for name in (CONFIG, ENVIRONMENT, *arrays, *REPORTS):
        remove(directory / name)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_job(directory: Path, job: Job) -> None:
    """Write `config.toml`, from which `--config` makes the same study again."""
    directory.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {**job._asdict(), "config": {}}
    for name, value in flatten(job.config).items():
        *path, last = name.split(".")
        inner = table["config"]
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = "none" if value is None else _plain(value)
    (directory / CONFIG).write_text(tomli_w.dumps(table))


def read_job(path: Path) -> Job:
    """Read a `config.toml`, a study's or one's own; what is left out is default.

    Raises:
      ValueError: no such file, no TOML, an unknown key, a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"Expected a config file at {path}, found none.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"Expected {path} to be TOML: {error}.") from None
    for name in table:
        if name not in Job._fields:
            raise ValueError(
                f"Unknown key {name!r} in {path}; {nearest(name, Job._fields)}."
            )
    return Job(
        env=table.get("env", ""),
        num_seeds=table.get("num_seeds", 1),
        seed=table.get("seed", 0),
        config=replace(Config(), table.get("config", {})),
    )


def write_environment(directory: Path, facts: dict[str, Any]) -> None:
    """Write `environment.json`: versions, devices, and what is known of the study."""
    device = jax.devices()[0]
    record = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": device.platform,
        "device": device.device_kind,
        "num_devices": jax.device_count(),
        **facts,
    }
    (directory / ENVIRONMENT).write_text(json.dumps(record, indent=2) + "\n")


def read_environment(directory: Path) -> dict[str, Any]:
    """Read `environment.json`.

    Raises:
      ValueError: there is none.
    """
    if not (directory / ENVIRONMENT).exists():
        raise ValueError(f"Expected {ENVIRONMENT} in {directory}, found none.")
    return json.loads((directory / ENVIRONMENT).read_text())


def make_dataset(
    metrics: dict[str, np.ndarray],
    seeds: np.ndarray,
    batch_size: int,
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """Metrics `[runs, updates]` with names: dimensions (run, update)."""
    import xarray

    num_updates = next(iter(metrics.values())).shape[1]
    return xarray.Dataset(
        {name: (("run", "update"), values) for name, values in metrics.items()},
        coords={
            "seed": ("run", seeds),
            "env_steps": ("update", np.arange(1, num_updates + 1) * batch_size),
        },
        attrs=attributes,
    )


def write_results(directory: Path, dataset: "xarray.Dataset") -> None:
    """Write `results.zarr`."""
    _write_dataset(directory / RESULTS, dataset)


def read_results(directory: Path) -> "xarray.Dataset":
    """Read `results.zarr`.

    Raises:
      ValueError: the directory holds no results.
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
      ValueError: the directory holds none.
    """
    if not (directory / EVALUATION).exists():
        raise ValueError(
            f"Expected an evaluation in {directory}, found none; "
            f"`purejaxppo evaluate {directory}` makes it."
        )
    return _read_dataset(directory / EVALUATION)


def _write_dataset(path: Path, dataset: "xarray.Dataset") -> None:
    dataset.to_zarr(path, mode="w", zarr_format=3, consolidated=False)


def _read_dataset(path: Path) -> "xarray.Dataset":
    import xarray

    return xarray.open_zarr(path, consolidated=False, chunks=None).load()


def write_tree(directory: Path, name: str, tree: Any) -> None:
    """Write a tree of arrays with orbax."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((directory / name).absolute(), tree, force=True)


def read_tree(directory: Path, name: str, like: Any) -> Any:
    """Read a tree of arrays with the structure, shapes and types of `like`.

    Raises:
      ValueError: there is none.
    """
    import orbax.checkpoint as ocp

    path = _existing(directory, name)
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, like)


def tree_shapes(directory: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Shape of each array of a tree that was written, by its path in the tree.

    Raises:
      ValueError: there is none.
    """
    import orbax.checkpoint as ocp

    path = _existing(directory, name)
    with ocp.StandardCheckpointer() as checkpointer:
        return shapes(checkpointer.metadata(path).item_metadata.tree)


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each array of a tree, by its path.

    >>> shapes({"kernel": np.zeros((2, 3)), "scale": (np.zeros(4),)})
    {'kernel': (2, 3), 'scale.0': (4,)}
    """
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in leaves
    }


def _existing(directory: Path, name: str) -> Path:
    if not (directory / name).exists():
        raise ValueError(f"Expected {name} in {directory}, found none.")
    return (directory / name).absolute()


def _plain(value: Any) -> Any:
    """A config's value as TOML knows it; NumPy and JAX scalars become Python's."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
