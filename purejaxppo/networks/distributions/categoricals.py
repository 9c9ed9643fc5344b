"""Categorical distributions, of one dimension or of many."""

import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.heads import ActionHead, Sampler
from purejaxppo.networks.distributions.masks import mask_logits


class Categorical(distrax.Categorical):
    """distrax's, without a second normalisation, nor a check of the actions' range."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Logarithm of the probability of values in 0 ... n - 1."""
        chosen = jax.nn.one_hot(value, self.num_categories, dtype=bool)
        return jnp.where(chosen, self.logits, 0).sum(-1)

    def entropy(self) -> jax.Array:
        """−Σ p ln p, where 0 ln 0 is 0."""
        p = jnp.exp(self.logits)
        return -(p * jnp.where(p > 0, self.logits, 0)).sum(-1)


def categorical(n: int, start: int = 0) -> ActionHead:
    """Categorical distribution over `start ... start + n - 1`, from logits."""

    def distribution(outputs: jax.Array, log_std: Any, mask: Any = None) -> Categorical:
        del log_std
        return Categorical(logits=mask_logits(outputs, mask))

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, n), jnp.float32)

    def to_env(action: jax.Array) -> jax.Array:
        return action + start if start else action

    return ActionHead(n, 0, distribution, Sampler(draw, gumbel_max), to_env)


def gumbel_max(distribution: Any, noise: jax.Array) -> jax.Array:
    """Samples of a `Categorical`, or of independent ones, from Gumbel noise.

    That is how jax.random.categorical samples, too.
    """
    base = getattr(distribution, "distribution", distribution)
    return jnp.argmax(base.logits + noise, axis=-1)


PADDING = -1e16
"""Logit of a category that a dimension with fewer ones than another does not have.

Impossible even next to invalid ones, see `masks.MASKED`.
"""


def multi_discrete(
    nvec: np.ndarray, start: np.ndarray, *, summed: bool = True
) -> ActionHead:
    """Independent categoricals over `start ... start + nvec - 1`, in each dimension.

    Args:
      nvec: number of categories `[*shape]`. The outputs are the logits of one dimension
        after another, Σ nvec, and so is the mask.
      start: least value `[*shape]`.
      summed: whether log-probability and entropy are those of the whole, or `[...,
        *shape]`.
    """
    shape, sizes, most = nvec.shape, nvec.reshape(-1), int(nvec.max())

    def distribution(
        outputs: jax.Array, log_std: Any, mask: Any = None
    ) -> distrax.Independent:
        del log_std
        logits = _padded(mask_logits(outputs, mask), sizes)
        logits = logits.reshape(*outputs.shape[:-1], *shape, most)
        return distrax.Independent(
            Categorical(logits=logits), len(shape) if summed else 0
        )

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*leading, *shape, most), jnp.float32)

    def to_env(action: jax.Array) -> jax.Array:
        return action + jnp.broadcast_to(start, action.shape) if start.any() else action

    sampler = Sampler(draw, gumbel_max)
    return ActionHead(int(sizes.sum()), 0, distribution, sampler, to_env)


def _padded(logits: jax.Array, sizes: np.ndarray) -> jax.Array:
    """`[..., Σ sizes]` -> `[..., D max(sizes)]`, each dimension's padded to that."""
    most = int(sizes.max())
    blocks = []
    for block in jnp.split(logits, np.cumsum(sizes)[:-1], -1):
        rest = *block.shape[:-1], most - block.shape[-1]
        blocks += [block, jnp.full(rest, PADDING)] if rest[-1] else [block]
    return jnp.concatenate(blocks, -1) if (sizes < most).any() else logits


def multi_binary(shape: tuple[int, ...], *, summed: bool = True) -> ActionHead:
    """Independent bits `[*shape]`, each from its logit l: 0 and 1 have the logits 0, l.

    The mask is `[..., *shape, 2]`: may it be 0, may it be 1. `summed` is as in
    `multi_discrete`.
    """

    def distribution(
        outputs: jax.Array, log_std: Any, mask: Any = None
    ) -> distrax.Independent:
        del log_std
        one = outputs.reshape(*outputs.shape[:-1], *shape)
        logits = jnp.stack([jnp.zeros_like(one), one], -1)
        return distrax.Independent(
            Categorical(logits=mask_logits(logits, mask)), len(shape) if summed else 0
        )

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*leading, *shape, 2), jnp.float32)

    return ActionHead(
        num_outputs=math.prod(shape),
        num_scales=0,
        distribution=distribution,
        sampler=Sampler(draw, gumbel_max),
        to_env=lambda action: action,
    )
