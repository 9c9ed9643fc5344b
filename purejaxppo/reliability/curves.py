"""Reductions over time: `curves` is `[runs, time]`, the last axis is time.

A NaN says that nothing was observed at that time (no episode ended).
"""

import math

import numpy as np

from purejaxppo.reliability.arrays import Array, as_floating, mean_where


def fill_forward(curves: Array) -> Array:
    """Return the curves with the last observation carried forward.

    filled[t] = curves[max {i <= t : curves[i] is not NaN}].

    Args:
        curves: `[..., time]`, NaN where nothing was observed.

    Returns:
        `[..., time]`, NaN only before the first observation.

    Raises:
        ValueError: there is no time axis, or it is empty.
    """
    xp, curves = as_floating(curves)
    check_time(curves)
    index = xp.where(xp.isnan(curves), 0, xp.arange(curves.shape[-1]))
    return xp.take_along_axis(curves, xp.maximum.accumulate(index, axis=-1), axis=-1)


def points_at_the_end(points: int, fraction: float = 0.1) -> int:
    """Return how many of the points are the end of the training, at least 1."""
    # The subtraction keeps 0.1 * 30 = 3.0000000000000004 at 3 points.
    return max(1, math.ceil(fraction * points - 1e-9))


def final_performance(curves: Array, fraction: float = 0.1) -> Array:
    """Return the performance of each run at the end of its training.

    The mean of the observations in the last ceil(fraction x time) points. A run
    with none there has its last observation carried forward.

    Args:
        curves: `[..., time]`, NaN where nothing was observed.
        fraction: in (0, 1], static: the share of the time that counts as the end.

    Returns:
        `[...]`, NaN for a run without any observation.

    Raises:
        ValueError: `fraction` is outside (0, 1], or there is no time.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"Expected fraction to be in (0, 1], got {fraction!r}")
    xp, curves = as_floating(curves)
    check_time(curves)
    window = curves[..., -points_at_the_end(curves.shape[-1], fraction) :]
    observed = xp.logical_not(xp.isnan(window))
    average = mean_where(window, observed, axis=-1)
    last = fill_forward(curves)[..., -1]
    return xp.where(xp.any(observed, axis=-1), average, last)


def thinned(
    env_steps: np.ndarray, curves: np.ndarray, points: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Return curves of few points for a picture: means of equally many in a row.

    Where they cannot be equally many, some bins hold one point more, and none less: in
    a bin of few points few runs have an observation, and statistics over runs jump.

    Args:
        env_steps: `[time]`.
        curves: `[runs, time]`, NaN where nothing was observed.
        points: the most there are to be, at least 1.

    Returns:
        The last step of each bin `[bins]` and the means of the observations in it
        `[runs, bins]`, NaN without one; all as it is if there are no more points.

    Raises:
        ValueError: `points` is below 1, or there is no time.
    """
    if points < 1:
        raise ValueError(f"points={points!r} must be at least 1.")
    check_time(curves)
    time = len(env_steps)
    bins = time // math.ceil(time / points)
    stop = np.arange(1, bins + 1) * time // bins
    start = np.concatenate([[0], stop[:-1]])
    seen = ~np.isnan(curves)
    count = np.add.reduceat(seen, start, axis=-1, dtype=int)
    total = np.add.reduceat(np.where(seen, curves, 0), start, axis=-1)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return env_steps[stop - 1], means


def entropy_collapsed(
    entropy: Array, num_dims: int = 0, fraction: float = 0.25
) -> Array:
    """Return which runs lost their exploration early in their training.

    Discrete actions: the entropy fell below a tenth of its first value. A Box of
    `num_dims` dimensions: it fell by num_dims ln 10, a tenth of each standard
    deviation. At any time within the first `fraction` of the curve.

    Args:
        entropy: `[..., time]` of the policy, in nats.
        num_dims: static: dimensions of a Box of actions, 0 for discrete ones.
        fraction: in (0, 1], static: the share of the time that counts as early.

    Returns:
        `[...]` bools.

    Raises:
        ValueError: `fraction` is outside (0, 1], or there is no time.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"Expected fraction to be in (0, 1], got {fraction!r}.")
    xp, entropy = as_floating(entropy)
    check_time(entropy)
    points = math.ceil(fraction * entropy.shape[-1])
    early, first = entropy[..., :points], entropy[..., :1]
    floor = first - num_dims * math.log(10) if num_dims else 0.1 * first
    return xp.any(early < floor, axis=-1)


def check_time(curves: Array) -> None:
    """Raise unless there is a time.

    Raises:
        ValueError: the last axis is empty, or there is none.
    """
    if curves.ndim == 0 or curves.shape[-1] == 0:
        raise ValueError(
            f"Expected curves to hold at least one time on the last axis, got shape "
            f"{curves.shape}."
        )
