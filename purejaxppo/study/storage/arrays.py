"""What the arrays of a study's directory may be, checked when they are read.

Zarr takes a chunk that is not there for zeros or NaN, and a folder may name any codec:
here each chunk must be there, and nothing but numbers in the usual codecs is read.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purejaxppo.study.storage import disk, schemas
from purejaxppo.study.storage.schemas import Schema, list_of, one_of, table_of, whole

if TYPE_CHECKING:
    import xarray

FACTS = "zarr.json"
"""File that says what a folder of Zarr's holds."""

LARGEST = 2**28
"""Numbers of an array that is read, 2 GiB of float64."""

CODECS = "bytes", "zstd", "gzip", "blosc", "crc32c"

KINDS = "bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))

ARRAY: Schema = {
    "zarr_format": whole(3, 4),
    "node_type": one_of("array"),
    "shape": list_of(whole(0, LARGEST)),
    "data_type": one_of(*KINDS, "float16", "float32", "float64"),
    "dimension_names": list_of(schemas.NAME),
    "chunk_grid": ("a regular grid", lambda x: bool(_chunk_shape(x))),
    "chunk_key_encoding": (
        "of the kind default with a slash",
        lambda x: x == {"name": "default", "configuration": {"separator": "/"}},
    ),
    "codecs": (
        f"a list of some of {', '.join(CODECS)}",
        lambda x: isinstance(x, list) and all(_name_of(c) in CODECS for c in x),
    ),
    "storage_transformers": ("empty", lambda x: x == []),
    "fill_value": schemas.NUMBER,
    "attributes": table_of(schemas.TEXT),
}
"""`zarr.json` of an array."""

GROUP: Schema = {
    "zarr_format": whole(3, 4),
    "node_type": one_of("group"),
    "attributes": schemas.TABLE,
}
"""`zarr.json` of all arrays together."""

ATTRIBUTES: Schema = {
    "env": schemas.NAME,
    "action_dims": whole(),
    "episode_seed": whole(0, 2**32),
    "max_steps": whole(1),
    "updates": whole(),
    "settings": list_of(table_of(schemas.VALUE)),
}
"""Attributes of results and evaluations."""


def _name_of(codec: Any) -> Any:
    return codec.get("name") if isinstance(codec, dict) else None


def _chunk_shape(grid: Any) -> list[int] | None:
    """The shape of an array's chunks, if a grid is regular and has one."""
    configuration = grid.get("configuration") if isinstance(grid, dict) else None
    if not isinstance(configuration, dict) or grid.get("name") != "regular":
        return None
    shape = configuration.get("chunk_shape")
    return shape if list_of(whole(1, LARGEST + 1))[1](shape) else None


# --- Files --------------------------------------------------------------------------


def files_fault(folder: Path) -> str:
    """Return what is wrong with a folder of arrays that Zarr would read, or nothing.

    Raises:
      ValueError: a file cannot be read.
    """
    told = schemas.fault(disk.read_json(folder / FACTS), GROUP, needed=GROUP)
    if told:
        return f"in {FACTS} {told}"
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (told := _array_fault(path)):
            return f"in {path.name} {told}"
    return ""


def _array_fault(path: Path) -> str:
    facts = disk.read_json(path / FACTS)
    if told := schemas.fault(facts, ARRAY, needed=ARRAY):
        return told
    shape, chunk = facts["shape"], _chunk_shape(facts["chunk_grid"])
    if chunk is None or len(chunk) != len(shape):
        return "chunks and shape have different dimensions"
    if len(facts["dimension_names"]) != len(shape):
        return "names and shape have different dimensions"
    if math.prod(shape) > LARGEST or math.prod(chunk) > LARGEST:
        return f"there are more than {LARGEST:,} numbers"
    missing = (name for name in _chunks(shape, chunk) if not (path / name).is_file())
    first = next(missing, None)
    return "" if first is None else f"the chunk {first} is missing"


def _chunks(shape: list[int], chunk: list[int]) -> Iterator[str]:
    """Names of the files that an array consists of."""
    counts = (range(math.ceil(n / size)) for n, size in zip(shape, chunk, strict=True))
    return ("/".join(["c", *map(str, index)]) for index in itertools.product(*counts))


# --- Datasets -----------------------------------------------------------------------


def results_fault(dataset: "xarray.Dataset") -> str:
    """Return what is wrong with `results.zarr`, or nothing."""
    told = _fault(dataset, ("run", "update"), ("seed", "updates"))
    if told:
        return told
    for name in ("finite", "episode_return"):
        if name not in dataset or dataset[name].dims != ("run", "update"):
            return f"it has no {name} of each run and update"
    each = ("update",), ("run", "update")
    if "env_steps" not in dataset or dataset["env_steps"].dims not in each:
        return "it has no env_steps of each update"
    steps, updates = dataset["env_steps"].values, dataset["updates"].values
    if not _are_whole(steps, 1) or (np.diff(steps, axis=-1) <= 0).any():
        return "env_steps are not whole numbers that increase"
    if not _are_whole(updates, 0) or (updates > dataset.sizes["update"]).any():
        return "updates are not whole numbers of at most all updates"
    return ""


def evaluation_fault(dataset: "xarray.Dataset") -> str:
    """Return what is wrong with `evaluation.zarr`, or nothing."""
    return _fault(dataset, ("run", "episode"), ("seed",))


def _fault(
    dataset: "xarray.Dataset", dims: tuple[str, str], needed: tuple[str, ...]
) -> str:
    """Return what is wrong with the arrays of a study's runs, or nothing."""
    if told := schemas.fault(dict(dataset.attrs), ATTRIBUTES, needed=("env",)):
        return told
    if set(dataset.sizes) != set(dims) or not dataset.sizes["run"]:
        return f"its dimensions are not {' and '.join(dims)}"
    for name, array in dataset.variables.items():
        if array.dtype.kind not in "biuf" or not schemas.NAME[1](name):
            return f"{name!r} is no array of numbers"
    for name in needed:
        if name not in dataset or dataset[name].dims != ("run",):
            return f"it has no {name} of each run"
    if not _are_whole(dataset["seed"].values, 0, 2**32):
        return "seed has numbers that are no seeds"
    return _settings_fault(dataset)


def _settings_fault(dataset: "xarray.Dataset") -> str:
    settings = dataset.attrs.get("settings")
    if settings is None:
        return ""
    if not settings or len({tuple(setting) for setting in settings}) > 1:
        return "its settings have not the same fields"
    if "setting" not in dataset or dataset["setting"].dims != ("run",):
        return "it has no setting of each run"
    number = dataset["setting"].values
    each = dataset.sizes["run"] / len(settings)
    if not np.array_equal(number, np.arange(len(number)) // each):
        return "its runs have not one setting after the other"
    return ""


def _are_whole(values: np.ndarray, low: int, high: int = schemas.MOST) -> bool:
    if values.dtype.kind not in "iu":
        return False
    return bool(((values >= low) & (values < high)).all())
