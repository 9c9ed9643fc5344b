"""Algorithms x tasks: all that one comparison of them says, in one record."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, product
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability.across_tasks import (
    Pooled,
    Range,
    lacks_a_task,
    pool,
    reference_range,
)
from purejaxppo.reliability.analysis import DEFAULTS, Analysis, Plan, analyze, prepared
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.caveats import of_resamples, title
from purejaxppo.reliability.curves import fill_forward
from purejaxppo.reliability.dispersion_and_risk import Levels, levels
from purejaxppo.reliability.grids import filled, on_one_grid
from purejaxppo.reliability.hypotheses import (
    SCORE,
    Finding,
    compare_pair,
    correct,
    is_of_scores,
)
from purejaxppo.reliability.intervals import Interval, resample
from purejaxppo.reliability.pairwise import Pair, improvement, powers
from purejaxppo.reliability.permutation_tests import corrected
from purejaxppo.reliability.runs import Runs, check_runs

MEASURED = "normalised numbers do not compare with those of another comparison."
"""End of the warning of a measured range, to which a command has advice."""


class Comparison(NamedTuple):
    """Algorithms, each on the same tasks.

    Attributes:
        algorithms: their names, in the order of the records.
        tasks: likewise.
        analyses: of each algorithm on each task, tasks within algorithms.
        ranges: task -> the final returns that count as 0 and as 1.
        pooled: all tasks together.
        pairs: each two algorithms.
        findings: all tests, corrected.
        caveats: what a reader of the numbers should know, a sentence each; those of one
            algorithm on one task are in its analysis.
    """

    algorithms: list[str]
    tasks: list[str]
    analyses: list[Analysis]
    ranges: dict[str, Range]
    pooled: Pooled
    pairs: list[Pair]
    findings: list[Finding]
    caveats: list[str]


def compare(
    records: Sequence[Runs],
    plan: Plan = DEFAULTS,
    lows: Mapping[str, float] | None = None,
    highs: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare algorithms on tasks.

    Args:
        records: the runs of each algorithm on each task.
        plan: how they are analysed.
        lows: task -> final return that counts as 0; see `across_tasks.reference_range`.
            It is 0 on a task where all returns are normalised (`Runs.normalized`).
        highs: task -> final return that counts as 1, and target of the optimality gap;
            1 where returns are normalised.

    Raises:
        ValueError: as `check_records` and `check_references` say.
    """
    lows, highs = dict(lows or {}), dict(highs or {})
    algorithms, tasks = check_records(records)
    check_references(tasks, lows, highs)
    known = _normalized_tasks(records)
    lows, highs = dict.fromkeys(known, 0.0) | lows, dict.fromkeys(known, 1.0) | highs
    found = {(runs.algorithm, runs.task): prepared(runs) for runs in records}
    runs = {name: [found[name, task] for task in tasks] for name in algorithms}
    of_cells = _on_one_grid(runs)
    analyses = {
        name: [
            analyze(r, plan, highs.get(r.task), cells)
            for r, cells in zip(of, of_cells[name], strict=True)
        ]
        for name, of in runs.items()
    }
    ranges = _ranges(runs, analyses, lows, highs)
    counts = _resample(analyses, plan)
    tests = _findings(of_cells, analyses, ranges, plan)
    flat = list(chain.from_iterable(analyses.values()))
    pooled = pool(analyses, ranges, counts, plan)
    pairs = _pairs(analyses, counts, plan)
    caveats = [
        *_of_normalized(records),
        *_of_ranges(flat, ranges),
        *_of_missing_tasks(flat, ranges),
        *_of_sizes(flat),
        *_of_lengths(flat),
        *_of_grids(runs, of_cells),
        *_of_pooled(pooled, len(tasks), plan),
        *_of_resolution(flat, tests, plan),
        *explain_intervals(pairs, tests, plan),
    ]
    return Comparison(
        algorithms=algorithms,
        tasks=tasks,
        analyses=flat,
        ranges=ranges,
        pooled=pooled,
        pairs=pairs,
        findings=tests,
        caveats=caveats,
    )


def check_records(records: Sequence[Runs]) -> tuple[list[str], list[str]]:
    """Return the names of algorithms and tasks, or refuse what cannot be compared.

    Raises:
        ValueError: fewer than two algorithms; one that lacks a task, or has it twice.
    """
    names = [(runs.algorithm, runs.task) for runs in map(check_runs, records)]
    algorithms = list(dict.fromkeys(algorithm for algorithm, _ in names))
    tasks = list(dict.fromkeys(task for _, task in names))
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"Expected each algorithm once on each task, got {' on '.join(name)} "
                f"{names.count(name)} times."
            )
    if len(algorithms) < 2:
        raise ValueError(
            f"Expected two algorithms at least, to compare them, got "
            f"{' '.join(algorithms) or 'none'}."
        )
    missing = [
        " on ".join(name) for name in product(algorithms, tasks) if name not in names
    ]
    if missing:
        raise ValueError(
            f"Each algorithm needs runs on every task; there are none of "
            f"{', none of '.join(missing)}."
        )
    return algorithms, tasks


def check_references(
    tasks: Sequence[str], lows: Mapping[str, float], highs: Mapping[str, float]
) -> None:
    """Refuse reference scores of other tasks, or high ones not above the low ones.

    Raises:
        ValueError: as above.
    """
    for task in (*lows, *highs):
        if task not in tasks:
            raise ValueError(
                f"Expected reference scores of {', '.join(tasks)}, got one of {task}."
            )
    for task in lows:
        if task in highs and not highs[task] > lows[task]:
            raise ValueError(
                f"Expected reference scores of {task} with high > low, got low "
                f"{lows[task]:g} and high {highs[task]:g}."
            )


def _on_one_grid(
    runs: Mapping[str, Sequence[Runs]],
) -> dict[str, list[Runs]]:
    """Return the runs with as many points on each task for all algorithms."""
    by_task = map(on_one_grid, zip(*runs.values(), strict=True))
    return {
        name: list(of)
        for name, of in zip(runs, zip(*by_task, strict=True), strict=True)
    }


def _ranges(
    runs: Mapping[str, Sequence[Runs]],
    analyses: Mapping[str, Sequence[Analysis]],
    lows: Mapping[str, float],
    highs: Mapping[str, float],
) -> dict[str, Range]:
    ranges = {}
    for of, records in zip(
        zip(*analyses.values(), strict=True),
        zip(*runs.values(), strict=True),
        strict=True,
    ):
        task = of[0].task
        first = np.concatenate([_first(record.curves) for record in records])
        final = np.concatenate([analysis.scores for analysis in of])
        ranges[task] = reference_range(first, final, lows.get(task), highs.get(task))
    return ranges


def _first(curves: Array) -> Array:
    """The first observation of each run."""
    return fill_forward(curves[:, ::-1])[:, -1]


def _resample(
    analyses: Mapping[str, Sequence[Analysis]], plan: Plan
) -> dict[str, list[np.ndarray]]:
    shapes = [a.scores.shape for of in analyses.values() for a in of]
    drawn = iter(resample(plan.seed, shapes, plan.num_resamples))
    return {name: [next(drawn) for _ in of] for name, of in analyses.items()}


def _pairs(
    analyses: Mapping[str, Sequence[Analysis]],
    counts: Mapping[str, Sequence[np.ndarray]],
    plan: Plan,
) -> list[Pair]:
    found = []
    for first, second in combinations(analyses, 2):
        x, y = analyses[first], analyses[second]
        better = improvement(
            [a.scores for a in x],
            [a.scores for a in y],
            [*counts[first], *counts[second]],
            plan.confidence,
        )
        *each, overall = (Interval(*ends) for ends in zip(*better, strict=True))
        found.append(
            Pair(
                first=first,
                second=second,
                improvement={a.task: of for a, of in zip(x, each, strict=True)},
                overall_improvement=overall,
                power=powers(x, y, plan.seed, plan.level),
            )
        )
    return found


def _findings(
    runs: Mapping[str, Sequence[Runs]],
    analyses: Mapping[str, Sequence[Analysis]],
    ranges: Mapping[str, Range],
    plan: Plan,
) -> list[Finding]:
    of: dict[str, list[Levels]] = {
        name: [_levels(r, plan) for r in records] for name, records in runs.items()
    }
    found = [
        finding
        for first, second in combinations(analyses, 2)
        for finding in compare_pair(
            analyses[first],
            analyses[second],
            list(zip(of[first], of[second], strict=True)),
            [(ranges[a.task].low, ranges[a.task].high) for a in analyses[first]],
            plan,
        )
    ]
    return correct(found, plan)


def _levels(runs: Runs, plan: Plan) -> Levels:
    return levels(runs.env_steps, runs.curves, plan.definition, filled(runs))


def _of_grids(
    runs: Mapping[str, Sequence[Runs]], of_cells: Mapping[str, Sequence[Runs]]
) -> list[str]:
    """Return where cells are made of fewer points than curves were logged with."""
    found = []
    for i, first in enumerate(next(iter(runs.values()))):
        points = {name: len(of[i].env_steps) for name, of in runs.items()}
        finer = [name for name in runs if of_cells[name][i] is not runs[name][i]]
        if finer:
            least = len(of_cells[finer[0]][i].env_steps)
            each = ", ".join(f"{name} {count:,}" for name, count in points.items())
            found.append(
                f"On {first.task} curves differ in their points ({each}) or have gaps: "
                f"dispersion and risk are made of {least:,} points of each, means of "
                f"bins. In its own report an algorithm may have other numbers there."
            )
    return found


def _of_pooled(pooled: Pooled, tasks: int, plan: Plan) -> list[str]:
    """Resamples without an aggregate of all tasks; of one task its analysis tells."""
    if tasks == 1:
        return []
    missing = {
        f"{title(aggregate)} of {name} over all tasks": count
        for name, of in pooled.lacking.items()
        for aggregate, count in of.items()
    }
    return of_resamples(missing, plan.num_resamples)


def _of_normalized(records: Sequence[Runs]) -> list[str]:
    """Tasks whose returns were normalised before they were read."""
    known = _normalized_tasks(records)
    some = dict.fromkeys(runs.task for runs in records if runs.normalized)
    mixed = [task for task in some if task not in known]
    found = []
    if known:
        found.append(
            f"The returns on {', '.join(known)} are normalised by what was read: 0 "
            f"counts as 0 and 1 as 1, where nothing else was given."
        )
    if mixed:
        found.append(
            f"On {', '.join(mixed)} the returns of some algorithms are normalised by "
            f"what was read, those of others are not: they do not compare."
        )
    return found


def _normalized_tasks(records: Sequence[Runs]) -> list[str]:
    """Return the tasks on which the returns of all algorithms are normalised."""
    raw = {runs.task for runs in records if not runs.normalized}
    return [t for t in dict.fromkeys(runs.task for runs in records) if t not in raw]


def _of_ranges(analyses: Sequence[Analysis], ranges: Mapping[str, Range]) -> list[str]:
    found = []
    none = [task for task, of in ranges.items() if np.isnan(of.low)]
    measured = [t for t, of in ranges.items() if not of.given and t not in none]
    if none:
        found.append(
            f"No range of final returns on {', '.join(none)}: what counts as 1 (given, "
            f"or where the best runs end) is no higher than what counts as 0 (given, "
            f"or where runs begin). Left out of everything normalised."
        )
    curved = {a.task for a in analyses if a.num_points > 1}
    final = [task for task in measured if task not in curved]
    if final:
        found.append(
            f"On {', '.join(final)} there are final returns only. Where an end of "
            f"their range was not given, it is measured on them: their median counts "
            f"as 0, their 95th percentile as 1. Scores that were normalised before are "
            f"normalised again."
        )
    if measured:
        found.append(
            f"The range of final returns on {', '.join(measured)} is measured, at "
            f"least at one end, and depends on the algorithms compared: {MEASURED}"
        )
    return found


def _of_missing_tasks(
    analyses: Sequence[Analysis], ranges: Mapping[str, Range]
) -> list[str]:
    lacking = [a.name for a in analyses if lacks_a_task(a.scores, ranges[a.task])]
    if not lacking:
        return []
    return [
        f"No run of {', '.join(lacking)} has a final return: an algorithm that lacks a "
        f"task is not pooled over the others, which would flatter it."
    ]


def _of_sizes(analyses: Sequence[Analysis]) -> list[str]:
    sizes = {a.name: len(a.scores) for a in analyses}
    if len(set(sizes.values())) == 1:
        return []
    each = ", ".join(f"{count} of {name}" for name, count in sizes.items())
    return [
        f"The numbers of runs differ ({each}): in aggregates and profiles of all tasks "
        f"a task weighs as much as it has runs, but for mean and median. In ranks, "
        f"tests and probabilities tasks weigh alike."
    ]


def _of_lengths(analyses: Sequence[Analysis]) -> list[str]:
    found = []
    for task in dict.fromkeys(a.task for a in analyses):
        steps = {a.algorithm: a.env_steps for a in analyses if a.task == task}
        if len(set(steps.values())) > 1:
            each = ", ".join(f"{name} {last:,.0f}" for name, last in steps.items())
            found.append(f"On {task} training was not of one length: {each} steps.")
    return found


def _of_resolution(
    analyses: Sequence[Analysis], tests: Sequence[Finding], plan: Plan
) -> list[str]:
    """Where p values cannot become small enough for what they are corrected by."""
    made = [test for test in tests if not np.isnan(test.p_value)]
    families = {
        "final returns": (True, plan.num_permutations),
        "cells": (False, plan.num_across_permutations),
    }
    found = []
    for name, (of_scores, permutations) in families.items():
        count = sum(is_of_scores(test) is of_scores for test in made)
        times = _times(count, plan)
        if times / (1 + permutations) > plan.level * (1 + 1e-9):
            needed = math.ceil(times / plan.level * (1 - 1e-9)) - 1
            found.append(
                f"{count} tests of {name} are corrected together, and made with as few "
                f"as {permutations:,} permutations: a difference in only one of them "
                f"cannot be found; with {needed:,} it could."
            )
    return [*found, *_of_few_runs(analyses, list(filter(is_of_scores, made)), plan)]


def _times(tests: int, plan: Plan) -> float:
    """What the least of so many p values is multiplied by."""
    if tests == 0:
        return 0.0
    least = 1e-9
    p_values = np.array([least, *np.ones(tests - 1)])
    return float(corrected(p_values, plan.correction)[0]) / least


def _of_few_runs(
    analyses: Sequence[Analysis], made: Sequence[Finding], plan: Plan
) -> list[str]:
    """Return the tasks on which no data could show a difference in final returns.

    All tests may have their least p value at once, as where all runs of one algorithm
    end above all of the next, so that these are what is corrected.
    """
    sizes = {(a.algorithm, a.task): len(a.scores) for a in analyses}
    least = corrected(
        np.array([_least_p_value(test, sizes, plan) for test in made]), plan.correction
    )
    found = []
    for task in dict.fromkeys(a.task for a in analyses):
        of_task = [p for p, t in zip(least, made, strict=True) if t.task == task]
        if of_task and min(of_task) > plan.level * (1 + 1e-9):
            n, m = sorted(size for (_, t), size in sizes.items() if t == task)[-2:]
            found.append(
                f"On {task} there are too few runs for a difference to be found: "
                f"{n + m} can be dealt to two algorithms in {math.comb(n + m, n):,} "
                f"ways only."
            )
    return found


def _least_p_value(
    test: Finding, sizes: Mapping[tuple[str, str], int], plan: Plan
) -> float:
    """Return the p value of the most extreme data, on average over permutations.

    A permutation of the runs is as extreme as the data if it is the data itself. So is
    the one that exchanges best and worst: by ranks always, by tails where both
    algorithms have equally many runs. Over all tasks it must be so on each of them.
    """
    tasks = {task for _, task in sizes} if test.task is None else {test.task}
    ways, alike = 1, True
    for task in tasks:
        n, m = sizes[test.first, task], sizes[test.second, task]
        ways *= math.comb(n + m, n)
        alike &= n == m
    extreme = 2 if test.measure == SCORE or alike else 1
    return (1 + plan.num_permutations * extreme / ways) / (1 + plan.num_permutations)


def explain_intervals(
    pairs: Sequence[Pair], tests: Sequence[Finding], plan: Plan
) -> list[str]:
    """Return why an interval of P(first is better) contradicts the test beside it.

    Args:
        pairs: each two algorithms.
        tests: theirs, corrected.
        plan: level of the tests.

    Returns:
        A sentence for each reason, with the pairs and tasks that it is about.
    """
    by = {(t.first, t.second, t.task): t for t in tests if t.measure == SCORE}
    by_correction, by_method = [], []
    for pair in pairs:
        chances = {**pair.improvement, None: pair.overall_improvement}
        for task, chance in chances.items():
            test = by.get((pair.first, pair.second, task))
            if test is None or np.isnan(test.corrected) or np.isnan(chance.low):
                continue
            apart = bool(chance.low > 0.5 or chance.high < 0.5)
            if apart == (test.corrected <= plan.level):
                continue
            which = f"{pair.first} and {pair.second} {_on(task)}"
            corrects = apart and test.p_value <= plan.level
            (by_correction if corrects else by_method).append(which)
    start = "The interval of P(first is better) and the test do not agree on"
    found = []
    if by_correction:
        found.append(
            f"{start} {'; '.join(by_correction)}: p values are corrected for the "
            f"number of tests, intervals are not. The test decides."
        )
    if by_method:
        found.append(
            f"{start} {'; '.join(by_method)}: one is a bootstrap's, the other is of "
            f"permutations, and near the limit they may differ. The test decides."
        )
    return found


def _on(task: str | None) -> str:
    return "over all tasks" if task is None else f"on {task}"
