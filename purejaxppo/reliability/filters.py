"""Curves on a regular grid, and what is left of them below a frequency."""

import functools

import numpy as np

from purejaxppo.reliability.across_time import check_steps
from purejaxppo.reliability.arrays import Array, as_floating
from purejaxppo.reliability.curves import fill_forward

ORDER = 8
"""Of the Butterworth filter (Chan et al. 2020)."""

GRID = 1000
"""Points of the grid that curves are filtered on.

The filter's threshold is a share of the Nyquist frequency, so that it says nothing
until the distance of the points is fixed: the reference's example has 1000 of them.
"""


def regular(env_steps: np.ndarray, num_points: int = GRID) -> np.ndarray:
    """Return `num_points` equidistant times from the first to the last step.

    Args:
        env_steps: `[time]`, increasing.
        num_points: at least 2.
    """
    return np.linspace(env_steps[0], env_steps[-1], num_points)


def resampled(env_steps: np.ndarray, curves: Array, grid: np.ndarray) -> Array:
    """Return curves at other times, linear between their observations.

    Before the first observation a curve is as it is there, after the last likewise.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[..., time]`, NaN where nothing was observed.
        grid: `[points]` environment steps, static.

    Returns:
        `[..., points]`, NaN for a run without any observation.

    Raises:
        ValueError: steps do not increase, or are not as many as the points.
    """
    xp, curves = as_floating(curves)
    steps = check_steps(env_steps, curves)
    seen = xp.logical_not(xp.isnan(curves))
    times = xp.where(seen, xp.asarray(steps, dtype=curves.dtype), xp.nan)
    right = np.minimum(np.searchsorted(steps, grid, side="left"), len(steps) - 1)
    left = np.maximum(np.searchsorted(steps, grid, side="right") - 1, 0)
    before, after = (
        [_nearest(x, flip)[..., xp.asarray(index)] for x in (curves, times)]
        for flip, index in ((False, left), (True, right))
    )
    (y0, t0), (y1, t1) = before, after
    at = xp.asarray(grid, dtype=curves.dtype)
    gap = t1 - t0
    share = xp.where(gap > 0, (at - t0) / xp.where(gap > 0, gap, 1), 0)
    between = y0 + (y1 - y0) * xp.clip(share, 0, 1)
    return xp.where(xp.isnan(y0), y1, xp.where(xp.isnan(y1), y0, between))


def _nearest(x: Array, flip: bool) -> Array:
    """The last observation up to each time; the next one from it on if `flip`."""
    xp = x.__array_namespace__()
    return (
        xp.flip(fill_forward(xp.flip(x, axis=-1)), axis=-1) if flip else fill_forward(x)
    )


def low_pass(curves: Array, threshold: float, order: int = ORDER) -> Array:
    """Return the curves without what changes fast: a Butterworth filter, both ways.

    SciPy's `butter(order, threshold)` with `filtfilt`, whose steps are linear: for
    curves of one length they are one matrix, which is applied to all of them. The
    filter runs as second-order sections: with its coefficients as one polynomial, as
    the reference has it, one of order 8 at .01 loses its accuracy.

    Args:
        curves: `[..., time]` on a regular grid, without NaN.
        threshold: share of the Nyquist frequency in (0, 1), static.
        order: of the filter, static.

    Returns:
        `[..., time]`, NaN for a run with NaN.

    Raises:
        ValueError: `threshold` is outside (0, 1).
    """
    if not 0 < threshold < 1:
        raise ValueError(f"Expected threshold to be in (0, 1), got {threshold!r}.")
    xp, curves = as_floating(curves)
    matrix = _filter_matrix(curves.shape[-1], float(threshold), order)
    return curves @ xp.asarray(matrix, dtype=curves.dtype)


@functools.lru_cache(maxsize=8)
def _filter_matrix(size: int, threshold: float, order: int) -> np.ndarray:
    """What a curve of `size` points is multiplied with from the right."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(order, threshold, output="sos")
    padding = min(size - 1, 3 * (order + 1))
    return sosfiltfilt(sections, np.eye(size), axis=0, padlen=padding).T
