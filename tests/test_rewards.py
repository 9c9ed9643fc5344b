"""Rewards against NumPy loops over rollouts, with what is carried between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from purejaxppo.algorithm.normalization.rewards import (
    init_reward_scale,
    shape_rewards,
    transform_reward,
)
from purejaxppo.algorithm.rollouts import Transition
from purejaxppo.config import techniques as t
from purejaxppo.config.fields import replace

CONFIG = ppo.Config(num_envs=3, num_steps=5, num_minibatches=3, gamma=0.9)


def steps_of(reward, terminated, truncated):
    reward = jnp.asarray(reward)
    return Transition((), (), 0 * reward, reward, (), terminated, truncated)


def some_rollouts(num=4):
    """Rewards far from mean 0 and deviation 1, and ends of both kinds, some at once."""
    rng = np.random.default_rng(0)
    for _ in range(num):
        terminated, truncated = rng.random((2, 5, 3)) < 0.2
        reward = rng.normal(7, 30, (5, 3)).astype(np.float32)
        yield steps_of(reward, jnp.asarray(terminated), jnp.asarray(truncated))


def shaped(**changes):
    """What becomes of the rollouts' rewards, and the state after them."""
    config = replace(CONFIG, changes)
    state, rewards = init_reward_scale(config), []
    shape = jax.jit(lambda state, steps: shape_rewards(config, state, steps))
    for steps in some_rollouts():
        reward, state = shape(state, steps)
        rewards.append(np.asarray(reward))
    return rewards, state


@pytest.mark.parametrize(
    "rule, rewards, expected",
    [
        # Pendulum's, of XinJingHao and Morvan: −16 and 0 become −1 and 1.
        (t.RewardTransform(shift=8.0, scale=1 / 8), [-16, 0, -8], [-1, 1, 0]),
        (t.RewardTransform(low=-10.0), [-100, -10, 3], [-10, -10, 3]),
        (t.RewardTransform(high=2.0), [-100, 3], [-100, 2]),
        (t.RewardTransform(sign=True), [-100, 0, 0.1], [-1, 0, 1]),
        # Shift before scale before clip: (5 − 1) · 3 = 12 -> 5, (0 − 1) · 3 -> −2.
        (t.RewardTransform(-1.0, 3.0, -2.0, 5.0), [5, 0, 1.5], [5, -2, 1.5]),
        # The sign is last: (1 − 2) · −1 = 1, which the clip to [−3, 0] makes 0.
        (t.RewardTransform(-2.0, -1.0, -3.0, 0.0, True), [1, 9, 3], [0, -1, -1]),
        (t.RewardTransform(), [1.5, -2], [1.5, -2]),
    ],
)
def test_transforms_by_hand(rule, rewards, expected):
    reward = transform_reward(rule, jnp.array(rewards, jnp.float32))
    np.testing.assert_allclose(reward, expected, rtol=1e-6)


def moments(seen):
    """Mean and variance of all seen, and of 1e-4 samples of a standard normal."""
    n = len(seen) + 1e-4
    mean = np.sum(seen) / n
    return mean, (np.sum((seen - mean) ** 2) + 1e-4 * (1 + mean**2)) / n


def test_rewards_over_the_deviation_of_returns_carried_across_rollouts():
    # R ← γ R + r, counted, and then 0 where the episode ended (VecNormalize).
    rewards, state = shaped(normalize_reward=t.RewardNormalization(clip=1.5))
    running, seen, clipped = np.zeros(3), [], 0
    for steps, got in zip(some_rollouts(), rewards, strict=True):
        done = np.asarray(steps.terminated | steps.truncated)
        for reward, ended in zip(np.asarray(steps.reward), done, strict=True):
            running = 0.9 * running + reward
            seen += list(running)
            running[ended] = 0
        scaled = np.asarray(steps.reward) / np.sqrt(moments(np.array(seen))[1])
        np.testing.assert_allclose(got, np.clip(scaled, -1.5, 1.5), rtol=1e-4)
        clipped += (np.abs(scaled) > 1.5).sum()
    assert clipped
    np.testing.assert_allclose(state.carried, 0.9 * running, rtol=1e-4)


def test_rewards_standardised_by_all_that_were_seen():
    rewards, state = shaped(normalize_reward=t.RewardStandardization(clip=1.5, eps=0.1))
    seen = np.zeros(0)
    for steps, got in zip(some_rollouts(), rewards, strict=True):
        reward = np.asarray(steps.reward, np.float64)
        seen = np.append(seen, reward)
        mean, variance = moments(seen)
        expected = np.clip((reward - mean) / np.sqrt(variance + 0.1), -1.5, 1.5)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert state.carried == ()


def test_rewards_are_transformed_before_they_are_normalised():
    # Of signs, return and deviation know nothing of the rewards' size.
    changes = {"transform_reward.sign": True, "normalize_reward": True}
    both, state = shaped(**changes)
    plain, _ = shaped(**{"transform_reward.sign": True})
    for scaled, sign in zip(both, plain, strict=True):
        assert set(np.unique(sign)) <= {-1, 0, 1}
        np.testing.assert_array_equal(np.sign(scaled), sign)
        assert len(np.unique(np.abs(scaled))) == 1
    assert 0 < state.statistics.variance < 10


def test_rewards_stay_as_they_are_without_a_technique():
    rewards, state = shaped()
    assert state == ()
    for steps, got in zip(some_rollouts(), rewards, strict=True):
        np.testing.assert_array_equal(got, steps.reward)
