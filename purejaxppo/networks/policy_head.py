"""The policy's last layers, from features to a distribution over actions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejaxppo.networks.distributions import ActionHead, Layers
from purejaxppo.networks.layers import Dense, zeros


class Policy(nn.Module):
    """The policy's last layer, with its log standard deviation if it has one.

    An autoregressive one has for its i-th part a hidden layer "hidden_i" as wide as the
    features, the embedding "choice_i" of the earlier choices that the part sees, if it
    sees any, and the last layer "output_i".
    """

    head: ActionHead
    log_std_init: float

    @nn.compact
    def __call__(self, x: jax.Array, mask: Any = None) -> Any:
        """Features `[batch, features]` -> distribution over `[batch]` actions.

        The mask is that of the observations, see `protocol.Environment`.
        """
        if self.head.conditionals:
            outputs = self._layers(x)
        else:
            outputs = Dense(self.head.num_outputs, name="output")(x)
        log_std = None
        if self.head.num_scales:
            log_std = self.param(
                "log_std",
                nn.initializers.constant(self.log_std_init),
                (self.head.num_scales,),
                jnp.float32,
            )
        return self.head.distribution(outputs, log_std, mask)

    def _layers(self, x: jax.Array) -> tuple[Layers, ...]:
        """The layers of every part, as far as observations go."""
        size, layers = x.shape[-1], []
        for i, (num_outputs, num_codes) in enumerate(self.head.conditionals):
            hidden, choice = Dense(size, name=f"hidden_{i}")(x), None
            if num_codes:
                choice = Embedding(num_codes, size, name=f"choice_{i}")()
            kernel, bias = Weights(size, num_outputs, name=f"output_{i}")()
            layers.append(
                Layers(hidden=hidden, choice=choice, kernel=kernel, bias=bias)
            )
        return tuple(layers)


class Embedding(nn.Module):
    """A vector `[features]` for each of some choices, zero until drawn."""

    num_codes: int
    features: int

    @nn.compact
    def __call__(self) -> jax.Array:
        """The kernel `[num_codes, features]`."""
        shape = self.num_codes, self.features
        return zeros(self, "kernel", shape)


class Weights(nn.Module):
    """Those of a `layers.Dense`, for a distribution to apply once it has its input."""

    inputs: int
    outputs: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """The kernel, short side first, and the bias `[outputs]`."""
        shape = tuple(sorted((self.inputs, self.outputs)))
        return zeros(self, "kernel", shape), zeros(self, "bias", (self.outputs,))
