"""Objectives of a search: what a setting's runs are worth, all seeds together."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from purejaxppo.config.fields import nearest
from purejaxppo.reliability import (
    cells_across_runs,
    cells_within_runs,
    cvar,
    final_performance,
    iqm,
    mean,
    median,
    optimality_gap,
)
from purejaxppo.reliability.aggregates import check_alpha
from purejaxppo.reliability.caveats import needed_for_tail
from purejaxppo.reliability.dispersion_and_risk import HIGHER_IS_BETTER

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""How often each run counts, `[runs, resamples]` -> `[resamples]`."""

FINAL = "iqm", "mean", "median", "cvar", "worst", "optimality_gap"
"""Objectives that are statistics of final returns."""

CELLS = tuple(name for name in HIGHER_IS_BETTER if not name.endswith("rollouts"))
"""Objectives that are dispersion and risk, the mean of the three time frames."""


class Goal(NamedTuple):
    """An objective.

    Attributes:
      name: one of `FINAL` or `CELLS`.
      alpha: share of the runs in the tail of the final returns.
      target: of the optimality gap, else None.
    """

    name: str
    alpha: float
    target: float | None

    @property
    def higher_is_better(self) -> bool:
        """Which direction is good."""
        return HIGHER_IS_BETTER.get(self.name, self.name != "optimality_gap")

    @property
    def worst(self) -> float:
        """The worst value that there is."""
        return -np.inf if self.higher_is_better else np.inf

    @property
    def title(self) -> str:
        """What tables call it."""
        names = {"iqm": "IQM", "cvar": f"CVaR {100 * self.alpha:g} %"}
        return names.get(self.name, self.name.replace("_", " "))

    def value(self, env_steps: np.ndarray, curves: np.ndarray) -> float:
        """The objective of some runs; never NaN, see `statistic`."""
        ones = np.ones((len(curves), 1), np.int64)
        return float(self.statistic(env_steps, curves)(ones)[0])

    def statistic(self, env_steps: np.ndarray, curves: np.ndarray) -> Statistic:
        """The objective as a function of how often each run counts.

        A run without a final return, or without a cell, is worse than any.

        Args:
          env_steps: `[time]`, increasing.
          curves: `[runs, time]` returns, NaN where nothing was observed.
        """
        curves = np.asarray(curves, np.float64)
        of = self._of_curves if self.name in CELLS else self._of_scores
        found = of(env_steps, curves)
        return lambda counts: self._known(found(counts))

    def _of_scores(self, env_steps: np.ndarray, curves: np.ndarray) -> Statistic:
        scores = np.asarray(final_performance(curves))
        scores = np.where(np.isnan(scores), -np.inf, scores)[:, None]
        if self.name == "worst":
            return lambda counts: np.where(counts > 0, scores, np.inf).min(axis=0)
        functions = {
            "iqm": iqm,
            "mean": mean,
            "median": median,
            "cvar": partial(cvar, alpha=self.alpha),
            "optimality_gap": partial(optimality_gap, target=self.target or 0.0),
        }
        return lambda counts: functions[self.name](scores, counts=counts)

    def _of_curves(self, env_steps: np.ndarray, curves: np.ndarray) -> Statistic:
        if self.name.endswith("runs"):
            across = cells_across_runs(env_steps, curves)
            return lambda counts: getattr(across(counts), self.name).mean(axis=0)
        each = np.asarray(getattr(cells_within_runs(env_steps, curves), self.name))
        each = self._known(each.reshape(len(each), -1).mean(axis=1))[:, None]
        return lambda counts: median(each, counts)

    def _known(self, values: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(values), self.worst, values)


def make_goal(name: str, alpha: float = 0.25, target: float | None = None) -> Goal:
    """The objective called `name`.

    Raises:
      ValueError: there is none (with the nearest names), or alpha is out of range, or
        the optimality gap has no target, or another one has.
    """
    known = (*FINAL, *CELLS)
    if name not in known:
        raise ValueError(f"Unknown objective {name!r}; {nearest(name, known)}.")
    check_alpha(alpha)
    needs_target = name == "optimality_gap"
    if needs_target and target is None:
        raise ValueError(
            "Expected objective_target to be given for optimality_gap, got none; "
            "--objective-target SCORE gives it."
        )
    if target is not None and not needs_target:
        raise ValueError(
            "Expected objective_target to be given for optimality_gap alone, got "
            f"{target:g} for {name}."
        )
    return Goal(name=name, alpha=alpha, target=target)


def check_goal(goal: Goal, num_seeds: int, stops: Iterable[int]) -> None:
    """Refuse what cannot be judged: too few seeds, or a rung with too few updates.

    Args:
      goal: the objective.
      num_seeds: runs of each setting.
      stops: updates of the rungs.

    Raises:
      ValueError: as above.
    """
    needed = needed_for_tail(goal.alpha)
    if goal.name == "cvar" and num_seeds < needed:
        raise ValueError(
            f"Expected num_seeds to be at least {needed}, for a tail of "
            f"{100 * goal.alpha:g} %, got {num_seeds}."
        )
    for stop in stops if goal.name in CELLS else ():
        rising = np.arange(stop, dtype=float) + np.arange(num_seeds)[:, None]
        if not np.isfinite(goal.value(np.arange(1, stop + 1), rising)):
            raise ValueError(
                f"Expected each rung to have enough updates and seeds for {goal.name}, "
                f"got one of {stop} updates and {num_seeds} seeds."
            )
