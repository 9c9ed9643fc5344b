"""The greatest entropy that a policy over finite actions can have."""

import gymnasium
import numpy as np
from gymnasium import spaces

from purejaxppo.environments.protocol import Arguments
from purejaxppo.environments.spaces import parts
from purejaxppo.networks.distributions.arguments import type_and_uses
from purejaxppo.networks.distributions.messages import line


def most_entropy(
    action_space: gymnasium.Space, arguments: Arguments | None = None
) -> float:
    """The greatest entropy of the finite parts of an action, in nats: Boxes count 0.

    Σ ln n over all dimensions, with n choices each; with a type and its arguments Σ ln
    n over those that every type uses + ln Σ_k exp(Σ ln n over those that type k uses):
    of the uniform distribution over what actions come to.

    Raises:
      ValueError: a part is neither finite nor a Box, or `arguments` do not fit.
    """
    leaves = list(parts(action_space))
    logs = [_log_choices(part) for _, part in leaves]
    if arguments is None:
        return float(sum(each.sum() for each in logs))
    kind, tables = type_and_uses(arguments, leaves)
    types = leaves[kind][1]
    assert isinstance(types, spaces.Discrete)
    always, used = 0.0, np.zeros(int(types.n))
    for i, (each, table) in enumerate(zip(logs, tables, strict=True)):
        if table is not None:
            used += np.asarray(table, np.float64) @ each
        elif i != kind:
            always += each.sum()
    return float(always + np.logaddexp.reduce(used))


def _log_choices(space: gymnasium.Space) -> np.ndarray:
    """Ln n of each dimension `[size]`, 0 of numbers."""
    match space:
        case spaces.Discrete():
            return np.log([float(space.n)])
        case spaces.MultiDiscrete():
            return np.log(space.nvec.reshape(-1).astype(np.float64))
        case spaces.MultiBinary():
            return np.full(int(np.prod(space.shape)), np.log(2.0))
        case spaces.Box():
            return np.zeros(int(np.prod(space.shape)))
    raise ValueError(f"Expected a finite space or a Box, got {line(space)}.")
