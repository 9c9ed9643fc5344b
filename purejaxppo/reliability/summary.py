"""The final returns of a study in one record: centre, spread, tail, failures."""

from typing import NamedTuple

from purejaxppo.reliability import aggregates
from purejaxppo.reliability.arrays import Array, as_array, as_floating
from purejaxppo.reliability.curves import final_performance


class Summary(NamedTuple):
    """Statistics of the final returns of the runs which have one.

    Attributes:
        num_runs: all runs, with and without a final return.
        missing: the runs without a final return, which enter no other statistic.
        diverged: share in [0, 1] of all runs that diverged; NaN if not recorded.
        mean: mean.
        median: median.
        iqm: interquartile mean.
        q25: lower bound of the interquartile range.
        q75: upper bound of the interquartile range.
        cvar: mean of the lower tail; NaN where it holds no run of its own.
        alpha: the share of the runs in the tail.
        tail_runs: the number of runs in the tail, 0 where `cvar` is NaN.
        worst: the lowest final return.
        worst_run: its index; -1 if no run has a final return.
    """

    num_runs: int
    missing: Array
    diverged: Array
    mean: Array
    median: Array
    iqm: Array
    q25: Array
    q75: Array
    cvar: Array
    alpha: float
    tail_runs: Array
    worst: Array
    worst_run: Array


def summarize(
    curves: Array, finite: Array | None = None, alpha: float = 0.25
) -> Summary:
    """Summarize the final returns of `curves` over runs.

    Args:
        curves: `[runs, time]` returns, NaN where nothing was observed. The final
            return of a run is its `final_performance`.
        finite: `[runs]` or `[runs, time]` bools, whether the run's updates were
            finite: a run with any False has diverged. A diverged run that has a
            final return stays in the statistics.
        alpha: in (0, 0.5], static: the share of the runs in the tail.

    Returns:
        Scalars, of the array type of `curves`.

    Raises:
        ValueError: an argument is out of range or of the wrong shape.
    """
    aggregates.check_alpha(alpha)
    xp, curves = as_floating(curves)
    if curves.ndim != 2:
        raise ValueError(
            f"Expected curves to be [runs, time], got shape {curves.shape}"
        )
    final = final_performance(curves)
    order = xp.argsort(final, axis=0, stable=True)  # NaN last
    observed = aggregates.num_observed(final)
    quartiles = aggregates.iqr(final)
    return Summary(
        num_runs=final.shape[0],
        missing=final.shape[0] - observed,
        diverged=_diverged(finite, curves),
        mean=aggregates.mean(final),
        median=aggregates.median(final),
        iqm=aggregates.iqm(final),
        q25=quartiles.q25,
        q75=quartiles.q75,
        cvar=aggregates.cvar(final, alpha),
        alpha=alpha,
        tail_runs=aggregates.tail_size(final, alpha),
        worst=final[order[0]],
        worst_run=xp.where(observed > 0, order[0], -1),
    )


def _diverged(finite: Array | None, curves: Array) -> Array:
    """Return the share of runs with any False, NaN if nothing was recorded."""
    xp, dtype = curves.__array_namespace__(), curves.dtype
    if finite is None:
        return xp.asarray(xp.nan, dtype=dtype)
    finite_xp, flags = as_array(finite)
    if flags.ndim not in (1, 2) or flags.shape[0] != curves.shape[0]:
        raise ValueError(
            f"Expected finite to be [runs] or [runs, time] with "
            f"{curves.shape[0]} runs, "
            f"got shape {flags.shape}"
        )
    always = finite_xp.all(flags.reshape((flags.shape[0], -1)), axis=1)
    return xp.mean(xp.asarray(~always, dtype=dtype))
