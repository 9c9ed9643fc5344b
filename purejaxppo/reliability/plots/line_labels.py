"""Names at the ends of lines, in place of a legend."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from purejaxppo.reliability.plots import style
from purejaxppo.reliability.plots.facets import figure_of


class End(NamedTuple):
    """The end of a line, and what is written beside it.

    Attributes:
        x: of the end, in data; NaN for a line without a point.
        y: likewise.
        text: one or more lines.
        color: of the line.
        linestyle: of the line.
    """

    x: float
    y: float
    text: str
    color: str
    linestyle: Any = "-"


def end_of(steps: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the last point that was observed, NaN if there is none."""
    seen = np.flatnonzero(~np.isnan(values))
    if seen.size == 0:
        return np.nan, np.nan
    return float(steps[seen[-1]]), float(values[seen[-1]])


def write_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write the texts to the right of the axes, in the order of the ends, apart.

    A short line in the colour of its own leads from each end to its text: coloured
    letters would be too pale for some.

    Args:
        axes: complete but for the texts; their limits are final.
        ends: of the lines.
    """
    if not ends:
        return
    figure = figure_of(axes)
    # The layout says how high the axes are.
    figure.draw_without_rendering()
    height = axes.bbox.height * 72 / figure.dpi
    size = style.points(0.83)
    wanted = [height * _share(axes, end) for end in ends]
    heights = [1.25 * size * (1 + end.text.count("\n")) for end in ends]
    for end, y in zip(ends, spread(wanted, heights, height), strict=True):
        place = (1.05, y / height)
        drawn = np.isfinite(end.y)
        axes.annotate(
            end.text,
            xy=(end.x, end.y) if drawn else place,
            xycoords="data" if drawn else "axes fraction",
            xytext=place,
            textcoords="axes fraction",
            ha="left",
            va="center",
            fontsize=size,
            linespacing=1.1,
            annotation_clip=False,
            arrowprops=_leader(end) if drawn else None,
        )


def _leader(end: End) -> dict[str, Any]:
    """The look of the line from an end to the left side of its text."""
    return {
        "arrowstyle": "-",
        "color": end.color,
        "linestyle": end.linestyle,
        "linewidth": 1.4,
        "relpos": (0, 0.5),
        "shrinkA": 0,
        "shrinkB": 0,
    }


def _share(axes: Axes, end: End) -> float:
    """Return the height of an end as a share of the axes', 0 without a point."""
    if not np.isfinite(end.y):
        return 0.0
    place = axes.transData.transform((end.x, end.y))
    return float(axes.transAxes.inverted().transform(place)[1])


def spread(
    wanted: Sequence[float], heights: Sequence[float], total: float
) -> np.ndarray:
    """Return centres near the wanted ones at which no two texts overlap.

    Args:
        wanted: centres.
        heights: of the texts.
        total: they lie in [0, total] if there is room, else they go on above.

    Returns:
        Centres, in the order of the arguments.
    """
    order = np.argsort(wanted, kind="stable")
    sizes = np.asarray(heights, float)[order]
    low = np.cumsum(sizes) - sizes / 2
    # In these coordinates texts that touch are at one place, and order is enough.
    free = np.asarray(wanted, float)[order] - low
    merged = _increasing(free)
    merged = np.clip(merged, 0, max(0.0, total - sizes.sum()))
    centres = np.empty(len(order))
    centres[order] = merged + low
    return centres


def _increasing(values: np.ndarray) -> np.ndarray:
    """Return the nearest values that do not fall, in the sense of least squares."""
    if len(values) < 2:
        return values
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values).x
