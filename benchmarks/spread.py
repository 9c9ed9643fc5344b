"""Statistics of repeated measurements."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float

    def show(self, spec: str = ",.2f", scale: float = 1.0) -> str:
        """Text such as `2.10 (1.95 to 2.20)`, of the figures times `scale`."""
        median, low, high = (f"{scale * figure:{spec}}" for figure in self)
        return f"{median} ({low} to {high})"


def spread(values: Iterable[float]) -> Spread:
    """Median and range of `values`.

    Raises:
      ValueError: there are none.
    """
    values = tuple(values)
    if not values:
        raise ValueError("Expected at least one measurement, got none.")
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Spread of the ratios round by round: what slows a whole round cancels.

    Raises:
      ValueError: the two have different lengths, or none.
    """
    pairs = zip(numerators, denominators, strict=True)
    return spread(above / below for above, below in pairs)
