"""The learning curve of one algorithm: all its runs, their middle and their tail."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import bands as of_runs
from purejaxppo.reliability.plots import style, tick_labels

_SCREEN = {**style.STYLE, "font.size": 10, "lines.linewidth": 2}
"""It is mostly looked at by itself, as a PNG."""


@matplotlib.rc_context(_SCREEN)
def learning_curve(
    env_steps: Array,
    curves: Array,
    *,
    alpha: float = 0.25,
    title: str | None = None,
    ylabel: str = "episode return",
) -> Figure:
    """Draw IQM, interquartile range and lower tail over the single runs.

    Each point in time has the statistics of the runs with a value there. One run
    is drawn as itself, without statistics; the band starts at four runs and the
    tail at 1 / alpha.

    Args:
        env_steps: `[time]`, environment steps.
        curves: `[runs, time]`, NaN where nothing was observed.
        alpha: in (0, 0.5]: the share of the runs in the tail.
        title: above the axes.
        ylabel: what the curves measure.

    Returns:
        A figure; see `save`.

    Raises:
        ValueError: an argument is out of range or the shapes do not agree.
    """
    aggregates.check_alpha(alpha)
    steps, runs = of_runs.checked(env_steps, curves)
    figure, axes = style.one_panel(6.4, 4.2)
    _draw(axes, steps, runs, alpha)
    of_runs.steps_axis(axes, steps.max(), steps.min())
    tick_labels.plain_numbers(axes.yaxis)
    axes.set(xlabel="environment steps", ylabel=ylabel)
    axes.set_title(tick_labels.wrapped(title or "", style.characters(5.8)))
    if np.isnan(runs).all():
        style.say(axes, "no data")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize="medium")
    for handle in legend.legend_handles:
        # A single run is too faint on its own to be recognised in the legend.
        if isinstance(handle, Line2D):
            handle.set_alpha(1)


def _draw(axes: Axes, steps: np.ndarray, runs: np.ndarray, alpha: float) -> None:
    """Draw one run as itself, or the statistics of several over the runs."""
    if len(runs) == 1:
        of_runs.line(axes, steps, runs[0], color=style.CENTRE, label="single run")
        return
    _draw_statistics(axes, steps, runs, alpha)
    empty = len(runs) - of_runs.num_with_a_value(runs)
    without = f" ({empty} of {len(runs)} without a value)" if empty else ""
    of_runs.faint_runs(axes, steps, runs, f"single runs{without}")


def _draw_statistics(
    axes: Axes, steps: np.ndarray, runs: np.ndarray, alpha: float
) -> None:
    """Draw IQM, interquartile range and CVaR, each where it has enough runs."""
    over = of_runs.over_runs(runs, alpha)
    label = f"IQM of {_range(over.observed)} runs"
    of_runs.line(axes, steps, over.iqm, color=style.CENTRE, label=label)
    of_runs.band(axes, steps, over, color=style.CENTRE, label="IQR (middle half)")
    if over.tail.any():
        counts = np.unique(over.observed[over.tail > 0])
        percent = tick_labels.percent(alpha)
        worst = f"{over.tail.max()} of {counts[0]} runs"
        label = f"CVaR {percent} (mean of the worst {worst})"
        if len(counts) > 1:
            label = f"CVaR {percent} (mean of the worst {percent})"
        of_runs.line(
            axes, steps, over.cvar, color=style.TAIL, label=label, linestyle="--"
        )


def _range(count: np.ndarray) -> str:
    """Return how many runs the statistics are over, at the least and at the most."""
    observed = count[count > 0]
    if observed.size == 0:
        return "0"
    low, high = observed.min(), observed.max()
    return f"{high}" if low == high else f"{low} to {high}"
