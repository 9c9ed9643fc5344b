"""Dot and whisker: estimates with their intervals, a row each."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import rows, style, tick_labels

Fill = Literal["none", "left", "full"]

MARKER: dict[str, Any] = {
    "markersize": 4.6,
    "markeredgewidth": 1.1,
    "markerfacecoloralt": style.PAPER,
    "linestyle": "",
}
"""The look of an estimate, but for its colour and its shape."""


def better(higher: bool) -> str:
    """Return in words which way is better."""
    return "higher is better →" if higher else "← lower is better"


def scalars(interval: Interval, shapes: Sequence[tuple[int, ...]], name: str) -> list:
    """Return `(estimate, low, high)` for each number of an interval.

    Raises:
        ValueError: it has another shape than one of `shapes`, or its parts differ.
    """
    parts = [np.asarray(part, float) for part in interval]
    if parts[0].shape not in shapes or len({part.shape for part in parts}) > 1:
        found = ", ".join(str(part.shape) for part in parts)
        raise ValueError(
            f"Expected estimate, low and high of {name} to be of shape "
            f"{' or '.join(map(str, shapes))}, got {found}."
        )
    return list(zip(*(part.reshape(-1).tolist() for part in parts), strict=True))


def whisker(
    axes: Axes,
    y: float,
    scalar: tuple[float, float, float],
    *,
    color: str,
    label: str,
    marker: str = "o",
    fill: Fill = "full",
) -> None:
    """Draw an estimate and its interval at a height, or say that there is none."""
    estimate, low, high = scalar
    if not np.isfinite(estimate):
        rows.note(axes, y, "no value")
        return
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [y, y], color=color, linewidth=1.6, label=f"_{label}")
    else:
        _without_interval(axes, estimate, y)
    axes.plot(
        [estimate],
        [y],
        color=color,
        marker=marker,
        fillstyle=fill,
        markerfacecolor=style.PAPER if fill == "none" else color,
        zorder=4,
        label=label,
        **MARKER,
    )


def _without_interval(axes: Axes, x: float, y: float) -> None:
    """Say beside a dot that its interval is not known."""
    axes.annotate(
        "no interval",
        (x, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.points(0.7),
        color=style.FAINT,
    )


def scaled(axes: Axes, most: int = 3, margin: float = 0.12) -> None:
    """Scale a panel to what is drawn in it; nothing has no scale."""
    if axes.get_lines():
        axes.margins(x=margin)
        low, high = axes.get_xlim()
        # What agrees in three digits is one point: its ticks could not be read.
        least = 1e-3 * max(abs(low), abs(high))
        if high - low < least:
            axes.set_xlim((low + high - least) / 2, (low + high + least) / 2)
        tick_labels.plain_numbers(axes.xaxis, most)
    else:
        axes.set_xticks([])
