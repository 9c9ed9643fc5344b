"""Random actions of any space, only valid ones where there is a mask."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.environments.spaces import parts, unflatten


def sample_action(key: jax.Array, space: gymnasium.Space, mask: Any = None) -> Any:
    """A random action, uniform where the space is bounded.

    A dimension of a Box with one bound is exponential from there on, and a standard
    normal without any.

    Args:
      key: consumed.
      space: Discrete, MultiDiscrete, MultiBinary, Box of floats, or a tree of those.
      mask: true where an action is valid, in the shape that `Environment` documents;
        where it forbids everything it is passed over.
    """
    is_tree = isinstance(space, spaces.Dict | spaces.Tuple)
    masks = (mask or {}) if is_tree else {"": mask}
    leaves = list(parts(space))
    keys = jax.random.split(key, len(leaves))
    actions = [
        _sample(key, part, masks.get(path))
        for key, (path, part) in zip(keys, leaves, strict=True)
    ]
    return unflatten(space, actions)


def _sample(key: jax.Array, space: gymnasium.Space, mask: Any) -> jax.Array:
    match space:
        case spaces.Discrete():
            there = np.ones(int(space.n), bool)
            return _choose(key, there, mask) + int(space.start)
        case spaces.MultiBinary():
            return _choose(key, np.ones((*space.shape, 2), bool), mask)
        case spaces.MultiDiscrete():
            sizes = np.asarray(space.nvec).reshape(-1)
            there = np.arange(sizes.max())[None] < sizes[:, None]
            if mask is not None:
                # The dimensions' masks lie one after another, whatever their sizes.
                places = np.cumsum(there).reshape(there.shape) - 1
                mask = jnp.asarray(mask)[places]
            choice = _choose(key, there, mask).reshape(space.shape)
            return choice + np.asarray(space.start, np.int32)
        case spaces.Box():
            return _sample_box(key, space)
    raise ValueError(
        f"Expected action_space to be of Discrete, MultiDiscrete, MultiBinary and Box, "
        f"got {space}."
    )


def _choose(key: jax.Array, there: np.ndarray, mask: Any) -> jax.Array:
    """One of the options that are there `[..., n]` and that the mask allows, if any."""
    allowed = jnp.asarray(there)
    if mask is not None:
        valid = allowed & jnp.asarray(mask, bool)
        some = jnp.broadcast_to(valid.any(-1)[..., None], valid.shape)
        allowed = jnp.where(some, valid, allowed)
    return jax.random.categorical(key, jnp.where(allowed, 0.0, -jnp.inf))


def _sample_box(key: jax.Array, space: spaces.Box) -> jax.Array:
    low, high = (np.asarray(x, np.float32) for x in (space.low, space.high))
    with np.errstate(over="ignore", invalid="ignore"):
        width = high - low
    uniform_key, tail_key, normal_key = jax.random.split(key, 3)
    shape = low.shape
    uniform = low + np.where(np.isfinite(width), width, 0) * jax.random.uniform(
        uniform_key, shape
    )
    tail = jax.random.exponential(tail_key, shape)
    one_sided = jnp.where(np.isfinite(low), low + tail, high - tail)
    free = jax.random.normal(normal_key, shape)
    # The width of a box between the least and the greatest float overflows.
    both = np.isfinite(low) == np.isfinite(high)
    unbounded = jnp.where(both, free, one_sided)
    action = jnp.where(np.isfinite(width), uniform, unbounded)
    return jnp.clip(action, low, high)
