"""Recurrent cores between an actor's or a critic's torso and its last layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Core(nn.Module):
    """A recurrent cell, with layer norm of its input and output if asked for.

    Its kernels are zero until `parameters.draw_kernels`: the cells' own initializers
    make a QR decomposition, which deadlocks when it is vmapped on XLA:CPU.
    """

    kind: str
    size: int
    layer_norm: bool

    @nn.compact
    def __call__(self, memory: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        """(memory, `[batch, features]`) -> (memory after it, `[batch, size]`)."""
        zeros = nn.initializers.zeros
        cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[self.kind]
        if self.layer_norm:
            x = nn.LayerNorm(name="norm_in")(x)
        memory, x = cell(
            self.size, kernel_init=zeros, recurrent_kernel_init=zeros, name="cell"
        )(memory, x)
        if self.layer_norm:
            x = nn.LayerNorm(name="norm_out")(x)
        return memory, x


def init_core(kind: str, size: int, batch_size: int) -> Any:
    """The memory at an episode's start: zeros `[batch, size]`, two of an LSTM."""
    zeros = jnp.zeros((batch_size, size), jnp.float32)
    return (zeros, zeros) if kind == "lstm" else zeros


def forget(memory: Any, initial: Any, done: jax.Array) -> Any:
    """`memory` `[B, ...]`, but the initial one where an episode is `done` `[B]`."""

    def choose(start: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(done.reshape(-1, *(1,) * (x.ndim - 1)), start, x)

    return jax.tree.map(choose, initial, memory)


def unroll(
    step: Callable[[Any, Any], tuple[Any, Any]],
    inputs: Any,
    reset: jax.Array,
    memory: Any,
    initial: Any,
) -> tuple[Any, Any]:
    """A function with a memory, step by step along sequences.

    Args:
      step: (inputs `[S, ...]`, memory) -> (outputs `[S, ...]`, memory after them).
      inputs: `[L * S, ...]`, time first.
      reset: `[L * S]`, whether the memory is the initial one at each step.
      memory: at the first steps, `[S, ...]`.
      initial: an episode's first memory, likewise.

    Returns:
      Outputs `[L * S, ...]`, and the memory after each step `[L, S, ...]`.
    """
    size = memory_size(memory)

    def advance(memory: Any, now: tuple[Any, jax.Array]) -> tuple[Any, tuple[Any, Any]]:
        x, reset = now
        output, memory = step(x, forget(memory, initial, reset))
        return memory, (output, memory)

    by_time = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), (inputs, reset))
    _, (outputs, memories) = jax.lax.scan(advance, memory, by_time)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    return flat, memories


def memory_size(memory: Any) -> int:
    """How many memories there are in `[S, ...]`."""
    return jax.tree.leaves(memory)[0].shape[0]
