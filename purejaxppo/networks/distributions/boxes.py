"""Boxes of actions: their middles and widths, and maps into them."""

import jax
import jax.numpy as jnp
import numpy as np


def center_and_half(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Middle and half width of a box, not finite where it is not bounded.

    Nor where the width overflows, as between the least and the greatest float.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    with np.errstate(all="ignore"):
        center, width = (high + low) / 2, (high - low).astype(np.float32)
    return center.astype(np.float32), width / 2


def affine(x: jax.Array, shift: np.ndarray, scale: np.ndarray) -> jax.Array:
    """Shift + scale x, of x `[..., *shape]` and the others `[*shape]`."""
    return jnp.broadcast_to(shift, x.shape) + jnp.broadcast_to(scale, x.shape) * x


def clip(action: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    """Actions `[..., *shape]` clipped to the box."""
    bounds = [jnp.broadcast_to(bound, action.shape) for bound in (low, high)]
    return jnp.clip(action, *bounds)


def sum_last(x: jax.Array, ndims: int) -> jax.Array:
    """`x` summed over its last `ndims` axes."""
    return x.sum(range(x.ndim - ndims, x.ndim))
