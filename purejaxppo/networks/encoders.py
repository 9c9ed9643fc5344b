"""Observations of any space as floats: features and images."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.environments.spaces import (
    MASK,
    check_value,
    flatten,
    is_bytes,
    is_image,
    joined,
    map_space,
    parts,
    split_mask,
)


class Encoded(NamedTuple):
    """What a network sees of a batch of observations, all of it float32.

    Attributes:
      flat: features, `[batch, features]`; without any, `[batch, 0]`.
      images: what goes through convolutions, each `[batch, height, width, channels]`.
    """

    flat: jax.Array
    images: tuple[jax.Array, ...]


def make_encoder(
    space: gymnasium.Space, *, images: bool = False
) -> Callable[[Any], Encoded]:
    """A function from observations `[batch, ...]` to their features and images.

    Features are those of the leaves, one after the other in the order of
    `spaces.parts`: flat floats of a Box, k-hot of a MultiBinary, one-hot of a Discrete
    and of each number of a MultiDiscrete. With `images`, a Box
    `[height, width, channels]` is an image instead. Bytes (a uint8 Box of 0..255, or an
    image of floats from 0 to 255) are divided by 255.

    Raises:
      ValueError: the space has a part of another kind, none at all, or no image where
        `images` are asked for, or one whose channels come first.
    """
    leaves = list(parts(space))
    for path, part in leaves:
        if not isinstance(part, tuple(FEATURES)):
            raise ValueError(
                f"Expected {joined('observation_space', path)} to be Box, Discrete, "
                f"MultiDiscrete or MultiBinary, got {part}."
            )
    if not leaves:
        raise ValueError(f"Expected observation_space to have a part, got {space}.")
    seen = [images and is_image(part) for _, part in leaves]
    if images and not any(seen):
        raise ValueError(
            "Expected network.conv only with an image (a Box [height, width, channels])"
            f" in observation_space, got {space}."
        )
    for (path, part), image in zip(leaves, seen, strict=True):
        if image:
            _check_channels_last(joined("observation_space", path), part.shape)

    def encode(obs: Any) -> Encoded:
        check_observation(space, obs)
        values = flatten(space, obs, "observation")
        rows = [
            (part, x, image)
            for (_, part), x, image in zip(leaves, values, seen, strict=True)
        ]
        flat = [features(part, x) for part, x, image in rows if not image]
        return Encoded(
            flat=concatenated(flat, values[0].shape[0]),
            images=tuple(floats(part, x) for part, x, image in rows if image),
        )

    return encode


def _check_channels_last(path: str, shape: Any) -> None:
    # No image of so few rows has as many channels.
    if shape[0] <= 4 and min(shape[1:]) > 16:
        raise ValueError(
            f"Expected {path} to be an image [height, width, channels], got {shape}: "
            "the channels come last."
        )


def check_observation(space: gymnasium.Space, obs: Any) -> None:
    """Refuse observations, one leading batch axis, that are not those of the space.

    Raises:
      ValueError: another tree, shape or kind of numbers; with the path.
    """
    box = isinstance(space, spaces.Box) and hasattr(obs, "shape")
    if box and obs.shape[1:] != space.shape:
        raise ValueError(
            f"Expected observations of shape {space.shape}, as the observation space "
            f"says, got {obs.shape[1:]}."
        )
    check_value(space, obs, "observation", batch=1, standardised=True)


def floats(space: gymnasium.Space, x: jax.Array) -> jax.Array:
    """Numbers as float32, bytes as x / 255; the shape stays."""
    x = x.astype(jnp.float32)
    return x / 255 if is_bytes(space) else x


def features(space: gymnasium.Space, x: jax.Array) -> jax.Array:
    """`[batch, *space.shape]` -> `[batch, features]`, as `make_encoder` says."""
    kind = next(kind for kind in FEATURES if isinstance(space, kind))
    return FEATURES[kind](space, x)


def flat_floats(space: gymnasium.Space, x: jax.Array) -> jax.Array:
    """Numbers, flattened, as `floats`."""
    return floats(space, x.reshape(x.shape[0], math.prod(space.shape or ())))


def one_hot(space: spaces.Discrete, x: jax.Array) -> jax.Array:
    """One-hot of what starts at `space.start`: `[batch]` -> `[batch, n]`."""
    x = x.astype(jnp.int32)  # A small type would wrap around at its own range.
    return jax.nn.one_hot(x - int(space.start), int(space.n), dtype=jnp.float32)


def one_hots(space: spaces.MultiDiscrete, x: jax.Array) -> jax.Array:
    """One-hot of each number, flattened: `[batch, ...]` -> `[batch, Σ nvec]`."""
    sizes, starts = space.nvec.flatten(), space.start.flatten()
    # Of each feature: which number it belongs to, and for which value it stands.
    owner = np.repeat(np.arange(sizes.size), sizes)
    first = np.repeat(np.cumsum(sizes) - sizes - starts, sizes)
    value = (np.arange(owner.size) - first).astype(np.int32)
    numbers = x.astype(jnp.int32).reshape(x.shape[0], sizes.size)[:, owner]
    return (numbers == value[None]).astype(jnp.float32)


FEATURES: dict[type, Callable[[Any, jax.Array], jax.Array]] = {
    spaces.Box: flat_floats,
    spaces.MultiBinary: flat_floats,
    spaces.Discrete: one_hot,
    spaces.MultiDiscrete: one_hots,
}
"""What makes features of each kind of space."""


def concatenated(flat: list[jax.Array], batch: int) -> jax.Array:
    """All features of a batch, `[batch, features]`; of one part alone, as they are."""
    if not flat:
        return jnp.zeros((batch, 0), jnp.float32)
    return flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)


def normalized_parts(space: gymnasium.Space) -> Any:
    """Which leaves running statistics may standardise: a tree of `bool` like the space.

    Boxes but for those of bytes. One-hots, bits and action masks stay as they are.
    """

    def normalized(part: gymnasium.Space) -> bool:
        return isinstance(part, spaces.Box) and not is_bytes(part)

    rest, mask = split_mask(space)
    if mask is None:
        return map_space(normalized, space)
    masked = map_space(lambda _: False, mask)
    return {**map_space(normalized, rest), MASK: masked}
