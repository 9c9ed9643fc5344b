"""How all figures look: sizes of print, colours that everybody can tell apart.

Text stays text. In an SVG it can be searched, copied, read aloud and edited, at a
third of the bytes; where its font is missing a viewer takes a narrower one, and every
text is anchored, so that nothing runs into anything. A PDF holds the font itself, as
TrueType, which printers and journals take.
"""

from typing import Any, Literal, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Grid: TypeAlias = Literal["both", "x", "y"] | None

SINGLE, DOUBLE = 3.3, 6.9
"""Widths of one and of two columns of a printed page, in inches."""

# Okabe and Ito 2008: told apart under every common form of colour blindness.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"

CENTRE, TAIL = BLUE, VERMILLION
"""What is said of the middle of the runs, and of the worst of them."""

PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY)
"""Of algorithms, again from the start after the last. The tail's is not among them."""

INK, FAINT, RUNS = "#262626", "#6E6E6E", "#8C8C8C"
GRID, BAND, PAPER = "#E5E5E5", "#F4F4F4", "#FFFFFF"

VARIABLES = {
    "ink": INK,
    "faint": FAINT,
    "runs": RUNS,
    "grid": GRID,
    "band": BAND,
    "paper": PAPER,
    "blue": BLUE,
    "vermillion": VERMILLION,
    "green": GREEN,
    "orange": ORANGE,
    "purple": PURPLE,
    "sky": SKY,
}
"""Colours that a page may set anew, as `--plot-ink` and so on; see `svg`."""

DARK = (
    "--plot-ink: #e6e6e6; --plot-faint: #a6a6a6; --plot-runs: #909090; "
    "--plot-grid: #363b42; --plot-band: #1f2329; --plot-paper: #15181c; "
    "--plot-blue: #3fa0de; --plot-vermillion: #f08040;"
)
"""CSS declarations for a dark page."""

# The grounds of a table of numbers and the letters on them, which stay as they are on
# any page: none of them is a variable.
WORSE, EVEN, BETTER = "#D45D00", "#FBFBFB", "#0071B1"
ON_LIGHT, ON_DARK = "#000000", "#FFFFFE"

MOST_POINTS = 10_000
"""More than these are drawn as an image, also in an SVG or a PDF: megabytes else."""

DASHES: Any = (0, (4, 1.5))
"""Of tails: told from the middle without colours, too."""

STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    # It comes with matplotlib: a figure is the same wherever it is drawn.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.color": INK,
    # Names are written as they are: "$" is no formula.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": "medium",
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "butt",
    "legend.fontsize": "small",
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "purejaxppo",
    "pdf.fonttype": 42,
}

styled = matplotlib.rc_context(STYLE)
"""Decorates what draws or writes; the caller's own settings are as before after it."""


def color_of(index: int) -> str:
    """Return the colour of an algorithm by its place."""
    return PALETTE[index % len(PALETTE)]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def one_panel(width: float, height: float, grid: Grid = "both") -> tuple[Figure, Axes]:
    """Return a figure of one panel, inches, and that panel."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    tidy(axes, grid)
    return figure, axes


def points(share: float = 1) -> float:
    """Return a font size in points, as a share of the usual one."""
    return share * matplotlib.rcParams["font.size"]


def characters(width: float, share: float = 1) -> int:
    """Return how many letters of a font size fit into so many inches, at least 6."""
    # DejaVu Sans is 0.6 em wide in the mean.
    return max(6, int(72 * width / (0.6 * points(share))))


def tidy(axes: Axes, grid: Grid = "both") -> None:
    """Take away what says nothing: the box, long ticks, a heavy grid."""
    # Ticks are made late, when these settings are no longer in force: said here.
    axes.tick_params(
        which="both", length=2, width=0.6, colors=INK, labelsize=points(0.83)
    )
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_facecolor("none")


def say(axes: Axes, text: str) -> None:
    """Write what is missing into empty axes, which then have no scale."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])
