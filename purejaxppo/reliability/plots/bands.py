"""Runs over time: what is checked, faint single runs, statistics at each time."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.plots import style, tick_labels


def checked(
    env_steps: Array, curves: Array, name: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Return steps `[time]` and curves `[runs, time]` in float64, infinite ones as NaN.

    Raises:
        ValueError: the shapes do not agree, or there is no run or no time.
    """
    steps, runs = np.asarray(env_steps, float), np.asarray(curves, float)
    of = f" of {name}" if name else ""
    if runs.ndim != 2 or 0 in runs.shape:
        raise ValueError(
            f"Expected curves{of} to be [runs, time], got shape {runs.shape}."
        )
    if steps.shape != runs.shape[1:]:
        raise ValueError(
            f"Expected env_steps{of} to be [time] = {runs.shape[1:]}, got "
            f"{steps.shape}."
        )
    return steps, np.where(np.isfinite(runs), runs, np.nan)


class OverRuns(NamedTuple):
    """Statistics over runs at each time, all `[time]`.

    Attributes:
        observed: runs with a value.
        iqm: interquartile mean.
        q25: first quartile; NaN where fewer than `QUARTILE_RUNS` have a value.
        q75: third quartile, likewise.
        cvar: mean of the tail; NaN where it holds no run.
        tail: runs in the tail, 0 where there is none.
    """

    observed: np.ndarray
    iqm: np.ndarray
    q25: np.ndarray
    q75: np.ndarray
    cvar: np.ndarray
    tail: np.ndarray


def over_runs(
    runs: np.ndarray, alpha: float, tail: aggregates.Tail = "lower"
) -> OverRuns:
    """Return the statistics of `[runs, time]` that are drawn over time."""
    observed, quartiles = aggregates.num_observed(runs), aggregates.iqr(runs)
    enough = observed >= aggregates.QUARTILE_RUNS
    return OverRuns(
        observed=observed,
        iqm=aggregates.iqm(runs),
        q25=np.where(enough, quartiles.q25, np.nan),
        q75=np.where(enough, quartiles.q75, np.nan),
        cvar=aggregates.cvar(runs, alpha, tail),
        tail=aggregates.tail_size(runs, alpha),
    )


def num_with_a_value(runs: np.ndarray) -> int:
    """Return how many of the runs `[runs, time]` have a value at any time."""
    return int((~np.isnan(runs)).any(axis=1).sum())


def line(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    *,
    color: str,
    label: str,
    linestyle: Any = "-",
    linewidth: float | None = None,
    zorder: float = 3,
) -> None:
    """Draw a line through the observed points; a lone point gets a marker."""
    seen = ~np.isnan(values)
    axes.plot(
        steps[seen],
        values[seen],
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=linewidth,
        marker="o" if seen.sum() == 1 else "",
        zorder=zorder,
    )


def band(
    axes: Axes, steps: np.ndarray, over: OverRuns, *, color: str, label: str
) -> None:
    """Fill from the first to the third quartile where there are quartiles."""
    seen = ~np.isnan(over.q25)
    if seen.any():
        axes.fill_between(
            steps[seen],
            over.q25[seen],
            over.q75[seen],
            color=color,
            alpha=0.22,
            linewidth=0,
            zorder=2,
            label=label,
        )


def faint_runs(axes: Axes, steps: np.ndarray, runs: np.ndarray, label: str) -> None:
    """Draw each run faintly, joined across the times without an observation."""
    seen = ~np.isnan(runs)
    lines = [
        np.stack([steps[s], run[s]], axis=1) for run, s in zip(runs, seen, strict=True)
    ]
    # More runs are fainter: hundreds would otherwise be one grey area.
    opacity = float(np.clip(16 / len(runs), 0.1, 0.5))
    axes.add_collection(
        LineCollection(
            lines,
            colors=style.RUNS,
            linewidths=0.7,
            alpha=opacity,
            zorder=1,
            label=label,
            rasterized=bool(seen.sum() > style.MOST_POINTS),
        )
    )


def steps_axis(
    axes: Axes, last: float, first: float = 0, most: int | None = None
) -> None:
    """Give axes over time their scale: from 0, or from a negative first step."""
    axes.autoscale_view()
    if last > 0:
        axes.set_xlim(min(0, first), 1.01 * last)
    tick_labels.plain_numbers(axes.xaxis, most)
