"""Confirmation: the best setting beside the default one, on seeds that are new."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from purejaxppo.reliability import (
    Interval,
    bootstrap,
    final_performance,
    probability_of_improvement,
    resample,
)
from purejaxppo.reliability.arrays import gap
from purejaxppo.reliability.pairwise import worst_if_missing
from purejaxppo.study import Status, Study
from purejaxppo.study.storage import files
from purejaxppo.tuning.objectives import Goal
from purejaxppo.tuning.pools import KEPT, usable
from purejaxppo.tuning.records import Confirmation

if TYPE_CHECKING:
    import xarray

CONFIRM = "confirm"
"""Folder of the two studies."""

NUM_RESAMPLES = 2000

Curves: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Environment steps `[time]` and returns `[runs, time]`."""


def confirm(
    default: Study,
    best: Study,
    goal: Goal,
    on_status: Callable[[Status], None] = lambda status: None,
) -> Confirmation:
    """Train two settings on the same seeds, and compare them.

    Intervals are 95 % bootstraps over runs, drawn for each setting by itself.

    Args:
      default: without a grid.
      best: likewise, with the same seeds; not trained where it is the same.
      goal: the objective.
      on_status: see `Study.run`.

    Raises:
      KeyboardInterrupt: it was stopped; what is done is kept if there is an output.
    """
    of_default = _train(default, on_status)
    same = best.config == default.config
    of_best = of_default if same else _train(best, on_status)
    return compared(of_default, of_best, goal, default.seeds)


def compared(
    default: Curves, best: Curves, goal: Goal, seeds: np.ndarray
) -> Confirmation:
    """What is to be said of two settings' runs.

    Args:
      default: the runs of one.
      best: the runs of the other.
      goal: the objective.
      seeds: `[runs]` of both.
    """
    statistics = [goal.statistic(*runs) for runs in (best, default)]
    scores = [np.asarray(final_performance(runs[1])) for runs in (best, default)]
    x, y = map(worst_if_missing, scores)
    sign = 1 if goal.higher_is_better else -1

    def better(of_best: np.ndarray, of_default: np.ndarray) -> np.ndarray:
        return sign * gap(statistics[0](of_best), statistics[1](of_default))

    counts = resample(0, [s.shape for s in scores], NUM_RESAMPLES)
    chance = partial(probability_of_improvement, x, y)
    values = [_interval(of, [c]) for of, c in zip(statistics, counts, strict=True)]
    return Confirmation(
        seeds=seeds,
        default=values[1],
        best=values[0],
        difference=_interval(better, counts),
        improvement=_interval(chance, counts),
        default_scores=scores[1],
        best_scores=scores[0],
    )


def _interval(statistic: Callable[..., np.ndarray], counts: Any) -> Interval:
    return Interval(*map(float, bootstrap(statistic, counts)))


def _train(study: Study, on_status: Callable[[Status], None]) -> Curves:
    """The runs of a study, which goes on where it was left."""
    path = None if study.output is None else Path(study.output) / files.CONFIG
    there = path is not None and path.exists()
    ours = path is not None and there and files.read_job(path) == study.job
    dataset: xarray.Dataset = study.run(
        resume=ours, overwrite=there and not ours, on_status=on_status
    )
    if dataset.sizes["update"] < study.config.num_updates:
        raise KeyboardInterrupt
    returns, finite = (dataset[name].values for name in KEPT)
    return dataset["env_steps"].values, usable(returns, finite)
