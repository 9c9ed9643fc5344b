"""How reliable is an algorithm: centre, spread and tail of many runs.

Pure functions of a `[runs, time]` array, NumPy's or JAX's, that need nothing else
of this library. Figures are in `purejaxppo.reliability.plots`, which is imported by
name because it imports matplotlib.
"""

from purejaxppo.reliability.aggregates import (
    Quartiles,
    cvar,
    iqm,
    iqr,
    mean,
    median,
    num_observed,
    quantile,
    tail_size,
)
from purejaxppo.reliability.curves import (
    binned,
    entropy_collapsed,
    fill_forward,
    final_performance,
)
from purejaxppo.reliability.summary import Summary, summarize
from purejaxppo.reliability.table import markdown, render

__all__ = [
    "Quartiles",
    "Summary",
    "binned",
    "cvar",
    "entropy_collapsed",
    "fill_forward",
    "final_performance",
    "iqm",
    "iqr",
    "markdown",
    "mean",
    "median",
    "num_observed",
    "quantile",
    "render",
    "summarize",
    "tail_size",
]
