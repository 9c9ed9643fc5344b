"""Which of the discrete actions are valid."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.spaces import joined, parts

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
    """Shape of a discrete space's mask, see `environments.Environment`."""
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
            f"parts, got {_line(mask_space)}."
        )
    for name, space in mask_space.spaces.items():
        if name not in actions:
            raise ValueError(
                f"Expected {path} to name parts of action_space, "
                f"{_listed(actions)}, got {name!r}."
            )
        _check_part(
            actions[name], space, joined("action_space", name), joined(path, name)
        )


def _check_part(action: spaces.Space, mask: spaces.Space, name: str, path: str) -> None:
    if not isinstance(action, Discrete):
        raise ValueError(
            f"Expected {path} to be left out, as {name} = {_line(action)} has no mask, "
            f"got {_line(mask)}."
        )
    wanted = mask_shape(action)
    if mask.shape != wanted:
        got = _line(mask) if mask.shape is None else mask.shape
        raise ValueError(
            f"Expected {path} to be of shape {wanted}, as {name} = {_line(action)} "
            f"needs, got {got}."
        )


def _line(space: spaces.Space) -> str:
    return " ".join(str(space).split())


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def fully_masked(action_space: spaces.Space, mask: Any) -> jax.Array:
    """Where a mask with leading axes `[...]` leaves nothing valid in some dimension.

    That is a part, a dimension of a MultiDiscrete, or a bit of a MultiBinary.
    """
    if not isinstance(action_space, spaces.Tuple | spaces.Dict):
        return _nothing_valid(action_space, jnp.asarray(mask, bool))
    actions = dict(parts(action_space))
    nothing = [
        _nothing_valid(actions[name], jnp.asarray(one, bool))
        for name, one in mask.items()
    ]
    return jnp.any(jnp.stack(nothing), 0) if nothing else jnp.zeros((), bool)


def _nothing_valid(space: spaces.Space, mask: jax.Array) -> jax.Array:
    if isinstance(space, spaces.MultiDiscrete):
        each = jnp.split(mask, np.cumsum(space.nvec)[:-1], -1)
        return ~jnp.stack([one.any(-1) for one in each], -1).all(-1)
    dims = len(space.shape or ())
    return ~mask.any(-1).all(range(mask.ndim - 1 - dims, mask.ndim - 1))
