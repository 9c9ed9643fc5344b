"""Fewer points for charts: means over as many updates as a point stands for."""

from typing import NamedTuple

import numpy as np

from purejaxppo.study.loggers.records import Logged


class Thinned(NamedTuple):
    """Points of `r` runs.

    Attributes:
      updates: `[p]` how many updates each run has made at a point.
      env_steps: `[p]` environment steps of a run there.
      metrics: by name, `[r, p]` in float64; NaN where nothing was observed.
    """

    updates: np.ndarray
    env_steps: np.ndarray
    metrics: dict[str, np.ndarray]


class Thinning:
    """Points at the updates that are multiples of `stride`, and at the last one.

    A point's value is the mean over the updates since the point before of those that
    are not NaN, so that rare observations are not lost. Updates wait for their point
    from one segment to the next, whatever its length. After a resume that falls
    between two points, the next one is the mean of the updates made since.
    """

    def __init__(self, stride: int, last: int) -> None:
        self._stride, self._last = stride, last
        self._waiting: Logged | None = None

    def add(self, logged: Logged) -> Thinned:
        """The points that this segment completes, possibly none."""
        segment = _joined(self._waiting, logged)
        made = np.arange(segment.start, segment.stop) + 1
        ends = np.flatnonzero((made % self._stride == 0) | (made == self._last))
        used = 0 if len(ends) == 0 else int(ends[-1]) + 1
        self._waiting = segment._replace(
            start=segment.start + used,
            env_steps=segment.env_steps[used:],
            metrics={name: x[:, used:] for name, x in segment.metrics.items()},
        )
        return Thinned(
            updates=made[ends],
            env_steps=np.asarray(segment.env_steps)[ends],
            metrics={name: _means(x, ends) for name, x in segment.metrics.items()},
        )


def _joined(waiting: Logged | None, logged: Logged) -> Logged:
    """Both as one segment, if the second one follows the first."""
    if waiting is None or waiting.stop != logged.start:
        return logged
    pairs = {
        name: (waiting.metrics[name], values) for name, values in logged.metrics.items()
    }
    return logged._replace(
        start=waiting.start,
        env_steps=np.concatenate([waiting.env_steps, logged.env_steps]),
        metrics={name: np.concatenate(x, axis=1) for name, x in pairs.items()},
    )


def _means(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Means `[r, p]` of columns up to each end, without NaN; NaN where all are."""
    if len(ends) == 0:
        return np.zeros((len(values), 0))
    starts = np.concatenate([[0], ends[:-1] + 1])
    numbers = values[:, : ends[-1] + 1].astype(np.float64)
    seen = ~np.isnan(numbers)
    total = np.add.reduceat(np.where(seen, numbers, 0.0), starts, axis=1)
    count = np.add.reduceat(seen, starts, axis=1, dtype=np.int64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
