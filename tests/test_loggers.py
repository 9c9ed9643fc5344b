"""Loggers: what they write reads back; a resumed log is that of an unbroken study."""

import csv
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from purejaxppo.reliability import aggregates
from purejaxppo.results import read_table, read_tensorboard
from purejaxppo.study.loggers import (
    CSV,
    About,
    Logged,
    LoggingWarning,
    TensorBoard,
    WandB,
    as_logger,
    clear,
    fan_out,
    make_loggers,
)
from purejaxppo.study.loggers.downsampling import Thinning

NAN = np.nan
BATCH = 32


def about(
    output, *, runs=3, updates=7, done: Any = 0, settings=None, seeds=None
) -> About:
    """A study of `runs` seeds from 5 on, or with the settings of a grid."""
    settings = ({},) * runs if settings is None else settings
    seeds = 5 + np.arange(runs) if seeds is None else np.array(seeds)
    pairs = [
        " ".join([*(f"{k}={v}" for k, v in setting.items()), f"seed={seed}"])
        for setting, seed in zip(settings, seeds, strict=True)
    ]
    return About(
        env="CartPole-v1",
        output=output,
        config={"learning_rate": 0.001, "network.hidden": (64, 64), "kl_stop": None},
        labels=tuple(pairs),
        settings=tuple(settings),
        seeds=seeds,
        done=np.broadcast_to(done, runs),
        num_updates=np.full(runs, updates),
    )


def metrics(runs=3, updates=7) -> dict[str, np.ndarray]:
    """All numbers of a study, `[runs, updates]`, each a function of its place."""
    rng = np.random.default_rng(0)
    returns = rng.normal(100, 20, (runs, updates)).astype(np.float32)
    returns[:, ::3] = NAN
    returns[0, 1] = np.inf
    return {
        "episode_return": returns,
        "num_episodes": rng.integers(0, 9, (runs, updates), np.int32),
        "policy_loss": rng.normal(0, 1e-3, (runs, updates)).astype(np.float32),
        "finite": rng.random((runs, updates)) < 0.9,
    }


def segment(numbers, start, stop, runs=None) -> Logged:
    every = np.arange(len(next(iter(numbers.values()))))
    runs = every if runs is None else np.array(runs)
    return Logged(
        runs=runs,
        start=start,
        stop=stop,
        env_steps=np.arange(start + 1, stop + 1) * BATCH,
        metrics={name: x[runs, start:stop] for name, x in numbers.items()},
        seconds=1.5 * stop,
    )


def feed(logger, told, numbers, *cuts, runs=None, close=True):
    """Log the updates between the cuts, a segment each."""
    logger.begin(told)
    for start, stop in itertools.pairwise(cuts):
        logger.log(segment(numbers, start, stop, runs))
    if close:
        logger.close()


def refuses(message, call, *arguments, **keywords):
    with pytest.raises(ValueError) as error:
        call(*arguments, **keywords)
    assert str(error.value) == message


# --- CSV ----------------------------------------------------------------------------


def test_the_text_of_the_csv(tmp_path):
    output = tmp_path / "study"
    output.mkdir()
    numbers = {
        "episode_return": np.array([[NAN, 1.5], [0.1, np.inf]], np.float32),
        "num_episodes": np.array([[0, 2], [3, 4]], np.int32),
        "finite": np.array([[True, True], [True, False]]),
    }
    grid = ({"learning_rate": 0.001, "hidden": (8, 8)}, {"learning_rate": 0.01})
    told = about(output, runs=2, updates=2, settings=grid, seeds=[5, 5])
    feed(CSV(), told, numbers, 0, 2)
    one = "5,study learning_rate=0.001 hidden=8x8,CartPole-v1,0.001,8x8"
    two = "5,study learning_rate=0.01,CartPole-v1,0.01,"
    assert (output / "metrics.csv").read_text() == (
        "run,update,env_steps,seed,algorithm,task,config.learning_rate,config.hidden,"
        "episode_return,num_episodes,finite\n"
        f"0,1,32,{one},,0,True\n"
        f"1,1,32,{two},0.100000001,3,True\n"
        f"0,2,64,{one},1.5,2,True\n"
        f"1,2,64,{two},inf,4,False\n"
    )


def test_the_csv_reads_back_bit_for_bit_in_pandas_and_in_a_report(tmp_path):
    numbers = metrics()
    numbers["exact"] = np.random.default_rng(1).normal(size=(3, 7)) / 3  # float64
    feed(CSV(), about(tmp_path), numbers, 0, 2, 7)
    frame = pd.read_csv(tmp_path / "metrics.csv")
    for name, values in numbers.items():
        table = frame.pivot(index="run", columns="update", values=name).to_numpy()
        np.testing.assert_array_equal(table.astype(values.dtype), values)
    [record] = read_table(tmp_path / "metrics.csv")
    assert (record.algorithm, record.task) == (tmp_path.name, "CartPole-v1")
    assert record.env_steps.tolist() == [BATCH * (k + 1) for k in range(7)]
    assert record.seeds.tolist() == [5, 6, 7]
    assert record.finite is not None
    np.testing.assert_array_equal(record.finite, numbers["finite"].all(axis=1))
    np.testing.assert_array_equal(
        record.curves.astype(np.float32), numbers["episode_return"]
    )


def test_each_setting_of_a_grid_is_read_as_an_algorithm(tmp_path):
    grid = [{"gamma": gamma} for gamma in (0.9, 0.9, 0.99, 0.99)]
    told = about(tmp_path, runs=4, settings=grid, seeds=[5, 6, 5, 6])
    feed(CSV(), told, metrics(4), 0, 7)
    names = [record.algorithm for record in read_table(tmp_path / "metrics.csv")]
    assert names == [f"{tmp_path.name} gamma=0.9", f"{tmp_path.name} gamma=0.99"]


def test_the_csv_does_not_depend_on_the_segments(tmp_path, monkeypatch):
    numbers, texts = metrics(), []
    for at_once, cuts in ((2**14, (0, 7)), (2**14, (0, 1, 3, 7)), (7, (0, 7))):
        monkeypatch.setattr("purejaxppo.study.loggers.csv_logger.ROWS_AT_ONCE", at_once)
        feed(CSV(), about(tmp_path), numbers, *cuts)
        texts.append((tmp_path / "metrics.csv").read_bytes())
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("torn", [None, 1, 40, "3,1", "3,1,32,8,st"])
def test_a_killed_csv_goes_on_as_if_nothing_had_happened(tmp_path, torn):
    """Two chunks: one is done, of the other 4 updates were logged and 3 are stored."""
    numbers, path = metrics(4), tmp_path / "metrics.csv"
    whole, first, second = CSV(), [0, 1], [2, 3]
    feed(whole, about(tmp_path, runs=4), numbers, 0, 7, runs=first, close=False)
    for start, stop in ((0, 2), (2, 7)):
        whole.log(segment(numbers, start, stop, second))
    expected = path.read_bytes()

    killed = CSV()
    feed(killed, about(tmp_path, runs=4), numbers, 0, 5, 7, runs=first, close=False)
    killed.log(segment(numbers, 0, 4, second))
    if isinstance(torn, int):
        path.write_bytes(path.read_bytes()[:-torn])
    elif torn:  # Looks like a row of update 1, which is stored.
        path.write_bytes(path.read_bytes() + torn.encode())
    resumed = CSV()
    resumed.begin(about(tmp_path, runs=4, done=[7, 7, 3, 3]))
    assert len(path.read_bytes().splitlines()) == 1 + 14 + 6
    resumed.log(segment(numbers, 3, 7, second))
    assert path.read_bytes() == expected
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_csv_that_begins_late_says_what_it_lacks(tmp_path):
    message = (
        f"{tmp_path / 'metrics.csv'} lacks 6 rows of updates that were made before it "
        "was asked for."
    )
    logger = CSV()
    with pytest.warns(LoggingWarning) as caught:
        logger.begin(about(tmp_path, done=2))
    assert [str(one.message) for one in caught] == [message]
    logger.log(segment(metrics(), 2, 7))
    assert pd.read_csv(tmp_path / "metrics.csv")["update"].to_numpy().min() == 3
    # A header that was torn is written again.
    (tmp_path / "metrics.csv").write_text("run,upd")
    with pytest.warns(LoggingWarning, match="lacks 6 rows"):
        feed(CSV(), about(tmp_path, done=2), metrics(), 2, 7)
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 15


def test_bad_csv_files(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("mine,too\n1,2\n")
    message = (
        f"Expected {path} to be the log of a study, whose columns begin with "
        "run,update,env_steps,seed,algorithm,task, got 'mine,too'; move it away."
    )
    refuses(message, CSV().begin, about(tmp_path))
    assert path.read_text() == "mine,too\n1,2\n"
    path.unlink()
    feed(CSV(), about(tmp_path), metrics(), 0, 2)
    other = CSV()
    other.begin(about(tmp_path, done=2, settings=({"gamma": 0.9},) * 3))
    columns = r"run,.*,task,config.gamma and metrics, got run,.*,task,episode_return,"
    with pytest.raises(
        ValueError, match=rf"^Expected .* to have the columns {columns}"
    ):
        other.log(segment(metrics(), 2, 7))
    with path.open("a") as file:
        file.write("9,1,32,5\n")
    before = path.read_text()
    message = (
        f"Expected row 7 of {path} to begin with a run of the study and an update, got "
        "'9,1,32,5'."
    )
    refuses(message, CSV().begin, about(tmp_path, done=2))
    assert path.read_text() == before
    message = "Expected the study to have an output directory for CSV, got none."
    refuses(message, CSV().begin, about(None))


def test_runs_of_a_technique_add_the_columns_that_only_they_have(tmp_path):
    """The second of two groups is killed, and goes on; the third is as the first."""
    settings = tuple({"kl_stop": on} for on in (False, True, False))
    told = about(tmp_path, settings=settings)
    numbers, path = metrics(), tmp_path / "metrics.csv"
    more = {**numbers, "stopped": np.linspace(0, 1, 21).reshape(3, 7)}
    whole = CSV()
    feed(whole, told, numbers, 0, 3, 7, runs=[0])
    assert path.read_text().splitlines()[0].endswith(",policy_loss,finite")
    whole.log(segment(more, 0, 7, [1]))
    whole.log(segment(numbers, 0, 7, [2]))
    frame, expected = pd.read_csv(path), path.read_bytes()
    assert frame["config.kl_stop"].tolist() == [False] * 7 + [True] * 7 + [False] * 7
    for run in range(3):
        rows = frame[frame["run"] == run]
        lost = np.full(7, NAN) if run != 1 else more["stopped"][1]
        np.testing.assert_array_equal(rows["stopped"], lost)
        for name, values in numbers.items():
            found = np.asarray(rows[name]).astype(values.dtype)
            np.testing.assert_array_equal(found, values[run])

    killed, resumed = CSV(), CSV()
    feed(killed, told, numbers, 0, 3, 7, runs=[0])
    killed.log(segment(more, 0, 5, [1]))
    feed(resumed, told._replace(done=np.array([7, 2, 0])), more, 2, 7, runs=[1])
    resumed.log(segment(numbers, 0, 7, [2]))
    assert path.read_bytes() == expected
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_an_environment_that_is_shown_on_several_lines_is_resumed(tmp_path):
    told = about(tmp_path)._replace(env="Mine(\n  size=3\n)")
    feed(CSV(), told, metrics(), 0, 4)
    feed(CSV(), told._replace(done=np.full(3, 3)), metrics(), 3, 7)
    frame = pd.read_csv(tmp_path / "metrics.csv")
    assert len(frame) == 21 and set(frame["task"]) == {"Mine(   size=3 )"}


def test_names_are_quoted_where_they_must_be(tmp_path):
    output = tmp_path / 'a, "b"'
    output.mkdir()
    feed(CSV(), about(output), metrics(), 0, 7)
    feed(CSV(), about(output, done=3), metrics(), 3, 7)
    with (output / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    assert {row["algorithm"] for row in rows} == {'a, "b"'}


# --- Thinning -----------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(0, 7), (0, 1, 2, 6, 7), (0, 4, 5, 7)])
def test_points_are_means_of_what_was_observed(cuts):
    values = np.array([[1, NAN, 3, NAN, NAN, NAN, 7]], np.float32)
    thinning = Thinning(stride=3, last=7)
    points = [
        thinning.add(segment({"x": values}, start, stop))
        for start, stop in itertools.pairwise(cuts)
    ]
    updates = np.concatenate([point.updates for point in points])
    means = np.concatenate([point.metrics["x"] for point in points], axis=1)
    assert updates.tolist() == [3, 6, 7]
    np.testing.assert_array_equal(means, [[2, NAN, 7]])
    steps = np.concatenate([point.env_steps for point in points])
    assert steps.tolist() == [96, 192, 224]


def test_what_waited_is_forgotten_when_the_study_goes_back():
    values = np.arange(6.0)[None]
    thinning = Thinning(stride=3, last=6)
    thinning.add(segment({"x": values}, 0, 2))
    point = thinning.add(segment({"x": values}, 1, 3))
    np.testing.assert_array_equal(point.metrics["x"], [[1.5]])


# --- TensorBoard --------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_each_run_has_a_folder_of_events(tmp_path):
    numbers = metrics()
    feed(TensorBoard(), about(tmp_path), numbers, 0, 3, 7)
    top = tmp_path / "tensorboard"
    assert sorted(f.name for f in top.iterdir()) == ["seed=5", "seed=6", "seed=7"]
    for run in range(3):
        curves = scalars(top / f"seed={5 + run}")
        tags = {
            "charts/episode_return": "episode_return",
            "charts/num_episodes": "num_episodes",
            "losses/policy_loss": "policy_loss",
            "charts/finite": "finite",
        }
        assert set(curves) == set(tags)
        for tag, name in tags.items():
            own = numbers[name][run].astype(np.float32)
            steps = BATCH * (1 + np.flatnonzero(~np.isnan(own)))
            assert [step for step, _ in curves[tag]] == steps.tolist()
            values = [value for _, value in curves[tag]]
            np.testing.assert_array_equal(values, own[~np.isnan(own)])


def test_events_read_back_as_runs(tmp_path):
    numbers = metrics()
    numbers["episode_return"][:, 0::3] = 1.0
    feed(TensorBoard(), about(tmp_path), numbers, 0, 7)
    [record] = read_tensorboard(
        tmp_path / "tensorboard", algorithm="ppo", task="CartPole-v1"
    )
    assert record.seeds.tolist() == [5, 6, 7]
    np.testing.assert_array_equal(record.curves, numbers["episode_return"])
    grid = ({"gamma": 0.9}, {"gamma": 0.99}, {"gamma": 0.99})
    told = about(tmp_path / "grid", settings=grid, seeds=[5, 5, 6])
    feed(TensorBoard(), told, numbers, 0, 7)
    records = read_tensorboard(tmp_path / "grid", task="CartPole-v1")
    seeds = {record.algorithm: record.seeds.tolist() for record in records}
    assert seeds == {"gamma=0.9": [5], "gamma=0.99": [5, 6]}


def test_a_resumed_study_leaves_no_second_value(tmp_path):
    """Read by TensorBoard, by one that was running already, and with no purge."""
    numbers = metrics()
    numbers["episode_return"][:] = np.arange(7)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    feed(TensorBoard(), about(whole), numbers, 0, 2, 7)
    feed(TensorBoard(), about(broken), numbers, 0, 5, close=False)
    folder = broken / "tensorboard" / "seed=6"
    [file] = folder.iterdir()
    with file.open("ab") as stream:
        stream.write(b"\x10\x00\x00")  # A torn event.
    running = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    assert len(running.Scalars("charts/episode_return")) == 5
    # In place of what was never stored, so that what remains of it would be seen.
    numbers["episode_return"][:, 3:] += 10
    feed(TensorBoard(), about(broken, done=3), numbers, 3, 4, 7)
    values = [0, 1, 2, 13, 14, 15, 16]
    expected = [(BATCH * (k + 1), value) for k, value in enumerate(values)]
    assert scalars(folder)["charts/episode_return"] == expected
    told: Any = {"algorithm": "ppo", "task": "CartPole-v1"}
    [record] = read_tensorboard(broken, **told)
    assert record.curves[1].tolist() == values
    assert len(list(folder.iterdir())) == 2
    events = running.Reload().Scalars("charts/episode_return")
    assert [(event.step, event.value) for event in events] == expected
    [unbroken] = read_tensorboard(whole, **told)
    assert unbroken.curves[1].tolist() == list(range(7))


def test_a_new_study_forgets_what_another_logged_and_nothing_else(tmp_path):
    feed(TensorBoard(), about(tmp_path), metrics(), 0, 7)
    top = tmp_path / "tensorboard"
    mine = top / "seed=6" / "events.out.tfevents.1.mine"
    mine.write_bytes(b"")
    feed(TensorBoard(), about(tmp_path, runs=1), metrics(1), 0, 7)
    assert [path.parent.name for path in top.rglob("*.purejaxppo")] == ["seed=5"]
    assert sorted(path.name for path in top.iterdir()) == ["seed=5", "seed=6"]

    feed(CSV(), about(tmp_path), metrics(), 0, 7)
    (tmp_path / "wandb.json").write_text("{}")
    (tmp_path / "wandb").mkdir()
    clear(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [mine]
    assert (tmp_path / "wandb").exists()
    mine.unlink()
    (tmp_path / "metrics.csv").write_text("mine\n")
    clear(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == "mine\n"


def test_many_runs_are_summarised_as_the_reliability_room_does(tmp_path):
    numbers = metrics(9)
    logger = TensorBoard(per_run=8)
    feed(logger, about(tmp_path, runs=9), numbers, 0, 4, 7)
    top = tmp_path / "tensorboard" / "all"
    values = numbers["episode_return"].astype(np.float64)
    seen = ~np.isnan(values).all(axis=0)
    for name, expected in {
        "mean": aggregates.mean(values),
        "iqm": aggregates.iqm(values),
        "p5": aggregates.quantile(values, 0.05),
        "p95": aggregates.quantile(values, 0.95),
    }.items():
        points = scalars(top / name)["charts/episode_return"]
        assert [step for step, _ in points] == (
            BATCH * (1 + np.flatnonzero(seen))
        ).tolist()
        np.testing.assert_allclose(
            [value for _, value in points], np.asarray(expected)[seen], rtol=1e-6
        )


def test_each_setting_and_each_part_of_one_is_summarised_alone(tmp_path):
    grid = [{"gamma": gamma} for gamma in (0.9, 0.99) for _ in range(2)]
    told = about(tmp_path, runs=4, settings=grid, seeds=[5, 6, 5, 6])
    logger, numbers = TensorBoard(per_run=0), metrics(4)
    feed(logger, told, numbers, 0, 7, runs=[0, 1, 2], close=False)
    logger.log(segment(numbers, 0, 7, [3]))
    top = tmp_path / "tensorboard"
    names = ["gamma=0.9", "gamma=0.99 runs=2-2", "gamma=0.99 runs=3-3"]
    assert sorted(folder.name for folder in top.iterdir()) == names
    points = scalars(top / "gamma=0.9" / "mean")["losses/policy_loss"]
    expected = numbers["policy_loss"][:2].mean(axis=0)
    np.testing.assert_allclose([value for _, value in points], expected, rtol=1e-5)


def test_so_many_points_at_most(tmp_path):
    numbers = {"grad_norm": np.arange(14.0)[None]}
    feed(TensorBoard(points=5), about(tmp_path, runs=1, updates=14), numbers, 0, 4, 14)
    points = scalars(tmp_path / "tensorboard" / "seed=5")["losses/grad_norm"]
    assert points == [(96, 1), (192, 4), (288, 7), (384, 10), (448, 12.5)]


# --- Weights & Biases ---------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch):
    """As on a machine without settings for wandb, whose process ends with the test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    yield
    import wandb

    wandb.teardown()


def wandb_records(path: Path) -> list[Any]:
    """What a `.wandb` file holds: LevelDB's log format, after 7 bytes of header."""
    from wandb.proto.wandb_internal_pb2 import (
        Record,  # pyright: ignore[reportAttributeAccessIssue]
    )

    data, at, parts, records = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # Full, or the last part.
            records.append(Record.FromString(parts))
            parts = b""
    return records


def wandb_runs(output: Path) -> dict[str, Any]:
    """Name -> ids, config and rows of all files of a run, in order."""
    import wandb

    wandb.teardown()  # Its process may write for a moment after a run has finished.
    runs: dict[str, Any] = {}
    for path in sorted(output.glob("wandb/offline-run-*/*.wandb")):
        records = wandb_records(path)
        [told] = [record.run for record in records if record.run.run_id]
        rows = [
            {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for record in records
            if record.WhichOneof("record_type") == "history"
        ]
        config = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in told.config.update
        }
        entry = runs.setdefault(told.display_name, {"ids": [], "rows": []})
        entry["ids"].append((told.run_id, told.project, told.run_group))
        entry["rows"] += rows
        entry["config"] = config
        entry["axes"] = {
            (record.metric.name or record.metric.glob_name): record.metric.step_metric
            for record in records
            if record.WhichOneof("record_type") == "metric"
        }
    return runs


def test_wandb_has_each_run_with_its_config_and_rows(tmp_path, offline, capfd):
    grid = ({"learning_rate": 0.1}, {"learning_rate": 0.2})
    told = about(tmp_path, runs=2, settings=grid, seeds=[5, 5])
    numbers = metrics(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feed(WandB("cartpole", "offline"), told, numbers, 0, 3, 7)
    runs = wandb_runs(tmp_path)
    assert set(runs) == {"learning_rate=0.1 seed=5", "learning_rate=0.2 seed=5"}
    token = json.loads((tmp_path / "wandb.json").read_text())["study"]
    for i, (label, run) in enumerate(runs.items()):
        assert label == told.labels[i]
        group = f"{tmp_path.name}-{token}"
        assert run["ids"] == [(f"{token}-{i}", "cartpole", group)]
        config = {k: v for k, v in run["config"].items() if not k.startswith("_")}
        assert config == {
            "env": "CartPole-v1",
            "seed": 5,
            "learning_rate": grid[i]["learning_rate"],
            "network.hidden": [64, 64],
            "kl_stop": None,
        }
        assert run["axes"]["*"] == "env_steps"
        assert [row["_step"] for row in run["rows"]] == list(range(1, 8))
        for k, row in enumerate(run["rows"]):
            assert row["env_steps"] == BATCH * (k + 1)
            assert row["losses/policy_loss"] == numbers["policy_loss"][i, k]
            assert row["charts/num_episodes"] == numbers["num_episodes"][i, k]
            assert ("charts/episode_return" in row) == (k % 3 > 0)
    assert capfd.readouterr() == ("", "")


def test_a_resumed_study_goes_on_with_its_wandb_runs(tmp_path, offline):
    """Logged up to update 5, stored up to 3: 4 and 5 are not logged again."""
    numbers = metrics(1)
    first = WandB("cartpole", "offline")
    feed(first, about(tmp_path, runs=1), numbers, 0, 2, 5)
    # Files of one run and second would have one name.
    for folder in tmp_path.glob("wandb/offline-run-*"):
        folder.rename(folder.with_name("offline-run-0"))
    again = WandB("cartpole", "offline")
    feed(again, about(tmp_path, runs=1, done=3), numbers, 3, 4, 7)
    [run] = wandb_runs(tmp_path).values()
    assert [row["_step"] for row in run["rows"]] == list(range(1, 8))
    assert len(run["ids"]) == 2
    assert len(set(run["ids"])) == 1
    # Another study in the same directory does not go on with them.
    feed(WandB("cartpole", "offline"), about(tmp_path, runs=1), numbers, 0, 7)
    [run] = wandb_runs(tmp_path).values()
    assert len(set(run["ids"])) == 2


def test_many_runs_are_one_of_wandb(tmp_path, offline):
    numbers = metrics(5)
    feed(WandB(mode="offline", per_run=4), about(tmp_path, runs=5), numbers, 0, 7)
    [(name, run)] = wandb_runs(tmp_path).items()
    assert name == "all"
    assert run["config"]["seeds"] == [5, 6, 7, 8, 9]
    rows = {key: [row[key] for row in run["rows"]] for key in run["rows"][0]}
    losses = numbers["policy_loss"].astype(np.float64)
    for key, expected in {
        "mean": aggregates.mean(losses),
        "iqm": aggregates.iqm(losses),
        "p5": aggregates.quantile(losses, 0.05),
        "p95": aggregates.quantile(losses, 0.95),
    }.items():
        np.testing.assert_allclose(rows[f"losses/policy_loss_{key}"], expected)


ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
from purejaxppo.study.loggers import About, Logged, WandB

output = Path(sys.argv[1])
one, steps = np.ones(1, int), np.arange(1, 3)
about = About("Hop", output, {}, ("seed=1",), ({},), one, 0 * one, 2 * one)
logger = WandB(mode="offline")
logger.begin(about)
logger.log(Logged(0 * one, 0, 2, steps, {"entropy": np.ones((1, 2))}, 1.0))
logger.close()
try:
    WandB(mode="online").begin(about)
except ValueError as error:
    (output / "said").write_text(str(error))
"""


def test_wandb_leaves_nothing_behind(tmp_path):
    """Not at home, not among the processes, not on the terminal; nor does it ask."""
    home, output = tmp_path / "home", tmp_path / "study"
    home.mkdir()
    output.mkdir()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(output)],
        env={**inherited, "HOME": str(home), "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.rglob("*")) == []
    processes = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(str(tmp_path).encode() in command for command in processes)
    [file] = output.rglob("*.wandb")
    rows = [record.history for record in wandb_records(file)]
    assert sum(len(row.item) > 0 for row in rows) == 2
    assert (output / "said").read_text() == (
        "Expected Weights & Biases to be logged in for mode online, got: No API key "
        "configured. Use `wandb login` to log in."
    )


def test_wandb_that_is_disabled_does_nothing(tmp_path):
    feed(WandB(mode="disabled"), about(tmp_path), metrics(), 0, 7)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_and_missing_packages(tmp_path, monkeypatch):
    message = "Expected mode of WandB to be one of online, offline, disabled, got 'of'."
    refuses(message, WandB, mode="of")
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    message = (
        "Expected WANDB_MODE to be one of online, offline, disabled, got 'dryrun'."
    )
    refuses(message, make_loggers, "wandb")
    monkeypatch.delenv("WANDB_MODE")
    message = "Expected per_run of WandB to be a whole number >= 0, got -1."
    refuses(message, WandB, per_run=-1)
    message = "Expected points of TensorBoard to be a whole number >= 1, got 0."
    refuses(message, TensorBoard, points=0)
    (tmp_path / "wandb.json").write_text('{"study": 3}')
    message = (
        f"Expected {tmp_path / 'wandb.json'} to hold the ids of the study's runs; "
        "without the file they get new ones."
    )
    refuses(message, WandB(mode="offline").begin, about(tmp_path, done=1))
    for package, make in {"wandb": WandB, "tensorboard": TensorBoard}.items():
        monkeypatch.setitem(sys.modules, package, None)
        message = (
            f"Expected {package} to be installed for {make.__name__}, found none: "
            f'pip install "purejaxppo[{package}]".'
        )
        refuses(message, make)
    WandB(mode="disabled").begin(about(tmp_path))


# --- Many loggers, and a user's own -------------------------------------------------


def test_a_users_own_logger_is_a_function_or_has_a_method():
    seen: list[Any] = []

    class Own:
        def log(self, logged):
            seen.append(logged.stop)

    class Whole(Own):
        def begin(self, about):
            seen.append(about.env)

        def close(self):
            seen.append("closed")

    logger = fan_out([lambda logged: seen.append(logged.start), Own(), Whole()])
    feed(logger, about(None), metrics(), 0, 3)
    assert seen == ["CartPole-v1", 0, 3, 3, "closed"]
    feed(fan_out([]), about(None), metrics(), 0, 3)
    for one in (lambda logged: seen.append(logged.stop), Own()):
        seen.clear()
        feed(fan_out(one), about(None), metrics(), 0, 3)
        assert seen == [3]


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            "csv",
            "Expected a logger to be a function or to have a method log, got 'csv'.",
        ),
        (
            CSV,
            "Expected a logger to be an object, got the class CSV; CSV() makes one.",
        ),
    ],
)
def test_what_is_no_logger_is_refused(thing, message):
    refuses(message, as_logger, thing)
    refuses(message, fan_out, [print, thing])
    refuses(message, fan_out, thing)


@pytest.mark.parametrize("method", ["begin", "log", "close"])
def test_a_logger_that_fails_is_dropped_and_the_others_go_on(tmp_path, method):
    calls = []

    class Breaking:
        def begin(self, about):
            self._call("begin")

        def log(self, logged):
            self._call("log")

        def close(self):
            self._call("close")

        def _call(self, name):
            calls.append(name)
            if name == method:
                raise OSError("No space\n left on device.")

    logger = fan_out([Breaking(), CSV()])
    with pytest.warns(LoggingWarning) as caught:
        feed(logger, about(tmp_path), metrics(), 0, 2, 5, 7)
    message = (
        f"Dropped the logger Breaking, which failed to {method}; the study goes on "
        "without it. OSError: No space left on device."
    )
    assert [str(one.message) for one in caught] == [message]
    expected = {
        "begin": ["begin", "close"],
        "log": ["begin", "log", "close"],
        "close": ["begin", "log", "log", "log", "close"],
    }
    assert calls == expected[method]
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 21


def test_bad_input_stops_the_study_before_it_begins(tmp_path):
    closed = []

    class Own:
        def log(self, logged): ...

        def close(self):
            closed.append(True)

    message = "Expected the study to have an output directory for CSV, got none."
    refuses(message, fan_out([Own(), CSV()]).begin, about(None))
    assert closed == [True]


def test_no_logger_changes_the_numbers_of_another(tmp_path):
    def changing(logged):
        logged.metrics["policy_loss"][:] = 0

    numbers = metrics()
    before = numbers["policy_loss"].copy()
    with pytest.warns(LoggingWarning, match="Dropped the logger changing, .* read-on"):
        feed(fan_out([changing, CSV()]), about(tmp_path), numbers, 0, 7)
    np.testing.assert_array_equal(numbers["policy_loss"], before)
    assert numbers["policy_loss"].flags.writeable


def test_loggers_by_name(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    made = make_loggers(" csv,TensorBoard,wandb")
    assert [type(logger) for logger in made] == [CSV, TensorBoard, WandB]
    assert make_loggers("none") == make_loggers("") == []
    refuses(
        "Unknown logger 'tensorbord'; nearest: tensorboard.",
        make_loggers,
        "csv,tensorbord",
    )
    refuses("Expected each logger once, got csv 2 times.", make_loggers, "csv,csv")


def test_what_the_page_on_logging_shows_runs(tmp_path, capsys, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "logging.md").read_text()
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    assert "100_000" in blocks[0]
    for block in blocks:
        exec(block.replace("100_000", "1024"), namespace)
    study = namespace["study"]
    assert len(namespace["frame"]) == 8 * study.config.num_updates == 16
    numbers = metrics()
    numbers["episode_return"][:, 1] = [NAN, 30.25, 20.5]
    logger = fan_out([namespace["Worst"](), namespace["say"]])
    capsys.readouterr()
    feed(logger, about(None), numbers, 0, 1, 2)
    assert capsys.readouterr().out == (
        "1 updates, 1.5 s\nseed 7 has 20.5 after 64 steps\n2 updates, 3.0 s\n"
    )
