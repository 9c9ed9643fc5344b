"""Runs from elsewhere: what is read, what is written, and one line for what is bad."""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rliable import metrics
from tensorboard.compat.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from purejaxppo.cli import devices, entry_point
from purejaxppo.reliability.runs import Runs
from purejaxppo.results import (
    ReadingWarning,
    common_grid,
    final_scores,
    from_scores,
    read,
    read_study,
    read_tensorboard,
    write,
)
from purejaxppo.study.storage import files

NAN = np.nan


def runs(**changes: Any) -> Runs:
    """Two runs of three points."""
    record = Runs(
        algorithm="ppo",
        task="CartPole-v1",
        env_steps=np.array([64, 128, 192]),
        curves=np.array([[1.0, NAN, 3.0], [0.1, 0.2, 0.1 + 0.2]]),
        seeds=np.array([7, 5]),
    )
    return record._replace(**changes)


def assert_same(ours, theirs):
    """Records with the same bits: NaN, signed zeros and the order of runs included."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.algorithm, a.task) == (b.algorithm, b.task)
        assert (a.gaps, a.normalized) == (b.gaps, b.normalized)
        for field in ("env_steps", "curves", "seeds", "finite", "rollouts"):
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None), field
            if x is not None:
                assert (x.dtype, x.shape, x.tobytes()) == (
                    y.dtype,
                    y.shape,
                    y.tobytes(),
                )


def refuses(message, call, *arguments, **keywords):
    """Whether the one line of the error is this."""
    with pytest.raises(ValueError) as error:
        call(*arguments, **keywords)
    assert str(error.value) == message


# --- Tables -------------------------------------------------------------------------


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


HEADER = "algorithm,task,seed,env_steps,episode_return\n"


def test_a_table_made_by_hand(tmp_path):
    path = table(
        tmp_path / "runs.csv",
        "task,seed,finite,env_steps,note,episode_return,algorithm\n"
        "Walk,5,true,10,x,1.5,ppo\n"
        "Walk,3,TRUE,10,,,ppo\n"
        "Hop,3,1,1e1,,-inf,ppo\n"
        "Walk,3,false,20,,nan,ppo\n"
        "Walk,5,true,20,,1e-3,ppo\n",
    )
    walk = Runs(
        "ppo",
        "Walk",
        np.array([10, 20]),
        np.array([[1.5, 0.001], [NAN, NAN]]),
        np.array([5, 3]),
        np.array([True, False]),
    )
    hop = Runs(
        "ppo",
        "Hop",
        np.array([10]),
        np.array([[-np.inf]]),
        np.array([3]),
        np.array([True]),
    )
    assert_same(read(path), [walk, hop])


def test_other_names_and_what_columns_do_not_tell(tmp_path):
    path = table(tmp_path / "log.csv", "step,reward\n5,1\n10,2\n")
    names = {"step": "env_steps", "reward": "episode_return"}
    [record] = read(path, columns=names, algorithm="a2c", task="Hop", seed=4)
    steps, curves = np.array([5, 10]), np.array([[1.0, 2]])
    expected = Runs("a2c", "Hop", steps, curves, np.array([4]))
    assert_same([record], [expected])
    [record] = read(path, columns=names, algorithm="a2c", task="Hop")
    assert record.seeds.tolist() == [0]


def test_names_are_texts_whatever_they_look_like(tmp_path):
    path = table(tmp_path / "a.csv", HEADER + "007,NA,1,1,2\nnan,None,1,1,2\n")
    names = [(record.algorithm, record.task) for record in read(path)]
    assert names == [("007", "NA"), ("nan", "None")]


def test_an_only_name_is_replaced_and_several_are_not(tmp_path):
    path = table(tmp_path / "a.csv", HEADER + "ppo,Hop,1,1,2\nppo,Walk,1,1,2\n")
    assert [record.algorithm for record in read(path, algorithm="ours")] == ["ours"] * 2
    message = "Expected one task to be called 'Run', got Hop, Walk."
    refuses(message, read, path, task="Run")


def test_ragged_curves_on_equal_steps_keep_these_and_are_counted(tmp_path):
    rows = "ppo,Hop,1,10,1\nppo,Hop,1,20,2\nppo,Hop,2,20,5\nppo,Hop,2,30,\n"
    path = table(tmp_path / "a.csv", HEADER + rows)
    message = (
        r"^Ragged: 2 of the 2 runs of ppo on Hop lack a row at some of the 3 steps; "
        r"2 of 6 values are NaN\.$"
    )
    with pytest.warns(ReadingWarning, match=message):
        [record] = read(path)
    assert record.env_steps.tolist() == [10, 20, 30]
    np.testing.assert_array_equal(record.curves, [[1, 2, NAN], [NAN, 5, NAN]])


def test_bins_hold_means_of_the_observations_in_them(tmp_path):
    """Of 10 steps, 3 bins: (0, 3], (3, 6], (6, 10]."""
    pairs = [(0, 1), (3, 3), (4, 8), (6, NAN), (7, 2), (10, 4)]
    rows = "".join(f"ppo,Hop,1,{step},{value}\n" for step, value in pairs)
    path = table(tmp_path / "a.csv", HEADER + rows)
    [record] = read(path, points=3)
    assert record.env_steps.tolist() == [3, 6, 10]
    np.testing.assert_array_equal(record.curves, [[2, 8, 3]])
    rows += "ppo,Hop,2,5,1\n"
    path = table(tmp_path / "a.csv", HEADER + rows)
    message = "1 of the 2 runs of ppo on Hop lack a row at some of the 3 bins; 2 of 6"
    with pytest.warns(ReadingWarning, match=message):
        [record] = read(path, points=3)
    np.testing.assert_array_equal(record.curves[1], [NAN, 1, NAN])


@pytest.mark.parametrize("points", [1, 2, 3, 7, 50])
def test_bins_agree_with_their_definition(points):
    rng = np.random.default_rng(points)
    steps, values = np.arange(1, 51), rng.normal(size=50)
    runs, name = np.zeros(50, int), ("ppo", "Hop")
    record = common_grid.gather(name, runs, steps, values, np.array([0]), points)
    grid, [curve] = record.env_steps, record.curves
    bins = [[] for _ in range(points)]
    for step, value in zip(steps, values, strict=True):
        holds = [50 * k < step * points <= 50 * (k + 1) for k in range(points)]
        bins[holds.index(True)].append((step, value))
    assert grid.tolist() == [rows[-1][0] for rows in bins]
    means = [np.mean([value for _, value in rows]) for rows in bins]
    np.testing.assert_allclose(curve, means, rtol=1e-15)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_writing_is_what_reading_reads(tmp_path, suffix):
    path = tmp_path / f"all{suffix}"
    other = runs(
        algorithm="a, \"b\" 'c'",
        finite=np.array([True, False]),
        rollouts=np.array([[1.0, -0.0, NAN], [NAN, NAN, NAN]]),
        curves=np.array([[-0.0, 5e-324, np.inf], [NAN, NAN, NAN]]),
    )
    records = [
        runs(),
        other,
        runs(task="Hop", env_steps=np.array([0, 2**52 - 1, 2**53 - 2])),
    ]
    write(records, path)
    assert (tmp_path / f"all.rollouts{suffix}").exists()
    assert_same(read(path), records)
    write(records[:1], path)
    assert [file.name for file in tmp_path.iterdir()] == [f"all{suffix}"]
    assert_same(read(path), records[:1])


def test_the_text_of_a_table(tmp_path):
    record = runs(finite=np.array([True, False]), rollouts=np.array([[1.0], [NAN]]))
    write([record], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == (
        "algorithm,task,seed,env_steps,episode_return,finite\n"
        "ppo,CartPole-v1,7,64,1.0,True\n"
        "ppo,CartPole-v1,7,128,,True\n"
        "ppo,CartPole-v1,7,192,3.0,True\n"
        "ppo,CartPole-v1,5,64,0.1,False\n"
        "ppo,CartPole-v1,5,128,0.2,False\n"
        "ppo,CartPole-v1,5,192,0.30000000000000004,False\n"
    )
    assert (tmp_path / "a.rollouts.csv").read_text() == (
        "algorithm,task,seed,episode,return\n"
        "ppo,CartPole-v1,7,0,1.0\n"
        "ppo,CartPole-v1,5,0,\n"
    )


def test_rollouts_of_some_runs_and_some_episodes(tmp_path):
    write([runs()], tmp_path / "a.csv")
    rows = "ppo,CartPole-v1,5,0,4\nppo,CartPole-v1,5,1,6\n"
    beside = tmp_path / "a.rollouts.csv"
    table(beside, "algorithm,task,seed,episode,return\n" + rows)
    message = f"1 of the 2 runs of ppo on CartPole-v1 in {beside} lack a row at some"
    with pytest.warns(ReadingWarning, match=message):
        [record] = read(tmp_path / "a.csv")
    np.testing.assert_array_equal(record.rollouts, [[NAN, NAN], [4, 6]])


floats = st.floats(width=64)  # NaN, infinities, subnormals and signed zeros included
printable = st.text(min_size=1, max_size=5).filter(str.isprintable)


@st.composite
def records(draw):
    """A record whose every array is drawn; a NaN has the bits of NumPy's."""
    num_runs, num_times = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    seeds = st.integers(1 - 2**53, 2**53 - 1)
    width = draw(st.integers(1, 2**50))
    first = draw(st.integers(0, width))
    episodes = draw(st.none() | st.integers(1, 3))

    def returns(*shape):
        drawn = draw(hnp.arrays(np.float64, shape, elements=floats))
        return np.where(np.isnan(drawn), NAN, drawn)

    def unique(elements, size):
        return draw(st.lists(elements, min_size=size, max_size=size, unique=True))

    flags = hnp.arrays(np.bool_, num_runs)
    return Runs(
        algorithm=draw(printable),
        task=draw(printable),
        env_steps=first + width * np.arange(num_times),
        curves=returns(num_runs, num_times),
        seeds=np.array(unique(seeds, num_runs)),
        finite=draw(st.none() | flags),
        rollouts=None if episodes is None else returns(num_runs, episodes),
    )


several = st.lists(records(), min_size=1, max_size=3, unique_by=lambda r: r[:2])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@settings(max_examples=60, deadline=None)
@given(several)
def test_any_record_comes_back_bit_for_bit(suffix, drawn):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"runs{suffix}"
        write(drawn, path)
        assert_same(read(path), drawn)


COLUMNS = "algorithm, task, seed, env_steps, episode_return"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected {path} to hold rows, found none."),
        (HEADER, "Expected {path} to hold rows, found none."),
        (
            "task,seed,env_steps,episode_return\nHop,1,1,1\n",
            "Expected {path} to have a column algorithm, got task, seed, env_steps, "
            "episode_return; algorithm (--names NAME) says it for all rows.",
        ),
        (
            "algorithm,task,Step,episode_return\nppo,Hop,1,1\n",
            "Expected {path} to have a column env_steps, got algorithm, task, Step, "
            "episode_return; columns (--columns OTHER=env_steps) says which one it is.",
        ),
        (
            HEADER + "ppo,Hop,1,1,1\nppo,Hop,1,2,high\n",
            "Expected episode_return in row 2 of {path} to be a number, got 'high'.",
        ),
        (
            HEADER + "ppo,Hop,1,1.5,1\n",
            "Expected env_steps in row 1 of {path} to be a whole number in "
            "[0, 2^53), got '1.5'.",
        ),
        (
            HEADER + "ppo,Hop,1,,1\n",
            "Expected env_steps in row 1 of {path} to be a whole number in "
            "[0, 2^53), got ''.",
        ),
        (
            HEADER + "ppo,Hop,1,-1,1\n",
            "Expected env_steps in row 1 of {path} to be a whole number in "
            "[0, 2^53), got '-1'.",
        ),
        (
            HEADER + "ppo,Hop,x,1,1\n",
            "Expected seed in row 1 of {path} to be a number, got 'x'.",
        ),
        (
            HEADER + f"ppo,Hop,{2**53},1,1\n",
            "Expected seed in row 1 of {path} to be a whole number in "
            "[-9007199254740991, 2^53), got '9007199254740992'.",
        ),
        (
            HEADER + "ppo,Hop,1,1,1\nppo,,1,1,1\n",
            "Expected task in row 2 of {path} to be a printable name, got ''.",
        ),
        (
            HEADER + 'ppo,"Hop\nWalk",1,1,1\n',
            "Expected task in row 1 of {path} to be a printable name, got "
            "'Hop\\nWalk'.",
        ),
        (
            HEADER + "ppo,Hop,1,1,1\nppo,Hop,2,1,1\nppo,Hop,1,1,1\n",
            "Expected env_steps in row 3 of {path} to increase within its run, got 1 "
            "after 1 in row 1.",
        ),
        (
            HEADER + "ppo,Hop,1,9,1\nppo,Hop,1,8,1\n",
            "Expected env_steps in row 2 of {path} to increase within its run, got 8 "
            "after 9 in row 1.",
        ),
        (
            HEADER + "ppo,Hop,1,1,1\nppo,Hop,1,2,2,3\n",
            "Expected {path} to be CSV, got: Error tokenizing data. C error: Expected "
            "5 fields in line 3, saw 6.",
        ),
        (
            HEADER + "ppo,Hop,1,1,1,5\nppo,Hop,1,2,2,3\n",
            "Expected {path} to be CSV, got: Length of header or names does not match "
            "length of data. This leads to a loss of data with index_col=False.",
        ),
        (
            HEADER[:-1] + ",finite\nppo,Hop,1,1,1,yes\n",
            "Expected finite in row 1 of {path} to be true, false or empty, got 'yes'.",
        ),
        (
            HEADER[:-1] + ",finite\nppo,Hop,1,1,1,true\nppo,Hop,2,1,1,\n",
            "Expected finite in row 2 of {path} to be true or false, as in other rows "
            "of its algorithm and task, got ''.",
        ),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, message):
    path = table(tmp_path / "bad.csv", text)
    refuses(message.format(path=path), read, path)


def test_bad_arguments_of_a_table(tmp_path):
    path = table(tmp_path / "a.csv", HEADER + "ppo,Hop,1,10,2\n")
    columns = f"Expected {path} to have the column 'step' that columns maps, got "
    refuses(f"{columns}{COLUMNS}.", read, path, columns={"step": "env_steps"})
    for wrong in ("steps", "task"):
        message = (
            f"Expected columns to map 'seed' to one of {COLUMNS}, finite that {path} "
            f"lacks, got {wrong!r}."
        )
        refuses(message, read, path, columns={"seed": wrong})
    message = f"Expected no seed to be given for {path}, whose column tells it, got 3."
    refuses(message, read, path, seed=3)
    for points in (0, 11):
        message = (
            f"Expected points to be in [1, 10], the steps of ppo on Hop, got {points}."
        )
        refuses(message, read, path, points=points)
    message = f"metric says nothing about how to read {path} (table)."
    refuses(message, read, path, metric="episode_return")


def test_swapped_columns_are_no_conflict(tmp_path):
    text = HEADER.replace("algorithm,task", "task,algorithm") + "ppo,Hop,1,1,2\n"
    path = table(tmp_path / "a.csv", text)
    [record] = read(path, columns={"task": "algorithm", "algorithm": "task"})
    assert (record.algorithm, record.task) == ("ppo", "Hop")


def test_rows_of_several_runs_without_their_seeds(tmp_path):
    text = "algorithm,task,env_steps,episode_return\nppo,Hop,1,1\nppo,Hop,1,2\n"
    path = table(tmp_path / "a.csv", text)
    refuses(
        f"Expected env_steps in row 2 of {path} to increase within its run, got 1 "
        f"after 1 in row 1; without a column seed all rows are of one run.",
        read,
        path,
    )


def test_a_name_that_parquet_lacks(tmp_path):
    columns = {"task": ["Hop", "Hop"], "seed": [1, 2], "env_steps": [1, 1]}
    names = pd.array(["ppo", None], dtype="string")
    frame = pd.DataFrame({"algorithm": names, **columns, "episode_return": [1.0, 2.0]})
    frame.to_parquet(path := tmp_path / "a.parquet")
    refuses(
        f"Expected algorithm in row 2 of {path} to be a printable name, got <NA>.",
        read,
        path,
    )


def test_rollouts_of_other_runs_are_refused(tmp_path):
    path, beside = tmp_path / "a.csv", tmp_path / "a.rollouts.csv"
    write([runs()], path)
    header = "algorithm,task,seed,episode,return\n"
    start = f"Expected {beside} to be of runs in {path}, got "
    table(beside, header + "ppo,Hop,7,0,1\n")
    refuses(f"{start}ppo on Hop.", read, path)
    table(beside, header + "ppo,CartPole-v1,8,0,1\n")
    refuses(f"{start}ppo on CartPole-v1 with seed 8.", read, path)
    table(beside, header + "ppo,CartPole-v1,7,1,1\nppo,CartPole-v1,7,0,1\n")
    message = (
        f"Expected episode in row 2 of {beside} to increase within its run, got 0 "
        "after 1 in row 1."
    )
    refuses(message, read, path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "Expected runs to be written to {path}, got none."),
        (
            [runs(), runs()],
            "Expected each algorithm to be there once on each task, got ppo on "
            "CartPole-v1 2 times; algorithm (--names) tells them apart.",
        ),
        (
            [runs(seeds=np.array([3, 3]))],
            "Expected the runs of ppo on CartPole-v1 to have seeds of their own, got "
            "seed 3 2 times.",
        ),
        (
            [runs(task="")],
            "Expected task in row 1 of 'ppo on ' to be a printable name, got ''.",
        ),
        (
            [runs(env_steps=np.array([0.5, 1, 2]))],
            "Expected env_steps in row 1 of ppo on CartPole-v1 to be a whole number in "
            "[0, 2^53), got 0.5.",
        ),
        (
            [runs(), runs(task="Hop", rollouts=np.zeros((2, 0)))],
            "Expected rollouts of ppo on Hop to be [runs, episodes], with one episode "
            "at least, got shape (2, 0).",
        ),
        (
            [runs(seeds=np.arange(3))],
            "Expected seeds of ppo on CartPole-v1 to be of 2 runs, got 3.",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_cannot_be_read_again_is_not_written(tmp_path, suffix, bad, message):
    path = table(tmp_path / f"kept{suffix}", "mine")
    refuses(message.format(path=path), write, bad, path)
    assert path.read_text() == "mine"


def test_a_parquet_table_of_others(tmp_path):
    """Categories, an index, nullable and narrow numbers are read like any."""
    frame = pd.DataFrame(
        {
            "algorithm": pd.Categorical(["ppo", "ppo"]),
            "task": ["Hop", "Hop"],
            "seed": pd.array([1, 1], dtype="Int32"),
            "env_steps": np.array([1, 2], np.uint16),
            "episode_return": np.array([0.5, NAN], np.float32),
            "finite": pd.array([True, True], dtype="boolean"),
        },
        index=[5, 6],
    )
    path = tmp_path / "a.parquet"
    frame.to_parquet(path)
    expected = Runs(
        *("ppo", "Hop", np.array([1, 2]), np.array([[0.5, NAN]]), np.array([1])),
        finite=np.array([True]),
    )
    assert_same(read(path), [expected])
    frame["env_steps"] = pd.array([1, None], dtype="Int64")
    frame.to_parquet(path)
    message = (
        f"Expected env_steps in row 2 of {path} to be a whole number in [0, 2^53), got "
        "nan."
    )
    refuses(message, read, path)


def test_what_is_no_parquet_and_no_pyarrow(tmp_path, monkeypatch):
    path = table(tmp_path / "a.parquet", "some text that is long enough")
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value).startswith(f"Expected {path} to be Parquet, got: ")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = (
        f"Expected pyarrow to be installed for {path}, found none: "
        'pip install "purejaxppo[parquet]".'
    )
    refuses(message, read, path)
    refuses(message, write, [runs()], path)


def test_the_extras_that_messages_name_are_there():
    project = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert extras["parquet"][0].startswith("pyarrow")
    assert extras["tensorboard"][0].startswith("tensorboard")


def test_a_union_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(common_grid, "LARGEST", 3)
    path = table(tmp_path / "a.csv", HEADER + "ppo,Hop,1,1,1\nppo,Hop,2,2,1\n")
    message = (
        "Expected the curves of ppo on Hop to hold 3 values at most, got 2 runs x 2 "
        "steps; points (--points 1000) makes 1000 bins of them."
    )
    refuses(message, read, path)


# --- Studies ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that the command line made: three runs of two updates."""
    output = tmp_path_factory.mktemp("interchange") / "small"
    arguments = (
        *("train", "CartPole-v1", "--num-seeds", "3", "--seed", "4"),
        *("--total-timesteps", "64", "--num-envs", "2", "--num-steps", "16"),
        *("--network.widths", "8", "--num-minibatches", "2"),
        *("--evaluation.every", "2", "--output", str(output)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "use_this_machine", lambda: None)
        assert entry_point.main(arguments) == 0
    return output


@pytest.fixture
def evaluated(study):
    """The same study with rollouts of five episodes."""

    def write_evaluation(seeds):
        shape = (len(seeds), 5)
        names = ("greedy_return", "greedy_length", "sampled_return", "sampled_length")
        dataset = xarray.Dataset(
            {
                name: (("run", "episode"), np.full(shape, i, np.float32))
                for i, name in enumerate(names)
            },
            coords={"seed": ("run", np.array(seeds))},
            attrs={"env": "CartPole-v1"},
        )
        files.write_evaluation(study, dataset)

    yield study, write_evaluation
    files.remove(study / "evaluation.zarr")


def test_a_study_is_read(study):
    results = files.read_results(study)
    [record] = read(study)
    expected = Runs(
        "small",
        "CartPole-v1",
        np.array([32, 64]),
        results.episode_return.values.astype(np.float64),
        np.array([4, 5, 6]),
        np.array([True, True, True]),
    )
    assert_same([record], [expected])
    record = read_study(study, metric="evaluation_return", algorithm="mine")
    assert record.algorithm == "mine"
    np.testing.assert_array_equal(record.curves, results.evaluation_return.values)


def test_a_study_with_rollouts(evaluated):
    study, write_evaluation = evaluated
    write_evaluation([4, 5, 6])
    [record] = read(study)
    np.testing.assert_array_equal(record.rollouts, np.full((3, 5), 2.0))
    assert isinstance(record.rollouts, np.ndarray)
    assert record.rollouts.dtype == np.float64
    [record] = read(study, rollouts="greedy")
    np.testing.assert_array_equal(record.rollouts, np.zeros((3, 5)))
    message = (
        f"Expected {study / 'evaluation.zarr'} to hold bold_return, found none; "
        "nearest: sampled_return, greedy_return, sampled_length."
    )
    refuses(message, read, study, rollouts="bold")
    write_evaluation([4, 5])
    message = (
        f"Expected {study / 'evaluation.zarr'} to be of the study's 3 seeds from 4 on, "
        "got 2 from 4 on; evaluate the study again."
    )
    refuses(message, read, study)


def test_episodes_that_were_cut_are_told(evaluated):
    study, write_evaluation = evaluated
    write_evaluation([4, 5, 6])
    cut = np.zeros((3, 5), bool)
    cut[1, :2] = True
    whole = files.read_evaluation(study).assign(sampled_cut=(("run", "episode"), cut))
    files.write_evaluation(study, whole)
    with pytest.warns(ReadingWarning, match="Cut: 2 of 15 episodes in "):
        [record] = read(study)
    np.testing.assert_array_equal(record.rollouts, np.full((3, 5), 2.0))


def test_a_run_that_diverged_once_is_not_finite(study, tmp_path):
    results = files.read_results(study)
    results["finite"][1, 0] = False
    files.write_results(tmp_path, results)
    for name in (files.CONFIG, files.ENVIRONMENT):
        shutil.copy(study / name, tmp_path)
    [record] = read(tmp_path)
    assert isinstance(record.finite, np.ndarray)
    assert record.finite.tolist() == [True, False, True]


def test_a_study_travels_as_a_table(study, tmp_path):
    [record] = read(study)
    write([record], tmp_path / "study.parquet")
    assert_same(read(tmp_path / "study.parquet"), [record])


def test_a_metric_that_was_not_recorded(study):
    message = (
        f"Expected {study / 'results.zarr'} to hold episode_retur, found none; "
        "nearest: episode_return"
    )
    with pytest.raises(ValueError) as error:
        read(study, metric="episode_retur")
    assert str(error.value).startswith(message)


def test_a_study_that_stopped_is_read_with_a_warning(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "stopped")
    more = {"num_updates": 9, "num_run_updates": 9, "run_updates": 2}
    facts = files.read_environment(study) | {"status": "incomplete", **more}
    (copy / files.ENVIRONMENT).write_text(json.dumps(facts))
    message = rf"^Incomplete: the study in {copy} stopped after 2 of 9 updates\.$"
    with pytest.warns(ReadingWarning, match=message):
        [record] = read(copy)
    assert record.algorithm == "stopped"
    files.remove(copy / files.RESULTS)
    refuses(f"Expected a study with results in {copy}, found none.", read, copy)


# --- TensorBoard --------------------------------------------------------------------


def log(folder: Path, points, tag="charts/episodic_return", tensors=False):
    """Write event files as others' writers do: torch's, or TensorFlow 2's."""
    writer = EventFileWriter(str(folder))
    for step, value in points:
        scalar: Any = {"simple_value": value}
        if tensors:
            proto = make_tensor_proto(np.float32(value))
            scalar = {"tensor": proto, "metadata": create_summary_metadata("", "")}
        summary = Summary(value=[Summary.Value(tag=tag, **scalar)])
        writer.add_event(Event(step=step, wall_time=float(step), summary=summary))
    writer.close()
    return folder


def test_folders_of_cleanrl(tmp_path):
    points = [(10, 1.0), (20, 2.0)]
    log(tmp_path / "runs/CartPole-v1__ppo__2__1690000000", points)
    log(tmp_path / "runs/CartPole-v1__ppo__1__1690000001", [(10, 3.0), (20, 0.1)])
    log(tmp_path / "runs/ALE/Pong-v5__c51__1__1690000002", points)
    pong, cartpole = read(tmp_path)
    assert (pong.algorithm, pong.task) == ("c51", "Pong-v5")
    expected = Runs(
        "ppo",
        "CartPole-v1",
        np.array([10, 20]),
        np.array([[3.0, np.float32(0.1)], [1, 2]]),
        np.array([1, 2]),
    )
    assert_same([cartpole], [expected])
    [alone] = read(tmp_path / "runs/CartPole-v1__ppo__2__1690000000")
    assert alone.seeds.tolist() == [2]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "runs/CartPole-v1__ppo__2__1690000000")
        assert_same(read("."), [alone])


def test_folders_of_stable_baselines(tmp_path):
    for number in (10, 9):
        log(tmp_path / f"PPO_{number}", [(5, number)], tag="rollout/ep_rew_mean")
        log(tmp_path / f"PPO_{number}", [(5, 0.0)], tag="eval/mean_reward")
    [record] = read(tmp_path, task="CartPole-v1")
    assert (record.algorithm, record.task) == ("PPO", "CartPole-v1")
    assert record.seeds.tolist() == [9, 10]
    assert record.curves.tolist() == [[9], [10]]
    [record] = read(tmp_path, task="CartPole-v1", tag="eval/mean_reward")
    assert record.curves.tolist() == [[0], [0]]
    message = (
        f"The name of {tmp_path / 'PPO_9'} does not tell the task: give it as task "
        "(--task NAME), or give a pattern with a group (?P<task>...)."
    )
    refuses(message, read, tmp_path)


def test_folders_of_ones_own(tmp_path):
    for task, name in itertools.product(("Hop", "Walk"), ("a", "b")):
        log(tmp_path / task / "seeds" / name, [(5, 1.0)], tag="episode_return")
    pattern = r"(?P<task>\w+)/seeds/"
    hop, walk = read(tmp_path, pattern=pattern, algorithm="mine")
    assert (hop.task, walk.task) == ("Hop", "Walk")
    assert hop.seeds.tolist() == walk.seeds.tolist() == [0, 1]


def test_every_value_is_kept_and_those_of_one_step_averaged(tmp_path):
    """12,000 values: TensorBoard by itself samples 10,000."""
    folder = tmp_path / "CartPole-v1__ppo__1__1"
    log(folder, [(step, step % 7) for step in range(12_000)])
    log(folder, [(0, 5.0), (3, NAN)])  # A second file of the same run
    [record] = read(tmp_path)
    curve = np.arange(12_000) % 7.0
    curve[0] = 2.5
    np.testing.assert_array_equal(record.curves, curve[None])


def test_what_was_written_before_a_restart_is_kept(tmp_path):
    folder = log(tmp_path / "Hop__ppo__1__1", [(1, 1.0), (2, 2.0), (3, 4.0)])
    writer = EventFileWriter(str(folder))
    start = SessionLog(status=SessionLog.START)
    writer.add_event(Event(step=2, wall_time=9.0, session_log=start))
    writer.close()
    log(folder, [(2, 6.0)])
    [record] = read(tmp_path)
    assert record.curves.tolist() == [[1, 4, 4]]


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path):
    folder = log(tmp_path / "Hop__ppo__1__1", [(1, 1.0), (2, 2.0), (3, 4.0)])
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    [record] = read(tmp_path)
    assert record.curves.tolist() == [[1, 2]]


def test_runs_with_steps_of_their_own(tmp_path):
    log(tmp_path / "Hop__ppo__1__1", [(1, 1.0), (4, 2.0)])
    log(tmp_path / "Hop__ppo__2__1", [(2, 5.0), (3, 7.0)])
    message = (
        r"Ragged: 2 of the 2 runs of ppo on Hop lack .* 4 steps; 4 of 8 values are NaN"
    )
    with pytest.warns(ReadingWarning, match=message):
        [record] = read(tmp_path)
    assert record.env_steps.tolist() == [1, 2, 3, 4]
    expected = [[1, NAN, NAN, 2], [NAN, 5, 7, NAN]]
    np.testing.assert_array_equal(record.curves, expected)
    [record] = read(tmp_path, points=2)
    assert record.env_steps.tolist() == [2, 4]
    np.testing.assert_array_equal(record.curves, [[1, 2], [5, 7]])


def test_scalars_of_tensorflow_2(tmp_path):
    folder = log(tmp_path / "a_3", [(i, i) for i in range(40)], "x", tensors=True)
    [record] = read(folder, tag="x", task="Hop")
    np.testing.assert_array_equal(record.curves, np.arange(40.0)[None])
    assert record.seeds.tolist() == [3]


def test_a_run_without_the_tag_stays_in_sight(tmp_path):
    log(tmp_path / "Hop__ppo__1__1", [(1, 1.0)])
    other = log(tmp_path / "Hop__ppo__2__1", [(1, 1.0)], tag="losses/entropy")
    with pytest.warns(ReadingWarning) as caught:
        [record] = read(tmp_path)
    assert [str(warning.message) for warning in caught] == [
        f"Without charts/episodic_return: 1 of the 2 runs of ppo on Hop, the first in "
        f"{other}; NaN throughout.",
        "Ragged: 1 of the 2 runs of ppo on Hop lack a row at some of the 1 steps; 1 of "
        "2 values are NaN.",
    ]
    np.testing.assert_array_equal(record.curves, [[1], [NAN]])
    log(tmp_path / "Walk__ppo__2__1", [(1, 1.0)], tag="losses/entropy")
    tag = "charts/episodic_return"
    message = f"Expected a run of ppo on Walk to have the tag {tag}, got none."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        refuses(message, read, tmp_path)


def test_bad_folders_of_events(tmp_path):
    one = log(tmp_path / "Hop__ppo__1__1", [(1, 1.0)], tag="b")
    log(one, [(1, 1.0)], tag="a")
    defaults = (
        "charts/episodic_return, rollout/ep_rew_mean, charts/episode_return, "
        "episode_return, eval/mean_reward"
    )
    message = f"Expected {tmp_path} to have the tag one of {defaults}; tags: a, b."
    refuses(message, read, tmp_path)
    refuses(f"Expected {one} to have the tag c; tags: a, b.", read, one, tag="c")
    message = (
        "Expected pattern 'seed_(.*)' to be found in the name of each run, got "
        f"'{tmp_path.name}/Hop__ppo__1__1'."
    )
    refuses(message, read, tmp_path, pattern="seed_(.*)")
    message = (
        "Expected pattern to be a regular expression, got '(': missing ), unterminated "
        "subpattern at position 0."
    )
    refuses(message, read, tmp_path, pattern="(")
    message = f"Expected the seed in the name of {one} to be a whole number, got 'ppo'."
    refuses(message, read, tmp_path, pattern="__(?P<seed>ppo)__")
    two = log(tmp_path / "Hop__ppo__1__2", [(1, 1.0)], tag="b")
    message = (
        "Expected the runs of ppo on Hop to have seeds of their own, got seed 1 in "
        f"{one} and {two}."
    )
    refuses(message, read, tmp_path, tag="b")
    plain = log(tmp_path / "plain", [(1, 1.0)], tag="b")
    message = (
        f"The name of {plain} does not tell the algorithm: give it as algorithm "
        "(--names NAME), or give a pattern with a group (?P<algorithm>...)."
    )
    refuses(message, read, tmp_path, tag="b")
    pattern = r"Hop__ppo__1__(?P<seed>\d)|plain"
    message = (
        "Expected all names of the runs of p on t to tell a seed, or none, got "
        f"{plain} without."
    )
    refuses(message, read, tmp_path, pattern=pattern, algorithm="p", task="t")
    log(tmp_path / "Walk__a2c__1__1", [(1, 1.0)], tag="b")
    message = "Expected one algorithm to be called 'p', got ppo, a2c."
    refuses(message, read, tmp_path, algorithm="p")


def test_no_events_and_no_tensorboard(tmp_path, monkeypatch):
    message = f"Expected event files in {tmp_path}, found none."
    refuses(message, read_tensorboard, tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    message = (
        f"Expected tensorboard to be installed for {tmp_path}, found none: "
        'pip install "purejaxppo[tensorboard]".'
    )
    refuses(message, read_tensorboard, tmp_path)


# --- rliable ------------------------------------------------------------------------


def test_scores_become_records():
    array = np.arange(6.0).reshape(3, 2)
    first, second = from_scores({"ppo": array})
    expected = Runs("ppo", "task_0", np.array([1]), array[:, :1], np.arange(3))
    assert_same([first], [expected])
    assert second.task == "task_1"
    frames = np.arange(24.0).reshape(3, 2, 4)
    _, second = from_scores({"ppo": frames}, tasks=("A", "B"), env_steps=[5, 6, 7, 9])
    expected = Runs("ppo", "B", np.array([5, 6, 7, 9]), frames[:, 1], np.arange(3))
    assert_same([second], [expected])


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_scores_are_what_rliable_reads(tmp_path, suffix):
    path, rng = tmp_path / f"scores{suffix}", np.random.default_rng(0)
    scores = {"file": rng.normal(size=(5, 2)), "a2c": rng.normal(size=(4, 2))}
    records = from_scores(scores, tasks=["Hop", "Walk"])
    write(records, path)
    assert_same(read(path, tasks=["Hop", "Walk"]), records)
    for name, array in final_scores(records).items():
        np.testing.assert_array_equal(array, scores[name])
        assert metrics.aggregate_iqm(array) == metrics.aggregate_iqm(scores[name])


def test_final_scores_are_of_the_end_of_training():
    curves = np.tile(np.arange(20.0), (2, 1)) + np.array([[0], [100]])
    steps = np.arange(20)
    first = runs(env_steps=steps, curves=curves)
    records = [first, runs(task="Hop", env_steps=steps, curves=-curves)]
    scores = final_scores(
        [
            *records,
            first._replace(algorithm="b", task="Hop"),
            first._replace(algorithm="b"),
        ]
    )
    assert scores["ppo"].tolist() == [[18.5, -18.5], [118.5, -118.5]]
    assert scores["b"].tolist() == [[18.5, 18.5], [118.5, 118.5]]
    [half, *_] = final_scores([first], fraction=0.5)["ppo"]
    assert half.tolist() == [14.5]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "Expected runs to take final scores of, got none."),
        (
            [runs(), runs(algorithm="b", task="Hop")],
            "Expected b to be on CartPole-v1, as the first algorithm is, got Hop.",
        ),
        (
            [runs(), *from_scores({"ppo": np.zeros((3, 1))}, tasks=["Hop"])],
            "Expected ppo to have as many runs on each of CartPole-v1, Hop, got 2, 3.",
        ),
        (
            [runs(curves=np.array([[NAN] * 3, [1, 2, 3.0]]))],
            "Expected each run of ppo on CartPole-v1 to have a final score, got 1 of 2 "
            "without.",
        ),
    ],
)
def test_what_rliable_cannot_read_is_not_written(tmp_path, bad, message):
    path = tmp_path / "scores.json"
    refuses(message, write, bad, path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "how", "message"),
    [
        ("{}", {}, "Expected scores to hold an algorithm, got none, in {path}."),
        (
            "[1]",
            {},
            "Expected {path} to be of the form {{algorithm: [runs, tasks]}}, got a "
            "list.",
        ),
        (
            "{",
            {},
            "Expected {path} to be JSON, got: Expecting property name enclosed in "
            "double quotes: line 1 column 2 (char 1).",
        ),
        (
            '{"ppo": [[1]], "ppo": [[2]]}',
            {},
            "Expected {path} to be JSON, got: 'ppo' stands twice.",
        ),
        (
            '{"ppo": [1, 2]}',
            {},
            "Expected scores of ppo to be [runs, tasks] or [runs, tasks, frames], with "
            "one of each at least, got shape (2,), in {path}.",
        ),
        (
            '{"ppo": [[1, 2], [3]]}',
            {},
            "Expected scores of ppo to be an array of numbers, got '[[1, 2], [3]]', in "
            "{path}.",
        ),
        (
            '{"ppo": [[1, 2]]}',
            {"tasks": ["Hop"]},
            "Expected tasks to be the 2 of ppo, got 1, in {path}.",
        ),
        (
            '{"ppo": [[1, 2]]}',
            {"tasks": ["Hop", "Hop"]},
            "Expected tasks to differ, got Hop, Hop, in {path}.",
        ),
        (
            '{"ppo": [[[1, 2]]]}',
            {"env_steps": [1]},
            "Expected env_steps to be the 2 of ppo, got 1, in {path}.",
        ),
        (
            '{"ppo": [[[1, 2]]]}',
            {"env_steps": [2, 1]},
            "Expected env_steps of ppo on task_0 to increase, in {path}.",
        ),
    ],
)
def test_bad_scores_are_one_line(tmp_path, text, how, message):
    path = table(tmp_path / "scores.json", text)
    refuses(message.format(path=path), read, path, **how)


def test_missing_scores_of_others_are_kept(tmp_path):
    path = table(tmp_path / "scores.json", '{"ppo": [[1, null], [NaN, 2]]}')
    first, second = read(path)
    np.testing.assert_array_equal(first.curves, [[1], [NAN]])
    np.testing.assert_array_equal(second.curves, [[NAN], [2]])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_what_is_no_npz(tmp_path, content):
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value).startswith(f"Expected {path} to be NPZ, got: ")
    assert "\n" not in str(error.value)


# --- Whatever is there --------------------------------------------------------------


def test_several_paths_of_several_kinds(study, tmp_path):
    write([runs()], tmp_path / "a.csv")
    log(tmp_path / "events/Hop__ppo__1__1", [(1, 1.0)])
    records = read([tmp_path / "a.csv", str(study), tmp_path / "events"])
    names = [(record.algorithm, record.task) for record in records]
    assert names == [("ppo", "CartPole-v1"), ("small", "CartPole-v1"), ("ppo", "Hop")]
    message = (
        "Expected each algorithm to be there once on each task, got small on "
        "CartPole-v1 2 times; algorithm (--names) tells them apart."
    )
    refuses(message, read, [study, study])


def test_what_cannot_be_read_or_written(tmp_path):
    refuses("Expected paths to read runs from, got none.", read, [])
    rest = (
        "of no known format: a study, TensorBoard's event files, Stable-Baselines3's "
        "monitor.csv, progress.csv or evaluations.npz, a table (.csv, .parquet), or "
        "rliable's scores (.json, .npz)."
    )
    none, text = tmp_path / "none.csv", table(tmp_path / "a.txt", "")
    refuses(f"There is nothing to read runs from at {none}.", read, none)
    refuses(f"{text} is a file {rest}", read, text)
    refuses(f"{tmp_path} is a folder {rest}", read, tmp_path)
    refuses("Unknown format 'tables'; nearest: table.", read, text, format="tables")
    message = (
        f"Expected {text} to end in one of .csv, .parquet, .json, .npz, got '.txt'."
    )
    refuses(message, write, [runs()], text)


def test_nothing_heavy_is_imported():
    """What reads and writes files is loaded when it does."""
    heavy = "{'pandas', 'pyarrow', 'tensorboard', 'xarray', 'scipy.signal'}"
    code = f"import sys, purejaxppo.results; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Scores that are normalised -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("normalized_score", True),
        ("human_normalized", True),
        ("percentile_normalized_return", True),
        ("charts/normalised-episode-return", True),
        ("episode_return", False),
        ("normalized_advantage", False),
        ("unnormalized_score", False),
        ("not_normalized_score", False),
    ],
)
def test_names_that_say_that_scores_are_normalised(tmp_path, name, says):
    path = table(tmp_path / "a.csv", f"{name},seed,env_steps\n.5,0,1\n.7,1,1\n")
    how: Any = {"columns": {name: "episode_return"}, "algorithm": "a", "task": "t"}
    if name == "episode_return":
        del how["columns"]
    assert [record.normalized for record in read(path, **how)] == [says]
    log(tmp_path / "Hop__ppo__1__1", [(1, 0.5)], tag=name)
    assert [r.normalized for r in read(tmp_path, tag=name)] == [says]
    stem = name.replace("/", "_")
    path = table(tmp_path / f"{stem}.json", '{"ppo": [[0.5, 1]]}')
    assert [record.normalized for record in read(path)] == [says, says]
