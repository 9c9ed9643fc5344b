"""What an environment is: `reset` and `step`; and the one place that auto-resets."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from purejaxppo.environments.spaces import named, plain

Observation = Any
EnvState = Any
EnvParams = Any


class ProtocolError(ValueError):
    """An environment breaks the protocol, or its own code raises: one line."""


class Step(NamedTuple):
    """What one environment step returns, before any reset.

    `terminated`: the task ended, nothing follows (no bootstrap). `truncated`: the
    episode was cut, by a time limit say, and the value of `obs` still counts. Both
    may be set; then `terminated` wins.
    """

    obs: Observation
    state: EnvState
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    info: dict[str, Any]


class Arguments(NamedTuple):
    """Which parts of a hybrid action each type of action uses.

    Parts are called by their paths in the tree of action spaces, as in `spaces.parts`:
    "0", "1" of a Tuple. An environment whose actions have arguments offers this as
    `action_arguments(params)`; parts that it does not name are always used.

    Attributes:
      type: the Discrete part that is the type, one of n.
      uses: part -> table of 0 and 1, `[n]` or `[n, *shape]` with one for each dimension
        of a Box or MultiDiscrete part.
    """

    type: str
    uses: Mapping[str, Any]


@runtime_checkable
class Environment(Protocol):
    """A single environment as pure functions; batching and resetting happen outside.

    `params` is a pytree that may be traced, so that one program sweeps over it.
    Spaces are `gymnasium.spaces`; their shapes must not depend on traced values.

    Where some actions are invalid, the observation is a Dict with the key
    "action_mask", true where an action is valid: `[n]` for Discrete; for MultiDiscrete
    the masks of its dimensions one after another; `[*shape, 2]` for MultiBinary (may it
    be 0, may it be 1); for Tuple and Dict actions a dict of those by the parts' paths,
    without the parts that are free. Its space is a MultiBinary of that shape.

    Where an action has a type and arguments, the optional method `action_arguments`
    says which are used; see `Arguments`.
    """

    @property
    def default_params(self) -> EnvParams:
        """Parameters to use where the user gives none."""
        ...

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode."""
        ...

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step, without resetting."""
        ...

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of the observations."""
        ...

    def action_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of the actions."""
        ...


class Reset(NamedTuple):
    """A fresh start: the first observation of an episode and its state."""

    obs: Observation
    state: EnvState


def make_reset(env: Environment, params: EnvParams) -> Callable[[jax.Array], Reset]:
    """`key -> Reset` of one environment, with arrays of fixed types throughout."""

    def reset(key: jax.Array) -> Reset:
        start = read_reset(env.reset(key, params))
        start = start._replace(obs=plain(start.obs))
        return _as(start, jax.tree.map(jnp.asarray, start))

    return reset


def make_advance(
    env: Environment, params: EnvParams
) -> Callable[[jax.Array, EnvState, Any, Reset], tuple[Step, Reset]]:
    """`(key, state, action, like) -> (step, next)`: one step without auto-reset.

    Both have the types of `like`, a start of the same environment; `info`, which may
    hold anything, is left out.
    """

    def advance(
        key: jax.Array, state: EnvState, action: Any, like: Reset
    ) -> tuple[Step, Reset]:
        result = read_step(env.step(key, state, action, params))
        step = result._replace(
            reward=jnp.asarray(result.reward, jnp.float32).reshape(()),
            terminated=jnp.asarray(result.terminated, bool).reshape(()),
            truncated=jnp.asarray(result.truncated, bool).reshape(()),
            obs=_as(plain(result.obs), like.obs),
        )
        return step, Reset(obs=step.obs, state=_as(result.state, like.state))

    return advance


def make_step(
    env: Environment, params: EnvParams
) -> Callable[[jax.Array, Reset, Any, Reset], tuple[Step, Reset]]:
    """`(key, now, action, fresh) -> (step, next)`: one step with auto-reset.

    `step` is what happened, its `obs` the observation *before* any reset, from which
    a truncated episode bootstraps. `next` is where the environment goes on from:
    `fresh` where the episode ended, else the step's own state.
    """
    advance = make_advance(env, params)

    def step(
        key: jax.Array, now: Reset, action: Any, fresh: Reset
    ) -> tuple[Step, Reset]:
        step, stay = advance(key, now.state, action, fresh)
        done = step.terminated | step.truncated
        return step, jax.tree.map(lambda a, b: jnp.where(done, a, b), fresh, stay)

    return step


# --- What reset and step return -----------------------------------------------------


def read_reset(result: Any) -> Reset:
    """Return what `reset` returned as a record.

    Raises:
      ProtocolError: it is no pair, or a part of it is no array and no number.
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise ProtocolError(
            f"reset returns {describe(result)}; it must return a pair of observation "
            "and state."
        )
    start = Reset(obs=result[0], state=result[1])
    _check_numbers(start)
    return start


def read_step(result: Any) -> Step:
    """Return what `step` returned, without `info`, which may hold anything.

    Raises:
      ProtocolError: it is no `Step`, or a part of it is no array and no number.
    """
    if not isinstance(result, Step):
        raise ProtocolError(
            f"step returns {describe(result)}; it must return a purejaxppo.Step "
            f"({', '.join(Step._fields)})."
        )
    step = result._replace(info={})
    _check_numbers(step)
    return step


def _check_numbers(values: Any) -> None:
    for field, value in values._asdict().items():
        name = "observation" if field == "obs" else field
        for path, leaf in named(value, name).items():
            if not is_number(leaf):
                raise ProtocolError(
                    f"{path} is {describe(leaf)}; it must be an array or a number."
                )


def is_number(value: Any) -> bool:
    """Return whether a leaf of a tree is a number, or an array of numbers or keys."""
    if isinstance(value, np.ndarray | np.generic):
        return jnp.issubdtype(value.dtype, np.number) or value.dtype == bool
    return isinstance(value, bool | int | float | jax.Array)


def describe(value: Any) -> str:
    """Return what kind of value was returned: "a tuple of 3", "None"."""
    if value is None:
        return "None"
    if isinstance(value, jax.Array):
        return f"an array of shape {value.shape}"
    name = type(value).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{article} {name}{size}"


def check_pure(env: Any) -> None:
    """Refuse an environment that has kept an array of a trace in itself.

    Raises:
      ValueError: with the attribute's name.
    """
    for layer in layers(env):
        for name, value in attributes(layer).items():
            if any(isinstance(x, Tracer) for x in jax.tree.leaves(value)):
                raise ValueError(
                    f"Expected reset and step to keep nothing in the environment, got "
                    f"{name} set in one of them; it belongs in the state."
                )


def layers(env: Any) -> list[Any]:
    """Return an environment, and all that it is wrapped around, the outermost first."""
    found = {id(env): env}
    waiting = [env]
    while waiting:
        for inner in inner_environments(waiting.pop()).values():
            if id(inner) not in found:
                found[id(inner)] = inner
                waiting.append(inner)
    return list(found.values())


def inner_environments(env: Any) -> dict[str, Any]:
    """Return the attributes of an object that are environments themselves."""
    return {
        name: value
        for name, value in attributes(env).items()
        if not isinstance(value, type | ModuleType)
        and callable(getattr(value, "step", None))
        and callable(getattr(value, "reset", None))
    }


def attributes(env: Any) -> dict[str, Any]:
    """Return the attributes that an object itself has, without any it forwards to."""
    has_any = type(env).__dictoffset__ != 0
    return object.__getattribute__(env, "__dict__") if has_any else {}


def lost(start: Any, then: Any) -> str:
    """What is lost where a leaf of a step is carried on as the one that `reset` gave.

    Args:
      start: a leaf of what `reset` returns, or its `jax.ShapeDtypeStruct`.
      then: the same leaf of what `step` returns.

    Returns:
      A phrase such as "int32 from reset, float32 from step"; empty if nothing is.
    """
    if start.shape != then.shape:
        return f"shape {start.shape} from reset, {then.shape} from step"
    if start.dtype == then.dtype:
        return ""
    keys = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in (start, then)]
    if any(keys) or jnp.promote_types(start.dtype, then.dtype) != start.dtype:
        return f"{start.dtype} from reset, {then.dtype} from step"
    return ""


def _as(tree: Any, like: Any) -> Any:
    """`tree` with the types of `like`, never weak, so that a scan can carry it."""

    def cast(x: Any, y: jax.Array) -> jax.Array:
        if jnp.issubdtype(y.dtype, jax.dtypes.prng_key):
            return x
        return jax.lax.convert_element_type(x, y.dtype)

    return jax.tree.map(cast, tree, like)
