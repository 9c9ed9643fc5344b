"""How likely one algorithm is better than another: a table with a ground of colour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import facets, style, tick_labels

# As far from the middle is as strong on both sides, told apart by all.
COLORS = LinearSegmentedColormap.from_list(
    "improvement", [style.WORSE, style.EVEN, style.BETTER]
)

_SHOWN = "Probability that a run of the row is better than one of the column"

_LEAST = 0.19
"""Inches of the smallest cell that holds a number."""


@style.styled
def improvement(
    names: Sequence[str],
    probabilities: Array,
    low: Array,
    high: Array,
    *,
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw how probable it is that a run of the row beats one of the column.

    Blue where the row does, vermillion where the column does, white at one half; bold
    where the interval leaves one half out. The diagonal is empty.

    Args:
        names: of n algorithms.
        probabilities: `[n, n]` in [0, 1], NaN where not known.
        low: `[n, n]`, ends of the intervals.
        high: likewise.
        title: in place of what is shown.
        width: inches; few algorithms take less, very many more.

    Raises:
        ValueError: a shape is not `[n, n]`.
    """
    given = ("probabilities", probabilities), ("low", low), ("high", high)
    values = [_checked(name, table, len(names)) for name, table in given]
    labels, count = min(1.4, 0.3 * width), len(names)
    cell = np.clip((width - labels - 0.1) / max(1, count), _LEAST, 0.85)
    size = max(count * cell + labels, 3.2), count * min(cell, 0.42) + 1.3
    figure, axes = style.one_panel(*size, grid=None)
    facets.headline(figure, title or _SHOWN)
    if len(names) < 2:
        style.say(axes, "two algorithms make a comparison" if names else "no data")
    else:
        _ground(axes, values[0])
        _numbers(axes, *values, cell=cell)
        _margins(axes, names, labels, cell)
    return figure


def _checked(field: str, table: Array, count: int) -> np.ndarray:
    values = np.asarray(table, float)
    if values.shape != (count, count):
        raise ValueError(
            f"Expected {field} to be [n, n] with n = {count} names, got shape "
            f"{values.shape}."
        )
    return values


def _ground(axes: Axes, probabilities: np.ndarray) -> None:
    """Colour the cells; those without a number stay empty."""
    ground = np.where(np.eye(len(probabilities), dtype=bool), np.nan, probabilities)
    axes.pcolormesh(
        np.ma.masked_invalid(ground),
        cmap=COLORS,
        norm=Normalize(0, 1),
        edgecolor=style.PAPER,
        linewidth=1.5,
    )
    axes.invert_yaxis()


def _numbers(
    axes: Axes, values: np.ndarray, low: np.ndarray, high: np.ndarray, *, cell: float
) -> None:
    """Write each probability, and its interval where there is room for it."""
    room, share = cell > 0.5, min(1.0, max(0.55, 1.6 * cell))
    for row, column in np.ndindex(*values.shape):
        value, below, above = (x[row, column] for x in (values, low, high))
        if row == column:
            continue
        look: dict[str, Any] = {"ha": "center", "va": "center"}
        if not np.isfinite(value):
            axes.text(column + 0.5, row + 0.5, "n/a", color=style.FAINT, **look)
            continue
        look["color"] = _ink_on(float(value))
        both = room and np.isfinite(below) and np.isfinite(above)
        axes.text(
            column + 0.5,
            row + (0.36 if both else 0.5),
            f"{value:.2f}",
            fontsize=style.points(share),
            fontweight="bold" if below > 0.5 or above < 0.5 else "normal",
            **look,
        )
        if both:
            ends, size = f"{below:.2f}–{above:.2f}", style.points(0.65)
            axes.text(column + 0.5, row + 0.7, ends, fontsize=size, **look)


def _ink_on(value: float) -> str:
    """Return the letters' colour of more contrast on the ground of a value."""
    ground = _luminance(COLORS(Normalize(0, 1)(value)))
    dark, light = (_luminance(color) for color in (style.ON_LIGHT, style.ON_DARK))
    darker = (ground + 0.05) / (dark + 0.05) > (light + 0.05) / (ground + 0.05)
    return style.ON_LIGHT if darker else style.ON_DARK


def _luminance(color: ColorType) -> float:
    """The relative luminance of WCAG 2, in [0, 1]."""
    channels = np.asarray(to_rgb(color))
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _margins(axes: Axes, names: Sequence[str], labels: float, cell: float) -> None:
    """Name rows and columns, and say below what the colours are."""
    places, small = np.arange(len(names)) + 0.5, cell < 0.3
    left = tick_labels.names_that_fit(
        names, style.characters(labels, 0.83), 1 if small else 2
    )
    axes.set_yticks(places, left)
    upright = len(names) > 6 or small
    letters = style.characters(1.1 if upright else cell, 0.83)
    top = tick_labels.names_that_fit(
        names, letters, 1 if small else 2 if upright else 3
    )
    axes.set_xticks(places, top, rotation=90 if upright else 0)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        "blue: the row is better; orange: the column is\n"
        "bold: the interval leaves 0.5 out",
        fontsize=style.points(0.83),
        color=style.FAINT,
    )
