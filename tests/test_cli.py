"""The command line: what it makes, and one clear line for each bad input."""

import os
import re
import signal
import subprocess
import sys
import typing
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from purejaxppo.cli import devices, entry_point, listing, progress_bars
from purejaxppo.cli import train as train_room
from purejaxppo.config import presets, techniques
from purejaxppo.config.config import SECTIONS, Config, NetworkConfig
from purejaxppo.config.fields import leaves, replace
from purejaxppo.environments.suites import make
from purejaxppo.reliability.dispersion_and_risk import HIGHER_IS_BETTER
from purejaxppo.study import Status, Study
from purejaxppo.study.storage import files

TINY = (
    *("--total-timesteps", "6.4e1", "--num-envs", "2", "--num-steps", "16"),
    *("--network.widths", "8", "--num-minibatches", "2"),
)


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    """Leave the test process's devices and caches as they are."""
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


def fails(capsys, *arguments):
    """The one line that a bad command prints."""
    assert entry_point.main(arguments) == 2
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    assert lines[0].startswith("purejaxppo: error: ")
    return lines[0].removeprefix("purejaxppo: error: ")


def test_the_package_is_a_program():
    command = [sys.executable, "-m", "purejaxppo"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert shown.returncode == 0 and shown.stdout.startswith("purejaxppo 0.")
    wrong = subprocess.run([*command, "trian"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "Unknown command 'trian'" in wrong.stderr


def test_train_leaves_a_study_and_a_report(tmp_path, capsys):
    output = tmp_path / "study"
    options = ("--num-seeds", "4", "--evaluation.every", "2", "--output", str(output))
    assert entry_point.main(("train", "CartPole-v1", *TINY, *options)) == 0
    printed = capsys.readouterr().out
    assert "training return" in printed
    assert "evaluation return" in printed
    assert "CVaR 25 %" in printed
    assert (output / "learning_curve.png").stat().st_size > 5_000
    assert (output / "evaluation_curve.png").stat().st_size > 5_000
    assert "CVaR" in (output / "report.md").read_text()
    job = files.read_job(output / "config.toml")
    assert job.config.network.widths == (8,)
    assert job.config.evaluation is not None
    assert job.config.evaluation.every == 2

    (output / "learning_curve.png").unlink()
    assert entry_point.main(("report", str(output), "--alpha", "0.5")) == 0
    assert "CVaR 50 %" in capsys.readouterr().out
    assert (output / "learning_curve.png").exists()

    again = tmp_path / "again"
    config = ("--config", str(output / "config.toml"), "--output", str(again))
    assert entry_point.main(("train", *config)) == 0
    assert files.read_results(again).identical(files.read_results(output))
    assert (again / "config.toml").read_text() == (output / "config.toml").read_text()

    assert "Expected output to hold no study" in fails(capsys, "train", *config)
    assert entry_point.main(("train", *config, "--overwrite")) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CartPol-v1",), "Unknown environment 'CartPol-v1'; nearest: CartPole-v1"),
        (("gymnas/CartPole-v1",), "Unknown suite 'gymnas'"),
        ((), "Expected an environment"),
        (("CartPole-v1", "--learning-rat", "1"), "nearest: learning_rate"),
        (("CartPole-v1", "--lr", "1"), "Unknown option '--lr'; nearest: learning_rate"),
        (("CartPole-v1", "extra"), "Unexpected argument 'extra'"),
        (("CartPole-v1", "--gamma", "2"), "Expected gamma to be in [0, 1], got 2.0."),
        (("CartPole-v1", "--gamma", "x"), "Expected gamma to be FLOAT, got 'x'."),
        (("CartPole-v1", "--gamma", "nan"), "Expected gamma to be finite, got nan."),
        (("CartPole-v1", "--num-envs", "1.5"), "num_envs to be INT, got '1.5'."),
        (("CartPole-v1", "--num-minibatches", "3"), "num_minibatches to divide"),
        (("CartPole-v1", "--total-timesteps", "9"), "to be at least one batch"),
        (("CartPole-v1", "--num-seeds", "0"), "Expected num_seeds to be in"),
        (("CartPole-v1", "--num-seeds", "many"), "num_seeds to be INT, got 'many'."),
        (("CartPole-v1", "--memory-gib", "x"), "memory_gib to be FLOAT, got 'x'."),
        (("CartPole-v1", "--chunk-size", "0"), "Expected chunk_size to be > 0, got 0."),
        (("CartPole-v1", "--checkpoint-minutes", "-1"), "Expected checkpoint_minutes"),
        (("CartPole-v1", *("--log", "csv") * 2), "each logger once, got csv 2 times."),
        (("CartPole-v1", "--alpha", "0.9"), "Expected alpha to be in (0, 0.5]"),
        (("CartPole-v1", "--anneal-lr", "7"), "Expected anneal_lr to be true or"),
        (("CartPole-v1", "--network.widths", "a"), "Expected network.widths to be"),
        (
            ("CartPole-v1", "--network.activation", "sin"),
            "Expected network.activation to be one of tanh",
        ),
        (("CartPole-v1", "--evaluation.every", "0"), "evaluation.every to be > 0"),
        (("--config", "nowhere.toml"), "Expected a config file at nowhere.toml"),
        (("CartPole-v1", "--output", "/dev/null/study"), "to be writable"),
        (("CartPole-v1", "--output", "/dev/null"), "to be a directory, got a file."),
        (("--config", "/dev"), "--config to be a file, got the directory /dev."),
        (("nowhere:Walk",), "Expected a module nowhere, found none."),
        (("nowhere.py:Walk",), "Expected a file at nowhere.py, found none."),
        (("envs.probes:Cat",), "Expected envs.probes to have 'Cat', found none;"),
        (("envs.probes:Clock",), "got a class that needs time."),
        (("envs.probes:NoParams",), "got NoParams, which lacks default_params, reset"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "train", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bogus = 1", "Unknown key 'bogus'"),
        ("[config]\ngama = 0.9", "Unknown config field 'gama'; nearest: gamma"),
        ("[config.network]\nwidth = [8]", "nearest: network.widths"),
        ("[config]\ngamma = 7", "Expected gamma to be in [0, 1], got 7.0."),
        ('[config]\ngamma = "high"', "Expected gamma to be float, got 'high'."),
        ("[config", "to be TOML"),
        ("num_seeds = 'many'", "num_seeds='many' is not a whole number"),
    ],
)
def test_bad_config_file_is_one_line(text, message, capsys, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    error = fails(capsys, "train", "CartPole-v1", "--config", str(path))
    assert message in error


@pytest.mark.parametrize("option", ["--learning-rate", "--num-seeds=3", "--grid"])
def test_what_a_study_trains_is_not_changed_on_the_way(option, capsys):
    assert fails(capsys, "resume", "here", option, "1") == (
        f"Unknown option {option!r}; resume cannot change what a study trains. "
        "`purejaxppo train --config DIR/config.toml --output NEW` trains a changed "
        "copy."
    )
    assert "nearest: chunk_size" in fails(capsys, "resume", "here", "--chunk", "1")


def test_a_warning_is_shown_once(capsys):
    with progress_bars.shown_warnings(Console()):
        warnings.simplefilter("always")
        for place in "abb":
            warnings.warn_explicit("One.", UserWarning, place, 1)
        warnings.warn("Two.", stacklevel=1)
    assert capsys.readouterr().out == "Warning: One.\nWarning: Two.\n"


def test_unknown_command_and_missing_study(capsys, tmp_path):
    assert "Unknown command 'trian'; nearest: train" in fails(capsys, "trian")
    assert "a folder of no known format" in fails(capsys, "report", str(tmp_path))


def numbers_and_choices():
    """Command lines, each with an option that is a number or a choice, and its name."""
    for command, (kind, _) in entry_point.COMMANDS.items():
        for option, hint in typing.get_type_hints(kind).items():
            options = {*typing.get_args(hint), hint}
            choices = {typing.get_origin(one) for one in options}
            if command != "list" and (
                options & {int, float} or typing.Literal in choices
            ):
                yield f"{command} x --{option.replace('_', '-')}", option


@pytest.mark.parametrize(
    ("line", "option"),
    [*numbers_and_choices(), ("list", "what")],
)
def test_each_bad_number_or_choice_is_one_line(line, option, capsys, monkeypatch):
    monkeypatch.setattr(
        entry_point, "with_fields", lambda kind: kind
    )  # It takes its time.
    told = fails(capsys, *line.split(), "many")
    assert re.fullmatch(f"Expected {option} to be .*, got 'many'.", told)


def test_numbers_and_choices_are_read_by_their_kind():
    given = "--rollouts greedy --alpha 1e-1 --resamples 4e1 --target 3"
    command = entry_point.parse_command(("report", "x", *given.split()))
    found = command.rollouts, command.alpha, command.resamples, command.target
    assert found == ("greedy", 0.1, 40, "3")
    assert entry_point.parse_command(("tune", "x", "--rungs", "2")).num_rungs == 2
    given = "--memory-gib none --log csv --log a,b"
    command = entry_point.parse_command(("train", "x", *given.split()))
    assert (command.memory_gib, command.log) == (None, ("csv", "a,b"))


@pytest.mark.parametrize("word", ["off", "none"])
def test_what_is_none_by_default_can_be_said_to_be_so(word):
    """Of each command, the options whose help text says `(default: none)`."""
    for name, (kind, _) in entry_point.COMMANDS.items():
        hints = typing.get_type_hints(kind, include_extras=True)
        off = [
            option
            for option, hint in hints.items()
            if "(default: none)" in str(getattr(hint, "__metadata__", ""))
        ]
        given = (f"--{option.replace('_', '-')} {word}" for option in off)
        first = () if name == "list" else ("x",)
        command = entry_point.parse_command((name, *first, *" ".join(given).split()))
        assert not any(getattr(command, option) for option in off)
    sweep = entry_point.parse_command(
        ("sweep", "x", "--grid", word, "--grid", "gamma=0.9")
    )
    assert sweep.grid == ("gamma=0.9",)


def test_a_failure_is_one_line_too(capsys, monkeypatch):
    def fail(command):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(entry_point.COMMANDS, "list", (listing.List, fail))
    assert entry_point.main(["list"]) == 1
    assert capsys.readouterr().err == "purejaxppo: error: first line\n"


def asked(*arguments):
    """The study that a command line asks for."""
    command = entry_point.parse_command(("train", *arguments))
    assert isinstance(command, train_room.Train)
    return train_room.make_study(command)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (
            "--advantage n_step --advantage.n 3",
            {"advantage": techniques.NStep(3)},
        ),
        ("--kl-stop.target .02", {"kl_stop": techniques.KLStop(target=0.02)}),
        ("--trpo true --clip-eps none", {"trpo": techniques.TRPO(), "clip_eps": None}),
        (
            "--network.sigma state_sigma --network.sigma.high 1",
            {"network": NetworkConfig(sigma=techniques.StateSigma(high=1.0))},
        ),
        (
            "--ent-schedule.times 0,.5,1 --ent-schedule.factors 1,.1,0",
            {"ent_schedule": techniques.Piecewise((0.0, 0.5, 1.0), (1.0, 0.1, 0.0))},
        ),
        ("--truncation none --shuffle none", {"truncation": "none", "shuffle": "none"}),
    ],
)
def test_techniques_are_options(options, changes):
    assert asked("CartPole-v1", *options.split()).config == Config(**changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--advantage nstep", "Expected advantage to be one of one_step, n_step"),
        ("--advantage.baseline value", "Expected advantage to be given, as one of"),
        ("--advantage one_step --advantage.n 3", "'advantage.n' of one_step"),
        ("--advantage.m 3", "Unknown option '--advantage.m'; nearest: advantage"),
        ("--trpo true", "Expected at most one of trpo and clip_eps, got both;"),
        ("--kl-penalty.target none", "kl_penalty.target to be given if adaptive"),
        ("--kl-penalty.coef -1", "Expected kl_penalty.coef to be >= 0, got -1.0."),
        ("--dual-clip 3 --clip-eps none", "dual_clip only together with clip_eps"),
        ("--network.sigma.value 0", "network.sigma.value to be > 0, got 0.0."),
        ("--ent-schedule.times 0,a", "ent_schedule.times to be FLOAT,..., got '0,a'."),
        ("--preset sb4", "Unknown preset 'sb4'; nearest: sb3"),
        ("--preset trpo --clip-eps .2", "at most one of trpo and clip_eps, got both;"),
        ("--preset sb3 --config x.toml", "at most one of --preset and --config"),
    ],
)
def test_contradictions_are_one_line(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "train", "CartPole-v1", *options.split())
    assert list(tmp_path.iterdir()) == []


def test_presets_take_options_on_top():
    study = asked("CartPole-v1", "--preset", "sb3", "--gamma", ".9", "--num-seeds", "2")
    assert study.config == replace(presets.sb3(), {"gamma": 0.9})
    assert (study.env, study.num_seeds) == ("CartPole-v1", 2)
    off = asked("Pendulum-v1", "--preset", "ppo2_mujoco", "--normalize-reward", "none")
    assert off.config == replace(presets.ppo2_mujoco(), {"normalize_reward": None})
    resumed = ("--preset", "sb3", "--resume", "--output", "nowhere")
    assert asked("CartPole-v1", *resumed).config == presets.sb3()


def test_a_preset_is_trained_and_kept(tmp_path, capsys):
    output = tmp_path / "study"
    options = ("--preset", "dppo_morvan", "--total-timesteps", "128")
    assert (
        entry_point.main(("train", "Pendulum-v1", *options, "--output", str(output)))
        == 0
    )
    assert "training return" in capsys.readouterr().out
    kept = files.read_job(output / "config.toml").config
    assert kept == replace(presets.dppo_morvan(), {"total_timesteps": 128})
    finite = files.read_results(output)["finite"]
    assert finite.shape == (1, 2) and finite.all()


def help_sections(text):
    """Title of each box of a help text -> its options, in their order."""
    sections, options = {}, []
    for line in text.splitlines():
        line = line.strip(" ╭─╮│")  # Boxes are blank where the output is no UTF-8.
        if line == "positional arguments" or line.split()[-1:] == ["options"]:
            options = sections.setdefault(line, [])
        elif option := re.match(r"--(\w[\w.-]*)", line):
            options.append(option[1].replace("-", "_"))
    return sections


def test_help_has_common_fields_first_and_each_field_in_its_section(
    capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as leave:
        entry_point.main(["train", "--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    sections = help_sections(text)
    titles = [f"{title} options" for title in SECTIONS]
    assert list(sections) == ["positional arguments", "options", *titles]
    names = [leaf.name for leaf in leaves(Config) if leaf.name != "network"]
    for title, heads in SECTIONS.items():
        own = [name for name in names if name.split(".")[0] in heads]
        assert sorted(sections[f"{title} options"]) == sorted(own)
        names = [name for name in names if name not in own]
    assert sections["options"][-len(names) :] == names
    assert names[:4] == ["total_timesteps", "num_envs", "num_steps", "num_epochs"]
    assert len(names) < 20 and not any("." in name for name in names)
    assert "--advantage one_step|n_step|reward_to_go|episode_return|none" in text
    assert "--network.sigma fixed_sigma|scheduled_sigma|state_sigma|none" in text
    assert "(scheduled_sigma; default: 0.6)" in text
    assert "--kl-stop BOOL" in text


def test_sections_hold_fields_that_there_are_and_each_once():
    heads = [head for heads in SECTIONS.values() for head in heads]
    assert len(set(heads)) == len(heads)
    assert set(heads) <= {leaf.name for leaf in leaves(Config)}


def test_list_presets_names_each_with_what_it_is(capsys):
    assert entry_point.main(["list", "presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(presets.PRESETS)
    assert "sb3                  Stable-Baselines3's PPO with its defaults." in lines


def test_list_definitions_says_what_every_number_is(capsys):
    assert entry_point.main(["list", "definitions"]) == 0
    text = capsys.readouterr().out
    names = {*re.findall(r"(?m)^(\S[^:]*):", text)}
    assert {"IQM", "CVaR 25 %", "curve range", "interval", "p value"} <= names
    cells = {name.replace("_term", "-term") for name in HIGHER_IS_BETTER}
    assert {name.replace("_", " ") for name in cells} <= names
    assert max(map(len, text.splitlines())) <= 88
    assert "95th percentile of its observations less the first" in " ".join(
        text.split()
    )


def test_version(capsys):
    assert entry_point.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("purejaxppo 0.1.0")


def test_list_names_every_environment(capsys):
    assert entry_point.main(["list"]) == 0
    *names, own = capsys.readouterr().out.splitlines()
    assert len(names) == 26
    assert "gymnax/CartPole-v1" in names
    assert own == "Your own: module:Object, or path/to/file.py:Object"


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("gymnax/CartPole-v1", "gymnax-CartPole-v1"),
        ("envs.moving:Moving", "envs.moving-Moving"),
        ("envs/moving.py:Moving", "envs-moving.py-Moving"),
        ("../my envs/a.py:B", "my-envs-a.py-B"),
        ("/home/me/a.py:B", "home-me-a.py-B"),
    ],
)
def test_the_default_output_is_one_folder(env, folder):
    assert asked(env).output == Path("runs") / folder
    assert asked(env).env == env


OWN = """
import jax.numpy as jnp
from envs.probes import Counting, CountingParams

LENGTH = int(jnp.int32(3))  # As many do: JAX has started when this is imported.


def make():
    return Counting(), CountingParams(LENGTH)
"""


def test_an_environment_in_a_file_is_trained_resumed_and_reported(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "walk.py").write_text(OWN)
    env, output = "own/walk.py:make", Path("runs/own-walk.py-make")
    imported = []

    def note_imports():
        imported.append(any(name.startswith("walk_") for name in sys.modules))

    def interrupt(self, status):
        if status.update:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(devices, "use_this_machine", note_imports)
    longer = ("--total-timesteps", "384", *TINY[2:])
    with monkeypatch.context() as patch:
        patch.setattr(progress_bars.StudyProgress, "show", interrupt)
        assert entry_point.main(("train", env, *longer)) == 130
        assert imported == [False]  # The user's module may start JAX.
        assert entry_point.main(("resume", str(output))) == 130
    told = capsys.readouterr().out
    assert told.count(f" updates; `purejaxppo resume {output}` goes on.\n") == 2
    partly = f"Incomplete: the study in {output} stopped after "
    assert told.count(f"Warning: {partly}") == 2
    assert partly in (output / "report.md").read_text()
    assert entry_point.main(("report", str(output))) == 0
    assert f"Warning: {partly}" in " ".join(capsys.readouterr().out.split())
    assert 0 < files.read_results(output).sizes["update"] < 12
    assert files.read_job(output / "config.toml").env == env
    assert entry_point.main(("train", "--resume", "--output", str(output))) == 0
    results = files.read_results(output)
    assert results.sizes["update"] == 12 and results.attrs["env"] == env
    # Episodes of 3 steps, as the pair's parameters say, with rewards 1, 2, 3.
    assert (results["episode_return"] == 6).all()
    capsys.readouterr()
    assert entry_point.main(("report", str(output))) == 0
    assert "training return" in capsys.readouterr().out
    config = ("--config", str(output / "config.toml"), "--output", "again")
    assert entry_point.main(("train", *config)) == 0
    assert files.read_results(Path("again")).identical(results)


STOPPED = """
import gc, os, signal, sys
from purejaxppo.cli import entry_point as cli
from purejaxppo.study import study as running

def lose(*_):
    gc.callbacks.remove(lose)
    os.kill(os.getpid(), signal.SIGINT)

def plan(*_, **__):
    gc.callbacks.append(lose)  # As XLA's, out of which no exception comes.
    gc.collect()
    while True:
        pass

running.Work._plan = plan
cli.program()
"""


def test_what_is_stopped_before_the_training_says_so_and_leaves_nothing(tmp_path):
    code = [sys.executable, "-c", STOPPED, "train", "CartPole-v1", *TINY]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}
    shown = subprocess.run(
        code, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert shown.stderr == "Stopped before the training began.\n"
    assert shown.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def run(self, *, on_status, **_):
        on_status(Status(1, 3, 9, seconds=1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "run", run)
    output = tmp_path / "study"
    assert (
        entry_point.main(("train", "CartPole-v1", *TINY, "--output", str(output)))
        == 130
    )
    told = f"Stopped; `purejaxppo resume {output}` goes on.\n"
    assert capsys.readouterr().err == told


def test_what_else_is_stopped_says_so(capsys, monkeypatch):
    def stop(command):
        raise KeyboardInterrupt

    monkeypatch.setitem(entry_point.COMMANDS, "list", (listing.List, stop))
    assert entry_point.main(["list"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


CHECK = ("--num-envs", "2", "--num-steps", "8")


def test_check_prints_a_table_of_what_passes(capsys, monkeypatch):
    made = []
    monkeypatch.setattr(listing, "make", lambda env: made.append(env) or make(env))
    monkeypatch.setattr(devices, "use_this_machine", lambda: made.append("machine"))
    assert entry_point.main(("check", "envs.probes:Cut", *CHECK)) == 0
    printed = capsys.readouterr().out
    assert "envs.probes:Cut" in printed and "2 environments x 8 steps" in printed
    assert printed.count(" pass ") == 17
    assert "FAIL" not in printed and "not run" not in printed
    assert made == ["machine", "envs.probes:Cut"]


def test_check_shows_what_fails_and_what_was_not_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "walk.py").write_text(
        "from envs.probes import Cut\n"
        "class Walk(Cut):\n"
        "    def step(self, key, state, action, params):\n"
        "        return super().step(key, state, action, params)[:4]\n"
    )
    assert entry_point.main(("check", f"{tmp_path}/walk.py:Walk", *CHECK)) == 1
    printed = capsys.readouterr().out
    told = " ".join(printed.split())
    assert "step returns a tuple of 4; it must return a purejaxppo.Step" in told
    assert (printed.count(" pass "), printed.count(" FAIL ")) == (3, 1)
    assert printed.count(" not run ") >= 13


def test_check_of_what_there_is_not_is_one_line(capsys):
    assert "Unknown environment 'CartPol-v1'" in fails(capsys, "check", "CartPol-v1")
    wrong = fails(capsys, "check", "CartPole-v1", "--num-steps", "0")
    assert wrong == "Expected num_steps to be > 0, got 0."


def test_the_command_makes_every_core_a_device(tmp_path):
    code = (
        "from purejaxppo.cli.devices import use_this_machine; use_this_machine();"
        "import jax, os;"
        "assert jax.device_count() == len(os.sched_getaffinity(0));"
        "assert jax.config.jax_compilation_cache_dir.endswith('purejaxppo/xla');"
        "import gc; assert gc.get_freeze_count() > 100_000"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
