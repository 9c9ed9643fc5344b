"""Algorithms x tasks: all that one comparison of them says, in one record."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, product
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability.analysis import DEFAULTS, Analysis, Plan, analyze
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.cells import Levels, levels
from purejaxppo.reliability.comparisons import corrected
from purejaxppo.reliability.curves import fill_forward
from purejaxppo.reliability.findings import (
    Finding,
    compare_pair,
    correct,
    is_of_scores,
)
from purejaxppo.reliability.intervals import Interval, resample
from purejaxppo.reliability.pairs import Pair, improvement, powers
from purejaxppo.reliability.pooling import (
    Pooled,
    Range,
    lacks_a_task,
    pool,
    reference_range,
)
from purejaxppo.reliability.records import Runs, check_runs


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
        lows: task -> final return that counts as 0; see `pooling.reference_range`.
        highs: task -> final return that counts as 1, and target of the optimality gap.

    Raises:
        ValueError: as `check_records` and `check_references` say.
    """
    lows, highs = lows or {}, highs or {}
    algorithms, tasks = check_records(records)
    check_references(tasks, lows, highs)
    found = {(runs.algorithm, runs.task): _as_float64(runs) for runs in records}
    runs = {name: [found[name, task] for task in tasks] for name in algorithms}
    analyses = {
        name: [analyze(r, plan, highs.get(r.task)) for r in of]
        for name, of in runs.items()
    }
    ranges = _ranges(runs, analyses, lows, highs)
    counts = _resample(analyses, plan)
    tests = _findings(runs, analyses, ranges, plan)
    flat = list(chain.from_iterable(analyses.values()))
    return Comparison(
        algorithms=algorithms,
        tasks=tasks,
        analyses=flat,
        ranges=ranges,
        pooled=pool(analyses, ranges, counts, plan),
        pairs=_pairs(analyses, counts, plan),
        findings=tests,
        caveats=_caveats(flat, ranges, tests, plan),
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


def _as_float64(runs: Runs) -> Runs:
    return runs._replace(curves=np.asarray(runs.curves, np.float64))


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
        name: [levels(r.env_steps, r.curves, plan.definition) for r in records]
        for name, records in runs.items()
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


def _caveats(
    analyses: Sequence[Analysis],
    ranges: Mapping[str, Range],
    tests: Sequence[Finding],
    plan: Plan,
) -> list[str]:
    return [
        *_of_ranges(ranges),
        *_of_missing_tasks(analyses, ranges),
        *_of_sizes(analyses),
        *_of_lengths(analyses),
        *_of_resolution(analyses, tests, plan),
    ]


def _of_ranges(ranges: Mapping[str, Range]) -> list[str]:
    found = []
    none = [task for task, of in ranges.items() if np.isnan(of.low)]
    measured = [t for t, of in ranges.items() if not of.given and t not in none]
    if none:
        found.append(
            f"No range of final returns on {', '.join(none)}: what counts as 1 (given, "
            f"or where the best runs end) is no higher than what counts as 0 (given, "
            f"or where runs begin). Left out of everything normalised."
        )
    if measured:
        found.append(
            f"The range of final returns on {', '.join(measured)} is measured, at "
            f"least at one end, and depends on the algorithms compared: normalised "
            f"numbers do not compare with those of another comparison."
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
                f"as {permutations:,} permutations: a single difference cannot be "
                f"found; with {needed:,} it could."
            )
        if of_scores and count:
            found += _of_few_dealings(analyses, times, plan)
    return found


def _times(tests: int, plan: Plan) -> float:
    """What the least of so many p values is multiplied by."""
    if tests == 0:
        return 0.0
    least = 1e-9
    p_values = np.array([least, *np.ones(tests - 1)])
    return float(corrected(p_values, plan.correction)[0]) / least


def _of_few_dealings(
    analyses: Sequence[Analysis], times: float, plan: Plan
) -> list[str]:
    """Where runs can be dealt in too few ways, however often they are."""
    found = []
    for task in dict.fromkeys(a.task for a in analyses):
        n, m = sorted(len(a.scores) for a in analyses if a.task == task)[-2:]
        ways = math.comb(n + m, n)
        # Of as many runs each, every dealing has one that is its reverse.
        if times * (2 if n == m else 1) / ways > plan.level * (1 + 1e-9):
            found.append(
                f"On {task} there are too few runs for a difference to be found: "
                f"{n + m} can be dealt to two algorithms in {ways:,} ways only."
            )
    return found
