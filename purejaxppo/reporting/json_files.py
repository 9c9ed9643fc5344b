"""Records as JSON: every number, with null for one that is missing."""

import dataclasses
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from purejaxppo.study.storage import disk

PACKAGES = ("purejaxppo", "numpy", "scipy", "matplotlib")


def plain(value: Any) -> Any:
    """Return what JSON has for a record: objects, lists, numbers, null for NaN.

    Args:
        value: NamedTuples, dataclasses, dicts, sequences, arrays, scalars, paths, in
            any order.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    fields = getattr(value, "_asdict", None)
    if fields is not None:
        value = fields()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """Return what made the numbers."""
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found}


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document whose values `plain` understands."""
    text = json.dumps(plain(document), indent=1, allow_nan=False)
    disk.write_text(path, f"{text}\n")
