"""How the parts of an action make it up, and which of them its type uses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.networks.distributions.boxes import sum_last
from purejaxppo.networks.distributions.heads import ActionHead


class Part(NamedTuple):
    """A leaf of an action space, or a dimension of one that has a head of its own.

    Attributes:
      name: its path, as in `spaces.parts`.
      head: its head, not summed: log-probabilities are `[..., *shape]`.
      shape: that of its actions.
      num_choices: n where its actions are in 0 ... n - 1, 0 where they are numbers.
    """

    name: str
    head: ActionHead
    shape: tuple[int, ...]
    num_choices: int


class Layout(NamedTuple):
    """How parts make up an action; compared by value, as static data must be.

    Attributes:
      structure: `jax.tree`'s of an action; `None` where it is one array of `shape`.
      shape: that of the array whose entries are the parts.
      shapes: those of the parts.
      type: which part is the type of the action, if it has one.
      uses: for each part a table `[n, size]` of which type uses which dimension, as
        nested tuples; `None` where every type uses all.
    """

    structure: Any
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    type: int | None = None
    uses: tuple[tuple[tuple[bool, ...], ...] | None, ...] = ()


def split_action(layout: Layout, action: Any) -> list[jax.Array]:
    """The parts of an action."""
    if layout.structure is not None:
        return layout.structure.flatten_up_to(action)
    leading = action.shape[: action.ndim - len(layout.shape)]
    flat = action.reshape(*leading, len(layout.shapes))
    return [flat[..., i] for i in range(len(layout.shapes))]


def join_action(layout: Layout, parts: Sequence[Any]) -> Any:
    """The action of these parts."""
    if layout.structure is not None:
        return jax.tree.unflatten(layout.structure, parts)
    flat = jnp.stack(parts, -1)
    return flat.reshape(*flat.shape[:-1], *layout.shape)


def split_mask(parts: Sequence[Part], mask: Any) -> list[Any]:
    """Each part's mask, `None` where it is free."""
    if mask is None:
        return [None] * len(parts)
    if isinstance(mask, Mapping):
        return [mask.get(part.name) for part in parts]
    return jnp.split(mask, offsets([part.head.num_outputs for part in parts]), -1)


def offsets(widths: Sequence[int]) -> list[int]:
    """Where all but the first of adjoining stretches begin."""
    return np.cumsum(widths)[:-1].tolist()


def num_codes(part: Part) -> int:
    """Width of what other parts see of its choice: numbers, or one-hot choices."""
    return math.prod(part.shape) * max(part.num_choices, 1)


def used(layout: Layout, i: int, values: Any) -> jax.Array | None:
    """Which dimensions of part i an action uses: `[..., *shape]` bools.

    `None` where every type uses all. `values` are those of the parts, by index.
    """
    table = layout.uses[i] if layout.uses else None
    if table is None or layout.type is None:
        return None
    rows = jnp.asarray(np.asarray(table))[values[layout.type]]
    return rows.reshape(*rows.shape[:-1], *layout.shapes[i])


def usage(layout: Layout, i: int, p: jax.Array) -> jax.Array | None:
    """How probable it is that dimensions of part i are used: `[..., *shape]`.

    Args:
      layout: the action's.
      i: the part.
      p: probabilities of the types `[..., n]`.
    """
    table = layout.uses[i] if layout.uses else None
    if table is None:
        return None
    # Exact on accelerators that multiply in fewer bits by default, too.
    rows = jnp.matmul(p, np.asarray(table, p.dtype), precision="highest")
    return rows.reshape(*rows.shape[:-1], *layout.shapes[i])


def sum_used(x: jax.Array, layout: Layout, i: int, which: Any) -> jax.Array:
    """Σ over the dimensions of part i of `x` `[..., *shape]`, where used.

    `which` are bools, weights, or `None` for all.
    """
    if which is not None:
        x = jnp.where(which, x, 0) if which.dtype == bool else which * x
    return sum_last(x, len(layout.shapes[i]))
