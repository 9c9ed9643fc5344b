"""What a search found, and how far it is."""

from typing import NamedTuple

import numpy as np

from purejaxppo.config.config import Config
from purejaxppo.reliability import Interval
from purejaxppo.study.grids.grids import Setting
from purejaxppo.tuning.objectives import Goal


class Trial(NamedTuple):
    """A setting that was tried.

    Attributes:
      number: in the storage.
      state: "complete", "pruned", "running" or "fail".
      setting: field -> value; empty where it failed before it was drawn.
      value: of the objective at the last rung that it came to, NaN if at none.
      mean_return: over seeds and updates until then, by which ties are broken; -inf
        where no episode had ended.
      updates: that each of its runs made.
      env_steps: of all its runs together.
      rungs: the objective at each rung that it came to.
    """

    number: int
    state: str
    setting: Setting
    value: float
    mean_return: float
    updates: int
    env_steps: int
    rungs: tuple[float, ...]


class Confirmation(NamedTuple):
    """The best setting and the default one on seeds that the search has not seen.

    Attributes:
      seeds: `[seeds]`, the same for both.
      default: the objective of the default setting.
      best: that of the best one.
      difference: how much better the best one is, > 0 where it is.
      improvement: probability that a run of it has a better final return.
      default_scores: `[seeds]` final returns.
      best_scores: likewise.
    """

    seeds: np.ndarray
    default: Interval
    best: Interval
    difference: Interval
    improvement: Interval
    default_scores: np.ndarray
    best_scores: np.ndarray


class Tuned(NamedTuple):
    """What a search found.

    Attributes:
      env: as files call it.
      goal: the objective.
      trials: of all workers, the best first, those that were pruned by how far they
        came, those that failed last.
      config: the best one. Its value in `trials` is optimistic: it was chosen by it.
      space: field -> domain in words.
      num_seeds: of each trial.
      env_steps: that this call made in the search.
      confirmation: None if none was asked for, or other workers are not done.
    """

    env: str
    goal: Goal
    trials: tuple[Trial, ...]
    config: Config
    space: dict[str, str]
    num_seeds: int
    env_steps: int
    confirmation: Confirmation | None

    @property
    def best(self) -> Trial:
        """The best one of those that were trained to their end."""
        return self.trials[0]


class Progress(NamedTuple):
    """How far a search is, before compiling and after each segment.

    Attributes:
      tried: settings that are done with, of all workers.
      num_configs: how many there are to be.
      rung: of the batch under way, from 1 on.
      num_rungs: of each batch.
      going: settings under way at this rung.
      env_steps: that this call made.
      seconds: since it began.
      best: value of the best trial that was trained to its end, NaN before one was.
    """

    tried: int
    num_configs: int
    rung: int
    num_rungs: int
    going: int
    env_steps: int
    seconds: float
    best: float
