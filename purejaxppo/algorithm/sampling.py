"""Sampling actions: of any distribution, and of one shard's environments."""

from typing import Any

import jax
import numpy as np

from purejaxppo.algorithm.shards import gather, own
from purejaxppo.networks.distributions import Sampler


def keyed_sampler(axis_name: str | None = None) -> Sampler:
    """Sampling any distrax-like distribution: the noise is keys.

    Of one key come the actions of all environments. So shards draw for all of them,
    from the distribution of all, and each takes its own.
    """

    def sample(distribution: Any, key: jax.Array) -> Any:
        whole = _of_all_shards(distribution, key, axis_name)
        return own(whole.sample(seed=key), axis_name)

    return Sampler(lambda key, shape: jax.random.split(key, shape[:1]), sample)


def _of_all_shards(distribution: Any, key: jax.Array, axis_name: str | None) -> Any:
    """The distribution over actions of the environments of all shards.

    Raises:
      ValueError: it is no pytree of scalars and arrays `[batch, ...]`.
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
    """Sampling one shard's actions by its share of the noise drawn for all shards."""

    def draw(key: jax.Array, shape: tuple[int, ...]) -> Any:
        return own(sampler.draw(key, shape), axis_name, axis=1)

    return sampler._replace(draw=draw)
