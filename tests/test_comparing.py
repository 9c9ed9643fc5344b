"""Comparisons where something lacks: a return, a unit, a task, runs, a range."""

import dataclasses

import numpy as np
import pytest

from purejaxppo import reliability
from purejaxppo.reliability import Definition, Plan, Runs, compare, comparison
from purejaxppo.reliability.across_tasks import reference_range
from purejaxppo.reliability.caveats import title
from purejaxppo.reliability.hypotheses import SCORE, TAIL
from purejaxppo.reliability.permutation_tests import corrected
from purejaxppo.reporting.comparison_page import caveats_of
from purejaxppo.reporting.conclusions import verdicts

NAN, STEPS = np.nan, np.arange(1, 61) * 500
PLAN = Plan(num_resamples=40, num_permutations=400, num_across_permutations=40)


def record(algorithm, task="t", seed=0, runs=24, top: object = 100.0, noise=1.0):
    """Runs that rise from about 0 to their tops."""
    rise = 1 - np.exp(-np.arange(60) / 12)
    around = noise * np.random.default_rng(seed).normal(size=(runs, 60))
    curves = np.broadcast_to(np.asarray(top, float), runs)[:, None] * rise + around
    return Runs(algorithm, task, STEPS, curves, np.arange(runs))


def findings_of(found, task):
    return {(f.measure, f.frame): f for f in found.findings if f.task == task}


def test_over_all_tasks_the_tests_side_with_the_probabilities():
    slight = np.arange(128.0) + 200
    records = [
        record("a", "many", 0, 128, slight + 20),
        record("b", "many", 1, 128, slight),
        record("a", "few", 2, 16, 100),
        record("b", "few", 3, 16, 140),
    ]
    found = compare(records, PLAN)
    (pair,) = found.pairs
    overall = float(pair.overall_improvement.estimate)
    assert pair.improvement["many"].estimate > 0.5 and overall < 0.5
    test = findings_of(found, None)[SCORE, None]
    assert test.difference == pytest.approx(2 * overall - 1)
    ranks = found.pooled.ranks
    assert ranks["b"].estimate < ranks["a"].estimate
    assert ranks["a"].estimate + ranks["b"].estimate == pytest.approx(3)


def test_runs_are_counted_on_the_tasks_that_are_spoken_of():
    records = [
        record("a", "alike", 0, 12),
        record("b", "alike", 1, 12),
        record("a", "apart", 2, 30),
        record("b", "apart", 3, 30, 140),
    ]
    said = verdicts(compare(records, PLAN), PLAN)[0]
    assert "(apart); on alike they cannot be told apart with 12 runs each. " in said


def test_runs_without_a_unit_are_neither_good_nor_bad():
    steady = record("steady")._replace(curves=np.full((24, 60), 500.0))
    noisy = record("noisy", noise=20.0)
    found = findings_of(compare([steady, noisy], PLAN), None)
    for name in ("dispersion_across_time", "short_term_risk", "long_term_risk"):
        of_cell = [f for (measure, _), f in found.items() if measure == name]
        assert of_cell and all(np.isnan(f.p_value) for f in of_cell)
    # Where only some lack it, the others are compared as if these were not there.
    some = steady.curves.copy()
    some[:20] = record("steady", noise=1.0).curves[:20]
    part = compare([steady._replace(curves=some), noisy], PLAN)
    test = findings_of(part, None)["long_term_risk", None]
    ours, theirs = (analysis.within.long_term_risk for analysis in part.analyses)
    ours = ours[~np.isnan(ours)]
    assert len(ours) == 20
    expected = np.sign(np.subtract.outer(theirs, ours)).mean()
    assert test.difference == pytest.approx(expected)


def test_runs_without_a_return_end_in_the_tail():
    failing = record("failing", runs=40)
    failing.curves[:10] = NAN
    poor = record("poor", seed=1, runs=40, top=np.where(np.arange(40) < 10, 10, 100))
    test = findings_of(compare([failing, poor], PLAN), "t")[TAIL, None]
    assert abs(test.difference) < 0.05 and test.p_value > 0.2


def test_an_algorithm_without_any_return_is_not_compared():
    lacking = record("lacking")
    lacking.curves[:] = NAN
    found = compare([lacking, record("there", seed=1)], PLAN)
    assert all(np.isnan(f.p_value) for f in found.findings)
    assert verdicts(found, PLAN) == [
        "lacking and there cannot be compared on t: all runs of one of them lack a "
        "final return."
    ]


def test_an_algorithm_that_lacks_a_task_is_not_pooled():
    names = [(name, task) for name in "ab" for task in ("easy", "hard")]
    records = [record(*name, seed) for seed, name in enumerate(names)]
    records[1].curves[:] = NAN  # a on hard
    found = compare(records, PLAN)
    for of in found.pooled.aggregates.values():
        assert np.isnan(of["a"].estimate) and np.isfinite(of["b"].estimate)
    assert any("No run of a on hard has a final return" in c for c in found.caveats)


def test_a_range_is_of_finite_returns():
    first, final = np.array([0.0, 1.0, 2.0]), np.array([9.0, 10.0, np.inf])
    assert reference_range(first, final) == (1.0, pytest.approx(9.95), False)


def test_a_tail_that_only_all_tasks_together_show_is_said():
    names = [(name, task) for name in "ab" for task in ("one", "two")]
    found = compare([record(*n, seed) for seed, n in enumerate(names)], PLAN)
    changed = [
        f._replace(corrected=0.01, difference=1.0)
        if (f.measure, f.task) == (TAIL, None)
        else f._replace(corrected=0.9)
        for f in found.findings
    ]
    said = verdicts(found._replace(findings=changed), PLAN)
    expected = (
        "Over all 2 tasks together the worst 25 % of the runs of a end higher than "
        "those of b (p = 0.01)."
    )
    assert expected in said


@pytest.mark.parametrize("correction", ["bh", "by", "none"])
def test_as_many_permutations_as_are_needed_are_enough(correction):
    plan = dataclasses.replace(PLAN, correction=correction, num_permutations=5)
    records = [record(name, seed=seed) for seed, name in enumerate("abc")]
    (said,) = (c for c in compare(records, plan).caveats if "of final returns are" in c)
    tests, needed = int(said.split()[0]), int(said.split()[-3].replace(",", ""))

    def least(permutations):
        p_values = np.ones(tests)
        p_values[0] = 1 / (1 + permutations)
        return corrected(p_values, correction)[0]

    assert least(needed) <= plan.level * (1 + 1e-9) < least(needed - 1)


def finals(algorithm, task, scores):
    scores = np.asarray(scores, float)[:, None]
    return Runs(algorithm, task, np.array([1]), scores, np.arange(len(scores)))


def apart(sizes):
    """The most extreme data: on each task all of a's runs end above all of b's.

    Args:
        sizes: runs of a and of b on each task.
    """
    return [
        runs
        for i, (n, m) in enumerate(sizes)
        for runs in (
            finals("a", f"t{i}", 1000 + np.arange(n)),
            finals("b", f"t{i}", np.arange(m)),
        )
    ]


def told_to_be_few(found):
    starts = [c.split(" there are too few runs")[0] for c in found.caveats]
    return {s.removeprefix("On ") for s in starts if s.startswith("On t")} & set(
        found.tasks
    )


SIZES = [
    *([(n, n)] * tasks for n in (3, 4, 5) for tasks in (1, 3)),
    *([(n, m)] for n, m in ((2, 6), (2, 8), (3, 4), (5, 3), (1, 60))),
    [(4, 4), (3, 3)],
    [(4, 4), (3, 3), (3, 3), (3, 3)],
]


@pytest.mark.parametrize(
    ("sizes", "correction"),
    [
        *[(sizes, "bh") for sizes in SIZES],
        *[([(n, n)], correction) for n in (3, 4, 5) for correction in ("by", "none")],
    ],
    ids=str,
)
def test_too_few_runs_are_told_where_no_data_could_show_a_difference(sizes, correction):
    plan = Plan(
        num_resamples=2,
        num_permutations=4000,
        num_across_permutations=1,
        correction=correction,
    )
    found = compare(apart(sizes), plan)
    shown = {f.task for f in found.findings if f.corrected <= plan.level}
    assert told_to_be_few(found) == set(found.tasks) - shown


def test_what_is_told_of_few_runs_does_not_depend_on_what_they_reach():
    few = compare([record("a", runs=3, top=5), record("b", seed=1, runs=3)], PLAN)
    told = "On t there are too few runs for a difference to be found: 6 can be dealt to"
    assert any(c.startswith(f"{told} two algorithms in 20 ways") for c in few.caveats)
    alike = compare([record("a", runs=4), record("b", seed=1, runs=4)], PLAN)
    assert not any("too few runs" in c for c in alike.caveats)


def test_three_algorithms_of_few_runs_that_are_told_apart_are_not_too_few():
    records = [finals(n, "t", 100 * i + np.arange(4)) for i, n in enumerate("abc")]
    found = compare(records, dataclasses.replace(PLAN, num_permutations=4000))
    assert all(f.corrected <= 0.05 for f in found.findings if f.measure == SCORE)
    assert not any("too few runs" in c for c in found.caveats)


# --- intervals, and what is said of them ----------------------------------------------


def test_resamples_without_a_number_are_told():
    scores = 100 + 3.0 * np.arange(7)
    scores[2] = NAN
    plan = Plan(num_resamples=500, num_permutations=50, num_across_permutations=10)
    records = [finals("a", "t", scores), finals("b", "t", scores[:5])]
    few, fewer = (reliability.analyze(runs, plan) for runs in records)
    left_out = few.lacking["cvar"]
    assert 0 < left_out <= 25 and np.isfinite(few.aggregates["cvar"].low)
    assert any(
        c == "Some of the 500 bootstrap samples drew too few runs with a value and are "
        f"left out of an interval: CVaR ({left_out})."
        for c in few.caveats
    )
    assert fewer.lacking["cvar"] > 25 and np.isnan(fewer.aggregates["cvar"].low)
    told = "More than 5 % of the 500 bootstrap samples drew too few runs"
    assert any(c.startswith(told) and "CVaR (" in c for c in fewer.caveats)
    whole = reliability.analyze(finals("d", "t", np.arange(8)), plan)
    assert not whole.lacking
    assert not any("bootstrap samples" in c for c in whole.caveats)
    tasks = [r._replace(task=t) for t in ("one", "two") for r in records]
    said = compare(tasks, plan)
    assert said.pooled.lacking.keys() == {"a", "b"}
    for name, of in said.pooled.lacking.items():
        for aggregate, count in of.items():
            told = f"{title(aggregate)} of {name} over all tasks"
            assert any(f"{told} ({count:,})" in c for c in said.caveats)


def test_an_interval_that_contradicts_its_test_is_explained():
    names = [(name, task) for name in "ab" for task in ("one", "two", "three")]
    found = compare([record(*n, seed, 8) for seed, n in enumerate(names)], PLAN)
    assert not any("do not agree" in c for c in found.caveats)

    def said(low, p_value, corrected):
        (pair,) = found.pairs
        chance = reliability.Interval(0.7, low, 0.9)
        pair = pair._replace(improvement={**pair.improvement, "two": chance})
        tests = [
            f._replace(p_value=p_value, corrected=corrected)
            if (f.measure, f.task) == (SCORE, "two")
            else f._replace(corrected=NAN)
            for f in found.findings
        ]
        return comparison.explain_intervals([pair], tests, PLAN)

    start = "The interval of P(first is better) and the test do not agree on a and b on"
    (corrects,) = said(0.52, 0.03, 0.06)
    assert corrects == (
        f"{start} two: p values are corrected for the number of tests, intervals are "
        f"not. The test decides."
    )
    for low, p_value, after in ((0.52, 0.06, 0.06), (0.48, 0.01, 0.02)):
        (methods,) = said(low, p_value, after)
        assert methods.startswith(f"{start} two: one is a bootstrap's")
    assert said(0.52, 0.01, 0.02) == said(0.48, 0.3, 0.4) == said(NAN, 0.3, 0.4) == []


# --- scores that are normalised already -----------------------------------------------


def normalized(algorithm, scores, task="t"):
    return finals(algorithm, task, scores)._replace(normalized=True)


def test_normalised_scores_are_not_normalised_again():
    x, y = np.linspace(0.2, 0.9, 12), np.linspace(0.4, 1.3, 12)
    found = compare([normalized("a", x), normalized("b", y)], PLAN)
    assert found.ranges["t"] == (0, 1, True)
    assert found.pooled.aggregates["mean"]["a"].estimate == pytest.approx(x.mean())
    gap = found.pooled.aggregates["optimality_gap"]["b"].estimate
    assert gap == pytest.approx((1 - np.minimum(y, 1)).mean())
    assert found.caveats == [
        "The returns on t are normalised by what was read: 0 counts as 0 and 1 as 1, "
        "where nothing else was given."
    ]
    given = compare([normalized("a", x), normalized("b", y)], PLAN, {"t": -1}, {"t": 2})
    assert given.ranges["t"] == (-1, 2, True)


def test_scores_that_may_be_normalised_are_told_of():
    x, y = np.linspace(0.2, 0.9, 12), np.linspace(0.4, 1.3, 12)
    found = compare([finals("a", "t", x), finals("b", "t", y)], PLAN)
    low, high, given = found.ranges["t"]
    both = np.concatenate([x, y])
    assert (low, high, given) == (np.median(both), np.quantile(both, 0.95), False)
    (only,) = (c for c in found.caveats if "there are final returns only" in c)
    assert only.endswith("Scores that were normalised before are normalised again.")
    page = [c.text for c in caveats_of([], found)]
    assert any("`--baseline 0 --target 1`" in c for c in page)
    curves = compare([record("a"), record("b", seed=1)], PLAN)
    assert not any("final returns only" in c for c in curves.caveats)
    mixed = compare([normalized("a", x), finals("b", "t", y)], PLAN)
    assert any(c.endswith("they do not compare.") for c in mixed.caveats)
    assert mixed.ranges["t"] == found.ranges["t"]


def test_cells_in_units_of_the_return_weigh_tasks_by_their_ranges():
    # On the small task a is far tighter, on the huge one both are alike.
    tight, wide = np.linspace(99, 101, 24), np.linspace(50, 150, 24)
    records = [
        record("a", "small", 0, top=tight),
        record("b", "small", 1, top=wide),
        record("a", "huge", 2, top=1000 * wide, noise=1000),
        record("b", "huge", 3, top=1000 * wide, noise=1000),
    ]
    plan = dataclasses.replace(PLAN, definition=Definition(normalize=False))
    test = findings_of(compare(records, plan), None)["dispersion_across_runs", "end"]
    assert 0.05 < test.difference < 1 and test.p_value < 0.1


def test_what_ends_early_is_told():
    runs = record("a")
    runs.curves[3, 20:], runs.curves[5, 40:], runs.curves[7] = NAN, NAN, NAN
    said = reliability.analyze(runs, PLAN).caveats
    (early,) = (c for c in said if "last tenth" in c)
    assert early.startswith(
        "2 of 24 runs have no observation in the last tenth of the steps (seed 3 at "
        "10,000, 5 at 20,000)"
    )
    whole = reliability.analyze(record("b"), PLAN).caveats
    assert not any("last tenth" in c for c in whole)


def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match=r"^Expected runs to be a reliability\.Runs"):
        reliability.analyze(np.ones((3, 4)))  # pyright: ignore[reportArgumentType]
    assert Plan(confidence=0.9).level == 0.1
