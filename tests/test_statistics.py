"""Running statistics against NumPy, and what training makes of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purejaxppo as ppo
from envs.probes import Counting, CountingParams
from purejaxppo.algorithm.normalization.running_statistics import (
    RunningStatistics,
    batch_statistics,
    init_statistics,
    merge,
    scale,
    standardize,
    weighted_statistics,
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
    mean, remainder, variance, count = merged
    close(mean, whole.mean(0))
    close(variance, whole.var(0))
    assert count == 61 and (jnp.abs(remainder) < 1e-6).all()


def test_order_and_grouping_do_not_matter():
    a, b, c, d = map(of, parts(1))
    forward = merge(merge(merge(a, b), c), d)
    close(merge(merge(d, c), merge(b, a)), forward)
    close(merge(a, b), merge(b, a))


def test_the_first_batch_overrules_the_start_and_an_empty_one_changes_nothing():
    (x,) = parts(2, [100])
    jax.tree.map(
        np.testing.assert_array_equal, merge(init_statistics((2,)), of(x)), of(x)
    )
    none = of(x)._replace(num_samples=jnp.float32(0))
    jax.tree.map(np.testing.assert_array_equal, merge(of(x), none), of(x))
    empty = init_statistics((2,))
    jax.tree.map(np.testing.assert_array_equal, merge(empty, none), empty)


KINDS = ["float16", "bfloat16", "float32", "int8", "uint8", "int16", "uint16", "int32"]


def values(rng, dtype, offset, spread):
    """Four batches `[50, 3]` of a dtype about an offset, cut to what it can hold."""
    x = offset + spread * rng.normal(size=(4, 50, 3))
    limits = (jnp.iinfo if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo)(dtype)
    x = np.clip(x, float(limits.min), float(limits.max))
    return np.asarray(jnp.asarray(np.float32(x)).astype(dtype))


@jax.jit
def running(batches):
    statistics = functools.reduce(
        merge, [batch_statistics(x, (0,)) for x in batches], init_statistics((3,))
    )
    return statistics, standardize(batches, statistics, 10.0, 1e-8)


@pytest.mark.parametrize("dtype", KINDS)
def test_statistics_are_those_of_float64_at_any_offset_and_scale(dtype):
    rng, varied = np.random.default_rng(0), 0
    for offset in (0.0, 1.0, -300.0, 1e3, -1e5, 1e6):
        for spread in 10.0 ** np.arange(-6, 7, 2):
            batches = values(rng, jnp.dtype(dtype), offset, spread)
            x = batches.astype(np.float64).reshape(-1, 3)
            statistics, seen = running(batches)
            assert all(part.dtype == np.float32 for part in (*statistics, seen))
            mean = np.float64(statistics.mean) + np.float64(statistics.remainder)
            std, floor = x.std(0), 1e-30
            np.testing.assert_array_less(abs(mean - x.mean(0)), 1e-5 * std + floor)
            np.testing.assert_allclose(statistics.variance, std**2, 1e-4, floor)
            right = np.clip((x - x.mean(0)) / np.sqrt(std**2 + 1e-8), -10, 10)
            np.testing.assert_allclose(seen.reshape(-1, 3), right, 1e-3, 1e-3)
            varied += (std > 0).all()
    assert varied >= 10


def test_dropped_samples_are_not_seen_and_may_be_infinite():
    x, weight = jnp.array([1e6, 1e6 + 2, jnp.inf, jnp.nan]), jnp.array([1.0, 1, 0, 0])
    mean, remainder, variance, count = weighted_statistics(x, weight)
    assert [mean + remainder, variance, count] == [1e6 + 1, 1, 2]
    none = weighted_statistics(x, jnp.zeros(4))
    start = init_statistics()
    jax.tree.map(np.testing.assert_array_equal, merge(start, none), start)


def test_standardize_and_scale_by_hand():
    nothing, nine = jnp.zeros(1), jnp.float32(9)
    statistics = RunningStatistics(jnp.array([2.0]), nothing, jnp.array([3.0]), nine)
    x = jnp.array([[4.0], [100.0]])
    # √(3 + 1) = 2: (4 − 2) / 2 = 1, and 49 is clipped; 4 / 2 = 2, and 50 is clipped.
    np.testing.assert_allclose(standardize(x, statistics, 10.0, 1.0), [[1], [10]])
    single = RunningStatistics(jnp.float32(2), jnp.float32(0), jnp.float32(3), nine)
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
    mean, _, variance, count = state.obs_statistics
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
