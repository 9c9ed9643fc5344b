"""Loggers: a study's numbers in CSV, TensorBoard, Weights & Biases, or a user's own.

A study calls each of them once per segment, for all of its runs.

>>> seen = []
>>> logger = fan_out([lambda logged: seen.append(logged.stop)])
"""

from purejaxppo.study.loggers.clearing import clear
from purejaxppo.study.loggers.csv_logger import CSV
from purejaxppo.study.loggers.dispatch import as_logger, fan_out
from purejaxppo.study.loggers.records import (
    About,
    Logged,
    Logger,
    LoggingWarning,
    setting_label,
)
from purejaxppo.study.loggers.registry import LOGGERS, make_loggers
from purejaxppo.study.loggers.tensorboard_logger import TensorBoard
from purejaxppo.study.loggers.wandb_logger import WandB

__all__ = [
    "CSV",
    "LOGGERS",
    "About",
    "Logged",
    "Logger",
    "LoggingWarning",
    "TensorBoard",
    "WandB",
    "as_logger",
    "clear",
    "fan_out",
    "make_loggers",
    "setting_label",
]
