"""All that can be said of the runs of one algorithm on one task, in one record."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.across_time import curve_range, max_drawdown
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.caveats import caveats_of, of_resamples
from purejaxppo.reliability.curves import final_performance
from purejaxppo.reliability.dispersion_and_risk import (
    Definition,
    WithinRuns,
    cell_intervals,
    cells_within_runs,
    lacking_cells,
    runs_in_cells,
)
from purejaxppo.reliability.grids import filled, on_regular_grid
from purejaxppo.reliability.intervals import Interval, bootstrap, lacking, resample
from purejaxppo.reliability.permutation_tests import CORRECTIONS, Correction
from purejaxppo.reliability.runs import Runs, check_runs
from purejaxppo.reliability.scores import optimality_gap
from purejaxppo.reliability.summary import Summary, summarize

AGGREGATES = ("iqm", "mean", "median", "iqr", "cvar", "optimality_gap")
"""Of final returns, in the order of tables; the last one only with a target."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How runs are analysed and compared.

    Attributes:
        alpha: share of the runs in the tail of the final returns.
        definition: of the cells, whose tails have a share of their own.
        confidence: of all intervals; tests are made at 1 - confidence.
        num_resamples: of the bootstrap.
        num_permutations: of tests of what each run has.
        num_across_permutations: of tests of what only all runs together have, which
            take longer.
        correction: for many tests at once, see `permutation_tests.corrected`.
        seed: of all that is drawn.
    """

    alpha: float = 0.25
    definition: Definition = Definition()
    confidence: float = 0.95
    num_resamples: int = 2000
    num_permutations: int = 10_000
    num_across_permutations: int = 1_000
    correction: Correction = "bh"
    seed: int = 0

    def __post_init__(self) -> None:
        aggregates.check_alpha(self.alpha)
        if not 0 < self.confidence < 1:
            raise ValueError(
                f"Expected confidence to be in (0, 1), got {self.confidence!r}."
            )
        for name, least in (
            ("num_resamples", 2),
            ("num_permutations", 1),
            ("num_across_permutations", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"Expected {name} to be an integer >= {least}, got {value!r}."
                )
        if self.correction not in CORRECTIONS:
            raise ValueError(
                f"Expected correction to be one of {', '.join(CORRECTIONS)}, got "
                f"{self.correction!r}."
            )

    @property
    def level(self) -> float:
        """Of the tests."""
        return round(1 - self.confidence, 12)  # 0.1, not 0.0999..., for 0.9.


DEFAULTS = Plan()


class Analysis(NamedTuple):
    """The runs of one algorithm on one task.

    Attributes:
        algorithm: what was run.
        task: what it was run on.
        env_steps: at the last point of the curves.
        num_points: of the curves that the cells are made of.
        num_episodes: of each run's final policy; 0 without rollouts.
        summary: of the final returns.
        aggregates: of the final returns, see `AGGREGATES`.
        cells: see `dispersion_and_risk.cell_intervals`; without rollouts, without
            their cells.
        lacking: aggregate or cell -> how many resamples have no such number, and are
            left out of its interval; only of those that lack in some.
        runs_in_cells: how many runs enter each of them.
        caveats: what a reader of the numbers should know, a sentence each.
        seeds: `[runs]`.
        scores: `[runs]` final returns, NaN where missing.
        finite: `[runs]`, whether a run did not diverge; `None` if nobody recorded it.
        curve_range: `[runs]`, the unit of the cells.
        max_drawdown: `[runs]`, in units of the return.
        within: the cells that each run has by itself, `[runs, ...]`.
    """

    algorithm: str
    task: str
    env_steps: float
    num_points: int
    num_episodes: int
    summary: Summary
    aggregates: dict[str, Interval]
    cells: dict[str, Interval]
    lacking: dict[str, int]
    runs_in_cells: dict[str, int]
    caveats: list[str]
    seeds: np.ndarray
    scores: np.ndarray
    finite: np.ndarray | None
    curve_range: np.ndarray
    max_drawdown: np.ndarray
    within: WithinRuns

    @property
    def name(self) -> str:
        """Of the algorithm on the task."""
        return f"{self.algorithm} on {self.task}"


def analyze(
    runs: Runs,
    plan: Plan = DEFAULTS,
    target: float | None = None,
    of_cells: Runs | None = None,
) -> Analysis:
    """Analyse the runs of one algorithm on one task.

    Args:
        runs: what was measured; uneven steps are brought to a regular grid, see
            `grids.on_regular_grid`.
        plan: how it is analysed.
        target: a final return beyond which more does not count, for the optimality
            gap.
        of_cells: the same runs on the grid that cells are made of; see
            `grids.on_one_grid`.

    Raises:
        ValueError: shapes do not fit each other.
    """
    runs = prepared(runs)
    of_cells = runs if of_cells is None else of_cells
    of, scores = plan.definition, final_performance(runs.curves)
    summary = summarize(runs.curves, runs.finite, plan.alpha)
    cells = _cells(of_cells, scores, plan)
    found = score_intervals(scores, plan, target)
    entering = {k: int(v) for k, v in runs_in_cells(of_cells, of).items()}
    without = lacking_scores(scores, plan) | _lacking_cells(of_cells, entering, plan)
    known = {k: np.isfinite(v.estimate).any() for k, v in (found | cells).items()}
    without = {name: count for name, count in without.items() if known[name]}
    steps, curves, whole = of_cells.env_steps, of_cells.curves, filled(of_cells)
    return Analysis(
        algorithm=runs.algorithm,
        task=runs.task,
        env_steps=float(runs.env_steps[-1]),
        num_points=len(of_cells.env_steps),
        num_episodes=0 if runs.rollouts is None else runs.rollouts.shape[1],
        summary=summary,
        aggregates=found,
        cells=cells,
        lacking=without,
        runs_in_cells=entering,
        caveats=[
            *caveats_of(runs, summary, of, of_cells),
            *of_resamples(without, plan.num_resamples),
        ],
        seeds=np.asarray(runs.seeds),
        scores=scores,
        finite=None if runs.finite is None else np.asarray(runs.finite),
        curve_range=curve_range(whole),
        max_drawdown=max_drawdown(whole),
        within=cells_within_runs(steps, curves, runs.rollouts, of, whole),
    )


def prepared(runs: Runs) -> Runs:
    """Return runs as they are analysed: checked, in float64, on a regular grid.

    Raises:
        ValueError: shapes do not fit each other.
    """
    runs = check_runs(runs)
    runs = runs._replace(curves=np.asarray(runs.curves, np.float64))
    return on_regular_grid(runs)


def score_statistics(
    alpha: float, target: float | None
) -> dict[str, Callable[[Array, Array], Array]]:
    """Return what is computed of final returns.

    Args:
        alpha: share of the runs in the tail.
        target: of the optimality gap; `None` for no gap.

    Returns:
        Name -> function of scores `[runs, 1]` and counts `[runs, resamples]`.
    """
    statistics = {
        "iqm": aggregates.iqm,
        "mean": aggregates.mean,
        "median": aggregates.median,
        "iqr": _iqr_width,
        "cvar": lambda scores, counts: aggregates.cvar(scores, alpha, counts=counts),
    }
    if target is not None:
        statistics["optimality_gap"] = partial(_gap, target)
    return statistics


def score_intervals(
    scores: np.ndarray, plan: Plan, target: float | None = None
) -> dict[str, Interval]:
    """Return the aggregates of final returns with their intervals over runs.

    Args:
        scores: `[runs]`, NaN where missing.
        plan: how they are analysed.
        target: of the optimality gap; `None` for no gap.

    Returns:
        Name -> scalars. No range below `QUARTILE_RUNS` observed scores.
    """
    counts = resample(plan.seed, [scores.shape], plan.num_resamples)
    found = {
        name: bootstrap(partial(of, scores[:, None]), counts, plan.confidence)
        for name, of in score_statistics(plan.alpha, target).items()
    }
    if aggregates.num_observed(scores) < aggregates.QUARTILE_RUNS:
        found["iqr"] = missing_interval()
    return found


def lacking_scores(scores: np.ndarray, plan: Plan) -> dict[str, int]:
    """Return how many resamples lack an aggregate of final returns.

    Args:
        scores: `[runs]`, NaN where missing.
        plan: how they are analysed.

    Returns:
        Name -> number, of aggregates that all runs together have and some resamples do
        not.
    """
    if not np.isnan(scores).any():
        return {}
    counts = resample(plan.seed, [scores.shape], plan.num_resamples)
    found = {
        name: int(lacking(partial(of, scores[:, None]), counts))
        for name, of in score_statistics(plan.alpha, None).items()
    }
    return some_lacking(found, plan)


def some_lacking(found: Mapping[str, int], plan: Plan) -> dict[str, int]:
    """Return the numbers that some resamples lack, but not all of them."""
    return {name: n for name, n in found.items() if 0 < n < plan.num_resamples}


def missing_interval(shape: tuple[int, ...] = ()) -> Interval:
    """Return the interval of what does not exist: all NaN."""
    return Interval(*(np.full(shape, np.nan) for _ in Interval._fields))


def _iqr_width(scores: Array, counts: Array) -> Array:
    quartiles = aggregates.iqr(scores, counts)
    return quartiles.q75 - quartiles.q25


def _gap(target: float, scores: Array, counts: Array) -> Array:
    return optimality_gap(scores, target, counts)


def _lacking_cells(
    runs: Runs, entering: Mapping[str, int], plan: Plan
) -> dict[str, int]:
    of, resamples = plan.definition, plan.num_resamples
    return some_lacking(lacking_cells(plan.seed, runs, entering, of, resamples), plan)


def _cells(runs: Runs, scores: np.ndarray, plan: Plan) -> dict[str, Interval]:
    """The cells, without what a handful of runs only seem to have."""
    of, resamples = plan.definition, plan.num_resamples
    found = cell_intervals(plan.seed, runs, of, resamples, plan.confidence)
    if aggregates.num_observed(scores) < aggregates.QUARTILE_RUNS:
        found["dispersion_across_runs"] = missing_interval((3,))
    return found
