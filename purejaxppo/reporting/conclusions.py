"""The answer in sentences, made from the numbers and from nothing else."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from purejaxppo.reliability.analysis import Analysis, Plan
from purejaxppo.reliability.comparison import Comparison
from purejaxppo.reliability.dispersion_and_risk import HIGHER_IS_BETTER
from purejaxppo.reliability.hypotheses import SCORE, TAIL, Finding
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.pairwise import Pair
from purejaxppo.reliability.permutation_tests import Power
from purejaxppo.reporting.formatting import (
    cell_title,
    counted,
    listed,
    number,
    p_value,
    percent,
    with_ends,
)


def verdict(analysis: Analysis, plan: Plan) -> str:
    """Say where the runs of one study end, and what a bad one costs."""
    summary, found = analysis.summary, analysis.aggregates
    observed = int(summary.num_runs) - int(summary.missing)
    if observed == 0:
        return f"None of {counted(int(summary.num_runs))} has a final return."
    worst = number(float(summary.worst))
    if observed == 1:
        return f"One run ends at {worst}: it says nothing of other seeds."
    centre = (
        f"The middle half of {counted(observed)} ends at {with_ends(found['iqm'])} "
        f"(mean, {percent(plan.confidence)} interval)"
    )
    if math.isnan(float(found["cvar"].estimate)):
        return (
            f"{centre}. They are too few for a tail of {percent(plan.alpha)}; the "
            f"worst of them ends at {worst}."
        )
    loss = float(found["iqm"].estimate) - float(found["cvar"].estimate)
    return (
        f"{centre}, the worst {percent(plan.alpha)} of them "
        f"({counted(int(summary.tail_runs))}) at {with_ends(found['cvar'])}: bad luck "
        f"costs {number(loss, 3)}. The worst run ends at {worst}."
    )


def verdicts(comparison: Comparison, plan: Plan) -> list[str]:
    """Say which algorithm is better.

    Of two everything is said; of more whether one is best, then of each two what tells
    them apart, and last which cannot be told apart.
    """
    if len(comparison.pairs) == 1:
        return _of_pair(comparison.pairs[0], comparison, plan)
    apart = {
        f"{pair.first} and {pair.second}": _of_pair(pair, comparison, plan, apart=True)
        for pair in comparison.pairs
    }
    found = [" ".join(said) for said in apart.values() if said]
    alike = [names for names, said in apart.items() if not said]
    if alike:
        found.append(f"Nothing that was measured tells apart {'; '.join(alike)}.")
    return [_best(comparison, plan), *found]


def better(finding: Finding, plan: Plan) -> str | None:
    """Return which of the two is better by a test, if one of them is."""
    if math.isnan(finding.corrected) or finding.corrected > plan.level:
        return None
    if finding.difference == 0:
        return None
    return finding.first if finding.difference > 0 else finding.second


def of_pair(comparison: Comparison, pair: Pair) -> list[Finding]:
    """Return the tests of two algorithms."""
    names = (pair.first, pair.second)
    return [test for test in comparison.findings if (test.first, test.second) == names]


def overall(tests: Sequence[Finding], measure: str) -> Finding:
    """Return the test by final returns over all tasks, or on the only task."""
    of_all = [test for test in tests if test.measure == measure]
    return next((test for test in of_all if test.task is None), of_all[0])


def _best(comparison: Comparison, plan: Plan) -> str:
    for name in comparison.algorithms:
        pairs = [p for p in comparison.pairs if name in (p.first, p.second)]
        tests = [overall(of_pair(comparison, pair), SCORE) for pair in pairs]
        if all(better(test, plan) == name for test in tests):
            return f"{name} has better final returns than each of the others."
    return "No algorithm has better final returns than each of the others."


def _of_pair(
    pair: Pair, comparison: Comparison, plan: Plan, apart: bool = False
) -> list[str]:
    """What is said of two algorithms, or only what tells them apart."""
    tests = of_pair(comparison, pair)
    said = {
        (SCORE,): [_of_returns(pair, tests, comparison, plan)],
        (TAIL,): _of_tails(pair, tests, comparison, plan),
        tuple(HIGHER_IS_BETTER): _of_cells(pair, tests, plan),
    }
    told = {test.measure for test in tests if better(test, plan)}
    return [
        sentence
        for measures, found in said.items()
        if not apart or told.intersection(measures)
        for sentence in found
    ]


def _of_returns(
    pair: Pair, tests: Sequence[Finding], comparison: Comparison, plan: Plan
) -> str:
    """Who is better on which tasks, by the ranks of final returns."""
    tasks = comparison.tasks
    if len(tasks) == 1:
        sizes = _sizes(pair, comparison, tasks)
        return _on_one_task(pair, tests, tasks[0], sizes, plan)
    out = _outcome(pair, tests, tasks, SCORE, plan)
    sizes = _sizes(pair, comparison, out.open or tasks)
    if not out.won and not out.lost:
        said = (
            f"By final returns {pair.first} and {pair.second} cannot be told apart on "
            f"any of {len(tasks)} tasks with {sizes}"
        )
    else:
        said = (
            f"{out.winner} has better final returns than {out.other} on "
            f"{len(out.won)} of {len(tasks)} tasks ({', '.join(out.won)})"
        )
        if out.lost:
            said += f", worse on {len(out.lost)} ({', '.join(out.lost)})"
        if out.open:
            said += f"; on {listed(out.open)} they cannot be told apart with {sizes}"
    return f"{said}. {_over_all(pair, tests, len(tasks), plan)}"


def _over_all(pair: Pair, tests: Sequence[Finding], tasks: int, plan: Plan) -> str:
    test = overall(tests, SCORE)
    winner, p = better(test, plan), f"p = {p_value(test.corrected)}"
    if math.isnan(test.corrected):
        return f"Over all {tasks} tasks together they cannot be compared."
    if winner is None:
        return f"Over all {tasks} tasks together they cannot be told apart ({p})."
    chance = with_ends(_chance_of(winner, pair, pair.overall_improvement))
    return (
        f"Over all {tasks} tasks together {winner} is better: with probability "
        f"{chance} a run of it beats one of {_other(pair, winner)} ({p})."
    )


def _on_one_task(
    pair: Pair, tests: Sequence[Finding], task: str, sizes: str, plan: Plan
) -> str:
    test = overall(tests, SCORE)
    winner, p = better(test, plan), f"p = {p_value(test.corrected)}"
    if math.isnan(test.corrected):
        return (
            f"{pair.first} and {pair.second} cannot be compared on {task}: all runs of "
            f"one of them lack a final return."
        )
    if winner is None:
        return (
            f"By final returns {pair.first} and {pair.second} cannot be told apart on "
            f"{task} with {sizes} ({p}).{_needed(pair.power[task])}"
        )
    chance = with_ends(_chance_of(winner, pair, pair.improvement[task]))
    return (
        f"{winner} has better final returns than {_other(pair, winner)} on {task}: "
        f"with probability {chance} a run of it beats one of the other ({p})."
    )


def _needed(power: Power | None) -> str:
    if power is None:
        return ""
    most = int(power.num_runs[-1])
    runs = f"about {power.needed}" if power.needed else f"more than {most}"
    return f" If the difference is as measured, it takes {runs} of each."


def _of_tails(
    pair: Pair, tests: Sequence[Finding], comparison: Comparison, plan: Plan
) -> list[str]:
    """Whose worst runs are better, where they can be told apart."""
    out = _outcome(pair, tests, comparison.tasks, TAIL, plan)
    if not out.won:
        return _of_all_tails(pair, tests, comparison, plan)
    said = (
        f"The worst {percent(plan.alpha)} of the runs of {out.winner} end higher than "
        f"those of {out.other} on {listed(out.won)}"
    )
    if len(out.won) == 1:
        said += _tails_at(out, comparison)
    if out.lost:
        said += f"; lower on {listed(out.lost)}"
    return [f"{said}."]


def _tails_at(out: "_Outcome", comparison: Comparison) -> str:
    """Both tails on the task that is won, where all runs enter them."""
    of = {a.algorithm: a for a in comparison.analyses if a.task == out.won[0]}
    pair = of[out.winner], of[out.other]
    if any(int(analysis.summary.missing) for analysis in pair):
        return " (runs without a final return count as the lowest)"
    ours, theirs = (with_ends(analysis.aggregates["cvar"]) for analysis in pair)
    return f", at {ours} against {theirs}"


def _of_all_tails(
    pair: Pair, tests: Sequence[Finding], comparison: Comparison, plan: Plan
) -> list[str]:
    """Whose worst runs are better over all tasks, where no task tells it."""
    of_all = [test for test in tests if test.measure == TAIL and test.task is None]
    winner = better(of_all[0], plan) if of_all else None
    if winner is None:
        return []
    return [
        f"Over all {len(comparison.tasks)} tasks together the worst "
        f"{percent(plan.alpha)} of the runs of {winner} end higher than those of "
        f"{_other(pair, winner)} (p = {p_value(of_all[0].corrected)})."
    ]


def _of_cells(pair: Pair, tests: Sequence[Finding], plan: Plan) -> list[str]:
    """Who is more reliable, in which cells."""
    cells = [
        test
        for test in tests
        if test.measure not in (SCORE, TAIL) and not math.isnan(test.p_value)
    ]
    won = {
        name: [test for test in cells if better(test, plan) == name]
        for name in (pair.first, pair.second)
    }
    parts = [
        f"{name} is more reliable in {len(of)} ({_cells_named(of)})"
        for name, of in won.items()
        if of
    ]
    if parts:
        return [f"Of {len(cells)} measures of dispersion and risk, {listed(parts)}."]
    if not cells:
        return []
    return [
        f"In none of {len(cells)} measures of dispersion and risk can {pair.first} and "
        f"{pair.second} be told apart."
    ]


def _cells_named(tests: Sequence[Finding]) -> str:
    """Cells with their thirds of the training, each cell once."""
    frames: dict[str, list[str]] = {}
    for test in tests:
        frames.setdefault(cell_title(test.measure), [])
        frames[cell_title(test.measure)] += [test.frame] if test.frame else []
    return "; ".join(
        f"{name}: {listed(of)}" if of else name for name, of in frames.items()
    )


class _Outcome(NamedTuple):
    """Who wins more tasks, and the tasks it wins, it loses, and nobody does."""

    winner: str
    other: str
    won: list[str]
    lost: list[str]
    open: list[str]


def _outcome(
    pair: Pair,
    tests: Sequence[Finding],
    tasks: Sequence[str],
    measure: str,
    plan: Plan,
) -> _Outcome:
    by = {t.task: better(t, plan) for t in tests if t.measure == measure and t.task}
    names = (pair.first, pair.second)
    won = {name: [task for task in tasks if by[task] == name] for name in names}
    winner = max(names, key=lambda name: len(won[name]))
    other = _other(pair, winner)
    none = [task for task in tasks if by[task] is None]
    return _Outcome(winner, other, won[winner], won[other], none)


def _chance_of(winner: str, pair: Pair, chance: Interval) -> Interval:
    """The probability that a run of the winner is better."""
    if winner == pair.first:
        return chance
    return Interval(1 - chance.estimate, 1 - chance.high, 1 - chance.low)


def _other(pair: Pair, name: str) -> str:
    return pair.second if name == pair.first else pair.first


def _sizes(pair: Pair, comparison: Comparison, tasks: Sequence[str]) -> str:
    """How many runs of each there are on some tasks."""
    names = (pair.first, pair.second)
    of = [a for a in comparison.analyses if a.algorithm in names and a.task in tasks]
    sizes = sorted({len(analysis.scores) for analysis in of})
    if len(sizes) == 1:
        return f"{counted(sizes[0])} each"
    return f"{sizes[0]} to {sizes[-1]} runs each"
