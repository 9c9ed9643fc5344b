"""Curves on a regular grid of environment steps, however often runs were logged.

All statistics of a curve count its points, so each point must stand for the same number
of steps. Runs that were all logged at the same, equally spaced steps are on such a grid
already (updates of a study, evaluations at fixed steps) and stay as they are. Other
logs, with a row an episode for instance, have most of their rows where episodes are
short. These are brought to `POINTS` bins of equal width over [0, last step]:

- The value of a bin is the mean of the rows in it. Rows are not weighted by the steps
  between them: in many tasks long episodes are the good ones and would count more.
- A bin without a row is NaN, and the record is marked as one with `gaps`. The final
  return is the mean of the bins with rows in the last tenth; changes go from row to
  row. Curve range, drawdowns and pictures are about the value at each step: for them an
  empty bin after another has the last value before it (`filled`). So have those up to
  the end of the training, where a run's last episode was cut.
- Nothing is known before a run's first row; nor after its last one, if there is none in
  the last tenth of the training: it was stopped.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from purejaxppo.reliability.curves import fill_forward, points_at_the_end
from purejaxppo.reliability.runs import Runs

POINTS = 100
"""Bins of uneven logs: a window of 5 % of the training holds five of them."""

EMPTY = 0.1
"""Share of bins without a row up to which algorithms are compared by these bins."""


def is_regular(env_steps: np.ndarray) -> bool:
    """Return whether steps are equally spaced from the beginning of the training on.

    >>> is_regular(np.array([64, 128, 192])), is_regular(np.array([22, 51, 72]))
    (True, False)

    Args:
        env_steps: `[time]`, increasing. One step is a grid of its own. The first one
            must not be later than the distance of two: what was not logged at the
            beginning would make the rest too large a share of the training.
    """
    if len(env_steps) == 1:
        return True
    gaps = np.diff(env_steps.astype(np.float64))
    width = gaps.mean()
    # Steps may be numbers such as 0.30000000000000004.
    equal = np.abs(gaps - width).max() <= 1e-9 * float(np.abs(env_steps).max())
    return bool(equal and 0 <= env_steps[0] <= width * (1 + 1e-9))


def bins(env_steps: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of bins of equal width over [0, last step], and each step's bin.

    Bin k holds the steps in ((k - 1) last / points, k last / points], the first one
    step 0 and earlier ones as well.

    Args:
        env_steps: `[rows]`, in any order.
        points: number of bins, at least 1.

    Returns:
        `[points]`, whole numbers where the steps are: a bin's last whole step; and
        `[rows]` indices.
    """
    last = env_steps.max()
    if np.issubdtype(env_steps.dtype, np.integer):
        # Exact, in whole numbers of any size.
        ends = np.array([k * int(last) // points for k in range(1, points + 1)])
    else:
        ends = last * (np.arange(1, points + 1) / points)
    return ends, np.minimum(np.searchsorted(ends, env_steps), points - 1)


def num_bins(env_steps: np.ndarray) -> int:
    """Return how many bins uneven steps are brought to: no bin is less than a step."""
    if np.issubdtype(env_steps.dtype, np.integer):
        return max(1, min(POINTS, int(env_steps.max())))
    return POINTS


def means(
    run: np.ndarray, place: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return the mean of the values of each run at each place.

    Args:
        run: `[rows]` index of each row's run.
        place: `[rows]` index of its point of the grid.
        value: `[rows]`, left out where NaN.
        shape: (runs, points).

    Returns:
        `[runs, points]`, NaN where there is no value; a single value keeps its bits.
    """
    seen = ~np.isnan(value)
    where = run[seen], place[seen]
    # From -0.0 on, which is neutral to every float: 0.0 + -0.0 is 0.0.
    total, count = np.full(shape, -0.0), np.zeros(shape, np.int64)
    np.add.at(total, where, value[seen])
    np.add.at(count, where, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def on_regular_grid(runs: Runs) -> Runs:
    """Return the runs on a regular grid: as they are, or in bins.

    Args:
        runs: with any increasing steps.
    """
    steps = np.asarray(runs.env_steps)
    if is_regular(steps) or steps[-1] <= 0:  # Nothing was trained by step 0.
        return runs
    return _in_bins(runs, num_bins(steps))._replace(gaps=True)


def on_one_grid(of: Sequence[Runs]) -> list[Runs]:
    """Return runs of one task with equally many points, those of the coarsest of them.

    Changes from point to point, and drawdowns, are smaller where a point is the mean of
    more episodes: what was logged more often would look less reliable. The coarsest
    runs are those with the fewest points, not counting bins that they leave empty.

    Args:
        of: runs on regular grids. Those of a single point have no curve, and do not
            count; runs that have as many points as the coarsest stay as they are.
    """
    points = min((resolution(r) for r in of if len(r.env_steps) > 1), default=1)
    return [_in_bins(r, points) if len(r.env_steps) > points else r for r in of]


def resolution(runs: Runs) -> int:
    """Return how many points the curves have of their own.

    Args:
        runs: on a regular grid.

    Returns:
        All points; but of runs with gaps the most bins into which the training can be
        divided so that at most `EMPTY` of those between two rows of a run have none.
    """
    points = len(runs.env_steps)
    seen = [np.flatnonzero(~np.isnan(curve)) for curve in runs.curves]
    gaps = np.concatenate([np.diff(times) for times in seen])
    if not runs.gaps or gaps.size == 0:
        return points

    def are_filled(width: float) -> bool:
        """Whether few bins of so many points lie within a gap."""
        return np.maximum(gaps - width, 0).sum() <= EMPTY * gaps.sum()

    tenths = range(10, 10 * int(gaps.max()) + 1)
    width = bisect_left(tenths, True, key=lambda k: are_filled(k / 10)) + 10
    return max(2, 10 * points // width)


def _in_bins(runs: Runs, points: int) -> Runs:
    curves = np.asarray(runs.curves, np.float64)
    run, time = np.nonzero(~np.isnan(curves))
    ends, place = bins(np.asarray(runs.env_steps), points)
    found = means(run, place[time], curves[run, time], (len(curves), points))
    return runs._replace(env_steps=ends, curves=found)


def filled(runs: Runs) -> np.ndarray:
    """Return the curves in which points count by the steps they stand for.

    Args:
        runs: on a regular grid.

    Returns:
        `[runs, time]`: of runs with `gaps`, these have the last value before them, but
        for those after the last row of a run that was stopped; of others the curves as
        they are.
    """
    if not runs.gaps:
        return runs.curves
    end = points_at_the_end(len(runs.env_steps))
    lasts = ~np.isnan(runs.curves[:, -end:]).all(axis=1, keepdims=True)
    return np.where(lasts, fill_forward(runs.curves), carried(runs.curves))


def carried(curves: np.ndarray) -> np.ndarray:
    """Return the curves with gaps between two observations filled by the first of them.

    >>> carried(np.array([np.nan, 1, np.nan, 2, np.nan]))
    array([nan,  1.,  1.,  2., nan])

    Args:
        curves: `[..., time]`, NaN where nothing was observed.
    """
    still = ~np.isnan(fill_forward(curves[..., ::-1])[..., ::-1])
    return np.where(still, fill_forward(curves), np.nan)
