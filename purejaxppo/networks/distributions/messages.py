"""How messages show spaces and names."""

from collections.abc import Iterable

import gymnasium


def line(space: gymnasium.Space) -> str:
    """A space in one line."""
    return " ".join(str(space).split())


def listed(names: Iterable[str]) -> str:
    """Names in quotes, one after another."""
    return ", ".join(map(repr, names))
