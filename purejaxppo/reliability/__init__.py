"""How reliable is an algorithm: centre, spread and tail of many runs.

Pure functions of a `[runs, time]` array, NumPy's or JAX's, that need nothing else
of this library. Figures are in `purejaxppo.reliability.plots`, which is imported by
name because it imports matplotlib.
"""

from purejaxppo.reliability.across_runs import (
    dispersion_across_rollouts,
    dispersion_across_runs,
    risk_across_rollouts,
    risk_across_runs,
)
from purejaxppo.reliability.across_time import (
    curve_range,
    differences,
    dispersion_across_time,
    drawdown,
    in_units,
    long_term_risk,
    max_drawdown,
    short_term_risk,
    spread,
)
from purejaxppo.reliability.aggregates import (
    Quartiles,
    cvar,
    iqm,
    iqr,
    mad,
    mean,
    median,
    num_observed,
    quantile,
    std,
    tail_size,
)
from purejaxppo.reliability.analysis import Analysis, Plan, analyze
from purejaxppo.reliability.comparison import Comparison, compare
from purejaxppo.reliability.curves import (
    entropy_collapsed,
    fill_forward,
    final_performance,
    thinned,
)
from purejaxppo.reliability.dispersion_and_risk import (
    AcrossRuns,
    Definition,
    WithinRuns,
    cell_intervals,
    cells_across_runs,
    cells_within_runs,
    runs_in_cells,
)
from purejaxppo.reliability.filters import low_pass, regular, resampled
from purejaxppo.reliability.grids import filled, on_one_grid, on_regular_grid
from purejaxppo.reliability.intervals import Interval, bootstrap, lacking, resample
from purejaxppo.reliability.permutation_tests import (
    Contrast,
    Power,
    corrected,
    mean_ranks,
    permutation_test,
    permutation_test_of,
    power,
    ranks,
)
from purejaxppo.reliability.runs import Runs
from purejaxppo.reliability.scores import (
    normalized,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from purejaxppo.reliability.summary import Summary, summarize
from purejaxppo.reliability.summary_table import markdown, render

__all__ = [
    "AcrossRuns",
    "Analysis",
    "Comparison",
    "Contrast",
    "Definition",
    "Interval",
    "Plan",
    "Power",
    "Quartiles",
    "Runs",
    "Summary",
    "WithinRuns",
    "analyze",
    "bootstrap",
    "cell_intervals",
    "cells_across_runs",
    "cells_within_runs",
    "compare",
    "corrected",
    "curve_range",
    "cvar",
    "differences",
    "dispersion_across_rollouts",
    "dispersion_across_runs",
    "dispersion_across_time",
    "drawdown",
    "entropy_collapsed",
    "fill_forward",
    "filled",
    "final_performance",
    "in_units",
    "iqm",
    "iqr",
    "lacking",
    "long_term_risk",
    "low_pass",
    "mad",
    "markdown",
    "max_drawdown",
    "mean",
    "mean_ranks",
    "median",
    "normalized",
    "num_observed",
    "on_one_grid",
    "on_regular_grid",
    "optimality_gap",
    "performance_profile",
    "permutation_test",
    "permutation_test_of",
    "power",
    "probability_of_improvement",
    "quantile",
    "ranks",
    "regular",
    "render",
    "resample",
    "resampled",
    "risk_across_rollouts",
    "risk_across_runs",
    "runs_in_cells",
    "short_term_risk",
    "spread",
    "std",
    "summarize",
    "tail_size",
    "thinned",
]
