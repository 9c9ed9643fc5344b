"""Running mean and variance: a record and a pure update."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RunningStatistics(NamedTuple):
    """Mean and (population) variance of all that was seen, with its count."""

    mean: jax.Array
    variance: jax.Array
    num_samples: jax.Array


def init_statistics(shape: tuple[int, ...] = ()) -> RunningStatistics:
    """Mean 0, variance 1 and a count of 1e-4, which the first batch overrules."""
    return RunningStatistics(
        mean=jnp.zeros(shape, jnp.float32),
        variance=jnp.ones(shape, jnp.float32),
        num_samples=jnp.float32(1e-4),
    )


def batch_statistics(x: jax.Array, axis: tuple[int, ...]) -> RunningStatistics:
    """Statistics of one batch over the axes `axis`."""
    x = x.astype(jnp.float32)
    count = 1
    for i in axis:
        count *= x.shape[i]
    return RunningStatistics(
        mean=x.mean(axis), variance=x.var(axis), num_samples=jnp.float32(count)
    )


def merge(a: RunningStatistics, b: RunningStatistics) -> RunningStatistics:
    """Statistics of the union of two disjoint sets; associative and symmetric.

    δ = μ_b − μ_a,  n = n_a + n_b,  μ = μ_a + δ n_b / n,
    σ² = (n_a σ_a² + n_b σ_b² + δ² n_a n_b / n) / n

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979.
    """
    count = a.num_samples + b.num_samples
    delta = b.mean - a.mean
    squares = (
        a.variance * a.num_samples
        + b.variance * b.num_samples
        + jnp.square(delta) * (a.num_samples * b.num_samples / count)
    )
    return RunningStatistics(
        mean=a.mean + delta * (b.num_samples / count),
        variance=squares / count,
        num_samples=count,
    )


def standardize(
    x: jax.Array,
    statistics: RunningStatistics,
    clip: float | jax.Array,
    eps: float | jax.Array,
) -> jax.Array:
    """clip((x − μ) / √(σ² + eps), ±clip) of `x` `[..., *shape of μ]`."""
    mean = jnp.broadcast_to(statistics.mean, x.shape)
    return scale(x - mean, statistics, clip, eps)


def scale(
    x: jax.Array,
    statistics: RunningStatistics,
    clip: float | jax.Array,
    eps: float | jax.Array,
) -> jax.Array:
    """clip(x / √(σ² + eps), ±clip) of `x` `[..., *shape of σ]`: the sign is kept."""
    factor = jnp.broadcast_to(jax.lax.rsqrt(statistics.variance + eps), x.shape)
    return jnp.clip(x * factor, -clip, clip)
