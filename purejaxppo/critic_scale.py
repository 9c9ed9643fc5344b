"""In which units the critic learns: values as they are, squashed, or normalised."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.config import Config
from purejaxppo.losses import mean
from purejaxppo.statistics import (
    RunningStatistics,
    batch_statistics,
    init_statistics,
    merge,
)
from purejaxppo.techniques import (
    MovingMeanStd,
    PopArt,
    RunningMeanStd,
    RunningStd,
    SignedHyperbolic,
    Symlog,
)
from purejaxppo.values import ValueMap, affine, signed_hyperbolic, symlog


class Moments(NamedTuple):
    """Moving averages of targets and their squares, and the weight they rest on.

    The weight is 1 − decayᵘ after u updates: dividing by it removes the bias of
    averages that begin at 0.
    """

    first: jax.Array
    second: jax.Array
    weight: jax.Array


def init_critic_scale(config: Config) -> Any:
    """Statistics of nothing seen: mean 0, standard deviation 1; `()` where off."""
    match config.normalize_value:
        case None:
            return ()
        case RunningStd() | RunningMeanStd():
            return init_statistics()
        case MovingMeanStd() | PopArt():
            zero = jnp.float32(0)
            return Moments(first=zero, second=zero, weight=zero)


def follow_targets(
    config: Config, state: Any, target: jax.Array, weight: jax.Array | None
) -> Any:
    """The statistics with a batch of targets `[B]`, in real units, taken in."""
    normalizer = config.normalize_value
    match normalizer:
        case None:
            return state
        case RunningStd() | RunningMeanStd():
            return merge(state, weighted_statistics(target, weight))
        case MovingMeanStd() | PopArt():
            decay = normalizer.decay
            return Moments(
                first=decay * state.first + (1 - decay) * mean(target, weight),
                second=decay * state.second
                + (1 - decay) * mean(jnp.square(target), weight),
                weight=decay * state.weight + (1 - decay),
            )


def weighted_statistics(
    target: jax.Array, weight: jax.Array | None
) -> RunningStatistics:
    """Statistics of the targets `[B]` that count."""
    if weight is None:
        return batch_statistics(target, (0,))
    center = mean(target, weight)
    return RunningStatistics(
        mean=center,
        variance=mean(jnp.square(target - center), weight),
        num_samples=weight.sum(),
    )


def mean_and_std(config: Config, state: Any) -> tuple[jax.Array, jax.Array]:
    """What normalised values are shifted and scaled by, scalars."""
    normalizer = config.normalize_value
    match normalizer:
        case RunningStd():
            return jnp.float32(0), jnp.sqrt(state.variance + normalizer.eps)
        case RunningMeanStd():
            return state.mean, jnp.sqrt(state.variance + normalizer.eps)
        case MovingMeanStd() | PopArt():
            seen = state.weight > 0
            weight = jnp.where(seen, state.weight, 1)
            first, second = state.first / weight, state.second / weight
            variance = jnp.maximum(second - jnp.square(first), 0)
            std = jnp.maximum(jnp.sqrt(variance), normalizer.min_std)
            if isinstance(normalizer, PopArt):
                std = jnp.minimum(std, normalizer.max_std)
            return first, jnp.where(seen, std, 1)
    raise ValueError("Expected normalize_value to be on, got None.")


def value_map(config: Config, state: Any) -> ValueMap | None:
    """Between real values and the critic's outputs; `None` where they are the same."""
    match config.transform_value:
        case SignedHyperbolic() as transform:
            return signed_hyperbolic(transform.eps)
        case Symlog():
            return symlog()
    normalizer = config.normalize_value
    if normalizer is None:
        return None
    clip = normalizer.clip if isinstance(normalizer, RunningMeanStd) else None
    return affine(*mean_and_std(config, state), clip=clip)
