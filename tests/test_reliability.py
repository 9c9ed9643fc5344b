"""Reliability: hand arithmetic, oracles (rliable, SciPy), NumPy and JAX alike."""

import io
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from rich.console import Console
from rliable import metrics as rliable_metrics

from purejaxppo import reliability

NAN = np.nan
RUNS = [1, 2, 3, 4, 5, 7, 16, 33, 64]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def reference_cvar(scores, alpha):
    return scores[scores <= np.percentile(scores, 100 * alpha)].mean()


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def with_gaps(seed, runs, time):
    curves = normal(seed, runs, time)
    gaps = np.random.default_rng(seed + 1).uniform(size=curves.shape) < 0.4
    curves[gaps] = NAN
    curves[1] = NAN
    return curves


# --- aggregates over runs ---------------------------------------------------


def test_aggregates_by_hand():
    scores = np.array([8.0, 1.0, 4.0, 2.0, 16.0])
    assert reliability.mean(scores) == 31 / 5
    assert reliability.median(scores) == 4
    assert reliability.iqm(scores) == pytest.approx(14 / 3)
    assert reliability.iqr(scores) == (2, 8)
    assert reliability.cvar(scores, 0.25) == 1.5
    assert reliability.cvar(scores, 0.25, "upper") == 12
    assert reliability.tail_size(scores, 0.25) == 2


@pytest.mark.parametrize("runs", RUNS)
def test_aggregates_agree_with_scipy_and_numpy(runs):
    scores = normal(runs, runs, 3)
    iqm = scipy.stats.trim_mean(scores, 0.25)
    close(reliability.iqm(scores), iqm)
    close(reliability.mean(scores), scores.mean(0))
    close(reliability.median(scores), np.median(scores, 0))
    for q in (0, 0.05, 0.25, 0.29, 0.5, 0.75, 1):
        expected = np.quantile(scores, q, axis=0)
        close(reliability.quantile(scores, q), expected)
    width = reliability.iqr(scores).q75 - reliability.iqr(scores).q25
    close(width, scipy.stats.iqr(scores, axis=0))


@pytest.mark.parametrize("shape", [(4, 1), (10, 7), (32, 5), (33, 2)])
def test_aggregates_agree_with_rliable(shape):
    scores = normal(1, *shape)
    iqm = rliable_metrics.aggregate_iqm(scores)
    assert reliability.iqm(scores.reshape(-1)) == pytest.approx(iqm, abs=1e-12)
    per_task = reliability.mean(scores)
    median = rliable_metrics.aggregate_median(scores)
    assert reliability.median(per_task) == pytest.approx(median, abs=1e-12)
    mean = rliable_metrics.aggregate_mean(scores)
    assert reliability.mean(per_task) == pytest.approx(mean, abs=1e-12)


def test_rliable_golden_values():
    x = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
    y = np.array([[1, 1], [2, 2], [3, 3]])
    for scores, expected in ((x, 1.5), (y, 2)):
        assert reliability.iqm(scores.reshape(-1)) == expected
        assert reliability.mean(scores.reshape(-1)) == expected
        assert reliability.median(reliability.mean(scores)) == expected


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25, 0.3, 0.5])
@pytest.mark.parametrize("runs", [20, 21, 64, 101])
def test_cvar_is_the_mean_at_or_below_the_percentile(alpha, runs):
    scores = normal(runs, runs)
    lower = reliability.cvar(scores, alpha)
    assert lower == pytest.approx(reference_cvar(scores, alpha), abs=1e-12)
    upper = reliability.cvar(scores, alpha, "upper")
    assert upper == pytest.approx(-reference_cvar(-scores, alpha), abs=1e-12)
    size = reliability.tail_size(scores, alpha)
    assert size == (scores <= np.percentile(scores, 100 * alpha)).sum()


def test_cvar_golden_values():
    scores = np.array([-1, 2, 3.5, 5, 2, 1, 1.5, 3, 1.5, 6, 2])
    assert reliability.cvar(scores, 0.3) == 0.75
    assert reliability.cvar(scores, 0.1, "upper") == 5.5


def test_cvar_keeps_a_rank_that_rounding_would_lose():
    # 0.29 * 100 is 28.999999999999996, yet the 30th score is the VaR: in the tail,
    # under NumPy as under JAX.
    assert reliability.tail_size(np.arange(101.0), 0.29) == 30
    assert reliability.tail_size(jnp.arange(101.0), 0.29) == 30


def test_cvar_tail_of_64_runs_holds_16():
    scores = np.random.default_rng(0).permutation(64.0 + np.arange(64))
    assert reliability.tail_size(scores, 0.25) == 16
    assert reliability.cvar(scores, 0.25) == np.mean(64.0 + np.arange(16))
    assert reliability.cvar(scores, 0.25, "upper") == np.mean(112.0 + np.arange(16))


def test_cvar_is_not_flooded_by_ties():
    scores = np.array([500.0] * 60 + [100.0] * 4)
    for array in (scores, jnp.asarray(scores)):
        assert reliability.tail_size(array, 0.25) == 16
        assert reliability.cvar(array, 0.25) == (4 * 100 + 12 * 500) / 16
        assert reliability.cvar(-array, 0.25, "upper") == -(4 * 100 + 12 * 500) / 16
        assert reliability.cvar(array, 0.25, "upper") == 500


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.29, 0.3, 0.5])
def test_cvar_is_the_mean_of_the_lowest_ranks(alpha):
    # Small integers: many ties, and sums that float32 holds exactly.
    scores = np.random.default_rng(0).integers(-3, 4, size=(40, 41)).astype(float)
    for missing in range(41):
        scores[:missing, missing] = NAN
    jax_scores = jnp.asarray(scores)
    sizes = reliability.tail_size(scores, alpha)
    np.testing.assert_array_equal(reliability.tail_size(jax_scores, alpha), sizes)
    tails: Any = (("lower", 1), ("upper", -1))
    for tail, sign in tails:
        expected = [
            sign * np.sort(sign * column)[:size].mean() if size else NAN
            for column, size in zip(scores.T, sizes, strict=True)
        ]
        close(reliability.cvar(scores, alpha, tail), expected)
        got = jax.jit(lambda x, tail=tail: reliability.cvar(x, alpha, tail))(jax_scores)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_cvar_without_a_run_of_its_own_is_missing():
    for runs in (1, 2, 3):
        assert np.isnan(reliability.cvar(normal(0, runs), 0.25))
        assert reliability.tail_size(normal(0, runs), 0.25) == 0
    assert np.isnan(reliability.cvar(normal(0, 19), 0.05))
    assert reliability.tail_size(normal(0, 20), 0.05) == 1
    # Missing runs do not count towards the tail.
    assert np.isnan(reliability.cvar(np.array([1.0, 2.0, 3.0, NAN]), 0.25))


def test_constant_scores_have_no_spread():
    scores = np.full(10, 0.1)
    assert reliability.iqr(scores) == (0.1, 0.1)
    assert reliability.iqm(scores) == pytest.approx(0.1)
    assert reliability.cvar(scores, 0.1) == pytest.approx(0.1)


def test_one_run_is_its_own_centre():
    scores = np.array([[3.0, 7.0]])
    for statistic in (reliability.mean, reliability.median, reliability.iqm):
        np.testing.assert_array_equal(statistic(scores), [3, 7])
    np.testing.assert_array_equal(reliability.iqr(scores).q25, [3, 7])


def test_missing_scores_enter_no_aggregate():
    scores = normal(3, 20, 2)
    scores[[2, 5, 6], 0] = NAN
    scores[:, 1] = NAN
    seen = scores[~np.isnan(scores[:, 0]), 0]
    np.testing.assert_array_equal(reliability.num_observed(scores), [17, 0])
    for value, expected in (
        (reliability.mean(scores), seen.mean()),
        (reliability.median(scores), np.median(seen)),
        (reliability.iqm(scores), scipy.stats.trim_mean(seen, 0.25)),
        (reliability.iqr(scores).q75, np.quantile(seen, 0.75)),
        (reliability.cvar(scores, 0.25), reference_cvar(seen, 0.25)),
    ):
        np.testing.assert_allclose(value, [expected, NAN], rtol=1e-12)


def test_an_infinite_score_stays_where_it_is():
    scores = np.array([-np.inf, 1.0, 2.0, 3.0, 4.0])
    assert reliability.mean(scores) == -np.inf
    assert reliability.iqm(scores) == 2
    assert reliability.cvar(scores, 0.25) == -np.inf
    assert reliability.iqr(scores) == (1, 3)
    assert reliability.quantile(scores, 0.1) == -np.inf


def test_integers_and_lists_are_scores():
    assert reliability.iqm([1, 2, 3, 10]) == 2.5
    assert reliability.cvar(np.arange(8), 0.25) == 0.5


def test_a_bad_quartile_shows_in_the_tail_only():
    scores = np.concatenate([np.linspace(14, 500, 8), np.linspace(980, 1000, 24)])
    assert reliability.mean(scores) > 750
    assert reliability.iqm(scores) > 980
    assert reliability.cvar(scores, 0.25) == pytest.approx(257)
    assert reliability.iqr(scores).q25 < 900


@pytest.mark.parametrize("alpha", [0, -0.1, 0.51, 1, NAN])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=r"Expected alpha to be in \(0, 0.5\], got"):
        reliability.cvar(np.arange(9.0), alpha)
    with pytest.raises(ValueError, match="alpha"):
        reliability.tail_size(np.arange(9.0), alpha)
    with pytest.raises(ValueError, match="alpha"):
        reliability.summarize(np.ones((9, 2)), alpha=alpha)


def test_other_arguments_out_of_range():
    with pytest.raises(ValueError, match=r"Expected tail .* got 'left'"):
        reliability.cvar(np.arange(9.0), 0.25, "left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected q .* got 25"):
        reliability.quantile(np.arange(9.0), 25)
    for empty in (np.zeros((0, 3)), np.float64(1)):
        with pytest.raises(ValueError, match=r"scores: .* at least one run"):
            reliability.iqm(empty)


# --- curves over time -------------------------------------------------------


def test_fill_forward_carries_the_last_observation():
    curves = np.array([[NAN, 1, NAN, NAN, 4, NAN], [NAN] * 6, [1, 2, 3, 4, 5, 6]])
    expected = [[NAN, 1, 1, 1, 4, 4], [NAN] * 6, [1, 2, 3, 4, 5, 6]]
    np.testing.assert_array_equal(reliability.fill_forward(curves), expected)
    np.testing.assert_array_equal(reliability.fill_forward(curves[0]), expected[0])


def test_final_performance_by_hand():
    curves = np.tile(np.arange(20.0), (4, 1))
    curves[1, -1] = NAN
    curves[2, -5:] = NAN
    curves[3] = NAN
    final = reliability.final_performance(curves)
    np.testing.assert_array_equal(final, [18.5, 18, 14, NAN])
    last = reliability.final_performance(curves, 0.01)
    np.testing.assert_array_equal(last, [19, 18, 14, NAN])
    all_of_it = reliability.final_performance(curves, 1)
    np.testing.assert_array_equal(all_of_it, [9.5, 9, 7, NAN])


@pytest.mark.parametrize(
    ("time", "points"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3)]
)
def test_final_performance_window(time, points):
    final = reliability.final_performance(np.arange(float(time))[None])
    assert final[0] == np.arange(time)[-points:].mean()


def test_final_performance_of_a_constant_curve():
    final = reliability.final_performance(np.full((3, 50), 500.0))
    np.testing.assert_array_equal(final, [500, 500, 500])


def test_curves_out_of_range():
    for fraction in (0, 1.1, NAN):
        with pytest.raises(ValueError, match=r"Expected fraction to be in \(0, 1\]"):
            reliability.final_performance(np.ones((2, 3)), fraction)
    for reduce in (reliability.fill_forward, reliability.final_performance):
        with pytest.raises(ValueError, match=r"Expected curves .* at least one time"):
            reduce(np.ones((2, 0)))


# --- JAX --------------------------------------------------------------------

OVER_CURVES = {
    "mean": reliability.mean,
    "median": reliability.median,
    "iqm": reliability.iqm,
    "iqr": reliability.iqr,
    "num_observed": reliability.num_observed,
    "cvar": lambda x: reliability.cvar(x, 0.25),
    "cvar_upper": lambda x: reliability.cvar(x, 0.05, "upper"),
    "tail_size": lambda x: reliability.tail_size(x, 0.29),
    "fill_forward": reliability.fill_forward,
    "final_performance": reliability.final_performance,
    "summarize": lambda x: reliability.summarize(
        x, finite=x.__array_namespace__().isnan(x[:, 0])
    ),
}


@pytest.mark.parametrize("name", OVER_CURVES)
def test_jit_and_vmap_equal_numpy(name):
    function = OVER_CURVES[name]
    # Values that float32 holds exactly, so that both sides see the same data.
    batch = np.stack([with_gaps(seed, 40, 30) for seed in (0, 10)])
    batch = batch.astype(np.float32).astype(np.float64)
    got = jax.jit(jax.vmap(function))(jnp.asarray(batch))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
    expected = jax.tree.map(lambda *x: np.stack(x), *map(function, batch))
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=2e-5, atol=2e-6),
        got,
        expected,
    )


def test_numpy_stays_numpy_in_float64():
    curves = with_gaps(0, 8, 9)
    for leaf in jax.tree.leaves(reliability.summarize(curves)):
        assert not isinstance(leaf, jax.Array)
    assert reliability.iqm(curves).dtype == np.float64
    assert reliability.iqm(curves.astype(np.float32)).dtype == np.float32


def test_import_is_cheap():
    code = (
        "import importlib.util, sys, types\n"
        "package = types.ModuleType('purejaxppo')\n"  # without the library's own
        "spec = importlib.util.find_spec('purejaxppo')\n"
        "package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['purejaxppo'] = package\n"
        "import purejaxppo.reliability\n"
        "heavy = {'jax', 'matplotlib', 'rich', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- summary and table ------------------------------------------------------


def rising(runs):
    """`[runs, 10]` curves that end at 0, 1, 2, ..."""
    return np.linspace(0, np.arange(float(runs)), 10, axis=1)


def test_summary_by_hand():
    curves = rising(9)
    curves[8] = NAN
    finite = np.ones((9, 10), bool)
    finite[2, 4:] = False
    summary = reliability.summarize(curves, finite)
    assert (summary.num_runs, summary.missing) == (9, 1)
    assert summary.diverged == pytest.approx(1 / 9)
    assert summary.mean == summary.median == summary.iqm == 3.5
    assert (summary.q25, summary.q75) == (1.75, 5.25)
    assert (summary.cvar, summary.tail_runs, summary.alpha) == (0.5, 2, 0.25)
    assert (summary.worst, summary.worst_run) == (0, 0)
    per_run = reliability.summarize(curves, finite.all(axis=1))
    assert per_run.diverged == summary.diverged


def test_summary_finds_the_worst_run():
    curves = rising(6)
    curves[3] = -7
    curves[0] = NAN
    summary = reliability.summarize(curves)
    assert (summary.worst, summary.worst_run) == (-7, 3)
    assert np.isnan(summary.diverged)


def test_summary_of_nothing_observed():
    summary = reliability.summarize(np.full((5, 3), NAN), np.zeros(5, bool))
    assert (summary.missing, summary.worst_run, summary.diverged) == (5, -1, 1)
    for name in ("mean", "median", "iqm", "q25", "q75", "cvar", "worst"):
        assert np.isnan(getattr(summary, name)), name
    assert "nan" not in reliability.markdown(summary, "nothing")


def test_summary_shapes():
    with pytest.raises(ValueError, match=r"Expected curves to be \[runs, time\]"):
        reliability.summarize(np.ones(5))
    with pytest.raises(
        ValueError, match=r"Expected finite .* with 5 runs, got shape \(4,\)"
    ):
        reliability.summarize(np.ones((5, 2)), np.ones(4, bool))


def test_markdown_table():
    text = reliability.markdown(
        reliability.summarize(rising(64), np.ones(64, bool)), "PPO on CartPole-v1"
    )
    assert text.startswith("**PPO on CartPole-v1**: final return of 64 runs\n")
    assert "| CVaR 25 % | 7.5 | mean of the worst 16 of 64 runs (by rank," in text
    assert "up to the 25 % quantile) |" in text
    assert "| mean | 31.5 | mean of 64 runs |" in text
    assert "| of all 64 runs, those with an update that was not finite |" in text
    assert "| IQR | [15.75, 47.25] |" in text
    assert "| diverged | 0 (0 %) |" in text
    assert "Warning" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {4}


@pytest.mark.parametrize("runs", [1, 3])
def test_too_few_runs_have_no_tail(runs):
    text = reliability.markdown(reliability.summarize(rising(runs)), "few")
    assert "| CVaR 25 % | n/a: needs at least 4 runs |" in text
    assert "| IQR | n/a: needs at least 4 runs |" in text
    text = reliability.markdown(
        reliability.summarize(jnp.asarray(rising(runs)), alpha=0.05), "few"
    )
    assert "| CVaR 5 % | n/a: needs at least 20 runs |" in text


def test_table_warns_of_missing_and_diverged_runs():
    curves, finite = rising(8), np.ones(8, bool)
    curves[:2] = NAN
    finite[5] = False
    summary = reliability.summarize(curves, finite)
    text = reliability.markdown(summary, "study")
    assert "**study**: final return of 6 of 8 runs" in text
    assert "| mean of the worst 2 of 6 runs with a final return (by rank" in text
    assert "| of all 8 runs, those with an update that was not finite |" in text
    assert "> **Warning:** 2 of 8 runs without a final return" in text
    assert "> **Warning:** 1 of 8 runs diverged" in text
    assert "not recorded" in reliability.markdown(
        reliability.summarize(curves), "study"
    )
    terminal = Console(file=io.StringIO(), width=120)
    terminal.print(reliability.render(summary, "[bold]study"))
    printed = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]study" in printed
    assert "Warning: 2 of 8 runs without a final return" in printed
    assert "Warning: 1 of 8 runs diverged" in printed
    assert "[3.25, 5.75]" in printed


def test_large_and_small_returns_are_readable():
    curves = np.tile([[12345.67], [0.012345678], [12345.67], [12345.67]], (1, 3))
    text = reliability.markdown(reliability.summarize(curves), "scales")
    assert "| median | 12,346 |" in text
    assert "| worst run | 0.01235 | run 1, the lowest of 4 runs |" in text


def test_entropy_collapse_by_hand():
    # Discrete: below a tenth of the first value; only the first quarter counts.
    entropy = np.array([[0.7, 0.3, 0.1, 0.1], [0.7, 0.06, 0.5, 0.5], [0.7] * 4])
    collapsed = reliability.entropy_collapsed
    np.testing.assert_array_equal(collapsed(entropy), [False] * 3)
    np.testing.assert_array_equal(collapsed(entropy, 0, 0.5), [False, True, False])
    np.testing.assert_array_equal(collapsed(entropy, 0, 1.0), [False, True, False])
    # A Box: each of two standard deviations a tenth is 2 ln 10 = 4.605 less.
    gaussian = np.array([[2.8, -1.8], [2.8, -1.81]])
    np.testing.assert_array_equal(collapsed(gaussian, 2, 1.0), [False, True])
    np.testing.assert_array_equal(jax.jit(collapsed)(entropy), [False] * 3)
    with pytest.raises(ValueError, match=r"fraction to be in \(0, 1\], got 0"):
        collapsed(entropy, 0, 0)
