"""Tests of two algorithms, by final returns and by every cell, on tasks and over all.

All measures of a task that each run has are tested with the same dealings of the runs.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.analysis import Analysis, Plan
from purejaxppo.reliability.dispersion_and_risk import (
    FRAMES,
    HIGHER_IS_BETTER,
    AcrossRuns,
    Definition,
    Levels,
    WithinRuns,
    cells_of_levels,
)
from purejaxppo.reliability.permutation_tests import (
    Contrast,
    Dealt,
    contrasts,
    corrected,
    deal,
    places,
)

SCORE, TAIL = "score", "tail"
"""Measures of final returns: their ranks, and the mean of their worst share."""


class Measure(NamedTuple):
    """What two algorithms are compared by.

    Attributes:
        name: `SCORE`, `TAIL`, or a cell's.
        frame: of the training, or none.
    """

    name: str
    frame: str | None = None


class Finding(NamedTuple):
    """Whether chance alone makes a difference as large.

    Attributes:
        first: an algorithm.
        second: another one.
        measure: what they are compared by.
        frame: of the training, or none.
        task: the test's, or none for the mean over all tasks.
        difference: > 0 where the first is better: P(first better) - P(second better)
            where each run has the measure by itself, else of the measure. NaN where it
            does not exist.
        p_value: two-sided, NaN likewise.
        corrected: the same for many tests, see `correct`.
    """

    first: str
    second: str
    measure: str
    frame: str | None
    task: str | None
    difference: float
    p_value: float
    corrected: float


def compare_pair(
    first: Sequence[Analysis],
    second: Sequence[Analysis],
    levels: Sequence[tuple[Levels, Levels]],
    ranges: Sequence[tuple[float, float]],
    plan: Plan,
) -> list[Finding]:
    """Test final returns on each task, and everything over all tasks.

    Args:
        first: an algorithm on each task.
        second: another one, on the same tasks.
        levels: of both, on each task.
        ranges: reference scores of each task, the units of tails; NaN where there are
            none.
        plan: seed, number of permutations, shares of tails.

    Returns:
        Tests, not yet corrected.
    """
    measures = measures_of([*first, *second])
    by_run, across_runs = _dealt(first, second, levels, ranges, plan)
    names, tasks = (first[0].algorithm, second[0].algorithm), [a.task for a in first]
    alone = [
        finding
        for task, dealt in zip(tasks, by_run, strict=True)
        for finding in _findings(names, task, measures, contrasts([dealt]))
        if is_of_scores(finding)
    ]
    found = contrasts(by_run) + contrasts(across_runs)
    # Without a range there is no unit in which some measures compare over tasks.
    in_units = len(tasks) == 1 or all(high > low for low, high in ranges)
    over_all = [
        finding
        for finding in _findings(names, None, measures, found)
        if in_units or finding.measure not in _of_the_return(plan.definition)
    ]
    return alone + over_all


def _of_the_return(definition: Definition) -> tuple[str, ...]:
    """Measures in units of the return, whose means over tasks need a range."""
    return (TAIL,) if definition.normalize else (TAIL, *AcrossRuns._fields)


def _unit(span: tuple[float, float]) -> float:
    """Of returns on a task: its range, or 1 where it has none."""
    low, high = span
    return high - low if high > low else 1.0


def _dealt(
    first: Sequence[Analysis],
    second: Sequence[Analysis],
    levels: Sequence[tuple[Levels, Levels]],
    ranges: Sequence[tuple[float, float]],
    plan: Plan,
) -> tuple[list[Dealt], list[Dealt]]:
    """Each task's dealings of what runs have, and of what only all together have."""
    measures = measures_of([*first, *second])
    generator, another = (np.random.default_rng(plan.seed) for _ in range(2))
    by_run = [
        _deal_by_run(generator, x, y, _unit(span), measures, plan)
        for x, y, span in zip(first, second, ranges, strict=True)
    ]
    across_runs = [
        _deal_across_runs(another, x, y, level, _unit(span), plan)
        for x, y, level, span in zip(first, second, levels, ranges, strict=True)
    ]
    return by_run, across_runs


def _findings(
    names: tuple[str, str],
    task: str | None,
    measures: Sequence[Measure],
    found: Sequence[Contrast],
) -> list[Finding]:
    """One for each contrast, of the measures in their order."""
    return [
        Finding(*names, *measure, task, *contrast, corrected=np.nan)
        for measure, contrast in zip(measures, found, strict=False)
    ]


def correct(found: Sequence[Finding], plan: Plan) -> list[Finding]:
    """Return the tests with p values corrected: final returns apart from cells.

    With one task the tests over all tasks of final returns are left out: they are those
    of the task.
    """
    tasks = {test.task for test in found} - {None}
    kept = [
        test
        for test in found
        if len(tasks) > 1 or test.task is not None or not is_of_scores(test)
    ]
    for family in (True, False):
        index = [
            i
            for i, test in enumerate(kept)
            if is_of_scores(test) is family and not np.isnan(test.p_value)
        ]
        p_values = corrected(
            np.array([kept[i].p_value for i in index]), plan.correction
        )
        for i, value in zip(index, p_values, strict=True):
            kept[i] = kept[i]._replace(corrected=float(value))
    return kept


def is_of_scores(test: Finding) -> bool:
    """Return whether it is one of final returns, not of a cell."""
    return test.measure in (SCORE, TAIL)


def measures_of(analyses: Sequence[Analysis]) -> list[Measure]:
    """Return what all of them have, in the order of the tests.

    Those across runs come last.
    """
    names = [
        name
        for name in WithinRuns._fields
        if all(getattr(analysis.within, name) is not None for analysis in analyses)
    ]
    within = [measure for name in names for measure in _framed(name)]
    across = [measure for name in AcrossRuns._fields for measure in _framed(name)]
    return [Measure(SCORE), *within, Measure(TAIL), *across]


def _framed(name: str) -> list[Measure]:
    framed = name in ("dispersion_across_time", *AcrossRuns._fields)
    return [Measure(name, frame) for frame in (FRAMES if framed else (None,))]


def _deal_by_run(
    generator: np.random.Generator,
    x: Analysis,
    y: Analysis,
    unit: float,
    measures: Sequence[Measure],
    plan: Plan,
) -> Dealt:
    """Deal the runs of a task anew, for ranks and for the tail of final returns."""
    ranked = _places(x, y, measures)
    taking_part = (~np.isnan(ranked)).astype(float)
    ranked = np.nan_to_num(ranked)
    scores = np.concatenate((x.scores, y.scores))
    # A run without a final return is no better than the worst that has one.
    if min(aggregates.num_observed(of.scores) for of in (x, y)) > 0:
        scores = np.where(np.isnan(scores), np.nanmin(scores), scores)
    scores = scores / unit

    def statistic(counts: np.ndarray) -> np.ndarray:
        times = counts.astype(float)
        with np.errstate(invalid="ignore"):  # No run of those dealt takes part.
            mean_place = (ranked.T @ times) / (taking_part.T @ times)
        tail = aggregates.cvar(scores[:, None], plan.alpha, counts=counts)
        return np.concatenate((-mean_place, tail[None]))

    sizes = (len(x.scores), len(y.scores))
    return deal(generator, statistic, sizes, plan.num_permutations)


def _deal_across_runs(
    generator: np.random.Generator,
    x: Analysis,
    y: Analysis,
    levels: tuple[Levels, Levels],
    unit: float,
    plan: Plan,
) -> Dealt:
    """Deal the runs of a task anew, for the cells that only all runs together have."""
    pooled = _pooled(*levels)
    if not plan.definition.normalize:
        pooled = pooled._replace(level=pooled.level / unit)
    statistic = partial(_across_runs, pooled, plan.definition, _have_quartiles(x, y))
    sizes = (len(x.scores), len(y.scores))
    return deal(generator, statistic, sizes, plan.num_across_permutations)


def _places(x: Analysis, y: Analysis, measures: Sequence[Measure]) -> np.ndarray:
    """Places `[runs of both, measures]`; NaN for runs that take no part.

    A run without a final return is worse than any. One that has a final return but no
    such cell, because it has no unit, is neither good nor bad. An algorithm all of
    whose runs lack a final return is not compared: nobody knows why they do.
    """
    scored = ~np.isnan(np.concatenate((x.scores, y.scores)))
    if min(aggregates.num_observed(of.scores) for of in (x, y)) == 0:
        scored[:] = True
    columns = []
    for name, frame in measures:
        if name in (TAIL, *AcrossRuns._fields):
            continue
        values = [_values(analysis, name, frame) for analysis in (x, y)]
        pooled = np.concatenate(values)
        part = ~(np.isnan(pooled) & scored)
        column = np.full(len(pooled), np.nan)
        if part.any() and not np.isnan(pooled).all():
            higher = HIGHER_IS_BETTER.get(name, True)
            column[part] = places([pooled[part]], higher)[0]
        columns.append(column)
    return np.stack(columns, axis=1)


def _values(analysis: Analysis, name: str, frame: str | None) -> np.ndarray:
    if name == SCORE:
        return analysis.scores
    values = getattr(analysis.within, name)
    return values if frame is None else values[:, FRAMES.index(frame)]


def _pooled(x: Levels, y: Levels) -> Levels:
    units = [level.unit for level in (x, y) if level.unit is not None]
    return Levels(
        level=np.concatenate((x.level, y.level)),
        unit=np.concatenate(units) if units else None,
    )


def _have_quartiles(*analyses: Analysis) -> bool:
    observed = (aggregates.num_observed(analysis.scores) for analysis in analyses)
    return min(observed) >= aggregates.QUARTILE_RUNS


def _across_runs(
    levels: Levels, of: Definition, have_quartiles: bool, counts: np.ndarray
) -> np.ndarray:
    """`[measures, dealings]`, higher is better."""
    cells = cells_of_levels(levels, counts, of)
    if not have_quartiles:
        none = np.full_like(cells.dispersion_across_runs, np.nan)
        cells = cells._replace(dispersion_across_runs=none)
    return np.concatenate(
        [
            values if HIGHER_IS_BETTER[name] else -values
            for name, values in cells._asdict().items()
        ]
    )
