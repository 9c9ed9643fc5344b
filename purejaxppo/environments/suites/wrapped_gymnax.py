"""gymnax wrappers, and gymnax environments with a `step` or `reset` of their own.

gymnax's `Environment.step` resets by itself, below whatever is wrapped around it: a
wrapper sees the first observation of the next episode in place of an episode's last.
Here the wrapper's own `step` is played over a copy of the environment that does not
reset. A step that resets in another way is refused.
"""

import inspect
import types
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
from jax.dtypes import prng_key

from purejaxppo.environments.protocol import (
    Environment,
    EnvParams,
    EnvState,
    Observation,
    ProtocolError,
    Step,
    attributes,
    describe,
    inner_environments,
)
from purejaxppo.environments.suites.gymnax import Gymnax, call_step_env, convert_space

HOOKS = {
    "step": ("step_env", "is_truncated", "is_terminated", "observe", "get_obs"),
    "reset": ("reset_env",),
}
"""Method of gymnax's environments -> methods that it calls and subclasses override."""


def adapt_gymnax(env: Any) -> Environment:
    """Return an object with the methods of gymnax's environments as an `Environment`.

    Raises:
      ProtocolError: a wrapper overrides a method that nothing calls.
    """
    is_plain = isinstance(env, _gymnax_environment()) and not (
        _overrides(env, "step") or _overrides(env, "reset") or inner_environments(env)
    )
    return Gymnax(env) if is_plain else WrappedGymnax(env)


class WrappedGymnax:
    """A gymnax wrapper, or a subclass of an environment, with its own `step`.

    A step is taken as gymnax does it, and once more without gymnax's automatic reset.
    The second one counts where the episode ends, so that its observation is the last
    one of the episode. The first one counts elsewhere: it has reset an inner
    environment whose end the wrapper hides. XLA shares what both have in common.

    `reset` is the object's own. An object whose `step` returns a `Step` keeps our
    protocol already, and is played as it is.

    Raises:
      ProtocolError: a wrapper overrides a method that nothing calls.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self._without_reset = copy_without_reset(env, {})
        self._resets = hasattr(env, "step_env")
        arguments = getattr(env, "action_arguments", None)
        if arguments is not None:
            self.action_arguments = arguments

    def __repr__(self) -> str:
        return f"Gymnax({_describe_layers(self.env)})"

    @property
    def default_params(self) -> EnvParams:
        """The object's own."""
        return self.env.default_params

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode."""
        return self.env.reset(key, params)

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step, without resetting."""
        inputs = key, state, action, params
        again = jax.tree.map(_clone, inputs)
        going = self.env.step(*inputs) if self._resets else None
        if isinstance(going, Step):
            return going
        ended = _read(self.env, self._without_reset.step(*again))
        _check_no_reset(self._without_reset, again)
        ended = ended._replace(info=_own_info(ended.info))
        if going is None:
            return ended
        going = _read(self.env, going)
        done = jnp.asarray(ended.terminated, bool) | jnp.asarray(ended.truncated, bool)
        if done.shape != ():
            return ended  # Not a scalar, which is refused where fields are checked.
        obs, state, reward = jax.tree.map(
            lambda last, next: jnp.where(done, last, next), ended[:3], going[:3]
        )
        return ended._replace(obs=obs, state=state, reward=reward)

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Observation space as a `gymnasium.spaces` object."""
        return convert_space(self.env.observation_space(params), "observation")

    def action_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Action space as a `gymnasium.spaces` object."""
        return convert_space(self.env.action_space(params), "action")


def _read(env: Any, result: Any) -> Step:
    """Return gymnax's six values as a `Step`."""
    name = type(env).__name__
    if isinstance(result, tuple) and len(result) == 5:
        raise ProtocolError(
            f"{name}.step returns five values, as before gymnax 1.0: its done does not "
            "tell a time limit from the task's end; return six: observation, state, "
            "reward, terminated, truncated, info."
        )
    if not isinstance(result, tuple) or len(result) != 6:
        raise ProtocolError(
            f"{name}.step returns {describe(result)}; it must return six: "
            "observation, state, reward, terminated, truncated, info."
        )
    return Step(*result)


def _own_info(info: Any) -> Any:
    """Return `info` without what gymnax's `step` puts there for its reset."""
    if not isinstance(info, dict):
        return info
    return {name: value for name, value in info.items() if name not in RESET_INFO}


def _clone(x: Any) -> Any:
    """Return a key that may be used again; anything else as it is."""
    is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, prng_key)
    return jax.random.clone(x) if is_key else x


# --- A copy that does not reset -----------------------------------------------------

RESET_INFO = ("terminated", "truncated", "final_observation")
"""Names that gymnax's `step` adds to `info`, and that wrappers read there."""

_INSIDE_STEP_ENV: ContextVar[bool] = ContextVar("inside_step_env", default=False)


class _NoReset:
    """gymnax's `step`, but for its automatic reset; put before it by inheritance."""

    def step(
        self: Any, key: jax.Array, state: Any, action: Any, params: Any = None
    ) -> tuple[Any, ...]:
        """Advance by one step."""
        params = self.default_params if params is None else params
        step_key, _ = jax.random.split(key)  # gymnax's other key is for its reset.
        return tuple(_add_info(call_step_env(self, step_key, state, action, params)))


def _add_info(step: Step) -> Step:
    """Return a step with the `info` of gymnax's `step`."""
    values = step.terminated, step.truncated, step.obs
    own = step.info if isinstance(step.info, dict) else {}
    return step._replace(info=own | dict(zip(RESET_INFO, values, strict=True)))


def _of_our_protocol(copy: Any) -> Any:
    """Return the `step` of one of our environments as gymnax's wrappers need it."""
    own_step = copy.step

    def step(*inputs: Any) -> Any:
        result = own_step(*inputs)
        return _add_info(result) if isinstance(result, Step) else result

    return step


def copy_without_reset(env: Any, copies: dict[int, Any]) -> Any:
    """Return a copy of an environment, and of those in it, whose `step` does not reset.

    Calls of `reset` and `reset_env` are refused in the copies, but inside `step_env`,
    where they are no end of an episode. What cannot be copied is returned as it is:
    `_check_no_reset` then tells whether it resets.

    Args:
      env: an environment or a wrapper; others are found in its attributes.
      copies: id of an object -> its copy, of those copied so far; is added to.

    Raises:
      ProtocolError: a wrapper overrides a method that nothing calls.
    """
    if id(env) in copies:
        return copies[id(env)]
    is_environment = isinstance(env, _gymnax_environment())
    if not is_environment:
        _check_hooks(env)
    kind = _without_reset(type(env)) if is_environment else type(env)
    copy = copies[id(env)] = _shallow_copy(env, kind)
    if copy is env:
        return env
    for name, inner in inner_environments(env).items():
        copy.__dict__[name] = copy_without_reset(inner, copies)
    for name in ("reset", "reset_env"):
        if hasattr(env, name):
            copy.__dict__[name] = _guard(copy, type(env).__name__, name)
    if not hasattr(env, "step_env"):
        copy.__dict__["step"] = _of_our_protocol(copy)
    elif is_environment or _overrides(env, "step_env"):
        copy.__dict__["step_env"] = _inside_step_env(copy)
    return copy


def _gymnax_environment() -> type:
    from gymnax.environments.environment import Environment as GymnaxEnvironment

    return GymnaxEnvironment


def _overrides(env: Any, name: str) -> bool:
    """Return whether an object has a method of its own, not gymnax's or forwarded."""
    if name in attributes(env):
        return True
    owners = [kind for kind in type(env).__mro__ if name in vars(kind)]
    return bool(owners) and not _is_of_gymnax(owners[0])


def _is_of_gymnax(kind: type) -> bool:
    return kind.__module__.startswith("gymnax.environments.")


def _check_hooks(wrapper: Any) -> None:
    """Raise if a wrapper overrides what the method that it forwards does not call."""
    for method, hooks in HOOKS.items():
        if inspect.getattr_static(wrapper, method, None) is not None:
            continue
        for hook in hooks:
            if inspect.getattr_static(wrapper, hook, None) is not None:
                name = type(wrapper).__name__
                raise ProtocolError(
                    f"{name} overrides {hook}, but the {method} that it takes from the "
                    f"environment inside does not call that; override {method} as well."
                )


def _shallow_copy(env: Any, kind: type) -> Any:
    """Return a `kind` with an object's attributes, or the object if that is unsafe."""
    slots = any(vars(parent).get("__slots__") for parent in kind.__mro__)
    if slots or kind.__dictoffset__ == 0:
        return env
    try:
        copy = object.__new__(kind)
    except TypeError:
        return env
    copy.__dict__.update(attributes(env))
    return copy


def _without_reset(kind: type) -> type:
    """Return a subclass in which `_NoReset.step` stands before gymnax's own.

    A `step` of the user's class still comes first, and reaches it by `super`.
    """
    base = next(parent for parent in kind.__mro__ if _is_of_gymnax(parent))
    below = types.new_class(base.__name__, (_NoReset, base))
    return below if kind is base else types.new_class(kind.__name__, (kind, below))


def _guard(copy: Any, name: str, method: str) -> Any:
    """Return a method that may be called inside `step_env` only."""
    allowed = getattr(copy, method)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if _INSIDE_STEP_ENV.get():
            return allowed(*args, **kwargs)
        raise ProtocolError(
            f"{name}'s step calls {method}; take that call out: training resets by "
            "itself, and needs the last observation of an episode."
        )

    return refuse


def _inside_step_env(copy: Any) -> Any:
    step_env = copy.step_env

    def step(*args: Any, **kwargs: Any) -> Any:
        token = _INSIDE_STEP_ENV.set(True)
        try:
            return step_env(*args, **kwargs)
        finally:
            _INSIDE_STEP_ENV.reset(token)

    return step


# --- Resets that are out of reach ---------------------------------------------------


def _check_no_reset(env: Any, inputs: tuple[Any, ...]) -> None:
    """Raise if a reset was traced in a step that is to have none.

    A function that holds the environment in a closure still calls gymnax's own `step`.
    """

    def step_to_examine(*inputs: Any) -> Any:
        return _read(env, env.step(*inputs))._replace(info={})

    program = jax.make_jaxpr(step_to_examine)(*jax.tree.map(_clone, inputs))
    if any(map(_is_of_reset, _equations(program.jaxpr))):
        name = type(env).__name__
        raise ProtocolError(
            f"{name}.step resets at an episode's end by a call of gymnax's step that "
            "cannot be replaced; make it a class that keeps the inner environment in "
            "an attribute, self.env, and calls self.env.step."
        )


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yield all equations of a program, those of its parts included."""
    for equation in jaxpr.eqns:
        yield equation
        for part in jax.tree.leaves(list(equation.params.values())):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from _equations(part)


def _is_of_reset(equation: Any) -> bool:
    """Return whether an equation was traced in a reset that is not `step_env`'s."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    gymnax_file, names = inspect.getfile(_gymnax_environment()), []
    for frame in frames:  # The innermost one first.
        name = frame.function_name.rpartition(".")[2]
        if name == "step_to_examine":
            break
        if frame.file_name == gymnax_file and name in ("step", "reset"):
            return "step_env" not in names
        names.append(name)
    return "reset_env" in names and "step_env" not in names


def _describe_layers(env: Any) -> str:
    """Return the name of a wrapper with those of the environments in it."""
    inner = ", ".join(map(_describe_layers, inner_environments(env).values()))
    return f"{type(env).__name__}({inner})" if inner else type(env).__name__
