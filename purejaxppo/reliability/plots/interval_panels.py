"""Aggregates with their intervals: a panel an aggregate, a row an algorithm."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import error_bars, facets, rows, style, tick_labels


@style.styled
def intervals(
    found: Mapping[str, Mapping[str, Interval]],
    *,
    title: str | None = None,
    lower_is_better: Collection[str] = ("optimality gap",),
    width: float = style.DOUBLE,
) -> Figure:
    """Draw aggregates of several algorithms with their intervals, a panel each.

    Args:
        found: aggregate ("IQM", "optimality gap") -> algorithm -> `Interval` of
            scalars.
        title: above the figure.
        lower_is_better: aggregates of which less is better, in any case of letters.
        width: of the figure, inches.

    Raises:
        ValueError: an interval is not of scalars.
    """
    names = list(dict.fromkeys(name for given in found.values() for name in given))
    lines = max(1, math.ceil(len(found) / facets.columns_of(width)))
    columns = max(1, math.ceil(len(found) / lines))
    figure = style.new_figure(width, lines * (0.3 * max(1, len(names)) + 0.75) + 0.2)
    facets.headline(figure, title)
    if not names:
        style.say(figure.add_subplot(), "no data")
        return figure
    labels = rows.panel_labels(names, width, 2)
    letters = style.characters(0.8 * width / columns, 0.87)
    lower = {name.lower() for name in lower_is_better}
    for i, (aggregate, given) in enumerate(found.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        rows.make_rows(axes, labels)
        axes.tick_params(labelleft=i % columns == 0)
        _draw(axes, names, aggregate, given)
        better = error_bars.better(aggregate.lower() not in lower)
        facets.panel_title(axes, tick_labels.wrapped(aggregate, letters, 2), better)
    return figure


def _draw(
    axes: Axes, names: Sequence[str], aggregate: str, given: Mapping[str, Interval]
) -> None:
    """Draw one aggregate of all algorithms, its value above each dot."""
    for row, name in enumerate(names):
        if name not in given:
            rows.note(axes, row, "not evaluated")
            continue
        (value,) = error_bars.scalars(given[name], [()], f"{aggregate} of {name}")
        error_bars.whisker(axes, row, value, color=style.color_of(row), label=name)
        if np.isfinite(value[0]):
            axes.annotate(
                tick_labels.number(value[0]),
                (value[0], row),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=style.points(0.75),
            )
    error_bars.scaled(axes)
