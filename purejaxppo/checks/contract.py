"""What an environment must offer and return, told by tracing.

Training refuses an environment by these rules, and `check_environment` shows them.
"""

from functools import partial
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
from gymnasium import spaces
from jax.dtypes import canonicalize_dtype

from purejaxppo.environments.protocol import (
    Arguments,
    Environment,
    EnvParams,
    Reset,
    Step,
    check_pure,
    describe,
    lost,
    read_reset,
    read_step,
)
from purejaxppo.environments.spaces import (
    check_value,
    joined,
    map_space,
    named,
    plain,
    split_mask,
)
from purejaxppo.environments.suites.custom import blamed

SPACES = spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary
"""Kinds of the leaves of a tree of spaces."""


# --- What an environment offers -----------------------------------------------------


def get_params(env: Environment, given: EnvParams) -> EnvParams:
    """Return the given parameters, or the environment's own if there are none.

    Raises:
      ValueError: `default_params` raises.
    """
    with blamed("default_params"):
        defaults = env.default_params
    return defaults if given is None else given


def get_space(env: Environment, name: str, params: EnvParams) -> gymnasium.Space:
    """Return the space of the observations or of the actions.

    Args:
      env: the environment.
      name: "observation_space" or "action_space".
      params: its parameters.

    Raises:
      ValueError: the method raises, or returns no tree of supported spaces.
    """
    with blamed(name):
        space = getattr(env, name)(params)
    _check_space(space, name)
    if name == "observation_space":
        split_mask(space)
    return space


def _check_space(space: Any, path: str) -> None:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        is_dict = isinstance(space, spaces.Dict)
        children = list(space.items() if is_dict else enumerate(space.spaces))
        if not children:
            raise ValueError(f"Expected {path} to have parts, got {space}.")
        for name, child in children:
            if not isinstance(name, str | int):
                raise ValueError(f"Expected {path} to have names, got {name!r}.")
            _check_space(child, joined(path, str(name)))
    elif not isinstance(space, SPACES):
        names = ", ".join(kind.__name__ for kind in SPACES)
        got = space if isinstance(space, gymnasium.Space) else type(space).__name__
        raise ValueError(
            f"Expected {path} to be a gymnasium space, one of {names}, Tuple and Dict, "
            f"got {' '.join(str(got).split())}."
        )


def get_arguments(env: Environment, params: EnvParams) -> Arguments | None:
    """Return which arguments each type of action uses, if the environment says so.

    Raises:
      ValueError: `action_arguments` raises, or returns something else.
    """
    offered = getattr(env, "action_arguments", None)
    if offered is None:
        return None
    # A table may be made with jnp, in any trace.
    with blamed("action_arguments"), jax.ensure_compile_time_eval():
        arguments = offered(params)
    if not isinstance(arguments, Arguments):
        raise ValueError(
            "Expected action_arguments to return purejaxppo.Arguments, "
            f"got {type(arguments).__name__}."
        )
    return arguments


# --- What its methods return --------------------------------------------------------


class Traced(NamedTuple):
    """Types of what `reset` and the step after it return, `info` left out."""

    start: Reset
    step: Step


def call_reset(
    env: Environment, key: jax.Array, params: EnvParams, how: str = ""
) -> Reset:
    """Call `reset`; `how` says in messages how it is called.

    Raises:
      ValueError: it raises, or returns something else than it has to.
    """
    with blamed(f"reset{how}"):
        return read_reset(env.reset(key, params))


def call_step(
    env: Environment,
    key: jax.Array,
    state: Any,
    action: Any,
    params: EnvParams,
    how: str = "",
) -> Step:
    """Call `step`; `how` says in messages how it is called.

    Raises:
      ValueError: it raises, or returns something else than it has to.
    """
    with blamed(f"step{how}"):
        return read_step(env.step(key, state, action, params))


def trace(env: Environment, params: EnvParams, actions: gymnasium.Space) -> Traced:
    """Trace a reset and a step, as training does: batched, with fixed parameters.

    Raises:
      ValueError: one of them raises, returns something else than it has to, or keeps an
        array in the environment.
    """
    struct = jax.ShapeDtypeStruct
    batch = partial(jax.tree.map, lambda x: struct((2, *x.shape), x.dtype))
    one = partial(jax.tree.map, lambda x: struct(x.shape[1:], x.dtype))
    action = map_space(
        lambda part: struct(part.shape or (), canonicalize_dtype(part.dtype)), actions
    )
    reset = jax.vmap(lambda key: call_reset(env, key, params))
    step = jax.vmap(lambda key, state, a: call_step(env, key, state, a, params))
    keys = batch(jax.eval_shape(lambda: jax.random.key(0)))
    with blamed("reset or step"):
        start = jax.eval_shape(reset, keys)
        after = jax.eval_shape(step, keys, start.state, batch(action))
    check_pure(env)
    return Traced(start=one(start), step=one(after))


def check_traced(space: gymnasium.Space, traced: Traced) -> None:
    """Raise if what was traced breaks a rule.

    Raises:
      ValueError: naming what is wrong, with its path.
    """
    check_scalars(traced.step)
    check_observations(space, traced)
    check_carried(traced)


def check_scalars(step: Step) -> None:
    """Raise if the reward is no real scalar, or a flag is no scalar.

    Raises:
      ValueError: naming the field.
    """
    for name in ("reward", "terminated", "truncated"):
        check_scalar(name, getattr(step, name))


def check_scalar(name: str, value: Any) -> None:
    """Raise if a field of a step is no real scalar.

    Raises:
      ValueError: it is not.
    """
    if not hasattr(value, "shape"):
        raise ValueError(f"Expected {name} to be a scalar, got {describe(value)}.")
    if value.shape != ():
        raise ValueError(f"Expected {name} to be a scalar, got shape {value.shape}.")
    is_real = jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool
    if not is_real or jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"Expected {name} to be real, got {value.dtype}.")


def check_observations(space: gymnasium.Space, traced: Traced) -> None:
    """Raise if an observation is none of its space.

    Raises:
      ValueError: another tree, shape or kind of numbers, with the path.
    """
    for name, obs in (("reset", traced.start.obs), ("step", traced.step.obs)):
        try:
            check_value(space, plain(obs), "observation")
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')}, from {name}.") from None


def check_carried(traced: Traced) -> list[str]:
    """Raise if observation or state of a step cannot be carried on as a reset's.

    Returns:
      What changes its type where it is carried on, without a loss.

    Raises:
      ValueError: another tree, shape or type, with the path.
    """
    notes = []
    for name, first, then in (
        ("observation", plain(traced.start.obs), plain(traced.step.obs)),
        ("state", traced.start.state, traced.step.state),
    ):
        _check_tree(name, first, then)
        ours, theirs = named(first, name), named(then, name)
        for path, x in ours.items():
            loss = lost(x, theirs[path])
            if loss:
                raise ValueError(
                    f"Expected {path} to be of one shape and type, got {loss}; make it "
                    "so in reset."
                )
            if x.dtype != theirs[path].dtype:
                notes.append(f"{path} of {theirs[path].dtype} becomes {x.dtype}")
    return notes


def _check_tree(name: str, ours: Any, theirs: Any) -> None:
    if jax.tree.structure(ours) == jax.tree.structure(theirs):
        return
    first, then = (list(named(tree, name)) for tree in (ours, theirs))
    if first == then:
        first, then = (str(jax.tree.structure(tree)) for tree in (ours, theirs))
    raise ValueError(
        f"Expected {name} to be the same tree from reset and step, got {first} and "
        f"{then}."
    )
