"""Many loggers as one, of which none can lose the study."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from purejaxppo.study.loggers.records import About, Logged, Logger, LoggingWarning


def fan_out(loggers: Any) -> Logger:
    """One logger of one or many, each a `Logger` or what `as_logger` makes one of.

    A logger that raises is dropped, and a `LoggingWarning` says so; the others go on.
    Only a ValueError in `begin`, bad input before anything is computed, is raised.

    Raises:
      ValueError: one of them is no logger.
    """
    are_many = isinstance(loggers, Iterable) and not isinstance(loggers, str)
    return _FanOut(list(map(as_logger, loggers if are_many else [loggers])))


def as_logger(thing: Any) -> Logger:
    """A logger of a user's own: a function of `Logged`, or an object with `log`.

    >>> as_logger(lambda logged: print(logged.stop)).close()

    Args:
      thing: `begin` and `close` of an object are called if it has them.

    Raises:
      ValueError: it is neither.
    """
    if isinstance(thing, type):
        raise ValueError(
            f"Expected a logger to be an object, got the class {thing.__name__}; "
            f"{thing.__name__}() makes one."
        )
    log = getattr(thing, "log", thing)
    if not callable(log):
        raise ValueError(
            f"Expected a logger to be a function or to have a method log, got "
            f"{thing!r}."
        )
    return _Hook(thing, log)


class _Hook:
    """A thing that logs, with whatever of a logger it lacks."""

    def __init__(self, thing: Any, log: Callable[[Logged], Any]) -> None:
        own = getattr(thing, "__name__", type(thing).__name__)
        self.name = getattr(thing, "name", own) if isinstance(thing, _Hook) else own
        self._thing, self._log = thing, log

    def begin(self, about: About) -> None:
        getattr(self._thing, "begin", _nothing)(about)

    def log(self, logged: Logged) -> None:
        self._log(logged)

    def close(self) -> None:
        getattr(self._thing, "close", _nothing)()


class _FanOut:
    """Calls each of its loggers that has not failed."""

    def __init__(self, loggers: list[Any]) -> None:
        self._loggers = loggers

    def begin(self, about: About) -> None:
        for logger in list(self._loggers):
            try:
                self._call(logger, "begin", about)
            except ValueError:
                self.close()
                raise

    def log(self, logged: Logged) -> None:
        frozen = _read_only(logged)
        for logger in list(self._loggers):
            self._call(logger, "log", frozen)

    def close(self) -> None:
        for logger in list(self._loggers):
            self._call(logger, "close")

    def _call(self, logger: Any, method: str, *arguments: Any) -> None:
        try:
            getattr(logger, method)(*arguments)
        except Exception as error:
            if method == "begin" and isinstance(error, ValueError):
                raise
            self._loggers.remove(logger)
            if method != "close":
                with suppress(Exception):
                    logger.close()
            told = " ".join(str(error).split()).rstrip(".")
            warnings.warn(
                f"Dropped the logger {logger.name}, which failed to {method}; the "
                f"study goes on without it. {type(error).__name__}: {told}.",
                LoggingWarning,
                stacklevel=4,
            )


def _read_only(logged: Logged) -> Logged:
    """The same with arrays that no logger can change for the others."""

    def view(array: np.ndarray) -> np.ndarray:
        frozen = np.asarray(array).view()
        frozen.flags.writeable = False
        return frozen

    return logged._replace(
        runs=view(logged.runs),
        env_steps=view(logged.env_steps),
        metrics={name: view(values) for name, values in logged.metrics.items()},
    )


def _nothing(*_: Any) -> None:
    return None
