"""Gaussian distributions squashed into a box by tanh."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.boxes import (
    affine,
    center_and_half,
    clip,
    sum_last,
)
from purejaxppo.networks.distributions.gaussians import diagonal_gaussian
from purejaxppo.networks.distributions.heads import (
    INDEPENDENT,
    ActionHead,
    Sampler,
    Sigma,
)


class TanhGaussian(NamedTuple):
    """Actions c + h tanh(u) of normal u, by u: what is sampled and stored is u.

    So no tanh is ever inverted, and the density of an action is finite and exact
    however saturated the action is. Source: Haarnoja et al., "Soft actor-critic", 2018,
    appendix C.

    Attributes:
      base: the distribution of u.
      volume: Σ ln h over the dimensions of an action, `[B]`; ln h of each where `base`
        is of each.
    """

    base: Any
    volume: jax.Array

    def sample(self, seed: jax.Array) -> jax.Array:
        """Samples of u."""
        return self.base.sample(seed=seed)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Of the environment's action, at u: ln N(u) − Σ ln h (1 − tanh² u)."""
        slope = _sum_event(log_tanh_slope(value), self.base)
        return self.base.log_prob(value) - slope - self.volume

    def entropy(self) -> jax.Array:
        """Of the environment's action: H(u) + Σ ln h + Σ E[ln(1 − tanh² u)].

        The expectation is by Gauss-Hermite quadrature on 20 nodes, so that it is smooth
        and without noise; a dimension of u with a standard deviation of 1 is off by
        1e-5, of 2 by .002, of 5 by .1.
        """
        mean, std = self.base.mean(), self.base.stddev()
        nodes = jnp.broadcast_to(NODES, (*mean.shape, NODES.size))
        slope = log_tanh_slope(mean[..., None] + std[..., None] * nodes)
        expected = (slope * jnp.broadcast_to(WEIGHTS, slope.shape)).sum(-1)
        return self.base.entropy() + self.volume + _sum_event(expected, self.base)

    def mode(self) -> jax.Array:
        """The mean of u, which is the median of the environment's action."""
        return self.base.mean()

    def kl_divergence(self, other: "TanhGaussian") -> jax.Array:
        """KL(self ‖ other), which a bijection of both leaves alone."""
        return self.base.kl_divergence(other.base)


def _quadrature(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the mean of a function of a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes.astype(np.float32), (weights / weights.sum()).astype(np.float32)


NODES, WEIGHTS = _quadrature(20)


def log_tanh_slope(u: jax.Array) -> jax.Array:
    """ln(1 − tanh² u) = 2 (ln 2 − u − softplus(−2u)), finite for every finite u."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def _sum_event(x: jax.Array, like: Any) -> jax.Array:
    return sum_last(x, like.reinterpreted_batch_ndims)


def tanh_gaussian(
    low: np.ndarray,
    high: np.ndarray,
    *,
    sigma: Sigma = INDEPENDENT,
    summed: bool = True,
) -> ActionHead:
    """Independent normals squashed into the box by tanh; see `TanhGaussian`.

    What is sampled and stored is u; the environment gets (low + high) / 2 +
    tanh(u) (high − low) / 2. `summed` is as in `diagonal_gaussian`.
    """
    gaussian = diagonal_gaussian(low, high, sigma=sigma, summed=summed)
    center, half = center_and_half(low, high)
    volume = np.log(half.astype(np.float64))

    def distribution(
        outputs: jax.Array, log_std: Any, mask: Any = None
    ) -> TanhGaussian:
        del mask
        base = gaussian.distribution(outputs, log_std)
        if summed:
            whole = jnp.full(outputs.shape[:-1], volume.sum(), outputs.dtype)
            return TanhGaussian(base, whole)
        each = volume.astype(np.float32)
        return TanhGaussian(base, jnp.broadcast_to(each, base.mean().shape))

    def sample(distribution: TanhGaussian, noise: jax.Array) -> jax.Array:
        return gaussian.sampler.sample(distribution.base, noise)

    def to_env(u: jax.Array) -> jax.Array:
        # The clip is against rounding: the box must contain the action.
        return clip(affine(jnp.tanh(u), center, half), low, high)

    return gaussian._replace(
        bounds=None,
        distribution=distribution,
        sampler=Sampler(gaussian.sampler.draw, sample),
        to_env=to_env,
    )
