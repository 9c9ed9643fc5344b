"""Sequences: a rollout cut into pieces that a memory is replayed over.

A rollout is laid out flat, time first: `[T * N]`, or `[L * S]` for S sequences of L
steps. A memory belongs to the observation that is about to be seen; see
`networks.memory`.
"""

from typing import Any

import jax
import jax.numpy as jnp


def starts(done: jax.Array) -> jax.Array:
    """Whether an episode starts at each step `[T, N]`, by whether one ended before it.

    False at the first step: a memory carried there is of that step already.
    """
    return jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])


def split(tree: Any, num_steps: int, length: int) -> Any:
    """`[T * N, ...]` -> sequences of `length` L steps, `[T / L * N, L, ...]`."""

    def cut(x: jax.Array) -> jax.Array:
        chunks = x.reshape(num_steps // length, length, -1, *x.shape[1:])
        return jnp.moveaxis(chunks, 1, 2).reshape(-1, length, *x.shape[1:])

    return jax.tree.map(cut, tree)


def split_memory(memories: Any, length: int) -> Any:
    """Memories before each step `[T, N, ...]` -> before each sequence, `[S, ...]`."""
    return jax.tree.map(lambda x: x[::length].reshape(-1, *x.shape[2:]), memories)


def join(tree: Any) -> Any:
    """Sequences `[S, L, ...]` -> `[L * S, ...]`, time first."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), tree)


def unjoin(tree: Any, length: int) -> Any:
    """`[L * S, ...]`, time first -> sequences `[S, L, ...]`."""
    return jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(length, -1, *x.shape[1:]), 0, 1), tree
    )
