"""Which parts of an action its type uses: checking `protocol.Arguments`."""

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from jax.core import Tracer

from purejaxppo.environments.protocol import Arguments
from purejaxppo.networks.distributions.messages import line, listed

Table = tuple[tuple[bool, ...], ...]


def check_arguments(arguments: Any, space: gymnasium.Space) -> None:
    """Refuse what is no `Arguments`, or for actions that are no Tuple or Dict.

    Raises:
      ValueError: it is not, or they are.
    """
    if not isinstance(arguments, Arguments):
        raise ValueError(
            f"Expected action_arguments to return an Arguments, got "
            f"{type(arguments).__name__}."
        )
    if not isinstance(space, spaces.Tuple | spaces.Dict):
        raise ValueError(
            f"Expected action_arguments only with a Tuple or Dict of actions, "
            f"got {line(space)}."
        )


def type_and_uses(
    arguments: Arguments, parts: Sequence[tuple[str, gymnasium.Space]]
) -> tuple[int, tuple[Table | None, ...]]:
    """Which part is the type, and for each part the table `Layout.uses`.

    Raises:
      ValueError: the type is no Discrete part, or an argument itself; there is no such
        part; or its table is traced, does not fit it, or has other entries than 0 and
        1.
    """
    names = [name for name, _ in parts]
    discrete = [name for name, part in parts if isinstance(part, spaces.Discrete)]
    if arguments.type not in discrete:
        raise ValueError(
            f"Expected action_arguments.type to be a Discrete part of action_space, of "
            f"{listed(discrete) or 'which there is none'}, got {arguments.type!r}."
        )
    if arguments.type in arguments.uses:
        raise ValueError(
            f"Expected action_arguments.uses to leave out the type, got "
            f"{arguments.type!r}."
        )
    for name in arguments.uses:
        if name not in names:
            raise ValueError(
                f"Expected action_arguments.uses to name parts of action_space, of "
                f"{listed(names)}, got {name!r}."
            )
    kind = dict(parts)[arguments.type]
    assert isinstance(kind, spaces.Discrete)
    tables = tuple(
        _table(name, part, int(kind.n), arguments.uses[name])
        if name in arguments.uses
        else None
        for name, part in parts
    )
    return names.index(arguments.type), tables


def _table(name: str, part: gymnasium.Space, n: int, uses: Any) -> Table:
    """A part's table as `[n, size]`."""
    path, shape = f"action_arguments.uses.{name}", part.shape
    table = _numbers(uses, path)
    assert shape is not None
    if table.shape not in ((n,), (n, *shape)):
        wanted = " or ".join(map(str, dict.fromkeys([(n,), (n, *shape)])))
        raise ValueError(
            f"Expected {path} to be of shape {wanted}, as {n} types and that part's "
            f"shape {shape} need, got {table.shape}."
        )
    other = table[(table != 0) & (table != 1)]
    if other.size:
        raise ValueError(f"Expected {path} to be of 0 and 1, got {other[0]}.")
    if table.ndim == 1:
        table = np.repeat(table, math.prod(shape))
    return tuple(map(tuple, table.reshape(n, -1).astype(bool).tolist()))


def _numbers(uses: Any, path: str) -> np.ndarray:
    """A table as an array."""
    traced = [x for x in jax.tree.leaves(uses) if isinstance(x, Tracer)]
    got = f"a traced {jax.typeof(traced[0])}" if traced else str(uses)
    try:
        if not traced:
            return np.asarray(uses)
    except ValueError:  # Rows of different lengths.
        pass
    raise ValueError(
        f"Expected {path} to be a table of numbers that are no traced values (a list "
        f"or a NumPy array), got {' '.join(got.split())}."
    )
