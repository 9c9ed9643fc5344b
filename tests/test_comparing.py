"""Comparisons where something lacks: a return, a unit, a task, runs, a range."""

import dataclasses

import numpy as np
import pytest

from purejaxppo import reliability
from purejaxppo.reliability import Definition, Plan, Runs, compare
from purejaxppo.reliability.comparisons import corrected
from purejaxppo.reliability.findings import SCORE, TAIL
from purejaxppo.reliability.pooling import reference_range
from purejaxppo.reporting.sentences import verdicts

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


def test_too_few_runs_for_any_difference_are_told():
    few = [record("a", runs=3, top=5), record("b", seed=1, runs=3)]
    told = "On t there are too few runs for a difference to be found: 6 can be dealt"
    assert any(c.startswith(told) for c in compare(few, PLAN).caveats)
    more = [record("a", runs=12), record("b", seed=1, runs=12)]
    assert not any("too few runs" in c for c in compare(more, PLAN).caveats)


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
