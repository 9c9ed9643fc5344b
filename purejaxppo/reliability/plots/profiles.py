"""Performance profiles: how many runs are better than each score."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.plots import facets, style, tick_labels

OVERLAID = 5
"""More algorithms than these in one panel have no colours of their own."""

_YLABEL = "share of runs above τ"


class Profile(NamedTuple):
    """One algorithm's shares of runs above thresholds `[thresholds]`, and its look."""

    name: str
    thresholds: np.ndarray
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    color: str


@style.styled
def performance_profiles(
    profiles: Mapping[str, tuple[Array, Interval]],
    *,
    xlabel: str = "score τ",
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw the share of runs above each score, with its interval.

    A curve further up and right is better; it falls through one half at the median.
    Up to five algorithms share a panel, more have one each.

    Args:
        profiles: algorithm -> thresholds `[thresholds]`, increasing, and an `Interval`
            of as many shares.
        xlabel: what the thresholds are.
        title: above the figure.
        width: of the figure, inches.

    Raises:
        ValueError: shapes do not agree.
    """
    drawn = [
        _profile(name, *given, style.color_of(i))
        for i, (name, given) in enumerate(profiles.items())
    ]
    if len(drawn) > OVERLAID:
        figure = _apart(drawn, xlabel, width)
    else:
        figure = _overlaid(drawn, xlabel, width)
    facets.headline(figure, title)
    return figure


def _profile(name: str, thresholds: Array, interval: Interval, color: str) -> Profile:
    levels = np.asarray(thresholds, float)
    parts = [np.asarray(part, float) for part in interval]
    if levels.ndim != 1 or any(part.shape != levels.shape for part in parts):
        found = ", ".join(str(part.shape) for part in parts)
        raise ValueError(
            f"Expected estimate, low and high of the profile of {name} to be "
            f"[thresholds] = {levels.shape}, got {found}."
        )
    return Profile(name, levels, parts[0], parts[1], parts[2], color)


def _overlaid(drawn: Sequence[Profile], xlabel: str, width: float) -> Figure:
    """All algorithms in one panel."""
    figure, axes = style.one_panel(width, min(2.9, 0.85 * width))
    for profile in drawn:
        _draw(axes, profile)
    _scale(axes, 6 if width > 5 else 4)
    facets.axis_labels(axes, xlabel, _YLABEL)
    if drawn:
        _names(figure, drawn)
        _key(figure)
    else:
        style.say(axes, "no data")
    return figure


def _apart(drawn: Sequence[Profile], xlabel: str, width: float) -> Figure:
    """A panel for each algorithm, the others behind it."""
    names = [profile.name for profile in drawn]
    panels = facets.make_facets(names, [""] * len(names), width, xlabel, _YLABEL)
    for axes, profile in zip(panels, drawn, strict=True):
        others = [(o.thresholds, o.estimate) for o in drawn if o is not profile]
        facets.behind(axes, others)
        _draw(axes, profile)
        _scale(axes, 3)
    figure = facets.figure_of(panels[0])
    _key(figure, others=True)
    return figure


def _draw(axes: Axes, profile: Profile) -> None:
    axes.fill_between(
        profile.thresholds,
        profile.low,
        profile.high,
        color=profile.color,
        alpha=0.22,
        linewidth=0,
        label=f"interval of {profile.name}",
    )
    axes.plot(
        profile.thresholds, profile.estimate, color=profile.color, label=profile.name
    )


def _scale(axes: Axes, most: int) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.margins(x=0.02)
    axes.axhline(0.5, color=style.FAINT, linewidth=0.6, linestyle=":", zorder=0.5)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "50 %\nmedian", "", "100 %"])
    tick_labels.plain_numbers(axes.xaxis, most)


def _names(figure: Figure, drawn: Sequence[Profile]) -> None:
    """Name the algorithms beside the panel, the largest area, the mean, on top."""
    areas = [np.nan_to_num(np.trapezoid(p.estimate, p.thresholds)) for p in drawn]
    order = np.argsort(areas, kind="stable")[::-1]
    letters = style.characters(0.2 * figure.get_figwidth(), 0.83)
    names = tick_labels.names_that_fit([p.name for p in drawn], letters, 3)
    handles = [Line2D([], [], color=drawn[i].color, label=names[i]) for i in order]
    figure.legend(handles=handles, loc="outside right center", handlelength=1.2)


def _key(figure: Figure, others: bool = False) -> None:
    """Say below the figure what is not named in it."""
    shade: dict[str, Any] = {"color": style.INK, "alpha": 0.22, "linewidth": 0}
    handles: list[Artist] = [Patch(label="interval", **shade)]
    if others:
        grey = {"color": style.RUNS, "linewidth": 0.6}
        handles.append(Line2D([], [], label="the others", **grey))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
