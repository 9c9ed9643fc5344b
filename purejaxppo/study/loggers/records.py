"""What a study tells its loggers, and what a logger is."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from purejaxppo.config.labels import EXACT, label


class About(NamedTuple):
    """A study that begins, or goes on; `R` is the number of its runs.

    Attributes:
      env: the environment's name.
      output: the study's directory, None if it has none.
      config: its hyperparameters by dotted name.
      labels: of every run, `R` different ones: "seed=5", "learning_rate=0.001 seed=5".
      settings: what a grid gave each run, by dotted name; `R` empty ones without one.
      seeds: `[R]`.
      done: `[R]` updates that are stored already: 0 at the beginning, more on resume.
      num_updates: `[R]` updates that each run will make.
    """

    env: str
    output: Path | None
    config: dict[str, Any]
    labels: tuple[str, ...]
    settings: tuple[dict[str, Any], ...]
    seeds: np.ndarray
    done: np.ndarray
    num_updates: np.ndarray


class Logged(NamedTuple):
    """One segment of `r` runs that are trained together.

    Attributes:
      runs: `[r]` their numbers in the study.
      start: how many updates they had made before it.
      stop: how many they have made now.
      env_steps: `[stop - start]` environment steps of a run after each update.
      metrics: by name, `[r, stop - start]`; NaN where nothing was observed.
      seconds: of training so far.
    """

    runs: np.ndarray
    start: int
    stop: int
    env_steps: np.ndarray
    metrics: dict[str, np.ndarray]
    seconds: float


class Logger(Protocol):
    """What a study calls: `begin` once, `log` after each segment, `close` at the end.

    Where runs must be trained in smaller parts from then on, the log is closed and
    begun again, as on resume. On resume a study that was killed repeats updates that
    were logged already, with the same numbers: what `begin` is told of `done` says
    where it goes on.
    """

    def begin(self, about: About) -> None:
        """Get ready; a ValueError stops the study before anything is computed."""
        ...

    def log(self, logged: Logged) -> None:
        """Take a segment; the arrays are read-only."""
        ...

    def close(self) -> None:
        """Finish: the study is complete, was stopped, or has failed."""
        ...


class LoggingWarning(UserWarning):
    """What a log lacks, or which logger was dropped."""


def setting_label(setting: dict[str, Any]) -> str:
    """A grid's setting as a name that no other setting has.

    >>> setting_label({"learning_rate": 0.001, "hidden": (64, 64), "kl": None})
    'learning_rate=0.001 hidden=64x64 kl=none'
    """
    return label(setting, " ", EXACT)


def checked_output(about: About, logger: str) -> Path:
    """The study's directory.

    Raises:
      ValueError: it has none.
    """
    if about.output is None:
        raise ValueError(
            f"Expected the study to have an output directory for {logger}, got none."
        )
    return about.output
