"""Reports and comparisons: what stands in the files, and how it is said."""

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from purejaxppo import reliability, reporting
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.comparison import Comparison, compare
from purejaxppo.reliability.dispersion_and_risk import FRAMES, HIGHER_IS_BETTER
from purejaxppo.reliability.hypotheses import SCORE, TAIL, Finding
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.pairwise import Pair
from purejaxppo.reliability.permutation_tests import Power
from purejaxppo.reporting import conclusions, formatting
from purejaxppo.reporting.config_tables import differences_table
from purejaxppo.reporting.html_pages import gathered
from purejaxppo.reporting.json_files import plain
from purejaxppo.reporting.report_files import references
from purejaxppo.results import read_study, write
from tests import studies

NAN = float("nan")
PLAN = Plan(num_resamples=40, num_permutations=200, num_across_permutations=20)


# --- Studies --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return studies.leave_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    """A report's folder and the study that it is of."""
    output = tmp_path_factory.mktemp("report")
    (study,) = reporting.read_reports([folder / "plain-one"], "One-v0=95")
    return output, reporting.write_report(study, output, PLAN)


NAMES = ("plain", "<b>helped</b>")


def contest(folder):
    return reporting.read_comparison(
        [folder / path for path in studies.PATHS],
        [NAMES[0], NAMES[0], NAMES[1], NAMES[1]],
        baseline="Two-v0=-300",
        target="One-v0=100,Two-v0=0",
    )


@pytest.fixture(scope="module")
def comparison(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("comparison")
    return output, reporting.write_comparison(contest(folder), output, PLAN)


# --- Pages --------------------------------------------------------------------------


class Page(HTMLParser):
    """What stands in a page: elements with their attributes, and the text of each."""

    VOID = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "elements are left open"

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        element["path"] = [e["tag"] for e in self.open]
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1]["tag"] == tag, tag
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data.replace("\xa0", " ")

    def all(self, tag, **attributes):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e.get(k) == v for k, v in attributes.items())
        ]

    def rows(self, key):
        """The texts of a table's cells, without the rows of notes."""
        index = self.elements.index(self.all("table", id=key)[0])
        rows = []
        for element in self.elements[index + 1 :]:
            if element["tag"] == "table":
                break
            if element["tag"] == "tr" and element.get("class") != "note":
                rows.append([])
            elif element["tag"] in ("td", "th") and "colspan" not in element:
                rows[-1].append(" ".join(element["text"].split()))
        return rows


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report_page(report):
    return page_of(report[0] / "report.html")


@pytest.fixture(scope="module")
def comparison_page(comparison):
    return page_of(comparison[0] / "compare.html")


@pytest.mark.parametrize("which", ["report_page", "comparison_page"])
def test_a_page_needs_nothing_but_itself(which, request):
    page = request.getfixturevalue(which)
    beside = "report.json" if which == "report_page" else "compare.json"
    for element in page.elements:
        for name, value in element.items():
            if name in ("src", "href", "srcset", "action", "data"):
                assert value.startswith(("#", "data:")) or value == beside, value
        assert element["tag"] not in ("link", "iframe", "object", "base")
    assert not re.search(r"url\((?!#)|@import", page.all("style")[0]["text"])
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]
    assert policy["content"].startswith("default-src 'none'")
    assert len(page.all("script")) == len(page.all("style")) == 1


@pytest.mark.parametrize("which", ["report_page", "comparison_page"])
def test_ids_are_unique_and_all_links_lead_somewhere(which, request):
    page = request.getfixturevalue(which)
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name in ("href", "aria-labelledby"):
            target = element.get(name, "").removeprefix("#")
            if name == "aria-labelledby" or element.get(name, "").startswith("#"):
                assert not target or target in ids, target
        for target in re.findall(r"url\(#([^)]+)\)", str(element)):
            assert target in ids


def test_the_report_has_its_parts(report_page):
    headings = [h["text"] for h in report_page.all("h2")]
    assert headings == [
        "Final returns",
        "Learning",
        "Dispersion and risk",
        "What was run",
        "Definitions",
    ]
    contents = [a["text"] for a in report_page.all("a") if "nav" in a["path"]]
    assert contents == ["The answer", *headings]
    titles = [p["text"] for p in report_page.all("p", **{"class": "figure-title"})]
    assert titles == [
        "Every run",
        "Learning curves",
        "Drawdown",
        "Cells in thirds of the training",
    ]
    assert len(report_page.all("svg")) == 4
    assert report_page.all("h1")[0]["text"] == "How reliable is plain-one on One-v0?"


def test_the_comparison_has_its_parts(comparison_page):
    headings = [h["text"] for h in comparison_page.all("h2")]
    assert headings == [
        "Warnings",
        "Final returns",
        "Which is better",
        "All tasks together",
        "Dispersion and risk",
        "What was run",
        "Definitions",
    ]
    titles = [p["text"] for p in comparison_page.all("p", **{"class": "figure-title"})]
    assert titles == [
        "Learning curves on One-v0",
        "Every run on One-v0",
        "Learning curves on Two-v0",
        "Every run on Two-v0",
        "Aggregates of normalised final returns",
        "Performance profiles",
        "Mean ranks",
        "Dispersion and risk on One-v0",
        "Dispersion and risk on Two-v0",
    ]
    assert len(comparison_page.all("svg")) == len(titles)


def test_names_are_text_and_never_markup(comparison_page):
    assert comparison_page.all("b") == []
    assert NAMES[1] in comparison_page.all("h1")[0]["text"]
    cells = {e["text"] for e in comparison_page.all("td")}
    assert NAMES[1] in cells


def test_tables_show_the_numbers_of_the_analysis(report, report_page):
    (part,) = report[1]
    shown = {row[0]: row[1:] for row in report_page.rows("part0-scores")[1:]}
    titles = {"IQM": "iqm", "mean": "mean", "median": "median", "IQR": "iqr"}
    titles |= {"CVaR 25 %": "cvar", "optimality gap": "optimality_gap"}
    for title, name in titles.items():
        interval = part.analysis.aggregates[name]
        assert shown[title] == [
            formatting.estimate(interval),
            formatting.ends(interval),
        ]
    cells = {row[0]: row[1:] for row in report_page.rows("part0-table")[1:]}
    assert list(cells) == [formatting.cell_title(name) for name in part.analysis.cells]
    risk = part.analysis.cells["risk_across_runs"]
    end = Interval(*(np.asarray(x)[FRAMES.index("end")] for x in risk))
    assert cells["risk across runs"][2:] == [
        " ".join(f"{formatting.estimate(end)}{formatting.ends(end)}".split()),
        "",
        "24",
    ]
    runs = report_page.rows("part0-runs")
    assert [row[0] for row in runs[1:]] == [str(seed) for seed in range(3, 27)]
    assert runs[1][1] == formatting.number(part.analysis.scores[0])
    assert {row[-1] for row in runs[1:]} == {"no"}


def test_every_number_has_its_definition_beside_it(report_page, comparison_page):
    notes = [e["text"] for e in report_page.all("tr", **{"class": "note"})]
    assert len(notes) == 7 + 7
    assert notes[0].strip().startswith("Mean of the middle half of n runs")
    assert "Mean of 95 − min(final return, 95)." in " ".join(notes)
    for noted in report_page.all("table", **{"class": "noted"}):
        rows = report_page.rows(noted["id"])
        assert len(rows) == 8  # The head, and seven rows with a note each.
    terms = {e["text"] for e in comparison_page.all("dt")}
    for name in ("IQM", "CVaR 25 %", "P(first is better)", "p value", "runs needed"):
        assert name in terms
    for name in ("normalised", "over tasks", "mean rank", "final return", "interval"):
        assert name in terms
    assert {formatting.cell_title(n) for n in HIGHER_IS_BETTER} <= terms


def test_options_seeds_and_versions_are_told(report_page, comparison_page):
    options = {row[0]: row[1:] for row in report_page.rows("options")[1:]}
    assert options["env"] == ["One-v0", "", ""]
    assert options["ent_coef"] == ["0.01", "0.01", ""]
    origins = {row[0]: row[1:] for row in report_page.rows("origins")[1:]}
    assert origins["seeds"] == ["3 to 26", ""]
    assert origins["status"] == ["complete", ""]
    assert origins["numpy"] == [np.__version__, np.__version__]
    differ = comparison_page.rows("differences")[1:]
    assert differ == [
        ["env", "One-v0", "Two-v0", "One-v0", "Two-v0"],
        ["ent_coef", "0.01", "0.01", "0.02", "0.02"],
    ]


def test_warnings_stand_at_the_top_with_what_they_are_about(comparison_page):
    warnings = [
        " ".join(e["text"].split())
        for e in comparison_page.all("li")
        if e["path"].count("section") and "nav" not in e["path"]
    ]
    advice = (
        "No rollouts of the final policies, hence no cells across rollouts. purejaxppo "
        "evaluate DIR makes them. plain on Two-v0, <b>helped</b> on Two-v0"
    )
    assert advice in warnings
    code = [e["text"] for e in comparison_page.all("code")]
    ends = ["--baseline SCORE --target SCORE", "--baseline 0 --target 1"]
    assert code == [*ends, "purejaxppo evaluate DIR"]


def test_both_returns_of_a_study_are_reported(folder, tmp_path):
    (study,) = reporting.read_reports([folder / "few"])
    reporting.write_report(study, tmp_path, PLAN)
    page = page_of(tmp_path / "report.html")
    headings = [h["text"] for h in page.all("h2")]
    assert headings[1:7] == [
        f"{name} return: {part}"
        for name in ("Training", "Evaluation")
        for part in ("final returns", "learning", "dispersion and risk")
    ]
    answers = [e["text"] for e in page.all("li") if "section" in e["path"]]
    assert answers[0].startswith("Training return. The middle half of 4 runs ends at ")
    # What is true of both is said once, and of both.
    missing = "1 of 5 runs without a final return, left out of every statistic"
    assert sum(missing in text for text in answers) == 1
    assert [e["text"] for e in page.all("code")] == [
        f"purejaxppo evaluate {folder / 'few'}"
    ]


def test_a_study_that_stopped_is_reported_as_such(tmp_path):
    path = tmp_path / "stopped"
    studies.leave_study(path, "One-v0", studies.returns(0, 12, 100.0))
    studies.leave_facts(path, status="incomplete", updates=60, num_updates=90)
    (study,) = reporting.read_reports([path])
    reporting.write_report(study, path, PLAN)
    found = json.loads((path / "report.json").read_text())
    assert found["caveats"][0] == {
        "text": f"Incomplete: the study in {path} stopped after 60 of 90 updates.",
        "about": [],
    }
    assert "stopped after 60 of 90 updates" in (path / "report.html").read_text()


def test_runs_from_elsewhere_are_reported(folder, tmp_path):
    studies = [read_study(folder / name) for name in ("plain-one", "plain-two")]
    write(studies, tmp_path / "runs.csv")
    (study,) = reporting.read_reports([tmp_path / "runs.csv"])
    parts = reporting.write_report(study, tmp_path, PLAN)
    assert [part.name for part in parts] == [
        "plain-one on One-v0",
        "plain-two on Two-v0",
    ]
    page = page_of(tmp_path / "report.html")
    assert page.all("h1")[0]["text"] == "How reliable are the runs of runs.csv?"
    assert page.all("table", id="options") == []
    assert "plain-two on Two-v0: learning" in [h["text"] for h in page.all("h2")]


# --- Numbers in JSON ------------------------------------------------------------------


def as_json(value):
    return json.loads(json.dumps(plain(value)))


def test_report_json_holds_the_core_s_numbers(report, folder):
    found = json.loads((report[0] / "report.json").read_text())
    runs = read_study(folder / "plain-one")
    analysis = found["parts"]["training return"]
    assert analysis["scores"] == reliability.final_performance(runs.curves).tolist()
    counts = reliability.resample(0, [(24,)], 40)
    final = np.asarray(analysis["scores"])[:, None]
    iqm = reliability.bootstrap(lambda c: reliability.iqm(final, c), counts)
    assert analysis["aggregates"]["iqm"] == {
        "estimate": float(iqm.estimate),
        "low": float(iqm.low),
        "high": float(iqm.high),
    }
    assert analysis["cells"] == as_json(
        reliability.cell_intervals(0, runs, num_resamples=40)
    )
    assert analysis["summary"] == as_json(
        reliability.summarize(runs.curves, runs.finite)
    )
    assert found["plan"]["definition"]["alpha"] == 0.05
    assert found["source"]["config"]["ent_coef"] == 0.01
    assert found["source"]["environment"]["status"] == "complete"
    assert found["versions"]["numpy"] == np.__version__
    assert found["definitions"]["optimality_gap"].startswith("Mean of 95 − min(")
    assert found["answers"] == [conclusions.verdict(report[1][0].analysis, PLAN)]


def test_compare_json_holds_the_core_s_numbers(comparison, folder):
    found = json.loads((comparison[0] / "compare.json").read_text())
    records = contest(folder).records
    expected = compare(
        records, PLAN, {"Two-v0": -300.0}, {"One-v0": 100.0, "Two-v0": 0.0}
    )
    assert found["comparison"] == as_json(expected)
    assert found["comparison"]["ranges"]["Two-v0"] == {
        "low": -300.0,
        "high": 0.0,
        "given": True,
    }
    assert found["answers"] == conclusions.verdicts(expected, PLAN)
    assert [source["path"] for source in found["sources"]] == [
        str(folder / path) for path in studies.PATHS
    ]


def test_json_has_null_for_what_is_missing():
    record = Interval(np.float32(0.5), np.array([NAN, 1.0]), math.inf)
    assert as_json({"x": (record, True, None)}) == {
        "x": [{"estimate": 0.5, "low": [None, 1.0], "high": None}, True, None]
    }
    assert as_json(Plan())["definition"]["measure"] == "iqr"


# --- Sentences ------------------------------------------------------------------------


def analysis_of(final, **fields):
    made = np.asarray(final, float)[:, None] * np.ones(60)
    runs = reliability.Runs("a", "t", np.arange(60) + 1, made, np.arange(len(final)))
    return reliability.analyze(runs._replace(**fields), PLAN)


@pytest.mark.parametrize(
    ("final", "said"),
    [
        ([NAN, NAN], "None of 2 runs has a final return."),
        ([7.0, NAN], "One run ends at 7: it says nothing of other seeds."),
        (
            [7.0, 7.0],
            "The middle half of 2 runs ends at 7 [7, 7] (mean, 95 % interval). They "
            "are too few for a tail of 25 %; the worst of them ends at 7.",
        ),
        (
            [7.0] * 12,
            "The middle half of 12 runs ends at 7 [7, 7] (mean, 95 % interval), the "
            "worst 25 % of them (3 runs) at 7 [7, 7]: bad luck costs 0. The worst run "
            "ends at 7.",
        ),
    ],
)
def test_the_answer_of_a_report(final, said):
    assert conclusions.verdict(analysis_of(final), PLAN) == said


def chance(value):
    return Interval(value, value - 0.125, value + 0.125)


def finding(measure, task, winner, p=0.01, frame=None):
    """A test that `winner` of a and b wins, or nobody."""
    difference = {"a": 1.0, "b": -1.0, None: 1.0}[winner]
    p = p if winner else 0.5
    return Finding("a", "b", measure, frame, task, difference, p, p)


def two(score, tail, cells=(), tasks=("x", "y"), overall=None, needed: Any = 48):
    """A comparison of a and b in which tests have these winners."""
    first = analysis_of(np.arange(24.0))
    analyses = [
        first._replace(algorithm=name, task=task) for name in "ab" for task in tasks
    ]
    findings = [finding(SCORE, t, w) for t, w in zip(tasks, score, strict=True)]
    findings += [finding(TAIL, t, w) for t, w in zip(tasks, tail, strict=True)]
    if len(tasks) > 1:
        findings += [finding(SCORE, None, overall), finding(TAIL, None, None)]
    findings += [finding(name, None, w, frame=f) for name, f, w in cells]
    power = Power(np.array([3, 256]), np.array([0.1, 0.9]), needed)
    pair = Pair(
        "a",
        "b",
        dict.fromkeys(tasks, chance(0.25)),
        chance(0.375),
        dict.fromkeys(tasks, power),
    )
    nothing: Any = None
    return Comparison(
        ["a", "b"], list(tasks), analyses, {}, nothing, [pair], findings, []
    )


RISK = ("short_term_risk", None)
SPREAD = [("dispersion_across_runs", frame) for frame in FRAMES]


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (
            two(["b"], [None], tasks=["x"]),
            [
                "b has better final returns than a on x: with probability 0.75 [0.62, "
                "0.88] a run of it beats one of the other (p = 0.01)."
            ],
        ),
        (
            two([None], ["a"], tasks=["x"]),
            [
                "By final returns a and b cannot be told apart on x with 24 runs each "
                "(p = 0.5). If the difference is as measured, it takes about 48 of "
                "each.",
                "The worst 25 % of the runs of a end higher than those of b on x, at "
                "2.5 [0.7, 5.4] against 2.5 [0.7, 5.4].",
            ],
        ),
        (
            two([None], [None], tasks=["x"], needed=None),
            [
                "By final returns a and b cannot be told apart on x with 24 runs each "
                "(p = 0.5). If the difference is as measured, it takes more than 256 "
                "of each."
            ],
        ),
        (
            two(["a", "a", "b", None], ["a", "a", "b", None], tasks=list("wxyz")),
            [
                "a has better final returns than b on 2 of 4 tasks (w, x), worse on 1 "
                "(y); on z they cannot be told apart with 24 runs each. Over all 4 "
                "tasks together they cannot be told apart (p = 0.5).",
                "The worst 25 % of the runs of a end higher than those of b on w and "
                "x; lower on y.",
            ],
        ),
        (
            two(["b", "b"], [None, None], overall="b"),
            [
                "b has better final returns than a on 2 of 2 tasks (x, y). Over all 2 "
                "tasks together b is better: with probability 0.62 [0.50, 0.75] a run "
                "of it beats one of a (p = 0.01)."
            ],
        ),
        (
            two([None, None], [None, None], [(*RISK, None), (*SPREAD[0], None)]),
            [
                "By final returns a and b cannot be told apart on any of 2 tasks with "
                "24 runs each. Over all 2 tasks together they cannot be told apart "
                "(p = 0.5).",
                "In none of 2 measures of dispersion and risk can a and b be told "
                "apart.",
            ],
        ),
        (
            two(
                [None],
                [None],
                [(*RISK, "b"), *((*cell, "a") for cell in SPREAD)],
                tasks=["x"],
                needed=3,
            ),
            [
                "By final returns a and b cannot be told apart on x with 24 runs each "
                "(p = 0.5). If the difference is as measured, it takes about 3 of "
                "each.",
                "Of 4 measures of dispersion and risk, a is more reliable in 3 "
                "(dispersion across runs: beginning, middle and end) and b is more "
                "reliable in 1 (short-term risk).",
            ],
        ),
    ],
    ids=["won", "open", "many more", "four", "all", "none", "cells"],
)
def test_the_answer_of_a_comparison(comparison, said):
    assert conclusions.verdicts(comparison, PLAN) == said


def test_of_many_algorithms_the_best_is_named_first(folder):
    records = [
        read_study(folder / "plain-one", algorithm=name)._replace(
            curves=studies.returns(seed, 24, top)
        )
        for name, seed, top in (("x", 0, 100.0), ("y", 1, 100.0), ("z", 2, 140.0))
    ]
    found = conclusions.verdicts(compare(records, PLAN), PLAN)
    assert found[0] == "z has better final returns than each of the others."
    for name, said in zip("xy", found[1:3], strict=True):
        assert said.startswith(f"z has better final returns than {name} on One-v0: ")
        assert f"runs of z end higher than those of {name} on One-v0" in said
    # What tells nobody apart is not said, but for whom it is true of.
    assert found[3:] == ["Nothing that was measured tells apart x and y."]
    equal = [records[0], records[1], records[1]._replace(algorithm="w")]
    assert conclusions.verdicts(compare(equal, PLAN), PLAN) == [
        "No algorithm has better final returns than each of the others.",
        "Nothing that was measured tells apart x and y; x and w; y and w.",
    ]


def test_warnings_of_everything_say_so_once():
    found = [("p", "a"), ("q", "a"), ("p", "b"), ("r", "")]
    assert gathered(found, ["a", "b"]) == [("p", []), ("q", ["a"]), ("r", [])]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((488.234, 486.1, 490.3), "488.2 [486.1, 490.3]"),
        ((488.234, 401.0, 590.0), "488 [401, 590]"),
        ((12345.6, 12000.0, 13000.0), "12,346 [12,000, 13,000]"),
        ((0.05, 0.0494, 0.0506), "0.0500 [0.0494, 0.0506]"),
        ((-2e-6, -3.5e-6, 1e-7), "−2.0 [−3.5, 0.1] × 10⁻⁶"),
        ((5e9, 4e9, 6e9), "5.0 [4.0, 6.0] × 10⁹"),
        ((1.5, 1.5, 1.5), "1.5 [1.5, 1.5]"),
        ((1.5, NAN, NAN), "1.5"),
        ((NAN, NAN, NAN), "n/a"),
        ((0.0, 0.0, 0.0), "0 [0, 0]"),
        ((-0.001, -0.2, 0.2), "0.00 [−0.20, 0.20]"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(interval, said):
    assert formatting.with_ends(Interval(*interval)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (7.0, "7"),
        (-83.25, "−83.25"),
        (999.96, "1,000"),
        (123456.7, "123,457"),
        (0.00123, "0.00123"),
        (0.000999, "9.99 × 10⁻⁴"),
        (9.99996e-5, "1 × 10⁻⁴"),
        (-1.5e12, "−1.5 × 10¹²"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (NAN, "n/a"),
    ],
)
def test_a_number_is_written_shortly(value, said):
    assert formatting.number(value) == said


# --- Refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("x", "Expected target to be NUMBER or TASK=NUMBER,..., got 'x'."),
        ("nan", "Expected target to be NUMBER or TASK=NUMBER,..., got 'nan'."),
        ("a=1,b=", "Expected target to be NUMBER or TASK=NUMBER,..., got 'a=1,b='."),
        ("c=1", "Expected target to be of a, b, got 'c'."),
    ],
)
def test_a_target_that_is_none_is_refused(texts, message):
    with pytest.raises(ValueError) as refused:
        references(texts, ["a", "b"], "target")
    assert str(refused.value) == message


def test_two_studies_of_one_algorithm_on_one_task_are_refused(folder):
    paths = [folder / "plain-one", folder / "few"]
    with pytest.raises(ValueError) as refused:
        reporting.read_comparison(paths, ["a", "a"])
    assert str(refused.value) == (
        f"Expected each algorithm once on each task, got a on One-v0 in {paths[0]} and "
        f"in {paths[1]}; --names tells them apart."
    )


def test_sources_without_options_do_not_differ(folder):
    table = differences_table(contest(folder).sources[:1] * 2)
    assert table.caption == "No option differs between the studies"
    assert table.rows == []


# --- The short report -----------------------------------------------------------------


def dataset(entropy, action_dims):
    entropy = np.asarray(entropy, np.float32)
    columns = {
        "episode_return": np.ones_like(entropy),
        "finite": np.ones(entropy.shape, bool),
        "entropy": entropy,
    }
    attributes = {"env": "Probe", "action_dims": action_dims}
    return studies.as_dataset(columns, np.arange(len(entropy)), attributes)


FALLS = [[1.0, 0.05] + [0.05] * 6, [1.0] * 8]


@pytest.mark.parametrize("action_dims, warned", [(0, True), (1, False)])
def test_an_early_collapse_of_the_entropy_is_told(tmp_path, action_dims, warned):
    results = dataset(FALLS, action_dims)
    lines = reporting.cautions(results)
    assert len(lines) == warned
    reporting.write_brief(tmp_path, results, 0.25)
    report = (tmp_path / "report.md").read_text()
    assert ("collapsed" in report) == warned
    if warned:
        assert "1 of 2 runs" in lines[0] and "ent_coef" in lines[0]


def test_a_late_one_is_not():
    assert reporting.cautions(dataset([[1.0] * 7 + [0.01]] * 2, 0)) == []
