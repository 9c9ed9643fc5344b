"""Which of the discrete actions are valid."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.environments.protocol import Arguments
from purejaxppo.environments.spaces import joined, parts
from purejaxppo.networks.distributions.arguments import Table, type_and_uses
from purejaxppo.networks.distributions.messages import line, listed

MASKED = -1e8
"""Logit of an invalid action: finite, so that no entropy or KL becomes NaN.

Next to any valid one its probability is exactly 0; where all are invalid, each gets the
same.
"""

Discrete = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


def mask_logits(logits: jax.Array, mask: Any) -> jax.Array:
    """`logits`, those of invalid actions replaced; all of them without a mask."""
    if mask is None:
        return logits
    return jnp.where(jnp.asarray(mask, bool), logits, MASKED)


def mask_shape(space: Discrete) -> tuple[int, ...]:
    """Shape of a discrete space's mask, see `protocol.Environment`."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return (int(space.nvec.sum()),)
    return (*space.shape, 2)


def check_mask(
    action_space: spaces.Space,
    mask_space: spaces.Space,
    path: str = "observation_space.action_mask",
) -> None:
    """Refuse the space of a mask that does not fit the actions.

    Args:
      action_space: a tree of spaces.
      mask_space: an array's of `mask_shape`; for a tree of actions a Dict of those by
        the parts' paths, without the parts that are free.
      path: what messages call it.

    Raises:
      ValueError: another shape, a part that there is not, or that has no mask.
    """
    if not isinstance(action_space, spaces.Tuple | spaces.Dict):
        _check_part(action_space, mask_space, "action_space", path)
        return
    actions = dict(parts(action_space))
    if not isinstance(mask_space, spaces.Dict):
        raise ValueError(
            f"Expected {path} to be a Dict of masks by the paths of action_space's "
            f"parts, got {line(mask_space)}."
        )
    for name, space in mask_space.spaces.items():
        if name not in actions:
            raise ValueError(
                f"Expected {path} to name parts of action_space, "
                f"{listed(actions)}, got {name!r}."
            )
        _check_part(
            actions[name], space, joined("action_space", name), joined(path, name)
        )


def _check_part(action: spaces.Space, mask: spaces.Space, name: str, path: str) -> None:
    if not isinstance(action, Discrete):
        raise ValueError(
            f"Expected {path} to be left out, as {name} = {line(action)} has no mask, "
            f"got {line(mask)}."
        )
    wanted = mask_shape(action)
    if mask.shape != wanted:
        got = line(mask) if mask.shape is None else mask.shape
        raise ValueError(
            f"Expected {path} to be of shape {wanted}, as {name} = {line(action)} "
            f"needs, got {got}."
        )


def fully_masked(
    action_space: spaces.Space, mask: Any, arguments: Arguments | None = None
) -> jax.Array:
    """Where a mask with leading axes `[...]` leaves no valid action.

    That is where nothing is valid in a part, a dimension of a MultiDiscrete, or a bit
    of a MultiBinary. With `arguments` those count that every type uses, or a valid one.

    Raises:
      ValueError: `arguments` do not fit the actions.
    """
    if not isinstance(action_space, spaces.Tuple | spaces.Dict):
        return _empty(action_space, jnp.asarray(mask, bool)).any(-1)
    actions = list(parts(action_space))
    empty = {
        name: _empty(part, jnp.asarray(mask[name], bool))
        for name, part in actions
        if name in mask
    }
    if not empty:
        return jnp.zeros((), bool)
    if arguments is not None:
        tables = type_and_uses(arguments, actions)[1]
        for (name, _), table in zip(actions, tables, strict=True):
            if table is not None and name in empty:
                wanted = _wanted(table, mask.get(arguments.type))
                empty[name] &= jnp.broadcast_to(wanted, empty[name].shape)
    return jnp.any(jnp.stack([x.any(-1) for x in empty.values()]), 0)


def _empty(space: spaces.Space, mask: jax.Array) -> jax.Array:
    """In which of the dimensions `[..., size]` of a part nothing is valid."""
    if isinstance(space, spaces.MultiDiscrete):
        each = jnp.split(mask, np.cumsum(space.nvec)[:-1], -1)
        return ~jnp.stack([one.any(-1) for one in each], -1)
    leading = mask.shape[: mask.ndim - 1 - len(space.shape or ())]
    return ~mask.any(-1).reshape(*leading, math.prod(space.shape or ()))


def _wanted(table: Table, types: Any) -> jax.Array:
    """Which dimensions `[..., size]` a valid type uses; all are without a mask."""
    uses = jnp.asarray(np.asarray(table))
    if types is None:
        return uses.any(0)
    valid = jnp.asarray(types, bool)[..., None]
    shape = *valid.shape[:-1], uses.shape[-1]
    return (valid & jnp.broadcast_to(uses, shape)).any(-2)
