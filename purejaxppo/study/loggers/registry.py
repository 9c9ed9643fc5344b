"""Loggers by name, for the command line."""

from collections.abc import Callable

from purejaxppo.config.fields import is_off, nearest
from purejaxppo.study.loggers.csv_logger import CSV
from purejaxppo.study.loggers.records import Logger
from purejaxppo.study.loggers.tensorboard_logger import TensorBoard
from purejaxppo.study.loggers.wandb_logger import WandB

LOGGERS: dict[str, Callable[[], Logger]] = {
    "csv": CSV,
    "tensorboard": TensorBoard,
    "wandb": WandB,
}


def make_loggers(text: str) -> list[Logger]:
    """The loggers that a text such as `csv,tensorboard,wandb` names; `off` for none.

    >>> [type(logger).__name__ for logger in make_loggers("csv")]
    ['CSV']

    Raises:
      ValueError: an unknown name (with the nearest ones), one that is there twice, or
        a package that is not installed.
    """
    if not text.strip() or is_off(text.strip()):
        return []
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"Unknown logger {name!r}; {nearest(name, LOGGERS)}.")
        if names.count(name) > 1:
            raise ValueError(
                f"Expected each logger once, got {name} {names.count(name)} times."
            )
    return [LOGGERS[name]() for name in names]
