"""Distributions over actions of several parts, which are drawn independently."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.heads import ActionHead, Sampler
from purejaxppo.networks.distributions.layouts import (
    Layout,
    Part,
    join_action,
    offsets,
    split_action,
    split_mask,
    sum_used,
    usage,
    used,
)
from purejaxppo.networks.distributions.queries import gaussian_mean
from purejaxppo.networks.distributions.temperature import temper


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["parts"], meta_fields=["layout"]
)
@dataclasses.dataclass(frozen=True)
class Joint:
    """Independent parts of an action, of which its type, if it has one, uses some.

    What the type of an action does not use counts for nothing: this is the distribution
    of its type and of what that uses.

    Attributes:
      parts: distributions of each dimension of each part, `[B, *shape]`.
      layout: how they make up the action.
    """

    parts: tuple[Any, ...]
    layout: Layout

    def sample(self, seed: jax.Array) -> Any:
        """Samples of every part, used or not."""
        keys = jax.random.split(seed, len(self.parts))
        drawn = [
            part.sample(seed=key) for part, key in zip(self.parts, keys, strict=True)
        ]
        return join_action(self.layout, drawn)

    def log_prob(self, value: Any) -> jax.Array:
        """Log-probability of the type and what it uses: Σ of `log_prob_parts`."""
        return self.log_prob_parts(value).sum(-1)

    def log_prob_parts(self, value: Any) -> jax.Array:
        """Each part's log-probability `[B, P]`, 0 where it is not used."""
        layout, values = self.layout, split_action(self.layout, value)
        log_probs = [
            sum_used(part.log_prob(x), layout, i, used(layout, i, values))
            for i, (part, x) in enumerate(zip(self.parts, values, strict=True))
        ]
        return jnp.stack(log_probs, -1)

    def entropy(self) -> jax.Array:
        """H(type) + Σ p(type) H(dimension) over what each type uses: exact."""
        return self._expected([part.entropy() for part in self.parts])

    def kl_divergence(self, other: "Joint") -> jax.Array:
        """KL(self ‖ other): the types', and those of what each type uses by its p."""
        pairs = zip(self.parts, other.parts, strict=True)
        return self._expected([p.kl_divergence(q) for p, q in pairs])

    def _expected(self, each: Sequence[jax.Array]) -> jax.Array:
        """Σ of figures of each dimension, times the probability that it is used."""
        layout, p = self.layout, None
        if layout.type is not None:
            p = jnp.exp(self.parts[layout.type].logits)
        sums = [
            sum_used(x, layout, i, None if p is None else usage(layout, i, p))
            for i, x in enumerate(each)
        ]
        return jnp.stack(sums, -1).sum(-1)

    def mode(self) -> Any:
        """The modes of all parts."""
        return join_action(self.layout, [part.mode() for part in self.parts])

    def tempered(self, temperature: float | jax.Array) -> "Joint":
        """Each part at a temperature; see `temper`."""
        parts = tuple(temper(part, temperature) for part in self.parts)
        return Joint(parts, self.layout)

    def pre_squash_mean(self) -> jax.Array:
        """Means `[B, n]` of the Gaussian parts, one after another.

        Raises:
          ValueError: there are none.
        """
        means = []
        for part, shape in zip(self.parts, self.layout.shapes, strict=True):
            mean = gaussian_mean(part)
            if mean is not None:
                batch = mean.shape[: mean.ndim - len(shape)]
                means.append(mean.reshape(*batch, math.prod(shape)))
        if not means:
            raise ValueError("Expected a Gaussian part, got none.")
        return jnp.concatenate(means, -1)


def joint_head(parts: Sequence[Part], layout: Layout) -> ActionHead:
    """Parts that are drawn independently, from adjoining outputs; see `Joint`.

    The Boxes share one log standard deviation, each has its stretch.
    """
    heads = [part.head for part in parts]

    def distribution(outputs: jax.Array, log_std: Any, mask: Any = None) -> Joint:
        stretches = jnp.split(outputs, offsets([h.num_outputs for h in heads]), -1)
        inputs = stretches, split_scales(parts, log_std), split_mask(parts, mask)
        each = (
            head.distribution(*one) for head, *one in zip(heads, *inputs, strict=True)
        )
        return Joint(tuple(each), layout)

    def sample(distribution: Joint, noise: Sequence[Any]) -> Any:
        drawn = [
            head.sampler.sample(part, one)
            for head, part, one in zip(heads, distribution.parts, noise, strict=True)
        ]
        return join_action(layout, drawn)

    def to_env(action: Any) -> Any:
        pairs = zip(heads, split_action(layout, action), strict=True)
        return join_action(layout, [head.to_env(x) for head, x in pairs])

    return ActionHead(
        num_outputs=sum(head.num_outputs for head in heads),
        num_scales=sum(head.num_scales for head in heads),
        distribution=distribution,
        sampler=Sampler(drawn_ahead(parts), sample),
        to_env=to_env,
        scheduled=any(head.scheduled for head in heads),
        bounds=_bounds(heads),
    )


def split_scales(parts: Sequence[Part], log_std: Any) -> list[Any]:
    """Each part's stretch of the log standard deviation, `None` without one."""
    widths = [part.head.num_scales for part in parts]
    if not any(widths):
        return [None] * len(parts)
    if log_std is None:
        raise ValueError(
            "log_std is None, but standard deviations of this policy are parameters of "
            f"the network: pass head.num_scales = {sum(widths)} numbers, or make the "
            "head with another sigma."
        )
    stretches = jnp.split(log_std, offsets(widths))
    return [x if n else None for x, n in zip(stretches, widths, strict=True)]


def drawn_ahead(
    parts: Sequence[Part],
) -> Callable[[jax.Array, tuple[int, ...]], tuple[Any, ...]]:
    """`Sampler.draw` of a tuple of every part's noise."""

    def draw(key: jax.Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        keys = jax.random.split(key, len(parts))
        pairs = zip(parts, keys, strict=True)
        return tuple(part.head.sampler.draw(key, shape) for part, key in pairs)

    return draw


def _bounds(heads: Sequence[ActionHead]) -> tuple[np.ndarray, np.ndarray] | None:
    """Middles and half widths of all Gaussian parts, one after another."""
    found = [head.bounds for head in heads if head.bounds is not None]
    if not found:
        return None
    center, half = (np.concatenate(bounds) for bounds in zip(*found, strict=True))
    return center, half
