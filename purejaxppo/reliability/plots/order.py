"""Which algorithm is better: mean ranks with their intervals, the best on top."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import facets, rows, style, whiskers, words


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

    Returns:
        A figure; see `save`.

    Raises:
        ValueError: an interval is not of scalars.
    """
    places = {name: i for i, name in enumerate(found)}
    values = {
        name: whiskers.scalars(interval, [()], f"the rank of {name}")[0]
        for name, interval in found.items()
    }
    # NumPy puts NaN last.
    order = np.argsort([value[0] for value in values.values()], kind="stable")
    names = [list(found)[i] for i in order]
    figure = style.new_figure(width, 0.26 * max(2, len(names)) + 0.75)
    facets.headline(figure, title)
    axes = figure.add_subplot()
    letters = style.characters(0.3 * width, 0.83)
    rows.make_rows(axes, words.names_that_fit(names, letters, 2))
    for row, name in enumerate(names):
        color = style.color_of(places[name])
        whiskers.whisker(axes, row, values[name], color=color, label=name)
        estimate, low, high = (f"{value:.2f}" for value in values[name])
        rows.beside(axes, row, estimate, style.INK, 30)
        if width > 5:
            rows.beside(axes, row, f"{low} to {high}", style.FAINT, 84)
    whiskers.scaled(axes, 6)
    facets.axis_labels(axes, "mean rank (1 is best)", "")
    if not names:
        style.say(axes, "no data")
    return figure
