"""From an action space to its action head."""

from collections.abc import Sequence
from typing import NamedTuple

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from purejaxppo.config.choices import POLICIES
from purejaxppo.environments.protocol import Arguments
from purejaxppo.environments.spaces import joined, map_space
from purejaxppo.environments.spaces import parts as parts_of
from purejaxppo.networks.distributions.arguments import check_arguments, type_and_uses
from purejaxppo.networks.distributions.autoregressive import FIELD, autoregressive_head
from purejaxppo.networks.distributions.betas import beta
from purejaxppo.networks.distributions.boxes import center_and_half
from purejaxppo.networks.distributions.categoricals import (
    categorical,
    multi_binary,
    multi_discrete,
)
from purejaxppo.networks.distributions.gaussians import diagonal_gaussian
from purejaxppo.networks.distributions.heads import (
    INDEPENDENT,
    ActionHead,
    Sigma,
    expect,
)
from purejaxppo.networks.distributions.joint import joint_head
from purejaxppo.networks.distributions.layouts import Layout, Part
from purejaxppo.networks.distributions.messages import line
from purejaxppo.networks.distributions.squashed_gaussians import tanh_gaussian


class Options(NamedTuple):
    """What a config says of distributions over Boxes; see `make_action_head`."""

    policy: str = "gaussian"
    sigma: Sigma = INDEPENDENT
    tanh_mean: bool = False


def make_action_head(
    space: gymnasium.spaces.Space,
    *,
    policy: str = "gaussian",
    sigma: Sigma = INDEPENDENT,
    tanh_mean: bool = False,
    arguments: Arguments | None = None,
    autoregressive: Sequence[str] = (),
    activation: str = "tanh",
) -> ActionHead:
    """The action head of a space.

    Args:
      space: Discrete, MultiDiscrete, MultiBinary, a Box of floats, or a Tuple or Dict
        of such spaces, whose parts are independent (`joint.Joint`).
      policy: over every Box; "gaussian" (`diagonal_gaussian`), or `tanh_gaussian` or
        `beta`, which need a bounded Box.
      sigma: the Gaussians' standard deviation.
      tanh_mean: whether "gaussian" has its mean bounded by tanh.
      arguments: which parts of a Tuple or Dict each type of action uses.
      autoregressive: which parts of a Tuple or Dict, or dimensions "0", "1", ... of a
        MultiDiscrete, see the choices of which earlier ones: "later:earlier", or
        ("all",); see `autoregressive.Autoregressive`. Parts are drawn in their order,
        but the type of an action first.
      activation: of the hidden layers of an autoregressive policy.

    Raises:
      ValueError: a part of the space is not supported, the space has no parts; or an
        option does not go with it, or with the others.
    """
    options, tree = Options(policy, sigma, tanh_mean), is_tree(space)
    if arguments is not None:
        check_arguments(arguments, space)
    if not tree and not autoregressive:
        return leaf_head(space, "action_space", options)
    if tree:
        parts, layout = tree_parts(space, options, arguments)
    else:
        parts, layout = dimensions(space, options, autoregressive)
    if autoregressive:
        return autoregressive_head(parts, layout, autoregressive, activation)
    return joint_head(parts, layout)


def is_tree(space: gymnasium.Space) -> bool:
    """Whether a space has parts."""
    return isinstance(space, spaces.Tuple | spaces.Dict)


def leaf_head(
    space: gymnasium.Space, path: str, options: Options, *, summed: bool = True
) -> ActionHead:
    """The head of a space without parts, which messages call `path`.

    Raises:
      ValueError: it is not supported, or an option does not go with it.
    """
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return _box_head(space, path, options, summed)
    if not isinstance(
        space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    ):
        raise ValueError(
            f"Expected {path} to be Discrete, MultiDiscrete, MultiBinary or a Box of "
            f"floats, got {line(space)}."
        )
    if summed:
        _check_off(options, f"for a {type(space).__name__} action space")
    if isinstance(space, spaces.Discrete):
        return categorical(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return multi_discrete(space.nvec, space.start, summed=summed)
    return multi_binary(space.shape, summed=summed)


def _check_off(options: Options, where: str) -> None:
    expect("network.policy", ("gaussian",), options.policy, where)
    if options.sigma.kind != "independent":
        raise ValueError(f"Expected network.sigma to be off {where}, got it on.")
    expect("network.tanh_mean", (False,), options.tanh_mean, where)


def _box_head(
    space: spaces.Box, path: str, options: Options, summed: bool
) -> ActionHead:
    policy, sigma, tanh_mean = options
    low, high = space.low, space.high
    expect("network.policy", POLICIES, policy)
    if policy == "gaussian":
        return diagonal_gaussian(
            low, high, sigma=sigma, tanh_mean=tanh_mean, summed=summed
        )
    where = f"for network.policy '{policy}'"
    expect("network.tanh_mean", (False,), tanh_mean, where)
    half = center_and_half(low, high)[1]
    if not (np.isfinite(half) & (half > 0)).all():
        raise ValueError(f"Expected {path} to be bounded {where}, got {line(space)}.")
    if policy == "tanh_gaussian":
        return tanh_gaussian(low, high, sigma=sigma, summed=summed)
    expect("network.sigma", ("independent",), sigma.kind, where)
    return beta(low, high, summed=summed)


def tree_parts(
    space: gymnasium.Space, options: Options, arguments: Arguments | None
) -> tuple[tuple[Part, ...], Layout]:
    """The leaves of a Tuple or Dict, and how they make up its actions.

    Raises:
      ValueError: one is not supported, there is none, an option does not go with them,
        or `arguments` do not fit.
    """
    leaves = list(parts_of(space))
    if not leaves:
        raise ValueError(f"Expected action_space to have parts, got {line(space)}.")
    parts = tuple(_part(name, leaf, options) for name, leaf in leaves)
    if not any(isinstance(leaf, spaces.Box) for _, leaf in leaves):
        _check_off(options, f"for a {type(space).__name__} of actions without a Box")
    layout = Layout(
        structure=jax.tree.structure(map_space(lambda _: 0, space)),
        shape=(),
        shapes=tuple(part.shape for part in parts),
    )
    if arguments is None:
        return parts, layout
    kind, uses = type_and_uses(arguments, leaves)
    return parts, layout._replace(type=kind, uses=uses)


def _part(name: str, space: gymnasium.Space, options: Options) -> Part:
    return Part(
        name=name,
        head=leaf_head(space, joined("action_space", name), options, summed=False),
        shape=tuple(space.shape or ()),
        num_choices=_num_choices(space),
    )


def _num_choices(space: gymnasium.Space) -> int:
    if isinstance(space, spaces.MultiBinary):
        return 2
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.max())
    return int(space.n) if isinstance(space, spaces.Discrete) else 0


def dimensions(
    space: gymnasium.Space, options: Options, autoregressive: Sequence[str]
) -> tuple[tuple[Part, ...], Layout]:
    """The dimensions of a MultiDiscrete, each a part of its own.

    Raises:
      ValueError: it is none, or has an option that is for Boxes.
    """
    if not isinstance(space, spaces.MultiDiscrete):
        raise ValueError(
            f"Expected {FIELD} only with MultiDiscrete, Tuple or Dict actions, got "
            f"{tuple(autoregressive)} for {line(space)}."
        )
    _check_off(options, f"for a {type(space).__name__} action space")
    pairs = zip(space.nvec.reshape(-1), space.start.reshape(-1), strict=True)
    parts = tuple(
        Part(str(i), categorical(int(n), int(start)), (), int(n))
        for i, (n, start) in enumerate(pairs)
    )
    layout = Layout(structure=None, shape=space.nvec.shape, shapes=((),) * len(parts))
    return parts, layout
