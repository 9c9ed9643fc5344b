"""Pages in a real browser: they fit, they can be read, their tables can be sorted."""

import math

import matplotlib.image
import numpy as np
import pytest

from purejaxppo import reporting
from purejaxppo.reliability import Plan
from tests import studies
from tests.chromium import PROGRAM, Browser

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="chromium is not installed: apt-get install chromium"
)

PLAN = Plan(num_resamples=40, num_permutations=200, num_across_permutations=20)
SIZES = {"phone": 390, "tablet": 820, "wide": 1400}
LONG = "an_algorithm_with_a_name_that_is_longer_than_anybody_would_like_it_to_be"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report, one of few runs, and a comparison of five algorithms."""
    folder = studies.leave_studies(tmp_path_factory.mktemp("studies"))
    pages = {}
    for name in ("plain-one", "few"):
        (study,) = reporting.read_reports([folder / name])
        reporting.write_report(study, folder / name, PLAN)
        pages[name] = folder / name / "report.html"
    names = [*"abcd", LONG]
    paths = [*[folder / "<i>helped", folder / "plain-one"] * 2, folder / "few"]
    contest = reporting.read_comparison(paths, names)
    reporting.write_comparison(contest, folder / "compared", PLAN)
    pages["compared"] = folder / "compared" / "compare.html"
    return pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


NAMES = ("plain-one", "few", "compared")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_from_the_disk_alone(browser, pages, name):
    browser.open(pages[name])
    # Figures may hold images of many points, in the page itself.
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    assert asked == [pages[name].as_uri()]
    assert browser.complaints() == []
    assert browser.run("document.compatMode") == "CSS1Compat"


STICKING_OUT = """
[...document.querySelectorAll("body *")].filter((element) => {
  if (element.parentElement.closest(".scroll, .drawing")) return false;
  const box = element.getBoundingClientRect();
  return box.width > 0 && !element.matches(".skip")
    && (box.right > innerWidth + 1 || box.left < -1);
}).map((element) => element.outerHTML.slice(0, 80))
"""

CLIPPED = """
[...document.querySelectorAll("th, td, p, li, dd, dt, summary, figcaption, caption")]
  .filter((element) => element.scrollWidth > element.clientWidth + 1
    && element.clientWidth > 0)
  .map((element) => element.outerHTML.slice(0, 80))
"""

OUT_OF_DRAWINGS = """
[...document.querySelectorAll("svg text")].filter((text) => {
  const drawing = text.ownerSVGElement.getBoundingClientRect();
  const box = text.getBoundingClientRect();
  return box.width > 0 && (box.left < drawing.left - 2 || box.right > drawing.right + 2
    || box.top < drawing.top - 2 || box.bottom > drawing.bottom + 2);
}).map((text) => text.textContent)
"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_overflows_or_is_clipped(browser, pages, name, size):
    browser.open(pages[name], SIZES[size])
    browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert browser.run("innerWidth") == SIZES[size]
    width = browser.run("document.documentElement.scrollWidth")
    assert width <= SIZES[size]
    assert browser.run(STICKING_OUT) == []
    assert browser.run(CLIPPED) == []
    assert browser.run(OUT_OF_DRAWINGS) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_page_fits_its_paper(browser, pages, name):
    browser.open(pages[name], 794, media="print", dark=True)
    assert browser.run("document.documentElement.scrollWidth") <= 794
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == (
        "none"
    )
    assert rgb(browser.run("getComputedStyle(document.body).backgroundColor")) == (
        255,
        255,
        255,
    )


# --- Colours --------------------------------------------------------------------------

COLOURS = """
[...document.querySelectorAll(
  "h1, h2, p, li, a, dt, dd, th, td, figcaption, summary, .detail, .about, svg text"
)].filter((element) => element.getBoundingClientRect().width > 0).map((element) => {
  const ink = getComputedStyle(element);
  let ground = element;
  const clear = (e) => /rgba\\(.*, 0\\)|transparent/.test(
    getComputedStyle(e).backgroundColor);
  while (ground.parentElement && clear(ground)) ground = ground.parentElement;
  return [
    element.closest("svg") ? ink.fill : ink.color,
    getComputedStyle(ground).backgroundColor,
    element.textContent.trim().slice(0, 40),
  ];
})
"""


def rgb(text):
    numbers = text[text.index("(") + 1 : -1].replace(",", " ").split()
    return tuple(int(float(number)) for number in numbers[:3])


def luminance(color):
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    shares = [value / 255 for value in color]
    linear = [
        s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, ground):
    bright, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_black_on_white():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["few", "plain-one"])
def test_all_text_can_be_read(browser, pages, name, dark):
    browser.open(pages[name], dark=dark)
    ground = rgb(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert (luminance(ground) < 0.1) == dark
    found = browser.run(COLOURS)
    assert len(found) > 100
    faint = {
        (text, round(contrast(rgb(ink), rgb(under)), 1))
        for ink, under, text in found
        if contrast(rgb(ink), rgb(under)) < 4.5
    }
    assert faint == set()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_screenshot_is_light_or_dark_and_has_colours(browser, pages, tmp_path, dark):
    browser.open(pages["plain-one"], dark=dark)
    browser.screenshot(tmp_path / "page.png")
    pixels = matplotlib.image.imread(tmp_path / "page.png")[..., :3]
    assert pixels.shape[1] > 1200 and pixels.shape[0] > 2000
    assert (np.median(pixels) < 0.3) == dark
    assert np.mean(np.ptp(pixels, axis=-1) > 0.2) > 0.002


# --- Tables ---------------------------------------------------------------------------

HEADS = "[...document.querySelectorAll('#KEY thead th')]"
COLUMN = """
[...document.querySelectorAll("#KEY tbody tr")].map((row) => {
  const cell = row.cells[COLUMN];
  return cell.dataset.key ?? cell.textContent;
})
"""


def column(browser, key, number):
    return browser.run(COLUMN.replace("KEY", key).replace("COLUMN", str(number)))


def heads(browser, key):
    names = f"{HEADS.replace('KEY', key)}.map((head) => head.textContent)"
    return [name.replace("\xa0", " ") for name in browser.run(names)]


def sorting(browser, key):
    """The state of each head, as it is told to those who do not see the arrow."""
    attribute = "head.getAttribute('aria-sort')"
    return browser.run(f"{HEADS.replace('KEY', key)}.map((head) => {attribute})")


def click(browser, key, number):
    """Click with the mouse where the head's button is."""
    button = f"{HEADS.replace('KEY', key)}[{number}].querySelector('button')"
    browser.run(f"{button}.scrollIntoView({{block: 'center', inline: 'center'}})")
    box = browser.run(
        f"(() => {{ const b = {button}.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call(
            "Input.dispatchMouseEvent",
            **{"type": kind, "x": box[0], "y": box[1], "button": "left"},
            clickCount=1,
        )


def test_a_click_sorts_numbers_and_another_turns_them_round(browser, pages):
    browser.open(pages["few"])
    browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    key = "part0-runs"
    number = heads(browser, key).index("final return")
    before = column(browser, key, number)
    assert before[0] == "" and before.count("") == 1  # The run without a return.
    values = [float(value) for value in before if value]
    assert values != sorted(values)
    click(browser, key, number)
    after = column(browser, key, number)
    assert [float(value) for value in after[:-1]] == sorted(values)
    assert after[-1] == ""
    seeds = [float(seed) for seed in column(browser, key, 0)]
    order = [math.inf if not value else float(value) for value in before]
    assert seeds == [3 + i for i in np.argsort(order)]
    states = sorting(browser, key)
    assert states[number] == "ascending" and states.count(None) == len(states) - 1
    click(browser, key, number)
    after = column(browser, key, number)
    # What is missing stays at the end.
    assert [float(value) for value in after[:-1]] == sorted(values, reverse=True)
    assert after[-1] == ""
    assert sorting(browser, key)[number] == "descending"
    click(browser, key, 0)
    assert [float(seed) for seed in column(browser, key, 0)] == [3, 4, 5, 6, 7]
    assert sorting(browser, key)[0] == "ascending"
    assert sorting(browser, key)[number] is None


def test_words_are_sorted_by_the_alphabet_and_equal_ones_stay(browser, pages):
    browser.open(pages["compared"])
    key = "tests"
    names = heads(browser, key)
    cells = column(browser, key, names.index("cell"))
    click(browser, key, names.index("cell"))
    assert column(browser, key, names.index("cell")) == sorted(cells)
    thirds = column(browser, key, names.index("training"))
    first = sorted(cells).index("dispersion across time")
    assert thirds[first : first + 3] == ["beginning", "middle", "end"]


@pytest.mark.parametrize(
    ("key", "code", "text"), [("Enter", 13, "\r"), ("Space", 32, " ")]
)
def test_tables_are_sorted_by_the_keyboard(browser, pages, key, code, text):
    browser.open(pages["compared"])
    number = heads(browser, "results").index("mean")
    values = [float(value) for value in column(browser, "results", number)]
    button = f"{HEADS.replace('KEY', 'results')}[{number - 1}].querySelector('button')"
    browser.run(f"{button}.focus()")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "mean"
    browser.press(key, code, text)
    after = [float(value) for value in column(browser, "results", number)]
    assert after == sorted(values) != values
    assert sorting(browser, "results")[number] == "ascending"
    # Who looks for the focus sees it.
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(ring) == "solid"


ALIGNED = """
[...document.querySelectorAll("table")].flatMap((table) =>
  [...table.querySelectorAll("tbody td.number, thead th.number")].filter((cell) => {
    const style = getComputedStyle(cell);
    return style.textAlign !== "right"
      || !style.fontVariantNumeric.includes("tabular-nums");
  }).map((cell) => cell.textContent))
"""


@pytest.mark.parametrize("name", NAMES)
def test_numbers_stand_to_the_right_in_figures_of_one_width(browser, pages, name):
    browser.open(pages[name])
    assert browser.run(ALIGNED) == []


def test_a_link_into_what_is_folded_opens_it(browser, pages):
    browser.open(pages["plain-one"])
    assert (
        browser.run("document.querySelector('#part0-runs').checkVisibility()") is False
    )
    browser.run("location.hash = '#part0-runs'")
    script = """
    new Promise((done) => setTimeout(() =>
      done(document.querySelector("#part0-runs").closest("details").open), 50))
    """
    answer = browser.call(
        "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
    )
    assert answer["result"]["value"] is True
