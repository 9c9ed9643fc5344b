"""Values that change with training progress, as functions of progress in [0, 1].

Progress counts updates, never optimizer steps: update u of U (u = 0 ... U-1) runs at
progress u / U, so the first update sees exactly the initial value, the last one is a
single update's share from the end, and the end itself is reached with the run's. An
update after the last planned one finds every schedule at its end.
"""

import jax
import jax.numpy as jnp

Scalar = float | jax.Array


def within(update: Scalar, num_updates: int) -> jax.Array:
    """Return min(u, U): the time of a schedule that stays at its end after U updates.

    Args:
      update: u, the number of updates that have been made.
      num_updates: U, those that were planned.
    """
    return jnp.minimum(update, num_updates)


def progress(update: Scalar, num_updates: int) -> jax.Array:
    """Return min(u, U) / U, the share of U planned updates made before update u."""
    return within(jnp.asarray(update, jnp.float32), num_updates) / num_updates


def linear(initial: Scalar, final: Scalar, progress: Scalar) -> jax.Array:
    """Initial + (final - initial) * progress: a straight line over the whole run."""
    return jnp.asarray(initial + (final - initial) * jnp.asarray(progress))


def exponential(initial: Scalar, decay: Scalar, update: Scalar) -> jax.Array:
    """Initial * decayᵘ at update number u."""
    return jnp.asarray(initial * jnp.asarray(decay, jnp.float32) ** update)


def piecewise(
    times: tuple[Scalar, ...], values: tuple[Scalar, ...], progress: Scalar
) -> jax.Array:
    """Straight lines between (time, value) points; constant before and after them."""
    xs, ys = (jnp.stack([jnp.float32(v) for v in row]) for row in (times, values))
    return jnp.interp(jnp.asarray(progress), xs, ys)


def staircase(
    initial: Scalar,
    decay: Scalar,
    every: int,
    minimum: Scalar,
    time: Scalar,
) -> jax.Array:
    """max(minimum, initial − decay ⌊time / every⌋)."""
    falls = jnp.floor(jnp.asarray(time, jnp.float32) / every)
    return jnp.maximum(minimum, initial - decay * falls)
