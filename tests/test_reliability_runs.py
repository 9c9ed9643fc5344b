"""Reliability over runs and rollouts, and the filter before it: goldens, SciPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from purejaxppo import reliability
from purejaxppo.reliability.across_runs import per_unit

NAN = np.nan


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def walks(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).cumsum(axis=-1)


def missing_some(curves, seed, share=0.4):
    curves = curves.copy()
    gaps = np.random.default_rng(seed).uniform(size=curves.shape) < share
    curves[gaps] = NAN
    return curves


def filtfilt(curves, threshold, order=8):
    padding = min(curves.shape[-1] - 1, 3 * (order + 1))
    polynomials: Any = scipy.signal.butter(order, threshold)
    b, a = polynomials
    return scipy.signal.filtfilt(b, a, curves, padlen=padding)


def sosfiltfilt(curves, threshold, order=8):
    padding = min(curves.shape[-1] - 1, 3 * (order + 1))
    sections = scipy.signal.butter(order, threshold, output="sos")
    return scipy.signal.sosfiltfilt(sections, curves, padlen=padding)


# --- golden values of the reference ---------------------------------------------------


def test_low_pass_golden_values():
    # At e = 3: the third point of the one curve, the first of the other.
    first = reliability.low_pass(np.array([4, 5, 6, 7]), 0.5)[2]
    second = reliability.low_pass(np.array([-1, 4, 2.3, 0]), 0.5)[0]
    np.testing.assert_allclose([first, second], [6.22790854, -0.82210584], rtol=1e-8)


def test_dispersion_across_runs_golden_values():
    at_0_and_1 = np.array([[1.0, 1], [3, 4]])
    ranges = np.array([0.0, 2.85])
    dispersion = reliability.dispersion_across_runs
    std = dispersion(at_0_and_1, measure="std")
    np.testing.assert_allclose(std, [1.41421356237, 2.12132034356], rtol=1e-10)
    std = dispersion(at_0_and_1, ranges, "std")
    expected = [1.414213562 / 1.425, 2.121320343 / 1.425]
    np.testing.assert_allclose(std, expected, rtol=1e-9)
    close(dispersion(at_0_and_1), [1, 1.5])
    four = np.array([[1.0, 1], [3, 4], [4.5, 1], [-1, 1]])
    close(dispersion(four, measure="mad"), [1.75, 0])


def test_dispersion_of_filtered_runs_golden_values():
    curves = (np.array([1.0, 1, 1]), np.array([2.0, 3, 4, 5]))
    smooth = np.stack([reliability.low_pass(y, 0.5)[1:3] for y in curves])
    std = reliability.dispersion_across_runs(smooth, np.full(2, 0.5), "std")
    np.testing.assert_allclose(std, [2.9954294688643497, 4.564952035367936], rtol=1e-8)


def test_risk_across_runs_golden_values():
    at_1_and_2 = np.array([[1, 2], [0.1, -0.5]])
    close(reliability.risk_across_runs(at_1_and_2, 0.5), [0.1, -0.5])
    in_twos = reliability.risk_across_runs(at_1_and_2, 0.5, np.full(2, 2.0))
    close(in_twos, [0.05, -0.25])


# --- the filter -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 28, 29, 300])
@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.5])
def test_low_pass_is_scipys(size, threshold):
    curves = walks(size, 3, size) + 100
    smooth = reliability.low_pass(curves, threshold)
    np.testing.assert_allclose(smooth, sosfiltfilt(curves, threshold), rtol=1e-11)
    if threshold == 0.5:
        np.testing.assert_allclose(smooth, filtfilt(curves, threshold), rtol=1e-11)
    for order in (1, 3):
        np.testing.assert_allclose(
            reliability.low_pass(curves, threshold, order),
            filtfilt(curves, threshold, order),
            rtol=1e-8,
        )


def test_low_pass_of_a_sine_is_the_sine_or_nothing():
    # Forward and backward: no shift, and the gain 1 / (1 + (tan w / tan c)^16).
    nyquist = np.pi
    time = np.arange(1000)
    for share, gain in ((0.02, 1.0), (0.1, 0.5), (0.4, 0.0)):
        sine = np.sin(nyquist * share * time)
        smooth = reliability.low_pass(sine, 0.1)
        inside = slice(200, 800)
        np.testing.assert_allclose(smooth[inside], gain * sine[inside], atol=1e-5)


def test_low_pass_lets_a_constant_through():
    curves = np.array([[0.1], [500.3], [-1e9]]) * np.ones(1000)
    np.testing.assert_array_equal(reliability.low_pass(curves, 0.01), curves)
    curves = jnp.asarray(curves)
    np.testing.assert_array_equal(
        jax.jit(lambda x: reliability.low_pass(x, 0.01))(curves), curves
    )


def test_low_pass_of_a_run_that_is_not_finite():
    curves = walks(0, 4, 40)
    expected = reliability.low_pass(curves, 0.1)
    curves[1, 7] = NAN
    curves[2, 0] = np.inf
    expected[1:3] = NAN
    close(reliability.low_pass(curves, 0.1), expected)


# --- the grid -------------------------------------------------------------------------


def test_a_regular_grid_has_both_ends():
    close(reliability.regular(np.array([10, 11, 40]), 4), [10, 20, 30, 40])
    assert reliability.regular(np.arange(5)).shape == (1000,)


def test_resampled_is_numpys_interpolation():
    steps = np.random.default_rng(0).integers(1, 50, size=60).cumsum()
    curves = missing_some(walks(1, 6, 60), 2)
    curves[0, :5], curves[1, -5:] = NAN, NAN
    grid = np.concatenate([steps[::7], np.linspace(0, steps[-1] + 90, 77)])
    got = reliability.resampled(steps, curves, grid)
    for row, curve in zip(got, curves, strict=True):
        seen = ~np.isnan(curve)
        close(row, np.interp(grid, steps[seen], curve[seen]))
    close(
        reliability.resampled(steps, curves, steps)[~np.isnan(curves)],
        curves[~np.isnan(curves)],
    )


def test_resampled_of_nothing_and_of_one_observation():
    curves = np.array([[NAN, NAN, NAN], [NAN, 4, NAN]])
    got = reliability.resampled(
        np.array([1, 2, 3]), curves, np.array([0, 1, 1.5, 2, 9])
    )
    np.testing.assert_array_equal(got, [[NAN] * 5, [4] * 5])
    one = reliability.resampled(
        np.array([7]), np.array([[3.0], [NAN]]), np.array([6, 7, 8])
    )
    np.testing.assert_array_equal(one, [[3] * 3, [NAN] * 3])


def test_resampled_constants_stay_as_they_are():
    curve = np.full(30, 0.1)
    grid = np.linspace(0, 40, 77)
    for values in (curve, missing_some(curve, 3)):
        got = reliability.resampled(np.arange(30), values, grid)
        np.testing.assert_array_equal(got, np.full(77, 0.1))


def test_resampled_between_infinite_observations():
    curve = np.array([1, np.inf, 2, -np.inf, -np.inf])
    got = reliability.resampled(
        np.arange(5), curve, np.array([0, 0.5, 1, 1.5, 2, 2.5, 3.5, 4])
    )
    inf = np.inf
    np.testing.assert_array_equal(got, [1, inf, inf, inf, 2, -inf, -inf, -inf])


def test_float32_resamples_between_late_steps():
    steps = 1_000_000_000 + 100 * np.arange(50)
    curves = missing_some(walks(0, 3, 50), 1).astype(np.float32)
    grid = reliability.regular(steps, 333)
    expected = reliability.resampled(steps, curves.astype(np.float64), grid)
    got = jax.jit(lambda x: reliability.resampled(steps, x, grid))(curves)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


# --- across runs ----------------------------------------------------------------------


def test_a_known_normal_spread_across_runs():
    level = 7 + 3 * np.random.default_rng(0).normal(size=200_001)
    normal: Any = (("iqr", 2 * 0.67449), ("mad", 0.67449), ("std", 1))
    for measure, expected in normal:
        spread = reliability.dispersion_across_runs(level, np.full(200_001, 6), measure)
        np.testing.assert_allclose(spread, expected / 2, rtol=0.01)
    risk = reliability.risk_across_runs(level, 0.05)
    np.testing.assert_allclose(risk, 7 - 3 * 2.0627, rtol=0.02)


def test_fast_noise_is_no_spread_across_runs():
    # Runs that differ by noise alone, and by a level of standard deviation 1 as well.
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(400, 500))
    level = generator.normal(size=(400, 1))
    middle = [reliability.low_pass(noise + shift, 0.01)[:, 250] for shift in (0, level)]
    quiet, apart = (reliability.dispersion_across_runs(x) for x in middle)
    assert reliability.dispersion_across_runs(noise[:, 250]) > 1.2
    assert quiet < 0.2
    assert apart == pytest.approx(2 * 0.67449, rel=0.15)


def test_a_planted_bad_quartile_shows_in_the_tail():
    scores = np.concatenate([np.full(24, 1000.0), np.linspace(14, 500, 8)])
    assert reliability.iqm(scores) > 950
    assert reliability.mean(scores) > 800
    assert reliability.risk_across_runs(scores, 0.25) == pytest.approx(257)
    # Of 32 runs 8 are bad: the quartile is just above them.
    assert reliability.dispersion_across_runs(scores) == 0.25 * 500
    nine = np.concatenate([scores[1:], [0.0]])
    assert reliability.dispersion_across_runs(nine) >= 500


def test_scipys_spreads():
    scores = walks(2, 33, 4)
    dispersion = reliability.dispersion_across_runs
    close(dispersion(scores), scipy.stats.iqr(scores, axis=0))
    mad = scipy.stats.median_abs_deviation(scores, axis=0)
    close(dispersion(scores, measure="mad"), mad)
    close(dispersion(scores, measure="std"), scores.std(axis=0, ddof=1))


def test_units_of_runs_divide_by_their_median_or_run_by_run():
    # As many runs as points: the unit must not be taken for one of the points.
    level, unit = walks(3, 40, 40) + 50, np.linspace(1, 5, 40)
    dispersion = reliability.dispersion_across_runs(level, unit)
    close(dispersion, scipy.stats.iqr(level, axis=0) / 3)
    close(reliability.dispersion_across_runs(level, unit[:, None]), dispersion)
    risk = reliability.risk_across_runs(level, 0.1, unit)
    close(risk, np.sort(level / unit[:, None], axis=0)[:4].mean(axis=0))
    close(reliability.risk_across_runs(level, 0.1, unit[:, None]), risk)


def test_runs_without_a_unit_are_left_out_of_the_risk():
    level = np.arange(1.0, 7)
    unit = np.array([0, -1, 2.0, 2, NAN, np.inf])
    np.testing.assert_array_equal(per_unit(level, unit), [NAN, NAN, 1.5, 2, NAN, NAN])
    assert reliability.risk_across_runs(level, 0.5, unit) == 1.5
    # The median of the units is over all that are known.
    spread = reliability.dispersion_across_runs(level, unit)
    close(spread, 2.5 / 2)
    assert np.isnan(
        reliability.dispersion_across_runs(level, 0 * unit[:4].repeat(2)[:6])
    )
    np.testing.assert_array_equal(per_unit(level, None), level)


@pytest.mark.parametrize("measure", ["iqr", "mad", "std"])
def test_one_run_has_no_spread(measure):
    for level in (np.array([[4.0, 5]]), np.array([[4.0, 5], [NAN, NAN]])):
        spread = reliability.dispersion_across_runs(level, measure=measure)
        np.testing.assert_array_equal(spread, [NAN, NAN])


def test_too_few_runs_have_no_tail():
    assert np.isnan(reliability.risk_across_runs(np.arange(19.0), 0.05))
    assert reliability.risk_across_runs(np.arange(20.0), 0.05) == 0
    level = np.arange(20.0)
    level[0] = NAN
    assert np.isnan(reliability.risk_across_runs(level, 0.05))


# --- across rollouts ------------------------------------------------------------------


def test_rollouts_of_a_policy_in_units_of_their_median():
    returns = walks(4, 5, 101) + 100
    median = np.median(returns, axis=1)
    iqr = scipy.stats.iqr(returns, axis=1)
    close(reliability.dispersion_across_rollouts(returns), iqr / median)
    close(reliability.dispersion_across_rollouts(returns, normalize=False), iqr)
    tail = np.sort(returns, axis=1)[:, :6].mean(axis=1)
    close(reliability.risk_across_rollouts(returns, 0.05), tail / median)
    close(reliability.risk_across_rollouts(returns, 0.05, normalize=False), tail)


def test_returns_that_are_costs_have_no_median_to_divide_by():
    costs = -np.arange(1.0, 41)
    assert np.isnan(reliability.dispersion_across_rollouts(costs))
    assert np.isnan(reliability.risk_across_rollouts(costs, 0.05))
    assert reliability.dispersion_across_rollouts(costs, normalize=False) == 19.5
    assert reliability.risk_across_rollouts(costs, 0.05, normalize=False) == -39.5


def test_a_policy_that_always_gets_the_same():
    same = np.full((2, 30), 500.1)
    np.testing.assert_array_equal(reliability.dispersion_across_rollouts(same), [0, 0])
    close(reliability.risk_across_rollouts(same, 0.05), [1, 1])
    one = np.array([[5.0]])
    assert np.isnan(reliability.dispersion_across_rollouts(one))
    assert np.isnan(reliability.risk_across_rollouts(one, 0.5))


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *(
            (
                lambda threshold=threshold: reliability.low_pass(np.ones(9), threshold),
                f"Expected threshold to be in (0, 1), got {threshold!r}.",
            )
            for threshold in (0, 1, NAN)
        ),
        (
            lambda: reliability.low_pass(np.ones((2, 0)), 0.5),
            "Expected curves to hold at least one time on the last axis, got shape "
            "(2, 0).",
        ),
        (
            lambda: reliability.resampled(
                np.array([2, 1]), np.ones((3, 2)), np.ones(1)
            ),
            "Expected env_steps to be finite and to increase.",
        ),
        (
            lambda: reliability.resampled(
                np.array([1, 2, 3]), np.ones((3, 2)), np.ones(1)
            ),
            "Expected env_steps to be [time] = (2,), got (3,).",
        ),
        (
            lambda: reliability.dispersion_across_runs(np.ones(3), measure="cv"),  # type: ignore[arg-type]
            "Expected measure to be one of iqr, mad, std, got 'cv'.",
        ),
        (
            lambda: reliability.risk_across_runs(np.ones(3), 0.9),
            "Expected alpha to be in (0, 0.5], got 0.9.",
        ),
        (
            lambda: reliability.risk_across_rollouts(np.ones(3), 0.9),
            "Expected alpha to be in (0, 0.5], got 0.9.",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


# --- JAX ------------------------------------------------------------------------------

STEPS = np.random.default_rng(6).integers(1, 2000, size=60).cumsum()

OVER_CURVES = {
    "resampled": lambda x: reliability.resampled(
        STEPS, x, reliability.regular(STEPS, 99)
    ),
    "low_pass": lambda x: reliability.low_pass(x[2:], 0.05),
    "dispersion_across_runs": lambda x: reliability.dispersion_across_runs(
        x, reliability.curve_range(x)
    ),
    "risk_across_runs": lambda x: reliability.risk_across_runs(
        x, 0.3, reliability.curve_range(x)
    ),
    "dispersion_across_rollouts": reliability.dispersion_across_rollouts,
    "risk_across_rollouts": lambda x: reliability.risk_across_rollouts(x, 0.1),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", OVER_CURVES)
def test_jit_and_vmap_equal_numpy(name, x64):
    function = OVER_CURVES[name]
    batch = walks(7, 2, 12, 60) + 20
    batch[:, :2] = missing_some(batch[:, :2], 8)
    batch[:, 1] = NAN
    batch = batch.astype(np.float32).astype(np.float64)
    expected = np.stack([function(curves) for curves in batch])
    with jax.enable_x64(x64):
        got = jax.jit(jax.vmap(function))(jnp.asarray(batch))
    assert got.dtype == (np.float64 if x64 else np.float32)
    tolerance = 1e-12 if x64 else 5e-5
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
