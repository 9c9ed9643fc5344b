"""Figures of a page: what `reliability.plots` draws, as text of SVG.

A key makes the ids of a figure its own among all figures of the page.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purejaxppo.reliability.curves import thinned
from purejaxppo.reliability.grids import filled, on_regular_grid
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.runs import Runs
from purejaxppo.reporting.short_report import POINTS

SCALE = 1.35
"""Of figures on a screen: their letters, 8 pt in print, are then as large as its."""


def learning_curves(
    key: str, records: Mapping[str, Runs], alpha: float, ylabel: str
) -> str:
    """Draw centre, spread and tail over environment steps, by algorithm."""
    curves = {name: smoothed(runs) for name, runs in records.items()}
    return _svg(key, _plots().learning_curves(curves, alpha=alpha, ylabel=ylabel))


def drawdowns(key: str, runs: Runs, alpha: float) -> str:
    """Draw how far runs are below their best until then."""
    return _svg(key, _plots().drawdowns(*smoothed(runs), alpha=alpha))


def strip(key: str, scores: Mapping[str, np.ndarray], alpha: float, ylabel: str) -> str:
    """Draw the final return of each run, by algorithm."""
    return _svg(key, _plots().strip(scores, alpha=alpha, ylabel=ylabel))


def cells(key: str, found: Mapping[str, Mapping[str, Interval]]) -> str:
    """Draw the cells with their intervals, by algorithm."""
    return _svg(key, _plots().cells(found))


def intervals(key: str, found: Mapping[str, Mapping[str, Interval]]) -> str:
    """Draw aggregates with their intervals, by algorithm."""
    lower = ("IQR", "optimality gap")
    return _svg(key, _plots().intervals(found, lower_is_better=lower))


def performance_profiles(
    key: str,
    thresholds: np.ndarray,
    profiles: Mapping[str, Interval],
    xlabel: str,
) -> str:
    """Draw the share of runs above each score, by algorithm."""
    found = {name: (thresholds, interval) for name, interval in profiles.items()}
    return _svg(key, _plots().performance_profiles(found, xlabel=xlabel))


def ranking(key: str, found: Mapping[str, Interval]) -> str:
    """Draw mean ranks with their intervals."""
    return _svg(key, _plots().ranking(found))


def improvement(key: str, names: Sequence[str], probabilities: np.ndarray) -> str:
    """Draw how probably a run of each algorithm beats one of each other.

    Args:
        key: of the figure.
        names: of the algorithms.
        probabilities: `[3, algorithms, algorithms]`, estimates and both ends.
    """
    return _svg(key, _plots().improvement(names, *probabilities))


def smoothed(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and curves of at most `POINTS` points, as they are drawn."""
    runs = on_regular_grid(runs)
    curves = np.asarray(filled(runs), np.float64)
    return thinned(np.asarray(runs.env_steps), curves, POINTS)


def _svg(key: str, figure: Any) -> str:
    figure.set_gid(key)
    return _enlarged(_plots().svg(figure))


def _enlarged(svg: str) -> str:
    """A drawing made for print at a size for screens, all by the same factor."""

    def enlarge(match: re.Match[str]) -> str:
        return f'{match[1]}="{SCALE * float(match[2]):.1f}pt"'

    # Of the first element, which is the drawing.
    return re.sub(r'\b(width|height)="([\d.]+)pt"', enlarge, svg, count=2)


def _plots() -> Any:
    """Matplotlib is imported when something is drawn."""
    from purejaxppo.reliability import plots

    return plots
