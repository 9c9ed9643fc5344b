"""What is asked of distributions of any kind."""

import math
from typing import Any

import distrax
import jax

from purejaxppo.networks.distributions.squashed_gaussians import TanhGaussian


def log_prob_parts(distribution: Any, action: Any) -> jax.Array:
    """Log-probabilities `[B, P]` of the parts of an action; their sum is its own.

    A distribution without `log_prob_parts` has one part.
    """
    if hasattr(distribution, "log_prob_parts"):
        return distribution.log_prob_parts(action)
    return distribution.log_prob(action)[..., None]


def entropy_at(distribution: Any, action: Any) -> jax.Array:
    """Entropy `[B]`, or its estimate from actions where it has no closed form.

    That is `distribution.entropy_at(action)`, which an `Autoregressive` has.
    """
    if hasattr(distribution, "entropy_at"):
        return distribution.entropy_at(action)
    return distribution.entropy()


def pre_squash_mean(distribution: Any) -> jax.Array:
    """Mean `[B, n]` of a Gaussian, before its tanh if it has one: for a bounds loss.

    Of a `Joint` those of its Gaussian parts, one after another.

    Raises:
      ValueError: it is no Gaussian.
    """
    if hasattr(distribution, "pre_squash_mean"):
        return distribution.pre_squash_mean()
    mean = gaussian_mean(distribution)
    if mean is None:
        name = type(distribution).__name__
        raise ValueError(f"Expected the distribution to be Gaussian, got {name}.")
    base = getattr(distribution, "base", distribution)
    return mean.reshape(*base.batch_shape, math.prod(base.event_shape))


def gaussian_mean(distribution: Any) -> jax.Array | None:
    """Mean `[B, *shape]` of a Gaussian, before its tanh if it has one; else `None`."""
    base = distribution.base if isinstance(distribution, TanhGaussian) else distribution
    if not isinstance(getattr(base, "distribution", None), distrax.Normal):
        return None
    return base.mean()
