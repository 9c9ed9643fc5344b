"""What each field of a grid does to the results: a panel a field, a dot a setting."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from purejaxppo.reliability.plots import facets, style, words

_COLUMNS = 3
"""Panels beside each other at most."""

_WIDE = 30.0
"""Ratio of the greatest value to the least from which on a scale is logarithmic."""

_COLORS = style.CENTRE, style.TAIL


@style.styled
def settings_by_field(
    settings: Sequence[Mapping[str, Any]],
    statistics: Mapping[str, np.ndarray],
    *,
    ylabel: str = "final return",
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw statistics of each setting over the values of each field.

    A dot is a setting; a line joins the medians over all settings with the same value
    of the field, where values repeat.

    Args:
        settings: field -> value, the same fields in each.
        statistics: name -> `[settings]`, at most two, NaN where missing.
        ylabel: what the statistics are of.
        title: above the figure.
        width: inches.

    Raises:
        ValueError: a statistic is not `[settings]`.
    """
    for name, values in statistics.items():
        if np.shape(values) != (len(settings),):
            raise ValueError(
                f"Expected {name} to be [settings] = ({len(settings)},), got shape "
                f"{np.shape(values)}."
            )
    fields = list(settings[0]) if settings else []
    columns = max(1, min(_COLUMNS, len(fields)))
    rows = max(1, math.ceil(len(fields) / columns))
    figure = style.new_figure(width, 0.5 + 2.1 * rows)
    facets.headline(figure, title)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).reshape(-1)
    for axes, field in zip(panels, fields, strict=False):
        _panel(axes, field, [setting[field] for setting in settings], statistics)
    for axes in panels[len(fields) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(ylabel)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles) or 1)
    return figure


def _panel(
    axes: Axes, field: str, values: list[Any], statistics: Mapping[str, np.ndarray]
) -> None:
    style.tidy(axes, "both")
    axes.set_xlabel(field)
    place = _places(axes, values)
    for (name, column), color in zip(statistics.items(), _COLORS, strict=False):
        column = np.asarray(column, float)
        where = np.unique(place)
        # A line through values that were drawn would only join the dots.
        repeated = 2 * len(where) <= len(place) or len(place) == 1
        dots = {"color": color, "alpha": 0.45, "markersize": 5}
        axes.plot(place, column, ".", **dots, label=None if repeated else name)
        if repeated:
            middle = [_median(column[place == x]) for x in where]
            axes.plot(where, middle, "-", color=color, label=name)


def _places(axes: Axes, values: list[Any]) -> np.ndarray:
    """Where the values stand: numbers on their scale, others side by side."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        place = np.asarray(values, float)
        if place.min() > 0 and place.max() / place.min() >= _WIDE:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            words.plain_numbers(axes.xaxis)
        else:
            axes.set_xlim(*_with_margin(place))
            words.plain_numbers(axes.xaxis, 5)
        return place
    names = list(dict.fromkeys(map(_name, values)))
    axes.set_xticks(range(len(names)), names)
    return np.asarray([names.index(_name(value)) for value in values], float)


def _with_margin(place: np.ndarray) -> tuple[float, float]:
    margin = 0.05 * float(np.ptp(place)) or 0.05 * abs(float(place[0])) or 1.0
    return float(place.min()) - margin, float(place.max()) + margin


def _name(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _median(values: np.ndarray) -> float:
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if seen.size else math.nan
