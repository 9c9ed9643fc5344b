"""Which parts of an action its type uses: checking `environments.Arguments`."""

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from purejaxppo.environments import Arguments

Table = tuple[tuple[bool, ...], ...]


def type_and_uses(
    arguments: Arguments, parts: Sequence[tuple[str, gymnasium.Space]]
) -> tuple[int, tuple[Table | None, ...]]:
    """Which part is the type, and for each part the table `Layout.uses`.

    Raises:
      ValueError: the type is no Discrete part, or an argument itself; there is no such
        part; or its table does not fit it, or has other entries than 0 and 1.
    """
    names = [name for name, _ in parts]
    discrete = [name for name, part in parts if isinstance(part, spaces.Discrete)]
    if arguments.type not in discrete:
        raise ValueError(
            f"Expected action_arguments.type to be a Discrete part of action_space, of "
            f"{_listed(discrete)}, got {arguments.type!r}."
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
                f"{_listed(names)}, got {name!r}."
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "which there is none"


def _table(name: str, part: gymnasium.Space, n: int, uses: Any) -> Table:
    """A part's table as `[n, size]`."""
    path, table, shape = f"action_arguments.uses.{name}", np.asarray(uses), part.shape
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
