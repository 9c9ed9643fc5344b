"""Algorithms over many tasks: normalised final returns, pooled, ranked, profiled.

All intervals are of one bootstrap, stratified: the runs of each algorithm on each task
are drawn by themselves. Source: Agarwal et al. 2021, "Deep reinforcement learning at
the edge of the statistical precipice".
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.analysis import (
    Analysis,
    Plan,
    score_statistics,
    some_lacking,
)
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.intervals import Interval, Statistic, bootstrap, lacking
from purejaxppo.reliability.permutation_tests import mean_ranks
from purejaxppo.reliability.scores import normalized, performance_profile

THRESHOLDS = 101
"""Points of a performance profile."""


class Range(NamedTuple):
    """The final returns of a task that count as 0 and as 1.

    Attributes:
        low: worth 0; NaN where there is no range.
        high: worth 1.
        given: the user gave both, so that numbers compare with other comparisons'.
    """

    low: float
    high: float
    given: bool


class Pooled(NamedTuple):
    """Algorithms over all tasks.

    Attributes:
        aggregates: name -> algorithm -> of normalised final returns.
        thresholds: `[thresholds]` normalised final returns of the profiles.
        profiles: algorithm -> share of runs above each, `[thresholds]`.
        ranks: algorithm -> mean rank of its runs, 1 is best.
        lacking: algorithm -> aggregate -> how many resamples have no such number, and
            are left out of its interval; only of those that lack in some.
    """

    aggregates: dict[str, dict[str, Interval]]
    thresholds: np.ndarray
    profiles: dict[str, Interval]
    ranks: dict[str, Interval]
    lacking: dict[str, dict[str, int]]


def pool(
    analyses: Mapping[str, Sequence[Analysis]],
    ranges: Mapping[str, Range],
    counts: Mapping[str, Sequence[np.ndarray]],
    plan: Plan,
) -> Pooled:
    """Pool final returns over tasks.

    Args:
        analyses: of each algorithm, one for each task, all in one order.
        ranges: of each task.
        counts: `[runs, resamples]` of each analysis.
        plan: share of the tail, confidence.
    """
    scores = {
        name: _normalized([(a.scores, ranges[a.task]) for a in of])
        for name, of in analyses.items()
    }
    raw = {name: [analysis.scores for analysis in of] for name, of in analyses.items()}
    found = {
        name: pooled_intervals(scores[name], counts[name], plan) for name in scores
    }
    thresholds = _thresholds([score for of in scores.values() for score in of])
    return Pooled(
        aggregates={
            aggregate: {name: found[name][aggregate] for name in found}
            for aggregate in next(iter(found.values()))
        },
        thresholds=thresholds,
        profiles={
            name: profile(scores[name], counts[name], thresholds, plan.confidence)
            for name in scores
        },
        ranks=rank_intervals(raw, counts, plan.confidence),
        lacking={
            name: lacking_pooled(scores[name], counts[name], plan) for name in scores
        },
    )


def lacks_a_task(scores: np.ndarray, range_: Range) -> bool:
    """Whether an algorithm has no final return on a task that others are pooled on."""
    return bool(np.isnan(scores).all()) and not np.isnan(range_.low)


def _normalized(of_tasks: Sequence[tuple[np.ndarray, Range]]) -> list[np.ndarray]:
    """Scores of each task; all NaN where a task lacks them, and would flatter."""
    if any(lacks_a_task(*task) for task in of_tasks):
        return [np.full_like(scores, np.nan) for scores, _ in of_tasks]
    return [_in_range(*task) for task in of_tasks]


def _in_range(scores: np.ndarray, range_: Range) -> np.ndarray:
    if np.isnan(range_.low):
        return np.full_like(scores, np.nan)
    return normalized(scores, range_.low, range_.high)


def _thresholds(scores: Sequence[np.ndarray]) -> np.ndarray:
    """From the lowest score, or 0, to the highest, or 1."""
    known = np.concatenate([[0.0, 1.0], *scores])
    known = known[np.isfinite(known)]
    return np.linspace(known.min(), known.max(), THRESHOLDS)


def pooled_range(first: np.ndarray, final: np.ndarray) -> tuple[float, float]:
    """Return the range of a task's runs: where they begin, and where the best end.

    The median of the runs' first returns, and the 95th percentile of their final ones:
    `curve_range` over runs in place of time.

    Args:
        first: `[runs]` of all algorithms; those that are not finite are left out.
        final: `[runs]`, likewise.
    """
    first, final = (np.where(np.isfinite(x), x, np.nan) for x in (first, final))
    return float(aggregates.median(first)), float(aggregates.quantile(final, 0.95))


def reference_range(
    first: np.ndarray,
    final: np.ndarray,
    low: float | None = None,
    high: float | None = None,
) -> Range:
    """Return the range with what the user gave in the place of what was measured.

    Args:
        first: `[runs]` of all algorithms, NaN where missing.
        final: `[runs]`, likewise.
        low: the score that counts as 0, random play's for instance.
        high: the score that counts as 1.

    Returns:
        A range with high > low, or one of NaN.
    """
    measured = pooled_range(first, final)
    start = measured[0] if low is None else float(low)
    end = measured[1] if high is None else float(high)
    given = low is not None and high is not None
    return Range(start, end, given) if end > start else Range(np.nan, np.nan, given)


def pooled_intervals(
    scores: Sequence[np.ndarray], counts: Sequence[np.ndarray], plan: Plan
) -> dict[str, Interval]:
    """Return the aggregates of an algorithm's normalised final returns on all tasks.

    The median and the mean are those over tasks of each task's mean, the others are of
    all runs on all tasks together.

    Args:
        scores: `[runs]` normalised, of each task.
        counts: `[runs, resamples]` of each task.
        plan: share of the tail, confidence.

    Returns:
        Name -> scalars.
    """
    return {
        name: bootstrap(statistic, counts, plan.confidence)
        for name, statistic in _pooled_statistics(scores, plan).items()
    }


def lacking_pooled(
    scores: Sequence[np.ndarray], counts: Sequence[np.ndarray], plan: Plan
) -> dict[str, int]:
    """Return how many resamples lack one of the `pooled_intervals`, and not all do.

    Args:
        scores: `[runs]` normalised, of each task.
        counts: `[runs, resamples]` of each task.
        plan: share of the tail.
    """
    if not any(np.isnan(score).any() for score in scores):
        return {}
    found = {
        name: int(lacking(statistic, counts))
        for name, statistic in _pooled_statistics(scores, plan).items()
    }
    return some_lacking(found, plan)


def _pooled_statistics(
    scores: Sequence[np.ndarray], plan: Plan
) -> dict[str, Statistic]:
    statistics = {}
    for name, of in score_statistics(plan.alpha, target=1.0).items():
        over_tasks = aggregates.median if name == "median" else aggregates.mean
        statistics[name] = (
            partial(_of_means, over_tasks, scores)
            if name in ("median", "mean")
            else partial(_of_pool, of, scores)
        )
    return statistics


def profile(
    scores: Sequence[np.ndarray],
    counts: Sequence[np.ndarray],
    thresholds: np.ndarray,
    confidence: float,
) -> Interval:
    """Return the share of an algorithm's runs above each threshold.

    Args:
        scores: `[runs]` normalised, of each task.
        counts: `[runs, resamples]` of each task.
        thresholds: `[thresholds]`.
        confidence: of the intervals.

    Returns:
        `[thresholds]`.
    """
    pooled = np.concatenate(scores)

    def statistic(*counts: Array) -> Array:
        return performance_profile(pooled, thresholds, np.concatenate(counts))

    return bootstrap(statistic, counts, confidence)


def rank_intervals(
    scores: Mapping[str, Sequence[np.ndarray]],
    counts: Mapping[str, Sequence[np.ndarray]],
    confidence: float,
) -> dict[str, Interval]:
    """Return each algorithm's mean rank over runs, and over tasks the mean of that.

    Ranks among the N runs of k algorithms are brought to those among k, 1/2 + (rank -
    1/2) k / N, so that tasks weigh alike: with as many runs of each, the rank is 1 if
    all runs of an algorithm are better than all others, and k if they are worse.

    Args:
        scores: algorithm -> final returns `[runs]` of each task; a missing one is worse
            than any.
        counts: algorithm -> `[runs, resamples]` of each task.
        confidence: of the intervals.
    """
    names, of_tasks = list(scores), list(zip(*scores.values(), strict=True))
    flat = [count for name in names for count in counts[name]]
    step = len(of_tasks)

    def statistic(*counts: Array) -> Array:
        # Those of one task, in the order of the algorithms.
        drawn = (counts[i::step] for i in range(step))
        each = [mean_ranks(s, c) for s, c in zip(of_tasks, drawn, strict=True)]
        return np.mean(
            [
                0.5 + (rank - 0.5) * len(names) / sum(map(len, runs))
                for rank, runs in zip(each, of_tasks, strict=True)
            ],
            axis=0,
        )

    found = bootstrap(statistic, flat, confidence)
    return {name: Interval(*(x[i] for x in found)) for i, name in enumerate(names)}


def _of_pool(of: Array, scores: Sequence[np.ndarray], *counts: Array) -> Array:
    return of(np.concatenate(scores)[:, None], np.concatenate(counts))


def _of_means(of: Array, scores: Sequence[np.ndarray], *counts: Array) -> Array:
    means = [
        aggregates.mean(score[:, None], count)
        for score, count in zip(scores, counts, strict=True)
    ]
    return of(np.stack(means))
