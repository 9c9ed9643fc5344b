"""In which units the critic learns: values as they are, squashed, or normalised."""

from typing import Any

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.normalization.running_statistics import (
    RunningStatistics,
    batch_statistics,
    forget,
    init_statistics,
    merge,
    weighted_statistics,
)
from purejaxppo.algorithm.normalization.value_maps import (
    ValueMap,
    affine,
    signed_hyperbolic,
    symlog,
)
from purejaxppo.config.config import Config
from purejaxppo.config.techniques import (
    MovingMeanStd,
    PopArt,
    RunningMeanStd,
    RunningStd,
    SignedHyperbolic,
    Symlog,
)


def init_critic_scale(config: Config) -> Any:
    """Return statistics of no targets: mean 0, standard deviation 1; `()` where off."""
    return () if config.normalize_value is None else init_statistics()


def follow_targets(
    config: Config, state: Any, target: jax.Array, weight: jax.Array | None
) -> Any:
    """Return the statistics with a batch of targets `[B]`, in real units, taken in.

    Moving averages take each batch in with the share 1 − decay, however large it is.
    """
    match config.normalize_value:
        case None:
            return state
        case RunningStd() | RunningMeanStd():
            return merge(state, _of_targets(target, weight))
        case MovingMeanStd(decay=decay) | PopArt(decay=decay):
            batch = _of_targets(target, weight)
            share = jnp.where(batch.num_samples > 0, 1 - decay, 0)
            batch = batch._replace(num_samples=share.astype(jnp.float32))
            return merge(forget(state, decay), batch)


def _of_targets(target: jax.Array, weight: jax.Array | None) -> RunningStatistics:
    if weight is None:
        return batch_statistics(target, (0,))
    return weighted_statistics(target, weight)


def mean_and_std(config: Config, state: Any) -> tuple[jax.Array, jax.Array]:
    """What normalised values are shifted and scaled by, scalars."""
    normalizer = config.normalize_value
    match normalizer:
        case RunningStd():
            return jnp.float32(0), jnp.sqrt(state.variance + normalizer.eps)
        case RunningMeanStd():
            return state.mean, jnp.sqrt(state.variance + normalizer.eps)
        case MovingMeanStd() | PopArt():
            std = jnp.maximum(jnp.sqrt(state.variance), normalizer.min_std)
            if isinstance(normalizer, PopArt):
                std = jnp.minimum(std, normalizer.max_std)
            return state.mean, std
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
