"""Beta distributions over a box."""

import dataclasses
import functools
import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.boxes import affine, clip
from purejaxppo.networks.distributions.heads import ActionHead, Sampler

MARGIN = 1e-6
"""How far from 0 and 1 a Beta policy's samples keep."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["alpha", "beta"],
    meta_fields=["event_ndims"],
)
@dataclasses.dataclass(frozen=True)
class Beta:
    """Independent Beta distributions of x in (0, 1), at α, β >= 1.

    Samples are clipped to [1e-6, 1 − 1e-6] before anything else sees them, so that the
    log-probability is finite, and of what was sampled. All densities are those of x;
    that of the environment's action would be less by the constant Σ ln(high − low).

    Unlike distrax's, whose objects keep the shape that they were made with, rows of its
    arrays make up the distribution of those rows.

    Attributes:
      alpha: α `[*batch, *shape]`.
      beta: β likewise.
      event_ndims: how many of the last axes are one action's.
    """

    alpha: jax.Array
    beta: jax.Array
    event_ndims: int

    @property
    def base(self) -> Any:
        """The same without the clip."""
        parameters = distrax.Beta(self.alpha, self.beta)
        return distrax.Independent(parameters, self.event_ndims)

    def sample(self, seed: jax.Array) -> jax.Array:
        """Samples of x."""
        return beta_sample(self, draw_proposals(seed, self.alpha.shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Σ (α − 1) ln x + (β − 1) ln(1 − x) − ln B(α, β)."""
        return self.base.log_prob(value)

    def entropy(self) -> jax.Array:
        """Differential entropy of x: at most 0, of the uniform."""
        return self.base.entropy()

    def mode(self) -> jax.Array:
        """The mean α / (α + β): what a deterministic policy plays, by custom."""
        return self.alpha / (self.alpha + self.beta)

    def kl_divergence(self, other: "Beta") -> jax.Array:
        """KL(self ‖ other), in closed form."""
        return self.base.kl_divergence(other.base)


PROPOSALS = 6
"""Of a gamma variate; at α >= 1 all of them are rejected once in 8e7 draws."""


def draw_proposals(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise of Beta variates `shape`: normals and log uniforms, `[*shape, 2, 2, k]`.

    The middle axis are the two gamma variates that each is made of, k the proposals.
    """
    normal_key, uniform_key = jax.random.split(key)
    shape = *shape, 2, PROPOSALS
    log_uniform = -jax.random.exponential(uniform_key, shape, jnp.float32)
    normal = jax.random.normal(normal_key, shape, jnp.float32)
    return jnp.stack([normal, log_uniform], -3)


def beta_sample(distribution: Beta, noise: jax.Array) -> jax.Array:
    """Clipped G(α) / (G(α) + G(β)), gamma variates G made of `draw_proposals`."""
    shapes = jnp.stack([distribution.alpha, distribution.beta], -1)
    gammas = gamma_sample(shapes, noise[..., 0, :, :], noise[..., 1, :, :])
    return jnp.clip(gammas[..., 0] / gammas.sum(-1), MARGIN, 1 - MARGIN)


def gamma_sample(a: jax.Array, normal: jax.Array, log_uniform: jax.Array) -> jax.Array:
    """Gamma variates of shape a >= 1 `[...]`: the first accepted proposal `[..., k]`.

    d v, with v = (1 + z / √(9 d))³ and d = a − 1/3, accepted if ln u < z² / 2 + d (1 −
    v + ln v); d where all are rejected. Unlike a loop until one is accepted, this costs
    the same in every lane, and its random bits can be drawn ahead. Source: Marsaglia
    and Tsang, "A simple method for generating gamma variables", 2000.
    """
    d = a - 1 / 3
    ratio = jnp.ones_like(d)
    for k in reversed(range(normal.shape[-1])):
        z = normal[..., k]
        # At root <= 0 the proposal is impossible: so near 0, ln v rejects it.
        root = jnp.maximum(1 + z / jnp.sqrt(9 * d), 1e-9)
        bound = 0.5 * jnp.square(z) + d * (1 - root**3 + 3 * jnp.log(root))
        ratio = jnp.where(log_uniform[..., k] < bound, root**3, ratio)
    return d * ratio


def beta(low: np.ndarray, high: np.ndarray, *, summed: bool = True) -> ActionHead:
    """Independent Beta distributions over a box: α, β = 1 + softplus(output).

    What is sampled and stored is x in (0, 1), see `Beta`; the environment gets low +
    (high − low) x. The outputs are those of every α, then those of every β. `summed`
    is as in `diagonal_gaussian`. Source: Chou et al., "Improving stochastic policy
    gradients in continuous control with deep reinforcement learning using the Beta
    distribution", 2017.
    """
    shape = low.shape

    def distribution(outputs: jax.Array, log_std: Any, mask: Any = None) -> Beta:
        del log_std, mask
        shapes = *outputs.shape[:-1], *shape
        alphas, betas = jnp.split(1 + jax.nn.softplus(outputs), 2, axis=-1)
        return Beta(
            alpha=alphas.reshape(shapes),
            beta=betas.reshape(shapes),
            event_ndims=len(shape) if summed else 0,
        )

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return draw_proposals(key, (*leading, *shape))

    def to_env(x: jax.Array) -> jax.Array:
        # The clip is against rounding: the box must contain the action.
        return clip(affine(x, low, high - low), low, high)

    sampler = Sampler(draw, beta_sample)
    return ActionHead(2 * math.prod(shape), 0, distribution, sampler, to_env)
