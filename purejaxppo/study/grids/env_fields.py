"""The fields of an environment's parameters by dotted name, whatever holds them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from purejaxppo.config.fields import UnknownField


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
    known = flatten(params) if changes else {}
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
    kind = kind_of(now)
    if kind is None:
        return value
    like = np.asarray(now)
    held = like.astype(jax.dtypes.canonicalize_dtype(like.dtype))
    given = _array(value)
    if given.shape != held.shape or not _holds(held, kind, given):
        of = f" of shape {held.shape}" if held.shape else ""
        what = {"b": "bool", "i": f"a whole number of {held.dtype}", "f": "float"}[kind]
        raise ValueError(f"Expected env.{name} to be {what}{of}, got {value!r}.")
    if isinstance(now, bool | int | float):
        return type(now)(value)
    return given.astype(like.dtype)


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # Of lists that are not equally long.
        return np.asarray(None)


def _holds(held: np.ndarray, kind: str, given: np.ndarray) -> bool:
    """Whether JAX's type of a field has room for a value."""
    if kind == "b":
        return given.dtype.kind == "b"
    if given.dtype.kind not in "iuf" or np.isnan(given).any():
        return False
    if kind == "f":
        return True
    bounds = np.iinfo(held.dtype)
    whole = (given == np.round(given)) & (bounds.min <= given) & (given <= bounds.max)
    return bool(whole.all())


def kind_of(value: Any) -> str | None:
    """b, i or f of numbers and arrays of them; None of other things."""
    try:
        kind = np.asarray(value).dtype.kind
    except TypeError:
        return None
    return {"b": "b", "i": "i", "u": "i", "f": "f"}.get(kind)
