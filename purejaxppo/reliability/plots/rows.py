"""A row for each algorithm: its name on the left, numbers on the right."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from purejaxppo.reliability.plots import style, tick_labels


def make_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Give axes one row a label, the first on top, every other one shaded."""
    style.tidy(axes, "x")
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    for row in range(1, len(labels), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=style.BAND, linewidth=0, zorder=0)


def note(axes: Axes, y: float, text: str) -> None:
    """Write into a row why it is empty."""
    axes.text(
        0.5,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        fontsize=style.points(0.75),
        color=style.FAINT,
    )


def beside(axes: Axes, y: float, text: str, color: str, points: float) -> None:
    """Write to the right of a row, the text's end so many points from the axes."""
    across = axes.get_yaxis_transform()
    axes.annotate(text, (1, y), xycoords=across, **_column(color, (points, 0)))


def heading(axes: Axes, text: str, color: str, points: float) -> None:
    """Write above what is `beside` the rows, as far from the axes."""
    look: dict[str, Any] = {**_column(color, (points, 3)), "va": "bottom"}
    axes.annotate(text, (1, 1), xycoords="axes fraction", **look)


def _column(color: str, offset: tuple[float, float]) -> dict[str, Any]:
    """The look of a text that ends at an offset, in points."""
    return {
        "xytext": offset,
        "textcoords": "offset points",
        "ha": "right",
        "va": "center",
        "fontsize": style.points(0.83),
        "color": color,
        "annotation_clip": False,
    }


def panel_labels(names: Sequence[str], width: float, lines: int) -> list[str]:
    """Return the names of rows beside the first of many panels."""
    letters = style.characters(max(0.15 * width, 0.75), 0.83)
    return tick_labels.names_that_fit(names, letters, lines)
