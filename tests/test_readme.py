"""Everything that the README shows runs, and everything that it names exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from purejaxppo import Metrics
from purejaxppo.cli import entry_point
from purejaxppo.config.config import Config
from purejaxppo.config.fields import leaves
from tests import children

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

# Budgets as the README has them -> as they are run here. Each must occur.
SMALLER = {
    r"--total-timesteps \S+": "--total-timesteps 2048",
    r"--num-seeds \d+": "--num-seeds 4",
    r"log\(1e-4,1e-2,4\)": "log(1e-4,1e-2,2)",
    r"--evaluation\.every 20": "--evaluation.every 2",
    r"--episodes \d+": "--episodes 10",
    r"--num-envs \d\d": "--num-envs 8",
    r"total_timesteps=500_000": "total_timesteps=1024",
    r"jax\.random\.key\(0\), 64": "jax.random.key(0), 4",
    r"jax\.random\.key\(0\), 32": "jax.random.key(0), 2",
    r"num_episodes=100": "num_episodes=2",
    r"init_memory\(100\)": "init_memory(2)",
    r"num_seeds=8": "num_seeds=2",
    # What would reach for the network, or build for minutes.
    r"pip install \.": (
        f"pip install --dry-run --quiet --no-deps --no-build-isolation {ROOT}"
    ),
    r"(?m)^make ": f"make --dry-run --directory {ROOT} ",
}


class Block(NamedTuple):
    language: str
    line: int
    code: str


def blocks(text):
    """Fenced blocks of a Markdown file; `line` is that of the first line of code."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text[: found.start(2)].count("\n") + 1
        yield Block(found[1], line, found[2])


def small(code):
    for pattern, replacement in SMALLER.items():
        code = re.sub(pattern, lambda _, text=replacement: text, code)
    return code


def run_shell(block, name, directory):
    """Run the block's commands, and stop at a failure.

    Those of `purejaxppo` run in this process: to import it anew takes seconds each.
    """
    for command in small(block.code).replace("\\\n", " ").splitlines():
        words = shlex.split(command, comments=True)
        if words and words[0] == "purejaxppo":
            code = entry_point.main(words[1:])
            assert code == 0, f"{name}:{block.line} failed: {command}"
        elif words:
            run_in_bash(command, f"{name}:{block.line}", directory)


def run_in_bash(command, where, directory):
    """Run a command with this interpreter's programs first."""
    binaries = Path(sys.executable).parent
    # The device count of the tests is not the commands': they choose it themselves.
    environment = children.environment(
        PATH=f"{binaries}{os.pathsep}{os.environ['PATH']}",
        JAX_COMPILATION_CACHE_DIR=jax.config.values["jax_compilation_cache_dir"],
    )
    script = f"set -euo pipefail\n{command}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    output = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{where} failed:\n{script}\n{output}"


def run_python(block, name, namespace):
    """Run the block, and train if it made a `train`.

    A traceback shows the README's own line numbers.
    """
    before = namespace.get("train")
    code = "\n" * (block.line - 1) + small(block.code)
    exec(compile(code, name, "exec"), namespace)
    train = namespace.get("train")
    if train is not before:
        assert train is not None
        result = jax.jit(train)(jax.random.key(0))
        assert result.metrics.finite.all(), f"{name}:{block.line} trains to NaN"


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch):
    """In the order of the page: what the commands leave is what the code opens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "envs").symlink_to(ROOT / "envs")  # As in a checkout.
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in blocks(README):
        if block.language == "shell":
            run_shell(block, "README.md", tmp_path)
        elif block.language == "python":
            run_python(block, "README.md", namespace)
        else:
            assert block.language == "", f"README.md:{block.line}: who runs this?"
    assert namespace["result"].metrics.episode_return.shape == (4, 2)
    assert (tmp_path / "runs/cartpole/report.md").exists()
    assert (tmp_path / "runs/faster/report.md").exists()

    from matplotlib import pyplot

    pyplot.close("all")


def test_every_command_of_contributing_exists(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    commands = [block for block in blocks(text) if block.language == "shell"]
    assert commands
    for block in commands:
        run_shell(block, "CONTRIBUTING.md", tmp_path)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_exists(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(
        r"(?m)^make (\w+)|`make (\w+)`", (ROOT / name).read_text()
    ):
        assert re.search(rf"(?m)^{''.join(target)}:", makefile), target


def test_every_failure_is_seen(tmp_path):
    with pytest.raises(AssertionError, match=r"README\.md:7 failed"):
        run_shell(Block("shell", 7, "false | true\n"), "README.md", tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_python(Block("python", 7, "1 / 0\n"), "README.md", {})


def test_every_budget_is_made_smaller():
    code = "".join(b.code for b in [*blocks(README), Block("shell", 1, "make test")])
    for pattern in SMALLER:
        assert re.search(pattern, code), f"{pattern} occurs no more"
    # Nothing of the size of a real run is left, but for settings of the algorithm.
    assert not re.search(r"\d{5}|\d_000", small(code).replace(str(ROOT), ""))


def test_every_link_leads_somewhere():
    headings = re.findall(r"(?m)^#+ (.+)$", README)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_every_field_of_the_table_exists():
    """The first column of "Coming from ..." names fields, as long as they last."""
    table = README.split("## Coming from")[1].split("\n## ")[0]
    cells = re.findall(r"(?m)^\| (`[^|]*) \|", table)
    known = {leaf.name for leaf in leaves(Config)}
    named = {n for cell in cells for n in re.findall(r"`([a-z_.]+)`", cell)}
    named -= {".activation", ".metrics", "result.state"}
    assert len(named) > 15
    assert named <= known


def test_every_metric_is_named():
    assert {name for name in Metrics._fields if f"`{name}`" not in README} == set()


def test_the_table_is_where_it_can_be_renewed():
    assert README.count("<!-- table:begin -->") == 1
    table = README.split("<!-- table:begin -->")[1].split("<!-- table:end -->")[0]
    assert "| IQM |" in table
    assert "| CVaR 25 % |" in table


def test_every_option_of_the_commands_is_an_option():
    """Also where a command is only mentioned in a sentence."""
    prose = re.sub(r"(?ms)^```.*?^```$", "", README)
    known = {f"--{leaf.name.replace('_', '-')}" for leaf in leaves(Config)}
    known |= {"--alpha", "--config", "--output", "--resume", "--overwrite", "--help"}
    known |= {"--num-seeds", "--seed", "--preset", "--dry-run", "--log", "--objective"}
    known |= {"--columns", "--task", "--names", "--format", "--baseline", "--target"}
    known |= {"--trust-code"}
    for code in re.findall(r"`([^`]*)`", prose):
        options = [word for word in shlex.split(code) if word.startswith("--")]
        assert set(options) <= known
