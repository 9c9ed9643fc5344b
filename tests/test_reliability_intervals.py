"""Bootstrap intervals: rliable and SciPy on the same resamples, coverage, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from rliable import metrics as rliable_metrics

from benchmarks.reliability_jobs import rliable_library
from purejaxppo import reliability
from purejaxppo.reliability import intervals
from purejaxppo.reliability.intervals import METHODS, count_draws, in_chunks

NAN = np.nan
RESAMPLES = 300


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def draws_of(seed, *shape):
    """Indices of runs, `[resamples, runs, tasks]`."""
    return np.random.default_rng(seed).integers(shape[0], size=(RESAMPLES, *shape))


@pytest.fixture(scope="module")
def rliable():
    return rliable_library()


def rliable_interval(library, function, scores, draws, method, confidence=0.95):
    """rliable's interval, on these resamples."""

    class Fed(library.StratifiedBootstrap):
        indices = iter(draws)

        def update_indices(self):
            return (next(self.indices), *self._strata_indices)

    return Fed(scores).conf_int(
        function, reps=len(draws), size=confidence, method=method
    )


def rliable_interval_of_two(library, function, x, y, draws, method):
    class Fed(library.StratifiedIndependentBootstrap):
        indices = zip(*draws, strict=True)

        def update_indices(self):
            pairs = zip(next(self.indices), self._args_strata_indices, strict=True)
            return [(index, *strata) for index, strata in pairs], {}

    return Fed(x, y).conf_int(function, reps=RESAMPLES, size=0.95, method=method)


# --- rliable --------------------------------------------------------------------------


def pooled(function):
    """A statistic of the scores of all tasks together, for any counts of the runs."""

    def of(scores):
        flat = scores.reshape(-1, 1)
        return lambda counts: function(flat, counts.reshape(len(flat), -1))

    return of


def over_tasks(function):
    """A statistic of the means of the tasks."""

    def of(scores):
        return lambda c: function(reliability.mean(scores[..., None], c))

    return of


STATISTICS = {
    "iqm": (rliable_metrics.aggregate_iqm, pooled(reliability.iqm)),
    "mean": (rliable_metrics.aggregate_mean, over_tasks(reliability.mean)),
    "median": (rliable_metrics.aggregate_median, over_tasks(reliability.median)),
    "gap": (
        rliable_metrics.aggregate_optimality_gap,
        pooled(lambda x, c: reliability.optimality_gap(x, counts=c)),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(12, 1), (9, 5)])
@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_agree_with_rliable(name, shape, method, rliable):
    theirs, ours = STATISTICS[name]
    scores, draws = normal(0, *shape) + 1, draws_of(1, *shape)
    got = reliability.bootstrap(
        ours(scores), [count_draws(draws)], confidence=0.9, method=method
    )
    close(got.estimate, theirs(scores))
    expected = rliable_interval(rliable, theirs, scores, draws, method, 0.9)
    close([got.low, got.high], expected[:, 0])


@pytest.mark.parametrize("method", METHODS)
def test_intervals_of_profiles_agree_with_rliable(method, rliable):
    scores, draws = normal(2, 9, 4), draws_of(3, 9, 4)
    levels = np.array([-0.7, 0.1, 0.5])
    got = reliability.bootstrap(
        lambda c: reliability.performance_profile(scores, levels, c),
        [count_draws(draws)],
        method=method,
    )
    close(got.estimate, rliable.score_distributions(scores, levels))
    close(reliability.performance_profile(scores, levels), got.estimate)
    # One level at a time: arch takes the mean of its jackknife over all of them.
    for i, level in enumerate(levels):
        expected = rliable_interval(
            rliable,
            lambda x, level=level: rliable.run_score_deviation(x, level),
            scores,
            draws,
            method,
        )
        close([got.low[i], got.high[i]], expected[:, 0])


def mean_probability(x, y, counts_x, counts_y):
    tasks = range(x.shape[1])
    chances = [
        reliability.probability_of_improvement(
            x[:, t], y[:, t], counts_x[:, t], counts_y[:, t]
        )
        for t in tasks
    ]
    return np.mean(chances, axis=0)


@pytest.mark.parametrize("method", ["percentile", "basic", "bc"])
def test_intervals_of_two_samples_agree_with_rliable(method, rliable):
    x, y = normal(4, 8, 3) + 0.3, normal(5, 11, 3)
    draws = draws_of(6, 8, 3), draws_of(7, 11, 3)
    got = reliability.bootstrap(
        lambda *counts: mean_probability(x, y, *counts),
        [count_draws(d) for d in draws],
        method=method,
    )
    theirs = rliable_metrics.probability_of_improvement
    close(got.estimate, theirs(x, y))
    expected = rliable_interval_of_two(rliable, theirs, x, y, draws, method)
    close([got.low, got.high], expected[:, 0])


def test_bca_of_pairs_agrees_with_rliable(rliable):
    # rliable leaves the i-th run out of both samples at once: as one sample of pairs.
    x, y = normal(8, 10, 2) + 0.3, normal(9, 10, 2)
    draws = draws_of(10, 10, 2), draws_of(11, 10, 2)
    pairs = count_draws(np.concatenate(draws, axis=2))
    got = reliability.bootstrap(
        lambda c: mean_probability(x, y, c[:, :2], c[:, 2:]), [pairs], method="bca"
    )
    theirs = rliable_metrics.probability_of_improvement
    expected = rliable_interval_of_two(rliable, theirs, x, y, draws, "bca")
    close([got.low, got.high], expected[:, 0])


# --- SciPy ----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(15, 15), (7, 20)])
@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_intervals_of_independent_samples_agree_with_scipy(method, sizes):
    x, y = (normal(12 + i, n) ** 3 for i, n in enumerate(sizes))
    generator = np.random.default_rng(14)
    result = scipy.stats.bootstrap(
        (x, y),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        n_resamples=RESAMPLES,
        method=method,
        rng=generator,
    )
    # SciPy draws the resamples of one sample after the other.
    generator = np.random.default_rng(14)
    counts = [count_draws(generator.integers(0, n, size=(RESAMPLES, n))) for n in sizes]
    got = reliability.bootstrap(
        lambda a, b: reliability.mean(x[:, None], a) - reliability.mean(y[:, None], b),
        counts,
        method="bca" if method == "BCa" else method,
    )
    close([got.low, got.high], result.confidence_interval)


# --- resamples ------------------------------------------------------------------------


@pytest.mark.parametrize("key", [0, "jax"])
def test_each_sample_and_task_is_resampled_by_itself(key):
    if key == "jax":
        key = jax.random.key(0)
    shapes = [(7,), (5, 3), (1,)]
    found = reliability.resample(key, shapes, 2000)
    for counts, shape in zip(found, shapes, strict=True):
        assert counts.shape == (*shape, 2000)
        np.testing.assert_array_equal(counts.sum(axis=0), shape[0])
        counts = np.asarray(counts)
        # Binomial: mean 1, variance 1 - 1 / n.
        np.testing.assert_allclose(counts.mean(axis=-1), 1, atol=0.12)
        np.testing.assert_allclose(counts.var(axis=-1), 1 - 1 / shape[0], atol=0.15)
    tasks = np.asarray(found[1])
    alike = np.corrcoef(tasks[0])
    assert abs(alike[np.triu_indices(3, 1)]).max() < 0.1
    again = reliability.resample(key, shapes, 2000)
    for counts, same in zip(found, again, strict=True):
        np.testing.assert_array_equal(counts, same)


def test_draws_are_counted():
    draws = draws_of(15, 6, 2)[:40]
    counts = count_draws(draws)
    traced = jax.jit(count_draws)(draws)
    np.testing.assert_array_equal(traced, counts)
    for i, draw in enumerate(draws):
        for task in range(2):
            expected = np.bincount(draw[:, task], minlength=6)
            np.testing.assert_array_equal(counts[:, task, i], expected)
    np.testing.assert_array_equal(count_draws(draws[:, :, 0]), counts[:, 0])


def test_chunks_are_all_resamples(monkeypatch):
    scores, counts = normal(16, 9)[:, None], reliability.resample(0, [(9,)], 23)
    whole = reliability.cvar(scores, 0.25, counts=counts[0])
    for size in (1, 5, 23, 99):
        monkeypatch.setattr(intervals, "CHUNK", size)
        parts = in_chunks(lambda c: reliability.cvar(scores, 0.25, counts=c), counts)
        np.testing.assert_array_equal(parts, whole)


# --- coverage -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_intervals_cover_what_they_say(method):
    samples = normal(17, 400, 24) * 2 + 5
    counts = count_draws(draws_of(18, 24))

    def interval(scores):
        return reliability.bootstrap(
            lambda c: reliability.mean(scores[:, None], c), [counts], 0.9, method
        )

    found = [interval(scores) for scores in samples]
    covered = np.mean([x.low <= 5 <= x.high for x in found])
    assert 0.82 < covered < 0.93
    width = np.mean([x.high - x.low for x in found])
    assert width == pytest.approx(2 * 1.645 * 2 / np.sqrt(24), rel=0.06)


def test_bias_and_skew_move_the_ends():
    # The variance of few runs is biased downward and skewed: bca goes furthest up.
    scores = normal(19, 15)[:, None]
    counts = reliability.resample(0, [(15,)], 4000)
    found = {
        method: reliability.bootstrap(
            lambda c: reliability.std(scores, c) ** 2, counts, method=method
        )
        for method in METHODS
    }
    assert found["percentile"].high < found["bc"].high < found["bca"].high
    assert found["percentile"].low < found["bc"].low < found["bca"].low


def test_an_estimate_below_all_resamples_counts_as_half_of_one():
    # Any resample but all runs once has a larger sum of squares.
    counts = reliability.resample(0, [(9,)], 200)
    weight = normal(28, 9)[:, None] / 100

    def squares(c):
        return np.sum(c**2 + c * weight, axis=0)

    got = reliability.bootstrap(squares, counts, method="bc")
    values = squares(counts[0])
    assert got.estimate < values.min()
    shift = scipy.stats.norm.ppf(0.5 / 200)
    levels = scipy.stats.norm.cdf(2 * shift + scipy.stats.norm.ppf([0.025, 0.975]))
    close([got.low, got.high], np.quantile(values, levels))


# --- nothing to resample, nothing that changes ----------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_equal_scores_have_an_interval_of_no_width(method):
    counts = reliability.resample(0, [(10,)], 100)
    for level in (500.0, 0.1):
        got = reliability.bootstrap(
            lambda c, level=level: reliability.iqm(np.full((10, 1), level), c),
            counts,
            method=method,
        )
        np.testing.assert_allclose([got.low, got.high], level, rtol=1e-14)


def test_ties_with_the_estimate_are_not_below_it_by_rounding():
    # The sum of these scores depends on their order in the last bit.
    scores = np.array([0.1, 0.7, 0.2, 0.6, 0.3, 0.5])[:, None]
    counts = reliability.resample(0, [(6,)], 500)
    once = reliability.bootstrap(
        lambda c: reliability.mean(scores, c), counts, method="bc"
    )
    tens = reliability.bootstrap(
        lambda c: reliability.mean(np.round(10 * scores), c), counts, method="bc"
    )
    close([10 * x for x in once], tens)


def tail_of(scores, alpha):
    return lambda c: reliability.cvar(scores[:, None], alpha, counts=c)


def one_missing(runs):
    scores = np.arange(float(runs))
    scores[3] = NAN
    return scores


@pytest.mark.parametrize("method", METHODS)
def test_no_interval_where_most_resamples_lack_the_statistic(method):
    # 19 runs hold no tail of 1 / 20; 20 resampled ones may.
    counts = reliability.resample(0, [(20,)], 100)
    tail = tail_of(one_missing(20), 0.05)
    assert np.isnan(reliability.bootstrap(tail, counts, method=method)).all()
    assert reliability.lacking(tail, counts) == 100


@pytest.mark.parametrize("method", METHODS)
def test_an_interval_is_that_of_the_resamples_that_have_the_statistic(method):
    """A tail of a quarter needs 4 of 8 runs: some draw the missing one 5 times."""
    tail = tail_of(one_missing(8), 0.25)
    counts = reliability.resample(1, [(8,)], 8_000)
    has = counts[0][3] <= 4
    without = int((~has).sum())
    assert 0 < without < 0.005 * has.size
    assert reliability.lacking(tail, counts) == without
    got = reliability.bootstrap(tail, counts, method=method)
    expected = reliability.bootstrap(tail, [counts[0][:, has]], method=method)
    np.testing.assert_array_equal(got, expected)
    assert got.estimate == 0.5 and got.low < 0.5 < got.high


@pytest.mark.parametrize("method", METHODS)
def test_up_to_a_twentieth_of_the_resamples_may_lack_the_statistic(method):
    tail = tail_of(one_missing(40), 0.25)
    (counts,) = reliability.resample(0, [(40,)], 200)
    bad = np.zeros((40, 1), np.int32)
    bad[3] = 40
    for some, there in ((10, True), (11, False)):
        drawn = np.concatenate((counts[:, some:], np.repeat(bad, some, 1)), axis=1)
        assert reliability.lacking(tail, [drawn]) == some
        estimate, *ends = reliability.bootstrap(tail, [drawn], method=method)
        assert np.isfinite(estimate) and np.isfinite(ends).all() == there


@pytest.mark.parametrize("of", ["iqm", "mean", "median", "std", "mad"])
def test_every_statistic_leaves_out_resamples_that_lack_it(of):
    """Of 5 runs 2 lack a score: 1 in 98 resamples draws only these."""
    scores, function = (
        np.array([1.0, NAN, 4, NAN, 9])[:, None],
        getattr(reliability, of),
    )
    counts = reliability.resample(0, [(5,)], 2000)
    drawn = counts[0][[0, 2, 4]]
    least = 1 if of != "std" else 2
    share = (drawn.sum(axis=0) < least).mean()
    got = reliability.bootstrap(lambda c: function(scores, c), counts)
    assert share > 0 and np.isfinite(got.low) == (share <= 0.05)
    assert reliability.lacking(lambda c: function(scores, c), counts) == 2000 * share


def test_intervals_leave_out_what_lacks_under_jit_as_under_numpy():
    scores = one_missing(8).astype(np.float32)
    counts = reliability.resample(1, [(8,)], 4000)

    @jax.jit
    def traced(counts):
        tail = tail_of(jnp.asarray(scores), 0.25)
        return reliability.bootstrap(tail, [counts]), reliability.lacking(
            tail, [counts]
        )

    got, without = traced(jnp.asarray(counts[0]))
    tail = tail_of(scores.astype(np.float64), 0.25)
    close(got, reliability.bootstrap(tail, counts))
    assert without == reliability.lacking(tail, counts) > 0


def test_an_estimate_that_is_missing_has_no_interval():
    scores = np.arange(20.0)[:, None]
    scores[3] = NAN
    counts = np.ones((20, 50), np.int32)
    counts[3], counts[4] = 0, 2  # All resamples happen to leave out the missing run.
    got = reliability.bootstrap(
        lambda c: reliability.cvar(scores, 0.05, counts=c), [counts]
    )
    assert np.isnan(got).all()


def test_bca_needs_the_statistic_of_all_runs_but_one():
    # 20 runs hold a tail of 1 / 20, 19 do not: no acceleration, so no interval.
    scores = normal(20, 20)[:, None]
    counts = reliability.resample(0, [(20,)], 100)

    def tail(c):
        return reliability.cvar(scores, 0.05, counts=c)

    assert np.isfinite(reliability.bootstrap(tail, counts, method="bc")).all()
    estimate, *ends = reliability.bootstrap(tail, counts, method="bca")
    assert np.isfinite(estimate) and np.isnan(ends).all()


def test_one_run_is_its_own_interval():
    counts = reliability.resample(0, [(1,)], 50)
    for method in METHODS[:3]:
        got = reliability.bootstrap(
            lambda c: reliability.mean(np.array([[3.0]]), c), counts, method=method
        )
        assert got == (3, 3, 3)


def test_an_acceleration_without_room_goes_to_the_end():
    # One run is all the variance: k = 1 / 6 nearly, and 1 - k m < 0 far out.
    scores = np.zeros((400, 1))
    scores[0] = 1
    counts = reliability.resample(0, [(400,)], 500)
    got = reliability.bootstrap(
        lambda c: reliability.mean(scores, c), counts, 1 - 1e-13, "bca"
    )
    values = reliability.mean(scores, counts[0])
    assert got.low <= got.estimate <= got.high == values.max()


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: reliability.resample(0, [(3,)], 0),
            "Expected num_resamples to be at least 1, got 0.",
        ),
        (
            lambda: reliability.resample(0, [(3,), (0, 2)], 5),
            "Expected at least one run in each sample, got [(3,), (0, 2)].",
        ),
        (
            lambda: reliability.bootstrap(
                lambda c: c.sum(0),
                [np.ones((3, 5), int)],
                method="bcA",  # type: ignore[arg-type]
            ),
            "Expected method to be one of percentile, basic, bc, bca, got 'bcA'.",
        ),
        *(
            (
                lambda confidence=confidence: reliability.bootstrap(
                    lambda c: c.sum(0), [np.ones((3, 5), int)], confidence
                ),
                f"Expected confidence to be in (0, 1), got {confidence!r}.",
            )
            for confidence in (0, 1, 95, NAN)
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


# --- JAX ------------------------------------------------------------------------------


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_jit_and_vmap_equal_numpy(method, x64):
    sweep = normal(21, 2, 12).astype(np.float32).astype(float)
    counts = count_draws(draws_of(22, 12))

    def interval(scores, counts):
        return reliability.bootstrap(
            lambda c: reliability.iqm(scores[:, None], c), [counts], method=method
        )

    expected = np.stack([interval(scores, counts) for scores in sweep], axis=1)
    with jax.enable_x64(x64):
        got = jax.jit(jax.vmap(lambda x: interval(x, jnp.asarray(counts))))(
            jnp.asarray(sweep)
        )
    tolerance = 1e-12 if x64 else 1e-4
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_keys_of_a_sweep():
    def interval(key, scores):
        counts = reliability.resample(key, [scores.shape], 200)
        return reliability.bootstrap(
            lambda c: reliability.mean(scores[:, None], c), counts, method="bca"
        )

    sweep = jnp.asarray(normal(23, 3, 40))
    keys = jax.random.split(jax.random.key(0), 3)
    got = jax.jit(jax.vmap(interval))(keys, sweep)
    assert (got.low < got.estimate).all() and (got.estimate < got.high).all()
    np.testing.assert_allclose(
        got.high - got.low, 2 * 1.96 / np.sqrt(40) * np.ones(3), rtol=0.35
    )


def test_counts_of_a_key_for_scores_of_numpy():
    x, y = normal(24, 9, 3), normal(25, 9, 3) - 0.2
    counts = reliability.resample(jax.random.key(1), [(9, 3), (9, 3)], 70)
    as_numpy = [np.asarray(c) for c in counts]
    statistics = {
        "cvar": lambda a, _: reliability.cvar(x[..., None], 0.25, counts=a),
        "std": lambda a, _: reliability.spread(x[..., None], "std", a),
        "gap": lambda a, _: reliability.optimality_gap(x[..., None], 0.5, a),
        "profile": lambda a, _: reliability.performance_profile(x, [0.0, 0.3], a),
        "chance": lambda a, b: reliability.probability_of_improvement(
            x[:, 0], y[:, 0], a[:, 0], b[:, 0]
        ),
        "rank": lambda a, b: reliability.mean_ranks(
            [x[:, 1], y[:, 1]], [a[:, 1], b[:, 1]]
        ),
        "risk": lambda a, _: reliability.risk_across_runs(
            x[..., None], 0.25, np.abs(x[:, 0]), a
        ),
    }

    def intervals_of(counts):
        return {k: reliability.bootstrap(f, counts) for k, f in statistics.items()}

    expected, got = intervals_of(as_numpy), jax.jit(intervals_of)(counts)
    for name in statistics:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)


def test_small_scores_keep_their_acceleration_in_float32():
    scores = normal(26, 12) ** 2
    counts = [count_draws(draws_of(27, 12))]

    def interval(scores):
        return reliability.bootstrap(
            lambda c: reliability.mean(scores[:, None], c), counts, method="bca"
        )

    small = jax.jit(interval)(jnp.asarray(scores * 1e-15))
    np.testing.assert_allclose(small, 1e-15 * np.array(interval(scores)), rtol=1e-4)
