"""The six cells: by loops and SciPy, their intervals, few runs, NumPy and JAX alike."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

from purejaxppo import reliability
from purejaxppo.reliability import Definition, Runs
from purejaxppo.reliability.dispersion_and_risk import FRAMES, HIGHER_IS_BETTER
from purejaxppo.reliability.runs import check_runs

NAN = np.nan
STEPS = 1000 * np.arange(1, 201)
WITHIN = tuple(reliability.WithinRuns._fields)
ACROSS = tuple(reliability.AcrossRuns._fields)


def close(value, expected, tolerance=1e-12):
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


def learning(seed, num_runs, steps=STEPS):
    """Curves that rise to different heights, with noise, and gaps in the second."""
    generator = np.random.default_rng(seed)
    share = steps / steps[-1]
    height = generator.uniform(50, 100, size=(num_runs, 1))
    noise = generator.normal(size=(num_runs, len(steps)))
    curves = height * (1 - np.exp(-5 * share)) + 3 * noise
    if num_runs > 1:
        curves[1, ::3] = NAN
    return curves


def made(curves, rollouts=None, steps=STEPS):
    return Runs("ppo", "task", steps, curves, np.arange(len(curves)), None, rollouts)


def ones(curves):
    return np.ones((len(curves), 1), np.int32)


def median_in_frames(values, points):
    """`[..., points]` -> `[..., 3]`, by the definition of a third."""
    thirds = [(points >= a / 3) & (points < (a + 1) / 3) for a in range(3)]
    return np.stack([np.nanmedian(values[..., t], axis=-1) for t in thirds], axis=-1)


# --- the definition -------------------------------------------------------------------


def test_the_defaults_are_those_of_the_reference():
    definition, last = Definition(), 2_000_000
    close(definition.points * last, np.arange(50_000, 2_000_000, 100_000), 1e-9)
    assert definition.window * last == 100_000
    assert (definition.alpha, definition.measure) == (0.05, "iqr")
    assert (definition.threshold, definition.grid) == (0.01, 1000)


@pytest.mark.parametrize("every", [1 / 3, 0.3, 2 / 9, 0.2, 0.05, 2 / 45, 0.001])
def test_every_time_frame_has_a_point(every):
    definition = Definition(every=every)
    points = definition.points
    assert points[0] == every / 2 and points[-1] <= 1 + 1e-9
    assert points[-1] + every > 1
    number = np.arange(len(points))
    frame = np.minimum((number + 0.5) * every * 3 + 1e-9, 2).astype(int)
    expected = [np.median(number[frame == i]) for i in range(3)]
    np.testing.assert_array_equal(definition.in_frames(number), expected)


def test_medians_of_frames_leave_out_what_is_missing():
    definition = Definition(every=0.1)  # 0.05, 0.15, ... 0.95
    values = np.array([NAN, 1, 2, 5, 6, NAN, 7, NAN, NAN, NAN])
    np.testing.assert_array_equal(definition.in_frames(values), [1.5, 6, NAN])
    both = definition.in_frames(np.stack([values, np.zeros(10)], axis=1))
    np.testing.assert_array_equal(both, [[1.5, 0], [6, 0], [NAN, 0]])
    assert len(FRAMES) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0}, "Expected alpha to be in (0, 0.5], got 0."),
        ({"alpha": 0.51}, "Expected alpha to be in (0, 0.5], got 0.51."),
        ({"measure": "var"}, "Expected measure to be one of iqr, mad, std, got 'var'."),
        ({"window": 0}, "Expected window to be in (0, 1), got 0."),
        ({"window": 1.5}, "Expected window to be in (0, 1), got 1.5."),
        ({"every": 0.5}, "Expected every to be in (0, 1/3], got 0.5."),
        ({"every": 0}, "Expected every to be in (0, 1/3], got 0."),
        ({"threshold": 1}, "Expected threshold to be in (0, 1), got 1."),
        ({"threshold": NAN}, "Expected threshold to be in (0, 1), got nan."),
        ({"grid": 1}, "Expected grid to be at least 2, got 1."),
    ],
)
def test_bad_definitions(changes, message):
    with pytest.raises(ValueError) as error:
        Definition(**changes)
    assert str(error.value) == message


# --- loops and SciPy ------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["iqr", "mad", "std"])
@pytest.mark.parametrize("normalize", [True, False])
def test_cells_within_runs_by_loops(measure, normalize):
    curves, rollouts = learning(0, 4), np.abs(learning(1, 4))
    definition = Definition(alpha=0.1, measure=measure, normalize=normalize)
    got: Any = reliability.cells_within_runs(STEPS, curves, rollouts, definition)
    width = {
        "iqr": scipy.stats.iqr,
        "mad": scipy.stats.median_abs_deviation,
        "std": lambda x: np.std(x, ddof=1),
    }[measure]
    for i, curve in enumerate(curves):
        seen = ~np.isnan(curve)
        t, y = STEPS[seen], curve[seen]
        change, at = np.diff(y) / np.diff(t), t[1:]
        unit = np.quantile(y, 0.95) - y[0] if normalize else 1.0
        ends = np.round(definition.points * STEPS[-1])
        spread = [width(change[(at > e - 10_000) & (at <= e)]) / unit for e in ends]
        close(
            got.dispersion_across_time[i],
            median_in_frames(np.array(spread), definition.points),
        )
        worst = change[change <= np.quantile(change, 0.1)]
        close(got.short_term_risk[i], worst.mean() / unit)
        depth = np.maximum.accumulate(y) - y
        deepest = depth[depth >= np.quantile(depth, 0.9)]
        close(got.long_term_risk[i], deepest.mean() / unit)
        got_in_use = rollouts[i][~np.isnan(rollouts[i])]
        of = np.median(got_in_use) if normalize else 1.0
        close(got.dispersion_across_rollouts[i], width(got_in_use) / of)
        tail = got_in_use[got_in_use <= np.quantile(got_in_use, 0.1)]
        close(got.risk_across_rollouts[i], tail.mean() / of)


@pytest.mark.parametrize("normalize", [True, False])
def test_cells_across_runs_by_scipy(normalize):
    curves = learning(2, 40)
    definition = Definition(threshold=0.05, grid=400, normalize=normalize)
    grid = np.linspace(STEPS[0], STEPS[-1], 400)
    sections = scipy.signal.butter(8, 0.05, output="sos")
    level, unit = [], []
    for curve in curves:
        seen = ~np.isnan(curve)
        smooth = scipy.signal.sosfiltfilt(
            sections, np.interp(grid, STEPS[seen], curve[seen]), padlen=27
        )
        level.append(
            [smooth[abs(grid - e).argmin()] for e in definition.points * STEPS[-1]]
        )
        unit.append(np.quantile(curve[seen], 0.95) - curve[seen][0])
    level, unit = np.array(level), np.array(unit) if normalize else np.ones(40)
    got = reliability.cells_across_runs(STEPS, curves, definition)(ones(curves))
    spread = scipy.stats.iqr(level, axis=0) / np.median(unit)
    close(
        got.dispersion_across_runs[:, 0],
        median_in_frames(spread, definition.points),
        1e-10,
    )
    worst = np.sort(level / unit[:, None], axis=0)[:2].mean(axis=0)
    close(got.risk_across_runs[:, 0], median_in_frames(worst, definition.points), 1e-10)


def test_counts_of_cells_repeat_runs():
    curves = learning(3, 8)
    definition = Definition(alpha=0.25, grid=100, threshold=0.1)
    counts = reliability.resample(1, [(8,)], 5)[0]
    got = reliability.cells_across_runs(STEPS, curves, definition)(counts)
    for i, times in enumerate(counts.T):
        more = np.repeat(curves, times, axis=0)
        same = reliability.cells_across_runs(STEPS, more, definition)(ones(more))
        for name in ACROSS:
            close(getattr(got, name)[:, i], getattr(same, name)[:, 0])


# --- closed forms ---------------------------------------------------------------------


def test_lines_have_no_dispersion_and_no_risk():
    # The first point is 0, the unit 95 % of the height: 0.95 * 199 of 1000 steps each.
    curves = np.array([[1.0], [2.0]]) * (STEPS - STEPS[0]) / 8
    got = reliability.cells_within_runs(STEPS, curves)
    np.testing.assert_array_equal(got.dispersion_across_time, np.zeros((2, 3)))
    np.testing.assert_array_equal(got.long_term_risk, [0, 0])
    close(got.short_term_risk, np.full(2, 1 / (0.95 * 199_000)))


def test_runs_at_known_levels_have_a_known_spread_and_tail():
    # All in the same shape, so that the filter keeps what sets them apart.
    level = scipy.stats.norm.ppf((np.arange(400) + 0.5) / 400)
    curves = 100 * (STEPS / STEPS[-1]) + 5 * level[:, None]
    got = reliability.cells_across_runs(STEPS, curves)(ones(curves))
    unit = 100 * 0.95 * 199 / 200
    close(got.dispersion_across_runs[:, 0], 5 * 2 * 0.67449 / unit, 0.002)
    frame = np.array([1, 3, 5]) / 6 * 100
    tail = frame - 5 * np.abs(level[:20].mean())
    np.testing.assert_allclose(got.risk_across_runs[:, 0], tail / unit, atol=0.02)


def test_a_bad_quartile_is_seen_across_runs():
    curves = 100 * np.ones((32, 1)) * (STEPS / STEPS[-1])
    curves[:8] *= 0.2
    definition = Definition(alpha=0.25, normalize=False)
    got = reliability.cells_across_runs(STEPS, curves, definition)(ones(curves))
    end = definition.points[-4] * 100  # The median of the last frame.
    close(got.risk_across_runs[2, 0], 0.2 * end, 0.05)
    assert reliability.iqm(curves[:, -1]) > 90


# --- where there is nothing to see ----------------------------------------------------


def test_before_the_first_step_there_is_nothing_to_see():
    late = STEPS + 80_000  # From 81,000 to 280,000: nothing in most of the first third.
    curves = learning(4, 6, late)
    definition = Definition(normalize=False, alpha=0.25)
    across = reliability.cells_across_runs(late, curves, definition)(ones(curves))
    assert np.isfinite(np.array(across)).all()
    # From 121,000 to 320,000: the first third's last point is 104,000, its window
    # 16,000 wide.
    later = STEPS + 120_000
    across = reliability.cells_across_runs(later, curves, definition)(ones(curves))
    assert np.isnan(np.array(across)[:, 0]).all()
    assert np.isfinite(np.array(across)[:, 1:]).all()
    within = reliability.cells_within_runs(later, curves, definition=definition)
    assert np.isnan(within.dispersion_across_time[:, 0]).all()


@pytest.mark.parametrize("points", [1, 2])
def test_few_points_make_no_cell_but_no_error(points):
    curves, steps = learning(5, 30)[:, :points], STEPS[:points]
    curves[1] = 1
    found = reliability.cell_intervals(0, made(curves, steps=steps), num_resamples=20)
    for name in ("dispersion_across_time", "short_term_risk", "long_term_risk"):
        assert np.isnan(found[name]).all()
    if points == 1:
        assert np.isnan(found["risk_across_runs"]).all()
        assert np.isnan(found["dispersion_across_runs"]).all()


@pytest.mark.parametrize(
    ("steps", "shape", "message"),
    [
        ([0], (2, 1), "Expected env_steps to end after step 0, got [0.0]."),
        ([-2, -1], (2, 2), "Expected env_steps to end after step 0, got [-1.0]."),
        ([], (2, 0), "Expected env_steps to end after step 0, got []."),
        ([1], (2, 2), "Expected env_steps to be [time] = (2,), got (1,)."),
        ([2, 1], (2, 2), "Expected env_steps to be finite and to increase."),
    ],
)
def test_steps_that_are_no_training(steps, shape, message):
    for cells in (reliability.cells_within_runs, reliability.cells_across_runs):
        with pytest.raises(ValueError) as error:
            cells(np.array(steps), np.ones(shape))
        assert str(error.value) == message


def test_constant_curves_have_no_unit():
    curves = np.full((30, 200), 9.1)
    found = reliability.cell_intervals(0, made(curves), num_resamples=20)
    assert all(np.isnan(interval).all() for interval in found.values())
    raw = Definition(normalize=False)
    found = reliability.cell_intervals(0, made(curves), raw, num_resamples=20)
    for name, interval in found.items():
        expected = 9.1 if name == "risk_across_runs" else 0
        for value in interval:
            close(value, np.full(value.shape, expected))


def test_one_run_has_cells_of_its_own_only():
    curves = learning(6, 1)
    found = reliability.cell_intervals(0, made(curves), num_resamples=20)
    for name in WITHIN[:3]:
        assert np.isfinite(found[name]).all()
        np.testing.assert_array_equal(found[name].low, found[name].estimate)
    for name in ACROSS:
        assert np.isnan(found[name].estimate).all()


def test_runs_that_enter_no_cell_are_counted():
    curves = np.abs(learning(7, 30)) + 1
    curves[3] = NAN  # never observed
    curves[4, 50] = np.inf
    curves[5] = 7.0  # constant
    curves[6] = -curves[6]  # falls
    rollouts = np.abs(learning(8, 30)) + 1
    rollouts[7] *= -1
    rollouts[8, 3:] = NAN
    runs = made(curves, rollouts)
    for definition in (Definition(), Definition(normalize=False)):
        within = reliability.cells_within_runs(STEPS, curves, rollouts, definition)
        counted = reliability.runs_in_cells(runs, definition)
        assert list(counted) == list(HIGHER_IS_BETTER)
        for name in WITHIN:
            values = np.asarray(getattr(within, name)).reshape(30, -1)
            assert counted[name] == (~np.isnan(values)).any(axis=1).sum()
        # Dropping what does not enter changes nothing, dropping what enters does.
        assert counted["dispersion_across_runs"] == 28
        assert counted["risk_across_runs"] == (26 if definition.normalize else 28)
        definition = dataclasses.replace(definition, alpha=0.1)
        entering = np.delete(
            curves, [3, 4, 5, 6] if definition.normalize else [3, 4], 0
        )
        whole, part = (
            reliability.cells_across_runs(STEPS, c, definition)(ones(c))
            for c in (curves, entering)
        )
        close(whole.risk_across_runs, part.risk_across_runs)
    assert counted["dispersion_across_rollouts"] == 30
    assert counted["risk_across_rollouts"] == 29
    assert set(reliability.runs_in_cells(made(curves))) == {*WITHIN[:3], *ACROSS}


# --- intervals ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_cells(method):
    curves, rollouts = learning(9, 40), np.abs(learning(10, 40)) + 1
    runs = made(curves, rollouts)
    found = reliability.cell_intervals(
        3, runs, num_resamples=200, confidence=0.8, method=method
    )
    assert list(found) == list(HIGHER_IS_BETTER)
    counts = reliability.resample(3, [(40,)], 200)
    within = reliability.cells_within_runs(STEPS, curves, rollouts)
    for name in WITHIN:
        values = np.asarray(getattr(within, name))
        close(found[name].estimate, np.median(values, axis=0))
        # Of a row of numbers each, drawn again as often as they count.
        rows = np.stack(
            [np.median(np.repeat(values, c, axis=0), axis=0) for c in counts[0].T]
        )
        if method == "percentile":
            ends = np.quantile(rows, [0.1, 0.9], axis=0)
            close([found[name].low, found[name].high], ends)
    across = reliability.cells_across_runs(STEPS, curves)
    for name in ACROSS:
        alone = reliability.bootstrap(
            lambda c, name=name: getattr(across(c), name), counts, 0.8, method
        )
        close(found[name], alone)
    for interval in found.values():
        assert (interval.low <= interval.high).all()
    assert set(reliability.cell_intervals(0, made(curves), num_resamples=5)) == {
        *WITHIN[:3],
        *ACROSS,
    }


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("key", [0, "jax"])
def test_keys_and_arrays_of_either_kind(key, kind):
    definition = Definition(grid=50, threshold=0.2)

    def intervals(key, curves):
        return reliability.cell_intervals(key, made(curves), definition, 60)

    curves = learning(11, 24)
    expected = found = intervals(0, curves)
    traced = jnp.asarray(curves)
    if key == "jax" and kind is jnp.asarray:
        found = jax.jit(intervals)(jax.random.key(0), traced)
    elif key == "jax":
        found = jax.jit(lambda key: intervals(key, curves))(jax.random.key(0))
    elif kind is jnp.asarray:
        found = jax.jit(lambda curves: intervals(0, curves))(traced)
    for name, interval in found.items():
        assert (interval.low <= interval.estimate).all()
        assert (interval.estimate <= interval.high).all()
        close(interval.estimate, expected[name].estimate, 1e-4)
        if isinstance(key, int):
            close(interval.low, expected[name].low, 1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_resamples": 0}, "Expected num_resamples to be at least 1, got 0."),
        ({"confidence": 95}, "Expected confidence to be in (0, 1), got 95."),
        (
            {"method": "BCa"},
            "Expected method to be one of percentile, basic, bc, bca, got 'BCa'.",
        ),
    ],
)
def test_bad_intervals(changes, message):
    with pytest.raises(ValueError) as error:
        reliability.cell_intervals(0, made(learning(12, 5)), **changes)
    assert str(error.value) == message


# --- records --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"curves": np.ones((0, 3))},
            "Expected curves of ppo on task to be [runs, time], with one run and one "
            "time at least, got shape (0, 3).",
        ),
        (
            {"curves": np.ones(3)},
            "Expected curves of ppo on task to be [runs, time], with one run and one "
            "time at least, got shape (3,).",
        ),
        (
            {"env_steps": np.arange(4)},
            "Expected env_steps of ppo on task to be [time] = (3,), got shape (4,).",
        ),
        (
            {"env_steps": np.array([1, 2, 2])},
            "Expected env_steps of ppo on task to increase.",
        ),
        (
            {"env_steps": np.array([1, 2, NAN])},
            "Expected env_steps of ppo on task to increase.",
        ),
        (
            {"env_steps": np.array([1, 2, np.inf])},
            "Expected env_steps of ppo on task to be finite.",
        ),
        (
            {"seeds": np.arange(3)},
            "Expected seeds of ppo on task to be of 2 runs, got 3.",
        ),
        (
            {"finite": np.ones(1, bool)},
            "Expected finite of ppo on task to be of 2 runs, got 1.",
        ),
        (
            {"rollouts": np.ones((3, 9))},
            "Expected rollouts of ppo on task to be of 2 runs, got 3.",
        ),
        (
            {"rollouts": np.ones((2, 0))},
            "Expected rollouts of ppo on task to be [runs, episodes], with one episode "
            "at least, got shape (2, 0).",
        ),
        (
            {"rollouts": np.ones(2)},
            "Expected rollouts of ppo on task to be [runs, episodes], with one episode "
            "at least, got shape (2,).",
        ),
    ],
)
def test_bad_records(changes, message):
    runs = made(np.ones((2, 3)), steps=np.arange(1, 4))
    assert check_runs(runs) is runs
    with pytest.raises(ValueError) as error:
        check_runs(runs._replace(**changes))
    assert str(error.value) == message


# --- JAX ------------------------------------------------------------------------------


@pytest.mark.parametrize("x64", [False, True])
def test_jit_and_vmap_equal_numpy(x64):
    sweep = np.stack([learning(seed, 24) for seed in (13, 14)])
    sweep[0, 2] = NAN
    sweep = sweep.astype(np.float32).astype(float)
    definition = Definition(grid=200, threshold=0.1)

    def cells(curves, counts):
        within = reliability.cells_within_runs(STEPS, curves, curves, definition)
        across = reliability.cells_across_runs(STEPS, curves, definition)(counts)
        return within, across

    counts = ones(sweep[0])
    expected = [cells(curves, counts) for curves in sweep]
    with jax.enable_x64(x64):
        got = jax.jit(jax.vmap(lambda x: cells(x, jnp.asarray(counts))))(
            jnp.asarray(sweep)
        )
    tolerance = 1e-10 if x64 else 2e-3
    for i, of_one in enumerate(expected):
        for part, wanted in zip(got, of_one, strict=True):
            for a, b in zip(part, wanted, strict=True):
                assert a.dtype == (np.float64 if x64 else np.float32)
                np.testing.assert_allclose(a[i], b, rtol=tolerance)
