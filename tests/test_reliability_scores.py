"""Scores over tasks, and aggregates that count runs: rliable, SciPy and loops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from rliable import metrics as rliable_metrics

from purejaxppo import reliability

NAN = np.nan
GOLDEN_X = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
GOLDEN_Y = np.array([[1, 1], [2, 2], [3, 3]])


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def over_tasks(x, y):
    """The mean over tasks, as rliable has it."""
    pairs = zip(x.T, y.T, strict=True)
    return np.mean([reliability.probability_of_improvement(*pair) for pair in pairs])


def in_jax(function, x64, *arrays):
    with jax.enable_x64(x64):
        return jax.jit(function)(*(jnp.asarray(x) for x in arrays))


# --- rliable --------------------------------------------------------------------------


def test_golden_values_of_rliable():
    for scores, expected in ((GOLDEN_X, 1.5), (GOLDEN_Y, 2)):
        assert reliability.iqm(scores.reshape(-1)) == expected
        assert reliability.mean(scores.reshape(-1)) == expected
        assert reliability.median(reliability.mean(scores)) == expected
    close(over_tasks(GOLDEN_X, GOLDEN_Y), 1 / 3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (10, 7), (33, 4)])
@pytest.mark.parametrize("ties", [False, True])
def test_scores_agree_with_rliable(shape, ties):
    scores = normal(0, *shape) + 1
    if ties:
        scores = np.round(scores)
    pooled = scores.reshape(-1)
    gap = rliable_metrics.aggregate_optimality_gap(scores, 2)
    close(reliability.optimality_gap(pooled, 2), gap)
    gap = rliable_metrics.aggregate_optimality_gap(scores)
    close(reliability.optimality_gap(pooled), gap)
    close(reliability.iqm(pooled), rliable_metrics.aggregate_iqm(scores))
    per_task = reliability.mean(scores)
    close(reliability.mean(per_task), rliable_metrics.aggregate_mean(scores))
    close(reliability.median(per_task), rliable_metrics.aggregate_median(scores))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (6, 9), (30, 30)])
def test_probability_of_improvement_agrees_with_rliable(sizes, ties):
    x, y = normal(1, sizes[0], 5) + 0.5, normal(2, sizes[1], 5)
    if ties:
        x, y = np.round(x), np.round(y)
    expected = rliable_metrics.probability_of_improvement(x, y)
    close(over_tasks(x, y), expected)
    close(over_tasks(y, x), 1 - expected)
    statistic = scipy.stats.mannwhitneyu(x[:, 0], y[:, 0]).statistic
    one = reliability.probability_of_improvement(x[:, 0], y[:, 0])
    close(one, statistic / np.prod(sizes))


def test_performance_profile_by_hand():
    scores = np.array([[1.0, 2], [3, 4]])
    profile = reliability.performance_profile(scores, [0, 1, 2.5, 4])
    np.testing.assert_array_equal(profile, [1, 0.75, 0.5, 0])


# --- by hand --------------------------------------------------------------------------


def test_normalized_by_hand():
    scores = np.array([[10.0, 0], [20, NAN]])
    by_task = reliability.normalized(scores, np.array([0, -5]), np.array([10, 5]))
    np.testing.assert_array_equal(by_task, [[1, 0.5], [2, NAN]])
    by_number = reliability.normalized(scores, 0, 20)
    np.testing.assert_array_equal(by_number, [[0.5, 0], [1, NAN]])


@pytest.mark.parametrize("high", [0.0, -1.0, NAN])
def test_references_that_are_not_in_order(high):
    message = (
        "Expected every high reference score to be > the low one, got low 0 and high "
        f"{high:g}."
    )
    for low, high_of in ((0, high), (np.zeros(3), np.array([1, high, 1]))):
        with pytest.raises(ValueError) as error:
            reliability.normalized(np.ones((2, 3)), low, high_of)
        assert str(error.value) == message


def test_missing_scores_take_part_in_nothing():
    x, y = np.array([1.0, NAN, 3]), np.array([NAN, 2.0])
    assert reliability.probability_of_improvement(x, y) == 0.5
    assert np.isnan(reliability.probability_of_improvement(x, y[:1]))
    close(reliability.performance_profile(x, [0, 1, 2, 3]), [1, 0.5, 0.5, 0])
    assert np.isnan(reliability.performance_profile(y[:1], [0])).all()
    assert reliability.optimality_gap(x, 2) == 0.5
    assert np.isnan(reliability.optimality_gap(y[:1]))


def test_disjoint_equal_and_infinite_scores():
    low, high = np.arange(5.0), np.arange(5.0, 9)
    assert reliability.probability_of_improvement(high, low) == 1
    assert reliability.probability_of_improvement(low, high) == 0
    assert reliability.probability_of_improvement(low, low) == 0.5
    ends = np.array([-np.inf, np.inf])
    assert reliability.probability_of_improvement(ends, ends) == 0.5
    assert reliability.probability_of_improvement(ends, low) == 0.5
    close(reliability.performance_profile(ends, [0, np.inf]), [0.5, 0])


# --- counts ---------------------------------------------------------------------------

AGGREGATES: dict[str, Any] = {
    "num_observed": reliability.num_observed,
    "mean": reliability.mean,
    "median": reliability.median,
    "iqm": reliability.iqm,
    "std": reliability.std,
    "mad": reliability.mad,
    "q25": lambda x, counts=None: reliability.iqr(x, counts).q25,
    "q75": lambda x, counts=None: reliability.iqr(x, counts).q75,
    "quantile": lambda x, counts=None: reliability.quantile(x, 0.29, counts),
    "cvar": lambda x, counts=None: reliability.cvar(x, 0.3, counts=counts),
    "upper": lambda x, counts=None: reliability.cvar(x, 0.1, "upper", counts),
    "tail_size": lambda x, counts=None: reliability.tail_size(x, 0.1, counts),
    "optimality_gap": lambda x, counts=None: reliability.optimality_gap(
        x, 0.5, counts=counts
    ),
    "spread": lambda x, counts=None: reliability.spread(x, "iqr", counts),
}


def scores_and_counts(seed, runs, resamples):
    """Scores with ties and gaps, resamples of them, the first of no run at all."""
    generator = np.random.default_rng(seed)
    scores = np.round(generator.normal(size=(runs, 3)), 1)
    scores[generator.uniform(size=scores.shape) < 0.2] = NAN
    scores[:, 2] = NAN
    draws = generator.integers(runs, size=(resamples, runs))
    counts = np.stack([np.bincount(d, minlength=runs) for d in draws], axis=-1)
    counts[:, 0] = 0
    return scores, counts


def repeated(function, scores, counts):
    """The statistic of runs that are there as often as they count."""
    if counts.sum() == 0:
        return function(scores * NAN)
    return function(np.repeat(scores, counts, axis=0))


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("runs", [1, 2, 7, 24])
def test_counts_repeat_runs(name, runs):
    function = AGGREGATES[name]
    scores, counts = scores_and_counts(runs, runs, 9)
    got = function(scores[..., None], counts=counts[:, None])
    assert got.shape == (3, 9)
    for i, times in enumerate(counts.T):
        close(got[:, i], repeated(function, scores, times))
    close(function(scores, counts=np.ones((runs, 1), int)), function(scores))


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", AGGREGATES)
def test_counts_under_jit_and_vmap(name, x64):
    function = AGGREGATES[name]
    scores, counts = scores_and_counts(0, 12, 6)
    scores = scores.astype(np.float32).astype(float)
    sweep = np.stack([scores, -scores])
    expected = [function(s[..., None], counts=counts[:, None]) for s in sweep]

    def of_one(s):
        return function(s[..., None], counts=jnp.asarray(counts)[:, None])

    got = in_jax(jax.vmap(of_one), x64, sweep)
    tolerance = 1e-12 if x64 else 1e-5
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_spreads_are_scipys():
    scores = normal(5, 40, 3)
    close(reliability.std(scores), scores.std(axis=0, ddof=1))
    close(reliability.mad(scores), scipy.stats.median_abs_deviation(scores))
    scores[3:9, 1] = NAN
    close(reliability.std(scores), np.nanstd(scores, axis=0, ddof=1))
    mad = scipy.stats.median_abs_deviation(scores, nan_policy="omit")
    close(reliability.mad(scores), mad)


def test_spreads_of_few_and_of_infinite_scores():
    assert np.isnan(reliability.std(np.array([4.0])))
    assert reliability.mad(np.array([4.0])) == 0
    assert np.isnan(reliability.mad(np.array([NAN])))
    some = np.array([1, 2, np.inf, 3])
    assert np.isnan(reliability.std(some))
    assert reliability.mad(some) == 1
    assert np.isnan(reliability.mad(np.array([np.inf, np.inf, 1])))


def test_counts_of_pairs():
    generator = np.random.default_rng(6)
    x, y = np.round(normal(7, 9), 1), np.round(normal(8, 5), 1)
    x[2] = NAN
    of_x, of_y = generator.integers(4, size=(9, 6)), generator.integers(4, size=(5, 6))
    of_x[:, 0] = 0
    chance = reliability.probability_of_improvement
    got = {
        "both": chance(x, y, of_x, of_y),
        "x": chance(x, y, counts_x=of_x),
        "y": chance(x, y, counts_y=of_y),
    }
    for i in range(6):
        more_x, more_y = np.repeat(x, of_x[:, i]), np.repeat(y, of_y[:, i])
        if i > 0:
            close(got["both"][i], chance(more_x, more_y))
            close(got["x"][i], chance(more_x, y))
        close(got["y"][i], chance(x, more_y))
    assert np.isnan(got["both"][0]) and np.isnan(got["x"][0])
    close(chance(x, y, of_x[:, 1], of_y[:, 1]), got["both"][1])


def test_counts_of_profiles():
    scores, levels = np.round(normal(9, 8, 3), 1), np.array([-0.5, 0, 0.3])
    scores[1, 1] = NAN
    counts = np.random.default_rng(10).integers(3, size=(8, 3, 5))
    got = reliability.performance_profile(scores, levels, counts)
    assert got.shape == (3, 5)
    for i in range(5):
        more = np.repeat(scores.reshape(-1), counts[..., i].reshape(-1))
        close(got[:, i], reliability.performance_profile(more, levels))
        one = reliability.performance_profile(scores, levels, counts[..., i])
        close(got[:, i], one)


# --- JAX ------------------------------------------------------------------------------

OVER_PAIRS = {
    "probability": reliability.probability_of_improvement,
    "profile": lambda x, y: reliability.performance_profile(x, y[2:]),
    "normalized": lambda x, y: reliability.normalized(
        x[:, None] * x[None], abs(x), abs(x) + abs(y) + 0.1
    ),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", OVER_PAIRS)
def test_jit_and_vmap_equal_numpy(name, x64):
    function = OVER_PAIRS[name]
    x, y = (np.round(normal(seed, 3, 15), 1) for seed in (11, 12))
    x, y = (v.astype(np.float32).astype(float) for v in (x, y))
    x[:, 0] = y[:, 0] = NAN
    if name == "normalized":
        x[:, 0] = y[:, 0] = 1
    expected = [function(*pair) for pair in zip(x, y, strict=True)]
    got = in_jax(jax.vmap(function), x64, x, y)
    tolerance = 1e-12 if x64 else 1e-5
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
