"""The table of dispersion and risk as a picture: a panel a cell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from purejaxppo.reliability.dispersion_and_risk import FRAMES, HIGHER_IS_BETTER
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import error_bars, facets, rows, style, tick_labels


class Place(NamedTuple):
    """Where a cell stands.

    Attributes:
        kind: 0 for dispersion, 1 for risk.
        over: 0 and 1 for time, 2 for runs, 3 for rollouts.
        title: in the lines of the panel's title.
    """

    kind: int
    over: int
    title: str


PLACES = {
    "dispersion_across_time": Place(0, 0, "Dispersion\nacross time"),
    "short_term_risk": Place(1, 0, "Short-term risk\nacross time"),
    "long_term_risk": Place(1, 1, "Long-term risk\nacross time"),
    "dispersion_across_runs": Place(0, 2, "Dispersion\nacross runs"),
    "risk_across_runs": Place(1, 2, "Risk\nacross runs"),
    "dispersion_across_rollouts": Place(0, 3, "Dispersion\nacross rollouts"),
    "risk_across_rollouts": Place(1, 3, "Risk\nacross rollouts"),
}

# Hollow, half and full, as the training goes on.
FILLS: tuple[error_bars.Fill, ...] = ("none", "left", "full")

_ROW = 0.36
"""Inches of an algorithm, for its three time frames."""


@style.styled
def cells(
    found: Mapping[str, Mapping[str, Interval]],
    *,
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw the cells of dispersion and risk with their intervals, a panel each.

    Every algorithm has a row, in it the beginning, the middle and the end of the
    training where a cell has them. A cell that an algorithm lacks is "not evaluated",
    one without a value says so.

    Args:
        found: algorithm -> cell -> `Interval` of scalars or of `[3]` by time frame, as
            from `cell_intervals`.
        title: above the figure.
        width: of the figure, inches; a narrow one has the table's columns as rows.

    Raises:
        ValueError: a cell is unknown, or an interval of another shape.
    """
    _check(found)
    wide = width > 5
    panel = len(found) * _ROW + 0.85
    shape = (2, 4) if wide else (4, 2)
    figure = style.new_figure(width, shape[0] * panel + (0.2 if wide else 0.8))
    facets.headline(figure, title)
    labels = rows.panel_labels(list(found), width, 3)
    grid = figure.add_gridspec(*shape)
    for cell, place in PLACES.items():
        at = (place.kind, place.over) if wide else (place.over, place.kind)
        axes = figure.add_subplot(grid[at])
        rows.make_rows(axes, labels)
        _name(axes, at[1] == 0, not wide and at == (1, 1))
        _draw(axes, found, cell)
        facets.panel_title(axes, place.title, error_bars.better(HIGHER_IS_BETTER[cell]))
    _key(figure, figure.add_subplot(grid[0, 1]) if wide else None)
    return figure


def _name(axes: Axes, first: bool, beside_a_gap: bool) -> None:
    """Show the names of the rows in the first panel of a line, and beside a gap."""
    axes.tick_params(labelleft=first or beside_a_gap)
    if beside_a_gap:
        # They reach into it, and the columns stay as wide.
        for label in axes.get_yticklabels():
            label.set_in_layout(False)


def _check(found: Mapping[str, Mapping[str, Interval]]) -> None:
    for algorithm, given in found.items():
        for cell, interval in given.items():
            if cell not in PLACES:
                raise ValueError(
                    f"Expected cells of {algorithm} to be among "
                    f"{', '.join(PLACES)}, got {cell}."
                )
            shapes = [(), (len(FRAMES),)]
            error_bars.scalars(interval, shapes, f"{cell} of {algorithm}")


def _draw(axes: Axes, found: Mapping[str, Mapping[str, Interval]], cell: str) -> None:
    """Draw one cell of all algorithms."""
    for row, (algorithm, given) in enumerate(found.items()):
        if cell not in given:
            rows.note(axes, row, "not evaluated")
            continue
        color = style.color_of(row)
        values = error_bars.scalars(given[cell], [(), (len(FRAMES),)], cell)
        if len(values) == 1:
            error_bars.whisker(
                axes, row, values[0], color=color, label=algorithm, marker="D"
            )
            continue
        for i, (value, fill) in enumerate(zip(values, FILLS, strict=True)):
            label = f"{algorithm}, {FRAMES[i]}"
            y = row + (i - 1) * 0.27
            error_bars.whisker(axes, y, value, color=color, label=label, fill=fill)
    error_bars.scaled(axes)


def _key(figure: Figure, empty: Axes | None) -> None:
    """Say what the marks are, in the table's empty cell or below the figure."""
    look: dict[str, Any] = {"color": style.INK, **error_bars.MARKER}
    handles = [
        Line2D([], [], marker="o", fillstyle=fill, label=f"{frame} of training", **look)
        for fill, frame in zip(FILLS, FRAMES, strict=True)
    ]
    whole = "all of it, or final policy"
    handles += [
        Line2D([], [], marker="D", label=tick_labels.wrapped(whole, 14), **look),
        Line2D([], [], color=style.INK, linewidth=1.6, label="interval"),
    ]
    if empty:
        empty.axis("off")
        empty.legend(handles=handles, loc="center", borderpad=0, labelspacing=0.7)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
