"""Cut a rollout into the sequences that recurrent networks are trained on.

A rollout is laid out flat, time first: `[T * N]`, or `[L * S]` for S sequences of L
steps. A memory belongs to the observation that is about to be seen; see
networks/memory.py.
"""

from typing import Any

import jax
import jax.numpy as jnp


def starts(done: jax.Array) -> jax.Array:
    """Return whether an episode starts at each step, from `done` `[T, N]`.

    False at the first step: the memory carried there has been reset already.
    """
    return jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])


def split(tree: Any, num_steps: int, length: int) -> Any:
    """Cut a rollout `[T * N, ...]` into sequences of L steps, `[T / L * N, L, ...]`."""

    def cut(x: jax.Array) -> jax.Array:
        chunks = x.reshape(num_steps // length, length, -1, *x.shape[1:])
        return jnp.moveaxis(chunks, 1, 2).reshape(-1, length, *x.shape[1:])

    return jax.tree.map(cut, tree)


def split_memory(memories: Any, length: int) -> Any:
    """Return the memory before each sequence, `[S, ...]`, of those `[T, N, ...]`."""
    return jax.tree.map(lambda x: x[::length].reshape(-1, *x.shape[2:]), memories)


def join(tree: Any) -> Any:
    """Flatten sequences `[S, L, ...]` to `[L * S, ...]`, time first."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), tree)


def unjoin(tree: Any, length: int) -> Any:
    """Restore sequences `[S, L, ...]` from `[L * S, ...]`; the inverse of `join`."""
    return jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(length, -1, *x.shape[1:]), 0, 1), tree
    )
