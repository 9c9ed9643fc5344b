"""Many algorithms: a panel each, the others grey behind it."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from purejaxppo.reliability.plots import style, tick_labels


def columns_of(width: float) -> int:
    """Return how many panels stand side by side."""
    return 4 if width > 5 else 2


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes stand in."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def make_facets(
    names: Sequence[str],
    notes: Sequence[str],
    width: float,
    xlabel: str,
    ylabel: str,
) -> list[Axes]:
    """Return one panel for each name, all of one scale, titled and otherwise empty.

    Args:
        names: in the order of the panels.
        notes: what is said of each below its name.
        width: of the figure, inches.
        xlabel: below the lowest panels.
        ylabel: beside all panels.
    """
    columns = min(columns_of(width), len(names))
    rows = math.ceil(len(names) / columns)
    figure = style.new_figure(width, rows * 1.35 + 0.8)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(np.ravel(grid))
    for axes in panels[len(names) :]:
        axes.remove()
    share = width / columns
    titles = tick_labels.names_that_fit(names, style.characters(0.65 * share, 0.87), 2)
    for i, (axes, title, note) in enumerate(zip(panels, titles, notes, strict=False)):
        style.tidy(axes)
        panel_title(axes, title, note)
        lowest = i + columns >= len(names)
        # Not only those of the last row: above an empty place there is one, too.
        axes.tick_params(labelbottom=lowest)
        if lowest:
            axes.set_xlabel(tick_labels.wrapped(xlabel, style.characters(0.75 * share)))
    letters = _letters(figure.get_figheight())
    figure.supylabel(tick_labels.wrapped(ylabel, letters), size=style.points())
    return panels[: len(names)]


def panel_title(axes: Axes, title: str, note: str = "") -> None:
    """Write the title of one of many panels, and a note in grey below it."""
    axes.set_title(title, fontsize=style.points(0.87), pad=12 if note else 4)
    axes.annotate(
        note,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=style.points(0.75),
        color=style.FAINT,
    )


def behind(axes: Axes, lines: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw what the other panels show, x and y of each, in grey."""
    for x, y in lines:
        look = {"color": style.RUNS, "linewidth": 0.6, "alpha": 0.6, "zorder": 1}
        axes.plot(x, y, label="_other", **look)


def headline(figure: Figure, title: str | None) -> None:
    """Write the title of a figure above all panels, in three lines at the most."""
    if title:
        letters = style.characters(figure.get_figwidth(), 1.08)
        figure.suptitle(
            tick_labels.wrapped(title, letters, 3),
            x=0.005,
            ha="left",
            fontweight="bold",
            fontsize=style.points(),
        )


def axis_labels(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Write what the scales of the only panel are, in lines that fit."""
    figure = figure_of(axes)
    axes.set_xlabel(tick_labels.wrapped(xlabel, _letters(figure.get_figwidth())))
    axes.set_ylabel(tick_labels.wrapped(ylabel, _letters(figure.get_figheight())))


def _letters(inches: float) -> int:
    return style.characters(0.75 * inches)
