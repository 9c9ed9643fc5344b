"""Tests of whether one algorithm is better than another, and how many runs that takes.

Ranks are within a task, over all runs of all algorithms, 1 for the best, ties in the
middle. Source: Chan et al. 2020, "Measuring the reliability of reinforcement learning
algorithms", section 4.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from purejaxppo.reliability.arrays import Array, as_floating, as_kind_of
from purejaxppo.reliability.scores import probability_of_improvement

Correction: TypeAlias = Literal["bh", "by", "none"]

CORRECTIONS = ("bh", "by", "none")

CHUNK = 500
"""Permutations at once, which bounds the memory."""


def ranks(scores: Sequence[Array], higher_is_better: bool = True) -> list:
    """Return the rank of each run among all runs of all algorithms on a task.

    Args:
        scores: `[runs]` of each algorithm, NaN where missing.
        higher_is_better: which end has rank 1.

    Returns:
        `[runs]` of each algorithm; missing scores share the last ranks.
    """
    from scipy.stats import rankdata

    pooled = np.concatenate([np.asarray(x, float) for x in scores])
    worst = -np.inf if higher_is_better else np.inf
    pooled = np.where(np.isnan(pooled), worst, pooled)
    ranked = rankdata(-pooled if higher_is_better else pooled)
    return np.split(ranked, np.cumsum([len(x) for x in scores])[:-1])


def places(scores: Sequence[Array], higher_is_better: bool = True) -> list:
    """Return `ranks` over half of all runs, from 0 for the best to 2.

    The difference of two algorithms' means is then P(first better) - P(second better).
    """
    half = sum(len(x) for x in scores) / 2
    return [rank / half for rank in ranks(scores, higher_is_better)]


def mean_ranks(
    scores: Sequence[Array],
    counts: Sequence[Array] | None = None,
    higher_is_better: bool = True,
) -> Array:
    """Return each algorithm's mean rank among all runs of all algorithms on a task.

    With n_a runs of algorithm a: (n_a + 1) / 2 + Σ_b n_b P(b better than a), b the
    others, ties half: the mean of its `ranks`. For `intervals.bootstrap`; over tasks,
    take the mean.

    Args:
        scores: `[runs]` of each algorithm, NaN where missing: these share the last
            ranks.
        counts: how often each run counts, `[runs]` or `[runs, resamples]` of each.
        higher_is_better: which end has rank 1.

    Returns:
        `[algorithms]` or `[algorithms, resamples]`, lower is better.
    """
    first = None if counts is None else counts[0]
    signed = [as_floating(as_kind_of(x, first))[1] for x in scores]
    xp, sign = signed[0].__array_namespace__(), 1 if higher_is_better else -1
    signed = [sign * x for x in signed]
    signed = [xp.where(xp.isnan(x), -xp.inf, x) for x in signed]
    times = [np.ones(len(x), np.int32) for x in signed] if counts is None else counts
    sizes = [xp.sum(xp.asarray(c), axis=0) for c in times]
    found = []
    for a, x in enumerate(signed):
        rank = (sizes[a] + 1) / 2
        for b, y in enumerate(signed):
            if a != b:
                better = probability_of_improvement(y, x, times[b], times[a])
                rank = rank + sizes[b] * better
        found.append(rank)
    return xp.stack(found)


class Contrast(NamedTuple):
    """A difference, and how often chance alone makes one as large.

    Attributes:
        difference: > 0 where the first algorithm is better.
        p_value: two-sided, in (0, 1].
    """

    difference: float
    p_value: float


def permutation_test(
    seed: int,
    x: Sequence[np.ndarray],
    y: Sequence[np.ndarray],
    num_permutations: int = 10_000,
    higher_is_better: bool = True,
) -> Contrast:
    """Return whether two algorithms differ in the mean rank of their runs.

    The runs of each task are dealt anew to the two algorithms. T, the mean over tasks
    of the mean rank of y less that of x, among both and over half of their runs, is
    compared with those T* of chance: p = (1 + #{|T*| >= |T|}) / (1 + permutations).
    T is P(x better than y) - P(y better than x): tasks weigh alike, however many runs
    they have.

    Args:
        seed: of NumPy's generator.
        x: scores `[runs]` of one algorithm on each task, NaN where missing: these
            share the last ranks.
        y: the other's, on the same tasks.
        num_permutations: how often runs are dealt anew.
        higher_is_better: which scores are good.

    Raises:
        ValueError: they have not the same number of tasks, or there is no run or no
            permutation.
    """
    _check_pairs(x, y, num_permutations)
    generator = np.random.default_rng(seed)
    dealt = []
    for one, other in zip(x, y, strict=True):
        ranked = np.concatenate(places([one, other], higher_is_better))
        statistic, sizes = partial(_mean_place, ranked), (len(one), len(other))
        dealt.append(deal(generator, statistic, sizes, num_permutations))
    return contrasts(dealt)[0]


def _mean_place(ranked: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean place with a minus, `[1, dealings]`: the higher the better."""
    return -(ranked @ counts / counts.sum(axis=0))[None]


def permutation_test_of(
    seed: int,
    statistic: Callable[[np.ndarray], Any],
    x: Sequence[np.ndarray],
    y: Sequence[np.ndarray],
    num_permutations: int = 1_000,
) -> Contrast:
    """Return whether two algorithms differ in a statistic over runs.

    As `permutation_test`, but with T the mean over tasks of statistic(x) -
    statistic(y), made anew of the dealt runs: for what no single run has, such as a
    dispersion or a CVaR over runs.

    Args:
        seed: of NumPy's generator.
        statistic: runs `[runs, ...]` -> a number, the higher the better: give a
            dispersion with a minus.
        x: runs `[runs, ...]` of one algorithm on each task.
        y: the other's, on the same tasks.
        num_permutations: how often runs are dealt anew.

    Returns:
        p is NaN where all runs or some that were dealt have no statistic.

    Raises:
        ValueError: they have not the same number of tasks, or there is no run or no
            permutation.
    """
    _check_pairs(x, y, num_permutations)
    generator = np.random.default_rng(seed)
    dealt = []
    for one, other in zip(x, y, strict=True):
        of_counts = partial(_of_each, statistic, np.concatenate([one, other]))
        sizes = len(one), len(other)
        dealt.append(deal(generator, of_counts, sizes, num_permutations))
    return contrasts(dealt)[0]


def _of_each(
    statistic: Callable[[np.ndarray], Any], runs: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """The statistic of the runs that each dealing has given, `[1, dealings]`."""
    return np.array([[float(statistic(runs[dealt > 0])) for dealt in counts.T]])


class Dealt(NamedTuple):
    """Differences on one task as they are, and as chance makes them.

    Attributes:
        observed: `[measures]`, > 0 where the first algorithm is better.
        chance: `[measures, dealings]`.
    """

    observed: np.ndarray
    chance: np.ndarray


def deal(
    generator: np.random.Generator,
    statistic: Callable[[np.ndarray], np.ndarray],
    sizes: tuple[int, int],
    num_permutations: int = 10_000,
) -> Dealt:
    """Deal the runs of a task anew to two algorithms, for many measures at once.

    The statistic is one of counts (see `aggregates`), so that what is sorted or ranked
    is so once for all dealings.

    Args:
        generator: NumPy's; tasks are to take from it one after the other.
        statistic: how often each run counts, integers `[n + m, dealings]`, those of
            the first algorithm before those of the second -> `[measures, dealings]`,
            the higher the better.
        sizes: (n, m), the runs of each.
        num_permutations: how often runs are dealt anew.
    """
    first, total = sizes[0], sum(sizes)

    def difference(index: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(index), total), np.int32)
        np.put_along_axis(counts, index[:, :first], 1, axis=1)
        with np.errstate(invalid="ignore"):  # Two infinite ones have no difference.
            return statistic(counts.T) - statistic(1 - counts.T)

    order, parts = np.arange(total, dtype=np.int32)[None], []
    for start in range(0, num_permutations, CHUNK):
        size = min(CHUNK, num_permutations - start)
        parts.append(difference(generator.permuted(np.repeat(order, size, 0), axis=1)))
    return Dealt(difference(order)[:, 0], np.concatenate(parts, axis=-1))


def contrasts(dealt: Sequence[Dealt]) -> list[Contrast]:
    """Return for each measure the mean difference over tasks, and its p value.

    As `permutation_test` has it; p is NaN where a task, as it is or as it was dealt,
    lacks the measure.

    Args:
        dealt: of each task, with the same number of permutations.
    """
    observed = np.mean([task.observed for task in dealt], axis=0)
    chance = np.mean([task.chance for task in dealt], axis=0)
    return [
        Contrast(float(o), _two_sided(float(o), c))
        for o, c in zip(observed, chance, strict=True)
    ]


def _two_sided(observed: float, chance: np.ndarray) -> float:
    if np.isnan(observed) or np.isnan(chance).any():
        return math.nan
    # What is equal but for rounding counts as equal.
    slack = 1e-12 * max(abs(observed), np.abs(chance).max())
    as_large = np.abs(chance) >= abs(observed) - slack
    return float((1 + as_large.sum()) / (1 + chance.size))


def _check_pairs(
    x: Sequence[np.ndarray], y: Sequence[np.ndarray], num_permutations: int
) -> None:
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"Expected both algorithms on the same tasks, got {len(x)} and {len(y)}."
        )
    if min(len(runs) for runs in (*x, *y)) == 0:
        raise ValueError("Expected at least one run of each algorithm and task, got 0.")
    if num_permutations < 1:
        raise ValueError(
            f"Expected num_permutations to be at least 1, got {num_permutations!r}."
        )


def corrected(p_values: Array, correction: Correction = "bh") -> np.ndarray:
    """Return p values of many tests at once that bound the share of false findings.

    Args:
        p_values: `[tests]` in [0, 1], NaN where there was no test: these stay, and do
            not count as tests.
        correction: "bh", Benjamini and Hochberg 1995 (independent tests, or positively
            dependent ones); "by", Benjamini and Yekutieli 2001 (any); "none".

    Returns:
        `[tests]` in [0, 1].

    Raises:
        ValueError: no such correction, or a p value outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    if correction not in CORRECTIONS:
        raise ValueError(
            f"Expected correction to be one of {', '.join(CORRECTIONS)}, got "
            f"{correction!r}."
        )
    values = np.array(p_values, float)
    tested = ~np.isnan(values)
    outside = values[tested & ~((values >= 0) & (values <= 1))]
    if outside.size > 0:
        raise ValueError(f"Expected p_values to be in [0, 1], got {outside[0]:g}.")
    if correction != "none" and tested.any():
        values[tested] = false_discovery_control(values[tested], method=correction)
    return values


class Power(NamedTuple):
    """How often a test would tell two algorithms apart, by the number of runs.

    Attributes:
        num_runs: `[sizes]` runs of each algorithm.
        power: `[sizes]` shares of the resamples in which the test finds a difference.
        needed: the least number of runs from which on the power is as asked for; `None`
            where none of the sizes has it.
    """

    num_runs: np.ndarray
    power: np.ndarray
    needed: int | None


SIZES = (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)


def power(
    seed: int,
    x: np.ndarray,
    y: np.ndarray,
    sizes: Sequence[int] = SIZES,
    level: float = 0.05,
    wanted: float = 0.8,
    num_resamples: int = 1_000,
) -> Power:
    """Return how many runs tell two algorithms apart at the spread that was measured.

    So many runs of each are drawn with replacement, and the two-sided test of Mann and
    Whitney is made on them, with its normal approximation. It is blind to a difference
    that the measured runs do not show, and optimistic where they are few.

    Args:
        seed: of NumPy's generator.
        x: `[n]` scores of one algorithm, without NaN: give a run without a score the
            worst one, or leave it out and say so.
        y: `[m]` the other's.
        sizes: numbers of runs to try, increasing.
        level: of the test, in (0, 1).
        wanted: the power that is asked for, in (0, 1).
        num_resamples: for each size.

    Raises:
        ValueError: an argument is out of range, or a score is missing.
    """
    from scipy.stats import mannwhitneyu

    for name, scores in (("x", x), ("y", y)):
        _check_scores(name, np.asarray(scores, float))
    _check_power(sizes, level, wanted, num_resamples)
    generator = np.random.default_rng(seed)
    found = []
    for size in sizes:
        first, second = (
            generator.choice(np.asarray(v, float), (num_resamples, size))
            for v in (x, y)
        )
        test = mannwhitneyu(first, second, axis=1, method="asymptotic")
        # All scores equal: no variance, no difference.
        p_values = np.where(np.isnan(test.pvalue), 1.0, test.pvalue)
        found.append(float((p_values <= level).mean()))
    enough = np.asarray(found) >= wanted
    below = np.flatnonzero(~enough)
    first = 0 if below.size == 0 else below[-1] + 1
    needed = int(sizes[first]) if first < len(sizes) else None
    return Power(np.asarray(sizes), np.asarray(found), needed)


def _check_scores(name: str, scores: np.ndarray) -> None:
    if scores.ndim != 1 or scores.size == 0 or np.isnan(scores).any():
        raise ValueError(
            f"Expected {name} to be [runs] scores without NaN, at least one, got "
            f"{np.isnan(scores).sum()} NaN in shape {scores.shape}."
        )


def _check_power(
    sizes: Sequence[int], level: float, wanted: float, num_resamples: int
) -> None:
    sizes = list(sizes)
    if not sizes or sizes[0] < 1 or sorted(set(sizes)) != sizes:
        raise ValueError(f"Expected sizes to be >= 1 and to increase, got {sizes}.")
    for name, value in (("level", level), ("wanted", wanted)):
        if not 0 < value < 1:
            raise ValueError(f"Expected {name} to be in (0, 1), got {value!r}.")
    if num_resamples < 1:
        raise ValueError(
            f"Expected num_resamples to be at least 1, got {num_resamples!r}."
        )
