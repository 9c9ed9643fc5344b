"""Code that a study, or a config file, names: whose it is, and when it is imported."""

import shutil
import sys

import pytest

from purejaxppo.cli import devices, entry_point
from purejaxppo.study import Study, load
from purejaxppo.study.storage import digests, disk, files
from purejaxppo.study.storage.trust import needs_trust
from tests.conftest import SMALL
from tests.studies import leave_facts

CODE = """
import pathlib
pathlib.Path({ran!r}).touch()
from envs.probes import Match
{rest}
"""


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current directory, and a place outside; modules are forgotten afterwards."""
    before = dict(sys.modules), sys.path[:]
    for name in ("cwd", "outside"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield tmp_path
    for name in set(sys.modules) - set(before[0]):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.path[:] = before[1]


def leave(folder, env):
    """A study's `config.toml` and `environment.json`, which fit."""
    files.write_job(folder, files.Job(env, 1, 0, SMALL))
    leave_facts(folder)


def write_code(path, ran, rest=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CODE.format(ran=str(ran), rest=rest))


# --- Whose it is --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "study", "env", "needed"),
    [
        ("cwd/walk.py", "cwd/runs/walk", "walk.py:Match", False),
        ("cwd/walk.py", "cwd/runs/walk", "./walk.py:Match", False),
        ("cwd/walk.py", "cwd/runs/walk", "walk:Match", False),
        ("cwd/walk.py", "outside/walk", "walk:Match", False),
        ("cwd/mine/walk.py", "cwd/runs/walk", "mine/walk.py:Match", False),
        ("cwd/mine/walk.py", "cwd/runs/walk", "mine.walk:Match", False),
        ("cwd/runs/x/walk.py", "cwd/runs/x", "runs/x/walk.py:Match", True),
        ("cwd/runs/x/walk.py", "cwd/runs/x", "runs.x.walk:Match", True),
        ("cwd/runs/x/deep/walk.py", "cwd/runs/x", "runs/x/deep/walk.py:E", True),
        ("cwd/got/walk.py", "cwd/got/study", "got/walk.py:Match", True),
        ("cwd/got/walk.py", "cwd/got/study", "got.walk:Match", True),
        ("cwd/walk.py", "cwd", "walk.py:Match", True),
        ("outside/walk.py", "cwd/runs/walk", "../outside/walk.py:Match", True),
        ("outside/walk.py", "outside/study", "{outside}/walk.py:Match", True),
        ("cwd/walk.py", "outside/study", "absent.py:Match", False),
        ("cwd/walk.py", "outside/study", "absent:Match", True),
        ("cwd/walk.py", "cwd/runs/walk", "os:getcwd", True),
        ("cwd/walk.py", "cwd/runs/walk", "sys:exit", True),
        ("cwd/walk.py", "cwd/runs/walk", "antigravity:geohash", True),
        ("cwd/walk.py", "cwd/runs/walk", "shutil:rmtree", True),
        ("cwd/walk.py", "cwd/runs/walk", "purejaxppo.cli.entry_point:main", True),
        ("cwd/walk.py", "cwd/runs/walk", "__main__:main", True),
        ("cwd/os.py", "cwd/runs/walk", "os:getcwd", True),
        ("cwd/walk.py", "cwd/runs/walk", "..walk:Match", True),
        ("cwd/walk.py", "cwd/runs/walk", ":Match", True),
        ("cwd/walk.py", "cwd/runs/walk", "CartPole-v1", False),
        ("cwd/walk.py", "cwd/runs/walk", "gymnax/CartPole-v1", False),
    ],
)
def test_code_is_the_users_where_it_lies_in_the_current_directory(
    code, study, env, needed, place
):
    write_code(place / code, place / "ran")
    env = env.format(outside=place / "outside")
    leave(place / study, env)
    path, modules = sys.path[:], set(sys.modules)
    assert needs_trust(env, place / study / "config.toml") == needed
    assert not (place / "ran").exists()
    assert sys.path == path and "antigravity" not in set(sys.modules) - modules


@pytest.mark.parametrize("linked", ["walk.py", "mine", "mine/walk.py"])
@pytest.mark.parametrize("env", ["{}:Match", "{module}:Match"])
def test_a_link_that_leads_out_of_the_current_directory_is_not_in_it(
    linked, env, place
):
    write_code(place / "outside" / "walk.py", place / "ran")
    link = place / "cwd" / linked
    link.parent.mkdir(exist_ok=True)
    there = place / "outside"
    link.symlink_to(there if linked == "mine" else there / "walk.py")
    file = "walk.py" if linked == "walk.py" else "mine/walk.py"
    module = file.removesuffix(".py").replace("/", ".")
    env = env.format(file, module=module)
    leave(place / "cwd" / "runs", env)
    assert needs_trust(env, place / "cwd" / "runs" / "config.toml")


def test_a_config_that_is_a_link_does_not_hide_where_the_code_is_from(place):
    write_code(place / "cwd" / "got" / "walk.py", place / "ran")
    leave(place / "outside" / "study", "got/walk.py:Match")
    (place / "cwd" / "got" / "mine.toml").symlink_to("../../outside/study/config.toml")
    assert needs_trust("got/walk.py:Match", place / "cwd" / "got" / "mine.toml")


def test_a_config_file_of_ones_own_may_lie_beside_the_code(place):
    """That of a study may not: whoever made the study may have put the code there."""
    write_code(place / "cwd" / "walk.py", place / "ran")
    (place / "cwd" / "mine.toml").write_text('env = "walk.py:Match"\n')
    assert not needs_trust("walk.py:Match", place / "cwd" / "mine.toml")


# --- When it is imported ------------------------------------------------------------


@pytest.fixture
def strange(small_study, place):
    """A study from elsewhere that names code beside its config, digest and all."""
    folder = shutil.copytree(small_study, place / "cwd" / "got")
    write_code(folder / "strange.py", place / "ran", "raise ValueError('Enough')")
    job = files.read_job(folder / "config.toml")
    files.write_job(folder, job._replace(env="got/strange.py:Match"))
    facts = files.read_environment(folder)
    facts |= {"config": digests.digest(folder / "config.toml"), "status": "incomplete"}
    disk.write_json(folder / "environment.json", facts)
    return folder


FEW = "--rungs", "1", "--objective", "mean", "--confirm-seeds", "0"
COMMANDS = {
    "evaluate": ("got", "--episodes", "2", "--overwrite"),
    "export": ("got",),
    "play": ("got",),
    "resume": ("got",),
    "train": ("--config", "got/config.toml", "--output", "new"),
    "sweep": ("--config", "got/config.toml", "--grid", "gamma=0.9", "--output", "new"),
    "tune": ("--config", "got/config.toml", "--output", "new", *FEW),
}


def told_of(capfd, *arguments):
    code = entry_point.main(arguments)
    return code, capfd.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_code_of_others_is_named_and_not_run(command, strange, place, capfd):
    before = sorted(place.rglob("*"))
    code, told = told_of(capfd, command, *COMMANDS[command])
    assert code == 2 and len(told) == 1
    assert "got/strange.py:Match" in told[0] and "--trust-code" in told[0]
    assert not (place / "ran").exists() and sorted(place.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_code_that_is_trusted_is_imported(command, strange, place, capfd):
    code, told = told_of(capfd, command, *COMMANDS[command], "--trust-code")
    assert code == 2 and len(told) == 1 and "Enough" in told[0]
    assert (place / "ran").exists()


def test_an_environment_that_the_user_names_is_imported(strange, place, capfd):
    config = "--config", "got/config.toml", "--output", "new"
    _, told = told_of(capfd, "train", "got/strange.py:Match", *config)
    assert "Enough" in told[0] and (place / "ran").exists()


def test_python_asks_as_the_command_line_does(strange, place):
    with pytest.raises(ValueError, match="trust_code=True"):
        load("got")
    assert not (place / "ran").exists()
    with pytest.raises(ValueError, match="Enough"):
        load("got", trust_code=True)
    assert (place / "ran").exists()


def test_a_study_of_ones_own_needs_nothing(place):
    """Trained and loaded in one process, its environment in the current directory."""
    write_code(place / "cwd" / "walk.py", place / "ran")
    study = Study(SMALL, "walk.py:Match", 1, output="runs/walk")
    study.run()
    assert load("runs/walk").study.env == "walk.py:Match"


def test_a_digest_that_is_missing_is_damage(strange, capfd):
    facts = disk.read_json(strange / "environment.json")
    del facts["config"]
    disk.write_json(strange / "environment.json", facts)
    code, told = told_of(capfd, "report", "got")
    assert code == 2 and "environment.json" in told[0] and "config" in told[0]
