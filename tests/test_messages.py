"""Messages, help texts and documents name only options that their command has."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest

import purejaxppo
from purejaxppo.cli import devices, entry_point
from purejaxppo.cli.plan_table import describe_rounding
from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace
from purejaxppo.reliability.caveats import NO_ROLLOUTS
from purejaxppo.reporting.html_pages import with_advice
from purejaxppo.reporting.sources import Source
from purejaxppo.results import FORMATS
from purejaxppo.study import Status, Study

ROOT = Path(purejaxppo.__file__).parent
DOCUMENTS = [ROOT.parent / "README.md", *sorted((ROOT.parent / "docs").glob("*.md"))]
HAS = {
    name: entry_point.options_of(kind) | {"help"}
    for name, (kind, _) in entry_point.COMMANDS.items()
}
HAS["tune"].add("rungs")  # Another name of num_rungs.

SPEAKERS = {
    "results/": ("report", "compare"),
    "reporting/": ("report", "compare"),
    "tuning/": ("tune",),
    "export/": ("export", "play"),
    "cli/report.py": ("report", "compare"),
    "cli/export.py": ("export", "play"),
    "cli/evaluate.py": ("evaluate",),
    "cli/listing.py": ("check", "list"),
    "cli/tune.py": ("tune",),
}
"""Beginning of a file's path -> the commands that print what it says; others: any."""

OPTION = re.compile(r"(?<![\w(-])--([a-z][a-z0-9.-]*[a-z0-9])")


def options_in(text):
    """Names of the options that a text names, but for those of other programs."""
    text = re.sub(r"--(plot|xla|tyro)[\w-]*", "", text)
    return {name.replace("-", "_") for name in OPTION.findall(text)}


def texts_of(path):
    """The strings of a file that somebody may read: no docstrings of code."""
    tree = ast.parse(path.read_text("utf-8"))
    docs = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            docs.add(node.body[0].value)  # pyright: ignore[reportAttributeAccessIssue]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or node in docs:
            continue
        if isinstance(node.value, str):
            yield node.lineno, node.value


def test_every_place_that_is_named_exists():
    assert [name for name in SPEAKERS if not (ROOT / name).exists()] == []


def test_every_option_in_a_message_is_one_of_a_command_that_prints_it():
    seen = 0
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        speakers = next((c for p, c in SPEAKERS.items() if name.startswith(p)), HAS)
        known = {"version"}.union(*(HAS[command] for command in speakers))
        for line, text in texts_of(path):
            named = options_in(text)
            seen += len(named)
            assert named <= known, f"{name}:{line} names {named - known}"
    assert seen > 30


def test_every_argument_of_a_reader_that_a_message_names_is_an_option():
    """`points=1000`, say, where the command line has `--points`."""
    python_only = {"setting", "seed", "tasks", "env_steps"}
    both = HAS["report"] & HAS["compare"] | {"metric"}
    for name, format in FORMATS.items():
        _, *arguments = inspect.signature(format.read).parameters
        lacking = set(arguments) - both - python_only - {"algorithm"}
        assert not lacking, f"{name} has {lacking}"
    readers = list((ROOT / "results").glob("*.py"))
    assert len(readers) > 5
    for path in readers:
        for line, text in texts_of(path):
            named = set(re.findall(r"\b([a-z_]+)=(?=[A-Z]{3}|\d)", text))
            assert named <= both, f"{path.name}:{line} names {named - both}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_in_a_document_is_one_of_the_command_that_it_stands_by(path):
    text = path.read_text("utf-8").replace("\\\n", " ")
    for code in re.findall(r"purejaxppo (\w+[^\n`]*)", text):
        words = code.split(" #")[0].split()
        if words[0] in HAS:
            assert options_in(" ".join(words)) <= HAS[words[0]], code
    everything = set().union(*HAS.values()) | {"version", "extra"}
    for code in re.findall(r"`(--[^`]*)`", text):
        assert options_in(code) <= everything, code


NEWCOMER = [
    ("", "The first word is a command: train, sweep, tune, resume,"),
    ("--verbose", "The first word is a command, not '--verbose': train, sweep,"),
    ("trian x", "Unknown command 'trian'; nearest: train, tune."),
    ("train x --preset", "--preset needs a value; `purejaxppo train --help` describes"),
    ("report x --names", "--names needs a value; `purejaxppo report --help` describes"),
    (
        "evaluate",
        "evaluate needs PATH: The study's directory, which keeps the outcome.",
    ),
    ("export", "export needs PATH: The study's directory."),
    ("play", "play needs PATH: The study's directory, or that of an exported policy."),
    ("resume", "resume needs DIR: The study's directory."),
    ("check", "check needs ENV: Environment, such as CartPole-v1, or your own"),
    ("train x --grid gamma=1", "'--grid' is an option of sweep, not of train."),
    ("report x --metric y", "'--metric' is an option of compare, not of report."),
    (
        "resume x --overwrite",
        "'--overwrite' is an option of train, sweep, evaluate, ex",
    ),
    ("train x --overwrite true", "Unexpected argument 'true'; a switch such as --over"),
    ("train x --kl-stop 0.1", "Expected kl_stop to be true or false (its numbers have"),
    ("train x --anneal-lr 7", "Expected anneal_lr to be true or false, got '7'."),
    ("evaluate nowhere", "Expected a study in nowhere, found none."),
    ("play nowhere", "There is neither a study nor an exported policy in nowhere."),
    ("report nowhere", "There is nothing to read runs from at nowhere."),
    ("report . --format tabel", "Unknown format 'tabel'; nearest: table"),
    ("report . --format table", ". is no table: a file that ends in .csv or .parquet."),
    (
        "report . --format scores",
        ". holds no scores: a file that ends in .json or .npz",
    ),
    (
        "report a --columns Step",
        "--columns takes THEIRS=OURS, such as Step=env_steps, ",
    ),
    (
        "compare a b --names a,,b",
        "--names takes NAME,NAME,..., none of them empty, not",
    ),
]


@pytest.mark.parametrize(
    ("line", "message"), NEWCOMER, ids=[x or "-" for x, _ in NEWCOMER]
)
def test_a_newcomer_reads_one_line(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)
    assert entry_point.main(shlex.split(line)) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith(f"purejaxppo: error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_what_is_trained_of_a_number_of_steps_is_said():
    plain = Config(total_timesteps=1024)
    assert describe_rounding([plain]) == ""
    odd = replace(plain, {"total_timesteps": 1000})
    assert describe_rounding([odd]) == (
        "total_timesteps=1,000 is not a multiple of the batch of 512 (num_envs x "
        "num_steps): each run trains 512 steps, in 1 update."
    )
    # 3 x 128 = 384 steps an update, of which 1024 hold 2.
    assert describe_rounding([plain, replace(plain, {"num_envs": 3})]) == (
        "total_timesteps=1,024 is not a multiple of the batch of 384 (num_envs x "
        "num_steps): each run of such a setting trains 768 steps, in 2 updates."
    )
    assert describe_rounding([odd, replace(odd, {"num_envs": 3})]) == (
        "total_timesteps=1,000 is not a multiple of the batch of 384 to 512 (num_envs "
        "x num_steps): each run trains 512 to 768 steps, in 1 to 2 updates."
    )


@pytest.mark.parametrize("grid", [(), ("--grid", "gamma=0.9,0.99")])
def test_it_is_said_once_and_not_where_nothing_is_trained(
    grid, capsys, tmp_path, monkeypatch
):
    def run(self, *, on_status, **_):
        on_status(Status(1, 0, 1))
        on_status(Status(1, 1, 1, seconds=1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(devices, "use_this_machine", lambda: None)
    monkeypatch.setattr(Study, "run", run)
    output = tmp_path / "my study"
    command = ("sweep" if grid else "train", "CartPole-v1", "--output", str(output))
    steps = ("--total-timesteps", "1000")
    assert entry_point.main((*command, *grid, *steps)) == 130
    shown = capsys.readouterr()
    assert shown.out.count("each run trains 512 steps") == 1
    told = f"Stopped; `purejaxppo resume '{output}'` goes on.\n"
    assert shown.err == told
    assert entry_point.main((*command, *grid, *steps, "--memory-gib", "0")) == 2
    assert capsys.readouterr().out == ""


def test_only_what_can_be_evaluated_is_said_to_be():
    def advice(config, objects=()):
        source = Source(Path("my runs"), [], config, {"objects": list(objects)}, [])
        return with_advice(NO_ROLLOUTS, source).removeprefix(NO_ROLLOUTS)

    assert advice({"env": "x"}) == " `purejaxppo evaluate 'my runs'` makes them."
    assert advice({}) == ""  # A table, say.
    assert advice({"env": "x"}, ["env"]) == ""  # It needs the Python object.


def test_help_is_a_command_too(capsys):
    for arguments in (["help"], ["--help"], ["help", "check"]):
        with pytest.raises(SystemExit) as leave:
            entry_point.main(arguments)
        assert leave.value.code == 0
        assert "purejaxppo" in capsys.readouterr().out
