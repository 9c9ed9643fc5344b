"""From an action space to a distribution over it, and how to sample that cheaply."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np


class Sampler(NamedTuple):
    """Sampling in two parts: noise drawn ahead, and an action made from it.

    Random bits drawn for a whole rollout at once are much cheaper than inside its
    loop. `draw(key, shape)` gives noise with leading axes `shape`;
    `sample(distribution, noise)` consumes one slice of it.
    """

    draw: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    sample: Callable[[Any, jax.Array], Any]


class ActionHead(NamedTuple):
    """What a policy needs to know of an action space.

    Attributes:
      num_outputs: width of the policy network's last layer.
      has_scale: whether the policy owns a state-independent log standard deviation
        `[num_outputs]`.
      distribution: (outputs `[..., num_outputs]`, log_std) -> distrax distribution.
      sampler: cheap sampling for that distribution.
      to_env: action as sampled -> action that the environment gets.
    """

    num_outputs: int
    has_scale: bool
    distribution: Callable[[jax.Array, Any], distrax.Distribution]
    sampler: Sampler
    to_env: Callable[[jax.Array], jax.Array]


def make_action_head(space: gymnasium.spaces.Space) -> ActionHead:
    """The action head of a space.

    Raises:
      ValueError: the space is neither Discrete nor a floating-point Box.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return categorical(int(space.n), int(space.start))
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(
        space.dtype, np.floating
    ):
        return diagonal_gaussian(space.low, space.high)
    raise ValueError(
        f"Expected action_space to be Discrete or a Box of floats, got {space}."
    )


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

    def distribution(outputs: jax.Array, log_std: Any) -> distrax.Distribution:
        del log_std
        return Categorical(logits=outputs)

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.gumbel(key, (*shape, n))

    def sample(distribution: distrax.Categorical, noise: jax.Array) -> jax.Array:
        # The Gumbel-max trick, which is how jax.random.categorical samples too.
        return jnp.argmax(distribution.logits + noise, axis=-1)

    def to_env(action: jax.Array) -> jax.Array:
        return action + start if start else action

    return ActionHead(n, False, distribution, Sampler(draw, sample), to_env)


def diagonal_gaussian(low: np.ndarray, high: np.ndarray) -> ActionHead:
    """Independent normals with a state-independent standard deviation.

    The sampled action is what the log-probability is of; the environment gets it
    clipped to `[low, high]`.
    """
    shape = low.shape

    def distribution(outputs: jax.Array, log_std: Any) -> distrax.Distribution:
        mean = outputs.reshape(*outputs.shape[:-1], *shape)
        std = jnp.broadcast_to(jnp.exp(log_std).reshape(shape), mean.shape)
        return distrax.Independent(distrax.Normal(mean, std), len(shape))

    def draw(key: jax.Array, leading: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*leading, *shape))

    def sample(distribution: distrax.Independent, noise: jax.Array) -> jax.Array:
        return jnp.asarray(distribution.mean() + distribution.stddev() * noise)

    def to_env(action: jax.Array) -> jax.Array:
        bounds = [jnp.broadcast_to(bound, action.shape) for bound in (low, high)]
        return jnp.clip(action, *bounds)

    return ActionHead(
        math.prod(shape), True, distribution, Sampler(draw, sample), to_env
    )


def keyed_sampler() -> Sampler:
    """Sampling any distrax-like distribution: the noise is keys."""

    def sample(distribution: Any, key: jax.Array) -> Any:
        return distribution.sample(seed=key)

    return Sampler(lambda key, shape: jax.random.split(key, shape[:1]), sample)
