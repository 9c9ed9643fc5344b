"""Whatever is drawn draws without a warning, inside its figure, and nothing overlaps.

Warnings are errors in these tests, see pyproject.toml.
"""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text

from purejaxppo.reliability import Interval, plots
from purejaxppo.reliability.plots.risk_panels import PLACES

NAN = np.nan
STEPS = np.arange(1, 31) * 1e4
NAMES = {
    "none": [],
    "one": ["PPO"],
    "odd": ["$x_1$ & <b>{y}", r"\alpha %s #0072B2", "q\"uo'te", "Ünïcode λ"],
    "twelve, long": [
        f"a_very_long_name_of_an_algorithm_with_everything_and_more_number_{i}"
        for i in range(12)
    ],
    "alike": [f"the_same_beginning_{i}_and_the_same_long_long_end" for i in range(5)],
}
WIDTHS = [plots.SINGLE, plots.DOUBLE]


def runs(count, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(size=(count, 30)), axis=1)


def gaps(curves):
    missing = np.random.default_rng(9).random(curves.shape) < 0.7
    return np.where(missing, NAN, curves)


def infinite(curves):
    return np.where(np.random.default_rng(9).random(curves.shape) < 0.1, np.inf, curves)


CURVES = {
    "huge": runs(8) * 1e12,
    "beyond words": runs(8) * 1e30,
    "tiny": runs(8) * 1e-9,
    "negative": runs(8) - 1e4,
    "nothing": np.full((8, 30), NAN),
    "gaps": gaps(runs(8)),
    "infinite": infinite(runs(8)),
    "one run": runs(1),
    "constant": np.full((8, 30), 500.0),
    "zero": np.zeros((8, 30)),
    "hundreds": runs(400),
}


def around(value, by):
    estimate = np.asarray(value, float)
    return Interval(estimate, estimate - by, estimate + by)


def drawn_from(name, names, width, curves=None):
    """A figure of one function, of the same curves for all algorithms."""
    curves = runs(8) if curves is None else curves
    value, size = curves[0, -1], len(names)
    square = np.full((size, size), 0.7 if np.isfinite(value) else NAN)
    given = {
        "learning_curves": lambda: plots.learning_curves(
            dict.fromkeys(names, (STEPS, curves)), alpha=0.25, width=width
        ),
        "drawdowns": lambda: plots.drawdowns(STEPS, curves, alpha=0.25, width=width),
        "strip": lambda: plots.strip(
            dict.fromkeys(names, curves[:, -1]), alpha=0.25, width=width
        ),
        "cells": lambda: plots.cells(
            {n: {c: around(value, 1) for c in PLACES} for n in names}, width=width
        ),
        "intervals": lambda: plots.intervals(
            {a: {n: around(value, 1) for n in names} for a in ("IQM", "mean")},
            width=width,
        ),
        "ranking": lambda: plots.ranking(
            {n: around(i + 1, 0.4) for i, n in enumerate(names)}, width=width
        ),
        "performance_profiles": lambda: plots.performance_profiles(
            {n: (STEPS * value, around(np.linspace(1, 0, 30), 0.05)) for n in names},
            width=width,
        ),
        "improvement": lambda: plots.improvement(
            names, square, square - 0.1, square + 0.1, width=width
        ),
    }
    return given[name]()


ALL = [
    "learning_curves",
    "drawdowns",
    "strip",
    "cells",
    "intervals",
    "ranking",
    "performance_profiles",
    "improvement",
]


def boxes(figure):
    """The words of a figure and where they are, without ticks that are not drawn."""
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            shown = set(axis._update_ticks()) if axes.axison else set()
            for tick in set(axis.get_major_ticks() + axis.get_minor_ticks()) - shown:
                hidden |= {tick.label1, tick.label2}
    found = set(figure.findobj(Text)) - hidden
    # Of the text alone, without the line that leads to it.
    return {t: Text.get_window_extent(t) for t in found if t.get_text().strip()}


def clipped_or_overlapping(figure):
    found, problems = boxes(figure), []
    for text, box in found.items():
        if min(box.x0, box.y0) < -1.5 or np.any(box.max > figure.bbox.max + 1.5):
            problems.append(f"outside: {text.get_text()}")
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1.5 and down > 1.5:
            problems.append(f"over each other: {one.get_text()}, {other.get_text()}")
    return problems


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("name", [n for n in ALL if n != "drawdowns"])
def test_any_number_of_any_names(name, names, width):
    figure = drawn_from(name, NAMES[names], width)
    assert clipped_or_overlapping(figure) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("curves", CURVES)
@pytest.mark.parametrize("name", ["learning_curves", "drawdowns", "strip"])
def test_any_returns(name, curves, width):
    figure = drawn_from(name, ["PPO", "A2C"], width, CURVES[curves])
    assert clipped_or_overlapping(figure) == []


@pytest.mark.parametrize("curves", ["huge", "tiny", "negative", "nothing"])
@pytest.mark.parametrize(
    "name", ["cells", "intervals", "performance_profiles", "improvement"]
)
def test_any_values(name, curves):
    value = CURVES[curves]
    if name == "performance_profiles" and curves == "nothing":
        value = np.ones((1, 30))
    figure = drawn_from(name, ["PPO", "A2C"], plots.SINGLE, value)
    assert clipped_or_overlapping(figure) == []


@pytest.mark.parametrize("name", ALL)
def test_no_data_says_so(name):
    nothing = np.full((3, 30), NAN)
    words = {
        "learning_curves": plots.learning_curves({"A": (STEPS, nothing)}, alpha=0.25),
        "drawdowns": plots.drawdowns(STEPS, nothing, alpha=0.25),
    }
    figure = words.get(name) or drawn_from(name, [], plots.SINGLE)
    said = {text.get_text() for text in figure.findobj(Text)}
    assert "no data" in said or name == "cells"


def test_a_long_title_is_wrapped():
    figure = plots.ranking({"PPO": around(1, 0.5)}, title="words " * 40, width=3.3)
    assert clipped_or_overlapping(figure) == []


@pytest.mark.parametrize("colors", [3, 5])
def test_colours_are_told_apart_by_all(colors):
    """Machado et al. 2009, complete loss of one of the three kinds of cones."""
    from matplotlib.colors import to_rgb

    from purejaxppo.reliability.plots import style

    losses = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]],
    ]  # fmt: skip
    seen = np.asarray([to_rgb(c) for c in style.PALETTE[:colors]])
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)
    for loss in losses:
        shown = np.clip(linear @ np.asarray(loss).T, 0, 1)
        lab = lightness_and_hue(shown)
        for one, other in itertools.combinations(lab, 2):
            assert np.linalg.norm(one - other) > 10


def lightness_and_hue(linear):
    """CIE L*a*b* of linear sRGB, white D65; a difference of 2.3 is just noticed."""
    to_xyz = np.asarray(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    share = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.stack(
        [
            116 * f[:, 1] - 16,
            500 * (f[:, 0] - f[:, 1]),
            200 * (f[:, 1] - f[:, 2]),
        ],
        axis=1,
    )


def test_numbers_are_read_on_every_ground():
    from matplotlib.colors import to_rgb

    from purejaxppo.reliability.plots import improvement_matrix

    for value in np.linspace(0, 1, 101):
        pair = [
            improvement_matrix.COLORS(value)[:3],
            to_rgb(improvement_matrix._ink_on(value)),
        ]
        low, high = sorted(improvement_matrix._luminance(color) for color in pair)
        # WCAG 2, level AA.
        assert (high + 0.05) / (low + 0.05) > 4.5
