"""Every run a dot: what statistics hide."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import error_bars, facets, rows, style, tick_labels

_HALF = 0.36
"""Half of the height that dots take of a row."""

_IQM, _CVAR = 34, 74
"""Points from the axes to where the columns of numbers end."""


@style.styled
def strip(
    scores: Mapping[str, Array],
    *,
    alpha: float,
    ylabel: str = "final return",
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw every run as a dot, a row an algorithm, with IQM, middle half and tail.

    Dots are moved apart in their row by their rank alone, equally for equal input.

    Args:
        scores: algorithm -> `[runs]`, NaN where missing: such runs are counted beside
            the name, as infinite ones are.
        alpha: in (0, 0.5]: the share of the runs in the tail.
        ylabel: what the scores measure; written along their scale, below.
        title: above the figure.
        width: of the figure, inches.

    Raises:
        ValueError: `alpha` is out of range, or scores are not `[runs]`.
    """
    aggregates.check_alpha(alpha)
    given = {name: _checked(name, values) for name, values in scores.items()}
    figure, axes = _empty(given, width)
    facets.headline(figure, title)
    for row, values in enumerate(given.values()):
        _draw(axes, row, values[np.isfinite(values)], alpha)
    if given:
        _heads(axes, alpha)
    error_bars.scaled(axes, 6 if width > 5 else 4, margin=0.04)
    facets.axis_labels(axes, ylabel, "")
    if not given:
        style.say(axes, "no data")
    _key(figure, alpha)
    return figure


def _empty(given: Mapping[str, np.ndarray], width: float) -> tuple[Figure, Axes]:
    """Return the figure with its rows, as high as their labels are."""
    letters = style.characters(max(0.25 * width, 1), 0.83)
    names = tick_labels.names_that_fit(list(given), letters, 2)
    labels = [f"{n}\n{_count(v)}" for n, v in zip(names, given.values(), strict=True)]
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    # A line of a label is an eighth of an inch high.
    height = max(0.42, lines / 8) * max(1, len(given))
    figure = style.new_figure(width, height + (1.05 if width > 5 else 1.25))
    axes = figure.add_subplot()
    rows.make_rows(axes, labels)
    return figure, axes


def _checked(name: str, scores: Array) -> np.ndarray:
    values = np.asarray(scores, float)
    if values.ndim != 1:
        raise ValueError(
            f"Expected scores of {name} to be [runs], got shape {values.shape}."
        )
    return values


def _count(values: np.ndarray) -> str:
    """Return how many runs there are, and how many of them are not drawn."""
    parts = [tick_labels.counted(len(values))]
    missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    if missing:
        parts.append(f"{missing} without a score")
    if infinite:
        parts.append(f"{infinite} infinite")
    return ",\n".join(parts)


def jitter(count: int) -> np.ndarray:
    """Return heights in [-1, 1] for ranks 0, 1, ...: neighbours are far apart.

    The multiples of the golden ratio modulo 1: any few in a row are spread evenly.
    """
    golden = (np.sqrt(5) - 1) / 2
    return 2 * np.mod(0.5 + golden * np.arange(count), 1) - 1


def _draw(axes: Axes, row: int, seen: np.ndarray, alpha: float) -> None:
    """Draw the runs of one algorithm, worst first, and its marks."""
    if seen.size == 0:
        rows.note(axes, row, "no score")
        return
    ranked = np.sort(seen)
    heights = row + _HALF * jitter(len(ranked))
    tail = int(aggregates.tail_size(seen, alpha))
    size = float(np.clip(60 / np.sqrt(len(ranked)), 3, 12))
    look: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.8, "zorder": 3}
    look["rasterized"] = len(ranked) > style.MOST_POINTS / 10
    axes.scatter(ranked[tail:], heights[tail:], color=style.RUNS, label="runs", **look)
    axes.scatter(ranked[:tail], heights[:tail], color=style.TAIL, label="tail", **look)
    iqm, cvar = float(aggregates.iqm(seen)), float(aggregates.cvar(seen, alpha))
    if len(ranked) >= aggregates.QUARTILE_RUNS:
        low, high = (float(q) for q in aggregates.iqr(seen))
        box = (low, row - 0.42), high - low, 0.84
        axes.add_patch(Rectangle(*box, color=style.CENTRE, alpha=0.22, linewidth=0))
    _mark(axes, row, iqm, style.CENTRE, "-", "IQM")
    if tail:
        _mark(axes, row, cvar, style.TAIL, style.DASHES, "CVaR")
    rows.beside(axes, row, tick_labels.number(iqm), style.CENTRE, _IQM)
    rows.beside(axes, row, tick_labels.number(cvar), style.TAIL, _CVAR)


def _mark(
    axes: Axes, row: int, value: float, color: str, linestyle: Any, label: str
) -> None:
    ends = [row - 0.42, row + 0.42]
    look = {"color": color, "linestyle": linestyle, "linewidth": 1.6, "zorder": 4}
    axes.plot([value, value], ends, label=label, **look)


def _heads(axes: Axes, alpha: float) -> None:
    """Say above the numbers what they are."""
    rows.heading(axes, "IQM", style.CENTRE, _IQM)
    rows.heading(axes, f"CVaR\n{tick_labels.percent(alpha)}", style.TAIL, _CVAR)


def _key(figure: Figure, alpha: float) -> None:
    """Say below the figure what the marks are."""
    percent = tick_labels.percent(alpha)
    dot = {"marker": "o", "linestyle": "", "markersize": 3.5, "markeredgewidth": 0}
    half: dict[str, Any] = {"color": style.CENTRE, "alpha": 0.22, "linewidth": 0}
    cvar = f"CVaR {percent}: their mean"
    handles = [
        Line2D([], [], color=style.RUNS, label="a run", **dot),
        Line2D([], [], color=style.CENTRE, label="IQM"),
        Patch(label="middle half (IQR)", **half),
        Line2D([], [], color=style.TAIL, label=f"a run of the worst {percent}", **dot),
        Line2D([], [], color=style.TAIL, label=cvar, linestyle=style.DASHES),
    ]
    columns = len(handles) if figure.get_figwidth() > 5 else 2
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.5,
    )
