"""Torsos: from encoded observations to the features of a policy or a critic."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejaxppo.config.techniques import Impala, MinAtar, Nature
from purejaxppo.networks.encoders import Encoded
from purejaxppo.networks.layers import Conv, Dense, max_pool


class Convolution(NamedTuple):
    """A convolution without padding, and a ReLU."""

    filters: int
    window: int
    stride: int


class Stage(NamedTuple):
    """A convolution, a pool that halves the image, and two residual blocks."""

    filters: int


CONVOLUTIONS: dict[type, tuple[Convolution | Stage, ...]] = {
    MinAtar: (Convolution(filters=16, window=3, stride=1),),
    Nature: (
        Convolution(filters=32, window=8, stride=4),
        Convolution(filters=64, window=4, stride=2),
        Convolution(filters=64, window=3, stride=1),
    ),
    Impala: (Stage(filters=16), Stage(filters=32), Stage(filters=32)),
}
"""The layers of each kind of convolutional torso."""


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3 × 3, image and channels of one size."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, height, width, channels]` -> the same."""
        y = x
        for i in range(2):
            y = Conv(x.shape[-1], window=3, padding=1, name=f"conv_{i}")(nn.relu(y))
        return x + y


class ResidualStage(nn.Module):
    """A `Stage`: 3 × 3 convolution, 3 × 3 max pool of stride 2, two residual blocks."""

    filters: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, height, width, channels]` -> `[batch, ⌈h/2⌉, ⌈w/2⌉, filters]`."""
        x = Conv(self.filters, window=3, padding=1, name="conv")(x)
        x = max_pool(x, window=3, stride=2)
        for i in range(2):
            x = Residual(name=f"block_{i}")(x)
        return x


class ImageTorso(nn.Module):
    """Convolutions of images, a ReLU last, and what they give flattened.

    Raises:
      ValueError: the images are smaller than the windows.
    """

    layers: Sequence[Convolution | Stage]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[batch, height, width, channels]` -> `[batch, features]`."""
        least = least_size(self.layers)
        if min(x.shape[1:3]) < least:
            raise ValueError(
                f"Expected observation_space to have images of at least {least} x "
                f"{least} for network.conv, got {x.shape[1]} x {x.shape[2]}."
            )
        for i, layer in enumerate(self.layers):
            if isinstance(layer, Stage):
                x = ResidualStage(layer.filters, name=f"stage_{i}")(x)
            else:
                size = layer.filters, layer.window, layer.stride
                x = nn.relu(Conv(*size, name=f"conv_{i}")(x))
        if isinstance(self.layers[-1], Stage):
            x = nn.relu(x)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def least_size(layers: Sequence[Convolution | Stage]) -> int:
    """Height and width of the smallest image that leaves a pixel: 36 for Nature's.

    >>> least_size(CONVOLUTIONS[Nature])
    36
    """
    size = 1
    for layer in reversed(layers):
        if isinstance(layer, Convolution):
            size = (size - 1) * layer.stride + layer.window
    return size


class Torso(nn.Module):
    """Dense layers with an activation each, layer norm before it if asked for.

    Images go through `layers` first, each through convolutions of its own; what they
    give comes before the other features.
    """

    layers: Sequence[Convolution | Stage]
    widths: Sequence[int]
    activation: str
    layer_norm: bool

    @nn.compact
    def __call__(self, obs: Encoded) -> jax.Array:
        """A batch of observations -> `[batch, widths[-1]]`."""
        seen = [
            ImageTorso(self.layers, name=f"image_{i}")(image)
            for i, image in enumerate(obs.images)
        ]
        if obs.flat.shape[1] or not seen:
            seen.append(obs.flat)
        x = seen[0] if len(seen) == 1 else jnp.concatenate(seen, axis=-1)
        activate = getattr(nn, self.activation)
        for i, width in enumerate(self.widths):
            x = Dense(width, name=f"dense_{i}")(x)
            if self.layer_norm:
                x = nn.LayerNorm(name=f"norm_{i}")(x)
            x = activate(x)
        return x


def make_torso(
    conv: MinAtar | Nature | Impala | None,
    widths: Sequence[int],
    activation: str,
    layer_norm: bool,
) -> Torso:
    """The torso of dense layers, after the convolutions `conv` of images if not None.

    `layer_norm` is that of the dense layers; convolutions have ReLUs, whatever the
    `activation`.
    """
    layers = () if conv is None else CONVOLUTIONS[type(conv)]
    return Torso(layers, tuple(widths), activation, layer_norm)
