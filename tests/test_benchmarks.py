"""Benchmarks: arguments, statistics, files and the workers' protocol; no timing."""

import argparse
import io
import json
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from rich.console import Console

from benchmarks import (
    digests,
    ours,
    peers,
    peers_environment,
    presets,
    reliability,
    reliability_jobs,
    results,
    startup,
    tails,
    tasks,
    throughput,
)
from benchmarks.jobs import Job, parse_job, parse_size, positive
from benchmarks.spread import Spread, paired_ratio, spread
from benchmarks.workers import ROOT, answer_lines
from purejaxppo.cli import entry_point
from purejaxppo.cli import train as train_room
from purejaxppo.config.presets import PRESETS
from purejaxppo.study.storage import files
from tests import studies

FACTS = {
    "device": {"name": "a processor", "platform": "cpu", "count": 2},
    "versions": {"jax": "0.10.2"},
}
JOB = Job(2, 4, "CartPole-v1", 1_000)


def text(renderable):
    file = io.StringIO()
    Console(file=file, width=200).print(renderable)
    return file.getvalue()


def written(path, benchmark, figures):
    results.write(path, results.document(benchmark, figures, FACTS, {"rounds": 2}))
    document = json.loads(path.read_text())
    assert document["benchmark"] == benchmark
    assert document["settings"] == {"rounds": 2}
    assert document["date"].startswith("20")
    assert document["device"] == FACTS["device"]
    assert document["versions"] == FACTS["versions"]
    return document["results"]


def side(*rates):
    return peers.Side(
        devices=1,
        trace_seconds=0.5,
        compile_seconds=4.0,
        env_steps=1_024,
        rates=rates,
        steps_per_second=spread(rates),
    )


# --- Statistics ---------------------------------------------------------------------


def test_spread_is_median_and_range():
    assert spread([3.0, 1.0, 2.0, 10.0]) == Spread(median=2.5, low=1.0, high=10.0)
    assert spread([2.0]).show() == "2.00 (2.00 to 2.00)"
    assert spread([1e6, 3e6]).show(",.0f", 1e-3) == "2,000 (1,000 to 3,000)"


def test_ratios_are_paired_so_that_a_slow_round_cancels():
    assert paired_ratio([200.0, 20.0, 2.0], [100.0, 10.0, 1.0]) == Spread(2, 2, 2)
    assert paired_ratio([1.0, 9.0, 8.0], [1.0, 3.0, 4.0]) == Spread(2, 1, 3)


def test_statistics_of_nothing_or_of_unequal_rounds_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        spread([])
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


# --- Arguments ----------------------------------------------------------------------


def test_jobs_and_sizes():
    assert positive("50_000") == 50_000
    assert parse_size("64x4") == (64, 4)
    assert parse_job("2x4:CartPole-v1:1_000") == JOB
    assert JOB.show() == "2x4 CartPole-v1"


@pytest.mark.parametrize("bad", ["", "64", "0x4", "4x", "axb", "64x4x2"])
def test_bad_sizes(bad):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        parse_size(bad)


@pytest.mark.parametrize("bad", ["2x4:CartPole-v1", "2x4::1000", "2x4:CartPole-v1:511"])
def test_bad_jobs(bad):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        parse_job(bad)


def test_throughput_arguments(capsys):
    options = throughput.parse(["--grid", "1x4,2x4", "--total-timesteps", "1000"])
    assert options.jobs == [JOB._replace(agents=1), JOB]
    assert (options.repeats, options.json) == (5, None)
    for bad in (["--grid", "1x4,"], ["--grid", "1x64", "--total-timesteps", "99"]):
        with pytest.raises(SystemExit):
            throughput.parse(bad)
        assert "argument --grid: expected" in capsys.readouterr().err


def test_peers_arguments():
    assert [job.show() for job in peers.parse([]).jobs] == [
        "64x4 CartPole-v1",
        "1x4 CartPole-v1",
        "8x16 Breakout-MinAtar",
    ]
    assert peers.parse(["--jobs", "2x4:CartPole-v1:1000"]).jobs == [JOB]


def test_startup_arguments_choose_the_variants(tmp_path):
    options = startup.parse(["--parts", "imports", "command", "--repeats", "2"])
    assert options.total_timesteps == 500_000
    names = list(startup.make_variants(options, tmp_path))
    assert names == [*startup.IMPORTS, "command, cold", "command, warm"]


# --- Files and tables ---------------------------------------------------------------


def test_throughput_results(tmp_path):
    figures = throughput.Throughput(
        job=JOB,
        devices=2,
        trace_seconds=0.5,
        compile_seconds=4.0,
        env_steps=1_024,
        steps_per_second=spread([1e5, 3e5]),
        program_bytes={"argument": 1_000_000, "temp": 2_000_000},
        peak_rss_bytes=800_000_000,
        device_peak_bytes=None,
    )
    (row,) = written(tmp_path / "t.json", "throughput", [figures])
    assert row["job"] == JOB._asdict()
    assert row["steps_per_second"] == {"median": 2e5, "low": 1e5, "high": 3e5}
    shown = text(throughput.make_table([figures], FACTS))
    assert "200 (100 to 300)" in shown
    assert "800.0" in shown


def test_peers_results(tmp_path):
    ratio = paired_ratio([200.0, 300.0], [100.0, 100.0])
    row = peers.Comparison(JOB, side(200.0, 300.0), side(100.0, 100.0), ratio)
    (read,) = written(tmp_path / "p.json", "peers", [row])
    assert read["ratio"] == {"median": 2.5, "low": 2.0, "high": 3.0}
    assert read["ours"]["rates"] == [200.0, 300.0]
    assert "2.50 (2.00 to 3.00)" in text(peers.make_table([row], FACTS))


def test_startup_rounds_are_interleaved_and_the_first_is_thrown_away(tmp_path):
    calls = []

    def variant(name, seconds):
        return lambda: calls.append(name) or seconds * (1 + len(calls) // 5)

    ours, base = startup.IMPORTS
    variants = {ours: variant("a", 2.0), base: variant("b", 1.0)}
    durations = startup.interleave(variants, rounds=2)
    assert calls == ["a", "b"] * 3
    assert [duration.rounds for duration in durations] == [(2.0, 4.0), (1.0, 2.0)]
    (ratio,) = startup.ratios(durations)
    assert ratio == startup.Ratio(ours, base, Spread(2, 2, 2))
    read = written(
        tmp_path / "s.json", "startup", {"durations": durations, "ratios": [ratio]}
    )
    assert [row["name"] for row in read["durations"]] == [ours, base]
    assert "2.00 (2.00 to 2.00)" in text(startup.make_table(durations, [ratio]))


def test_no_path_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.write(None, {"figure": 1})
    assert not list(tmp_path.iterdir())


# --- Workers ------------------------------------------------------------------------


def test_a_worker_answers_each_line_with_a_line():
    questions = io.StringIO('["double", {"x": 2}]\n["double", {"x": 3}]\n')
    output = io.StringIO()
    answer_lines({"double": lambda x: {"y": 2 * x}}, questions, output)
    assert output.getvalue() == '{"y": 4}\n{"y": 6}\n'


def test_our_program_trains_the_job():
    program = ours.make_program(JOB)
    result = jax.eval_shape(program.function, program.make_keys(0))
    assert result.metrics.episode_return.shape == (2, 1)


# --- Presets ------------------------------------------------------------------------


def row(preset, iqm):
    env = presets.env_of(preset)
    return presets.Figures(preset, env, 2, 64, iqm, 1.0, 2.0, 0.5, 0.0, 0.0, 3.0)


def test_presets_on_the_page_beat_their_bars_or_not():
    page = presets.page([row("sb3", 401.0), row("rl_games", -401.0)], FACTS)
    assert (
        "| `sb3` | CartPole-v1 | 401.0 | [1.0, 2.0] | 0.5 | 0.0 | 400 | beaten |"
        in page
    )
    assert "| `rl_games` | Pendulum-v1 |" in page and "| **missed** |" in page


def test_presets_that_are_measured_are_not_run_again(tmp_path, monkeypatch, capsys):
    path, asked = tmp_path / "presets.json", []
    monkeypatch.setattr(presets, "use_this_machine", lambda: None)

    def measure(preset, num_seeds, total_timesteps):
        asked.append(preset)
        return row(preset, float(len(asked)))

    monkeypatch.setattr(presets, "measure", measure)
    markdown = tmp_path / "presets.md"
    presets.main(["--json", str(path), "--markdown", str(markdown)])
    assert asked == list(PRESETS)
    presets.main(["--json", str(path)])
    assert len(asked) == len(PRESETS)
    presets.main(["--json", str(path), "--only", "sb3"])
    assert asked[len(PRESETS) :] == ["sb3"]
    assert len(written_rows(path)) == len(PRESETS)
    for preset in PRESETS:
        assert f"| `{preset}` |" in markdown.read_text()
    capsys.readouterr()


def written_rows(path):
    return json.loads(path.read_text())["results"]


def test_a_preset_is_measured():
    figures = presets.measure("cleanrl", num_seeds=2, total_timesteps=512)
    assert (figures.env, figures.num_seeds) == ("CartPole-v1", 2)
    assert figures.diverged == 0 and 5 < figures.iqm < 200


# --- Tasks --------------------------------------------------------------------------


def outcome(task, iqm):
    curve = [[iqm - 1, iqm - 1], [iqm, iqm], [iqm + 1, iqm + 1]]
    return tasks.Outcome(task, 2, 64, iqm, 1.0, 2.0, 0.5, 0.0, 3.0, [32, 64], curve)


def test_a_bar_is_to_be_reached_or_not_to_be_reached():
    bar = tasks.TASKS["masked"].bar
    below = tasks.TASKS["masked, mask hidden"].bar
    assert bar is not None and below is not None
    assert tasks.verdict(outcome("masked", bar)) == "reached"
    assert tasks.verdict(outcome("masked", bar - 0.1)) == "**missed**"
    assert tasks.verdict(outcome("masked, mask hidden", below)) == "**reached**"
    assert tasks.verdict(outcome("masked, mask hidden", -0.9)) == "as it should be"
    assert tasks.verdict(outcome("Breakout", 1.0)) == ""


def test_every_task_is_a_command_that_is_understood():
    for name, task in tasks.TASKS.items():
        command = entry_point.parse_command(shlex.split(tasks.command(task, 16))[1:])
        assert isinstance(command, train_room.Train)
        study = train_room.make_study(command)
        assert study.config == tasks.configured(task.changes), name
        assert (study.env, study.num_seeds) == (task.env, 16)


def test_tasks_have_a_page_and_a_picture(tmp_path, monkeypatch, capsys):
    path, page = tmp_path / "tasks.json", tmp_path / "tasks.md"
    monkeypatch.setattr(tasks, "use_this_machine", lambda: None)
    monkeypatch.setattr(
        tasks, "measure", lambda name, num_seeds, scale: outcome(name, 1.0)
    )
    picture = tmp_path / "tasks.png"
    tasks.main(
        ["--json", str(path), "--markdown", str(page), "--picture", str(picture)]
    )
    assert [row["task"] for row in written_rows(path)] == list(tasks.TASKS)
    assert all(f"\n| {name} | " in page.read_text() for name in tasks.TASKS)
    assert picture.stat().st_size > 10_000
    assert "env_steps=[]" in capsys.readouterr().out


def test_a_task_is_measured():
    measured = tasks.measure("multi-discrete", num_seeds=2, scale=0.03)
    assert measured.total_timesteps == 2560 and measured.num_seeds == 2
    assert measured.worst <= measured.iqm <= 100
    assert np.shape(measured.quartiles) == (3, len(measured.env_steps))


# --- Tails --------------------------------------------------------------------------


def test_candidates_and_studies_are_trained_in_part(tmp_path):
    size = tails.Size(0.01)
    tried = tails.attempt("plain", size)
    assert 5 < tried.worst <= tried.iqm < 500
    path = tails.train("plain", "CartPole-v1", tmp_path, size)
    results, played = files.read_results(path), files.read_evaluation(path)
    assert results.sizes["run"] == 4 and list(results.seed.values) == [0, 1, 2, 3]
    assert dict(played.sizes) == {"run": 4, "episode": 10}
    before = (path / "environment.json").read_text()
    assert tails.train("plain", "CartPole-v1", tmp_path, size) == path
    assert (path / "environment.json").read_text() == before


def test_tails_have_a_page_with_what_was_found(tmp_path, monkeypatch):
    def leave(name, env, folder, size):
        path, good = folder / f"{name}-{env}", np.full(24, 100.0)
        tops = studies.BAD if name == "plain" else good
        made = studies.returns(0, 24, tops)
        changes = tails.CANDIDATES[name]
        studies.leave_study(path, env, made, changes=changes, evaluated=True)
        return path

    monkeypatch.setattr(tails, "use_this_machine", lambda: None)
    monkeypatch.setattr(tails, "train", leave)
    monkeypatch.setattr(
        tails,
        "attempt",
        lambda name, size: tails.Tried(name, 9, 8, 7, 6 + (name in best), 5),
    )
    best = ("plain", "kl_stop")  # The first is what the other is compared with.
    docs = tmp_path / "docs"
    folders = ["--output", str(tmp_path / "runs"), "--docs", str(docs)]
    tails.main([*folders, "--scale", "0.02"])
    page = (docs / "README.md").read_text()
    assert (
        "- The worst 25 % of the runs of kl_stop end higher than those of plain" in page
    )
    for env in tails.TASKS:
        assert f"\n| {env} | plain | 24 | " in page
        for kind in ("curves", "runs", "cells"):
            assert f"![{kind}-{env}]({kind}-{env}.png)" in page
            assert (docs / f"{kind}-{env}.png").stat().st_size > 10_000
    for name in tails.CANDIDATES:
        assert re.search(rf"\n\| {name} \| .*\| 9 \| 8 \| 7 \| [67] \| 5 \|", page)
    assert (docs / "compare.html").stat().st_size > 100_000


# --- Reliability --------------------------------------------------------------------

SETTINGS = {"num_runs": 24, "num_points": 60, "num_resamples": 30, "few_points": 2}


def test_reliability_is_measured_by_both_on_the_same_scores():
    found = {
        names: reliability_jobs.measure(*names, **SETTINGS)
        for names in reliability.MEASURED
    }
    assert set(found) == set(reliability_jobs.JOBS)
    for figures in found.values():
        estimate, low, high = figures["interval"]
        assert low <= estimate <= high and figures["seconds"] > 0
    for job in ("scores", "points"):
        ours, theirs = (found[job, by] for by in ("purejaxppo", "rliable"))
        assert ours["interval"] == pytest.approx(theirs["interval"], rel=0.1)
        assert ours["interval"][0] == pytest.approx(theirs["interval"][0], rel=1e-12)


def test_reliability_of_every_kind_is_in_everything():
    size = reliability_jobs.Size(**SETTINGS)
    found = reliability_jobs.our_everything(reliability_jobs.make_runs(size), size)
    assert {"risk_across_rollouts", "risk_across_runs", "iqm", "test"} <= set(found)
    assert found["profile"].low.shape == (reliability_jobs.LEVELS,)


def test_reliability_results(tmp_path):
    facts = FACTS | {
        "device": {"name": "a processor", "cores": 2},
        "versions": {"numpy": "2.4", "rliable": "1.2.0"},
    }
    answer = {
        "cpu_seconds": 3.0,
        "peak_rss_bytes": 500_000_000,
        "interval": [2.0, 1.0, 3.0],
    }
    rounds = [answer | {"seconds": s} for s in (2.0, 4.0)]
    rows = [
        reliability.make_row(*names, rounds, SETTINGS) for names in reliability.MEASURED
    ]
    points = rows[-1]
    assert points.seconds == Spread(3, 2, 4) and points.at_all_points == 90
    assert rows[0].at_all_points is None
    document = results.document("reliability", rows, facts, SETTINGS)
    results.write(tmp_path / "r.json", document)
    assert written_rows(tmp_path / "r.json")[-1]["at_all_points"] == 90
    line = (
        "| IQM at 2 of the 60 points | rliable | 3.00 (2.00 to 4.00) | "
        "3.00 (3.00 to 3.00) | 90 | 500 | 2 [1, 3] |"
    )
    assert line in reliability.page(rows, SETTINGS, facts)
    assert "500" in text(reliability.make_table(rows, SETTINGS))


def test_reliability_arguments(capsys):
    options = reliability.parse([])
    assert (options.num_runs, options.num_points) == (2048, 1000)
    assert (options.num_resamples, options.repeats) == (2000, 3)
    with pytest.raises(SystemExit):
        reliability.parse(["--num-points", "5"])
    assert "expected at most 5, got 10" in capsys.readouterr().err


def test_reliability_asks_fresh_processes(monkeypatch):
    asked = []

    class Worker:
        def __init__(self, module):
            assert module == "benchmarks.reliability_jobs"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            asked.append("end")

        def ask(self, question, job, by, **size):
            assert (question, size) == ("measure", SETTINGS)
            asked.append((job, by))
            return {
                "seconds": 1.0,
                "cpu_seconds": 1.0,
                "peak_rss_bytes": len(asked),
                "interval": [0.0, 0.0, 0.0],
            }

    monkeypatch.setattr(reliability, "Worker", Worker)
    rows = reliability.measure(SETTINGS, 2)
    assert asked[::2] == 2 * list(reliability.MEASURED)
    assert asked[1::2] == ["end"] * 12
    assert [(row.job, row.by) for row in rows] == list(reliability.MEASURED)
    assert rows[0].peak_rss_bytes == 13


def test_peers_get_our_jax_and_install_only_once(tmp_path, monkeypatch):
    wanted = peers_environment.requirements()
    assert f"jax=={jax.__version__}" in wanted
    (tmp_path / peers_environment.STAMP).write_text("\n".join(wanted) + "\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("installed"))
    assert peers_environment.ensure(tmp_path) == tmp_path / "bin" / "python"


def test_the_parents_stay_small():
    # A child's peak memory starts at its parent's size, so no parent loads JAX.
    names = ("throughput", "peers", "startup", "reliability")
    modules = ", ".join(f"benchmarks.{name}" for name in names)
    script = f"import sys, {modules}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


# --- Digests ------------------------------------------------------------------------


def test_a_digest_is_of_bytes_types_and_shapes():
    x = np.arange(4, dtype=np.float32)
    others = [x + 1, x.astype(np.int32), x.reshape(2, 2), np.nextafter(x, 9)]
    assert digests.digest({"a": x}) == digests.digest({"a": x.copy()})
    assert len({digests.digest({"a": y}) for y in [x, *others]}) == 5


def test_a_training_that_differs_is_named(tmp_path, capsys, monkeypatch):
    found = {"gru": {"params": "1", "metrics": "2"}}
    monkeypatch.setattr(digests, "JOBS", {"gru": lambda: "gru", "lstm": lambda: "lstm"})
    monkeypatch.setattr(digests, "digests", lambda job: found.get(job, found["gru"]))
    file = str(tmp_path / "before.json")

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["digests", *options])
        return digests.main()

    assert run("--output", file) == 0
    assert run("--against", file) == 0
    found["lstm"] = {"params": "1", "metrics": "3"}
    assert run("--against", file) == 1
    assert capsys.readouterr().out.endswith("1 of 2 jobs differ\n  lstm\n")
    assert run("--against", file, "--only", "gru") == 0
