"""Reliability over time: goldens, loops, closed forms, NumPy and JAX alike."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purejaxppo import reliability
from purejaxppo.reliability.across_time import windows

NAN = np.nan
STEPS = np.array([3.0, 6.0, 8.0, 9.0])
CURVE = np.array([-1.0, 4.0, 2.3, 0.0])
FALLING = np.array([-1, 2, 3.5, 5, 2, 1, 1.5, 3, 1.5, 6, 2])
SLOW: dict[Any, Any] = {
    "iqr": lambda x: np.subtract(*np.percentile(x, [75, 25])),
    "mad": scipy.stats.median_abs_deviation,
    "std": lambda x: np.std(x, ddof=1),
}


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def with_gaps(seed, runs, time):
    """Random walks of which two fifths are missing; the second run has nothing."""
    generator = np.random.default_rng(seed)
    curves = generator.normal(size=(runs, time)).cumsum(axis=1)
    curves[generator.uniform(size=curves.shape) < 0.4] = NAN
    curves[1] = NAN
    return curves


def uneven_steps(time):
    return np.random.default_rng(5).integers(1, 2000, size=time).cumsum().astype(float)


def slow_differences(steps, curve):
    """{time: difference} by a loop."""
    found, last = {}, None
    for t, y in zip(steps, curve, strict=True):
        if np.isnan(y):
            continue
        if last is not None:
            found[t] = (y - last[1]) / (t - last[0])
        last = (t, y)
    return found


# --- golden values of the reference ---------------------------------------------------


def test_differences_and_range_golden_values():
    change = reliability.differences(STEPS, CURVE)
    np.testing.assert_allclose(change, [1.66666667, -0.85, -2.3], rtol=1e-8)
    np.testing.assert_array_equal(
        reliability.differences(np.arange(1, 4), np.array([4, 5, 6])), [1, 1]
    )
    close(reliability.curve_range(CURVE), 4.745)
    close(reliability.curve_range(np.array([4.0, 5, 6])), 1.9)


def test_drawdown_golden_values():
    depth = reliability.drawdown(FALLING)
    np.testing.assert_array_equal(depth, [0, 0, 0, 0, 3, 4, 3.5, 2, 3.5, 0, 4])
    for curve, deepest in (
        ([1, 2, 3, 4], 0),
        ([-1, -2, -3, -4, -5], 4),
        ([1, 3, 2, 1.2], 1.8),
        ([5, 5, 3, 6, 5], 2),
        ([100, 150, 90, 120, 80, 200], 70),
    ):
        close(reliability.max_drawdown(np.array(curve)), deepest)


def test_risk_golden_values():
    curve = np.array([0.3, 0.1, -0.5, 1])
    steps = np.arange(4)
    close(reliability.short_term_risk(steps, curve, 0.49), -0.6)
    rising = reliability.short_term_risk(
        np.array([1, 2, 4, 5]), np.array([1, 2, 3, 4]), 0.49
    )
    close(rising, 0.5)
    close(reliability.long_term_risk(curve, 0.25), 0.8)
    close(reliability.long_term_risk(curve, 0.49), 0.5)
    close(reliability.curve_range(curve), 0.595)


GOLDEN = (
    (np.array([5, 7, 9]), np.array([1, 1, 1])),
    (np.array([5, 7, 9, 11]), np.array([2, 3, 4, 5])),
    (np.array([5, 7, 9, 10]), np.array([5, 4, 2, 1])),
)


@pytest.mark.parametrize(
    ("measure", "last"), [("iqr", 0.25), ("std", 0.35355339059), ("mad", 0.25)]
)
def test_dispersion_golden_values(measure, last):
    for (steps, curve), expected in zip(GOLDEN, (0, 0, last), strict=True):
        got = reliability.dispersion_across_time(steps, curve, [9], 3, measure)
        np.testing.assert_allclose(got, [expected], rtol=1e-9)


def test_dispersion_of_a_whole_run_golden_values():
    steps, curve = GOLDEN[2]
    whole: Any = (("iqr", 0.25), ("mad", 0), ("std", 0.28867513411))
    for measure, expected in whole:
        got = reliability.dispersion_across_time(steps, curve, [10], 4, measure)
        np.testing.assert_allclose(got, [expected], rtol=1e-8)
    # The reference divides by a range of -0.15: here a curve that falls has no unit.
    unit = reliability.curve_range(curve)
    close(unit, -0.15)
    assert np.isnan(reliability.in_units(0.28867513411, unit))


# --- loops ----------------------------------------------------------------------------


def test_differences_are_those_of_a_loop():
    steps, curves = uneven_steps(50), with_gaps(0, 6, 50)
    got = reliability.differences(steps, curves)
    for i, curve in enumerate(curves):
        slow = slow_differences(steps, curve)
        close(got[i], [slow.get(t, NAN) for t in steps[1:]])


def test_drawdown_is_that_of_a_loop():
    curves = with_gaps(1, 6, 50)
    got, deepest = reliability.drawdown(curves), reliability.max_drawdown(curves)
    for i, curve in enumerate(curves):
        slow = [
            NAN if np.isnan(y) else np.nanmax(curve[: t + 1]) - y
            for t, y in enumerate(curve)
        ]
        close(got[i], slow)
        close(deepest[i], NAN if np.isnan(curve).all() else np.nanmax(slow))


@pytest.mark.parametrize("measure", SLOW)
@pytest.mark.parametrize("width", [1500, 9000, 1e9])
def test_dispersion_is_that_of_a_loop(measure, width):
    steps, curves = uneven_steps(60), with_gaps(2, 5, 60)
    points = np.linspace(-500, steps[-1] + 3 * 1500, 23)
    got = reliability.dispersion_across_time(steps, curves, points, width, measure)
    for i, curve in enumerate(curves):
        slow = slow_differences(steps, curve)
        for j, e in enumerate(points):
            held = [d for t, d in slow.items() if e - width < t <= e]
            close(got[i, j], SLOW[measure](held) if len(held) > 1 else NAN)


def test_windows_are_those_of_a_loop():
    times = np.array([0.0, 1.0, 2.5, 3.0, 7.0])
    points = [-1, 0, 1, 2.5, 2.9, 3.5, 6.9, 7, 100]
    for width in (0.5, 1.5, 4, 50):
        index, counted = windows(times, points, width)
        for row, used, e in zip(index, counted, points, strict=True):
            inside = [i for i, t in enumerate(times) if e - width < t <= e]
            assert list(row[used]) == inside


def test_windows_of_shares_of_the_training_hold_what_their_numbers_say():
    # Each holds one point, be 0.175 * 1e6 what rounding makes of it.
    for last in (1e6, 3e5, 49_999_872.0):
        times = last * np.arange(0.025, 1, 0.05)
        index, counted = windows(times, np.arange(0.025, 1, 0.05) * last, 0.05 * last)
        np.testing.assert_array_equal(counted.sum(axis=1), np.ones(20))
        np.testing.assert_array_equal(index[:, 0], np.arange(20))


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.5])
def test_risks_are_tails_of_what_was_observed(alpha):
    steps, curves = uneven_steps(80), with_gaps(3, 6, 80)
    short = reliability.short_term_risk(steps, curves, alpha)
    long = reliability.long_term_risk(curves, alpha)
    for i, curve in enumerate(curves):
        if np.isnan(curve).all():
            assert np.isnan(short[i]) and np.isnan(long[i])
            continue
        change = np.array(list(slow_differences(steps, curve).values()))
        close(short[i], change[change <= np.quantile(change, alpha)].mean())
        depth = reliability.drawdown(curve)
        depth = np.sort(depth[~np.isnan(depth)])
        size = int(alpha * (len(depth) - 1) + 1e-9) + 1
        close(long[i], depth[-size:].mean())


def test_curve_range_counts_from_the_first_observation():
    curves = with_gaps(4, 6, 40)
    expected = [
        NAN if np.isnan(c).all() else np.nanquantile(c, 0.95) - c[~np.isnan(c)][0]
        for c in curves
    ]
    close(reliability.curve_range(curves), expected)


# --- closed forms ---------------------------------------------------------------------


def test_a_line_changes_evenly():
    steps = np.arange(0, 1000, 8.0)
    curves = np.stack([0.25 * steps, -2 * steps])
    change = reliability.differences(steps, curves)
    np.testing.assert_array_equal(change, np.array([[0.25], [-2]]) * np.ones(124))
    for measure in SLOW:
        spread = reliability.dispersion_across_time(
            steps, curves, [500, 900], 80, measure
        )
        np.testing.assert_array_equal(spread, np.zeros((2, 2)))
    np.testing.assert_array_equal(
        reliability.short_term_risk(steps, curves, 0.05), [0.25, -2]
    )
    close(reliability.curve_range(curves[0]), 0.25 * 0.95 * steps[-1])


def test_a_zigzag_has_the_spread_of_its_two_slopes():
    steps = np.arange(101) * 4.0
    curve = np.where(np.arange(101) % 2, 8.0, 0.0)
    spread = {
        m: reliability.dispersion_across_time(steps, curve, [400], 400, m) for m in SLOW
    }
    close(spread["iqr"], 4)
    close(spread["mad"], 2)
    close(spread["std"], 2 * np.sqrt(100 / 99))
    close(reliability.short_term_risk(steps, curve, 0.25), -2)
    close(reliability.max_drawdown(curve), 8)


def test_a_random_walk_has_the_spread_of_its_steps():
    curve = 3 * np.random.default_rng(0).normal(size=200_001).cumsum()
    steps = np.arange(200_001.0)
    normal: Any = (("iqr", 2 * 0.67449), ("mad", 0.67449), ("std", 1))
    for measure, expected in normal:
        spread = reliability.dispersion_across_time(steps, curve, [2e5], 3e5, measure)
        np.testing.assert_allclose(spread, [3 * expected], rtol=0.01)
    # The mean of a normal below its 5 % quantile is -2.0627 standard deviations.
    risk = reliability.short_term_risk(steps, curve, 0.05)
    np.testing.assert_allclose(risk, -3 * 2.0627, rtol=0.01)


def test_a_planted_drawdown_is_found():
    rising = np.linspace(0, 100, 200)
    planted = rising.copy()
    planted[150:170] = planted[149] - 30
    assert reliability.max_drawdown(rising) == 0
    assert reliability.long_term_risk(rising, 0.05) == 0
    close(reliability.max_drawdown(planted), 30)
    close(reliability.long_term_risk(planted, 0.05), 30)
    # The upper fifth is 40 points: 20 of depth 30, and 20 without any.
    close(reliability.long_term_risk(planted, 0.2), 15)
    # The reference's example takes the lower tail, which sees nothing.
    assert reliability.cvar(reliability.drawdown(planted), 0.05) == 0


def test_a_fall_between_observations_is_spread_over_their_time():
    steps = np.array([0.0, 10, 20, 30])
    curve = np.array([5.0, NAN, NAN, 2.0])
    np.testing.assert_array_equal(
        reliability.differences(steps, curve), [NAN, NAN, -0.1]
    )


# --- few points, no points, infinite ones ---------------------------------------------


@pytest.mark.parametrize("traced", [False, True])
def test_one_point_has_no_differences(traced):
    steps = np.array([100])

    def of(curve):
        spreads = [
            reliability.dispersion_across_time(steps, curve, [50, 100], 60, measure)
            for measure in SLOW
        ]
        return {
            "differences": (reliability.differences(steps, curve), np.zeros((2, 0))),
            "spread": (spreads, np.full((3, 2, 2), NAN)),
            "short": (reliability.short_term_risk(steps, curve, 0.5), [NAN, NAN]),
            "drawdown": (reliability.drawdown(curve), [[0], [NAN]]),
            "deepest": (reliability.max_drawdown(curve), [0, NAN]),
            "range": (reliability.curve_range(curve), [0, NAN]),
            "long": (reliability.long_term_risk(curve, 0.5), [NAN, NAN]),
        }

    curve = np.array([[7.0], [NAN]])
    for got, expected in (jax.jit(of) if traced else of)(curve).values():
        np.testing.assert_array_equal(got, expected)


def test_two_points_have_one_difference_and_no_spread():
    steps, curve = np.array([1, 3]), np.array([2.0, 1.0])
    np.testing.assert_array_equal(reliability.differences(steps, curve), [-0.5])
    for measure in SLOW:
        assert np.isnan(
            reliability.dispersion_across_time(steps, curve, [3], 3, measure)
        )
    assert np.isnan(reliability.short_term_risk(steps, curve, 0.5))
    assert reliability.max_drawdown(curve) == 1
    assert reliability.long_term_risk(curve, 0.5) == 1


@pytest.mark.parametrize("missing", [0, 3])
def test_a_constant_curve_is_quiet_and_has_no_unit(missing):
    curve = np.full(50, 500.1)
    curve[:missing] = NAN
    steps = np.arange(50)
    for measure in SLOW:
        spread = reliability.dispersion_across_time(steps, curve, [20, 49], 10, measure)
        np.testing.assert_array_equal(spread, [0, 0])
    assert reliability.short_term_risk(steps, curve, 0.05) == 0
    assert reliability.long_term_risk(curve, 0.05) == 0
    assert reliability.curve_range(curve) == 0
    assert np.isnan(reliability.in_units(1.0, reliability.curve_range(curve)))


def test_only_positive_finite_units_divide():
    unit = np.array([2.0, 0, -1, NAN, np.inf])
    expected = [3.0, NAN, NAN, NAN, NAN]
    np.testing.assert_array_equal(reliability.in_units(np.full(5, 6.0), unit), expected)
    np.testing.assert_array_equal(
        jax.jit(reliability.in_units)(jnp.full(5, 6.0), jnp.asarray(unit)), expected
    )


def test_a_short_tail_holds_no_difference():
    curve, steps = np.arange(20.0), np.arange(20)
    assert np.isnan(reliability.short_term_risk(steps, curve, 0.05))  # 19 of them
    assert reliability.long_term_risk(curve, 0.05) == 0  # 20 points
    assert np.isnan(reliability.long_term_risk(curve[:19], 0.05))


def test_infinite_returns_never_look_like_missing_ones():
    inf = np.inf
    steps = np.arange(4)
    curves = np.array([[1, inf, 2, 3], [-inf, -inf, 1, 2], [1, 2, -inf, -inf]])
    np.testing.assert_array_equal(
        reliability.differences(steps, curves),
        [[inf, -inf, 1], [0, inf, 1], [1, -inf, 0]],
    )
    np.testing.assert_array_equal(
        reliability.drawdown(curves), [[0, 0, inf, inf], [0, 0, 0, 0], [0, 0, inf, inf]]
    )
    np.testing.assert_array_equal(reliability.max_drawdown(curves), [inf, 0, inf])
    units = reliability.curve_range(curves)
    np.testing.assert_array_equal(
        np.isnan(reliability.in_units(curves[:, 2], units)), [True, True, False]
    )


def test_infinite_scores_have_no_finite_spread():
    inf = np.inf
    scores = np.array([[-inf, 0, inf], [-inf, 1, 0], [-inf, 2, 1], [1, inf, 2]])
    np.testing.assert_array_equal(reliability.spread(scores, "iqr"), [NAN, NAN, NAN])
    np.testing.assert_array_equal(reliability.spread(scores, "mad"), [NAN, 1, 1])
    np.testing.assert_array_equal(reliability.spread(scores, "std"), [NAN, NAN, NAN])


def test_one_score_is_not_a_spread_of_zero():
    scores = np.array([[3.0, 3, NAN], [NAN, 5, NAN]])
    spread: Any = (("iqr", 1), ("mad", 1), ("std", np.sqrt(2)))
    for measure, of_two in spread:
        close(reliability.spread(scores, measure), [NAN, of_two, NAN])


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: reliability.differences(np.array([1, 2]), np.ones((2, 3))),
            "Expected env_steps to be [time] = (3,), got (2,).",
        ),
        (
            lambda: reliability.differences(np.array([1, 3, 3]), np.ones(3)),
            "Expected env_steps to be finite and to increase.",
        ),
        (
            lambda: reliability.differences(np.array([1, 3, np.inf]), np.ones(3)),
            "Expected env_steps to be finite and to increase.",
        ),
        (
            lambda: reliability.dispersion_across_time(
                np.array([1, 2]), np.ones(2), [2], 0
            ),
            "Expected window to be > 0, got 0.",
        ),
        (
            lambda: reliability.dispersion_across_time(
                np.array([1, 2]),
                np.ones(2),
                [2],
                1,
                "var",  # type: ignore[arg-type]
            ),
            "Expected measure to be one of iqr, mad, std, got 'var'.",
        ),
        (
            lambda: reliability.short_term_risk(np.array([1]), np.ones(1), 0.6),
            "Expected alpha to be in (0, 0.5], got 0.6.",
        ),
        (
            lambda: reliability.long_term_risk(np.ones(9), 0),
            "Expected alpha to be in (0, 0.5], got 0.",
        ),
        *(
            (
                lambda function=function: function(np.ones((2, 0))),
                "Expected curves to hold at least one time on the last axis, got shape "
                "(2, 0).",
            )
            for function in (
                reliability.drawdown,
                reliability.max_drawdown,
                reliability.curve_range,
                lambda curves: reliability.long_term_risk(curves, 0.5),
                lambda curves: reliability.short_term_risk(np.array([]), curves, 0.5),
            )
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


# --- JAX ------------------------------------------------------------------------------

OVER_CURVES = {
    "differences": lambda x: reliability.differences(uneven_steps(60), x),
    "drawdown": reliability.drawdown,
    "max_drawdown": reliability.max_drawdown,
    "curve_range": reliability.curve_range,
    "short_term_risk": lambda x: reliability.short_term_risk(uneven_steps(60), x, 0.1),
    "long_term_risk": lambda x: reliability.long_term_risk(x, 0.1),
    "in_units": lambda x: reliability.in_units(
        reliability.max_drawdown(x), reliability.curve_range(x)
    ),
    **{
        measure: lambda x, measure=measure: reliability.dispersion_across_time(
            uneven_steps(60), x, np.linspace(0, 60_000, 7), 9000, measure
        )
        for measure in SLOW
    },
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", OVER_CURVES)
def test_jit_and_vmap_equal_numpy(name, x64):
    function = OVER_CURVES[name]
    batch = np.stack([with_gaps(seed, 5, 60) for seed in (0, 10)])
    batch = batch.astype(np.float32).astype(np.float64)
    expected = np.stack([function(curves) for curves in batch])
    assert expected.dtype == np.float64
    # Once for all runs of all sweeps, and run by run.
    with jax.enable_x64(x64):
        for mapped in (function, jax.vmap(function), jax.vmap(jax.vmap(function))):
            got = jax.jit(mapped)(jnp.asarray(batch))
            assert got.dtype == (np.float64 if x64 else np.float32)
            tolerance = 1e-12 if x64 else 2e-5
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_float32_keeps_the_time_between_late_steps():
    # float32 counts a billion by 64: 100 steps would be 64 or 128.
    steps = 1_000_000_000 + 100 * np.arange(50)
    curves = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    curves[0, 10:13] = NAN
    expected = reliability.differences(steps, curves.astype(np.float64))
    got = jax.jit(lambda x: reliability.differences(steps, x))(curves)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
