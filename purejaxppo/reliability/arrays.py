"""One implementation for NumPy and JAX: the namespace of the array passed in.

Shapes never depend on values (no boolean indexing), so that every function of
this package runs under ``jax.jit`` and ``jax.vmap``, and in float64 under NumPy.
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or jax.Array, the result is of the same kind


def as_array(values: Array) -> tuple[Any, Array]:
    """Return the array namespace of `values` and `values` as an array of it.

    Args:
        values: any shape; lists and scalars become NumPy arrays.

    Returns:
        The namespace (`numpy` or `jax.numpy`) and the array.
    """
    if not hasattr(values, "__array_namespace__"):
        values = np.asarray(values)
    return values.__array_namespace__(), values


def as_floating(values: Array) -> tuple[Any, Array]:
    """Return the array namespace of `values` and `values` in floating point.

    Args:
        values: any shape; integers and bools become the namespace's default float.

    Returns:
        The namespace (`numpy` or `jax.numpy`) and the array.
    """
    xp, values = as_array(values)
    if not xp.isdtype(values.dtype, "real floating"):
        values = xp.asarray(values, dtype=float)
    return xp, values


def as_kind_of(values: Array, counts: Array | None) -> Array:
    """Return `values` as an array of JAX where counts are, so that they may be traced.

    Args:
        values: any shape, NumPy's or JAX's.
        counts: any shape, likewise, or none.
    """
    if counts is None or counts.__array_namespace__() is np:
        return values
    return counts.__array_namespace__().asarray(values)


def mean_where(values: Array, times: Array, axis: int) -> Array:
    """Return the mean of `values` over `axis`, each counted `times`; NaN of none.

    Args:
        values: any shape, floating point; those counted 0 times may be NaN.
        times: bools or integers, broadcast against the values but over `axis`.
        axis: the axis that is averaged away.

    Returns:
        The broadcast shape without `axis`.
    """
    xp = values.__array_namespace__()
    weight = xp.astype(times, values.dtype)
    total = xp.sum(xp.where(times > 0, values, 0) * weight, axis=axis)
    count = xp.sum(weight, axis=axis)
    return xp.where(count > 0, total / xp.maximum(count, 1), xp.nan)


def gap(after: Array, before: Array) -> Array:
    """Return after - before, 0 where they are equal, be it both infinite.

    Args:
        after: any shape, floating point.
        before: the same shape.
    """
    xp = after.__array_namespace__()
    same = after == before
    return xp.where(same, 0, after) - xp.where(same, 0, before)


def matmul(a: Array, b: Array) -> Array:
    """Return a @ b in the full precision of their type, on every device.

    Args:
        a: `[..., n]`.
        b: `[n, ...]`, at most two axes.
    """
    xp = a.__array_namespace__()
    # Devices with matrix units round float32 to 10 bits unless told not to.
    return xp.matmul(a, b, **({} if xp is np else {"precision": "highest"}))


def in_parts(times: np.ndarray, like: Array) -> list[Array]:
    """Return times as a sum of arrays whose differences keep their precision.

    In float32 a billion environment steps are counted by 64: what is cut off is the
    second part.

    Args:
        times: `[...]` in float64.
        like: an array of the namespace and type that is asked for.

    Returns:
        One array `[...]`, or two where the type is narrower than float64.
    """
    xp = like.__array_namespace__()
    if like.dtype == np.float64:
        return [xp.asarray(times)]
    coarse = times.astype(like.dtype)
    parts = (coarse, times - coarse.astype(np.float64))
    return [xp.asarray(part, dtype=like.dtype) for part in parts]
