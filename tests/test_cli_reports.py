"""`purejaxppo report` and `compare`: what they leave, print and refuse."""

import json
import re

import numpy as np
import pytest
import scipy.stats

from purejaxppo.cli import entry_point
from purejaxppo.results import read_study, write
from tests import studies

FAST = ("--resamples", "40")
FASTER = (*FAST, "--permutations", "200", "--cell-permutations", "20")


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    return studies.leave_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture
def folder(left, monkeypatch):
    """The studies' folder, as the working directory."""
    monkeypatch.chdir(left)
    return left


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def printed(capsys, *arguments):
    assert entry_point.main(arguments) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return " ".join(output.out.split())


def refused(capsys, *arguments):
    """The one line that a bad command prints; it leaves nothing."""
    assert entry_point.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1, output.err
    return output.err.removeprefix("purejaxppo: error: ").strip()


def test_a_report_is_left_in_the_study(folder, capsys):
    out = printed(capsys, "report", "plain-one", *FAST, "--alpha", ".5")
    assert "training return: final return of 24 runs" in out
    assert "CVaR 50 %" in out
    assert out.endswith("Report in plain-one/report.html")
    for name in ("report.html", "report.json", "report.md", "learning_curve.png"):
        assert (folder / "plain-one" / name).stat().st_size > 500
    plan = json.loads((folder / "plain-one" / "report.json").read_text())["plan"]
    assert (plan["alpha"], plan["num_resamples"]) == (0.5, 40)


def test_several_reports_are_left_each_in_its_study(folder, capsys):
    target = ("--target", "One-v0=95,Two-v0=-40", "--cell-alpha", ".1")
    out = printed(capsys, "report", "plain-two", "few", *FAST, *target)
    assert "Report in plain-two/report.html" in out
    assert out.endswith("Report in few/report.html")
    for name, gap in (("plain-two", "40"), ("few", "95")):
        found = json.loads((folder / name / "report.json").read_text())
        assert gap in found["definitions"]["optimality_gap"]
        assert found["plan"]["definition"]["alpha"] == 0.1


def test_a_report_goes_elsewhere(folder, capsys, tmp_path):
    output = tmp_path / "new" / "folder"
    options = ("--output", str(output), "--rollouts", "greedy", *FAST)
    printed(capsys, "report", "<i>helped", *options)
    assert (output / "report.html").exists()
    assert not (folder / "<i>helped" / "report.html").exists()


def test_a_table_is_reported_beside_itself(folder, capsys, tmp_path):
    write([read_study("plain-one"), read_study("plain-two")], tmp_path / "runs.csv")
    out = printed(capsys, "report", str(tmp_path / "runs.csv"), *FAST)
    assert "plain-two on Two-v0: final return of 24 runs" in out
    assert names_in(tmp_path) == [
        *("runs", "runs.csv", "runs.rollouts.csv"),
        *("runs/report.html", "runs/report.json"),
    ]
    twins = [str(tmp_path / "runs.csv"), str(tmp_path / "runs.parquet")]
    write([read_study("plain-one")], twins[1])
    assert "Expected each report in a directory of its own" in refused(
        capsys, "report", *twins, *FAST
    )


def test_all_warnings_are_printed_and_other_metrics_are_no_returns(folder, capsys):
    studies_ = ("plain-one", "<i>helped", "--metric", "entropy", "--output", "entropy")
    out = printed(capsys, "compare", *studies_, *FASTER)
    assert "Warning: What is compared is entropy: it stands for the return" in out
    assert "rollouts" not in out.split("What is compared")[0]
    out = printed(capsys, "compare", "few", "plain-one", "--output", "x", *FASTER)
    assert "Warning: 1 of 5 runs without a final return" in out
    assert "few on One-v0" in out.split("without a final return")[1][:200]


def test_cells_are_in_units_of_the_return_where_asked(folder, capsys, tmp_path):
    runs = read_study("plain-one")
    assert runs.rollouts is not None
    write([runs._replace(rollouts=-runs.rollouts)], tmp_path / "runs.csv")
    found = {}
    for units in ("range", "return"):
        options = ("--cell-units", units, "--output", str(tmp_path / units), *FAST)
        printed(capsys, "report", str(tmp_path / "runs.csv"), *options)
        found[units] = json.loads((tmp_path / units / "report.json").read_text())
    width = np.median(scipy.stats.iqr(runs.rollouts, axis=1))
    for units, expected in (("range", None), ("return", width)):
        (part,) = found[units]["parts"].values()
        estimate = part["cells"]["dispersion_across_rollouts"]["estimate"]
        assert estimate == (expected and pytest.approx(expected))
    advice = [c for c in found["range"]["caveats"] if "--cell-units return" in str(c)]
    assert len(advice) == 1
    assert "--cell-units" not in str(found["return"]["caveats"])


def test_studies_are_compared(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    names = ("--names", "plain,plain,helped,helped", "--seed", "7")
    output = ("--output", str(tmp_path / "x"), "--correction", "by")
    out = printed(capsys, "compare", *studies.PATHS, *names, *output, *FASTER)
    assert re.search(r"One-v0 │ plain │ 24 │ [\d.]+ \[", out)
    assert "P(first is better)" in out
    assert "helped has better final returns than plain on" in out
    assert out.endswith(f"Comparison in {tmp_path / 'x' / 'compare.html'}")
    assert names_in(tmp_path / "x") == ["compare.html", "compare.json"]
    found = json.loads((tmp_path / "x" / "compare.json").read_text())
    assert found["answers"][0] in out
    assert found["comparison"]["algorithms"] == ["plain", "helped"]
    assert found["plan"]["seed"] == 7 and found["plan"]["correction"] == "by"
    assert found["plan"]["num_permutations"] == 200
    assert found["plan"]["num_across_permutations"] == 20
    assert found["quantity"] == "training return"


def test_another_metric_and_other_files_are_compared(folder, capsys, tmp_path):
    write([read_study("plain-one", algorithm="table")], tmp_path / "runs.csv")
    output = ("--output", str(tmp_path), *FASTER)
    metric = ("--metric", "evaluation_return", "--names", "a,b")
    printed(capsys, "compare", "few", "few", *metric, *output)
    found = json.loads((tmp_path / "compare.json").read_text())
    assert found["quantity"] == "evaluation return"
    printed(capsys, "compare", "<i>helped", str(tmp_path / "runs.csv"), *output)
    found = json.loads((tmp_path / "compare.json").read_text())
    assert found["comparison"]["algorithms"] == ["<i>helped", "table"]
    assert found["quantity"] == "return"


TWO = ("compare", "plain-one", "<i>helped")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report",), "Expected the directory of a study, got none."),
        (
            ("report", "plain-one", "few", "--output", "x"),
            "Expected one study with --output, got 2.",
        ),
        (
            ("report", "plain-one", "--alpha", "1"),
            "Expected alpha to be in (0, 0.5], got 1.0.",
        ),
        (
            ("report", "plain-one", "--cell-alpha", "0"),
            "Expected cell_alpha to be in (0, 0.5], got 0.0.",
        ),
        (
            ("report", "plain-one", "--target", "high"),
            "Expected target to be NUMBER or TASK=NUMBER,..., got 'high'.",
        ),
        (
            ("report", "plain-one", "--target", "x=1"),
            "Expected target to be of One-v0, got 'x'.",
        ),
        (
            ("report", "plain-one", "--output", "/dev/null"),
            "Expected output /dev/null to be a directory, got a file.",
        ),
        (
            ("report", "plain-one", "--output", "/dev/null/x"),
            "Expected output /dev/null/x to be a directory, got a file.",
        ),
        (
            (*TWO, "--confidence", "1"),
            "Expected confidence to be in (0, 1), got 1.0.",
        ),
        (
            (*TWO, "--resamples", "1"),
            "Expected num_resamples to be an integer >= 2, got 1.",
        ),
        (
            (*TWO, "--permutations", "0"),
            "Expected num_permutations to be an integer >= 1, got 0.",
        ),
        (
            (*TWO, "--names", "a"),
            "Expected one name for each path, got 1 name for 2 paths.",
        ),
        (
            (*TWO, "--names", "a,a"),
            "Expected each algorithm once on each task, got a on One-v0 in plain-one "
            "and in <i>helped; --names tells them apart.",
        ),
        (
            ("compare", "plain-one"),
            "Expected two algorithms at least, to compare them, got plain-one.",
        ),
        (("compare",), "Expected two algorithms at least, to compare them, got none."),
        (
            ("compare", "plain-one", "helped-two"),
            "Each algorithm needs runs on every task; there are none of plain-one on "
            "Two-v0, none of helped-two on One-v0.",
        ),
        (
            ("compare", *studies.PATHS),
            "Each algorithm needs runs on every task; there are none of plain-one on "
            "Two-v0, none of plain-two on One-v0, none of <i>helped on Two-v0, none of "
            "helped-two on One-v0. Each path counts as an algorithm of its own; where "
            "several are the same one, give the name of each with --names, such as "
            "--names NAME1,NAME1,NAME2,NAME2.",
        ),
        (
            (*TWO, "--baseline", "9", "--target", "3"),
            "Expected reference scores of One-v0 with high > low, got low 9 and high "
            "3.",
        ),
        (
            (*TWO, "--metric", "episode_retrun"),
            "Expected plain-one/results.zarr to hold episode_retrun, found none; "
            "nearest: episode_return.",
        ),
        (
            ("compare", "plain-one", "nothing"),
            "There is nothing to read runs from at nothing.",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, folder, capsys):
    before = names_in(folder)
    assert refused(capsys, *arguments) == message
    assert names_in(folder) == before


def test_a_study_that_has_nothing_is_refused(folder, capsys, tmp_path):
    (tmp_path / "config.toml").write_text('env = "One-v0"\n')
    assert refused(capsys, "report", str(tmp_path)) == (
        f"Expected a study with results in {tmp_path}, found none."
    )
