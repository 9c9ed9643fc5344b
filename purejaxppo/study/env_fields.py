"""The fields of an environment's parameters by dotted name, whatever holds them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from purejaxppo.fields import UnknownField


def flatten(params: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value of all fields: of dataclasses, NamedTuples and dicts."""
    flat: dict[str, Any] = {}
    for name, value in (_fields(params) or {}).items():
        inner = flatten(value, f"{prefix}{name}.")
        flat |= inner or {f"{prefix}{name}": value}
    return flat


def replace(params: Any, changes: Mapping[str, Any]) -> Any:
    """Parameters with fields changed by dotted name.

    Raises:
      ValueError: an unknown name (with the nearest ones), or a value that is not of the
        kind that the field holds.
    """
    known = flatten(params)
    for name, value in changes.items():
        if name not in known:
            raise UnknownField(f"env.{name}", [f"env.{k}" for k in known])
        params = _with(params, name.split("."), _like(name, value, known[name]))
    return params


def _fields(params: Any) -> dict[str, Any] | None:
    """The fields that parameters consist of, if they consist of any."""
    if isinstance(params, Mapping):
        return dict(params)
    if hasattr(params, "_asdict"):
        return params._asdict()
    if not dataclasses.is_dataclass(params):
        return None
    return {f.name: getattr(params, f.name) for f in dataclasses.fields(params)}


def _with(params: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    if rest:
        value = _with((_fields(params) or {})[head], rest, value)
    if isinstance(params, Mapping):
        kind: Any = type(params)
        return kind({**params, head: value})
    if hasattr(params, "_replace"):
        return params._replace(**{head: value})
    return dataclasses.replace(params, **{head: value})


def _like(name: str, value: Any, now: Any) -> Any:
    """A value in the kind of the one that it replaces."""
    kind = _kind(now)
    if kind is None:
        return value
    given = np.asarray(value)
    fits = {
        "b": given.dtype.kind == "b",
        "i": given.dtype.kind in "iuf" and bool((given == np.round(given)).all()),
        "f": given.dtype.kind in "iuf",
    }
    if not fits[kind] or given.shape != np.shape(now):
        of = f" of shape {np.shape(now)}" if np.shape(now) else ""
        what = {"b": "bool", "i": "int", "f": "float"}[kind]
        raise ValueError(f"Expected env.{name} to be {what}{of}, got {value!r}.")
    if isinstance(now, bool | int | float):
        return type(now)(value)
    return given.astype(np.asarray(now).dtype)


def _kind(value: Any) -> str | None:
    """b, i or f of numbers and arrays of them; None of other things."""
    try:
        kind = np.asarray(value).dtype.kind
    except TypeError:
        return None
    return {"b": "b", "i": "i", "u": "i", "f": "f"}.get(kind)
