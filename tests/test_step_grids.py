"""Curves by environment steps: no figure depends on how often runs were logged."""

import numpy as np
import pandas as pd
import pytest

from purejaxppo import reliability
from purejaxppo.reliability import Plan, Runs, analyze, compare, grids
from purejaxppo.reporting.figures import smoothed
from purejaxppo.results import ReadingWarning, final_scores, read

NAN, TOTAL, WIDTH = np.nan, 200_000, 500
PLAN = Plan(num_resamples=20, num_permutations=400, num_across_permutations=100)


def record(steps, curves, **changes):
    curves = np.atleast_2d(np.asarray(curves, float))
    found = Runs("a", "t", np.asarray(steps), curves, np.arange(len(curves)))
    return found._replace(**changes)


def rows(path, runs, algorithm="a"):
    """Write a table of runs, each of (steps, returns), and read it."""
    tables = [
        pd.DataFrame({"seed": i, "env_steps": steps, "episode_return": returns})
        for i, (steps, returns) in enumerate(runs)
    ]
    table = pd.concat(tables).assign(algorithm=algorithm, task="t")
    table.to_csv(path, index=False)
    return read(path)[0]


# --- Which grid ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "regular"),
    [
        ([7], True),
        ([64, 128, 192], True),
        ([0, 10, 20, 30], True),
        ([0.1, 0.2, 0.30000000000000004], True),
        ([5, 15, 25], True),
        ([10, 20, 31], False),
        ([1, 2, 4, 8], False),
        ([50, 60, 70], False),  # From the beginning on it would be 10, 20, ...
        ([10**15 + 1, 2 * 10**15 + 2, 3 * 10**15 + 3], True),
    ],
)
def test_a_grid_is_of_equally_spaced_steps_from_the_beginning_on(steps, regular):
    assert grids.is_regular(np.array(steps)) is regular


def test_runs_on_a_grid_stay_as_they_are():
    curves = np.array([[1.0, NAN, 3.0], [NAN, NAN, 0.1]])
    regular = record([64, 128, 192], curves)
    assert grids.on_regular_grid(regular) is regular
    assert grids.filled(regular) is regular.curves
    (same,) = grids.on_one_grid([regular])
    assert same is regular


def test_late_and_early_runs_are_unknown_outside_their_rows():
    """Bins of 2 steps: (0, 2], (2, 4], ...; the second run starts late and stops."""
    steps = np.array([1, 2, 60, 101, 200])
    curves = [[1, 3, NAN, 5, 7], [NAN, NAN, 4, 6, NAN]]
    found = grids.on_regular_grid(record(steps, curves))
    assert found.gaps and found.env_steps.tolist() == list(range(2, 201, 2))
    first, second = found.curves
    assert (first[0], first[50], first[99]) == (2, 5, 7)
    assert (second[29], second[50]) == (4, 6)
    assert (~np.isnan(found.curves)).sum(axis=1).tolist() == [3, 2]
    filled = grids.filled(found)
    assert np.unique(filled[0], return_counts=True)[1].tolist() == [50, 49, 1]
    assert np.isnan(filled[1, :29]).all() and np.isnan(filled[1, 51:]).all()
    assert (filled[1, 29:50] == 4).all() and filled[1, 50] == 6
    # The last episode of a run may still have been going on at the end.
    cut = grids.filled(found._replace(curves=np.where(first == 7, NAN, found.curves)))
    assert np.isnan(cut[0, 51:]).all()
    going = found.curves.copy()
    going[0, [95, 99]] = 7, NAN
    assert (grids.filled(found._replace(curves=going))[0, 95:] == 7).all()
    # A run's last value is its final return, as before, and its end is told.
    said = analyze(record(steps, curves), PLAN)
    assert said.scores.tolist() == [7, 6]
    assert any("no observation in the last tenth" in c for c in said.caveats)


@pytest.mark.parametrize("last", [1, 3, 99, 100, 101, 12_345, 2**53 - 1])
def test_bins_are_of_equal_width_whatever_the_last_step_is(last):
    steps = np.unique(np.array([1, max(1, last // 3), last]))
    ends, place = grids.bins(steps, min(100, last))
    assert ends[-1] == last and len(ends) == min(100, last)
    widths = np.diff(np.concatenate([[0], ends]))
    assert widths.max() - widths.min() <= 1
    for step, k in zip(steps, place, strict=True):
        assert (0 if k == 0 else ends[k - 1]) < step <= ends[k]


def test_steps_that_are_no_whole_numbers():
    found = grids.on_regular_grid(record([0.1, 0.15, 1.0], [[1, 2, 3]]))
    np.testing.assert_allclose(found.env_steps, np.arange(1, 101) / 100)
    seen = np.flatnonzero(~np.isnan(found.curves[0]))
    assert seen.tolist() == [9, 14, 99]


# --- Figures by hand ----------------------------------------------------------------


def uneven(path):
    """100 episodes of a step and a return of 0, then two of 50 steps and one of 80."""
    steps = np.concatenate([np.arange(1, 101), [150, 200]])
    with pytest.warns(ReadingWarning, match=r"^Uneven: .* 100 bins"):
        return rows(path, [(steps, np.where(steps > 100, 80.0, 0.0))])


def test_figures_of_a_log_by_episodes_are_by_steps(tmp_path):
    runs = uneven(tmp_path / "a.csv")
    # Bins of 2 steps: 50 of 0, row 150 in the 75th, row 200 in the 100th.
    assert runs.env_steps.tolist() == list(range(2, 201, 2))
    assert reliability.final_performance(runs.curves).tolist() == [80]
    assert final_scores([runs])["a"].tolist() == [[80]]
    found = analyze(runs, PLAN)
    assert found.scores.tolist() == [80] and found.curve_range.tolist() == [80]
    assert reliability.curve_range(reliability.filled(runs)).tolist() == [80]
    steps, curves = smoothed(runs)
    assert steps.tolist() == runs.env_steps.tolist()
    assert (curves == np.where(steps >= 150, 80, 0)).all()


@pytest.mark.filterwarnings("ignore::purejaxppo.results.ReadingWarning")
def test_drawdowns_count_by_steps(tmp_path):
    """A rise to 100 in 90 rows, then, in half of the steps, rows of 40, 40 and 100."""
    steps = np.concatenate([np.arange(11, 101), [150, 196, 200]])
    returns = np.concatenate([np.linspace(11, 100, 90), [40, 40, 100]])
    runs = rows(tmp_path / "a.csv", [(steps, returns)])
    # The best bin is (98, 100] of 99 and 100. Bins 75 to 99 are at 40, the last at 100:
    # a quarter of the steps, but 2 of the 48 bins with a row.
    deep = reliability.drawdown(reliability.filled(runs))[0]
    assert (deep == 59.5).sum() == 25
    found = analyze(runs, Plan(num_resamples=2))
    unit = found.curve_range[0]
    np.testing.assert_allclose(found.within.long_term_risk, 59.5 / unit)
    assert found.max_drawdown.tolist() == [59.5]


def test_the_same_record_in_memory_has_the_same_figures(tmp_path):
    runs = uneven(tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    raw = record(table.env_steps, [table.episode_return])
    assert grids.is_regular(raw.env_steps) is False
    ours, theirs = analyze(raw, PLAN), analyze(runs, PLAN)
    for name in ("scores", "curve_range", "max_drawdown", "num_points"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(smoothed(raw)[1], smoothed(runs)[1])
    assert final_scores([raw]) == final_scores([runs])


def test_one_row_a_run_is_its_final_return(tmp_path):
    with pytest.warns(ReadingWarning, match="Uneven"):
        runs = rows(tmp_path / "a.csv", [([90], [1.0]), ([100], [2.0]), ([97], [3.0])])
    assert analyze(runs, PLAN).scores.tolist() == [1, 2, 3]


# --- However often it was logged ----------------------------------------------------


def play(seed, length_of):
    """Play a run: the ends of its episodes, and returns that rise and then stay.

    Args:
        seed: of the run.
        length_of: the share of the training that is over -> mean length of an episode.
    """
    rng = np.random.default_rng(seed)
    ends, returns, step = [], [], 0
    while step < TOTAL:
        done = step / TOTAL
        step += int(rng.integers(0.5 * length_of(done), 1.5 * length_of(done))) + 1
        ends.append(step)
        returns.append(20 + 460 * min(1, 2 * done) + rng.normal(0, 5))
    return np.array(ends[:-1]), np.array(returns[:-1])


def each(ends, returns):
    return ends, returns


def tenth(ends, returns):
    groups = len(ends) // 10
    return ends[9::10], returns[: 10 * groups].reshape(groups, 10).mean(axis=1)


def on_steps(ends, returns):
    place = (ends - 1) // WIDTH
    total = np.bincount(place, returns, TOTAL // WIDTH)
    count = np.bincount(place, minlength=TOTAL // WIDTH)
    steps = WIDTH * np.arange(1, TOTAL // WIDTH + 1)
    return steps, np.where(count > 0, total / np.maximum(count, 1), NAN)


LENGTHS = {
    "longer and longer": lambda done: 20 + 480 * done,
    "shorter and shorter": lambda done: 500 - 480 * done,
    "long at last": lambda done: 20 if done < 0.5 else 500,
    "of one length": lambda done: 100,
}


@pytest.mark.filterwarnings("ignore::purejaxppo.results.ReadingWarning")
@pytest.mark.parametrize("lengths", LENGTHS)
def test_figures_do_not_depend_on_how_often_runs_were_logged(tmp_path, lengths):
    played = [play(seed, LENGTHS[lengths]) for seed in range(6)]
    path = tmp_path / "a.csv"
    logged = {of: rows(path, [of(*run) for run in played]) for of in LOGS}
    found = {of: analyze(runs, PLAN) for of, runs in logged.items()}
    for of, ours in found.items():
        # The truth: 480 at the end, from 20 + some at the start of a bin.
        np.testing.assert_allclose(ours.scores, 480, rtol=0.01)
        np.testing.assert_allclose(ours.curve_range, 460, rtol=0.05)
        assert ours.max_drawdown.max() < 30
        steps, curves = smoothed(logged[of])
        truth = 20 + 460 * np.minimum(1, 2 * steps / TOTAL)
        # A value is of the time before its row: of up to ten episodes of 500 steps.
        assert np.nanmax(np.abs(curves - truth)) < 45
        # 460 in half of the steps, of a range of about 460, and then no more.
        level = ours.cells["dispersion_across_runs"].estimate
        assert np.nanmax(level) < 0.03
    together = [r._replace(algorithm=of.__name__) for of, r in logged.items()]
    compared = compare(together, PLAN)
    for test in compared.findings:
        assert test.measure not in ("score", "tail") or test.corrected > PLAN.level
    # What noise makes of the last digits differs, but not by how often it was logged.
    for name in ("short_term_risk", "long_term_risk"):
        values = [a.cells[name].estimate for a in compared.analyses]
        assert 0.5 < values[0] / values[1] < 2 and 0.5 < values[0] / values[2] < 2


LOGS = (each, tenth, on_steps)


@pytest.mark.filterwarnings("ignore::purejaxppo.results.ReadingWarning")
def test_what_was_logged_more_often_is_not_less_reliable(tmp_path):
    """Cells of a comparison are made of equally many points."""
    rng = np.random.default_rng(0)
    ends = np.arange(1, 1001) * 100
    curves = np.minimum(1, ends / 5e4) + rng.normal(0, 0.2, (16, 1000))
    more = curves[:, :].copy()
    fine = record(ends, more[:8], algorithm="fine", seeds=np.arange(8))
    means = more[8:].reshape(8, 50, 20).mean(axis=2)
    coarse = record(ends[19::20], means, algorithm="coarse", seeds=np.arange(8))
    found = compare([fine, coarse], PLAN)
    assert [a.num_points for a in found.analyses] == [50, 50]
    cells = [f for f in found.findings if f.measure not in ("score", "tail")]
    assert np.nanmin([f.corrected for f in cells]) > PLAN.level
    told = "On t curves differ in their points (fine 1,000, coarse 50) or have gaps: "
    assert any(c.startswith(told) for c in found.caveats)
    # A report's final returns are those of the comparison.
    np.testing.assert_array_equal(found.analyses[0].scores, analyze(fine, PLAN).scores)
    assert analyze(fine, PLAN).num_points == 1000
    alike = compare([fine, fine._replace(algorithm="b")], PLAN)
    assert not any("in their points" in c for c in alike.caveats)


def test_final_scores_have_no_curve_to_be_coarser_than():
    curve = record(np.arange(1, 61), np.ones((4, 60)))
    score = record([1], np.ones((4, 1)), algorithm="b")
    ours, theirs = grids.on_one_grid([curve, score])
    assert ours is curve and theirs is score


# --- Pictures -----------------------------------------------------------------------


@pytest.mark.parametrize("time", [1, 2, 99, 100, 101, 195, 199, 200, 1009])
def test_no_bin_of_a_picture_has_fewer_points_than_others_but_one(time):
    steps = 10 * np.arange(1, time + 1)
    ends, counts = reliability.thinned(steps, np.ones((1, time)))
    sizes = np.diff(np.concatenate([[0], ends // 10]))
    assert len(ends) <= 100 and ends[-1] == 10 * time
    assert sizes.min() == -(-time // 100) and sizes.max() <= sizes.min() + 1
    assert (counts == 1).all()


def test_bins_of_a_picture_by_hand():
    curves = np.array([[1.0, 3, NAN, 5, NAN], [NAN, NAN, 4, -np.inf, 0]])
    steps, means = reliability.thinned(np.arange(1, 6), curves, points=2)
    assert steps.tolist() == [5]
    np.testing.assert_array_equal(means, [[3], [-np.inf]])
    steps, means = reliability.thinned(np.arange(1, 6), curves, points=3)
    assert steps.tolist() == [2, 5]
    np.testing.assert_array_equal(means, [[2, 5], [NAN, -np.inf]])
    with pytest.raises(ValueError, match=r"^points=0 must be at least 1\.$"):
        reliability.thinned(np.arange(1, 6), curves, points=0)
    same, as_they_are = reliability.thinned(np.arange(1, 6), curves, points=5)
    np.testing.assert_array_equal(as_they_are, curves)
    assert same.tolist() == [1, 2, 3, 4, 5]


def test_points_of_their_own_are_as_many_as_gaps_leave():
    steps, curve = np.arange(1, 101), np.full(100, NAN)
    curve[4::5] = 1.0  # A row every 5 points: gaps of 5, of which 4.5 may be a bin.
    runs = record(steps, curve, gaps=True)
    assert grids.resolution(runs) == 22  # 100 / 4.5
    assert grids.resolution(runs._replace(gaps=False)) == 100
    curve[:50] = 1.0  # 10 gaps of 5 points leave a tenth of 99 from 4.01 on.
    assert grids.resolution(record(steps, curve, gaps=True)) == 24  # 100 / 4.1
    two = record([1, 2, 3], [[1, NAN, 2]], gaps=True)
    assert grids.resolution(two) == 2  # Two rows are two points.
    long = np.where(np.arange(20_000) % 40, NAN, 1.0)
    found = record(np.arange(1, 20_001), long, gaps=True)
    assert grids.resolution(found) == 20_000 // 36


@pytest.mark.filterwarnings("ignore::purejaxppo.results.ReadingWarning")
def test_steps_at_which_a_run_has_no_row_are_gaps_on_a_grid_too(tmp_path):
    """50 rows of 0, each step; then 80 at 75 and at 100; another run has all steps."""
    steps = np.concatenate([np.arange(1, 51), [75, 100]])
    first = steps, np.where(steps > 50, 80.0, 0.0)
    second = np.arange(1, 101), np.zeros(100)
    runs = rows(tmp_path / "a.csv", [first, second])
    assert runs.gaps and runs.env_steps.tolist() == list(range(1, 101))
    assert analyze(runs, PLAN).curve_range.tolist() == [80, 0]
    np.testing.assert_array_equal(runs.curves[0, 49:52], [0, NAN, NAN])
    whole = rows(tmp_path / "b.csv", [second, second])
    assert not whole.gaps
