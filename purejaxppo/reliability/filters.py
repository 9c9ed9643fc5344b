"""Curves on a regular grid, and what is left of them below a frequency."""

import functools

import numpy as np

from purejaxppo.reliability.across_time import check_steps
from purejaxppo.reliability.arrays import Array, as_floating, in_parts, matmul
from purejaxppo.reliability.curves import check_time, fill_forward

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

    Returns:
        `[num_points]`.
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
    steps, grid = check_steps(env_steps, curves), np.asarray(grid, np.float64)
    y0, y1 = _around(curves, steps, grid)
    share = _share(curves, steps, grid)
    # Equal neighbours are returned as they are, as in `aggregates.quantile`.
    equal = y0 == y1
    between = y0 * (1 - share) + xp.where(equal, 0, y1) * share
    between = xp.where(equal, y0, between)
    return xp.where(xp.isnan(y0), y1, xp.where(xp.isnan(y1), y0, between))


def _share(curves: Array, steps: np.ndarray, grid: np.ndarray) -> Array:
    """How much of the time between its two neighbours has passed at a grid point."""
    xp = curves.__array_namespace__()
    seen = xp.logical_not(xp.isnan(curves))
    passed, whole = [], []
    for step, point in zip(
        in_parts(steps, curves), in_parts(grid, curves), strict=True
    ):
        before, after = _around(xp.where(seen, step, xp.nan), steps, grid)
        passed.append(xp.broadcast_to(point, before.shape) - before)
        whole.append(after - before)
    length = sum(whole)
    return xp.where(length > 0, sum(passed) / xp.where(length > 0, length, 1), 0)


def _around(x: Array, steps: np.ndarray, grid: np.ndarray) -> tuple[Array, Array]:
    """The last observation up to each time of the grid, and the next from it on."""
    xp = x.__array_namespace__()
    left = np.maximum(np.searchsorted(steps, grid, side="right") - 1, 0)
    right = np.minimum(np.searchsorted(steps, grid, side="left"), len(steps) - 1)
    before, after = fill_forward(x), fill_forward(xp.flip(x, axis=-1))
    return before[..., left], xp.flip(after, axis=-1)[..., right]


def low_pass(curves: Array, threshold: float, order: int = ORDER) -> Array:
    """Return the curves without what changes fast: a Butterworth filter, both ways.

    SciPy's `butter(order, threshold)` with `filtfilt`, whose steps are linear: for
    curves of one length they are one matrix, which is applied to all of them. The
    filter runs as second-order sections: with its coefficients as one polynomial, as
    the reference has it, one of order 8 at .01 loses its accuracy. A constant passes
    as it is. The matrix has time² numbers.

    Args:
        curves: `[..., time]` on a regular grid, without NaN.
        threshold: share of the Nyquist frequency in (0, 1), static.
        order: of the filter, static.

    Returns:
        `[..., time]`, NaN for a run that is not finite somewhere.

    Raises:
        ValueError: `threshold` is outside (0, 1), or there is no time.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"Expected threshold to be in (0, 1), got {threshold!r}.")
    xp, curves = as_floating(curves)
    check_time(curves)
    matrix = _filter_matrix(curves.shape[-1], float(threshold), order)
    finite = xp.all(xp.isfinite(curves), axis=-1, keepdims=True)
    curves = xp.where(finite, curves, 0)
    start = curves[..., :1]
    smooth = start + matmul(curves - start, xp.asarray(matrix, dtype=curves.dtype))
    return xp.where(finite, smooth, xp.nan)


@functools.lru_cache(maxsize=8)
def _filter_matrix(size: int, threshold: float, order: int) -> np.ndarray:
    """What a curve of `size` points is multiplied with from the right."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(order, threshold, output="sos")
    padding = min(size - 1, 3 * (order + 1))
    return sosfiltfilt(sections, np.eye(size), axis=0, padlen=padding).T
