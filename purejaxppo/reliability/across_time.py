"""Reliability within a run, over its training: `curves` is `[..., time]`.

Dispersion and short-term risk are those of the differences

    d[i] = (y[i] - y[i - 1]) / (t[i] - t[i - 1])  at t[i],

long-term risk that of the drawdown max {y[j] : j <= i} - y[i]. A NaN says that nothing
was observed then; the next observation is compared with the last one before it. A curve
of one point has no differences: what is made of them is NaN.
Source: Chan et al. 2020, "Measuring the reliability of reinforcement learning
algorithms".
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array, as_floating, as_kind_of, gap, in_parts
from purejaxppo.reliability.curves import check_time, fill_forward

Measure: TypeAlias = Literal["iqr", "mad", "std"]

MEASURES = ("iqr", "mad", "std")


def differences(env_steps: np.ndarray, curves: Array) -> Array:
    """Return the change per environment step since the last observation.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[..., time]`, NaN where nothing was observed.

    Returns:
        `[..., time - 1]`, at `env_steps[1:]`; NaN where nothing was observed, or never
        before.

    Raises:
        ValueError: steps do not increase, or are not as many as the points.
    """
    xp, curves = as_floating(curves)
    steps = check_steps(env_steps, curves)
    seen = xp.logical_not(xp.isnan(curves))
    times = [xp.where(seen, part, xp.nan) for part in in_parts(steps, curves)]
    return _since_last(curves) / sum(_since_last(time) for time in times)


def _since_last(x: Array) -> Array:
    return gap(x[..., 1:], fill_forward(x)[..., :-1])


def drawdown(curves: Array) -> Array:
    """Return how far each point is below the best one until then, >= 0.

    Args:
        curves: `[..., time]`, NaN where nothing was observed.

    Returns:
        `[..., time]`, NaN where nothing was observed.

    Raises:
        ValueError: there is no time.
    """
    xp, curves = as_floating(curves)
    check_time(curves)
    best = xp.maximum.accumulate(xp.where(xp.isnan(curves), -xp.inf, curves), axis=-1)
    return gap(best, curves)


def curve_range(curves: Array) -> Array:
    """Return the 95th percentile of a run's observations less the first of them.

    The unit in which Chan et al. 2020 compare tasks. It is 0 for a constant curve and
    may be negative for one that falls: `in_units` leaves such runs out.

    Args:
        curves: `[..., time]`, NaN where nothing was observed.

    Returns:
        `[...]`, NaN for a run without any observation.

    Raises:
        ValueError: there is no time.
    """
    xp, curves = as_floating(curves)
    first = fill_forward(xp.flip(curves, axis=-1))[..., -1]
    return gap(aggregates.quantile(xp.moveaxis(curves, -1, 0), 0.95), first)


def in_units(values: Array, unit: Array) -> Array:
    """Return values / unit, NaN where the unit is not positive and finite.

    Args:
        values: any shape.
        unit: broadcast against the values, `curve_range` for instance.
    """
    xp, unit = as_floating(unit)
    usable = xp.logical_and(unit > 0, xp.isfinite(unit))
    return values / xp.where(usable, unit, xp.nan)


def dispersion_across_time(
    env_steps: np.ndarray,
    curves: Array,
    points: Sequence[float] | np.ndarray,
    window: float,
    measure: Measure = "iqr",
) -> Array:
    """Return the spread of the differences in the window before each point.

    At point e: over the d[i] with e - window < t[i] <= e. Lower is better.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[..., time]`, NaN where nothing was observed.
        points: `[points]` evaluation points in environment steps, static.
        window: width in environment steps, static.
        measure: interquartile range, median absolute deviation, or standard deviation
            (n - 1).

    Returns:
        `[..., points]`, NaN where a window holds fewer than two differences.

    Raises:
        ValueError: `measure` is unknown, or as `differences` and `windows` say.
    """
    xp, change = as_floating(_at_least_one(differences(env_steps, curves)))
    inside, counted = windows(np.asarray(env_steps)[1:], points, window)
    held = xp.where(xp.asarray(counted), change[..., xp.asarray(inside)], xp.nan)
    return spread(xp.moveaxis(held, -1, 0), measure)


def _at_least_one(change: Array) -> Array:
    """The differences, or a missing one if there are none: an axis to reduce over."""
    xp = change.__array_namespace__()
    if change.shape[-1] > 0:
        return change
    return xp.full((*change.shape[:-1], 1), xp.nan, dtype=change.dtype)


def spread(scores: Array, measure: Measure, counts: Array | None = None) -> Array:
    """Return the width of the interquartile range, or another measure, over axis 0.

    Args:
        scores: `[runs, ...]`, NaN where missing.
        measure: "iqr", "mad" or "std".
        counts: how often each run counts, see `aggregates`.

    Returns:
        `[...]`, NaN where fewer than two runs have a score: one is not a spread of 0.

    Raises:
        ValueError: `measure` is unknown.
    """
    check_measure(measure)
    xp, scores = as_floating(as_kind_of(scores, counts))
    width = {"iqr": _width, "mad": aggregates.mad, "std": aggregates.std}[measure]
    enough = aggregates.num_observed(scores, counts) > 1
    return xp.where(enough, width(scores, counts), xp.nan)


def _width(scores: Array, counts: Array | None) -> Array:
    quartiles = aggregates.iqr(scores, counts)
    # Two infinite quartiles of one sign are no width.
    q25, q75 = (aggregates.finite(q) for q in quartiles)
    return q75 - q25


def check_measure(measure: str) -> None:
    """Raise unless `measure` is one of `MEASURES`.

    Raises:
        ValueError: it is not.
    """
    if measure not in MEASURES:
        raise ValueError(
            f"Expected measure to be one of {', '.join(MEASURES)}, got {measure!r}."
        )


def short_term_risk(env_steps: np.ndarray, curves: Array, alpha: float) -> Array:
    """Return the CVaR of a run's differences: its worst drops from point to point.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[..., time]`, NaN where nothing was observed.
        alpha: in (0, 0.5], static: the share of the differences in the lower tail.

    Returns:
        `[...]`, per environment step; higher is better. NaN where the tail holds no
        difference.

    Raises:
        ValueError: `alpha` is out of range, or as `differences` says.
    """
    xp, change = as_floating(_at_least_one(differences(env_steps, curves)))
    return aggregates.cvar(xp.moveaxis(change, -1, 0), alpha)


def long_term_risk(curves: Array, alpha: float) -> Array:
    """Return the CVaR of a run's drawdown: how far it falls behind its own best.

    The upper tail, >= 0: the reference's example takes the lower one, the smallest
    drawdowns, which is about 0 for any run.

    Args:
        curves: `[..., time]`, NaN where nothing was observed.
        alpha: in (0, 0.5], static: the share of the points in the upper tail.

    Returns:
        `[...]`, lower is better. NaN where the tail holds no point.

    Raises:
        ValueError: `alpha` is out of range.
    """
    xp, depth = as_floating(drawdown(curves))
    return aggregates.cvar(xp.moveaxis(depth, -1, 0), alpha, "upper")


def max_drawdown(curves: Array) -> Array:
    """Return the largest drawdown of each run.

    Args:
        curves: `[..., time]`, NaN where nothing was observed.

    Returns:
        `[...]`, >= 0; NaN for a run without any observation.
    """
    xp, depth = as_floating(drawdown(curves))
    deepest = xp.max(xp.where(xp.isnan(depth), -1, depth), axis=-1)
    return xp.where(deepest < 0, xp.nan, deepest)


def windows(
    times: np.ndarray, points: Sequence[float] | np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the times in (point - width, point] for each point.

    Args:
        times: `[time]`, increasing.
        points: `[points]`.
        width: > 0, in the unit of the times.

    Returns:
        Indices `[points, most]`, and which of them count.

    Raises:
        ValueError: `width` is not positive.
    """
    if not width > 0:
        raise ValueError(f"Expected window to be > 0, got {width!r}.")
    # A point may be a share of the training such as 249999.99999999997 steps.
    ends = np.asarray(points, float) + 1e-9 * width
    start = np.searchsorted(times, ends - width, side="right")
    stop = np.searchsorted(times, ends, side="right")
    most = max(1, int((stop - start).max(initial=0)))
    index = start[:, None] + np.arange(most)
    return np.minimum(index, max(len(times) - 1, 0)), index < stop[:, None]


def check_steps(env_steps: np.ndarray, curves: Array) -> np.ndarray:
    """Return the steps in float64, or refuse those that do not fit the curves.

    Raises:
        ValueError: they do not increase, or are not as many as the points.
    """
    steps = np.asarray(env_steps, np.float64)
    if steps.shape != curves.shape[-1:]:
        raise ValueError(
            f"Expected env_steps to be [time] = {curves.shape[-1:]}, got {steps.shape}."
        )
    if not (np.isfinite(steps).all() and (np.diff(steps) > 0).all()):
        raise ValueError("Expected env_steps to be finite and to increase.")
    return steps
