"""Collecting experience: a scan of act -> environment step -> auto-reset."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.distributions import Sampler
from purejaxppo.environments import Reset, Step

RESET_BYTES = 1024
"""Fresh starts up to this size are drawn for a whole rollout at once, outside the loop.

Drawing inside the loop costs several kernels a step; drawing ahead costs memory of
num_steps * num_envs * size. Both give the same numbers.
"""


class Transition(NamedTuple):
    """One step of every environment; `[T, N, ...]` after a rollout.

    `next_obs` is the observation before any reset, so that a truncated episode is
    bootstrapped from where it was cut.
    """

    obs: Any
    action: Any
    log_prob: jax.Array
    reward: jax.Array
    next_obs: Any
    terminated: jax.Array
    truncated: jax.Array


class EpisodeTotals(NamedTuple):
    """Running episodes of each environment, and sums over those that ended `[N]`."""

    episode_return: jax.Array
    episode_length: jax.Array
    sum_return: jax.Array
    sum_length: jax.Array
    num_episodes: jax.Array


class Collector(NamedTuple):
    """Where collection stands: what a rollout starts from and leaves behind."""

    now: Reset
    totals: EpisodeTotals


def init_collector(
    key: jax.Array, reset: Callable[[jax.Array], Reset], num_envs: int
) -> Collector:
    """Freshly reset environments."""
    # One buffer each, so that the state can be donated.
    totals = EpisodeTotals(
        episode_return=jnp.zeros(num_envs),
        episode_length=jnp.zeros(num_envs, jnp.int32),
        sum_return=jnp.zeros(num_envs),
        sum_length=jnp.zeros(num_envs, jnp.int32),
        num_episodes=jnp.zeros(num_envs, jnp.int32),
    )
    now = jax.vmap(reset)(jax.random.split(key, num_envs))
    return Collector(now=now, totals=totals)


def rollout(
    key: jax.Array,
    collector: Collector,
    actor: Callable[[Any], Any],
    sampler: Sampler,
    to_env: Callable[[Any], Any],
    reset: Callable[[jax.Array], Reset],
    step: Callable[[jax.Array, Reset, Any, Reset], tuple[Step, Reset]],
    num_steps: int,
) -> tuple[Collector, Transition]:
    """Act for `num_steps` in every environment.

    Args:
      key: consumed.
      collector: where the last rollout stopped.
      actor: obs `[N, ...]` -> action distribution.
      sampler: how to sample that distribution.
      to_env: action as sampled -> action as the environment gets it.
      reset: `key -> Reset` of one environment.
      step: one environment's step with auto-reset, from `make_step`.
      num_steps: T.

    Returns:
      Where it stopped, with the totals of the episodes that ended on the way, and the
      transitions `[T, N, ...]`.
    """
    shape = (num_steps, collector.totals.num_episodes.shape[0])
    noise_key, step_key, reset_key = jax.random.split(key, 3)
    starts, to_start = fresh_starts(reset_key, reset, shape)
    draws = (
        sampler.draw(noise_key, shape),
        jax.random.split(step_key, shape),
        starts,
    )

    def advance(
        collector: Collector, draws: tuple[Any, jax.Array, Any]
    ) -> tuple[Collector, Transition]:
        noise, step_keys, starts = draws
        now = collector.now
        distribution = actor(now.obs)
        action = sampler.sample(distribution, noise)
        result, after = jax.vmap(step)(step_keys, now, to_env(action), to_start(starts))
        transition = Transition(
            obs=now.obs,
            action=action,
            log_prob=distribution.log_prob(action),
            reward=result.reward,
            next_obs=result.obs,
            terminated=result.terminated,
            truncated=result.truncated,
        )
        totals = add_step(collector.totals, transition)
        return Collector(now=after, totals=totals), transition

    collector = collector._replace(totals=forget_ended(collector.totals))
    return jax.lax.scan(advance, collector, draws, num_steps)


def fresh_starts(
    key: jax.Array, reset: Callable[[jax.Array], Reset], shape: tuple[int, int]
) -> tuple[Any, Callable[[Any], Reset]]:
    """Starts for every step of a rollout: `[T, N]` inputs of a scan, and their reader.

    The inputs are the starts themselves where they are small (see `RESET_BYTES`), else
    keys that the reader resets with.
    """
    keys = jax.random.split(key, shape)
    start = jax.eval_shape(reset, keys[0, 0])
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(start))
    if size > RESET_BYTES:
        return keys, jax.vmap(reset)
    return jax.vmap(jax.vmap(reset))(keys), lambda starts: starts


def add_step(totals: EpisodeTotals, step: Transition) -> EpisodeTotals:
    """Totals after one more step of every environment."""
    done = step.terminated | step.truncated
    episode_return = totals.episode_return + step.reward
    episode_length = totals.episode_length + 1
    return EpisodeTotals(
        episode_return=jnp.where(done, 0, episode_return),
        episode_length=jnp.where(done, 0, episode_length),
        sum_return=totals.sum_return + jnp.where(done, episode_return, 0),
        sum_length=totals.sum_length + jnp.where(done, episode_length, 0),
        num_episodes=totals.num_episodes + done,
    )


def forget_ended(totals: EpisodeTotals) -> EpisodeTotals:
    """Totals with the sums over ended episodes back at 0, running episodes kept."""
    return totals._replace(
        sum_return=jnp.zeros_like(totals.sum_return),
        sum_length=jnp.zeros_like(totals.sum_length),
        num_episodes=jnp.zeros_like(totals.num_episodes),
    )


def mean_of_ended(totals: EpisodeTotals) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(mean return, mean length, number) of the ended episodes; means NaN if none."""
    num_episodes = totals.num_episodes.sum()
    count = jnp.where(num_episodes > 0, num_episodes, jnp.nan)
    return (
        totals.sum_return.sum() / count,
        totals.sum_length.sum() / count,
        num_episodes,
    )
