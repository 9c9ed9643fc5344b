"""Running mean and variance: a record and a pure update."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.learning.loss_terms import mean
from purejaxppo.algorithm.sums import two_sum


class RunningStatistics(NamedTuple):
    """Mean and (population) variance of all that was seen, with its count; float32.

    The mean is `mean` + `remainder`: of numbers far from 0, one float32 is too coarse
    to subtract (its steps are 0.06 at 1e6), and the remainder is what it rounds away.
    """

    mean: jax.Array
    remainder: jax.Array
    variance: jax.Array
    num_samples: jax.Array


def init_statistics(shape: tuple[int, ...] = ()) -> RunningStatistics:
    """Return statistics of no samples: mean 0 and variance 1 until the first batch."""
    zeros = jnp.zeros(shape, jnp.float32)
    return RunningStatistics(
        mean=zeros,
        remainder=zeros,
        variance=jnp.ones(shape, jnp.float32),
        num_samples=jnp.float32(0),
    )


def batch_statistics(x: jax.Array, axis: tuple[int, ...]) -> RunningStatistics:
    """Return the statistics of one batch `x` of any dtype over the axes `axis`."""
    x = _at_least_float32(x)
    count = 1
    for i in axis:
        count *= x.shape[i]
    # Any number near x serves as centre: subtracting it is exact, and leaves numbers of
    # the size of their spread. One mean alone would be rounded by the size of x.
    centre = x.mean(axis, keepdims=True)
    rest = x - centre
    return _record(
        centre.reshape(rest.mean(axis).shape),
        rest.mean(axis),
        rest.var(axis),
        jnp.float32(count),
    )


def weighted_statistics(x: jax.Array, weight: jax.Array) -> RunningStatistics:
    """Return the statistics of a batch's samples whose weight is 1, `[B]` -> scalars.

    Those of weight 0 may be infinite or NaN. Without any of weight 1, the count is 0.
    """
    x = _at_least_float32(x)
    centre = mean(x, weight)
    rest = x - centre
    shift = mean(rest, weight)
    variance = mean(jnp.square(rest - shift), weight)
    return _record(centre, shift, variance, weight.sum(dtype=jnp.float32))


def _at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _record(
    centre: jax.Array, shift: jax.Array, variance: jax.Array, num_samples: jax.Array
) -> RunningStatistics:
    """Return the record of a batch whose mean is centre + shift."""
    total, error = two_sum(centre, shift)
    high = total.astype(jnp.float32)
    return RunningStatistics(
        mean=high,
        remainder=((total - high) + error).astype(jnp.float32),
        variance=variance.astype(jnp.float32),
        num_samples=num_samples,
    )


def merge(a: RunningStatistics, b: RunningStatistics) -> RunningStatistics:
    """Return the statistics of the union of two disjoint sets; either may be empty.

    δ = μ_b − μ_a,  n = n_a + n_b,  μ = μ_a + δ n_b / n,
    σ² = (n_a σ_a² + n_b σ_b² + δ² n_a n_b / n) / n

    Associative and symmetric.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979.
    """
    count = a.num_samples + b.num_samples
    n = jnp.where(count > 0, count, 1)
    share = b.num_samples / n
    delta = (b.mean - a.mean) + (b.remainder - a.remainder)
    center, remainder = two_sum(a.mean, a.remainder + delta * share)
    squares = (
        a.variance * a.num_samples
        + b.variance * b.num_samples
        + jnp.square(delta) * (a.num_samples * share)
    )
    both = RunningStatistics(
        mean=center, remainder=remainder, variance=squares / n, num_samples=count
    )
    return _where(b.num_samples > 0, _where(a.num_samples > 0, both, b), a)


def _where(
    condition: jax.Array, then: RunningStatistics, otherwise: RunningStatistics
) -> RunningStatistics:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), then, otherwise)


def forget(
    statistics: RunningStatistics, decay: float | jax.Array
) -> RunningStatistics:
    """Return the statistics with every sample's weight multiplied by `decay`.

    Merged once an update with a batch that counts as 1 − decay, they are moving
    averages without the bias of a start at 0: the weights sum to 1 − decayᵘ after u
    updates, and both moments are divided by that.
    """
    num_samples = (statistics.num_samples * decay).astype(jnp.float32)
    return statistics._replace(num_samples=num_samples)


def standardize(
    x: jax.Array,
    statistics: RunningStatistics,
    clip: float | jax.Array,
    eps: float | jax.Array,
) -> jax.Array:
    """Return clip((x − μ) / √(σ² + eps), ±clip) of `x` `[..., *shape of μ]`."""
    mean, rest = (jnp.broadcast_to(part, x.shape) for part in statistics[:2])
    return scale((x - mean) - rest, statistics, clip, eps)


def scale(
    x: jax.Array,
    statistics: RunningStatistics,
    clip: float | jax.Array,
    eps: float | jax.Array,
) -> jax.Array:
    """Return clip(x / √(σ² + eps), ±clip) of `x` `[..., *shape of σ]`, sign kept."""
    factor = jnp.broadcast_to(jax.lax.rsqrt(statistics.variance + eps), x.shape)
    return jnp.clip(x * factor, -clip, clip)
