"""Scores of many runs on many tasks: normalisation, and what Agarwal et al. 2021 show.

`scores` is `[runs, tasks]`, higher is better; a NaN is a missing score.
Source: "Deep reinforcement learning at the edge of the statistical precipice".
"""

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array, as_floating, as_kind_of, matmul


def normalized(scores: Array, low: Array, high: Array) -> Array:
    """Return (scores - low) / (high - low): 0 at one reference score, 1 at the other.

    Args:
        scores: `[runs, tasks]`.
        low: `[tasks]` or a number, that of random play for instance.
        high: `[tasks]` or a number, that of an expert for instance.

    Raises:
        ValueError: a high reference is not above the low one.
    """
    xp, scores = as_floating(scores)
    low, high = (xp.asarray(x, dtype=scores.dtype) for x in (low, high))
    _check_above(low, high)
    low, high = (xp.broadcast_to(x, scores.shape) for x in (low, high))
    return (scores - low) / (high - low)


def _check_above(low: Array, high: Array) -> None:
    try:
        above = bool((high > low).all())
    except TypeError:  # Traced: nobody can know yet.
        return
    if not above:
        low, high = np.broadcast_arrays(low, high)
        worst = np.flatnonzero(~(high > low))[0]
        raise ValueError(
            f"Expected every high reference score to be > the low one, got low "
            f"{low.flat[worst]:g} and high {high.flat[worst]:g}."
        )


def optimality_gap(
    scores: Array, target: float = 1.0, counts: Array | None = None
) -> Array:
    """Return the mean of target - min(score, target): how far runs fall short of it.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        target: the score beyond which more does not count.
        counts: how often each run counts, see `aggregates`.

    Returns:
        `[...]`, lower is better.
    """
    xp, scores = as_floating(as_kind_of(scores, counts))
    return target - aggregates.mean(xp.minimum(scores, target), counts)


def probability_of_improvement(
    x: Array,
    y: Array,
    counts_x: Array | None = None,
    counts_y: Array | None = None,
) -> Array:
    """Return the chance that a run of `x` is better than one of `y`, ties half.

    U / (n m) of Mann and Whitney, the mean of all pairs. Over tasks, take the mean.

    Args:
        x: `[n]` scores on one task, NaN where missing.
        y: `[m]`, likewise.
        counts_x: `[n]` or `[n, resamples]`, how often each run of `x` counts.
        counts_y: `[m]` or `[m, resamples]`, likewise.

    Returns:
        In [0, 1], a number or `[resamples]`; NaN where either has no score.
    """
    xp, x = as_floating(as_kind_of(as_kind_of(x, counts_x), counts_y))
    _, y = as_floating(as_kind_of(as_kind_of(y, counts_x), counts_y))
    times_x, times_y = _times(x, counts_x), _times(y, counts_y)
    order = xp.argsort(x)
    upto = xp.cumulative_sum(times_x[order], axis=0, include_initial=True)
    # How many runs of x are below each of y, or no better.
    below, most = (
        upto[xp.searchsorted(x[order], y, side=s)] for s in ("left", "right")
    )
    pairs = xp.sum((2 * upto[-1:] - below - most) * times_y, axis=0)
    count = 2 * upto[-1] * xp.sum(times_y, axis=0)
    chance = xp.where(count > 0, pairs / xp.maximum(count, 1), xp.nan)
    resampled = any(c is not None and c.ndim > 1 for c in (counts_x, counts_y))
    return chance if resampled else chance[0]


def _times(scores: Array, counts: Array | None) -> Array:
    """How often each score counts, `[scores, resamples]`; a missing one does not."""
    xp = scores.__array_namespace__()
    times = xp.astype(xp.logical_not(xp.isnan(scores)), scores.dtype)[:, None]
    return times if counts is None else times * counts.reshape(len(scores), -1)


def performance_profile(
    scores: Array, thresholds: Array, counts: Array | None = None
) -> Array:
    """Return the share of the scores above each threshold, pooled over all axes.

    The score distribution 1 / (n m) Σ 1[score > threshold].

    Args:
        scores: `[runs, ...]`, NaN where missing.
        thresholds: `[thresholds]`.
        counts: how often each score counts, `[runs, ...]` or `[runs, ..., resamples]`.

    Returns:
        `[thresholds]` or `[thresholds, resamples]` in [0, 1], falling with the
        threshold; NaN where there is no score.
    """
    xp, scores = as_floating(as_kind_of(scores, counts))
    flat, levels = scores.reshape(-1), xp.asarray(thresholds, dtype=scores.dtype)
    times = _times(flat, counts)
    above = matmul(xp.astype(flat[None] > levels[:, None], scores.dtype), times)
    count = xp.sum(times, axis=0, keepdims=True)
    share = xp.where(count > 0, above / xp.maximum(count, 1), xp.nan)
    return share if counts is not None and counts.ndim > scores.ndim else share[:, 0]
