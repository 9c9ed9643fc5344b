"""One study, and algorithms x tasks: numbers by hand, by brute force, by libraries."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats
from rliable import metrics as rliable_metrics

from purejaxppo import reliability
from purejaxppo.reliability import Definition, Runs, permutation_tests
from purejaxppo.reliability.across_tasks import pooled_range, reference_range
from purejaxppo.reliability.analysis import Plan, analyze, score_intervals
from purejaxppo.reliability.caveats import NO_ROLLOUTS
from purejaxppo.reliability.comparison import compare
from purejaxppo.reliability.dispersion_and_risk import (
    cells_across_runs,
    cells_of_levels,
    levels,
)
from purejaxppo.reliability.hypotheses import SCORE, TAIL

NAN = np.nan
STEPS = np.arange(1, 61) * 500
PLAN = Plan(num_resamples=60, num_permutations=200, num_across_permutations=40)
LEFT_OUT = (
    "Some of the 60 bootstrap samples drew too few runs with a value and are left out "
    "of an interval:"
)


def curves(seed, runs, top: Any = 100.0, points=60, low=0.0):
    """`[runs, points]` that rise from about `low` to their tops."""
    noise = np.random.default_rng(seed).normal(size=(runs, points))
    rise = 1 - np.exp(-np.arange(points) / (points / 5))
    return low + (np.broadcast_to(top, runs)[:, None] - low) * rise + noise


def record(
    algorithm="a", task="t", seed=0, runs=24, top: Any = 100.0, low=0.0, **fields
):
    made = curves(seed, runs, top, low=low)
    return Runs(algorithm, task, STEPS, made, np.arange(runs))._replace(**fields)


def close(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


# --- dealings -----------------------------------------------------------------------


def ranks_of(x, y):
    ranked = np.concatenate(permutation_tests.places([x, y]))
    return lambda counts: -(ranked @ counts)[None] / counts.sum(axis=0)


def test_dealings_are_those_of_the_permutation_test():
    generator = np.random.default_rng(1)
    x = [generator.normal(size=n) for n in (7, 9)]
    y = [generator.normal(0.5, size=n) for n in (8, 5)]
    shared = np.random.default_rng(3)
    dealt = [
        permutation_tests.deal(shared, ranks_of(a, b), (len(a), len(b)), 700)
        for a, b in zip(x, y, strict=True)
    ]
    (found,) = permutation_tests.contrasts(dealt)
    expected = permutation_tests.permutation_test(3, x, y, 700)
    assert found.p_value == expected.p_value
    assert found.difference == pytest.approx(expected.difference, abs=1e-12)


def test_a_statistic_of_counts_is_that_of_the_runs_dealt():
    """Against all splits of 3 + 3 runs, one by one."""
    x, y = np.array([1.0, 5.0, 9.0]), np.array([2.0, 3.0, 4.0])
    pooled = np.concatenate([x, y])

    def iqm_and_mean(counts):
        values = pooled[:, None]
        return np.stack(
            [reliability.iqm(values, counts), reliability.mean(values, counts)]
        )

    dealt = permutation_tests.deal(np.random.default_rng(0), iqm_and_mean, (3, 3), 4000)
    close(dealt.observed, [reliability.iqm(x) - reliability.iqm(y), 2.0])
    splits = [
        pooled[list(chosen)].mean() - np.delete(pooled, chosen).mean()
        for chosen in itertools.combinations(range(6), 3)
    ]
    assert set(np.round(dealt.chance[1], 9)) == set(np.round(splits, 9))
    exact = np.mean(np.abs(splits) >= 2 - 1e-9)
    assert permutation_tests.contrasts([dealt])[1].p_value == pytest.approx(
        exact, abs=0.03
    )


def test_what_does_not_exist_has_no_p_value():
    def statistic(counts):
        return np.stack([counts[0] * NAN, 1.0 * counts[0]])

    dealt = permutation_tests.deal(np.random.default_rng(0), statistic, (2, 2), 50)
    missing, there = permutation_tests.contrasts([dealt])
    assert np.isnan(missing.difference) and np.isnan(missing.p_value)
    assert 0 < there.p_value <= 1


def test_levels_are_what_cells_across_runs_are_made_of():
    runs, definition = record(), Definition(alpha=0.25)
    counts = np.random.default_rng(0).integers(0, 2, size=(24, 5))
    of_runs = levels(runs.env_steps, runs.curves, definition)
    expected = cells_across_runs(runs.env_steps, runs.curves, definition)(counts)
    for found, wanted in zip(
        cells_of_levels(of_runs, counts, definition), expected, strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


# --- one study ----------------------------------------------------------------------


def test_an_analysis_is_the_core_called_by_itself():
    rollouts = np.random.default_rng(9).normal(100, 5, size=(24, 40))
    runs = record(rollouts=rollouts, finite=np.arange(24) > 1)
    found = analyze(runs, PLAN, target=95.0)
    final = reliability.final_performance(runs.curves)
    np.testing.assert_array_equal(found.scores, final)
    assert found.summary == reliability.summarize(runs.curves, runs.finite, 0.25)
    counts = reliability.resample(0, [(24,)], 60)
    for name, of in {
        "iqm": reliability.iqm,
        "mean": reliability.mean,
        "median": reliability.median,
        "iqr": lambda s, c: reliability.iqr(s, c).q75 - reliability.iqr(s, c).q25,
        "cvar": lambda s, c: reliability.cvar(s, 0.25, counts=c),
        "optimality_gap": lambda s, c: reliability.optimality_gap(s, 95.0, c),
    }.items():
        expected = reliability.bootstrap(lambda c, of=of: of(final[:, None], c), counts)
        close(found.aggregates[name], expected)
    cells = reliability.cell_intervals(0, runs, num_resamples=60)
    assert list(found.cells) == list(cells)
    for name, interval in cells.items():
        np.testing.assert_array_equal(found.cells[name], interval)
    assert found.runs_in_cells == {
        k: int(v) for k, v in reliability.runs_in_cells(runs).items()
    }
    np.testing.assert_array_equal(
        found.max_drawdown, reliability.max_drawdown(runs.curves)
    )
    assert (found.name, found.num_points, found.num_episodes) == ("a on t", 60, 40)
    assert "optimality_gap" not in analyze(runs, PLAN).aggregates


def test_a_planted_bad_quartile_is_the_tail():
    tops = np.where(np.arange(24) % 4 == 0, 20.0, 100.0)
    found = analyze(record(top=tops), PLAN).aggregates
    assert found["iqm"].estimate > 95
    assert found["cvar"].estimate == pytest.approx(20, abs=2)
    assert found["cvar"].high < found["iqm"].low


def test_runs_without_a_return_are_counted_and_told():
    runs = record(runs=12)
    runs.curves[:3] = NAN
    found = analyze(runs._replace(finite=np.arange(12) != 2), PLAN)
    assert (found.summary.num_runs, int(found.summary.missing)) == (12, 3)
    assert found.aggregates["mean"].estimate == reliability.mean(found.scores[3:])
    assert found.caveats[:2] == [
        "3 of 12 runs without a final return, left out of every statistic of returns.",
        "1 of 12 runs diverged (an update was not finite). A final return from before "
        "is still counted.",
    ]


FEW = "Intervals from fewer than 10 runs are unreliable, as a rule too narrow; there "


@pytest.mark.parametrize(
    ("runs", "wanted"),
    [
        (
            record(runs=3),
            [
                "Quartiles, and the dispersion across runs, need at least 4 runs with "
                "a final return; there are 3.",
                "A tail of 25 % holds no run: the CVaR of final returns needs at least "
                "4 runs with a final return; there are 3.",
                "A tail of 5 % holds no run: the risk across runs needs at least 20 "
                "runs with a final return; there are 3.",
                f"{FEW}are 3 with a final return.",
                NO_ROLLOUTS,
            ],
        ),
        (record(runs=24), [NO_ROLLOUTS]),
        (
            record(env_steps=STEPS[:1], curves=curves(0, 24)[:, :1]),
            [
                "One evaluation point is no curve: there are no cells across time, and "
                "none in units of the curve range.",
                NO_ROLLOUTS,
            ],
        ),
        (
            record(env_steps=STEPS[:10], curves=curves(0, 24, points=10)),
            [
                "A tail of 5 % of a curve holds no change: the short-term risk needs "
                "at least 21 evaluation points, the long-term risk 20; there are 10.",
                "No window of 5 % of the training holds two changes from one "
                "evaluation point to the next at the beginning, middle, end: there is "
                "no dispersion across time then.",
                NO_ROLLOUTS,
            ],
        ),
        (
            record(curves=np.where(np.arange(24)[:, None] < 2, 7.0, curves(0, 24))),
            [
                "The curve range of 2 of 24 runs is not positive (they are constant, "
                "or fall from their first point on): in its units they have no cell. "
                "Where they are more than half, there is no dispersion across runs "
                "either.",
                NO_ROLLOUTS,
                f"{LEFT_OUT} risk across runs (2).",
            ],
        ),
        (
            record(
                rollouts=np.where(np.arange(24)[:, None] < 1, NAN, -1.0 - np.eye(24))
            ),
            [
                "The median return of 23 of 24 policies is not positive: in its units "
                "they have no cells across rollouts.",
                "24 of 576 episodes of the final policies have no return, and are left "
                "out.",
            ],
        ),
        (
            record(rollouts=np.ones((24, 7))),
            [
                "A tail of 5 % holds no episode: the risk across rollouts needs at "
                "least 20 episodes of each policy; there are 7."
            ],
        ),
        (
            record(curves=np.where(np.arange(24)[:, None] < 1, np.inf, curves(0, 24))),
            [
                "1 of 24 runs have infinite returns.",
                NO_ROLLOUTS,
                f"{LEFT_OUT} risk across runs (1).",
            ],
        ),
    ],
    ids=["few", "enough", "point", "short", "flat", "negative", "episodes", "infinite"],
)
def test_what_limits_the_numbers_is_said(runs, wanted):
    assert analyze(runs, PLAN).caveats == wanted


def test_too_few_runs_have_no_quartiles_no_tail_and_no_spread():
    found = analyze(record(runs=3), PLAN)
    for name in ("iqr", "cvar"):
        assert np.isnan(found.aggregates[name]).all()
    assert np.isnan(found.cells["dispersion_across_runs"]).all()
    assert np.isnan(found.cells["risk_across_runs"]).all()
    assert found.aggregates["iqm"].estimate == reliability.iqm(found.scores)


def test_one_point_has_scores_and_no_cells():
    made = curves(0, 24)[:, -1:]
    found = analyze(record(env_steps=STEPS[:1], curves=made), PLAN)
    close(found.aggregates["mean"].estimate, made.mean())
    assert all(np.isnan(interval).all() for interval in found.cells.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 0.6}, "Expected alpha to be in (0, 0.5], got 0.6."),
        ({"alpha": 0.0}, "Expected alpha to be in (0, 0.5], got 0.0."),
        ({"confidence": 1.0}, "Expected confidence to be in (0, 1), got 1.0."),
        ({"confidence": 2}, "Expected confidence to be in (0, 1), got 2."),
        (
            {"num_resamples": 1},
            "Expected num_resamples to be an integer >= 2, got 1.",
        ),
        (
            {"num_permutations": 0},
            "Expected num_permutations to be an integer >= 1, got 0.",
        ),
        ({"seed": -1}, "Expected seed to be an integer >= 0, got -1."),
        ({"seed": 0.5}, "Expected seed to be an integer >= 0, got 0.5."),
        (
            {"correction": "holm"},
            "Expected correction to be one of bh, by, none, got 'holm'.",
        ),
    ],
)
def test_a_plan_out_of_range_is_refused(fields, message):
    with pytest.raises(ValueError) as refused:
        Plan(**fields)
    assert str(refused.value) == message


# --- many -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    """Two algorithms on two tasks; the second one is better, and has no bad quarter."""
    bad = np.where(np.arange(24) % 4 == 0, 20.0, 100.0)
    return [
        record("a", "one", 0, top=bad),
        record("b", "one", 1, top=104.0),
        record("a", "two", 2, top=bad - 150, low=-300.0),
        record("b", "two", 3, top=-50.0, low=-300.0),
    ]


@pytest.fixture(scope="module")
def compared(records):
    return compare(records, PLAN, {"two": -300.0}, {"two": 0.0})


def test_ranges_are_given_or_measured(records, compared):
    assert compared.ranges["two"] == (-300.0, 0.0, True)
    first = np.concatenate([records[0].curves[:, 0], records[1].curves[:, 0]])
    final = np.concatenate(
        [reliability.final_performance(runs.curves) for runs in records[:2]]
    )
    close(compared.ranges["one"], (np.median(first), np.quantile(final, 0.95), False))
    assert pooled_range(first, final) == compared.ranges["one"][:2]
    measured = reference_range(first, final, high=500.0)
    close(measured, (np.median(first), 500.0, False))
    assert np.isnan(reference_range(first, final, low=1e9)[:2]).all()


def scores_of(compared, algorithm, normalised=True):
    """`[runs, tasks]`."""
    columns = []
    for analysis in compared.analyses:
        if analysis.algorithm == algorithm:
            low, high, _ = compared.ranges[analysis.task]
            scale = (low, high) if normalised else (0.0, 1.0)
            columns.append((analysis.scores - scale[0]) / (scale[1] - scale[0]))
    return np.stack(columns, axis=1)


def test_pooled_aggregates_and_their_intervals_agree_with_rliable(compared):
    """All resamples of both tasks' runs, one by one."""
    counts = reliability.resample(0, [(24,)] * 4, 60)
    known = {
        "iqm": rliable_metrics.aggregate_iqm,
        "mean": rliable_metrics.aggregate_mean,
        "median": rliable_metrics.aggregate_median,
        "optimality_gap": rliable_metrics.aggregate_optimality_gap,
    }
    for i, algorithm in enumerate("ab"):
        scores, drawn = scores_of(compared, algorithm), counts[2 * i : 2 * i + 2]
        resampled = [
            np.stack(
                [np.repeat(scores[:, task], drawn[task][:, k]) for task in range(2)],
                axis=1,
            )
            for k in range(60)
        ]
        for name, of in known.items():
            found = compared.pooled.aggregates[name][algorithm]
            close(found.estimate, of(scores))
            values = [of(sample) for sample in resampled]
            close([found.low, found.high], np.quantile(values, [0.025, 0.975]))


def test_profiles_are_shares_of_all_runs(compared):
    for algorithm in "ab":
        scores = scores_of(compared, algorithm)
        profile = compared.pooled.profiles[algorithm]
        expected = [(scores > tau).mean() for tau in compared.pooled.thresholds]
        close(profile.estimate, expected)
        assert (profile.low <= profile.estimate).all()
        assert (profile.estimate <= profile.high).all()
    assert compared.pooled.thresholds[[0, -1]].tolist() == [
        min(0, *(scores_of(compared, name).min() for name in "ab")),
        max(1, *(scores_of(compared, name).max() for name in "ab")),
    ]


def test_mean_ranks_are_those_of_scipy(compared):
    x, y = (scores_of(compared, name, normalised=False) for name in "ab")
    ranked = scipy.stats.rankdata(-np.concatenate([x, y]), axis=0)
    # From the ranks among 48 runs to those among 2 algorithms.
    for name, of in (("a", ranked[:24]), ("b", ranked[24:])):
        close(compared.pooled.ranks[name].estimate, 0.5 + (of.mean() - 0.5) / 24)


def test_probabilities_of_improvement_are_of_all_pairs(compared):
    (pair,) = compared.pairs
    x, y = (scores_of(compared, name, normalised=False) for name in "ab")
    each = []
    for i, task in enumerate(("one", "two")):
        better = [(a > b) + 0.5 * (a == b) for a in x[:, i] for b in y[:, i]]
        close(pair.improvement[task].estimate, np.mean(better))
        each.append(np.mean(better))
    close(pair.overall_improvement.estimate, np.mean(each))
    assert pair.overall_improvement.low < np.mean(each) < pair.overall_improvement.high


def test_findings_are_permutation_tests(compared):
    found = {(f.measure, f.frame, f.task): f for f in compared.findings}
    x, y = (scores_of(compared, name, normalised=False).T for name in "ab")
    score = permutation_tests.permutation_test(0, list(x), list(y), 200)
    close(found[SCORE, None, None][5:7], score)
    first = permutation_tests.permutation_test(0, [x[0]], [y[0]], 200)
    close(found[SCORE, None, "one"][5:7], first)
    within = {(a.algorithm, a.task): a.within for a in compared.analyses}
    risk = [[within[n, t].short_term_risk for t in ("one", "two")] for n in "ab"]
    expected = permutation_tests.permutation_test(0, risk[0], risk[1], 200)
    close(found["short_term_risk", None, None][5:7], expected)
    deep = [[within[n, t].long_term_risk for t in ("one", "two")] for n in "ab"]
    expected = permutation_tests.permutation_test(0, deep[0], deep[1], 200, False)
    close(found["long_term_risk", None, None][5:7], expected)


def test_tails_and_cells_across_runs_differ_by_themselves(records, compared):
    found = {(f.measure, f.frame, f.task): f for f in compared.findings}
    tails = [reliability.cvar(scores_of(compared, name), 0.25) for name in "ab"]
    close(found[TAIL, None, "one"].difference, tails[0][0] - tails[1][0])
    close(found[TAIL, None, None].difference, np.mean(tails[0] - tails[1]))
    ones = np.ones((24, 1), int)
    cells = [
        cells_across_runs(runs.env_steps, runs.curves, PLAN.definition)(ones)
        for runs in records
    ]
    end = [-float(c.dispersion_across_runs[2, 0]) for c in cells]
    close(
        found["dispersion_across_runs", "end", None].difference,
        np.mean([end[0] - end[1], end[2] - end[3]]),
    )
    assert found[TAIL, None, "one"].p_value == 1 / 201


def test_tests_are_corrected_by_family(compared):
    for scores in (True, False):
        family = [
            f for f in compared.findings if (f.measure in (SCORE, TAIL)) == scores
        ]
        family = [f for f in family if not np.isnan(f.p_value)]
        expected = scipy.stats.false_discovery_control([f.p_value for f in family])
        close([f.corrected for f in family], expected)
    assert [(f.measure, f.task) for f in compared.findings][:4] == [
        (SCORE, "one"),
        (TAIL, "one"),
        (SCORE, "two"),
        (TAIL, "two"),
    ]


def test_one_task_is_not_tested_twice(records):
    found = compare(records[:2], PLAN).findings
    assert [f.task for f in found if f.measure in (SCORE, TAIL)] == ["one", "one"]


def test_power_is_that_of_the_scores(compared):
    (pair,) = compared.pairs
    x, y = (scores_of(compared, name, normalised=False)[:, 0] for name in "ab")
    expected = reliability.power(0, x, y, level=1 - 0.95, num_resamples=500)
    found = pair.power["one"]
    assert found is not None and found.needed == expected.needed
    np.testing.assert_array_equal(found.power, expected.power)


def test_few_runs_do_not_say_how_many_it_takes():
    records = [record("a", runs=9), record("b", seed=1, runs=30)]
    assert compare(records, PLAN).pairs[0].power == {"t": None}


def test_a_run_without_a_return_is_worse_than_any():
    x, y = record("a", seed=0), record("b", seed=0)
    x.curves[:6] = NAN
    pair = compare([x, y], PLAN).pairs[0]
    # 18 runs of 24 as in y: better than i, equal to one, for i below it.
    final = reliability.final_performance(y.curves)
    wins = [(final[6:, None] > final).sum(), 0.5 * 18]
    close(pair.improvement["t"].estimate, sum(wins) / 24**2)


def test_cells_that_some_lack_are_not_compared(records):
    rollouts = np.full((24, 30), 5.0)
    some = [records[0]._replace(rollouts=rollouts), records[1]]
    found = {f.measure for f in compare(some, PLAN).findings}
    assert not any("rollouts" in name for name in found)
    both = [runs._replace(rollouts=rollouts) for runs in records[:2]]
    found = {f.measure for f in compare(both, PLAN).findings}
    assert {"dispersion_across_rollouts", "risk_across_rollouts"} <= found


def test_too_few_runs_are_not_compared_by_quartiles_and_tails():
    found = compare([record("a", runs=3), record("b", seed=1, runs=3)], PLAN).findings
    for finding in found:
        missing = finding.measure in (
            TAIL,
            "dispersion_across_runs",
            "risk_across_runs",
        )
        assert np.isnan(finding.p_value) == missing
        assert np.isnan(finding.corrected) == missing


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "Expected two algorithms at least, to compare them, got none."),
        ([("a", "t")], "Expected two algorithms at least, to compare them, got a."),
        (
            [("a", "t"), ("a", "u")],
            "Expected two algorithms at least, to compare them, got a.",
        ),
        (
            [("a", "t"), ("b", "t"), ("a", "t")],
            "Expected each algorithm once on each task, got a on t 2 times.",
        ),
        (
            [("a", "t"), ("b", "u")],
            "Each algorithm needs runs on every task; there are none of a on u, none "
            "of b on t.",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(names, message):
    with pytest.raises(ValueError) as refused:
        compare([record(*name) for name in names], PLAN)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("lows", "highs", "message"),
    [
        ({}, {"x": 1.0}, "Expected reference scores of t, got one of x."),
        (
            {"t": 1.0},
            {"t": 1.0},
            "Expected reference scores of t with high > low, got low 1 and high 1.",
        ),
    ],
)
def test_references_that_are_none_are_refused(lows, highs, message):
    with pytest.raises(ValueError) as refused:
        compare([record("a"), record("b")], PLAN, lows, highs)
    assert str(refused.value) == message


def test_a_comparison_says_what_limits_it(records):
    longer = records[1]._replace(env_steps=2 * STEPS)
    few = records[0]._replace(
        curves=records[0].curves[:12], seeds=records[0].seeds[:12]
    )
    plan = Plan(num_resamples=20, num_permutations=20, num_across_permutations=20)
    found = compare([few, longer], plan, {"one": 0.0}, {"one": 100.0}).caveats
    assert found == [
        "The numbers of runs differ (12 of a on one, 24 of b on one): in aggregates "
        "and profiles of all tasks a task weighs as much as it has runs, but for mean "
        "and median. In ranks, tests and probabilities tasks weigh alike.",
        "On one training was not of one length: a 30,000, b 60,000 steps.",
        "2 tests of final returns are corrected together, and made with as few as 20 "
        "permutations: a difference in only one of them cannot be found; with 39 it "
        "could.",
        "8 tests of cells are corrected together, and made with as few as 20 "
        "permutations: a difference in only one of them cannot be found; with 159 it "
        "could.",
    ]


def test_without_a_range_nothing_is_normalised():
    flat = [
        record(name, curves=np.full((12, 60), 5.0), seeds=np.arange(12))
        for name in "ab"
    ]
    found = compare(flat, PLAN)
    assert found.caveats[0] == (
        "No range of final returns on t: what counts as 1 (given, or where the best "
        "runs end) is no higher than what counts as 0 (given, or where runs begin). "
        "Left out of everything normalised."
    )
    for of in found.pooled.aggregates.values():
        assert np.isnan(of["a"]).all()
    # What is not normalised is compared all the same.
    tests = {f.measure: f for f in found.findings}
    assert tests[SCORE].p_value == tests[TAIL].p_value == 1
    assert tests[SCORE].difference == tests[TAIL].difference == 0


def test_scores_alone_have_intervals_too():
    final = np.array([1.0, 2.0, 3.0, 4.0, NAN])
    found = score_intervals(final, PLAN, target=3.0)
    assert found["mean"].estimate == 2.5
    assert found["iqr"].estimate == 1.5
    assert found["optimality_gap"].estimate == 3 - 9 / 4
