"""What a reader should know beside the numbers: runs that are too few, or not there."""

import math
from collections.abc import Mapping

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.across_time import curve_range, windows
from purejaxppo.reliability.curves import points_at_the_end
from purejaxppo.reliability.dispersion_and_risk import FRAMES, Definition
from purejaxppo.reliability.grids import filled
from purejaxppo.reliability.intervals import LACKING, most_lacking
from purejaxppo.reliability.runs import Runs
from purejaxppo.reliability.summary import Summary
from purejaxppo.reliability.summary_table import warnings

INTERVAL_RUNS = 10
"""Below so many runs a bootstrap draws too few different samples to be trusted."""

NO_ROLLOUTS = "No rollouts of the final policies, hence no cells across rollouts."

NO_UNITS = "in its units they have no cells across rollouts."


def caveats_of(
    runs: Runs, summary: Summary, definition: Definition, of_cells: Runs
) -> list[str]:
    """Return a sentence for each thing that limits what the runs can tell.

    Args:
        runs: what was measured, on a regular grid.
        summary: of their final returns.
        definition: of the cells.
        of_cells: the same runs on the grid that the cells are made of.
    """
    return [
        *warnings(summary),
        *_of_ends(runs),
        *_of_infinite(runs),
        *_of_few_runs(summary, definition),
        *_of_time(of_cells, definition),
        *_of_units(of_cells, definition),
        *_of_rollouts(runs, definition),
    ]


def _of_ends(runs: Runs) -> list[str]:
    """Runs whose last observation is from before the end: stopped, or diverged."""
    curves = np.asarray(runs.curves, np.float64)
    if curves.shape[1] == 1:
        return []
    seen = ~np.isnan(curves)
    points = points_at_the_end(curves.shape[1])
    early = np.flatnonzero(seen.any(axis=1) & ~seen[:, -points:].any(axis=1))
    if early.size == 0:
        return []
    last = [runs.env_steps[np.flatnonzero(seen[run])[-1]] for run in early]
    which = ", ".join(
        f"{runs.seeds[run]} at {step:,.0f}"
        for run, step in list(zip(early, last, strict=True))[:5]
    )
    more = f" and {early.size - 5} more" if early.size > 5 else ""
    return [
        f"{early.size} of {len(curves)} runs have no observation in the last tenth of "
        f"the steps (seed {which}{more}): what they had last counts as their final "
        f"return, as if they had gone on so."
    ]


def needed_for_tail(alpha: float) -> int:
    """Return how many runs, or points, a tail of `alpha` takes to hold one of them."""
    # An alpha of float32 may lie just below the number that was asked for.
    return math.ceil((1 - 1e-6) / alpha)


def _of_few_runs(summary: Summary, definition: Definition) -> list[str]:
    observed, found = int(summary.num_runs) - int(summary.missing), []
    if observed < aggregates.QUARTILE_RUNS:
        found.append(
            f"Quartiles, and the dispersion across runs, need at least "
            f"{aggregates.QUARTILE_RUNS} runs with a final return; there "
            f"{_are(observed)}."
        )
    tails = {
        "the CVaR of final returns": float(summary.alpha),
        "the risk across runs": definition.alpha,
    }
    for name, alpha in tails.items():
        if observed < (needed := needed_for_tail(alpha)):
            found.append(
                f"A tail of {100 * alpha:g} % holds no run: {name} needs at least "
                f"{needed} runs with a final return; there {_are(observed)}."
            )
    if observed < INTERVAL_RUNS:
        found.append(
            f"Intervals from fewer than {INTERVAL_RUNS} runs are unreliable, as a rule "
            f"too narrow; there {_are(observed)} with a final return."
        )
    return found


def of_resamples(missing: Mapping[str, int], num_resamples: int) -> list[str]:
    """Return what is to be said of resamples that lack a number.

    Args:
        missing: what a number is called -> how many resamples do not have it.
        num_resamples: of the bootstrap.
    """
    most, found = most_lacking(num_resamples), []
    left_out = {name: n for name, n in missing.items() if n <= most}
    refused = {name: n for name, n in missing.items() if n > most}
    why = f"of the {num_resamples:,} bootstrap samples drew too few runs with a value"
    if left_out:
        found.append(f"Some {why} and are left out of an interval: {_each(left_out)}.")
    if refused:
        found.append(
            f"More than {100 * LACKING:g} % {why}, so there is no interval: "
            f"{_each(refused)}."
        )
    return found


def _each(missing: Mapping[str, int], most: int = 5) -> str:
    each = [f"{title(name)} ({n:,})" for name, n in missing.items()]
    more = f" and {len(each) - most} more" if len(each) > most else ""
    return f"{', '.join(each[:most])}{more}"


def title(name: str) -> str:
    """Return what a number is called in a sentence.

    >>> title("iqm"), title("short_term_risk"), title("risk_across_runs")
    ('IQM', 'short-term risk', 'risk across runs')
    """
    short = {"iqm": "IQM", "iqr": "IQR", "cvar": "CVaR"}
    return short.get(name, name.replace("_term", "-term").replace("_", " "))


def _of_infinite(runs: Runs) -> list[str]:
    infinite = int(np.isinf(runs.curves).any(axis=1).sum())
    if not infinite:
        return []
    return [f"{infinite} of {len(runs.curves)} runs have infinite returns."]


def _of_time(runs: Runs, definition: Definition) -> list[str]:
    points = len(runs.env_steps)
    if points == 1:
        return [
            "One evaluation point is no curve: there are no cells across time, and "
            "none in units of the curve range."
        ]
    found, needed = [], needed_for_tail(definition.alpha)
    if points - 1 < needed:
        found.append(
            f"A tail of {100 * definition.alpha:g} % of a curve holds no change: the "
            f"short-term risk needs at least {needed + 1} evaluation points, the "
            f"long-term risk {needed}; there are {points}."
        )
    last = runs.env_steps[-1]
    _, inside = windows(
        np.asarray(runs.env_steps, float)[1:],
        definition.points * last,
        definition.window * last,
    )
    held = definition.in_frames(np.where(inside.sum(axis=1) < 2, np.nan, 1.0))
    empty = [name for name, some in zip(FRAMES, held, strict=True) if np.isnan(some)]
    if empty:
        found.append(
            f"No window of {100 * definition.window:g} % of the training holds two "
            f"changes from one evaluation point to the next at the {', '.join(empty)}: "
            f"there is no dispersion across time then."
        )
    return found


def _of_units(runs: Runs, definition: Definition) -> list[str]:
    if not definition.normalize or len(runs.env_steps) == 1:
        return []
    curves = np.asarray(filled(runs), np.float64)
    unit = curve_range(np.where(np.isinf(curves), np.nan, curves))
    flat, seen = int((unit <= 0).sum()), int(np.isfinite(unit).sum())
    if not flat:
        return []
    return [
        f"The curve range of {flat} of {seen} runs is not positive (they are constant, "
        f"or fall from their first point on): in its units they have no cell. Where "
        f"they are more than half, there is no dispersion across runs either."
    ]


def _of_rollouts(runs: Runs, definition: Definition) -> list[str]:
    if runs.rollouts is None:
        return [NO_ROLLOUTS]
    found, episodes = [], runs.rollouts.shape[1]
    if episodes < (needed := needed_for_tail(definition.alpha)):
        found.append(
            f"A tail of {100 * definition.alpha:g} % holds no episode: the risk across "
            f"rollouts needs at least {needed} episodes of each policy; there "
            f"{_are(episodes)}."
        )
    median = aggregates.median(np.asarray(runs.rollouts, np.float64).T)
    negative = int((median <= 0).sum())
    if definition.normalize and negative:
        found.append(
            f"The median return of {negative} of {len(median)} policies is not "
            f"positive: {NO_UNITS}"
        )
    lost = int(np.isnan(runs.rollouts).sum())
    if lost:
        found.append(
            f"{lost} of {runs.rollouts.size} episodes of the final policies have no "
            f"return, and are left out."
        )
    return found


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}"
