"""Whatever a terminal's encoding: all output is readable, and no output fails."""

import ast
import io
import sys
from pathlib import Path

import pytest

import purejaxppo
from purejaxppo.cli import entry_point, terminal
from purejaxppo.results import read
from purejaxppo.study.storage import files
from tests import studies

NARROW = ("ascii", "latin-1", "cp1252")
ROOT = Path(purejaxppo.__file__).parent
FAST = ("--resamples", "20", "--permutations", "20", "--cell-permutations", "20")


def as_shown(name, encoding):
    """A name where its characters are escaped that an encoding lacks."""
    return name.encode(encoding, "backslashreplace").decode(encoding)


def printed(encoding, monkeypatch, *arguments):
    """The exit code of a command, and what a terminal with an encoding shows."""
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        for name in ("stdout", "stderr")
    }
    with monkeypatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        try:
            code = entry_point.main(arguments)
        except SystemExit as leave:
            code = leave.code
    for stream in streams.values():
        stream.flush()
    told = [stream.buffer.getvalue().decode(encoding) for stream in streams.values()]
    return code, "".join(told)


@pytest.mark.parametrize(
    "arguments",
    [
        *((name, "--help") for name in ("tune", *list(entry_point.COMMANDS)[3:])),
        *(("list", what) for what in ("environments", "presets", "definitions")),
    ],
    ids=" ".join,
)
def test_help_and_lists_are_readable(arguments, monkeypatch):
    for encoding in NARROW:
        code, text = printed(encoding, monkeypatch, *arguments)
        assert code == 0 and len(text) > 300
        assert "\\x" not in text and "\\u" not in text  # Each has a replacement.


def test_reports_and_comparisons_are_readable_and_their_files_are_utf_8(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    paths = "caf\udce9", "naïve→"  # As Python has the Latin-1 name b"caf\xe9".
    for path, top in zip(paths, (studies.BAD, 104.0), strict=True):
        studies.leave_study(Path(path), "Øne-v0", studies.returns(0, 24, top))
    code, text = printed("ascii", monkeypatch, "report", paths[0], *FAST[:2])
    assert code == 0 and "IQM" in text
    assert "Report in caf\\udce9/report.html" in text
    code, text = printed("ascii", monkeypatch, "compare", *paths, *FAST)
    assert code == 0 and "CVaR 25 %" in text
    assert "caf\\xe9 and na\\xefve\\u2192" in " ".join(text.split())
    page = (tmp_path / "compare" / "compare.html").read_text("utf-8")
    assert "caf\\xe9" in page and "naïve→" in page and "−" in page
    for name in ("report.html", "report.md"):
        assert "Øne-v0" in (tmp_path / paths[0] / name).read_text("utf-8")


@pytest.mark.parametrize("encoding", [*NARROW, "utf-8"])
@pytest.mark.parametrize("name", ["café", "naïve→", "not-text-\udcff"])
def test_an_error_shows_any_name(encoding, name, monkeypatch):
    code, text = printed(encoding, monkeypatch, "report", name)
    assert code == 2 and text.startswith("purejaxppo: error: ")
    assert as_shown(name, encoding) in text


def test_streams_that_are_not_there_are_left_alone(monkeypatch):
    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        terminal.accept_any_text()


def test_files_with_a_byte_order_mark_are_read(tmp_path):
    """As editors on Windows leave them; what is in another encoding is refused."""
    table = "algorithm,task,seed,env_steps,episode_return\nppo,Hop,1,64,2.5\n"
    texts = {
        "runs.csv": table,
        "scores.json": '{"ppo": [[2.5]]}',
        "config.toml": 'env = "Høp-v0"\n[config]\ngamma = 0.9\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8-sig")
    studies.leave_facts(tmp_path, updates=3)
    facts = tmp_path / "environment.json"
    facts.write_text(facts.read_text("utf-8"), "utf-8-sig")
    for name in ("runs.csv", "scores.json"):
        [runs] = read(tmp_path / name)
        assert (runs.algorithm, runs.curves.tolist()) == ("ppo", [[2.5]])
    job = files.read_job(tmp_path / "config.toml")
    assert (job.env, job.config.gamma) == ("Høp-v0", 0.9)
    assert files.read_environment(tmp_path)["updates"] == 3
    for name, reads in (("runs.csv", read), ("config.toml", files.read_job)):
        (tmp_path / name).write_text(texts[name], "utf-16")
        with pytest.raises(ValueError, match=r", but it is not UTF-8\.$"):
            reads(tmp_path / name)


def encoding_is_given(call):
    """Whether a call that reads or writes a file says how text is encoded, or bytes."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
    texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
    by_place = {"read_text": 1, "write_text": 2}.get(name, 4)
    return (
        any(word.arg == "encoding" for word in call.keywords)
        or len(call.args) >= by_place
        or (name == "open" and any("b" in str(mode) for mode in texts))
    )


def test_every_file_of_text_has_its_encoding_said():
    """Else the locale would say it."""
    seen = 0
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            text = ast.unparse(node.func)
            if text.startswith(("os.", "self.")) or text == "self.open":
                continue
            if text.rpartition(".")[2] in ("open", "read_text", "write_text"):
                seen += 1
                assert encoding_is_given(node), f"{path}:{node.lineno}"
    assert seen > 20
