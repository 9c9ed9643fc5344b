"""Loggers: a study's numbers in CSV, TensorBoard, Weights & Biases, or a user's own.

A study calls each of them once per segment, for all of its runs.

>>> seen = []
>>> logger = fan_out([lambda logged: seen.append(logged.stop)])
"""

from purejaxppo.loggers.clearing import clear
from purejaxppo.loggers.csv_files import CSV
from purejaxppo.loggers.fanning import as_logger, fan_out
from purejaxppo.loggers.making import LOGGERS, make_loggers
from purejaxppo.loggers.records import (
    About,
    Logged,
    Logger,
    LoggingWarning,
    setting_label,
)
from purejaxppo.loggers.tensorboards import TensorBoard
from purejaxppo.loggers.wandb_runs import WandB

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
