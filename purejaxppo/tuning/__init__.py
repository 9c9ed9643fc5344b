"""Tuning: a search for the settings whose runs are best by a reliability metric."""

from purejaxppo.tuning.records import Confirmation, Progress, Trial, Tuned
from purejaxppo.tuning.search import Search, tune

__all__ = ["Confirmation", "Progress", "Search", "Trial", "Tuned", "tune"]
