"""Drawdown: how far runs fall behind their own best."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from purejaxppo.reliability import across_time, aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import facets, style, words
from purejaxppo.reliability.plots import runs as of_runs
from purejaxppo.reliability.plots.ends import End, end_of, write_ends


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

    Returns:
        A figure; see `save`.

    Raises:
        ValueError: `alpha` is out of range, or the shapes do not agree.
    """
    aggregates.check_alpha(alpha)
    steps, runs = of_runs.checked(env_steps, curves)
    depth = across_time.drawdown(runs)
    figure = style.new_figure(width, min(3.0, 0.85 * width))
    axes = figure.add_subplot()
    style.tidy(axes)
    observed = words.observed_of(of_runs.num_with_a_value(depth), len(depth))
    of_runs.faint_runs(axes, steps, depth, "single runs")
    handle = Line2D([], [], color=style.RUNS, label=f"each of {observed}")
    figure.legend(handles=[handle], loc="outside lower center")
    over, percent, ends = of_runs.over_runs(depth, alpha, "upper"), "", []
    percent = words.percent(alpha)
    if over.tail.any():
        look = {"color": style.TAIL, "linestyle": style.DASHES}
        label = f"CVaR {percent} over runs:\nmean of deepest {percent}"
        of_runs.line(axes, steps, over.cvar, label="CVaR", **look)
        ends.append(End(*end_of(steps, over.cvar), label, style.TAIL, style.DASHES))
    for name, run, color in marked(runs, alpha):
        of_runs.line(axes, steps, depth[run], color=color, label=name, linewidth=1)
        risk = words.number(float(across_time.long_term_risk(runs[run], alpha)))
        text = f"{name} ({run})\nits CVaR {percent}: {risk}"
        ends.append(End(*end_of(steps, depth[run]), text, color))
    of_runs.steps_axis(axes, steps.max(), steps.min())
    words.plain_numbers(axes.yaxis)
    deepest = np.nanmax(depth) if (~np.isnan(depth)).any() else 0
    axes.set_ylim(1.05 * deepest if deepest > 0 else 1, -0.02 * (deepest or 1))
    facets.axis_labels(axes, "environment steps", "drawdown: below own best")
    facets.headline(figure, title)
    if np.isnan(depth).all():
        style.say(axes, "no data")
    write_ends(axes, ends)
    return figure


def marked(runs: np.ndarray, alpha: float) -> list[tuple[str, int, str]]:
    """Return name, index and colour of the runs to mark: the median and the worst.

    Args:
        runs: curves `[runs, time]`.
        alpha: of the long-term risk that orders them.

    Returns:
        One run is the single one; runs without a value are none.
    """
    risk = across_time.long_term_risk(runs, alpha)
    if np.isnan(risk).any():
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
