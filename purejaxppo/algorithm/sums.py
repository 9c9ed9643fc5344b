"""Sums of two float32 numbers that keep what rounding would drop."""

import jax
import jax.numpy as jnp


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return s = fl(a + b) and its rounding error e, so that s + e = a + b exactly.

    Where s is infinite or NaN, e is 0.

    Source: Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem
    B: exact whichever of a and b is larger.
    """
    s = a + b
    part = s - a
    e = (a - (s - part)) + (b - part)
    return s, jnp.where(jnp.isfinite(s), e, 0)
