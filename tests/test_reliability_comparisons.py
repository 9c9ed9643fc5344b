"""Ranks, permutation tests, corrections and power: SciPy, enumeration, closed forms."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purejaxppo import reliability
from purejaxppo.reliability import permutation_tests
from purejaxppo.reliability.permutation_tests import Contrast

NAN = np.nan


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- ranks ----------------------------------------------------------------------------


def test_ranks_by_hand():
    scores = [np.array([10.0, 3, NAN]), np.array([10.0, 7])]
    best, worst = (reliability.ranks(scores, higher) for higher in (True, False))
    np.testing.assert_array_equal(best[0], [1.5, 4, 5])
    np.testing.assert_array_equal(best[1], [1.5, 3])
    np.testing.assert_array_equal(worst[0], [3.5, 1, 5])
    np.testing.assert_array_equal(worst[1], [3.5, 2])


def test_missing_scores_share_the_last_ranks():
    scores = [np.array([1.0, NAN]), np.array([NAN, 2.0, -5])]
    for higher in (True, False):
        first, second = reliability.ranks(scores, higher)
        assert first[1] == second[0] == 4.5


def test_ranks_are_scipys():
    scores = [np.round(normal(i, 10 + i), 1) for i in range(3)]
    pooled = np.concatenate(scores)
    for higher, sign in ((True, -1), (False, 1)):
        got = np.concatenate(reliability.ranks(scores, higher))
        np.testing.assert_array_equal(got, scipy.stats.rankdata(sign * pooled))


@pytest.mark.parametrize("higher", [True, False])
def test_mean_ranks_are_means_of_ranks(higher):
    scores = [np.round(normal(i, 6 + i), 1) for i in range(3)]
    scores[1][2] = scores[2][:2] = NAN
    got = reliability.mean_ranks(scores, higher_is_better=higher)
    close(got, [r.mean() for r in reliability.ranks(scores, higher)])
    counts = reliability.resample(0, [s.shape for s in scores], 7)
    resampled = reliability.mean_ranks(scores, counts, higher)
    for i in range(7):
        more = [np.repeat(s, c[:, i]) for s, c in zip(scores, counts, strict=True)]
        close(resampled[:, i], [r.mean() for r in reliability.ranks(more, higher)])
    traced = jax.jit(lambda x, c: reliability.mean_ranks(x, c, higher))
    np.testing.assert_allclose(traced(scores, counts), resampled, rtol=1e-6)


def test_mean_ranks_have_an_interval():
    scores = [normal(3, 12) + 1, normal(4, 12), normal(5, 12) - 1]
    counts = reliability.resample(0, [(12,)] * 3, 500)
    got = reliability.bootstrap(lambda *c: reliability.mean_ranks(scores, c), counts)
    close(got.estimate.mean(), (36 + 1) / 2)
    assert (np.diff(got.estimate) > 0).all()
    assert (got.low < got.estimate).all() and (got.estimate < got.high).all()
    # Runs of which each has a rank of its own vary by what is theirs alone.
    close(reliability.mean_ranks([np.arange(3.0)]), [2])


# --- permutation tests ----------------------------------------------------------------


def every_deal(pooled, n):
    """All ways to deal the pooled runs to groups of n and the rest."""
    for first in itertools.combinations(range(len(pooled)), n):
        rest = [i for i in range(len(pooled)) if i not in first]
        yield pooled[list(first)], pooled[rest]


def exact(statistic, x, y):
    """Share of all deals of all tasks that differ by as much as x and y do."""
    tasks = [
        [statistic(*deal) for deal in every_deal(np.concatenate([a, b]), len(a))]
        for a, b in zip(x, y, strict=True)
    ]
    observed = np.mean([statistic(a, b) for a, b in zip(x, y, strict=True)])
    chance = [np.mean(deal) for deal in itertools.product(*tasks)]
    return observed, np.mean(np.abs(chance) >= abs(observed) - 1e-9)


X = [np.array([3.0, 5, 4, 9]), np.array([2.0, 2.5, NAN])]
Y = [np.array([1.0, 2, 4]), np.array([2.5, 0, 1, -4])]


def worst(scores):
    return np.where(np.isnan(scores), -1e9, scores)


def test_tasks_weigh_alike_however_many_runs_they_have():
    many, few = np.arange(100.0), np.arange(8.0)
    x, y = [many + 30, few], [many, few + 20]
    got = reliability.permutation_test(0, x, y, 99)
    better = [
        np.mean(np.sign(np.subtract.outer(a, b))) for a, b in zip(x, y, strict=True)
    ]
    assert better[0] < 0.6 and better[1] == -1
    close(got.difference, np.mean(better))
    assert got.difference < 0


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("tasks", [1, 2])
def test_permuted_ranks_by_enumeration(tasks, higher):
    ranked = [reliability.ranks(pair, higher) for pair in zip(X, Y, strict=True)]
    halves = [len(np.concatenate(pair)) / 2 for pair in ranked]
    first, second = (
        [pair[i] / half for pair, half in zip(ranked, halves, strict=True)][:tasks]
        for i in range(2)
    )
    observed, p_value = exact(lambda a, b: b.mean() - a.mean(), first, second)
    got = reliability.permutation_test(0, X[:tasks], Y[:tasks], 20_000, higher)
    close(got.difference, observed)
    better = [
        np.mean(np.sign(np.subtract.outer(*map(worst, pair))))
        for pair in list(zip(X, Y, strict=True))[:tasks]
    ]
    if higher:  # P(x better than y) - P(y better than x).
        close(got.difference, np.mean(better))
    assert got.p_value == pytest.approx(p_value, abs=0.015)


@pytest.mark.parametrize("tasks", [1, 2])
def test_permuted_runs_by_enumeration(tasks):
    def range_of(runs):
        return -np.ptp(runs)

    x, y = X[:tasks], [np.array([1.0, 2, 4]), np.array([2.5, 0, -4])][:tasks]
    x = [x[0], np.array([2.0, 2.5])][:tasks]
    observed, p_value = exact(lambda a, b: range_of(a) - range_of(b), x, y)
    got = reliability.permutation_test_of(0, range_of, x, y, 4000)
    close(got.difference, observed)
    assert got.p_value == pytest.approx(p_value, abs=0.03)


def test_permutation_tests_of_curves_keep_a_run_together():
    # The statistic sees whole runs: rows of which the columns agree.
    runs = np.arange(6.0)[:, None] * [1, 10]

    def together(x):
        assert (x[:, 1] == 10 * x[:, 0]).all()
        return x.mean()

    got = reliability.permutation_test_of(0, together, [runs[:3]], [runs[3:]], 50)
    assert got.difference == -16.5


def test_the_rank_test_is_that_of_mann_and_whitney():
    x, y = normal(6, 8) + 0.8, normal(7, 9)
    got = reliability.permutation_test(0, [x], [y], 20_000)
    expected = scipy.stats.mannwhitneyu(x, y, method="exact").pvalue
    assert got.p_value == pytest.approx(expected, abs=0.015)


def test_equal_and_disjoint_runs():
    same = [np.full(5, 3.0)] * 3
    assert reliability.permutation_test(0, same, same, 99) == Contrast(0, 1)
    x, y = [np.arange(9.0)], [np.arange(9.0) - 20]
    one, other = (reliability.permutation_test(0, *p, 999) for p in ((x, y), (y, x)))
    assert one.difference == 1 == -other.difference
    assert one.p_value == other.p_value == 1 / 1000
    # On three tasks the differences cancel, be it but for rounding.
    tasks = [np.array([1.0, 2, 4]), np.array([3.0, 5, 6])]
    mixed = [tasks[0], tasks[1], *[np.zeros(3)] * 5]
    other = [tasks[1], tasks[0], *[np.zeros(3)] * 5]
    assert reliability.permutation_test(0, mixed, other, 99).p_value == 1


def test_differences_that_are_equal_but_for_rounding_count():
    # The mean of these depends on their order in the last bit; that of tens does not.
    x, y = np.array([0.1, 0.7, 0.2]), np.array([1.3, 0.9, 1.1])
    p_values = [
        reliability.permutation_test_of(0, np.mean, [a], [b], 500).p_value
        for a, b in ((x, y), (np.round(10 * x), np.round(10 * y)))
    ]
    assert p_values[0] == p_values[1] == pytest.approx(0.1, abs=0.03)


def test_p_values_are_uniform_where_nothing_differs():
    found = [
        reliability.permutation_test(i, [a], [b], 199).p_value
        for i, (a, b) in enumerate(normal(8, 300, 2, 7))
    ]
    for level in (0.1, 0.3, 0.6):
        share = np.mean(np.array(found) <= level)
        assert share == pytest.approx(level, abs=0.08)


def test_a_statistic_that_is_missing_has_no_p_value():
    def tail(runs):
        return float(reliability.cvar(runs, 0.25))

    runs = [np.array([1.0, 2, 3, NAN])], [np.arange(4.0)]
    got = reliability.permutation_test_of(0, tail, *runs, 50)
    assert math.isnan(got.difference) and math.isnan(got.p_value)
    # All runs have one, some that are dealt have none.
    some = [np.array([1.0, 2, 3, 4, NAN])], [np.arange(4.0)]
    got = reliability.permutation_test_of(0, tail, *some, 50)
    assert got.difference == 1 and math.isnan(got.p_value)


def test_chunks_are_all_permutations(monkeypatch):
    whole = reliability.permutation_test(0, X, Y, 50)
    assert 1 / 51 <= whole.p_value <= 1
    calls = []
    permuted = np.random.Generator.permuted

    class Counting:
        def __init__(self, seed):
            self.generator = real(seed)

        def permuted(self, x, axis):
            calls.append(len(x))
            return permuted(self.generator, x, axis=axis)

    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", Counting)
    monkeypatch.setattr(permutation_tests, "CHUNK", 20)
    reliability.permutation_test(0, X, Y, 50)
    assert sum(calls) == 2 * 50 and max(calls) <= 20


@pytest.mark.parametrize(
    ("x", "y", "num", "message"),
    [
        ([], [], 9, "Expected both algorithms on the same tasks, got 0 and 0."),
        (X, Y[:1], 9, "Expected both algorithms on the same tasks, got 2 and 1."),
        (
            X,
            [Y[0], np.zeros(0)],
            9,
            "Expected at least one run of each algorithm and task, got 0.",
        ),
        (X, Y, 0, "Expected num_permutations to be at least 1, got 0."),
    ],
)
def test_bad_permutation_tests(x, y, num, message):
    for test in (
        lambda: reliability.permutation_test(0, x, y, num),
        lambda: reliability.permutation_test_of(0, np.mean, x, y, num),
    ):
        with pytest.raises(ValueError) as error:
            test()
        assert str(error.value) == message


# --- many tests at once ---------------------------------------------------------------


def test_corrections_by_hand():
    values = [0.01, 0.04, 0.03, 0.5]
    # p n / rank, and no more than those of larger p: 0.04, 0.16 / 3, 0.06 -> 0.16 / 3.
    close(reliability.corrected(values), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    close(
        reliability.corrected(values, "by"),
        [0.04 * harmonic, 0.16 / 3 * harmonic, 0.16 / 3 * harmonic, 1],
    )
    close(reliability.corrected(values, "none"), values)


@pytest.mark.parametrize("correction", ["bh", "by"])
def test_corrections_are_scipys(correction):
    values = np.random.default_rng(9).uniform(size=20)
    expected = scipy.stats.false_discovery_control(values, method=correction)
    close(reliability.corrected(values, correction), expected)
    with_gaps = np.insert(values, [0, 7], NAN)
    got = reliability.corrected(with_gaps, correction)
    close(got, np.insert(expected, [0, 7], NAN))
    assert np.isnan(with_gaps[0])


def test_corrections_of_no_test():
    assert reliability.corrected([]).shape == (0,)
    np.testing.assert_array_equal(reliability.corrected([NAN, NAN]), [NAN, NAN])


def test_bad_corrections():
    with pytest.raises(ValueError) as error:
        reliability.corrected([0.1], "holm")  # type: ignore[arg-type]
    message = "Expected correction to be one of bh, by, none, got 'holm'."
    assert str(error.value) == message
    for correction in permutation_tests.CORRECTIONS:
        with pytest.raises(ValueError) as error:
            reliability.corrected([0.1, 1.5], correction)
        assert str(error.value) == "Expected p_values to be in [0, 1], got 1.5."


# --- power ----------------------------------------------------------------------------


def test_equal_samples_have_the_power_of_the_level():
    sample = normal(10, 40)
    for level in (0.05, 0.2):
        found = reliability.power(0, sample, sample, (8, 32), level, num_resamples=3000)
        np.testing.assert_allclose(found.power, level, atol=0.025)
        assert found.needed is None


def test_disjoint_samples_are_told_apart_by_four_runs():
    found = reliability.power(0, np.arange(9.0), np.arange(9.0) + 20, (3, 4, 5, 9))
    # With three runs each the normal approximation has no p value below 0.05.
    np.testing.assert_array_equal(found.power, [0, 1, 1, 1])
    assert found.needed == 4


def test_power_grows_with_the_runs_and_is_that_of_the_normal():
    x, y = normal(11, 2000), normal(12, 2000) + 0.8
    sizes = (4, 8, 16, 32, 64)
    found = reliability.power(0, x, y, sizes, num_resamples=1500)
    assert (np.diff(found.power) > 0.03).all()
    # Asymptotically the test has 3 / π of the efficiency of the t test.
    shift = 0.8 * np.sqrt(np.array(sizes) / 2 * 3 / np.pi)
    expected = scipy.stats.norm.sf(1.96 - shift)
    np.testing.assert_allclose(found.power[2:], expected[2:], atol=0.05)
    assert found.needed == 32
    np.testing.assert_array_equal(found.num_runs, sizes)


def test_needed_is_from_where_on_the_power_stays(monkeypatch):
    powers = iter([0.9, 0.5, 0.85, 0.95])

    class Result:
        def __init__(self):
            self.pvalue = np.where(np.arange(100) < 100 * next(powers), 0.01, 0.9)

    monkeypatch.setattr(scipy.stats, "mannwhitneyu", lambda *_, **__: Result())
    found = reliability.power(
        0, np.arange(3.0), np.arange(3.0), (2, 3, 4, 5), num_resamples=100
    )
    np.testing.assert_allclose(found.power, [0.9, 0.5, 0.85, 0.95])
    assert found.needed == 4


def test_equal_scores_are_never_told_apart():
    found = reliability.power(0, np.full(6, 500.0), np.full(6, 500.0), (3, 20))
    np.testing.assert_array_equal(found.power, [0, 0])
    # A few that differ make resamples with and without a variance.
    some = np.array([500.0] * 9 + [100])
    found = reliability.power(0, some, np.full(6, 500.0), (3, 20), num_resamples=200)
    assert found.power[0] == 0 and 0 < found.power[1] < 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": [1, NAN]},
            "Expected x to be [runs] scores without NaN, at least one, got 1 NaN in "
            "shape (2,).",
        ),
        (
            {"y": []},
            "Expected y to be [runs] scores without NaN, at least one, got 0 NaN in "
            "shape (0,).",
        ),
        (
            {"y": np.ones((2, 2))},
            "Expected y to be [runs] scores without NaN, at least one, got 0 NaN in "
            "shape (2, 2).",
        ),
        (
            {"sizes": (8, 4)},
            "Expected sizes to be >= 1 and to increase, got [8, 4].",
        ),
        ({"sizes": (0,)}, "Expected sizes to be >= 1 and to increase, got [0]."),
        ({"sizes": ()}, "Expected sizes to be >= 1 and to increase, got []."),
        ({"level": 0}, "Expected level to be in (0, 1), got 0."),
        ({"wanted": 80}, "Expected wanted to be in (0, 1), got 80."),
        ({"num_resamples": 0}, "Expected num_resamples to be at least 1, got 0."),
    ],
)
def test_bad_power(changes, message):
    with pytest.raises(ValueError) as error:
        reliability.power(**{"seed": 0, "x": np.ones(3), "y": np.ones(3), **changes})
    assert str(error.value) == message


def test_ranks_of_jax_arrays():
    scores = [jnp.arange(3.0), jnp.arange(2.0) + 5]
    first, second = reliability.ranks(scores)
    np.testing.assert_array_equal(first, [5, 4, 3])
    np.testing.assert_array_equal(second, [2, 1])
