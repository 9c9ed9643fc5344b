"""The lines of a study's charts: one a run, or of many runs their statistics."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from purejaxppo.reliability.aggregates import iqm, mean, quantile
from purejaxppo.study.loggers.downsampling import Thinned, Thinning
from purejaxppo.study.loggers.records import About, Logged, setting_label

MOST_GROUPS = 64
"""A grid of more settings is summarised as a whole."""

STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": mean,
    "iqm": iqm,
    "p5": partial(quantile, q=0.05),
    "p95": partial(quantile, q=0.95),
}
"""Of values `[r, p]` over the runs that are not NaN."""

LOSSES = (
    *("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"),
    *("explained_variance", "grad_norm"),
)


class Line(NamedTuple):
    """New points of one line in each chart.

    Attributes:
      name: of its run, or of the runs that it summarises.
      statistic: over these runs; empty of a single run.
      runs: their numbers in the study.
      updates: `[p]` how many updates each of them has made.
      env_steps: `[p]` environment steps of one of them.
      metrics: by name, `[p]`; NaN where nothing was observed.
    """

    name: str
    statistic: str
    runs: np.ndarray
    updates: np.ndarray
    env_steps: np.ndarray
    metrics: dict[str, np.ndarray]


def tag(metric: str) -> str:
    """A metric's place among the charts, in the groups that CleanRL has.

    >>> tag("episode_return"), tag("policy_loss")
    ('charts/episode_return', 'losses/policy_loss')
    """
    return f"{'losses' if metric in LOSSES else 'charts'}/{metric}"


class Lines:
    """Makes the lines of a study, segment by segment.

    A study of at most `per_run` runs has a line for each. Of a larger one, each of the
    grid's settings has four: mean, interquartile mean, 5th and 95th percentile over its
    runs that were observed; without a grid their name is "all". Where a setting's runs
    are not all trained together, each part has lines of its own.

    Args:
      about: the study.
      per_run: see above.
      points: most points of a line; see `Thinning`.
    """

    def __init__(self, about: About, per_run: int, points: int) -> None:
        self._about, self._points = about, points
        self._each = len(about.labels) <= per_run
        self._groups = np.array(_group_names(about))
        self._thinning: dict[bytes, Thinning] = {}

    def of(self, logged: Logged) -> Iterator[Line]:
        """The lines that a segment makes longer; those of one name together."""
        thinned = self._thinned(logged)
        if len(thinned.updates) == 0:
            return
        for name, rows in self._parts(logged.runs):
            for statistic, reduce in self._statistics():
                yield Line(
                    name=name,
                    statistic=statistic,
                    runs=logged.runs[rows],
                    updates=thinned.updates,
                    env_steps=thinned.env_steps,
                    metrics={k: reduce(x[rows]) for k, x in thinned.metrics.items()},
                )

    def _thinned(self, logged: Logged) -> Thinned:
        last = int(self._about.num_updates[logged.runs].max())
        key = np.asarray(logged.runs).tobytes()
        if key not in self._thinning:
            self._thinning[key] = Thinning(math.ceil(last / self._points), last)
        return self._thinning[key].add(logged)

    def _statistics(self) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
        return [("", _only)] if self._each else list(STATISTICS.items())

    def _parts(self, runs: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Name and rows of what has a line, among runs that are trained together."""
        if self._each:
            for row, run in enumerate(runs):
                yield self._about.labels[run], np.array([row])
            return
        own = self._groups[runs]
        for group in dict.fromkeys(own.tolist()):
            rows = np.flatnonzero(own == group)
            whole = len(rows) == np.count_nonzero(self._groups == group)
            part = "" if whole else f" runs={runs[rows[0]]}-{runs[rows[-1]]}"
            yield f"{group}{part}", rows


def _group_names(about: About) -> list[str]:
    """The name of each run's setting, or "all"."""
    names = [setting_label(setting) or "all" for setting in about.settings]
    return names if len(set(names)) <= MOST_GROUPS else ["all"] * len(names)


def _only(values: np.ndarray) -> np.ndarray:
    return values[0]


def check_counts(logger: str, per_run: int, points: int) -> None:
    """Refuse what `Lines` cannot take.

    Raises:
      ValueError: `per_run` is no whole number >= 0, or `points` none > 0.
    """
    for name, value, least in (("per_run", per_run, 0), ("points", points, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"Expected {name} of {logger} to be a whole number >= {least}, got "
                f"{value!r}."
            )
