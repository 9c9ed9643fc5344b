"""Values that change with training progress, as functions of progress in [0, 1].

Progress counts updates, never optimizer steps: update u of U (u = 0 ... U-1) runs at
progress u / U, so the first update sees exactly the initial value, the last one is a
single update's share from the end, and the end itself is reached with the run's.
"""

import jax
import jax.numpy as jnp


def progress(update: float | jax.Array, num_updates: int) -> jax.Array:
    """U / U of update number `update` = u of `num_updates` = U, in [0, 1)."""
    return jnp.asarray(update, jnp.float32) / num_updates


def linear(
    initial: float | jax.Array, final: float | jax.Array, progress: float | jax.Array
) -> jax.Array:
    """Initial + (final - initial) * progress: a straight line over the whole run."""
    return jnp.asarray(initial + (final - initial) * jnp.asarray(progress))
