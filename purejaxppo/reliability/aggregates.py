"""Aggregates over runs: `scores` is `[runs, ...]`, axis 0 is averaged away.

A NaN is a missing score. It enters no aggregate, and `num_observed` counts the
scores that do: show it beside the aggregate, a run that is left out is a finding.
To pool runs x tasks as Agarwal et al. 2021 do, pass `scores.reshape(-1)`.

`counts`, integers of as many axes as the scores, `[runs, ...]`, and broadcast against
them, say how often each run counts: a bootstrap's resample is a column of counts, and
the scores are sorted once for all resamples. They add up to at most the number of runs;
1 each if `None`. With counts of JAX the result is JAX's, whatever the scores are.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from purejaxppo.reliability.arrays import Array, as_floating, as_kind_of, mean_where

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


def num_observed(scores: Array, counts: Array | None = None) -> Array:
    """Return how many runs have a score.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts, see the top of this file.

    Returns:
        `[...]`, integers.
    """
    xp, scores = _as_scores(scores, counts)
    return xp.sum(_times(scores, counts), axis=0)


def mean(scores: Array, counts: Array | None = None) -> Array:
    """Return the mean over runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    _, scores = _as_scores(scores, counts)
    return mean_where(scores, _times(scores, counts), axis=0)


def quantile(scores: Array, q: float, counts: Array | None = None) -> Array:
    """Return the linear `q` quantile over runs (NumPy's default method).

    Sorted scores s, position p = (n - 1) q: s[p], interpolated between its
    neighbours, with n the number of observed runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        q: in [0, 1], static.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where no run has a score.

    Raises:
        ValueError: `q` is outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"Expected q to be in [0, 1], got {q!r}")
    return _quantile(ordered(scores, counts), q)


def median(scores: Array, counts: Array | None = None) -> Array:
    """Return the median over runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    return quantile(scores, 0.5, counts)


def iqm(scores: Array, counts: Array | None = None) -> Array:
    """Return the interquartile mean: the mean of the middle half of the runs.

    Sorted scores s of n runs, c = floor(n / 4): mean of s[c : n - c]. Equal to
    `scipy.stats.trim_mean(scores, 0.25)`. Source: Agarwal et al. 2021, "Deep
    reinforcement learning at the edge of the statistical precipice".

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where no run has a score.
    """
    order = ordered(scores, counts)
    count = order.total
    return _mean_of_ranks(order, count // 4, count - count // 4)


def iqr(scores: Array, counts: Array | None = None) -> Quartiles:
    """Return the interquartile range over runs as its two bounds.

    Its width `q75 - q25` is the dispersion of Chan et al. 2020, "Measuring the
    reliability of reinforcement learning algorithms".

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        The 25th and the 75th percentile, each `[...]`.
    """
    order = ordered(scores, counts)
    return Quartiles(q25=_quantile(order, 0.25), q75=_quantile(order, 0.75))


def std(scores: Array, counts: Array | None = None) -> Array:
    """Return the standard deviation over n runs, its square divided by n - 1.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where fewer than two runs have a score or one has an infinite one.
    """
    xp, scores = _as_scores(scores, counts)
    n = xp.astype(num_observed(scores, counts), scores.dtype)
    square = mean(xp.square(scores - finite(mean(scores, counts))[None]), counts)
    return xp.where(n > 1, xp.sqrt(square * n / xp.maximum(n - 1, 1)), xp.nan)


def mad(scores: Array, counts: Array | None = None) -> Array:
    """Return the median absolute deviation from the median over runs.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where no run has a score or the median is infinite.
    """
    xp, scores = _as_scores(scores, counts)
    return median(xp.abs(scores - finite(median(scores, counts))[None]), counts)


def cvar(
    scores: Array, alpha: float, tail: Tail = "lower", counts: Array | None = None
) -> Array:
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
        counts: how often each run counts.

    Returns:
        `[...]`, NaN where alpha n < 1 with n observed runs: such a tail holds no
        run of its own, and a single seed is never passed off as one.

    Raises:
        ValueError: `alpha` or `tail` is out of range.
    """
    if tail not in ("lower", "upper"):
        raise ValueError(f'Expected tail to be "lower" or "upper", got {tail!r}')
    order = ordered(scores, counts)
    size = _tail_size(order, alpha)
    first = (order.total - size) * (tail == "upper")
    return _mean_of_ranks(order, first, first + size)


def tail_size(scores: Array, alpha: float, counts: Array | None = None) -> Array:
    """Return how many runs are in the tail that `cvar` averages.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        alpha: in (0, 0.5], static.
        counts: how often each run counts.

    Returns:
        `[...]`, integers: floor(alpha (n - 1)) + 1 for n observed runs, 0 where
        alpha n < 1.

    Raises:
        ValueError: `alpha` is out of range.
    """
    return _tail_size(ordered(scores, counts), alpha)


def check_alpha(alpha: float) -> None:
    """Raise unless `alpha` is the share of a tail.

    Args:
        alpha: a Python number; NaN fails.

    Raises:
        ValueError: `alpha` is outside (0, 0.5].
    """
    if not 0 < alpha <= 0.5:
        raise ValueError(f"Expected alpha to be in (0, 0.5], got {alpha!r}.")


def finite(values: Array) -> Array:
    """Return the values, NaN where they are infinite: nothing lies so far from those.

    Args:
        values: any shape.
    """
    xp, values = as_floating(values)
    return xp.where(xp.isfinite(values), values, xp.nan)


class Ordered(NamedTuple):
    """Scores in increasing order, missing ones last.

    Runs are on the last axis, where they are sorted and summed fastest.

    Attributes:
        scores: `[..., runs]`.
        upper: `[..., runs]` integers: how many runs there are up to each of them, so
            that a run that counts c times has the ranks upper - c to upper - 1. A
            missing score has none.
    """

    scores: Array
    upper: Array

    @property
    def total(self) -> Array:
        """`[...]` integers: how many runs have a score."""
        return self.upper[..., -1]


def ordered(scores: Array, counts: Array | None = None) -> Ordered:
    """Sort the scores of runs; see `Ordered`.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        counts: how often each run counts.
    """
    xp, scores = _as_scores(scores, counts)
    scores = xp.moveaxis(scores, 0, -1)
    if counts is None:
        ranked = xp.sort(scores, axis=-1)
        return Ordered(ranked, xp.cumulative_sum(_times(ranked, None), axis=-1))
    drawn = xp.moveaxis(xp.asarray(counts), 0, -1)
    index = xp.argsort(scores, axis=-1)
    ranked = xp.take_along_axis(scores, index, axis=-1)
    shape = np.broadcast_shapes(scores.shape, drawn.shape)
    times = xp.take_along_axis(
        xp.broadcast_to(drawn, shape), xp.broadcast_to(index, shape), axis=-1
    )
    times = _times(ranked, times)
    upper = xp.cumulative_sum(times, axis=-1, dtype=times.dtype)
    return Ordered(xp.broadcast_to(ranked, shape), upper)


def _quantile(order: Ordered, q: float) -> Array:
    xp, count = order.scores.__array_namespace__(), order.total
    # A table over every count, made by NumPy in float64: computed in float32 on a
    # device a rank could fall one short.
    position = np.maximum(np.arange(order.scores.shape[-1] + 1) - 1, 0) * q
    low = _at_rank(order, xp.asarray(np.floor(position).astype(int))[count])
    high = _at_rank(order, xp.asarray(np.ceil(position).astype(int))[count])
    weight = position - np.floor(position)
    weight = xp.asarray(weight, dtype=order.scores.dtype)[count]
    # Equal neighbours are returned as they are: a constant has no spread, not even
    # by rounding, and infinite ones do not become inf - inf.
    equal = low == high
    between = low * (1 - weight) + xp.where(equal, 0, high) * weight
    return xp.where(equal, low, between)


def _tail_size(order: Ordered, alpha: float) -> Array:
    check_alpha(alpha)
    # A table for the reason given in `_quantile`.
    count = np.arange(order.scores.shape[-1] + 1)
    size = np.floor(alpha * (count - 1) + _ROUNDING).astype(int) + 1
    size[alpha * count < 1 - _ROUNDING] = 0
    return order.scores.__array_namespace__().asarray(size)[order.total]


def _as_scores(scores: Array, counts: Array | None) -> tuple[Any, Array]:
    xp, scores = as_floating(as_kind_of(scores, counts))
    if scores.ndim == 0 or scores.shape[0] == 0:
        raise ValueError(
            f"scores: axis 0 must hold at least one run, got shape {scores.shape}"
        )
    return xp, scores


def _times(scores: Array, counts: Array | None) -> Array:
    """How often each score counts, integers; a missing one does not."""
    xp = scores.__array_namespace__()
    observed = xp.logical_not(xp.isnan(scores))
    return xp.astype(observed, int) if counts is None else xp.where(observed, counts, 0)


def _at_rank(order: Ordered, rank: Array) -> Array:
    """Return the score `[...]` at each rank; NaN where there is none."""
    xp = order.scores.__array_namespace__()
    place = xp.sum(order.upper <= rank[..., None], axis=-1, keepdims=True)
    place = xp.minimum(place, order.scores.shape[-1] - 1)
    found = xp.take_along_axis(order.scores, place, axis=-1)[..., 0]
    return xp.where(order.total > rank, found, xp.nan)


def _mean_of_ranks(order: Ordered, first: Array, stop: Array) -> Array:
    """Return the mean of the sorted scores from rank `first` to before `stop`."""
    xp = order.scores.__array_namespace__()
    first, stop = first[..., None], stop[..., None]
    inside = xp.clip(order.upper, first, stop)
    times = inside - xp.concat((first, inside[..., :-1]), axis=-1)
    return mean_where(order.scores, times, axis=-1)
