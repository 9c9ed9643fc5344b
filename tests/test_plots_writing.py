"""Figures become equal files, SVG that can stand in a page, and words that fit."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from purejaxppo.reliability import Interval, plots
from purejaxppo.reliability.plots import style
from purejaxppo.reliability.plots.line_labels import spread
from purejaxppo.reliability.plots.tick_labels import (
    Numbers,
    names_that_fit,
    number,
    wrapped,
)

STEPS = np.arange(1, 21) * 5e3
RUNS = np.cumsum(np.random.default_rng(0).normal(size=(8, 20)), axis=1)


def curves(shift=0.0):
    return plots.learning_curves({"PPO & <co>": (STEPS, RUNS + shift)}, alpha=0.25)


def ids(text):
    return [e.attrib["id"] for e in ET.fromstring(text).iter() if "id" in e.attrib]


def test_svg_is_one_element_without_a_prologue():
    text = plots.svg(curves())
    assert text.startswith("<svg ") and text.endswith("</svg>")
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox", "").startswith("0 0 496.8")
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    # Neither what is about a file nor rules for all the page.
    assert not tags & {"metadata", "style", "script"}
    assert "PPO & <co>" in "".join(root.itertext())


def test_svg_is_the_same_for_equal_figures():
    assert plots.svg(curves()) == plots.svg(curves())


def test_ids_are_unique_over_figures_and_refer_to_their_own():
    every = [
        plots.svg(curves()),
        plots.svg(curves(1.0)),
        plots.svg(plots.strip({"PPO": RUNS[:, 0]}, alpha=0.25)),
        plots.svg(plots.drawdowns(STEPS, RUNS, alpha=0.25)),
    ]
    found = [ids(text) for text in every]
    together = [i for own in found for i in own]
    assert len(together) == len(set(together))
    for text, own in zip(every, found, strict=True):
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
        assert used and {a or b for a, b in used} <= set(own)


def test_a_gid_tells_equal_figures_apart():
    first, second = curves(), curves()
    second.set_gid("again")
    one, other = set(ids(plots.svg(first))), set(ids(plots.svg(second)))
    assert not one & other
    assert any(i.endswith("-again") for i in other)


def test_colours_of_a_page_are_variables_with_those_of_print():
    text = plots.svg(curves())
    for name in ("ink", "grid", "paper", "blue"):
        color = style.VARIABLES[name].lower()
        assert f"var(--plot-{name}, {color})" in text
    plain = re.sub(r"var\(--plot-\w+, (#\w+)\)", r"\1", text)
    assert not {c.lower() for c in re.findall(r"#[0-9a-fA-F]{6}\b", plain)} - {
        color.lower() for color in style.VARIABLES.values()
    }
    # What a dark page sets exists.
    assert set(re.findall(r"--plot-(\w+):", plots.DARK)) <= set(style.VARIABLES)


def test_a_name_like_a_colour_or_a_reference_stays():
    name = "fill: #262626 url(#x) id='y'"
    text = plots.svg(plots.ranking({name: Interval(1.0, 1.0, 1.0)}, width=9))
    assert name in "".join(ET.fromstring(text).itertext())


def test_hundreds_of_runs_are_an_image_and_no_megabytes():
    many = np.cumsum(np.random.default_rng(0).normal(size=(600, 100)), axis=1)
    figure = plots.drawdowns(np.arange(100.0), many, alpha=0.25)
    text = plots.svg(figure)
    assert "<image " in text and len(text) < 600_000
    assert "<image " not in plots.svg(plots.drawdowns(STEPS, RUNS, alpha=0.25))


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_equal_figures_become_equal_files(tmp_path, suffix, start):
    paths = [tmp_path / f"{i}.{suffix}" for i in (0, 1)]
    for path in paths:
        plots.save(curves(), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(start) and first == second


def test_text_stays_text(tmp_path):
    plots.save(curves(), tmp_path / "figure.svg")
    root = ET.fromstring((tmp_path / "figure.svg").read_text())
    words = {"".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")}
    assert {"environment steps", "8 runs", "PPO & <co>"} <= words
    plots.save(curves(), tmp_path / "figure.pdf")
    written = (tmp_path / "figure.pdf").read_bytes()
    # TrueType, embedded.
    assert b"/FontFile2" in written and b"/Type3" not in written


def test_other_suffixes_are_refused(tmp_path):
    expected = r"Expected path to end in \.png, \.svg, \.pdf, got .*figure\.bmp\."
    with pytest.raises(ValueError, match=expected):
        plots.save(curves(), tmp_path / "figure.bmp")
    assert not list(tmp_path.iterdir())


def test_the_callers_settings_stay():
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path"}):
        plots.svg(curves())
        assert matplotlib.rcParams["font.size"] == 20
        assert matplotlib.rcParams["svg.fonttype"] == "path"
        large = plots.svg(curves())
    assert large == plots.svg(curves())


def test_no_pyplot_is_loaded_by_drawing():
    code = (
        "import sys\n"
        "from purejaxppo.reliability import plots\n"
        "plots.svg(plots.strip({'PPO': [1.0, 2.0]}, alpha=0.25))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-0.0, "0"),
        (12.345, "12.3"),
        (-1234, "−1.23k"),
        (999.6, "1k"),
        (999_999, "1M"),
        (2.5e9, "2.5B"),
        (-3e12, "−3T"),
        (4.2e15, "4.2e15"),
        (1.5e-7, "1.5e−7"),
        (np.nan, "n/a"),
        (-np.inf, "−∞"),
    ],
)
def test_numbers_are_short(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([0, 0.25, 0.5], ["0", "0.25", "0.5"]),
        ([-1e-17, 0.1, 0.2], ["0", "0.1", "0.2"]),
        ([-1e6, 0, 1e6], ["−1M", "0", "1M"]),
        ([9995, 10_000, 10_005], ["9995", "10000", "10005"]),
        ([1e9, 1e9 + 5e5], ["1B", "1.0005B"]),
        ([2e-6, 4e-6], ["2e−6", "4e−6"]),
        ([7], ["7"]),
        ([], []),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(ticks, expected):
    assert Numbers().format_ticks(ticks) == expected


def test_names_keep_both_ends_and_stay_apart():
    assert wrapped("  a \n b ", 10) == "a b"
    assert wrapped("", 10) == ""
    assert wrapped("abcdefghij", 4) == "abcd\nefgh\nij"
    short = wrapped("begin_" + "middle_" * 9 + "end", 10, 3).split("\n")
    assert len(short) == 3 and short[0] == "begin_" and short[-1] == "middle_end"
    assert all(len(line) <= 10 for line in short)
    alike = [f"same_begin_{i}_and_the_same_end" for i in range(3)]
    fitted = names_that_fit(alike, 10, 2)
    assert len(set(fitted)) == 3
    assert [name[:3] for name in fitted] == ["1: ", "2: ", "3: "]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([50], [50]),
        ([20, 80], [20, 80]),
        # Two of height 10 in the same place move apart equally.
        ([50, 50], [45, 55]),
        ([100, 100], [85, 95]),
        ([0, 0, 60], [5, 15, 60]),
        ([60, 0, 58], [64, 5, 54]),
    ],
)
def test_texts_are_spread_apart(wanted, expected):
    found = spread(wanted, [10] * len(wanted), 100)
    np.testing.assert_allclose(found, expected)


def test_texts_of_too_little_room_go_on_above():
    np.testing.assert_allclose(spread([1, 2, 3], [10, 20, 10], 30), [5, 20, 35])
