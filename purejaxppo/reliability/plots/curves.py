"""The learning curves of several algorithms."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import bands as of_runs
from purejaxppo.reliability.plots import facets, style, tick_labels
from purejaxppo.reliability.plots.line_labels import End, end_of, write_ends

OVERLAID = 3
"""Bands of more algorithms than these in one panel hide each other."""


class Course(NamedTuple):
    """One algorithm over time.

    Attributes:
        name: of the algorithm.
        steps: `[time]`.
        over: statistics over its runs.
        runs: what is said of their number.
        color: its own.
    """

    name: str
    steps: np.ndarray
    over: of_runs.OverRuns
    runs: str
    color: str


@style.styled
def learning_curves(
    curves: Mapping[str, tuple[Array, Array]],
    *,
    alpha: float,
    title: str | None = None,
    ylabel: str = "episode return",
    width: float = style.DOUBLE,
) -> Figure:
    """Draw IQM, middle half and CVaR of several algorithms over their training.

    Up to three share one panel, each with its name at its end. More have a panel each,
    with the IQM of the others in grey behind it.

    Args:
        curves: name -> environment steps `[time]` and curves `[runs, time]`, NaN where
            nothing was observed; infinite values count as not observed.
        alpha: in (0, 0.5]: the share of the runs in the tail.
        title: above the figure.
        ylabel: what the curves measure.
        width: of the figure, inches.

    Raises:
        ValueError: `alpha` is out of range, or shapes do not agree.
    """
    aggregates.check_alpha(alpha)
    courses = [
        _course(name, *of_runs.checked(*given, name), alpha, style.color_of(i))
        for i, (name, given) in enumerate(curves.items())
    ]
    if len(courses) <= OVERLAID:
        return _overlaid(courses, alpha, title, ylabel, width)
    return _apart(courses, alpha, title, ylabel, width)


def _course(
    name: str, steps: np.ndarray, runs: np.ndarray, alpha: float, color: str
) -> Course:
    said = tick_labels.observed_of(of_runs.num_with_a_value(runs), len(runs))
    return Course(name, steps, of_runs.over_runs(runs, alpha), said, color)


def _overlaid(
    courses: Sequence[Course],
    alpha: float,
    title: str | None,
    ylabel: str,
    width: float,
) -> Figure:
    """All algorithms in one panel, their names at the ends."""
    figure, axes = style.one_panel(width, min(3.2, 0.85 * width))
    for course in courses:
        _draw(axes, course)
    _scale(axes, courses)
    facets.axis_labels(axes, "environment steps", ylabel)
    facets.headline(figure, title)
    _key(figure, courses, alpha)
    if not any(course.over.observed.any() for course in courses):
        style.say(axes, "no data")
    letters = style.characters(0.2 * width + 0.2, 0.83)
    names = tick_labels.names_that_fit([c.name for c in courses], letters, 3)
    write_ends(
        axes,
        [
            End(*end_of(c.steps, c.over.iqm), f"{name}\n{c.runs}", c.color)
            for name, c in zip(names, courses, strict=True)
        ],
    )
    return figure


def _apart(
    courses: Sequence[Course],
    alpha: float,
    title: str | None,
    ylabel: str,
    width: float,
) -> Figure:
    """A panel for each algorithm, the others' IQM behind it."""
    panels = facets.make_facets(
        [course.name for course in courses],
        [course.runs for course in courses],
        width,
        "environment steps",
        ylabel,
    )
    for axes, course in zip(panels, courses, strict=True):
        others = [(o.steps, o.over.iqm) for o in courses if o is not course]
        facets.behind(axes, others)
        _draw(axes, course)
        _scale(axes, courses, 3)
        if not course.over.observed.any():
            axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center")
    figure = facets.figure_of(panels[0])
    facets.headline(figure, title)
    _key(figure, courses, alpha, others=True)
    return figure


def _draw(axes: Axes, course: Course) -> None:
    name, over, color = course.name, course.over, course.color
    of_runs.band(axes, course.steps, over, color=color, label=f"IQR of {name}")
    of_runs.line(axes, course.steps, over.iqm, color=color, label=f"IQM of {name}")
    if over.tail.any():
        of_runs.line(
            axes,
            course.steps,
            over.cvar,
            color=color,
            label=f"CVaR of {name}",
            linestyle=style.DASHES,
            linewidth=1,
        )


def _scale(axes: Axes, courses: Sequence[Course], most: int | None = None) -> None:
    if courses:
        last = max(float(course.steps.max()) for course in courses)
        first = min(float(course.steps.min()) for course in courses)
        of_runs.steps_axis(axes, last, first, most)
    tick_labels.plain_numbers(axes.yaxis)


def _key(
    figure: Figure, courses: Sequence[Course], alpha: float, others: bool = False
) -> None:
    """Say below the figure what the kinds of lines are, whatever their colour."""
    percent = tick_labels.percent(alpha)
    handles: list = [Line2D([], [], color=style.INK, label="IQM")]
    if any(np.isfinite(course.over.q25).any() for course in courses):
        half = "middle half of the runs (IQR)"
        handles.append(Patch(color=style.INK, alpha=0.22, linewidth=0, label=half))
    dashes = {"linestyle": style.DASHES, "linewidth": 1}
    tailed = [bool(course.over.tail.any()) for course in courses]
    meaning = f"CVaR {percent}: mean of the worst {percent} of the runs"
    if not all(tailed):
        least = int(np.ceil(1 / alpha - 1e-9))
        meaning = f"CVaR {percent}: mean of the worst, from {least} runs on"
    handles.append(Line2D([], [], color=style.INK, label=meaning, **dashes))
    if others:
        grey = {"color": style.RUNS, "linewidth": 0.6}
        handles.append(Line2D([], [], label="IQM of the others", **grey))
    columns = len(handles) if figure.get_figwidth() > 5 else 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
