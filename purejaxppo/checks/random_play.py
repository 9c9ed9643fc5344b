"""An environment under examination: traced by parts, and played at random."""

import dataclasses
from functools import cached_property, partial
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from purejaxppo.checks.contract import (
    Traced,
    call_reset,
    call_step,
    get_arguments,
    get_params,
    get_space,
    trace,
)
from purejaxppo.checks.random_actions import sample_action
from purejaxppo.environments.protocol import (
    Environment,
    EnvParams,
    Reset,
    Step,
    make_advance,
    make_reset,
)
from purejaxppo.environments.spaces import named, split_mask_value
from purejaxppo.environments.suites import adapt
from purejaxppo.networks.distributions import fully_masked


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
    """The last step that ended an episode `[N]`: if any did, its key and state.

    Keys are kept as their bits, since they are used elsewhere, too.
    """

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
        return get_params(self.env, self.given_params)

    @cached_property
    def observation_space(self) -> gymnasium.Space:
        """Space of the observations, at these parameters."""
        return get_space(self.env, "observation_space", self.params)

    @cached_property
    def action_space(self) -> gymnasium.Space:
        """Space of the actions, at these parameters."""
        return get_space(self.env, "action_space", self.params)

    @cached_property
    def keys(self) -> jax.Array:
        """One key for each environment."""
        return jax.random.split(jax.random.key(self.seed), self.num_envs)

    @cached_property
    def traced(self) -> Traced:
        """Types of what `reset` and `step` return."""
        return trace(self.env, self.params, self.action_space)

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

    def lower_once(self) -> jax.stages.Lowered:
        """The program of a reset and a step in each environment, traced anew."""

        def run(key: jax.Array, params: EnvParams) -> tuple[Reset, Step]:
            reset_key, action_key, step_key = jax.random.split(key, 3)
            start = call_reset(self.env, reset_key, params)
            action = act(action_key, self.action_space, start.obs)
            step = call_step(self.env, step_key, start.state, action, params)
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
    last = Last(any=jnp.zeros((), bool), key=_bits(key), state=_bits(start.state))
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
    reset, step = make_reset(env, params), make_advance(env, params)
    arguments = get_arguments(env, params)

    def is_stuck(obs: Any) -> jax.Array:
        mask = split_mask_value(obs)[1]
        never = jnp.zeros((), bool)
        return never if mask is None else fully_masked(space, mask, arguments)

    def advance(carry: Carry, bits: jax.Array) -> tuple[Carry, Facts]:
        key = jax.random.wrap_key_data(bits, impl=jax.random.key_impl(keys))
        reset_key, action_key, step_key = jax.random.split(key, 3)
        fresh = reset(reset_key)
        action = act(action_key, space, carry.now.obs)
        result, stay = step(step_key, carry.now.state, action, fresh)
        done = result.terminated | result.truncated
        last = Last(any=True, key=_bits(step_key), state=_bits(stay.state))
        stuck = is_stuck(stay.obs) & ~done | is_stuck(fresh.obs)
        return Carry(
            now=_where(done & resets, fresh, stay),
            low=_extreme(jnp.minimum, carry.low, fresh.obs, result.obs),
            high=_extreme(jnp.maximum, carry.high, fresh.obs, result.obs),
            last=_where(done, last, carry.last),
        ), _facts(carry.now, result, stay, fresh, stuck)

    # JAX's check that no key is used twice takes a batch of scanned keys for used ones.
    return jax.lax.scan(advance, start, jax.random.key_data(keys))


def _facts(
    before: Reset, step: Step, after: Reset, fresh: Reset, stuck: jax.Array
) -> Facts:
    """What is kept of a step."""
    return Facts(
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
        broken=_broken(step, fresh),
        stuck=stuck,
        before=_scalars(before.state),
        after=_scalars(after.state),
        fresh=_scalars(fresh.state),
    )


def act(key: jax.Array, space: gymnasium.Space, obs: Any) -> Any:
    """A random action, valid where the observation has a mask."""
    return sample_action(key, space, split_mask_value(obs)[1])


def bare(x: Any) -> Any:
    """Return an array; of a key its bits, without using it up."""
    is_key = jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
    return jax.random.key_data(jax.random.clone(x)) if is_key else x


_bits = partial(jax.tree.map, bare)


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
