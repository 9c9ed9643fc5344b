"""One run over several devices: each shard holds its own share of the environments.

Under `jax.shard_map` over a mesh axis `axis_name` of k devices, each shard steps
num_envs / k environments and learns from 1 / k of every minibatch. What lies between
the two each shard computes alike, from what it is told of the others. Where `axis_name`
is None one shard holds all, and nothing here adds to the program.
"""

from typing import Any

import jax
import jax.numpy as jnp


def num_shards(axis_name: str | None) -> int:
    """k, the size of the mesh axis; 1 where it is None.

    Raises:
      ValueError: nothing is mapped over such an axis here.
    """
    if axis_name is None:
        return 1
    try:
        return jax.lax.axis_size(axis_name)
    except NameError:
        raise ValueError(
            f"Expected init, step and advance to be called inside jax.shard_map over a "
            f"mesh axis {axis_name!r}, the axis_name, got no such axis."
        ) from None


def own(tree: Any, axis_name: str | None, axis: int = 0) -> Any:
    """This shard's slice of arrays that every shard has whole, along their `axis`."""
    if axis_name is None:
        return tree
    shards = num_shards(axis_name)

    def cut(x: jax.Array) -> jax.Array:
        size = x.shape[axis] // shards
        start = jax.lax.axis_index(axis_name) * size
        return jax.lax.dynamic_slice_in_dim(x, start, size, axis)

    return jax.tree.map(cut, tree)


def gather(tree: Any, axis_name: str | None, axis: int = 0) -> Any:
    """The whole of what shards have slices of, along `axis`: the inverse of `own`."""
    if axis_name is None:
        return tree
    return jax.tree.map(
        lambda x: jax.lax.all_gather(x, axis_name, axis=axis, tiled=True), tree
    )


def own_flat(tree: Any, axis_name: str | None, num_steps: int) -> Any:
    """`own` of the environments in `[T * N, ...]`, time first: `[T * N / k, ...]`."""
    if axis_name is None:
        return tree
    return _flat(own(_by_time(tree, num_steps), axis_name, axis=1))


def gather_flat(tree: Any, axis_name: str | None, num_steps: int) -> Any:
    """`[T * N / k, ...]` of each shard -> `[T * N, ...]`: the inverse of `own_flat`."""
    if axis_name is None:
        return tree
    return _flat(gather(_by_time(tree, num_steps), axis_name, axis=1))


def total(tree: Any, axis_name: str | None) -> Any:
    """Sums over all shards."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def mean_over(tree: Any, weight: jax.Array | None, axis_name: str | None) -> Any:
    """Means over all samples, of each shard's means over its own.

    Σᵢ sᵢ xᵢ / max(Σᵢ sᵢ, 1), sᵢ the sum of shard i's weights: what `loss_terms.mean`
    makes of all samples at once; without weights shards count alike.

    Args:
      tree: means over a shard's samples, or gradients of such.
      weight: of the shard's samples, 0 or 1; `None` where all count.
      axis_name: of the shards; the tree is returned as it is if None.
    """
    if axis_name is None:
        return tree
    if weight is None:
        return jax.lax.pmean(tree, axis_name)
    count = weight.sum()
    sums = jax.tree.map(lambda x: x * count, tree)
    sums, count = jax.lax.psum((sums, count), axis_name)
    return jax.tree.map(lambda x: x / jnp.maximum(count, 1), sums)


def _by_time(tree: Any, num_steps: int) -> Any:
    return jax.tree.map(lambda x: x.reshape(num_steps, -1, *x.shape[1:]), tree)


def _flat(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
