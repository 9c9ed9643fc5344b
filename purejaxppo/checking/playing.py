"""An environment under examination: traced by parts, and played at random."""

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.checking.sampling import sample_action
from purejaxppo.distributions import fully_masked
from purejaxppo.environments import (
    Environment,
    EnvParams,
    Reset,
    Step,
    make_reset,
    make_step,
)
from purejaxppo.spaces import joined, split_mask_value
from purejaxppo.suites import adapt
from purejaxppo.suites.own import blamed
from purejaxppo.wrappers import Wrapper


class Facts(NamedTuple):
    """What is kept of steps at random, `[N, T]`; dicts are by the leaves' paths.

    Attributes:
      reward: of the step.
      terminated: whether the task ended.
      truncated: whether the episode was cut.
      broken: whether a leaf of observation, state or reward is not finite.
      stuck: whether the mask leaves some part without a valid action.
      before: each scalar of the state before the step.
      after: each scalar of the state that the step returned.
      fresh: each scalar of the state of a fresh start.
    """

    reward: Any
    terminated: Any
    truncated: Any
    broken: dict[str, Any]
    stuck: Any
    before: dict[str, Any]
    after: dict[str, Any]
    fresh: dict[str, Any]


class Last(NamedTuple):
    """The last step that ended an episode `[N]`: if any did, its key and state."""

    any: Any
    key: Any
    state: Any


class Carry(NamedTuple):
    """Where random play stands.

    Attributes:
      now: the environment.
      low: least observation so far, by element.
      high: greatest observation so far, by element.
      last: the last end of an episode.
    """

    now: Reset
    low: Any
    high: Any
    last: Last


class Endless(Wrapper):
    """An environment whose episodes do not end; its flags go to `info`."""

    def step(self, key: jax.Array, state: Any, action: Any, params: Any) -> Step:
        """Advance by one step, after an episode's end too."""
        step = self.env.step(key, state, action, params)
        flags = {"terminated": step.terminated, "truncated": step.truncated}
        never = jnp.zeros((), bool)
        return step._replace(terminated=never, truncated=never, info=flags)


@dataclasses.dataclass
class Subject:
    """An environment under examination; what is costly is worked out once."""

    given: Any
    given_params: EnvParams
    num_envs: int
    num_steps: int
    seed: int

    @cached_property
    def env(self) -> Environment:
        """What was given, as an `Environment`."""
        return adapt(self.given)

    @cached_property
    def params(self) -> EnvParams:
        """Its parameters."""
        with blamed("default_params"):
            defaults = self.env.default_params
        return defaults if self.given_params is None else self.given_params

    @cached_property
    def observation_space(self) -> gymnasium.Space:
        """Space of the observations, at these parameters."""
        with blamed("observation_space"):
            return self.env.observation_space(self.params)

    @cached_property
    def action_space(self) -> gymnasium.Space:
        """Space of the actions, at these parameters."""
        with blamed("action_space"):
            return self.env.action_space(self.params)

    @cached_property
    def keys(self) -> jax.Array:
        """One key for each environment."""
        return jax.random.split(jax.random.key(self.seed), self.num_envs)

    @cached_property
    def start(self) -> Reset:
        """Types of what `reset` returns."""
        return jax.eval_shape(lambda key: self.reset(key, self.params), self.keys[0])

    @cached_property
    def end(self) -> Step:
        """Types of what `step` returns, without `info`."""

        def run(key: jax.Array, state: Any) -> Step:
            action = sample_action(key, self.action_space)
            return self.step(key, state, action, self.params)

        return jax.eval_shape(run, self.keys[0], self.start.state)

    @cached_property
    def played(self) -> tuple[Carry, Carry, Facts]:
        """Where random play starts and ends `[2 N, ...]`, and its steps; on the host.

        The first N environments are reset at an episode's end, the others stepped on.
        """

        def run(
            key: jax.Array, resets: jax.Array, params: EnvParams
        ) -> tuple[Carry, Carry, Facts]:
            start_key, play_key = jax.random.split(key)
            start = start_play(self.env, start_key, params)
            keys = jax.random.split(play_key, self.num_steps)
            return start, *play(
                self.env, self.action_space, start, keys, params, resets
            )

        keys = jax.random.split(jax.random.key(self.seed), 2 * self.num_envs)
        resets = jnp.arange(2 * self.num_envs) < self.num_envs
        outcome = jax.jit(jax.vmap(run, (0, 0, None)))(keys, resets, self.params)
        return jax.device_get(jax.tree.map(bare, outcome))

    def facts(self, resets: bool = True) -> Facts:
        """What is kept of random play `[N, T]`, with resets or without."""
        rows = slice(None, self.num_envs) if resets else slice(self.num_envs, None)
        return jax.tree.map(lambda x: x[rows], self.played[2])

    def reset(self, key: jax.Array, params: EnvParams, how: str = "") -> Reset:
        """The environment's `reset`; `how` says in messages how it is called.

        Raises:
          ValueError: it raises, or returns something else.
        """
        with blamed(f"reset{how}"):
            result: Any = self.env.reset(key, params)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(
                "Expected reset to return a pair of observation and state, got "
                f"{_kind(result)}."
            )
        start = Reset(obs=result[0], state=result[1])
        _check_leaves(start.obs, "observation")
        _check_leaves(start.state, "state")
        return start

    def step(
        self, key: jax.Array, state: Any, action: Any, params: EnvParams, how: str = ""
    ) -> Step:
        """The environment's `step`, without `info`.

        Raises:
          ValueError: it raises, or returns something else.
        """
        with blamed(f"step{how}"):
            result: Any = self.env.step(key, state, action, params)
        if not isinstance(result, Step):
            raise ValueError(
                f"Expected step to return a purejaxppo.Step, got {_kind(result)}."
            )
        step = result._replace(info={})
        for field, value in step._asdict().items():
            _check_leaves(value, "observation" if field == "obs" else field)
        return step

    def lower_once(self) -> jax.stages.Lowered:
        """The program of a reset and a step in each environment, traced anew."""

        def run(key: jax.Array, params: EnvParams) -> tuple[Reset, Step]:
            reset_key, action_key, step_key = jax.random.split(key, 3)
            start = self.reset(reset_key, params)
            action = act(action_key, self.action_space, start.obs)
            step = self.step(step_key, start.state, action, params)
            return jax.tree.map(bare, (start, step))

        return jax.jit(jax.vmap(run, (0, None))).lower(self.keys, self.params)

    def start_states(self, keys: jax.Array) -> Any:
        """States of fresh starts, one for each of `keys` `[K]`; on the host."""

        def run(key: jax.Array, params: EnvParams) -> Any:
            return make_reset(self.env, params)(key).state

        states = jax.jit(jax.vmap(run, (0, None)))(keys, self.params)
        return jax.device_get(jax.tree.map(bare, states))


def start_play(env: Environment, key: jax.Array, params: EnvParams) -> Carry:
    """Where random play of one environment starts."""
    start = make_reset(env, params)(key)
    last = Last(any=jnp.zeros((), bool), key=key, state=start.state)
    return Carry(now=start, low=start.obs, high=start.obs, last=last)


def play(
    env: Environment,
    space: gymnasium.Space,
    start: Carry,
    keys: jax.Array,
    params: EnvParams,
    resets: jax.Array,
) -> tuple[Carry, Facts]:
    """Play one environment at random.

    Args:
      env: the environment.
      space: its actions'.
      start: where to start.
      keys: one for each step, `[T]`.
      params: the environment's parameters.
      resets: whether it is reset at an episode's end, or else stepped on.

    Returns:
      Where it ended, and what is kept of its steps, `[T]`.
    """
    reset, step = make_reset(env, params), make_step(Endless(env), params)
    offered = getattr(env, "action_arguments", None)
    with jax.ensure_compile_time_eval():
        arguments = None if offered is None else offered(params)

    def is_stuck(obs: Any) -> jax.Array:
        mask = split_mask_value(obs)[1]
        never = jnp.zeros((), bool)
        return never if mask is None else fully_masked(space, mask, arguments)

    def advance(carry: Carry, key: jax.Array) -> tuple[Carry, Facts]:
        reset_key, action_key, step_key = jax.random.split(key, 3)
        fresh = reset(reset_key)
        action = act(action_key, space, carry.now.obs)
        result, stay = step(step_key, carry.now, action, fresh)
        done = result.info["terminated"] | result.info["truncated"]
        last = Last(any=True, key=step_key, state=stay.state)
        stuck = is_stuck(stay.obs) & ~done | is_stuck(fresh.obs)
        return Carry(
            now=_where(done & resets, fresh, stay),
            low=_extreme(jnp.minimum, carry.low, fresh.obs, result.obs),
            high=_extreme(jnp.maximum, carry.high, fresh.obs, result.obs),
            last=_where(done, last, carry.last),
        ), _facts(carry.now, result, stay, fresh, stuck)

    return jax.lax.scan(advance, start, keys)


def _facts(
    before: Reset, step: Step, after: Reset, fresh: Reset, stuck: jax.Array
) -> Facts:
    """What is kept of a step of an `Endless` environment."""
    return Facts(
        reward=step.reward,
        terminated=step.info["terminated"],
        truncated=step.info["truncated"],
        broken=_broken(step, fresh),
        stuck=stuck,
        before=_scalars(before.state),
        after=_scalars(after.state),
        fresh=_scalars(fresh.state),
    )


def act(key: jax.Array, space: gymnasium.Space, obs: Any) -> Any:
    """A random action, valid where the observation has a mask."""
    return sample_action(key, space, split_mask_value(obs)[1])


def named(tree: Any, name: str) -> dict[str, Any]:
    """The leaves of a tree by their paths, `name` first."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    keystr = jax.tree_util.keystr
    return {joined(name, keystr(p, simple=True, separator=".")): x for p, x in leaves}


def bare(x: Any) -> Any:
    """An array, of a key its bits."""
    is_key = jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
    return jax.random.key_data(x) if is_key else x


def refuse(problems: list[str]) -> None:
    """Raise what is wrong, if anything is, in one line.

    Raises:
      ValueError: there is a problem.
    """
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError("; ".join(problems[:3]) + more)


def _where(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _extreme(function: Any, *trees: Any) -> Any:
    return jax.tree.map(lambda a, b, c: function(function(a, b), c), *trees)


def _broken(step: Step, fresh: Reset) -> dict[str, jax.Array]:
    """Which leaves are not finite; a state may hold infinities that it starts with."""
    start = named(fresh.state, "state")
    broken = {}
    for path, x in named(step.state, "state").items():
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            infinite = jnp.isinf(x).any() & ~jnp.isinf(start[path]).any()
            broken[path] = jnp.isnan(x).any() | infinite
    seen = {**named(step.obs, "observation"), "reward": step.reward}
    for path, x in seen.items():
        if jnp.issubdtype(x.dtype, jnp.inexact):
            broken[path] = ~jnp.isfinite(x).all()
    return broken


def _scalars(state: Any) -> dict[str, jax.Array]:
    return {
        path: x
        for path, x in named(state, "state").items()
        if x.shape == () and jnp.issubdtype(x.dtype, jnp.number)
    }


def _check_leaves(tree: Any, name: str) -> None:
    for path, leaf in named(tree, name).items():
        if not isinstance(leaf, NUMBERS):
            raise ValueError(
                f"Expected {path} to be an array or a number, got {_kind(leaf)}."
            )


NUMBERS = bool, int, float, np.generic, np.ndarray, jax.Array
"""What a leaf of observation, state or parameters may be."""


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return f"{kind} of {len(value)}" if isinstance(value, tuple) else kind
