"""Evaluation of a fixed policy: whole episodes from a fixed set of seeds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.sums import two_sum
from purejaxppo.environments.protocol import Environment, EnvParams, Reset, make_reset
from purejaxppo.environments.protocol import make_step as make_env_step
from purejaxppo.environments.suites import adapt


class Episodes(NamedTuple):
    """Outcome of whole episodes, `[num_episodes]`.

    `cut` says which were still running after `max_steps`: their return and length are
    those of so many steps.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    cut: jax.Array


class _Running(NamedTuple):
    """Episodes on their way, `[num_episodes, ...]`.

    Their return is `episode_return` + `remainder`, as in `rollouts.Running`.
    """

    now: Reset
    memory: Any
    done: jax.Array
    episode_return: jax.Array
    remainder: jax.Array
    episode_length: jax.Array


def evaluate(
    key: jax.Array,
    act: Callable[[Any, Any, jax.Array], tuple[Any, Any]],
    env: Environment,
    env_params: EnvParams,
    num_episodes: int,
    max_steps: int = 10_000,
    memory: Any = (),
) -> Episodes:
    """Play `num_episodes` episodes side by side, each to its end.

    The same key gives the same starts and the same randomness of the environments,
    whatever the policy, so that successive evaluations can be compared.

    Args:
      key: consumed.
      act: (obs `[N, ...]`, memory, key) -> (action as the environment gets it
        `[N, ...]`, memory after it).
      env: an `Environment`, or a raw gymnax environment.
      env_params: its parameters, which may be traced; its defaults if None.
      num_episodes: N.
      max_steps: an episode still running after so many steps is cut and counts with
        what it has collected.
      memory: at the episodes' start, `[N, ...]`; `()` for a policy without one.

    Returns:
      Undiscounted returns and lengths `[N]`, and which episodes were cut.
    """
    env = adapt(env)
    env_params = env.default_params if env_params is None else env_params
    reset, step = make_reset(env, env_params), make_env_step(env, env_params)
    reset_key, run_key = jax.random.split(key)
    start = jax.vmap(reset)(jax.random.split(reset_key, num_episodes))
    running = _Running(
        now=start,
        memory=memory,
        done=jnp.zeros(num_episodes, bool),
        episode_return=jnp.zeros(num_episodes, jnp.float32),
        remainder=jnp.zeros(num_episodes, jnp.float32),
        episode_length=jnp.zeros(num_episodes, jnp.int32),
    )

    def go_on(carry: tuple[jax.Array, _Running]) -> jax.Array:
        t, running = carry
        return (t < max_steps) & ~running.done.all()

    def advance(carry: tuple[jax.Array, _Running]) -> tuple[jax.Array, _Running]:
        t, running = carry
        action_key, step_key = jax.random.split(jax.random.fold_in(run_key, t))
        action, memory = act(running.now.obs, running.memory, action_key)
        step_keys = jax.random.split(step_key, num_episodes)
        # A finished episode is replayed from its start, and no longer counted.
        result, now = jax.vmap(step)(step_keys, running.now, action, start)
        reward = jnp.where(running.done, 0, result.reward)
        total, remainder = two_sum(running.episode_return, reward + running.remainder)
        return t + 1, _Running(
            now=now,
            memory=memory,
            done=running.done | result.terminated | result.truncated,
            episode_return=total,
            remainder=remainder,
            episode_length=running.episode_length + ~running.done,
        )

    _, running = jax.lax.while_loop(go_on, advance, (jnp.int32(0), running))
    return Episodes(
        episode_return=running.episode_return,
        episode_length=running.episode_length,
        cut=~running.done,
    )
