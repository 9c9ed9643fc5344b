"""Sample actions from any distribution, and for the environments of one shard."""

from typing import Any

import jax
import numpy as np

from purejaxppo.algorithm.shards import gather, own
from purejaxppo.networks.distributions import Sampler


def keyed_sampler(axis_name: str | None = None) -> Sampler:
    """Return a sampler for any distrax-like distribution; its noise is keys.

    One key gives the actions of all environments. Each shard therefore samples for all
    of them and keeps those of its own environments.
    """

    def sample(distribution: Any, key: jax.Array) -> Any:
        whole = _of_all_shards(distribution, key, axis_name)
        return own(whole.sample(seed=key), axis_name)

    return Sampler(lambda key, shape: jax.random.split(key, shape[:1]), sample)


def _of_all_shards(distribution: Any, key: jax.Array, axis_name: str | None) -> Any:
    """Return the distribution over the actions of all shards' environments.

    Raises:
      ValueError: `distribution` is no pytree of scalars and arrays `[batch, ...]`.
    """
    if axis_name is None:
        return distribution
    action = jax.eval_shape(lambda key: distribution.sample(seed=key), key)
    batch = jax.tree.leaves(action)[0].shape[:1]
    shapes = {np.shape(x) for x in jax.tree.leaves(distribution)} - {()}
    if not shapes or any(shape[:1] != batch for shape in shapes):
        raise ValueError(
            f"Expected network.actor's distribution to have arrays [batch, ...], for "
            f"shards to sample of, got {type(distribution).__name__} with "
            f"{sorted(shapes)}."
        )
    return jax.tree.map(
        lambda x: gather(x, axis_name) if np.ndim(x) else x, distribution
    )


def own_sampler(sampler: Sampler, axis_name: str | None) -> Sampler:
    """Return a sampler that uses one shard's slice of the noise drawn for all."""

    def draw(key: jax.Array, shape: tuple[int, ...]) -> Any:
        return own(sampler.draw(key, shape), axis_name, axis=1)

    return sampler._replace(draw=draw)
