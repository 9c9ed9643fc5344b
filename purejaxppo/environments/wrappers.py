"""Wrappers: environments around another one."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.environments import spaces
from purejaxppo.environments.protocol import (
    Environment,
    EnvParams,
    EnvState,
    Observation,
    Step,
)
from purejaxppo.environments.spaces import MASK, split_mask, split_mask_value


class Wrapper:
    """An environment around another one, `env`, whose parameters it keeps.

    By itself it changes nothing. It offers `action_arguments` where `env` does.

    Raises:
      ValueError: `env` is no `Environment`; a raw gymnax one for instance, whose own
        `step` resets (`suites.adapt` makes it one).
    """

    def __init__(self, env: Environment) -> None:
        if hasattr(env, "step_env") or not isinstance(env, Environment):
            raise ValueError(
                f"Expected {type(self).__name__}.env to be an Environment, "
                f"got {type(env).__name__}."
            )
        self.env = env
        arguments = getattr(env, "action_arguments", None)
        if arguments is not None:
            self.action_arguments = arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.env!r})"

    @property
    def default_params(self) -> EnvParams:
        """The inner environment's."""
        return self.env.default_params

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode."""
        return self.env.reset(key, params)

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step, without resetting."""
        return self.env.step(key, state, action, params)

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of the observations."""
        return self.env.observation_space(params)

    def action_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """The inner environment's."""
        return self.env.action_space(params)


class TimeLimitState(NamedTuple):
    """The inner environment's state, and the number of steps so far."""

    inner: EnvState
    time: jax.Array


class TimeLimit(Wrapper):
    """Truncates episodes after `max_steps`, unless `env` ends them before.

    Raises:
      ValueError: `max_steps` is less than 1.
    """

    def __init__(self, env: Environment, max_steps: int) -> None:
        super().__init__(env)
        _at_least_1("TimeLimit.max_steps", max_steps)
        self.max_steps = max_steps

    def __repr__(self) -> str:
        return f"TimeLimit({self.env!r}, max_steps={self.max_steps})"

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode, and the clock."""
        obs, inner = self.env.reset(key, params)
        return obs, TimeLimitState(inner=inner, time=jnp.int32(0))

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step; truncate on the last one."""
        step = self.env.step(key, state.inner, action, params)
        time = state.time + 1
        return step._replace(
            state=TimeLimitState(inner=step.state, time=time),
            truncated=step.truncated | (time >= self.max_steps),
        )


class FrameStackState(NamedTuple):
    """The inner environment's state, and the stacked parts of the observation."""

    inner: EnvState
    frames: tuple[jax.Array, ...]


class FrameStack(Wrapper):
    """Shows the last `num_frames` observations, joined along the last axis.

    The oldest comes first; an episode starts with its first observation `num_frames`
    times. Parts of a tree are stacked each for itself. A Box `[n]` becomes
    `[num_frames * n]`, an image `[h, w, c]` `[h, w, num_frames * c]`, a scalar
    `[num_frames]`; MultiDiscrete and MultiBinary likewise, and Discrete becomes
    MultiDiscrete. An action mask stays as it is, that of the last observation.

    Raises:
      ValueError: `num_frames` is less than 1, or a part has another kind of space.

    Source: Mnih et al., "Human-level control through deep reinforcement learning",
    2015.
    """

    def __init__(self, env: Environment, num_frames: int) -> None:
        super().__init__(env)
        _at_least_1("FrameStack.num_frames", num_frames)
        self.num_frames = num_frames
        self.observation_space(env.default_params)

    def __repr__(self) -> str:
        return f"FrameStack({self.env!r}, num_frames={self.num_frames})"

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode with its first observation in all frames."""
        obs, inner = self.env.reset(key, params)
        frames = tuple(
            jnp.concatenate([frame] * self.num_frames, axis=-1)
            for frame in self._split(obs, params)
        )
        state = FrameStackState(inner=inner, frames=frames)
        return self._show(frames, obs, params), state

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step; the newest frame replaces the oldest."""
        step = self.env.step(key, state.inner, action, params)
        frames = tuple(
            jnp.concatenate([stack[..., frame.shape[-1] :], frame], axis=-1)
            for stack, frame in zip(
                state.frames, self._split(step.obs, params), strict=True
            )
        )
        return step._replace(
            obs=self._show(frames, step.obs, params),
            state=FrameStackState(inner=step.state, frames=frames),
        )

    def _split(self, obs: Observation, params: EnvParams) -> list[jax.Array]:
        space, _ = spaces.split_mask(self.env.observation_space(params))
        values, _ = spaces.split_mask_value(jax.tree.map(jnp.asarray, obs))
        leaves = spaces.flatten(space, values, "observation")
        return [jnp.atleast_1d(leaf) for leaf in leaves]

    def _show(
        self, frames: tuple[jax.Array, ...], obs: Observation, params: EnvParams
    ) -> Observation:
        space, _ = spaces.split_mask(self.env.observation_space(params))
        _, mask = spaces.split_mask_value(obs)
        stacked = spaces.unflatten(space, frames)
        return stacked if mask is None else {**stacked, spaces.MASK: mask}

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of the stacked observations."""
        space, mask = spaces.split_mask(self.env.observation_space(params))
        stacked = _stack_space(space, self.num_frames, "observation_space")
        if mask is None:
            return stacked
        return gymnasium.spaces.Dict({**stacked.spaces, spaces.MASK: mask})


def _stack_space(space: Any, num_frames: int, path: str) -> Any:
    """The space of `num_frames` values of `space`, joined along the last axis."""
    gym, k = gymnasium.spaces, num_frames
    if isinstance(space, gym.Dict):
        items = space.spaces.items()
        return gym.Dict({n: _stack_space(s, k, f"{path}.{n}") for n, s in items})
    if isinstance(space, gym.Tuple):
        children = enumerate(space.spaces)
        return gym.Tuple([_stack_space(s, k, f"{path}.{i}") for i, s in children])
    if isinstance(space, gym.Box):
        low, high = np.tile(space.low, k), np.tile(space.high, k)
        return gym.Box(low, high, dtype=space.dtype.type)
    if isinstance(space, gym.Discrete):
        start = np.array([space.start] * k)
        return gym.MultiDiscrete([space.n] * k, dtype=space.dtype.type, start=start)
    if isinstance(space, gym.MultiDiscrete):
        n, start = np.tile(space.nvec, k), np.tile(space.start, k)
        return gym.MultiDiscrete(n, dtype=space.dtype.type, start=start)
    if isinstance(space, gym.MultiBinary):
        return gym.MultiBinary([*space.shape[:-1], k * space.shape[-1]])
    raise ValueError(
        f"Expected {path} to be Box, Discrete, MultiDiscrete or MultiBinary, "
        f"got {space}."
    )


class ObservationWrapper(Wrapper):
    """Shows `observe` of each observation; a subclass says what that is, and its space.

    By itself it changes nothing.
    """

    def observe(self, obs: Observation) -> Observation:
        """What is shown of an observation."""
        return obs

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode."""
        obs, state = self.env.reset(key, params)
        return self.observe(obs), state

    def step(
        self, key: jax.Array, state: EnvState, action: Any, params: EnvParams
    ) -> Step:
        """Advance by one step, without resetting."""
        step = self.env.step(key, state, action, params)
        return step._replace(obs=self.observe(step.obs))


class HideMask(ObservationWrapper):
    """Takes the action mask out of the observations, to see what it is worth.

    Of a Dict with nothing but an "observation" besides, that is left.

    Raises:
      ValueError: there is no mask, or nothing but a mask.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        space = env.observation_space(env.default_params)
        if split_mask(space)[1] is None:
            raise ValueError(f"Expected observation_space to have {MASK}, got {space}.")

    def observe(self, obs: Any) -> Any:
        """An observation without its mask."""
        rest, _ = split_mask_value(obs)
        return rest["observation"] if set(rest) == {"observation"} else rest

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of what is left."""
        rest: Any = split_mask(self.env.observation_space(params))[0]
        return rest["observation"] if set(rest) == {"observation"} else rest


class SelectObservation(ObservationWrapper):
    """Shows only the entries `indices` of a vector observation, in that order.

    Raises:
      ValueError: the observation is no vector, or `indices` are not different entries
        of it.
    """

    def __init__(self, env: Environment, indices: Sequence[int]) -> None:
        super().__init__(env)
        self.indices = tuple(indices)
        space = env.observation_space(env.default_params)
        shape = space.shape or ()
        if not isinstance(space, gymnasium.spaces.Box) or len(shape) != 1:
            raise ValueError(
                f"Expected observation_space to be a vector (a Box of one axis), "
                f"got {space}."
            )
        whole = all(isinstance(i, numbers.Integral) for i in self.indices)
        if not (whole and set(self.indices) <= set(range(shape[0]))) or (
            len(set(self.indices)) != len(self.indices) or not self.indices
        ):
            raise ValueError(
                f"Expected SelectObservation.indices to be different whole numbers in "
                f"[0, {shape[0]}), got {self.indices}."
            )

    def __repr__(self) -> str:
        return f"SelectObservation({self.env!r}, indices={self.indices})"

    def observe(self, obs: jax.Array) -> jax.Array:
        """The entries that are shown."""
        return obs[np.array(self.indices)]

    def observation_space(self, params: EnvParams) -> gymnasium.spaces.Space:
        """Space of the entries that are shown."""
        space: Any = self.env.observation_space(params)
        chosen = np.array(self.indices)
        return gymnasium.spaces.Box(
            space.low[chosen], space.high[chosen], dtype=space.dtype.type
        )


def _at_least_1(name: str, value: Any) -> None:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"Expected {name} to be a whole number >= 1, got {value!r}.")
