"""Sequences: what a memory carries through a rollout, and how it is replayed.

A rollout is laid out flat, time first: `[T * N]`, or `[L * S]` for S sequences of L
steps. A memory belongs to the observation that is about to be seen: where an episode
has ended before that observation, it is the initial one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.cores import memory_size, unroll
from purejaxppo.networks import Network, Params


class Memory(NamedTuple):
    """What actor and critic remember, `[B, ...]` each; `()` without a memory."""

    actor: Any = ()
    critic: Any = ()


def has_memory(network: Network) -> bool:
    """Whether a network remembers."""
    return getattr(network, "init_memory", None) is not None


def init_memory(network: Network, batch_size: int) -> Memory:
    """The memories at the start of `batch_size` episodes."""
    if not has_memory(network):
        return Memory()
    init: Callable[[int], Any] = network.init_memory  # pyright: ignore[reportAttributeAccessIssue]
    return Memory(*init(batch_size))


def starts(done: jax.Array) -> jax.Array:
    """Whether an episode starts at each step `[T, N]`, by whether one ended before it.

    False at the first step: a memory carried there is of that step already.
    """
    return jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])


def unroll_actor(
    network: Network, params: Params, obs: Any, reset: jax.Array, memory: Any
) -> tuple[Any, Any]:
    """The action distributions of sequences.

    Args:
      network: one with a memory.
      params: its parameters.
      obs: `[L * S, ...]`, time first.
      reset: `[L * S]`, whether an episode starts at each step.
      memory: the actor's at the first steps, `[S, ...]`.

    Returns:
      A distribution over `[L * S]` actions; the memory after each step `[L, S, ...]`.
    """
    own = getattr(network, "unroll_actor", None)
    if own is not None:
        return own(params, obs, reset, memory)
    initial = init_memory(network, memory_size(memory)).actor
    return unroll(lambda x, m: network.actor(params, x, m), obs, reset, memory, initial)


def unroll_critic(
    network: Network, params: Params, obs: Any, reset: jax.Array, memory: Any
) -> tuple[jax.Array, Any]:
    """The values `[L * S]` of sequences; see `unroll_actor`."""
    own = getattr(network, "unroll_critic", None)
    if own is not None:
        return own(params, obs, reset, memory)
    initial = init_memory(network, memory_size(memory)).critic
    return unroll(
        lambda x, m: network.critic(params, x, m), obs, reset, memory, initial
    )


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
