"""What each field of a grid does to the results: a panel a field, a dot a setting."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from purejaxppo.reliability.plots import facets, style, tick_labels

_COLUMNS = 3
"""Panels beside each other at most."""

_SIDE_BY_SIDE = 8
"""Values that stand beside each other, each with its name; more stand on a scale."""

_BINS = 6
"""Groups of equally many settings that a line on a scale is drawn through."""

_WIDE = 30.0
"""Ratio of the greatest value to the least from which on a scale is logarithmic."""

_LETTERS = 30
"""Letters of names that a panel of a third of the width has room for in a line."""

_APART = 0.16
"""Between the dots of two statistics where values stand side by side."""

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

    A dot is a setting. A line joins the medians over all settings with the same value
    of the field, or of neighbouring ones where they are many, as those are that were
    drawn; of values without an order the medians are dashes.

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
    columns = 2 if len(fields) == 4 else max(1, min(_COLUMNS, len(fields)))
    rows = max(1, math.ceil(len(fields) / columns))
    figure = style.new_figure(width, 0.5 + 2.1 * rows)
    facets.headline(figure, title)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).reshape(-1)
    for axes, field in zip(panels, fields, strict=False):
        values = [setting[field] for setting in settings]
        ordered = all(map(_is_number, values))
        drawn = len(fields) > 1 and 2 * len(set(map(_name, values))) > len(values)
        if ordered and len(values) > 1 and (drawn or len(set(values)) > _SIDE_BY_SIDE):
            _on_scale(axes, np.asarray(values, float), statistics)
        else:
            _side_by_side(axes, values, ordered, statistics, _LETTERS * 3 // columns)
        style.tidy(axes, "y")
        axes.set_xlabel(field)
    for axes in panels[len(fields) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(ylabel)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles) or 1)
    return figure


def _side_by_side(
    axes: Axes,
    values: list[Any],
    ordered: bool,
    statistics: Mapping[str, np.ndarray],
    letters: int,
) -> None:
    """Values beside each other by name, numbers in their order."""
    kinds = sorted(set(values)) if ordered else list(dict.fromkeys(map(_name, values)))
    names = [_name(kind) for kind in kinds]
    place = np.asarray([kinds.index(v if ordered else _name(v)) for v in values])
    where = np.arange(len(kinds))
    for i, (name, column) in enumerate(statistics.items()):
        shift, column = _APART * (i - (len(statistics) - 1) / 2), np.asarray(column)
        _dots(axes, place + shift, column, i, None)
        middle = np.asarray([_median(column[place == x]) for x in where])
        if ordered:
            axes.plot(where + shift, middle, "-", color=_COLORS[i], label=name)
        else:
            axes.plot(
                where + shift,
                middle,
                "_",
                color=_COLORS[i],
                markersize=14,
                markeredgewidth=2,
                label=name,
            )
    axes.set_xlim(-0.5, len(kinds) - 0.5)
    slanted = sum(map(len, names)) + len(names) > letters
    turn: Any = {"rotation": 30, "ha": "right"} if slanted else {}
    axes.set_xticks(where, names, **turn)


def _on_scale(
    axes: Axes, place: np.ndarray, statistics: Mapping[str, np.ndarray]
) -> None:
    """Many numbers on their scale, with a line through groups of neighbours."""
    if place.min() > 0 and place.max() / place.min() >= _WIDE:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if place.max() / place.min() < 1000:  # One or two powers of 10.
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        tick_labels.plain_numbers(axes.xaxis)
    else:
        margin = 0.05 * float(np.ptp(place))
        axes.set_xlim(float(place.min()) - margin, float(place.max()) + margin)
        tick_labels.plain_numbers(axes.xaxis, 5)
    # Through fewer dots a line would only join them.
    joined = len(place) >= 3 * _BINS
    groups = np.array_split(np.argsort(place, kind="stable"), _BINS)
    for i, (name, column) in enumerate(statistics.items()):
        column = np.asarray(column)
        _dots(axes, place, column, i, None if joined else name)
        if joined:
            where, middle = (
                [_median(values[group]) for group in groups]
                for values in (place, column)
            )
            axes.plot(where, middle, "-", color=_COLORS[i], label=name)


def _dots(
    axes: Axes, place: np.ndarray, column: np.ndarray, number: int, name: str | None
) -> None:
    dots = {"color": _COLORS[number], "alpha": 0.45, "markersize": 5}
    axes.plot(place, column, ".", **dots, label=name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "x".join(map(_name, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return (
        str(value).lower() if value is None or isinstance(value, bool) else str(value)
    )


def _median(values: np.ndarray) -> float:
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if seen.size else math.nan
