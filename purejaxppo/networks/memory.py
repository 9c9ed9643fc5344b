"""The memory of a network: its initial state, and unrolling it over sequences.

Sequences are laid out flat, time first: `[L * S]` for S sequences of L steps. A memory
belongs to the observation that is processed next: where an episode ended before that
observation, it is the initial one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.networks.actor_critic import Network, Params
from purejaxppo.networks.recurrent import memory_size, unroll


class Memory(NamedTuple):
    """Memories of actor and critic, `[B, ...]` each; `()` without a memory."""

    actor: Any = ()
    critic: Any = ()


def has_memory(network: Network) -> bool:
    """Return whether a network has a memory."""
    return getattr(network, "init_memory", None) is not None


def init_memory(network: Network, batch_size: int) -> Memory:
    """Return the memories at the start of `batch_size` episodes."""
    if not has_memory(network):
        return Memory()
    init: Callable[[int], Any] = network.init_memory  # pyright: ignore[reportAttributeAccessIssue]
    return Memory(*init(batch_size))


def check_memory(network: Network, memory: Any, batch_size: int) -> None:
    """Raise if `memory` is not the actor's, for `batch_size` environments.

    Raises:
      ValueError: it has another tree, shape or type; it would broadcast in silence.
    """
    wanted = jax.eval_shape(lambda: init_memory(network, batch_size).actor)
    if not _alike(memory, wanted):
        raise ValueError(
            f"Expected memory to be that of {batch_size} environments, as "
            f"init_memory({batch_size}) gives, got {_described(memory)}."
        )


def check_init_memory(network: Network, batch_size: int) -> None:
    """Raise if `init_memory` of a custom network returns no pair of memories.

    Raises:
      ValueError: it returns something else.
    """
    if not has_memory(network):
        return
    init: Callable[[int], Any] = network.init_memory  # pyright: ignore[reportAttributeAccessIssue]
    pair = jax.eval_shape(lambda: init(batch_size))
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(
            "Expected network.init_memory to give a pair, the actor's memory and the "
            f"critic's, got {_described(pair)}."
        )


def check_network(network: Network, obs: Any, batch_size: int) -> None:
    """Raise if a network changes the tree, a shape or a type of its memories.

    Args:
      network: a custom network.
      obs: shapes of `batch_size` observations, `[batch, ...]`.
      batch_size: number of environments.

    Raises:
      ValueError: actor or critic returns another kind of memory than it takes.
    """
    if not has_memory(network):
        return
    pair = jax.eval_shape(lambda: init_memory(network, batch_size))
    params = jax.eval_shape(network.init, jax.random.key(0), obs)
    for name, memory in zip(("actor", "critic"), pair, strict=True):
        rows = all(x.shape[:1] == (batch_size,) for x in jax.tree.leaves(memory))
        _, after = jax.eval_shape(getattr(network, name), params, obs, memory)
        if not rows or not _alike(after, memory):
            raise ValueError(
                f"Expected network.{name} to keep its memory's arrays [batch, ...] as "
                f"network.init_memory gives them, {_described(memory)}, got "
                f"{_described(after)}."
            )


def _alike(memory: Any, other: Any) -> bool:
    """Return whether two memories have the same tree, shapes and types."""
    kinds = [
        (jax.tree.structure(x), [(y.shape, y.dtype) for y in jax.tree.leaves(x)])
        for x in (memory, other)
    ]
    return kinds[0] == kinds[1]


def _described(memory: Any) -> str:
    """Format the shapes of a memory's arrays."""
    return str(jax.tree.map(jnp.shape, memory))


def unroll_actor(
    network: Network, params: Params, obs: Any, reset: jax.Array, memory: Any
) -> tuple[Any, Any]:
    """Return the action distributions of sequences.

    Args:
      network: one with a memory.
      params: its parameters.
      obs: `[L * S, ...]`, time first.
      reset: `[L * S]`, whether an episode starts at each step.
      memory: the actor's at the first steps, `[S, ...]`.

    Returns:
      A distribution over `[L * S]` actions; the memory after each step `[L, S, ...]`.
    """
    if not jax.tree.leaves(memory):
        return network.actor(params, obs, ())
    own = getattr(network, "unroll_actor", None)
    if own is not None:
        return own(params, obs, reset, memory)
    initial = init_memory(network, memory_size(memory)).actor
    return unroll(lambda x, m: network.actor(params, x, m), obs, reset, memory, initial)


def unroll_critic(
    network: Network, params: Params, obs: Any, reset: jax.Array, memory: Any
) -> tuple[jax.Array, Any]:
    """Return the values `[L * S]` of sequences; see `unroll_actor`."""
    if not jax.tree.leaves(memory):
        return network.critic(params, obs, ())
    own = getattr(network, "unroll_critic", None)
    if own is not None:
        return own(params, obs, reset, memory)
    initial = init_memory(network, memory_size(memory)).critic
    return unroll(
        lambda x, m: network.critic(params, x, m), obs, reset, memory, initial
    )
