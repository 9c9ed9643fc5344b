"""Figures, by matplotlib's object interface: no pyplot, hence no global state."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array

# Okabe and Ito 2008: tell apart under every common form of colour blindness. The
# dashes of the tail do so in black and white.
_BLUE, _VERMILLION, _GREY = "#0072B2", "#D55E00", "#8C8C8C"


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
    steps, runs = np.asarray(env_steps, float), np.asarray(curves, float)
    if runs.ndim != 2 or 0 in runs.shape:
        raise ValueError(f"Expected curves to be [runs, time], got shape {runs.shape}")
    if steps.shape != runs.shape[1:]:
        raise ValueError(
            f"Expected env_steps to be [time] = {runs.shape[1:]}, got {steps.shape}"
        )
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    if len(runs) == 1:
        _line(axes, steps, runs[0], color=_BLUE, label="single run")
    else:
        _draw_statistics(axes, steps, runs, alpha)
        _draw_runs(axes, steps, runs)
    _decorate(axes, steps, title, ylabel)
    if np.isnan(runs).all():
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False)
    for handle in legend.legend_handles:
        # A single run is too faint on its own to be recognised in the legend.
        if isinstance(handle, Line2D):
            handle.set_alpha(1)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write the figure; the suffix of the path is its format.

    Args:
        figure: what `learning_curve` returned.
        path: for example "learning_curve.png", or ".pdf" for print.
        dpi: dots per inch of a PNG.
    """
    figure.savefig(path, dpi=dpi)


def _draw_runs(axes: Axes, steps: np.ndarray, runs: np.ndarray) -> None:
    """Draw each run faintly, joined across the times without an observation."""
    seen = ~np.isnan(runs)
    lines = [
        np.stack([steps[s], run[s]], axis=1) for run, s in zip(runs, seen, strict=True)
    ]
    empty = len(runs) - int(seen.any(axis=1).sum())
    label = f"single runs ({empty} of {len(runs)} without a value)"
    # More runs are fainter: hundreds would otherwise be one grey area.
    opacity = float(np.clip(16 / len(runs), 0.1, 0.5))
    axes.add_collection(
        LineCollection(
            lines,
            colors=_GREY,
            linewidths=0.7,
            alpha=opacity,
            zorder=1,
            label=label if empty else "single runs",
        )
    )


def _draw_statistics(
    axes: Axes, steps: np.ndarray, runs: np.ndarray, alpha: float
) -> None:
    """Draw IQM, interquartile range and CVaR, each where it has enough runs."""
    count = aggregates.num_observed(runs)
    quartiles, enough = aggregates.iqr(runs), count >= aggregates.QUARTILE_RUNS
    iqm, tail = aggregates.iqm(runs), aggregates.cvar(runs, alpha)
    size = aggregates.tail_size(runs, alpha)
    _line(axes, steps, iqm, color=_BLUE, label=f"IQM of {_range(count)} runs")
    if enough.any():
        axes.fill_between(
            steps[enough],
            quartiles.q25[enough],
            quartiles.q75[enough],
            color=_BLUE,
            alpha=0.22,
            linewidth=0,
            zorder=2,
            label="IQR (middle half)",
        )
    if size.any():
        counts, percent = np.unique(count[size > 0]), f"{100 * alpha:g} %"
        worst = f"{size.max()} of {counts[0]} runs" if len(counts) == 1 else percent
        label = f"CVaR {percent} (mean of the worst {worst})"
        _line(axes, steps, tail, color=_VERMILLION, label=label, linestyle="--")


def _line(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    *,
    color: str,
    label: str,
    linestyle: str = "-",
) -> None:
    """Draw a main line through the observed points; a lone point gets a marker."""
    seen = ~np.isnan(values)
    axes.plot(
        steps[seen],
        values[seen],
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=2,
        marker="o" if seen.sum() == 1 else "",
        zorder=3,
    )


def _range(count: np.ndarray) -> str:
    """Return how many runs the statistics are over, at the least and at the most."""
    observed = count[count > 0]
    if observed.size == 0:
        return "0"
    low, high = observed.min(), observed.max()
    return f"{high}" if low == high else f"{low} to {high}"


def _decorate(axes: Axes, steps: np.ndarray, title: str | None, ylabel: str) -> None:
    axes.autoscale_view()
    if steps.max() > 0:
        axes.set_xlim(min(0, steps.min()), 1.01 * steps.max())
    axes.set_xlabel("environment steps")
    axes.set_ylabel(ylabel)
    engineering = EngFormatter(sep="")
    # 1B, as people write it, not the 1G of engineers.
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: engineering.format_eng(x).replace("G", "B"))
    )
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontweight="bold")
