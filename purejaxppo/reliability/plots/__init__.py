"""Figures of reliability, by matplotlib's object interface: no pyplot, no global state.

Drawn at the size of print, in colours that everybody can tell apart, and with names
beside what they name. `save` writes PNG, SVG and PDF, `svg` what stands in a page.
"""

from purejaxppo.reliability.plots.depths import drawdowns
from purejaxppo.reliability.plots.dots import strip
from purejaxppo.reliability.plots.heat import improvement
from purejaxppo.reliability.plots.order import ranking
from purejaxppo.reliability.plots.panels import intervals
from purejaxppo.reliability.plots.profiles import performance_profiles
from purejaxppo.reliability.plots.settings import settings_by_field
from purejaxppo.reliability.plots.single import learning_curve
from purejaxppo.reliability.plots.style import DARK, DOUBLE, SINGLE
from purejaxppo.reliability.plots.table import cells
from purejaxppo.reliability.plots.together import learning_curves
from purejaxppo.reliability.plots.writing import save, svg

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
