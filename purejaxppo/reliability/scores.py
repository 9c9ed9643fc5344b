"""Scores of many runs on many tasks: normalisation, and what Agarwal et al. 2021 show.

`scores` is `[runs, tasks]`, higher is better; a NaN is a missing score.
Source: "Deep reinforcement learning at the edge of the statistical precipice".
"""

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array, as_array, as_floating, mean_where


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
        raise ValueError(
            f"Expected reference scores with high > low, got low {low} and high {high}."
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
    xp, scores = as_floating(scores)
    return target - aggregates.mean(xp.minimum(scores, target), counts)


def probability_of_improvement(
    x: Array,
    y: Array,
    counts_x: Array | None = None,
    counts_y: Array | None = None,
) -> Array:
    """Return the chance that a run of `x` is better than one of `y`, ties half.

    U / (n m) of Mann and Whitney; the mean of all pairs.

    Args:
        x: `[n]` scores on one task, NaN where missing.
        y: `[m]`, likewise.
        counts_x: `[n, ...]`, how often each run of `x` counts.
        counts_y: `[m, ...]`, likewise.

    Returns:
        In [0, 1], `[...]`; NaN where either has no score.
    """
    xp, x = as_floating(x)
    _, y = as_floating(y)
    better = xp.asarray(x[:, None] > y[None], dtype=x.dtype)
    better = better + 0.5 * xp.asarray(x[:, None] == y[None], dtype=x.dtype)
    weights = [
        xp.asarray(~xp.isnan(v), dtype=x.dtype).reshape(-1, *(1,) * (_ndim(c) - 1))
        * (1 if c is None else c)
        for v, c in ((x, counts_x), (y, counts_y))
    ]
    pairs = xp.sum(xp.tensordot(better.T, weights[0], axes=1) * weights[1], axis=0)
    count = xp.sum(weights[0], axis=0) * xp.sum(weights[1], axis=0)
    return xp.where(count > 0, pairs / xp.maximum(count, 1), xp.nan)


def _ndim(counts: Array | None) -> int:
    return 1 if counts is None else counts.ndim


def performance_profile(
    scores: Array, thresholds: Array, counts: Array | None = None
) -> Array:
    """Return the share of the scores above each threshold, pooled over all axes.

    The score distribution 1 / (n m) Σ 1[score > threshold].

    Args:
        scores: `[runs, ...]`, NaN where missing.
        thresholds: `[thresholds]`.
        counts: the shape of the scores, how often each counts.

    Returns:
        `[thresholds]` in [0, 1], falling.
    """
    xp, scores = as_floating(scores)
    flat = scores.reshape((-1, 1))
    _, levels = as_array(xp.asarray(thresholds, dtype=scores.dtype))
    times = xp.logical_not(xp.isnan(flat))
    if counts is not None:
        times = times * counts.reshape((-1, 1))
    above = xp.asarray(flat > levels[None], dtype=scores.dtype)
    return mean_where(above, times, axis=0)
