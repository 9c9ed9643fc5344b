"""Rules that tracing alone can tell, each a function: a detail, or it raises."""

import re
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from purejaxppo.checks.contract import (
    call_reset,
    call_step,
    check_carried,
    check_observations,
    check_scalar,
    get_arguments,
)
from purejaxppo.checks.random_actions import sample_action
from purejaxppo.checks.random_play import Subject
from purejaxppo.environments.protocol import EnvParams, check_pure, is_number
from purejaxppo.environments.spaces import MASK, named, parts, split_mask
from purejaxppo.environments.suites.custom import describe
from purejaxppo.networks.distributions import check_mask, make_action_head


def protocol(subject: Subject) -> str:
    """The methods are there, and the parameters a pytree of numbers."""
    # Where a class does not say how it is shown, its name does without an address.
    name = re.sub(r"<[\w.<>]*?(\w+) object at 0x\w+>", r"\1", repr(subject.env))
    for path, leaf in named(subject.params, "params").items():
        if not is_number(leaf):
            raise ValueError(
                f"Expected {path} to be an array or a number, and the parameters a "
                f"pytree of them, got {type(leaf).__name__}."
            )
    return (
        f"{' '.join(name.split())}; parameters: {len(jax.tree.leaves(subject.params))}"
    )


def gymnasium_spaces(subject: Subject) -> str:
    """Spaces are gymnasium's, and of the same shapes where parameters are traced."""
    names = "observation_space", "action_space"
    shown = ", ".join(_short(getattr(subject, name)) for name in names)

    def trace(params: EnvParams) -> None:
        for name in names:
            traced = getattr(subject.env, name)(params)
            fixed = getattr(subject, name)
            if _sizes(traced) != _sizes(fixed):
                raise ValueError(
                    f"Expected {name} not to depend on traced parameters, got "
                    f"{_short(traced)} in place of {_short(fixed)}."
                )

    try:
        jax.eval_shape(trace, subject.params)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"Expected spaces not to depend on traced parameters; {describe(error)}."
        ) from error
    return shown


def _sizes(space: gymnasium.Space) -> list[Any]:
    return [
        (path, type(part), part.shape, part.dtype, np.asarray(_counts(part)).tolist())
        for path, part in parts(space)
    ]


def _counts(space: Any) -> Any:
    """How many values each dimension of a space of whole numbers has."""
    return getattr(space, "nvec", getattr(space, "n", ()))


def _short(space: gymnasium.Space) -> str:
    def leaf(part: gymnasium.Space) -> str:
        shape = "x".join(map(str, part.shape or ()))
        size = shape if isinstance(part, spaces.Box) else _counts(part)
        return f"{type(part).__name__}({' '.join(str(size).split())})"

    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return leaf(space)
    inner = ", ".join(f"{path}: {leaf(part)}" for path, part in parts(space))
    return f"{type(space).__name__}({inner})"


def actions(subject: Subject) -> str:
    """A policy can be made for the actions, with their arguments if any."""
    arguments = get_arguments(subject.env, subject.params)
    head = make_action_head(subject.action_space, arguments=arguments)
    if arguments is None:
        return f"a policy with {head.num_outputs} outputs"
    uses = ", ".join(map(repr, arguments.uses))
    return (
        f"a policy with {head.num_outputs} outputs; the type {arguments.type!r} says "
        f"whether {uses} count"
    )


def tracing(subject: Subject) -> str:
    """Both methods trace with parameters fixed, traced, and swept by a vmap."""
    assert subject.traced is not None
    keys, num_envs = subject.keys, subject.num_envs

    def run(key: jax.Array, params: EnvParams, how: str) -> Any:
        reset_key, action_key, step_key = jax.random.split(key, 3)
        start = call_reset(subject.env, reset_key, params, how)
        action = sample_action(action_key, subject.action_space)
        step = call_step(subject.env, step_key, start.state, action, params, how)
        return start, step

    def traced(params: EnvParams) -> Any:
        return run(keys[0], params, ", with parameters traced,")

    def swept(params: EnvParams) -> Any:
        how = ", with parameters under vmap,"
        return jax.vmap(lambda key, one: run(key, one, how))(keys, params)

    jax.eval_shape(traced, subject.params)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((num_envs, *jnp.shape(x)), jnp.result_type(x)),
        subject.params,
    )
    jax.eval_shape(swept, batch)
    check_pure(subject.env)
    return "reset and step under jit and vmap, with parameters fixed, traced and swept"


def one_trace(subject: Subject) -> str:
    """What a step returns can be stepped on without tracing again."""
    held = "a step has the tree, shapes and types of a reset"
    return "; ".join([held, *check_carried(subject.traced)])


def reward(subject: Subject) -> str:
    """The reward is a real scalar."""
    reward = subject.traced.step.reward
    check_scalar("reward", reward)
    return f"a scalar of {reward.dtype}"


def flags(subject: Subject) -> str:
    """Both flags are boolean scalars."""
    for name in ("terminated", "truncated"):
        flag = getattr(subject.traced.step, name)
        check_scalar(name, flag)
        if flag.dtype != bool:
            raise ValueError(f"Expected {name} to be bool, got {flag.dtype}.")
    return "terminated and truncated are boolean scalars"


def observation(subject: Subject) -> str:
    """Observations are of their space's tree, shapes and kinds."""
    check_observations(subject.observation_space, subject.traced)
    return "its tree, shapes and kinds are those of observation_space"


def action_mask(subject: Subject) -> str:
    """The mask, if there is one, fits the actions."""
    _, mask = split_mask(subject.observation_space)
    if mask is None:
        keys = getattr(subject.observation_space, "spaces", {})
        near = [key for key in keys if isinstance(key, str) and "mask" in key.lower()]
        hint = f"; {near[0]!r} is none, its key has to be {MASK!r}" if near else ""
        return f"none: every action is valid{hint}"
    check_mask(subject.action_space, mask)
    return f"observation.{MASK} fits action_space"
