"""Which algorithm is better: mean ranks with their intervals, the best on top."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import error_bars, facets, rows, style, tick_labels


@style.styled
def ranking(
    found: Mapping[str, Interval],
    *,
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw the mean rank of each algorithm with its interval, the best on top.

    Args:
        found: algorithm -> `Interval` of scalars, 1 for the best; NaN goes last.
        title: above the figure.
        width: of the figure, inches.

    Raises:
        ValueError: an interval is not of scalars.
    """
    places = {name: i for i, name in enumerate(found)}
    values = {
        name: error_bars.scalars(interval, [()], f"the rank of {name}")[0]
        for name, interval in found.items()
    }
    names = sorted(found, key=lambda name: np.nan_to_num(values[name][0], nan=np.inf))
    letters = style.characters(0.3 * width, 0.83)
    figure = style.new_figure(width, 0.26 * max(2, len(names)) + 0.75)
    facets.headline(figure, title)
    axes = figure.add_subplot()
    rows.make_rows(axes, tick_labels.names_that_fit(names, letters, 2))
    for row, name in enumerate(names):
        color = style.color_of(places[name])
        error_bars.whisker(axes, row, values[name], color=color, label=name)
        _numbers(axes, row, values[name], width)
    error_bars.scaled(axes, 6)
    facets.axis_labels(axes, "mean rank (1 is best)", "")
    if not names:
        style.say(axes, "no data")
    return figure


def _numbers(
    axes: Axes, row: int, value: tuple[float, float, float], width: float
) -> None:
    """Write the rank beside its row, and its interval where there is room."""
    estimate, low, high = (f"{x:.2f}" if np.isfinite(x) else "n/a" for x in value)
    rows.beside(axes, row, estimate, style.INK, 30)
    if width > 5:
        rows.beside(axes, row, f"{low} to {high}", style.FAINT, 84)
