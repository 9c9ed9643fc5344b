"""Trees of spaces (Tuple, Dict), the values that belong to them, and action masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

MASK = "action_mask"
"""The key of a Dict observation under which an environment offers its action mask."""


def parts(
    space: gymnasium.Space, path: str = ""
) -> Iterator[tuple[str, gymnasium.Space]]:
    """The leaves of a tree of spaces with their paths, in the order of `jax.tree`.

    >>> tree = spaces.Dict(go=spaces.Discrete(2), at=spaces.Tuple([spaces.Discrete(3)]))
    >>> [(path, int(part.n)) for path, part in parts(tree)]
    [('at.0', 3), ('go', 2)]
    """
    if isinstance(space, spaces.Dict):
        for name in sorted(space.spaces):
            yield from parts(space.spaces[name], joined(path, name))
    elif isinstance(space, spaces.Tuple):
        for i, child in enumerate(space.spaces):
            yield from parts(child, joined(path, str(i)))
    else:
        yield path, space


def joined(path: str, name: str) -> str:
    """The path of what is called `name` at `path`, dotted."""
    return ".".join(filter(None, (path, name)))


def named(tree: Any, name: str) -> dict[str, Any]:
    """The leaves of any tree by their dotted paths, `name` first."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    keystr = jax.tree_util.keystr
    return {joined(name, keystr(p, simple=True, separator=".")): x for p, x in leaves}


def map_space(leaf: Callable[[gymnasium.Space], Any], space: gymnasium.Space) -> Any:
    """A tree like the values of `space`, of what `leaf` makes of each leaf's space."""
    if isinstance(space, spaces.Dict):
        return {name: map_space(leaf, child) for name, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map_space(leaf, child) for child in space.spaces)
    return leaf(space)


def unflatten(space: gymnasium.Space, values: Sequence[Any]) -> Any:
    """A value of `space` from those of its leaves, in the order of `parts`."""
    structure = jax.tree.structure(map_space(lambda _: 0, space))
    return jax.tree.unflatten(structure, values)


def flatten(space: gymnasium.Space, value: Any, path: str) -> list[Any]:
    """The leaves of a value of `space`, in the order of `parts`.

    Raises:
      ValueError: it is another tree than the space; with the path of the difference.
    """
    if isinstance(space, spaces.Dict):
        names = sorted(space.spaces)
        if not isinstance(value, Mapping) or sorted(value) != names:
            got = sorted(value) if isinstance(value, Mapping) else _kind(value)
            raise ValueError(f"Expected {path} to be a dict of {names}, got {got}.")
        found = [flatten(space.spaces[k], value[k], joined(path, k)) for k in names]
        return [leaf for leaves in found for leaf in leaves]
    if isinstance(space, spaces.Tuple):
        size = len(space.spaces)
        if not isinstance(value, tuple) or len(value) != size:
            got = len(value) if isinstance(value, tuple) else _kind(value)
            raise ValueError(f"Expected {path} to be a tuple of {size}, got {got}.")
        pairs = enumerate(zip(space.spaces, value, strict=True))
        found = [flatten(child, x, joined(path, str(i))) for i, (child, x) in pairs]
        return [leaf for leaves in found for leaf in leaves]
    if not hasattr(value, "shape"):
        raise ValueError(f"Expected {path} to be an array, got {_kind(value)}.")
    return [value]


def plain(value: Any) -> Any:
    """A value as dicts and tuples, whatever mappings and tuples it was made of."""
    if isinstance(value, Mapping):
        return {name: plain(child) for name, child in value.items()}
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def _kind(value: Any) -> str:
    return "an array" if hasattr(value, "shape") else type(value).__name__


def is_image(space: gymnasium.Space) -> bool:
    """Whether it is a Box `[height, width, channels]`."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def is_bytes(space: gymnasium.Space) -> bool:
    """Whether it is a Box of uint8, or an image, that ranges over all of 0..255."""
    if not isinstance(space, spaces.Box):
        return False
    if space.dtype != np.uint8 and not is_image(space):
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def check_value(
    space: gymnasium.Space,
    value: Any,
    path: str,
    batch: int = 0,
    *,
    standardised: bool = False,
) -> None:
    """Refuse arrays, or their shapes, that are no values of `space`.

    Args:
      space: a tree of spaces.
      value: arrays or `jax.ShapeDtypeStruct`s, with `batch` leading axes.
      path: what messages call the value.
      batch: number of leading axes that are not the space's.
      standardised: whether running statistics may have made fractions of the Boxes, but
        for those of bytes.

    Raises:
      ValueError: another tree, another shape, or fractions where the space has bytes or
        choices; with the path of the difference.
    """
    leaves = flatten(space, value, path)
    for (name, part), leaf in zip(parts(space), leaves, strict=True):
        where, shape = joined(path, name), tuple(leaf.shape[batch:])
        if part.shape is None:
            raise ValueError(
                f"Expected the space of {where} to be Box, Discrete, MultiDiscrete or "
                f"MultiBinary, got {part}."
            )
        if shape != tuple(part.shape or ()):
            raise ValueError(
                f"Expected {where} to be of shape {part.shape}, as its space says, "
                f"got {shape}."
            )
        small = part.dtype == np.uint8 and (is_bytes(part) or not standardised)
        whole = not isinstance(part, spaces.Box) or small
        if whole and jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"Expected {where} to be of whole numbers, as its space {part} says, "
                f"got {leaf.dtype}."
            )


def split_mask(
    space: gymnasium.Space,
) -> tuple[gymnasium.Space, gymnasium.Space | None]:
    """An observation space without its action mask, and the mask's own if it has one.

    Raises:
      ValueError: there is nothing but a mask.
    """
    if not isinstance(space, spaces.Dict) or MASK not in space.spaces:
        return space, None
    rest = {name: child for name, child in space.spaces.items() if name != MASK}
    if not rest:
        raise ValueError(
            f"Expected observation_space to have more than {MASK}, got {space}."
        )
    return spaces.Dict(rest), space.spaces[MASK]


def split_mask_value(obs: Any) -> tuple[Any, Any]:
    """An observation without its action mask, and the mask or `None`."""
    if not isinstance(obs, Mapping) or MASK not in obs:
        return obs, None
    return {name: x for name, x in obs.items() if name != MASK}, obs[MASK]
