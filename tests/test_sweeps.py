"""Sweeps: a study with a grid from the command line to the table, and back."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray
from rich.console import Console

import purejaxppo as ppo
from envs import probes
from purejaxppo import results
from purejaxppo.cli import devices, entry_point, plan_table
from purejaxppo.cli import train as train_room
from purejaxppo.config.fields import replace
from purejaxppo.config.labels import label
from purejaxppo.reliability import plots
from purejaxppo.reliability.analysis import Plan as Analysis
from purejaxppo.reporting import cautions, sweep_report
from purejaxppo.study import Study, evaluate_study, load, load_run
from purejaxppo.study.execution.chunks import Outcome
from purejaxppo.study.execution.plans import Chunk, Need, Plan
from purejaxppo.study.grids.grids import product, zipped
from purejaxppo.study.results import merge, runs_of_setting
from purejaxppo.study.storage import files
from tests.studies import leave_facts
from tests.techniques import jit

ENV = "envs.probes:Cut"
TINY = ppo.Config(
    total_timesteps=128,
    num_envs=2,
    num_steps=16,
    num_minibatches=2,
    network=ppo.NetworkConfig(widths=(8,)),
)
OPTIONS = (
    *("--total-timesteps", "128", "--num-envs", "2", "--num-minibatches", "2"),
    *("--network.widths", "8"),
)
SHORT = (*OPTIONS, "--num-steps", "16")
GRID = {"gamma": [0.9, 0.99], "num_steps": [16, 32], "env.length": [3, 5]}
SWEPT = ("--grid", "gamma=0.9,0.99", "--grid", "num_steps=16,32")
SWEPT = (*SWEPT, "--grid", "env.length=3,5")


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    """Leave the test process's devices and caches as they are."""
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Eight settings of two runs each, in two groups, evaluated."""
    output = tmp_path_factory.mktemp("sweep") / "cut"
    study = Study(TINY, ENV, 2, seed=5, output=output, grid=GRID)
    dataset = study.run()
    return study, dataset, evaluate_study(output, 3, max_steps=20)


@pytest.fixture
def folder(swept, tmp_path):
    """A copy of its directory."""
    return shutil.copytree(swept[0].output, tmp_path / "cut")


def refused(capsys, *arguments):
    """The one line that a bad command prints."""
    assert entry_point.main(arguments) == 2
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    return lines[0].removeprefix("purejaxppo: error: ")


def printed(capsys, *arguments):
    code = entry_point.main(arguments)
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    return " ".join(output.out.split())


# --- The runs -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 7])
def test_a_sweep_s_runs_are_those_that_they_are_alone(swept, number):
    """Of either group, whose numbers are traced, and of the first and last setting."""
    study, dataset, _ = swept
    setting = product(GRID)[number]
    length = setting.pop("env.length")
    config = replace(TINY, setting)
    train = ppo.make_train(config, probes.Cut(), probes.CountingParams(length))
    alone = jit(jax.vmap(train))(jax.vmap(jax.random.key)(np.asarray([5, 6])))
    found = runs_of_setting(dataset, number)
    assert found.sizes["update"] == config.num_updates
    assert found.seed.values.tolist() == [5, 6]
    for name in ("episode_return", "value_loss", "approx_kl", "grad_norm"):
        np.testing.assert_allclose(
            found[name], getattr(alone.metrics, name), rtol=2e-3, atol=2e-5
        )
    policies = load(study.output, setting=number).policies
    for ours, theirs in zip(
        jax.tree.leaves(policies.params),
        jax.tree.leaves(alone.state.params),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


def test_all_settings_differ(swept):
    _, dataset, _ = swept
    losses = dataset.value_loss.values[:, 1]
    assert len(np.unique(losses.round(7))) == 16


def test_floats_of_the_environment_are_traced():
    """As those of the config: one program, and what each gives alone."""
    grid = {"env.gravity": [9.8, 200.0], "env.max_steps_in_episode": [5, 500]}
    study = Study(TINY, "CartPole-v1", 1, grid=grid)
    [group] = study.groups
    assert set(group.values) == set(grid)
    dataset = study.run()
    [cut, *_] = dataset.episode_length.values
    assert np.nanmax(cut) == 5.0
    env, params = ppo.make("CartPole-v1")
    params = params.replace(gravity=200.0, max_steps_in_episode=500)
    alone = jit(ppo.make_train(TINY, env, params))(jax.random.key(0))
    np.testing.assert_allclose(
        dataset.value_loss[3], alone.metrics.value_loss, rtol=2e-3, atol=2e-5
    )


def test_results_say_which_setting_a_run_has(swept):
    study, dataset, _ = swept
    assert [group.name for group in study.groups] == ["num_steps=16", "num_steps=32"]
    assert dict(dataset.sizes) == {"run": 16, "update": 4}
    assert dataset.setting.values.tolist() == np.repeat(np.arange(8), 2).tolist()
    assert dataset.seed.values.tolist() == [5, 6] * 8
    for name in GRID:
        coordinate = name if name.startswith("env.") else f"config.{name}"
        values = np.repeat([setting[name] for setting in study.settings], 2)
        np.testing.assert_array_equal(dataset[coordinate], values)
    assert dataset.attrs["settings"] == product(GRID)
    assert files.read_results(study.output).identical(dataset)


def test_runs_may_have_updates_of_their_own_number(swept):
    _, dataset, _ = swept
    long = dataset["config.num_steps"].values == 32
    assert dataset.updates.values.tolist() == np.where(long, 2, 4).tolist()
    steps = np.where(long, 64, 32)[:, None] * np.arange(1, 5)
    np.testing.assert_array_equal(dataset.env_steps, steps)
    assert dataset.env_steps.dims == ("run", "update")
    assert np.isnan(dataset.value_loss.values[long, 2:]).all()
    assert not np.isnan(dataset.value_loss.values[~long]).any()
    assert dataset.finite.values.all()
    alone = runs_of_setting(dataset, 2)
    assert alone.env_steps.values.tolist() == [64, 128]
    assert alone.env_steps.dims == ("update",)


def test_values_that_are_no_numbers_are_kept_as_attribute():
    settings = ({"clip_eps": None, "widths": (8, 8)}, {"clip_eps": 0.2, "widths": (8,)})
    columns = {"finite": np.ones((2, 3), bool)}
    parts = [(np.arange(2), Outcome(3, columns, None))]
    dataset = merge(parts, np.zeros(2, int), np.full(2, 8), settings, {"env": "Cut"})
    assert set(dataset.coords) == {"seed", "updates", "env_steps", "setting"}
    assert dataset.attrs["settings"] == [
        {"clip_eps": "none", "widths": [8, 8]},
        {"clip_eps": 0.2, "widths": [8]},
    ]


def test_a_metric_of_some_runs_is_missing_in_others():
    parts = [
        (np.asarray([1]), Outcome(2, {"loss": np.ones((1, 2), np.float32)}, None)),
        (
            np.asarray([0]),
            Outcome(
                1, {"finite": np.ones((1, 1), bool), "n": np.ones((1, 1), int)}, None
            ),
        ),
    ]
    settings = ({"num_envs": 1}, {"num_envs": 2})
    dataset = merge(parts, np.zeros(2, int), np.asarray([4, 8]), settings, {})
    np.testing.assert_array_equal(dataset.loss, [[np.nan] * 2, [1, 1]])
    assert dataset.finite.values.tolist() == [[True, True], [True, True]]
    assert dataset.n.values.tolist() == [[1, 0], [0, 0]]
    assert dataset.env_steps.values.tolist() == [[4, 8], [8, 16]]


# --- The directory ------------------------------------------------------------------


def test_the_config_file_makes_the_same_study(swept):
    study, _, _ = swept
    job = files.read_job(study.output / "config.toml")
    assert job == study.job
    again = Study(job.config, job.env, job.num_seeds, job.seed, grid=job.settings)
    assert again.settings == study.settings
    assert again.job == study.job


def test_every_kind_of_value_comes_back(tmp_path):
    settings = zipped(
        {
            "clip_eps": [None, 0.2],
            "network.widths": [(8,), (8, 8)],
            "network.activation": ["tanh", "relu"],
            "anneal_lr": [True, False],
            "normalize_observation": [None, True],
            "truncation": ["none", "final_obs"],
        }
    )
    study = Study(TINY, ENV, 1, output=tmp_path, grid=settings)
    files.write_job(tmp_path, study.job)
    job = files.read_job(tmp_path / "config.toml")
    again = Study(job.config, job.env, 1, output=tmp_path, grid=job.settings)
    assert again.job == study.job
    assert again.variants == study.variants
    assert [len(group.runs) for group in again.groups] == [1, 1]
    assert list(map(label, again.settings)) == list(map(label, study.settings))


def test_a_setting_is_loaded_alone(swept):
    study, _, _ = swept
    loaded = load(study.output, setting=3)
    assert loaded.study.config == replace(TINY, {"gamma": 0.9, "num_steps": 32})
    assert loaded.study.grid is None
    assert loaded.env_params == probes.CountingParams(5)
    assert (loaded.setting, loaded.updates) == (3, 2)
    first, row = load_run(study.output, 6)
    assert (first.setting, row) == (3, 0)
    last, row = load_run(study.output, 15)
    assert (last.setting, row) == (7, 1)
    two = (first.policies.params, last.policies.params)
    kernels = np.concatenate([jax.tree.leaves(x)[1] for x in two])
    assert len(np.unique(kernels, axis=0)) == 4


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (
            load,
            "Expected setting to say which one of 8 is meant, 0 to 7, got none.",
        ),
        (
            lambda path: load(path, setting=8),
            "Expected setting to be in [0, 8), got 8.",
        ),
        (lambda path: load_run(path, 16), "Expected run to be in [0, 16), got 16."),
        (
            lambda path: results.read_study(path, setting=-1),
            "Expected setting to be in [0, 8), got -1.",
        ),
    ],
)
def test_a_setting_that_there_is_not(swept, read, expected):
    with pytest.raises(ValueError) as caught:
        read(swept[0].output)
    assert str(caught.value) == expected


# --- Evaluation ---------------------------------------------------------------------


def test_all_settings_are_evaluated(swept):
    study, _, played = swept
    assert dict(played.sizes) == {"run": 16, "episode": 3}
    assert played.setting.values.tolist() == np.repeat(np.arange(8), 2).tolist()
    assert played.attrs["settings"] == product(GRID)
    # Each setting's own environment: a return of 1 a step, and the length's episodes.
    lengths = np.repeat([setting["env.length"] for setting in study.settings], 2)
    for name in ("greedy_return", "sampled_return", "greedy_length"):
        np.testing.assert_array_equal(played[name], np.tile(lengths, (3, 1)).T)
    assert files.read_evaluation(study.output).identical(played)


def test_an_evaluation_of_a_sweep_is_shown_by_setting(folder, capsys):
    out = printed(capsys, "evaluate", str(folder), "--episodes", "2", "--overwrite")
    assert "Cut: 8 settings x 2 runs x 2 episodes" in out
    assert out.index("env.length=5") < out.index("env.length=3")


def test_settings_that_are_not_trained_are_not_evaluated(folder, capsys):
    shutil.rmtree(folder / "parameters" / "1")
    told = refused(capsys, "evaluate", str(folder), "--overwrite")
    assert told == f"Expected parameters of num_steps=32 in {folder}, found none."


# --- Reading, reporting, comparing --------------------------------------------------


def test_settings_are_read_as_algorithms(swept):
    study, dataset, _ = swept
    records = results.read(study.output)
    assert [record.algorithm for record in records] == [
        f"cut {label(setting, ' ')}" for setting in study.settings
    ]
    for i, record in enumerate(records):
        alone = runs_of_setting(dataset, i)
        np.testing.assert_array_equal(record.curves, alone.episode_return)
        np.testing.assert_array_equal(record.env_steps, alone.env_steps)
        assert record.seeds.tolist() == [5, 6]
        assert record.rollouts is not None
        assert (record.rollouts == study.settings[i]["env.length"]).all()
    third = results.read_study(study.output, setting=3, algorithm="ours")
    assert third.algorithm == "ours gamma=0.9 num_steps=32 env.length=5"
    np.testing.assert_array_equal(third.curves, records[3].curves)
    with pytest.raises(ValueError, match=r"which one of 8 in .* is meant, 0 to 7, got"):
        results.read_study(study.output)


def leave(path, curves, settings, *, updates=None, status="complete"):
    """A sweep's directory with curves `[runs, updates]` of known numbers."""
    num_runs, num_updates = curves.shape
    made = np.full(num_runs, num_updates) if updates is None else np.asarray(updates)
    columns = {"episode_return": curves, "finite": np.ones(curves.shape, bool)}
    parts = [
        (np.asarray([i]), Outcome(n, {k: x[[i], :n] for k, x in columns.items()}, None))
        for i, n in enumerate(made)
    ]
    num_seeds = num_runs // len(settings)
    dataset = merge(
        parts,
        np.tile(np.arange(num_seeds), len(settings)),
        np.full(num_runs, 8),
        settings,
        {"env": "Cut", "action_dims": 0},
    )
    files.write_job(path, files.Job("Cut", num_seeds, 0, TINY, tuple(settings)))
    leave_facts(
        path,
        status=status,
        updates=int(max(made)),
        num_updates=num_updates,
        run_updates=int(sum(made)),
        num_run_updates=num_updates * num_runs,
    )
    files.write_results(path, dataset)
    return dataset


def test_settings_that_were_not_trained_yet_are_left_out(tmp_path):
    settings = [{"gamma": 0.9}, {"gamma": 0.90000001}, {"gamma": 0.99}]
    curves = np.arange(12.0).reshape(6, 2)
    leave(tmp_path, curves, settings, updates=[2, 2, 1, 2, 0, 0], status="incomplete")
    with pytest.warns(results.ReadingWarning) as caught:
        records = results.read(tmp_path)
    told = sorted(str(warning.message) for warning in caught)
    assert told == [
        f"Incomplete: 1 of 3 settings in {tmp_path} were not trained yet, and are left "
        "out.",
        f"Incomplete: the study in {tmp_path} stopped after 58 % of all updates.",
    ]
    # Equal to four digits: told apart by their numbers.
    name = tmp_path.name
    names = [record.algorithm for record in records]
    assert names == [f"{name} gamma=0.9 #0", f"{name} gamma=0.9 #1"]
    np.testing.assert_array_equal(records[1].curves, [[4, np.nan], [6, 7]])
    with (
        pytest.warns(results.ReadingWarning),
        pytest.raises(ValueError, match=r"Expected setting 2 in .* to be trained, but"),
    ):
        results.read_study(tmp_path, setting=2)


def test_a_sweep_is_reported_and_compared(capsys, tmp_path):
    curves = np.random.default_rng(0).normal(size=(4, 20))
    directory = tmp_path / "swept"
    settings = [{"gamma": 0.9}, {"gamma": 0.99}]
    leave(directory, curves, settings, updates=[20, 20, 10, 10])
    out = printed(capsys, "report", str(directory), "--resamples", "20")
    assert "Cut: 2 settings. Final returns, ranked by iqm" in out
    page = (directory / "report.html").read_text()
    assert "swept gamma=0.9" in page
    assert "grid.gamma" in page
    report = json.loads((directory / "report.json").read_text())
    assert list(report["parts"]) == ["swept gamma=0.9", "swept gamma=0.99"]
    for name in ("sweep.md", "sweep.csv", "sweep.png"):
        assert (directory / name).stat().st_size > 200
    assert not (directory / "report.md").exists()
    fast = ("--resamples", "20", "--permutations", "50", "--cell-permutations", "5")
    output = tmp_path / "compare"
    out = printed(capsys, "compare", str(directory), "--output", str(output), *fast)
    assert (output / "compare.html").stat().st_size > 10_000
    assert "swept gamma=0.9" in out


def test_collapses_are_counted_within_each_setting_s_updates():
    entropy = np.ones((2, 8), np.float32)
    entropy[0, 1] = entropy[1, 3] = 0.0
    parts = [
        (np.asarray([0]), Outcome(8, {"entropy": entropy[:1]}, None)),
        (np.asarray([1]), Outcome(4, {"entropy": entropy[1:, :4]}, None)),
    ]
    settings = ({"num_steps": 1}, {"num_steps": 2})
    dataset = merge(parts, np.zeros(2, int), np.asarray([1, 2]), settings, {})
    [told] = cautions(dataset)
    # The second one's is in the last quarter of its own four updates.
    assert "in 1 of 2 runs" in told


# --- Ranking ------------------------------------------------------------------------


def ranking(curves, settings, tmp_path, by="iqm"):
    dataset = leave(tmp_path, np.asarray(curves, float), settings)
    return [
        one.number for one in sweep_report.rank(dataset, Analysis(num_resamples=10), by)
    ]


FOUR = [{"gamma": x} for x in (0.8, 0.9, 0.95, 0.99)]


@pytest.mark.parametrize("by", sweep_report.RANKS)
def test_the_best_setting_comes_first(by, tmp_path):
    tops = np.repeat([3, 1, 4, 2], 8)[:, None] * 100.0
    noise = np.random.default_rng(0).uniform(size=(32, 3))
    assert ranking(tops + noise, FOUR, tmp_path, by) == [2, 0, 3, 1]


def test_what_decides_is_asked_for(tmp_path):
    two = FOUR[:2]
    steady, wild = [50.0] * 8, [0.0, *[60.0] * 7]
    curves = np.asarray([*steady, *wild])[:, None]
    assert ranking(curves, two, tmp_path, "iqm") == [1, 0]
    assert ranking(curves, two, tmp_path, "cvar") == [0, 1]
    assert ranking(curves, two, tmp_path, "worst") == [0, 1]


def test_among_equals_the_tail_decides(tmp_path):
    curves = np.full((16, 1), 500.0)
    curves[0] = 10.0
    assert ranking(curves, FOUR[:2], tmp_path) == [1, 0]


def test_no_setting_leads_by_the_runs_that_survived(tmp_path):
    curves = np.full((32, 2), 100.0)
    curves[8:16] = 400.0
    curves[8:14] = np.nan  # Two of eight are left, and better than all others.
    curves[16:24] = np.nan
    curves[24:] = 90.0
    curves[30:] = np.nan  # The worst count as 90.
    assert ranking(curves, FOUR, tmp_path) == [0, 1, 3, 2]
    dataset = files.read_results(tmp_path)
    ranked = sweep_report.write_sweep(tmp_path, dataset, Analysis(num_resamples=10))
    assert float(ranked[1].summary.iqm) == 400.0
    assert (tmp_path / "sweep.png").stat().st_size > 5_000
    told = (tmp_path / "sweep.md").read_text()
    assert "| 1 | 0.9 | 400 [n/a] | n/a | 400 | 2/8 |" in told
    assert "| 2 | 0.95 | n/a | n/a | n/a | 0/8 |" in told
    assert "the others count as the worst run of all" in told
    refused = "More than 5 % of the 10 bootstrap samples drew too few runs with a value"
    assert f"{refused}, so there is no interval: IQM of #1 (" in told
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["0", "1", "3", "2"]
    assert [row["missing"] for row in rows] == ["0", "6", "2", "8"]
    assert float(rows[0]["iqm"]) == 100.0


def test_runs_that_diverged_are_told(tmp_path):
    curves = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    dataset = leave(tmp_path, curves, FOUR[:1])
    dataset["finite"][1, 1] = False
    sweep_report.write_sweep(tmp_path, dataset, Analysis(num_resamples=10))
    assert "| 2, 1 diverged |" in (tmp_path / "sweep.md").read_text()
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["diverged"] for row in csv.DictReader(file)] == ["1"]


def test_a_study_without_a_grid_is_not_ranked(tmp_path):
    dataset = leave(tmp_path, np.ones((2, 2)), [{}])
    with pytest.raises(ValueError) as caught:
        sweep_report.rank(dataset, Analysis())
    assert str(caught.value) == (
        "Expected a study with a grid, got one without settings."
    )
    with pytest.raises(ValueError) as caught:
        sweep_report.check_rank("best")
    assert str(caught.value) == (
        "Expected rank_by to be one of iqm, mean, median, cvar, worst, got 'best'."
    )


@pytest.mark.parametrize("num_fields", [1, 3, 5])
def test_the_table_fits_a_terminal(num_fields, tmp_path):
    names = "learning_rate", "num_envs", "gamma", "env.gravity", "network.widths"
    settings = [
        dict(zip(names[:num_fields], row, strict=False))
        for row in [(1e-4, 4, 0.9, 1.5, (64, 64))] * 25
    ]
    settings = [{**s, "learning_rate": 1e-4 * (i + 1)} for i, s in enumerate(settings)]
    dataset = leave(tmp_path, 1e5 * np.ones((50, 2)), settings)
    plan = Analysis(num_resamples=10)
    table = sweep_report.render_sweep(
        sweep_report.rank(dataset, plan), "Cut", plan, "iqm"
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "and 5 more in sweep.csv" in text
    assert "100000 [100000, 100000]" in text
    assert "0.0025" not in text  # Among equals the first ones come first.
    table = sweep_report.render_sweep(
        sweep_report.rank(dataset, plan), "Cut", plan, "iqm", 200
    )
    wide = Console(width=200, record=True, file=io.StringIO())
    wide.print(table)
    text = wide.export_text()
    assert all(name in text for name in names[:num_fields]), text


# --- The picture --------------------------------------------------------------------


def lines(axes):
    return {str(line.get_label()): line for line in axes.get_lines()}


def x_of(axes, name):
    return np.asarray(lines(axes)[name].get_xdata()).tolist()


def y_of(axes, name):
    return np.asarray(lines(axes)[name].get_ydata()).tolist()


def ticks(axes):
    return [text.get_text() for text in axes.get_xticklabels()]


def heights(line):
    return np.asarray(line.get_ydata(), float).tolist()


def test_few_values_stand_side_by_side():
    settings = product({"clip_eps": [None, 0.2], "gamma": [0.99, 0.9, 0.5]})
    scores = np.asarray([1.0, 2.0, 3.0, 4.0, np.nan, 6.0])
    figure = plots.settings_by_field(settings, {"IQM": scores, "CVaR": scores - 1})
    clip, gamma = figure.axes
    assert (clip.get_xlabel(), gamma.get_xlabel()) == ("clip_eps", "gamma")
    assert ticks(clip) == ["none", "0.2"]
    assert ticks(gamma) == ["0.5", "0.9", "0.99"]  # Numbers in their order.
    assert y_of(clip, "IQM") == [2.0, 5.0]
    assert y_of(gamma, "IQM") == [4.5, 2.0, 2.5]
    assert y_of(gamma, "CVaR") == [3.5, 1.0, 1.5]
    # Values without an order are not joined.
    assert lines(gamma)["IQM"].get_linestyle() == "-"
    assert lines(clip)["IQM"].get_linestyle() == "None"


def test_a_few_values_that_were_drawn_are_dots():
    settings = [{"gamma": 0.9 + i / 100, "num_envs": 4 + i % 2} for i in range(6)]
    figure = plots.settings_by_field(settings, {"IQM": np.arange(6.0)})
    drawn, repeated = figure.axes
    assert [line.get_linestyle() for line in drawn.lines] == ["None"]
    assert x_of(drawn, "IQM") == [setting["gamma"] for setting in settings]
    assert y_of(repeated, "IQM") == [2.0, 3.0]
    # A grid of one field has each value once, too.
    figure = plots.settings_by_field(
        [{"gamma": setting["gamma"]} for setting in settings], {"IQM": np.arange(6.0)}
    )
    assert lines(figure.axes[0])["IQM"].get_linestyle() == "-"


def test_two_powers_of_ten_have_more_than_one_label():
    settings = [{"rate": 1.2e-4 * 1.5**i, "gamma": i} for i in range(10)]
    figure = plots.settings_by_field(settings, {"IQM": np.arange(10.0)})
    figure.draw_without_rendering()
    assert {"0.0003", "0.001", "0.003"} <= set(ticks(figure.axes[0]))


def test_many_values_stand_on_a_scale():
    rates = np.geomspace(1e-5, 1e-2, 18).tolist()
    settings = zipped({"rate": rates, "gamma": np.linspace(0.9, 0.99, 18).tolist()})
    figure = plots.settings_by_field(settings, {"IQM": np.arange(18.0)})
    rate, gamma = figure.axes
    assert (rate.get_xscale(), gamma.get_xscale()) == ("log", "linear")
    assert y_of(rate, "IQM") == [1, 4, 7, 10, 13, 16]
    np.testing.assert_allclose(x_of(rate, "IQM"), rates[1::3])
    figure.draw_without_rendering()
    assert "0.001" in ticks(rate)
    assert not any("$" in text for text in ticks(rate))


@pytest.mark.parametrize(
    ("fields", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3)]
)
def test_panels_fill_their_rows(fields, rows, columns):
    settings = [{f"f{i}": "x" for i in range(fields)}]
    figure = plots.settings_by_field(settings, {"IQM": np.ones(1)})
    place = figure.axes[0].get_subplotspec()
    assert place is not None
    assert place.get_geometry()[:2] == (rows, columns)
    assert sum(axes.get_visible() for axes in figure.axes) == fields
    with pytest.raises(ValueError) as caught:
        plots.settings_by_field(settings, {"IQM": np.ones(2)})
    assert str(caught.value) == (
        "Expected IQM to be [settings] = (1,), got shape (2,)."
    )


# --- The command line ---------------------------------------------------------------


def test_a_sweep_from_the_command_line(swept, capsys, tmp_path):
    output = str(tmp_path / "cut")
    seeds = ("--num-seeds", "2", "--seed", "5")
    command = ("sweep", ENV, *OPTIONS, *seeds, *SWEPT, "--output", output)
    out = printed(capsys, *command, "--yes", "--log", "csv")
    assert "It was complete" not in out
    assert "16 runs (8 settings x 2 seeds) of envs.probes:Cut, 2,048 env steps" in out
    assert "8 settings. Final returns, ranked by iqm" in out
    job, wanted = files.read_job(tmp_path / "cut" / "config.toml"), swept[0].job
    assert job == wanted._replace(config=replace(wanted.config, {"gamma": 0.9}))
    found = files.read_results(tmp_path / "cut")
    assert found.attrs["settings"] == swept[1].attrs["settings"]
    xarray.testing.assert_allclose(found, swept[1], rtol=2e-3, atol=2e-4)
    assert (tmp_path / "cut" / "sweep.md").read_text().startswith(f"# {ENV}: 8 sett")
    assert (tmp_path / "cut" / "sweep.png").stat().st_size > 5_000
    rows = (tmp_path / "cut" / "sweep.csv").read_text().splitlines()
    assert rows[0].startswith("setting,gamma,num_steps,env.length,iqm,mean,")
    assert len(rows) == 9

    told = refused(capsys, *command)
    assert told.startswith("Expected output to hold no study, but")
    # What is complete is not trained again.
    out = printed(capsys, *command, "--resume", "--rank-by", "cvar")
    assert "ranked by cvar" in out
    assert "8 settings" in (out := printed(capsys, "resume", output))
    assert "It was complete: nothing was left to train." in out


def test_a_config_file_sweeps_again(swept, capsys, tmp_path):
    path = str(swept[0].output / "config.toml")
    command: Any = entry_point.parse_command(
        ("sweep", "--config", path, "--num-seeds", "3")
    )
    study = train_room.make_study(command)
    assert study.settings == swept[0].settings
    assert study.job == swept[0].job._replace(num_seeds=3)
    told = refused(capsys, "sweep", "--config", path, "--gamma", "0.5")
    assert told == "Expected gamma as an option or in the grid, got both."
    another = ("--grid", "vf_coef=0.1,0.2", "--output", str(tmp_path / "two"))
    out = printed(capsys, "sweep", "--config", path, *another)
    assert out.startswith("1 group of settings, one compilation. ")
    assert "4 runs (2 settings x 2 seeds)" in out
    job = files.read_job(tmp_path / "two" / "config.toml")
    assert job.settings == ({"vf_coef": 0.1}, {"vf_coef": 0.2})


def test_a_grid_may_make_a_config_of_what_is_none_without_it():
    """Batches of 256 steps exceed the 128 of a run; those of the grid do not."""
    command: Any = entry_point.parse_command(("sweep", ENV, *OPTIONS, *SWEPT))
    assert train_room.make_study(command).config == replace(TINY, {"gamma": 0.9})


def test_a_file_written_by_hand(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        f"""
        env = "{ENV}"
        [config]
        total_timesteps = 64
        num_envs = 2
        num_steps = 16
        num_minibatches = 2
        network.widths = [8]
        [grid]
        learning_rate = "log(1e-4, 1e-2, 3)"
        env.length = [3, 4]
        [zip]
        gamma = [0.9, 0.99]
        gae_lambda = [0.8, 0.95]
        [sample]
        num_settings = 2
        seed = 1
        vf_coef = "linear(0.1, 1.0)"
        """
    )
    job = files.read_job(path)
    assert len(job.settings) == 6 * 2 * 2
    assert list(job.settings[0]) == [
        *("learning_rate", "env.length", "gamma", "gae_lambda", "vf_coef")
    ]
    out = printed(capsys, "sweep", "--config", str(path), "--dry-run")
    assert "24 runs (24 settings x 1 seed)" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Expected --grid, --zip or --sample, got none."),
        (("--grid", "gama=0.9"), "Unknown config field 'gama'; nearest: gamma, clip_"),
        (
            ("--grid", "env.lenght=3,4"),
            "Unknown config field 'env.lenght'; nearest: env.length",
        ),
        (("--grid", "length=3,4"), "field 'length'; nearest: env.length"),
        (("--grid", "gamma"), "Expected --grid to be FIELD=VALUE,VALUE,..., got 'ga"),
        (("--grid", "gamma=0.9,x"), "Expected gamma to be FLOAT, got 'x'."),
        (
            ("--grid", "gamma=0.9,7"),
            "Expected gamma to be in [0, 1], got 7.0 (setting gamma=7).",
        ),
        (
            ("--grid", "env.length=1.5"),
            "Expected env.length to be a whole number of int32, got 1.5 (setting "
            "env.length=1.5).",
        ),
        (
            (
                "--grid",
                "gamma=linear(0.9,0.99,2000)",
                "--grid",
                "vf_coef=log(1,2,2000)",
            ),
            "Expected a study to have at most 1,048,576 runs, got 4,000,000.",
        ),
        (
            ("--grid", "gamma=linear(0.9,0.99,2000)", "--num-seeds", "1000"),
            "Expected a study to have at most 1,048,576 runs, got 2,000,000.",
        ),
        (
            ("--zip", "gamma=0.9,0.99", "--zip", "vf_coef=1"),
            "Expected zipped fields to have equally many values: gamma has 2, vf_coef "
            "has 1.",
        ),
        (("--sample", "gamma=0.9"), "Expected --sample and --num-samples together"),
        (("--grid", "gamma=1", "--rank-by", "best"), "Expected rank_by to be one of"),
        (
            ("--grid", "gamma=0.9", "--gamma", "0.5"),
            "Expected gamma as an option or in the grid, got both.",
        ),
        (
            ("--grid", "gamma=0.9", "--memory-gib", "1e-7"),
            "Expected one run to fit 9.97e-08 GiB of each device, got",
        ),
    ],
)
def test_bad_sweeps_are_one_line_and_leave_nothing(
    arguments, expected, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(capsys, "sweep", ENV, *SHORT, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grid = 3", "Expected grid to be a table of fields, got 3."),
        ("[grid]", "Expected grid to have at least one field, got none."),
        ("[grid]\ngamma = 0.9", "Expected the values of gamma to be a list, got 0.9."),
        ("[grids]\ngamma = [0.9]", "Unknown key 'grids'"),
        ("[grid]\ngama = [0.9]", "Unknown config field 'gama'; nearest: gamma"),
    ],
)
def test_bad_files_are_one_line(text, expected, capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    told = refused(capsys, "sweep", ENV, *SHORT, "--config", str(path))
    assert expected in told


# --- The question -------------------------------------------------------------------


def test_a_study_and_a_sweep_have_folders_of_their_own():
    for name, *given in (("train",), ("sweep", "--grid", "gamma=0.9,0.99")):
        command: Any = entry_point.parse_command((name, "CartPole-v1", *given))
        folder = {"train": "runs/CartPole-v1", "sweep": "runs/sweep-CartPole-v1"}[name]
        assert train_room.make_study(command).output == Path(folder)


def test_much_is_not_trained_without_a_yes(folder, capsys, monkeypatch):
    monkeypatch.setattr(plan_table, "MANY_RUNS", 15)
    monkeypatch.setattr(sys, "stdin", None)
    before = (folder / "results.zarr" / "zarr.json").read_bytes()
    command = (
        "sweep",
        "--config",
        str(folder / "config.toml"),
        "--output",
        str(folder),
    )
    told = refused(capsys, *command, "--overwrite")
    assert told.startswith(
        "Expected --yes for a study as large as this: 16 runs, about"
    )
    # Nothing was lost by having been asked.
    assert (folder / "results.zarr" / "zarr.json").read_bytes() == before
    assert files.read_environment(folder)["status"] == "complete"


class Terminal:
    """Where somebody sits who answers."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def isatty(self):
        return True

    def input(self, text):
        self.asked.append(text)
        return self.answer


MUCH = Plan(
    groups=Study(TINY, ENV, 16).groups,
    chunks=[Chunk(0, 0, 16, 16)],
    needs=[Need(2**20, 30.0)],
    limit=2**30,
    num_devices=2,
)
"""16 runs whose 4 updates take two minutes."""


@pytest.mark.parametrize("answer", ["y", " Yes "])
def test_a_yes_is_a_yes(answer, monkeypatch):
    terminal: Any = Terminal(answer)
    monkeypatch.setattr(sys, "stdin", terminal)
    plan_table.confirm(MUCH, terminal)
    assert terminal.asked == []  # Too little to be asked about.
    monkeypatch.setattr(plan_table, "LONG_SECONDS", 100.0)
    plan_table.confirm(MUCH, terminal)
    assert terminal.asked == ["Train 16 runs, about 2 min 0 s? [y/N] "]


def test_a_plan_says_that_its_time_is_without_compiling():
    console = Console(file=io.StringIO(), width=120)
    plan = MUCH._replace(needs=[Need(2**20, 30.0, 200.0)])
    console.print(plan_table.render_plan(Study(TINY, ENV, 16), plan))
    told: Any = console.file
    told = " ".join(told.getvalue().split())
    assert "2 devices, about 2 min 0 s after 3 min 20 s of compiling" in told
    assert "1 MiB │ 3 min 20 s │ 2 min 0 s │" in told


def test_several_processes_are_not_asked(monkeypatch):
    terminal: Any = Terminal("y")
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(plan_table, "MANY_RUNS", 15)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="Expected --yes for a study as large as this"):
        plan_table.confirm(MUCH, terminal)
    assert terminal.asked == []


def test_no_answer_is_a_no(monkeypatch):
    """Ctrl-D."""

    class Ended(Terminal):
        def input(self, text):
            raise EOFError

    terminal: Any = Ended("")
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(plan_table, "MANY_RUNS", 15)
    with pytest.raises(ValueError, match="Expected a yes to train 16 runs"):
        plan_table.confirm(MUCH, terminal)


@pytest.mark.parametrize("answer", ["", "n", "yess"])
def test_all_else_is_a_no(answer, monkeypatch):
    terminal: Any = Terminal(answer)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(plan_table, "MANY_RUNS", 15)
    with pytest.raises(ValueError) as caught:
        plan_table.confirm(MUCH, terminal)
    assert str(caught.value) == (
        f"Expected a yes to train 16 runs, about 2 min 0 s, got {answer!r}."
    )
