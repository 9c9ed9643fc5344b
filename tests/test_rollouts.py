"""Rollouts: what is stored, and the count of episodes against a loop."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import probes
from purejaxppo import make_action_head
from purejaxppo.algorithm import rollouts
from purejaxppo.algorithm.rollouts import (
    Running,
    Transition,
    count_episodes,
    init_collector,
)
from purejaxppo.environments.protocol import Reset, make_reset, make_step


def collect(env, params, head, outputs, num_steps=7, num_envs=3):
    reset, step = make_reset(env, params), make_step(env, params)
    collector = init_collector(jax.random.key(1), reset, num_envs)

    def actor(obs, memory):
        outputs_of_all = jnp.tile(outputs[None], (obs.shape[0], 1))
        return head.distribution(outputs_of_all, jnp.zeros(head.num_outputs)), memory

    return rollouts.rollout(
        jax.random.key(2),
        collector,
        actor,
        head.sampler,
        lambda distribution, action: distribution.log_prob(action),
        head.to_env,
        reset,
        step,
        num_steps,
    )


def test_transitions_by_hand():
    head = make_action_head(gymnasium.spaces.Discrete(2))
    env, params = probes.Counting(), probes.CountingParams(3)
    collector, steps, ended = collect(env, params, head, jnp.zeros(2))
    time = np.arange(7)
    np.testing.assert_array_equal(steps.obs[:, 0, 0], time % 3)
    np.testing.assert_array_equal(steps.next_obs[:, 0, 0], time % 3 + 1)
    np.testing.assert_array_equal(steps.reward[:, 0], time % 3 + 1)
    np.testing.assert_array_equal(steps.terminated[:, 0], time % 3 == 2)
    assert not steps.truncated.any()
    np.testing.assert_allclose(steps.log_prob, np.log(0.5), rtol=1e-6)
    assert ended == (6.0, 3.0, 6)
    np.testing.assert_array_equal(collector.running.episode_return, [1, 1, 1])
    np.testing.assert_array_equal(collector.running.episode_length, [1, 1, 1])


class Echo(probes.Identity):
    """Shows the action that it got."""

    def step(self, key, state, action, params):
        return super().step(key, state, action, params)._replace(obs=action)


def test_actions_are_stored_unclipped_and_played_clipped():
    head = make_action_head(Echo().action_space(None))
    _, steps, _ = collect(Echo(), None, head, jnp.array([3.0, -3.0]), 20)
    assert (jnp.abs(steps.action) > 1).any()
    np.testing.assert_array_equal(steps.next_obs, jnp.clip(steps.action, -1, 1))
    mean = jnp.tile(jnp.array([3.0, -3.0]), (20, 3, 1))
    log_prob = head.distribution(mean, jnp.zeros(2)).log_prob(steps.action)
    np.testing.assert_allclose(steps.log_prob, log_prob, rtol=1e-5)


class Heavy(probes.Match):
    """Carries a state too large to draw fresh ones of for a whole rollout."""

    def reset(self, key, params):
        obs, state = super().reset(key, params)
        return obs, (state, jnp.zeros(1000))

    def step(self, key, state, action, params):
        step = super().step(key, state[0], action, params)
        return step._replace(state=(step.state, state[1]))


def test_starts_drawn_ahead_or_on_the_way_are_the_same():
    head = make_action_head(gymnasium.spaces.Discrete(2))
    shape, resets = (7, 3), []
    for env in (probes.Match(), Heavy()):
        reset = make_reset(env, probes.NoParams())
        starts, _ = rollouts.fresh_starts(jax.random.key(0), reset, shape)
        resets.append(isinstance(starts, Reset))
    assert resets == [True, False]
    ahead, on_the_way = (
        collect(env, probes.NoParams(), head, jnp.zeros(2))[1]
        for env in (probes.Match(), Heavy())
    )
    jax.tree.map(np.testing.assert_array_equal, ahead, on_the_way)
    assert len(np.unique(ahead.obs)) == 2


def count_by_loop(running, reward, done):
    returns, lengths, ended = list(running[0]), list(running[1]), []
    for t in range(len(reward)):
        for n in range(len(returns)):
            returns[n] += reward[t, n]
            lengths[n] += 1
            if done[t, n]:
                ended.append((returns[n], lengths[n]))
                returns[n] = lengths[n] = 0
    return returns, lengths, ended


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 1.0])
def test_episodes_are_counted_as_by_a_loop(rate):
    rng = np.random.default_rng(0)
    running = [rng.normal(size=4), rng.integers(0, 9, 4).astype(float)]
    reward = rng.normal(size=(10, 4))
    terminated, truncated = rng.random((2, 10, 4)) < rate
    returns, lengths, ended = count_by_loop(running, reward, terminated | truncated)
    steps = Transition(
        obs=(),
        action=(),
        log_prob=jnp.zeros(reward.shape),
        reward=jnp.asarray(reward),
        next_obs=(),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
    )
    before = Running(
        episode_return=jnp.float32(running[0]),
        remainder=jnp.zeros(4),
        episode_length=jnp.int32(running[1]),
    )
    after, result = count_episodes(before, steps)
    np.testing.assert_allclose(after.episode_return, returns, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after.episode_length, lengths)
    assert result.num_episodes == len(ended)
    means = np.mean(ended, axis=0) if ended else [np.nan, np.nan]
    np.testing.assert_allclose(result[:2], means, rtol=1e-4)


def test_returns_and_lengths_go_on_growing_past_what_float32_counts():
    # One step and a reward of 1 at a time, from 2²⁴ steps: float32 + 1 stays there.
    def one(reward, done):
        reward = jnp.full((1, 1), reward)
        nothing = jnp.zeros((1, 1))
        flag = jnp.full((1, 1), done)
        return Transition((), (), nothing, reward, (), flag, jnp.zeros_like(flag))

    start = 2**24
    running = Running(
        episode_return=jnp.full(1, start, jnp.float32),
        remainder=jnp.zeros(1),
        episode_length=jnp.full(1, start, jnp.int32),
    )
    count = jax.jit(count_episodes)
    for _ in range(5):
        running, ended = count(running, one(1.0, False))
    assert running.episode_length == start + 5
    assert float(running.episode_return[0]) + float(running.remainder[0]) == start + 5
    running, ended = count(running, one(1.0, True))
    assert ended.episode_return == ended.episode_length == start + 6
    assert [float(x[0]) for x in running] == [0, 0, 0]
    # An infinite reward leaves an infinite return, and the next episode is sound.
    running, ended = count(running, one(jnp.inf, False))
    running, ended = count(running, one(1.0, True))
    assert ended.episode_return == jnp.inf
    assert count(running, one(1.0, True))[1].episode_return == 1
