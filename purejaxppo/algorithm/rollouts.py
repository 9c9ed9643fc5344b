"""Collecting experience: a scan of act -> environment step -> auto-reset."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejaxppo.algorithm.markers import missing
from purejaxppo.algorithm.shards import num_shards, own, total
from purejaxppo.algorithm.sums import two_sum
from purejaxppo.environments.protocol import Reset, Step
from purejaxppo.networks.distributions import Sampler
from purejaxppo.networks.recurrent import forget

SMALL_START = 1024
"""Bytes of a fresh start that are small whatever the observation; `fresh_starts`."""


class Transition(NamedTuple):
    """One step of every environment; `[T, N, ...]` after a rollout.

    `next_obs` is the observation before any reset, so that a truncated episode is
    bootstrapped from where it was cut. `memory` is the actor's before the step, `()`
    if it has none.
    """

    obs: Any
    action: Any
    log_prob: jax.Array
    reward: jax.Array
    next_obs: Any
    terminated: jax.Array
    truncated: jax.Array
    memory: Any = ()


class Running(NamedTuple):
    """The episode under way in each environment: its return and length so far `[N]`.

    The return is `episode_return` + `remainder`, which keeps what rounding would drop:
    one float32 stops growing by 1 at 2²⁴.
    """

    episode_return: jax.Array
    remainder: jax.Array
    episode_length: jax.Array


class Ended(NamedTuple):
    """Means over the episodes that ended in a rollout; scalars.

    They are `markers.missing()` where none did: NaN, unless JAX stops at those.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    num_episodes: jax.Array


class Collector(NamedTuple):
    """Where collection stands: what a rollout starts from and leaves behind."""

    now: Reset
    running: Running
    memory: Any = ()


def init_collector(
    key: jax.Array,
    reset: Callable[[jax.Array], Reset],
    num_envs: int,
    memory: Any = (),
    axis_name: str | None = None,
) -> Collector:
    """Freshly reset environments, and the actor's memory at their start.

    Of shards over `axis_name`, each has its own share of `num_envs`, and of `memory`
    `[num_envs, ...]`.
    """
    size = num_envs // num_shards(axis_name)
    running = Running(
        episode_return=jnp.zeros(size, jnp.float32),
        remainder=jnp.zeros(size, jnp.float32),
        episode_length=jnp.zeros(size, jnp.int32),
    )
    now = jax.vmap(reset)(own(jax.random.split(key, num_envs), axis_name))
    memory = own(memory, axis_name)
    return Collector(now=now, running=running, memory=memory)


def rollout(
    key: jax.Array,
    collector: Collector,
    actor: Callable[[Any, Any], tuple[Any, Any]],
    sampler: Sampler,
    log_prob: Callable[[Any, Any], jax.Array],
    to_env: Callable[[Any], Any],
    reset: Callable[[jax.Array], Reset],
    step: Callable[[jax.Array, Reset, Any, Reset], tuple[Step, Reset]],
    num_steps: int,
    first_memory: Any = (),
    axis_name: str | None = None,
) -> tuple[Collector, Transition, Ended]:
    """Act for `num_steps` in every environment.

    Random numbers are drawn for the environments of all shards, and each shard takes
    its own, so that they are the same however many shards there are.

    Args:
      key: consumed.
      collector: where the last rollout stopped.
      actor: (obs `[N, ...]`, memory) -> (action distribution, memory after it).
      sampler: how to sample that distribution.
      log_prob: (distribution, action) -> its log-probability, `[N]` or `[N, P]`.
      to_env: action as sampled -> action as the environment gets it.
      reset: `key -> Reset` of one environment.
      step: one environment's step with auto-reset, from `make_step`.
      num_steps: T.
      first_memory: the actor's at an episode's start, `[N, ...]`; `()` if it has none.
      axis_name: of the shards, N environments each; None if there is one.

    Returns:
      Where it stopped, the transitions `[T, N, ...]`, and the episodes that ended, in
      any shard.
    """
    size = collector.running.episode_return.shape[0] * num_shards(axis_name)
    shape = (num_steps, size)
    noise_key, step_key, reset_key = jax.random.split(key, 3)
    starts, to_start = fresh_starts(reset_key, reset, shape, axis_name)
    draws = (
        sampler.draw(noise_key, shape),
        own(jax.random.split(step_key, shape), axis_name, axis=1),
        starts,
    )

    def advance(
        carry: tuple[Reset, Any], draws: tuple[Any, jax.Array, Any]
    ) -> tuple[tuple[Reset, Any], Transition]:
        (now, memory), (noise, step_keys, starts) = carry, draws
        distribution, after = actor(now.obs, memory)
        action = sampler.sample(distribution, noise)
        result, then = jax.vmap(step)(step_keys, now, to_env(action), to_start(starts))
        return (then, _carried(after, first_memory, result)), Transition(
            obs=now.obs,
            action=action,
            log_prob=log_prob(distribution, action),
            reward=result.reward,
            next_obs=result.obs,
            terminated=result.terminated,
            truncated=result.truncated,
            memory=memory,
        )

    start = collector.now, collector.memory
    (now, memory), steps = jax.lax.scan(advance, start, draws, num_steps)
    running, ended = count_episodes(collector.running, steps, axis_name)
    return Collector(now=now, running=running, memory=memory), steps, ended


def _carried(memory: Any, first_memory: Any, result: Step) -> Any:
    """The memory to go on with: an episode's first one where it has ended."""
    if not jax.tree.leaves(memory):
        return memory
    return forget(memory, first_memory, result.terminated | result.truncated)


def fresh_starts(
    key: jax.Array,
    reset: Callable[[jax.Array], Reset],
    shape: tuple[int, int],
    axis_name: str | None = None,
) -> tuple[Any, Callable[[Any], Reset]]:
    """Starts for every step of a rollout: `[T, N]` inputs of a scan, and their reader.

    The inputs are the starts themselves where they take no more memory than the
    transitions' observations do, else keys that the reader resets with. Both give the
    same numbers; but random bits drawn inside the loop cost many kernels a step.
    """
    keys = own(jax.random.split(key, shape), axis_name, axis=1)
    start = jax.eval_shape(reset, jax.ShapeDtypeStruct((), keys.dtype))
    if _bytes(start) > max(SMALL_START, 2 * _bytes(start.obs)):
        return keys, jax.vmap(reset)
    return jax.vmap(jax.vmap(reset))(keys), lambda starts: starts


def flat(tree: Any) -> Any:
    """`[T, N, ...]` -> `[T * N, ...]`, time first."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def count_episodes(
    running: Running, steps: Transition, axis_name: str | None = None
) -> tuple[Running, Ended]:
    """Return the episode still running after a rollout `[T, N]`, and what ended in it.

    Up to an environment's last end, every step belongs to an episode that ended; so
    sums over whole episodes are sums over steps, and no loop has to carry them.
    """
    num_steps = steps.reward.shape[0]
    done = steps.terminated | steps.truncated
    time = jnp.arange(num_steps, dtype=jnp.int32)[:, None]
    last = jnp.where(done, time, -1).max(0)
    until = time <= last[None]
    any_end, num_episodes = last >= 0, total(done.sum(dtype=jnp.int32), axis_name)
    ended = _add(running, jnp.where(until, steps.reward, 0).sum(0), last + 1)
    begun = jax.tree.map(lambda x: jnp.where(any_end, 0, x), running)
    rest = jnp.where(until, 0, steps.reward).sum(0)

    def mean(x: jax.Array) -> jax.Array:
        whole = total(jnp.where(any_end, x, 0).sum(), axis_name)
        found = whole / jnp.maximum(num_episodes, 1)
        return jnp.where(num_episodes > 0, found, missing())

    return _add(begun, rest, num_steps - 1 - last), Ended(
        episode_return=mean(ended.episode_return),
        episode_length=mean(ended.episode_length.astype(jnp.float32)),
        num_episodes=num_episodes,
    )


def _add(running: Running, reward: jax.Array, num_steps: jax.Array) -> Running:
    """Return episodes that went on for `num_steps` more steps, with their `reward`."""
    total, remainder = two_sum(running.episode_return, reward + running.remainder)
    return Running(
        episode_return=total,
        remainder=remainder,
        episode_length=running.episode_length + num_steps,
    )
