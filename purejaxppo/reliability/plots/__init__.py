"""Figures of reliability, by matplotlib's object interface: no pyplot, no global state.

Drawn at the size of print, in colours that everybody can tell apart, and with names
beside what they name. `save` writes PNG, SVG and PDF, `svg` what stands in a page.
"""

from purejaxppo.reliability.plots.curves import learning_curves
from purejaxppo.reliability.plots.drawdown_panel import drawdowns
from purejaxppo.reliability.plots.image_files import save, svg
from purejaxppo.reliability.plots.improvement_matrix import improvement
from purejaxppo.reliability.plots.interval_panels import intervals
from purejaxppo.reliability.plots.profiles import performance_profiles
from purejaxppo.reliability.plots.rank_plot import ranking
from purejaxppo.reliability.plots.risk_panels import cells
from purejaxppo.reliability.plots.single import learning_curve
from purejaxppo.reliability.plots.strip_plot import strip
from purejaxppo.reliability.plots.style import DARK, DOUBLE, SINGLE
from purejaxppo.reliability.plots.sweep_plot import settings_by_field

__all__ = [
    "DARK",
    "DOUBLE",
    "SINGLE",
    "cells",
    "drawdowns",
    "improvement",
    "intervals",
    "learning_curve",
    "learning_curves",
    "performance_profiles",
    "ranking",
    "save",
    "settings_by_field",
    "strip",
    "svg",
]
