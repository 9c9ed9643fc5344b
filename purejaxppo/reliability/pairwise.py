"""Two algorithms: how often a run of one beats one of the other, and the runs it takes.

A run without a final return is worse than any.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability.analysis import Analysis
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.caveats import INTERVAL_RUNS
from purejaxppo.reliability.intervals import Interval, bootstrap
from purejaxppo.reliability.permutation_tests import Power, power
from purejaxppo.reliability.scores import probability_of_improvement

POWER_RESAMPLES = 500
"""For each number of runs that is tried: a power of .8 is known to .02."""


class Pair(NamedTuple):
    """Two algorithms.

    Attributes:
        first: one of them.
        second: the other.
        improvement: task -> probability that a run of the first has a better final
            return than one of the second.
        overall_improvement: its mean over tasks.
        power: task -> how many runs would tell their final returns apart; `None` where
            runs are fewer than `INTERVAL_RUNS`, and show too little of their spread.
    """

    first: str
    second: str
    improvement: dict[str, Interval]
    overall_improvement: Interval
    power: dict[str, Power | None]


def improvement(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    counts: Sequence[np.ndarray],
    confidence: float,
) -> Interval:
    """Return the probability of improvement on each task, and last their mean.

    A missing score is worse than any.

    Args:
        first: final returns `[runs]` of an algorithm on each task.
        second: likewise, of another.
        counts: `[runs, resamples]` of the first's tasks, then of the second's.
        confidence: of the intervals.

    Returns:
        `[tasks + 1]`.
    """
    tasks = len(first)
    x, y = ([worst_if_missing(v) for v in of] for of in (first, second))

    def statistic(*counts: Array) -> Array:
        each = [
            probability_of_improvement(x[i], y[i], counts[i], counts[tasks + i])
            for i in range(tasks)
        ]
        return np.stack([*each, np.mean(each, axis=0)])

    return bootstrap(statistic, counts, confidence)


def worst_if_missing(scores: np.ndarray) -> np.ndarray:
    """Return the scores, those that are missing lower than any."""
    return np.where(np.isnan(scores), -np.inf, scores)


def powers(
    first: Sequence[Analysis], second: Sequence[Analysis], seed: int, level: float
) -> dict[str, Power | None]:
    """Return for each task how many runs would tell final returns apart."""
    found: dict[str, Power | None] = {}
    for x, y in zip(first, second, strict=True):
        scores = [worst_if_missing(analysis.scores) for analysis in (x, y)]
        found[x.task] = None
        if min(map(len, scores)) >= INTERVAL_RUNS:
            found[x.task] = power(
                seed, scores[0], scores[1], level=level, num_resamples=POWER_RESAMPLES
            )
    return found
