"""Aggregates over runs: `scores` is `[runs, ...]`, axis 0 is averaged away.

A NaN is a missing score. It enters no aggregate, and `num_observed` counts the
scores that do: show it beside the aggregate, a run that is left out is a finding.
To pool runs x tasks as Agarwal et al. 2021 do, pass `scores.reshape(-1)`.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from purejaxppo.reliability.arrays import Array, as_floating, mean_where

Tail: TypeAlias = Literal["lower", "upper"]

# From here on a quarter of the runs holds at least one run, and quartiles say more
# than the runs themselves: tables and figures show none below.
QUARTILE_RUNS = 4

# Keeps products such as 0.29 * 100 = 28.999999999999996 on their integer.
_ROUNDING = 1e-9


class Quartiles(NamedTuple):
    """The bounds of the middle half of the runs.

    Attributes:
        q25: `[...]`, the 25th percentile.
        q75: `[...]`, the 75th percentile.
    """

    q25: Array
    q75: Array


def num_observed(scores: Array) -> Array:
    """Return how many runs have a score.

    Args:
        scores: `[runs, ...]`, NaN where missing.

    Returns:
        `[...]`, integers.
    """
    xp, scores = _as_scores(scores)
    return xp.sum(xp.logical_not(xp.isnan(scores)), axis=0)


def mean(scores: Array) -> Array:
    """Return the mean over runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    xp, scores = _as_scores(scores)
    return mean_where(scores, xp.logical_not(xp.isnan(scores)), axis=0)


def quantile(scores: Array, q: float) -> Array:
    """Return the linear `q` quantile over runs (NumPy's default method).

    Sorted scores s, position p = (n - 1) q: s[p], interpolated between its
    neighbours, with n the number of observed runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        q: in [0, 1], static.

    Returns:
        `[...]`, NaN where no run has a score.

    Raises:
        ValueError: `q` is outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"Expected q to be in [0, 1], got {q!r}")
    xp, scores = _as_scores(scores)
    position = np.maximum(np.arange(scores.shape[0] + 1) - 1, 0) * q
    ordered, count = xp.sort(scores, axis=0), num_observed(scores)
    low = _at_rank(ordered, np.floor(position), count)
    high = _at_rank(ordered, np.ceil(position), count)
    weight = xp.asarray(position - np.floor(position), dtype=scores.dtype)[count]
    # Equal neighbours are returned as they are: a constant has no spread, not even
    # by rounding, and infinite ones do not become inf - inf.
    equal = low == high
    between = low * (1 - weight) + xp.where(equal, 0, high) * weight
    return xp.where(equal, low, between)


def median(scores: Array) -> Array:
    """Return the median over runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    return quantile(scores, 0.5)


def iqm(scores: Array) -> Array:
    """Return the interquartile mean: the mean of the middle half of the runs.

    Sorted scores s of n runs, c = floor(n / 4): mean of s[c : n - c]. Equal to
    `scipy.stats.trim_mean(scores, 0.25)`. Source: Agarwal et al. 2021, "Deep
    reinforcement learning at the edge of the statistical precipice".

    Args:
        scores: `[runs, ...]`, NaN where missing.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    _, scores = _as_scores(scores)
    count = num_observed(scores)
    cut = count // 4
    return _mean_of_ranks(scores, cut, count - cut)


def iqr(scores: Array) -> Quartiles:
    """Return the interquartile range over runs as its two bounds.

    Its width `q75 - q25` is the dispersion of Chan et al. 2020, "Measuring the
    reliability of reinforcement learning algorithms".

    Args:
        scores: `[runs, ...]`, NaN where missing.

    Returns:
        The 25th and the 75th percentile, each `[...]`.
    """
    return Quartiles(q25=quantile(scores, 0.25), q75=quantile(scores, 0.75))


def cvar(scores: Array, alpha: float, tail: Tail = "lower") -> Array:
    """Return the conditional value at risk: the mean of the worst `alpha` of runs.

    Sorted scores s of n observed runs, k = floor(alpha (n - 1)) + 1: the mean of
    s[:k], in the upper tail of s[n - k:].

    Chan et al. 2020 average the scores <= VaR, the linear 100 alpha percentile
    (upper tail: >= the 100 (1 - alpha) percentile). Without ties these are the same
    k scores. Where others tie with the VaR that definition averages them too: with
    60 runs at a maximum of 500 and 4 at 100 its worst quarter is all 64 runs, and
    the failures vanish in their mean. Counted by rank, the tail keeps its size.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        alpha: in (0, 0.5], static: the share of the runs in the tail.
        tail: "lower" where high scores are good, "upper" where low ones are.

    Returns:
        `[...]`, NaN where alpha n < 1 with n observed runs: such a tail holds no
        run of its own, and a single seed is never passed off as one.

    Raises:
        ValueError: `alpha` or `tail` is out of range.
    """
    if tail not in ("lower", "upper"):
        raise ValueError(f'Expected tail to be "lower" or "upper", got {tail!r}')
    _, scores = _as_scores(scores)
    size, count = tail_size(scores, alpha), num_observed(scores)
    first = 0 if tail == "lower" else count - size
    return _mean_of_ranks(scores, first, first + size)


def tail_size(scores: Array, alpha: float) -> Array:
    """Return how many runs are in the tail that `cvar` averages.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        alpha: in (0, 0.5], static.

    Returns:
        `[...]`, integers: floor(alpha (n - 1)) + 1 for n observed runs, 0 where
        alpha n < 1.

    Raises:
        ValueError: `alpha` is out of range.
    """
    check_alpha(alpha)
    xp, scores = _as_scores(scores)
    # A table over every count, made by NumPy in float64: computed in float32 on a
    # device a size could fall one short.
    count = np.arange(scores.shape[0] + 1)
    size = np.floor(alpha * (count - 1) + _ROUNDING).astype(int) + 1
    size[alpha * count < 1 - _ROUNDING] = 0
    return xp.asarray(size)[num_observed(scores)]


def check_alpha(alpha: float) -> None:
    """Raise unless `alpha` is the share of a tail.

    Args:
        alpha: a Python number; NaN fails.

    Raises:
        ValueError: `alpha` is outside (0, 0.5].
    """
    if not 0 < alpha <= 0.5:
        raise ValueError(f"Expected alpha to be in (0, 0.5], got {alpha!r}.")


def _as_scores(scores: Array) -> tuple[Any, Array]:
    xp, scores = as_floating(scores)
    if scores.ndim == 0 or scores.shape[0] == 0:
        raise ValueError(
            f"scores: axis 0 must hold at least one run, got shape {scores.shape}"
        )
    return xp, scores


def _at_rank(ordered: Array, rank_of_count: np.ndarray, count: Array) -> Array:
    """Return the sorted score at the rank which a table gives for each count."""
    xp = ordered.__array_namespace__()
    # The table is made by NumPy in float64 for the reason given in `tail_size`.
    rank = xp.asarray(rank_of_count.astype(int))[count]
    return xp.take_along_axis(ordered, xp.expand_dims(rank, axis=0), axis=0)[0]


def _mean_of_ranks(scores: Array, first: Array | int, stop: Array) -> Array:
    """Return the mean of the sorted scores from rank `first` to before `stop`."""
    xp = scores.__array_namespace__()
    rank = xp.arange(scores.shape[0]).reshape((-1,) + (1,) * (scores.ndim - 1))
    rank = xp.broadcast_to(rank, scores.shape)
    start = xp.broadcast_to(xp.asarray(first), stop.shape)
    inside = (rank >= start[None]) & (rank < stop[None])
    return mean_where(xp.sort(scores, axis=0), inside, axis=0)
