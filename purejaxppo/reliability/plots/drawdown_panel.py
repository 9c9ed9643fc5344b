"""Drawdown: how far runs fall behind their own best."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from purejaxppo.reliability import across_time, aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import bands as of_runs
from purejaxppo.reliability.plots import facets, style, tick_labels
from purejaxppo.reliability.plots.line_labels import End, end_of, write_ends


@style.styled
def drawdowns(
    env_steps: Array,
    curves: Array,
    *,
    alpha: float,
    title: str | None = None,
    width: float = style.DOUBLE,
) -> Figure:
    """Draw each run's drawdown, downwards; the median run, the worst run, the tail.

    Runs are ordered by their long-term risk, the CVaR of their own drawdown over time,
    or by its maximum where a run has too few points for one. The dashed line is the
    mean of the deepest alpha of all runs at each time.

    Args:
        env_steps: `[time]`, environment steps.
        curves: `[runs, time]`, NaN where nothing was observed; infinite values count
            as not observed.
        alpha: in (0, 0.5]: the share of points, and of runs, in a tail.
        title: above the figure.
        width: of the figure, inches.

    Raises:
        ValueError: `alpha` is out of range, or the shapes do not agree.
    """
    aggregates.check_alpha(alpha)
    steps, runs = of_runs.checked(env_steps, curves)
    depth = across_time.drawdown(runs)
    figure, axes = style.one_panel(width, min(3.0, 0.85 * width))
    facets.headline(figure, title)
    _draw_runs(axes, steps, depth)
    ends = _draw_tail(axes, steps, depth, alpha)
    ends += _draw_marked(axes, steps, depth, runs, alpha)
    facets.axis_labels(axes, "environment steps", "drawdown: below own best")
    if np.isnan(depth).all():
        style.say(axes, "no data")
    write_ends(axes, ends)
    return figure


def _draw_runs(axes: Axes, steps: np.ndarray, depth: np.ndarray) -> None:
    """Draw all runs, say below how many, and scale the panel to them."""
    of_runs.faint_runs(axes, steps, depth, "single runs")
    observed = tick_labels.observed_of(of_runs.num_with_a_value(depth), len(depth))
    handle = Line2D([], [], color=style.RUNS, label=f"each run ({observed})")
    facets.figure_of(axes).legend(handles=[handle], loc="outside lower center")
    of_runs.steps_axis(axes, steps.max(), steps.min())
    tick_labels.plain_numbers(axes.yaxis)
    deepest = float(np.nan_to_num(depth).max()) or 1.0
    # The best is on top: what is drawn deep is bad.
    axes.set_ylim(1.05 * deepest, -0.02 * deepest)


def _draw_tail(
    axes: Axes, steps: np.ndarray, depth: np.ndarray, alpha: float
) -> list[End]:
    """Draw the CVaR over runs, and return what to write at its end."""
    over, percent = of_runs.over_runs(depth, alpha, "upper"), tick_labels.percent(alpha)
    if not over.tail.any():
        return []
    look = {"color": style.TAIL, "linestyle": style.DASHES}
    of_runs.line(axes, steps, over.cvar, label="CVaR", **look)
    text = f"CVaR {percent} over runs:\nmean of deepest {percent}"
    return [End(*end_of(steps, over.cvar), text, style.TAIL, style.DASHES)]


def _draw_marked(
    axes: Axes, steps: np.ndarray, depth: np.ndarray, runs: np.ndarray, alpha: float
) -> list[End]:
    """Draw the median and the worst run, and return what to write at their ends."""
    ends = []
    for name, run, color in marked(runs, alpha):
        of_runs.line(axes, steps, depth[run], color=color, label=name, linewidth=1)
        risk = tick_labels.number(float(across_time.long_term_risk(runs[run], alpha)))
        text = f"{name} ({run})\nits CVaR {tick_labels.percent(alpha)}: {risk}"
        ends.append(End(*end_of(steps, depth[run]), text, color))
    return ends


def marked(runs: np.ndarray, alpha: float) -> list[tuple[str, int, str]]:
    """Return name, index and colour of the runs to mark: the median and the worst.

    Args:
        runs: curves `[runs, time]`.
        alpha: of the long-term risk that orders them.

    Returns:
        One run is the single one; runs without a value are none.
    """
    risk = across_time.long_term_risk(runs, alpha)
    if np.isnan(risk[~np.isnan(runs).all(axis=1)]).any():
        risk = across_time.max_drawdown(runs)
    order = np.argsort(risk, kind="stable")[: int((~np.isnan(risk)).sum())]
    if order.size == 0:
        return []
    if order.size == 1:
        return [("single run", int(order[0]), style.CENTRE)]
    middle = int(order[(order.size - 1) // 2])
    return [
        ("median run", middle, style.CENTRE),
        ("worst run", int(order[-1]), style.TAIL),
    ]
