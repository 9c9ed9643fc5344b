"""Reliability over runs, and over the episodes of a fixed policy.

Source: Chan et al. 2020, "Measuring the reliability of reinforcement learning
algorithms". They low-pass filter the curves first (`filters.low_pass` on
`filters.resampled`), so that only runs that differ for longer count as different.
"""

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.across_time import Measure, in_units, spread
from purejaxppo.reliability.arrays import Array, as_floating


def dispersion_across_runs(
    performance: Array,
    unit: Array | None = None,
    measure: Measure = "iqr",
    counts: Array | None = None,
) -> Array:
    """Return the spread over runs, divided by the median of their units.

    Args:
        performance: `[runs, ...]`, at some points of filtered curves for instance.
        unit: `[runs]`, such as each run's `curve_range`, or `[runs, ...]`; none if
            `None`.
        measure: "iqr", "mad" or "std".
        counts: how often each run counts, see `aggregates`.

    Returns:
        `[...]`, lower is better. NaN where the median unit is not positive, or fewer
        than two runs have a performance.
    """
    width = spread(performance, measure, counts)
    if unit is None:
        return width
    return in_units(width, aggregates.median(_per_run(unit, performance), counts))


def risk_across_runs(
    performance: Array,
    alpha: float,
    unit: Array | None = None,
    counts: Array | None = None,
) -> Array:
    """Return the CVaR over runs: the mean of the worst `alpha` of them.

    Each run is divided by its own unit, as Chan et al. 2020 do. Where that is the
    `curve_range`, a run that never learned is left out or, with a small range, looks
    good: read the figure beside the one without units, and beside the number of runs
    that entered.

    Args:
        performance: `[runs, ...]`, at some points of filtered curves for instance.
        alpha: in (0, 0.5], static: the share of the runs in the lower tail.
        unit: `[runs]`, such as each run's `curve_range`, or `[runs, ...]`; none if
            `None`.
        counts: how often each run counts, see `aggregates`.

    Returns:
        `[...]`, higher is better; runs whose unit is not positive are left out. NaN
        where the tail holds no run.
    """
    return aggregates.cvar(per_unit(performance, unit), alpha, counts=counts)


def per_unit(performance: Array, unit: Array | None) -> Array:
    """Return the runs that enter `risk_across_runs`, each in its own unit.

    Args:
        performance: `[runs, ...]`.
        unit: `[runs]` or `[runs, ...]`; none if `None`.

    Returns:
        `[runs, ...]`, NaN where the unit is not positive.
    """
    if unit is None:
        return performance
    return in_units(performance, _per_run(unit, performance))


def _per_run(unit: Array, performance: Array) -> Array:
    """The unit with an axis of 1 for each axis of the performance that it lacks."""
    _, unit = as_floating(unit)
    return unit.reshape(*unit.shape, *(1,) * (performance.ndim - unit.ndim))


def dispersion_across_rollouts(
    rollouts: Array, measure: Measure = "iqr", normalize: bool = True
) -> Array:
    """Return the spread of a fixed policy's returns, divided by their median.

    Args:
        rollouts: `[..., episodes]` returns.
        measure: "iqr", "mad" or "std".
        normalize: divide by the median.

    Returns:
        `[...]`, lower is better. NaN where the median is not positive, as it is where
        returns are costs, or there are fewer than two episodes.
    """
    xp, rollouts = as_floating(rollouts)
    episodes = xp.moveaxis(rollouts, -1, 0)
    width = spread(episodes, measure)
    return in_units(width, aggregates.median(episodes)) if normalize else width


def risk_across_rollouts(
    rollouts: Array, alpha: float, normalize: bool = True
) -> Array:
    """Return the CVaR of a fixed policy's returns, divided by their median.

    Args:
        rollouts: `[..., episodes]` returns.
        alpha: in (0, 0.5], static: the share of the episodes in the lower tail.
        normalize: divide by the median.

    Returns:
        `[...]`, higher is better. NaN where the tail holds no episode, or the median is
        not positive.
    """
    xp, rollouts = as_floating(rollouts)
    episodes = xp.moveaxis(rollouts, -1, 0)
    tail = aggregates.cvar(episodes, alpha)
    return in_units(tail, aggregates.median(episodes)) if normalize else tail
