"""The table of dispersion and risk: over a run's time, over runs, over rollouts.

| | dispersion | risk |
| --- | --- | --- |
| across time | spread of changes in a sliding window | CVaR of changes, of drawdown |
| across runs | spread over runs | CVaR over runs |
| across rollouts of a fixed policy | spread over episodes | CVaR over episodes |

Source: Chan et al. 2020, "Measuring the reliability of reinforcement learning
algorithms".
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from purejaxppo.reliability import aggregates, grids
from purejaxppo.reliability.across_runs import (
    dispersion_across_rollouts,
    dispersion_across_runs,
    per_unit,
    risk_across_rollouts,
    risk_across_runs,
)
from purejaxppo.reliability.across_time import (
    Measure,
    check_measure,
    check_steps,
    curve_range,
    dispersion_across_time,
    in_units,
    long_term_risk,
    short_term_risk,
)
from purejaxppo.reliability.arrays import Array, as_floating
from purejaxppo.reliability.filters import GRID, low_pass, regular, resampled
from purejaxppo.reliability.intervals import (
    Interval,
    Method,
    Statistic,
    bootstrap,
    lacking,
    resample,
)
from purejaxppo.reliability.runs import Runs

FRAMES = ("beginning", "middle", "end")
"""Thirds of the training; in each, the median over its evaluation points is taken."""


@dataclasses.dataclass(frozen=True)
class Definition:
    """The numbers that the six cells are defined by.

    Times are shares of the training, from 0 to its last step: the defaults are those of
    Chan et al. 2020 for 2M steps, windows of 100k every 100k from 50k on.

    Attributes:
        alpha: share of the worst changes, points, runs or episodes in a CVaR.
        measure: of dispersion: "iqr", "mad" or "std".
        window: width of the window before each evaluation point, and of that around it
            in which filtered curves must have a point.
        every: distance of the evaluation points, at most 1/3 so that each time frame
            has one; the first is at half of it.
        threshold: of the low-pass filter, a share of the Nyquist frequency.
        grid: points of the regular grid that curves are filtered on.
        normalize: give changes, drawdowns and runs in units of each run's
            `curve_range`, rollouts in units of their median.
    """

    alpha: float = 0.05
    measure: Measure = "iqr"
    window: float = 0.05
    every: float = 0.05
    threshold: float = 0.01
    grid: int = GRID
    normalize: bool = True

    def __post_init__(self) -> None:
        aggregates.check_alpha(self.alpha)
        check_measure(self.measure)
        for name in ("window", "threshold"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"Expected {name} to be in (0, 1), got {value!r}.")
        if not 0 < self.every <= 1 / 3:
            raise ValueError(f"Expected every to be in (0, 1/3], got {self.every!r}.")
        if self.grid < 2:
            raise ValueError(f"Expected grid to be at least 2, got {self.grid!r}.")

    @property
    def points(self) -> np.ndarray:
        """`[points]` evaluation points, as shares of the training."""
        return np.arange(self.every / 2, 1 + 1e-9, self.every)

    def in_frames(self, values: Array) -> Array:
        """Return the median over the evaluation points of each time frame.

        Args:
            values: `[points, ...]`, NaN where missing.

        Returns:
            `[3, ...]`.
        """
        xp, values = as_floating(values)
        # A point that is 1/3 but for rounding belongs to the second third.
        frame = np.floor(self.points * len(FRAMES) + 1e-9)
        frame = np.minimum(frame, len(FRAMES) - 1)
        medians = [aggregates.median(values[frame == i]) for i in range(len(FRAMES))]
        return xp.stack(medians)


class WithinRuns(NamedTuple):
    """What each run has by itself.

    Attributes:
        dispersion_across_time: `[runs, 3]` at the beginning, in the middle, at the end;
            lower is better, as `long_term_risk` and `dispersion_across_rollouts`.
        short_term_risk: `[runs]`, higher is better.
        long_term_risk: `[runs]`.
        dispersion_across_rollouts: `[runs]`, `None` without rollouts.
        risk_across_rollouts: `[runs]`, higher is better; `None` without rollouts.
    """

    dispersion_across_time: Array
    short_term_risk: Array
    long_term_risk: Array
    dispersion_across_rollouts: Array | None
    risk_across_rollouts: Array | None


class AcrossRuns(NamedTuple):
    """What only all runs together have, `[3, resamples]` by time frame.

    Attributes:
        dispersion_across_runs: lower is better.
        risk_across_runs: higher is better.
    """

    dispersion_across_runs: Array
    risk_across_runs: Array


HIGHER_IS_BETTER = {
    "dispersion_across_time": False,
    "short_term_risk": True,
    "long_term_risk": False,
    "dispersion_across_runs": False,
    "risk_across_runs": True,
    "dispersion_across_rollouts": False,
    "risk_across_rollouts": True,
}
"""The cells, in the order of the table."""


def cells_within_runs(
    env_steps: np.ndarray,
    curves: Array,
    rollouts: Array | None = None,
    definition: Definition = Definition(),
    filled: Array | None = None,
) -> WithinRuns:
    """Return the cells that each run has by itself.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[runs, time]`, NaN where nothing was observed.
        rollouts: `[runs, episodes]` returns of the runs' final policies.
        definition: of the cells.
        filled: `[runs, time]`, what curve range and drawdowns are those of, such as
            `grids.filled`; the curves if `None`.

    Raises:
        ValueError: steps do not fit the curves, or end at 0.
    """
    xp, curves = as_floating(curves)
    steps, of = check_steps(env_steps, curves), definition
    last, whole = _last(steps), curves if filled is None else filled
    unit = curve_range(whole) if of.normalize else xp.ones_like(curves[:, 0])
    spread = dispersion_across_time(
        steps, curves, of.points * last, of.window * last, of.measure
    )
    dispersion = risk = None
    if rollouts is not None:
        dispersion = dispersion_across_rollouts(rollouts, of.measure, of.normalize)
        risk = risk_across_rollouts(rollouts, of.alpha, of.normalize)
    return WithinRuns(
        dispersion_across_time=of.in_frames(in_units(spread, unit[:, None]).T).T,
        short_term_risk=in_units(short_term_risk(steps, curves, of.alpha), unit),
        long_term_risk=in_units(long_term_risk(whole, of.alpha), unit),
        dispersion_across_rollouts=dispersion,
        risk_across_rollouts=risk,
    )


def cells_across_runs(
    env_steps: np.ndarray,
    curves: Array,
    definition: Definition = Definition(),
    filled: Array | None = None,
) -> Callable[[Array], AcrossRuns]:
    """Return the cells that only all runs together have, for any counts of the runs.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[runs, time]`, NaN where nothing was observed.
        definition: of the cells.
        filled: see `cells_within_runs`.

    Returns:
        counts `[runs, resamples]` -> cells `[3, resamples]`.

    Raises:
        ValueError: steps do not fit the curves, or end at 0.
    """
    of_all = levels(env_steps, curves, definition, filled)
    return partial(cells_of_levels, of_all, definition=definition)


class Levels(NamedTuple):
    """What cells across runs are made of.

    Attributes:
        level: `[runs, points]` filtered curves at the evaluation points.
        unit: `[runs]`, each run's `curve_range`; `None` if nothing is normalised.
    """

    level: Array
    unit: Array | None


def levels(
    env_steps: np.ndarray,
    curves: Array,
    definition: Definition = Definition(),
    filled: Array | None = None,
) -> Levels:
    """Return the filtered curves at the evaluation points, and their units.

    Args:
        env_steps: `[time]`, increasing, static.
        curves: `[runs, time]`, NaN where nothing was observed.
        definition: of the cells.
        filled: see `cells_within_runs`.

    Raises:
        ValueError: steps do not fit the curves.
    """
    xp, curves = as_floating(curves)
    of, steps = definition, check_steps(env_steps, curves)
    last, grid = _last(steps), regular(steps, of.grid)
    smooth = low_pass(resampled(steps, curves, grid), of.threshold)
    distance = np.abs(grid[None] - of.points[:, None] * last)
    # Before the first step there is nothing to see.
    near = distance.min(axis=1) < of.window * last / 2
    level = xp.where(near, smooth[:, distance.argmin(axis=1)], xp.nan)
    whole = curves if filled is None else filled
    return Levels(level=level, unit=curve_range(whole) if of.normalize else None)


def cells_of_levels(
    of_runs: Levels, counts: Array, definition: Definition = Definition()
) -> AcrossRuns:
    """Return the cells that only all runs together have, for any counts of the runs.

    Args:
        of_runs: see `levels`.
        counts: `[runs, resamples]` integers, how often each run counts.
        definition: of the cells.

    Returns:
        Cells `[3, resamples]`.
    """
    of, times, unit = definition, counts[:, None], of_runs.unit
    level = of_runs.level[..., None]
    return AcrossRuns(
        of.in_frames(dispersion_across_runs(level, unit, of.measure, times)),
        of.in_frames(risk_across_runs(level, of.alpha, unit, times)),
    )


def _last(steps: np.ndarray) -> float:
    """The end of the training, which points and windows are shares of."""
    if steps.size == 0 or not steps[-1] > 0:
        raise ValueError(
            f"Expected env_steps to end after step 0, got {steps[-1:].tolist()}."
        )
    return float(steps[-1])


def runs_in_cells(
    runs: Runs, definition: Definition = Definition()
) -> dict[str, Array]:
    """Return how many runs enter each cell: show it where it is not all of them.

    The others have no observation, an infinite one, too few for a tail, or no positive
    unit.

    Args:
        runs: what was measured, on a regular grid.
        definition: of the cells.

    Returns:
        A cell's name -> a number of runs. Without rollouts, without their cells.
    """
    xp, curves = as_floating(runs.curves)
    whole = grids.filled(runs)
    within = cells_within_runs(runs.env_steps, curves, runs.rollouts, definition, whole)
    entering = {k: v for k, v in within._asdict().items() if v is not None}
    # Any number for what can be filtered, in no units and in those of the risk.
    seen = xp.any(xp.isfinite(curves), axis=1)
    infinite = xp.any(xp.isinf(curves), axis=1)
    level = xp.where(seen & ~infinite, 1.0, xp.nan)
    unit = curve_range(whole) if definition.normalize else None
    entering["dispersion_across_runs"] = level
    entering["risk_across_runs"] = per_unit(level, unit)
    return {
        name: xp.sum(_any_known(entering[name]))
        for name in HIGHER_IS_BETTER
        if name in entering
    }


def _any_known(values: Array) -> Array:
    """`[runs, ...]` -> `[runs]` bools."""
    xp = values.__array_namespace__()
    known = xp.logical_not(xp.isnan(values))
    return xp.any(known.reshape(len(values), -1), axis=1)


def cell_intervals(
    key: Any,
    runs: Runs,
    definition: Definition = Definition(),
    num_resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """Return all cells of a study with their bootstrap intervals over runs.

    Args:
        key: a JAX key, or an integer seed.
        runs: what was measured, on a regular grid.
        definition: of the cells.
        num_resamples: of the bootstrap.
        confidence: of the intervals, in (0, 1).
        method: of the intervals, see `intervals.bootstrap`.

    Returns:
        A cell's name -> its estimate and ends, `[3]` by time frame or scalars; of what
        each run has, the median over runs. Without rollouts, without their cells.

    Raises:
        ValueError: an argument is out of range.
    """
    counts = resample(key, [(len(runs.curves),)], num_resamples)
    medians, across = _statistics(runs, definition)
    found = {
        name: bootstrap(statistic, counts, confidence, method)
        for name, statistic in medians.items()
    }
    # Both at once, since each sorts all runs.
    both = bootstrap(across, counts, confidence, method)
    for i, name in enumerate(AcrossRuns._fields):
        found[name] = Interval(*(x[i] for x in both))
    return {name: found[name] for name in HIGHER_IS_BETTER if name in found}


def lacking_cells(
    key: Any,
    runs: Runs,
    entering: Mapping[str, int],
    definition: Definition = Definition(),
    num_resamples: int = 2000,
) -> dict[str, int]:
    """Return how many resamples have no such cell, in the time frame with most of them.

    Args:
        key: that of `cell_intervals`.
        runs: what was measured, on a regular grid.
        entering: how many runs enter each cell, see `runs_in_cells`.
        definition: of the cells.
        num_resamples: of the bootstrap.

    Returns:
        A cell's name -> a number, all resamples where no time frame has the cell. Cells
        that all runs or none enter are left out: so are all resamples, or none.
    """
    some = [name for name, count in entering.items() if 0 < count < len(runs.curves)]
    if not some:
        return {}
    counts = resample(key, [(len(runs.curves),)], num_resamples)
    medians, across = _statistics(runs, definition)
    found = {name: lacking(medians[name], counts) for name in some if name in medians}
    if any(name in AcrossRuns._fields for name in some):
        found |= dict(zip(AcrossRuns._fields, lacking(across, counts), strict=True))
    return {name: _most(found[name], num_resamples) for name in some}


def _most(missing: Array, num_resamples: int) -> int:
    """The largest number, but for time frames that no resample has."""
    missing = np.asarray(missing).reshape(-1)
    some = missing[missing < num_resamples]
    return int(some.max()) if some.size else num_resamples


def _statistics(
    runs: Runs, definition: Definition
) -> tuple[dict[str, Statistic], Statistic]:
    """Return each cell that runs have, as its median over them; and both across runs.

    The latter are `[2, 3, resamples]`.
    """
    steps, curves, whole = runs.env_steps, runs.curves, grids.filled(runs)
    within = cells_within_runs(steps, curves, runs.rollouts, definition, whole)
    of_all = cells_across_runs(steps, curves, definition, whole)
    medians: dict[str, Statistic] = {
        name: partial(_median, values)
        for name, values in within._asdict().items()
        if values is not None
    }
    return medians, lambda counts: _stacked(of_all(counts))


def _median(values: Array, counts: Array) -> Array:
    """`[runs, ...]`, counts `[runs, resamples]` -> `[..., resamples]`."""
    shape = (counts.shape[0], *(1,) * (values.ndim - 1), counts.shape[-1])
    return aggregates.median(values[..., None], counts.reshape(shape))


def _stacked(cells: AcrossRuns) -> Array:
    return cells[0].__array_namespace__().stack(cells)
