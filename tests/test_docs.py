"""What docs/studies.md shows is understood; what it trains, other tests train."""

import re
import shlex
from pathlib import Path

from purejaxppo.cli import entry_point
from purejaxppo.cli.train import Resume, Sweep, make_study
from purejaxppo.study import Study
from purejaxppo.study.storage import files

PAGE = Path(__file__).parents[1] / "docs" / "studies.md"
BLOCKS = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", PAGE.read_text())


def of(language):
    return [code for kind, code in BLOCKS if kind == language]


def test_python_makes_the_studies():
    names = {}
    for code in of("python"):
        exec(compile(code, str(PAGE), "exec"), names)
    study = names["study"]
    assert study.num_runs == 4 * 2 * 2 * 2 * 8
    assert [group.name for group in study.groups] == ["num_envs=4", "num_envs=8"]
    assert set(study.groups[0].values) == {
        "learning_rate",
        "clip_eps",
        "env.gravity",
    }
    assert len(names["other"]) == 4


def test_commands_are_understood():
    commands = " ".join(of("shell")).replace("\\\n", " ").splitlines()
    kinds = []
    for line in filter(str.strip, commands):
        program, *arguments = shlex.split(line)
        assert program == "purejaxppo"
        command = entry_point.parse_command(arguments)
        kinds.append(type(command).__name__)
        if isinstance(command, Sweep):
            assert make_study(command).num_runs == 64
        else:
            assert isinstance(command, Resume)
    assert kinds == ["Sweep", "Sweep", "Resume"]


def test_the_file_is_read(tmp_path):
    (code,) = of("toml")
    (tmp_path / "sweep.toml").write_text(code)
    job = files.read_job(tmp_path / "sweep.toml")
    study = Study(job.config, job.env, job.num_seeds, grid=job.settings)
    assert study.num_runs == 4 * 2 * 2 * 8
    assert len(study.groups) == 4


def test_every_option_that_is_named_exists():
    for text in re.findall(r"`(--[a-z-]+)", PAGE.read_text()):
        name = text.removeprefix("--").replace("-", "_")
        known = {"config"} | set(
            vars(entry_point.parse_command(["sweep", "CartPole-v1"]))
        )
        assert name in known, text
