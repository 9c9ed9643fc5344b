"""gymnax (>= 1.0.1): environments by id, and raw `gymnax.make(...)` objects."""

import importlib
import sys
from types import ModuleType
from typing import Any

import gymnasium
import jax
import numpy as np
from jax.core import Tracer

from purejaxppo.environments.protocol import (
    EnvParams,
    EnvState,
    Observation,
    ProtocolError,
    Step,
    describe,
)


class Gymnax:
    """A gymnax 1.x environment behind the `Environment` protocol.

    Uses `reset_env`, `step_env` and `is_truncated`, so that gymnax's own auto-reset
    (which cannot be switched off) never runs. For an environment whose `step` and
    `reset` are gymnax's; `WrappedGymnax` is for the others.
    """

    def __init__(self, env: Any) -> None:
        self.env = env

    def __repr__(self) -> str:
        return f"Gymnax({self.env.name})"

    @property
    def default_params(self) -> EnvParams:
        """Gymnax's own `EnvParams`, physics included."""
        return self.env.default_params

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode."""
        return self.env.reset_env(key, params)

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step, without resetting."""
        return call_step_env(self.env, key, state, action, params)

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Observation space as a `gymnasium.spaces` object."""
        return convert_space(self.env.observation_space(params), "observation")

    def action_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Action space as a `gymnasium.spaces` object."""
        return convert_space(self.env.action_space(params), "action")


def call_step_env(
    env: Any, key: jax.Array, state: EnvState, action: Any, params: EnvParams
) -> Step:
    """Take a step by an environment's `step_env` and `is_truncated`.

    Raises:
      ProtocolError: `step_env` does not return five values.
    """
    result = env.step_env(key, state, action, params)
    if not isinstance(result, tuple) or len(result) != 5:
        raise ProtocolError(
            f"{type(env).__name__}.step_env returns {describe(result)}; it must "
            "return five: observation, state, reward, terminated, info."
        )
    obs, state, reward, terminated, info = result
    truncated = env.is_truncated(state, params)
    return Step(obs, state, reward, terminated, truncated, info)


def convert_space(space: Any, path: str) -> gymnasium.spaces.Space:
    """Return a gymnax space as a gymnasium one, in which traced bounds are infinite.

    A gymnasium space stays as it is.

    Raises:
      ValueError: it is neither.
    """
    if isinstance(space, gymnasium.spaces.Space):
        return space
    if hasattr(space, "n"):
        return gymnasium.spaces.Discrete(int(space.n))
    if hasattr(space, "low"):
        return _box(space)
    if isinstance(getattr(space, "spaces", None), dict):
        children = {k: convert_space(v, f"{path}.{k}") for k, v in space.spaces.items()}
        return gymnasium.spaces.Dict(children)
    if hasattr(space, "spaces"):
        return gymnasium.spaces.Tuple(
            [convert_space(v, f"{path}[{i}]") for i, v in enumerate(space.spaces)]
        )
    raise ValueError(f"Expected a gymnax space at {path}, got {type(space).__name__}.")


def _box(space: Any) -> gymnasium.spaces.Box:
    shape, dtype = tuple(map(int, space.shape)), np.dtype(space.dtype)

    def bound(value: Any, otherwise: float) -> np.ndarray:
        if isinstance(value, Tracer):
            value = otherwise
        array = np.asarray(value, dtype)
        # A flattened space of gymnax keeps the bounds of the shape that it had.
        flat = array.reshape(shape) if array.size == np.prod(shape) else array
        return np.broadcast_to(flat, shape)

    return gymnasium.spaces.Box(
        bound(space.low, -np.inf), bound(space.high, np.inf), shape, dtype.type
    )


def load() -> ModuleType:
    """The gymnax package, without the seaborn that its Pong imports to draw itself.

    With pandas, SciPy and matplotlib behind it, seaborn is two thirds of the time that
    importing gymnax takes. Pong gets a stand-in, which imports it on first use.
    """
    if "gymnax" in sys.modules or "seaborn" in sys.modules:
        return importlib.import_module("gymnax")
    stand_in: Any = ModuleType("seaborn")
    stand_in.__getattr__ = lambda name: getattr(
        importlib.import_module("seaborn"), name
    )
    sys.modules["seaborn"] = stand_in
    try:
        return importlib.import_module("gymnax")
    finally:
        del sys.modules["seaborn"]


def env_ids() -> tuple[str, ...]:
    """Ids of gymnax's registered environments."""
    return tuple(load().registered_envs)


def make(env_id: str) -> Gymnax:
    """Make a gymnax environment by its id.

    Raises:
      ValueError: the environment cannot be made (MNISTBandit-bsuite downloads its
        images when it is first made).
    """
    try:
        env, _ = load().make(env_id)
    except OSError as error:
        raise ValueError(
            f"Environment {env_id!r} could not load its data: {error}."
        ) from error
    return Gymnax(env)
