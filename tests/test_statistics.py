"""Running statistics against NumPy, and what training makes of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import Counting, CountingParams
from purejaxppo.statistics import (
    RunningStatistics,
    batch_statistics,
    init_statistics,
    merge,
    scale,
    standardize,
)


def parts(seed, sizes=(3, 50, 1, 7)):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal() * 5, 2, (n, 2)).astype(np.float32) for n in sizes]


def of(x):
    return batch_statistics(jnp.asarray(x), (0,))


def close(a, b, **tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            x, y, **{"rtol": 1e-4, "atol": 1e-5, **tolerance}
        ),
        a,
        b,
    )


def test_merge_equals_numpy_on_all():
    batches = parts(0)
    whole = np.concatenate(batches)
    merged = functools.reduce(merge, map(of, batches))
    close(merged, RunningStatistics(whole.mean(0), whole.var(0), jnp.float32(61)))


def test_order_and_grouping_do_not_matter():
    a, b, c, d = map(of, parts(1))
    forward = merge(merge(merge(a, b), c), d)
    close(merge(merge(d, c), merge(b, a)), forward)
    close(merge(a, b), merge(b, a))


def test_the_first_batch_overrules_the_start():
    (x,) = parts(2, [100])
    close(merge(init_statistics((2,)), of(x)), of(x), rtol=1e-3, atol=1e-3)


def test_a_far_mean_keeps_its_variance():
    x = 1e3 + np.random.default_rng(0).normal(size=(4, 256, 1)).astype(np.float32)
    merged = functools.reduce(merge, map(of, x))
    np.testing.assert_allclose(merged.variance, x.var(), rtol=1e-2)


def test_standardize_and_scale_by_hand():
    statistics = RunningStatistics(jnp.array([2.0]), jnp.array([3.0]), jnp.float32(9))
    x = jnp.array([[4.0], [100.0]])
    # √(3 + 1) = 2: (4 − 2) / 2 = 1, and 49 is clipped; 4 / 2 = 2, and 50 is clipped.
    np.testing.assert_allclose(standardize(x, statistics, 10.0, 1.0), [[1], [10]])
    single = RunningStatistics(jnp.float32(2), jnp.float32(3), jnp.float32(9))
    np.testing.assert_allclose(scale(-x, single, 10.0, 1.0), [[-2], [-10]])


CONFIG = ppo.Config(
    total_timesteps=3 * 8,
    num_envs=2,
    num_steps=4,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(4,)),
    normalize_observation=ppo.ObservationNormalization(),
    normalize_reward=ppo.RewardNormalization(),
    gamma=0.5,
)


@pytest.fixture(scope="module")
def state():
    train = ppo.make_train(CONFIG, Counting(), CountingParams(5))
    return jax.jit(train)(jax.random.key(0)).state


def test_observation_statistics_are_those_of_all_raw_observations(state):
    # 12 steps in each environment, all of which count 0 1 2 3 4 0 1 2 ...
    seen = np.arange(12.0) % 5
    mean, variance, count = state.obs_statistics
    np.testing.assert_allclose(mean, [seen.mean()], rtol=1e-4)
    np.testing.assert_allclose(variance, [seen.var()], rtol=1e-4)
    assert count == pytest.approx(24, rel=1e-4)


def test_reward_statistics_are_those_of_the_discounted_return(state):
    # Rewards 1 ... 5, then anew; R ← γ R + r within each episode.
    totals, total = [], 0.0
    for t in range(12):
        total = (total if t % 5 else 0.0) * 0.5 + t % 5 + 1
        totals.append(total)
    statistics = state.reward_scale.statistics
    np.testing.assert_allclose(statistics.mean, np.mean(totals), rtol=1e-4)
    np.testing.assert_allclose(statistics.variance, np.var(totals), rtol=1e-4)
    np.testing.assert_allclose(state.reward_scale.carried, 0.5 * totals[-1], rtol=1e-5)


def test_statistics_are_frozen_during_an_update():
    # The first update sees with the initial statistics, mean 0 and variance 1, so what
    # the loss gets is the raw observation, whatever the rollout brings.
    def loss(config, network, params, batch):
        total, diagnostics = ppo.ppo_loss(config, network, params, batch)
        return total, diagnostics._replace(entropy=batch.obs.max())

    config = dataclasses.replace(CONFIG, total_timesteps=2 * 8, num_epochs=1)
    train = ppo.make_train(config, Counting(), CountingParams(100), loss=loss)
    seen = jax.jit(train)(jax.random.key(0)).metrics.entropy
    # Raw 3 is in one of the two minibatches of four steps in two environments; the
    # second update sees 4 ... 7 by the statistics of 0 ... 3.
    assert 1.5 <= seen[0] <= 3
    highest = (7 - 1.5) / np.sqrt(1.25)
    assert highest * 0.8 < seen[1] <= highest * 1.001
