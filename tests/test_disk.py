"""Files are written whole or not at all, never through a link; disks that fail."""

import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray

from purejaxppo.cli import devices, entry_point
from purejaxppo.reliability.runs import Runs
from purejaxppo.results import write_scores, write_table
from purejaxppo.study import Means, Study, load
from purejaxppo.study.execution import segments
from purejaxppo.study.loggers.tensorboard_logger import _append
from purejaxppo.study.storage import disk, files
from purejaxppo.study.storage.locking import locked
from tests import children
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


# --- Files --------------------------------------------------------------------------


def runs():
    curves = np.arange(4.0).reshape(2, 2)
    return [Runs("a", "b", np.array([1, 2]), curves, np.array([0, 1]))]


WRITERS = {
    "text": lambda path: disk.write_text(path, "new"),
    "json": lambda path: disk.write_json(path, {}),
    "table.csv": lambda path: write_table(runs(), path),
    "table.parquet": lambda path: write_table(runs(), path),
    "scores.json": lambda path: write_scores(runs(), path),
    "scores.npz": lambda path: write_scores(runs(), path),
    "events": lambda path: _append(path, iter([])),
    "lock": lambda path: disk.open_plain(path, os.O_RDWR | os.O_CREAT),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["file", "nothing", "folder"])
def test_nothing_is_written_through_a_link(kind, name, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out" / name
    path.parent.mkdir()
    if kind == "file":
        victim.write_text("precious")
    elif kind == "folder":
        victim.mkdir()
    path.symlink_to(victim)
    with pytest.raises(ValueError, match="is a link"):
        WRITERS[name](path)
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert kind != "file" or victim.read_text() == "precious"
    assert victim.exists() == (kind != "nothing")


@pytest.mark.parametrize("name", ["events", "lock"])
def test_a_file_that_is_added_to_has_no_other_name(name, tmp_path):
    """A hard link leads elsewhere, too, and a pipe would never end."""
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / name)
    with pytest.raises(ValueError, match="not a file of its own"):
        WRITERS[name](tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises((ValueError, OSError)):
        WRITERS[name](tmp_path / name)


def test_a_file_that_is_replaced_leaves_its_other_names(tmp_path):
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / "file")
    disk.write_text(tmp_path / "file", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "new"


def test_a_folder_that_the_user_names_may_be_a_link(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "runs").symlink_to("big")
    disk.check_output(tmp_path / "runs" / "new", ["file"])
    disk.write_text(tmp_path / "runs" / "file", "new")
    assert (tmp_path / "big" / "file").read_text() == "new"
    with locked(tmp_path / "runs") as lock:
        assert lock.is_there()
    assert (tmp_path / "runs").is_symlink()


@pytest.mark.parametrize("error", [OSError(28, "full"), RuntimeError("of the block")])
def test_what_fails_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    kind = disk.WriteError if isinstance(error, OSError) else RuntimeError
    with pytest.raises(kind), disk.replacing(path) as beside:
        beside.write_text("ne")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_deleted_with_the_study(tmp_path):
    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk.Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed), disk.replacing(tmp_path / "report.png"):
            raise Killed
    (tmp_path / ".mine.unfinished").touch()
    assert len(os.listdir(tmp_path)) == 2
    files.clear(tmp_path)
    assert os.listdir(tmp_path) == [".mine.unfinished"]


def test_a_link_is_removed_without_what_it_leads_to(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    (tmp_path / "link").symlink_to("there")
    disk.remove(tmp_path / "link")
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "file"]


def test_errors_of_the_disk_are_a_few_words():
    told = "RESOURCE_EXHAUSTED: Error writing: [os_error_code='28'] [source='x']"
    assert disk.reason(ValueError(told)) == os.strerror(28)
    assert disk.reason(OSError(122, "Disk quota exceeded")) == os.strerror(122)
    assert disk.reason(ValueError("first.\nsecond")) == "first"


# --- A disk that is full ------------------------------------------------------------


@pytest.fixture
def folder(small_study, tmp_path):
    return shutil.copytree(small_study, tmp_path / "study")


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--resamples", "9"),
        ("evaluate", "--episodes", "1", "--max-steps", "2", "--overwrite"),
        ("export",),
        ("play", "--episodes", "1", "--max-frames", "1"),
    ],
)
def test_a_full_disk_is_a_failure_of_one_line(arguments, folder, capfd, monkeypatch):
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "sync", full)
    command, *more = arguments
    assert entry_point.main((command, str(folder), *more)) == 1
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "could not be written: No space left" in told[0]
    after = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    assert after == before


SMALL_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
from purejaxppo.cli.entry_point import program
program()
"""


def test_threads_do_not_bury_the_line(tmp_path):
    """A disk that takes no large file: orbax's threads and callbacks fail, too."""
    size = "--num-envs 2 --num-steps 8 --num-minibatches 1 --total-timesteps 64"
    command = f"train CartPole-v1 {size} --checkpoint-minutes 0 --output study"
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, *command.split()],
        cwd=tmp_path,
        env=children.environment(JAX_ENABLE_COMPILATION_CACHE="false"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()
    assert len(told) == 1 and "could not be written: File too large" in told[0], told
    assert done.stdout.count("Warning: No checkpoint") == 1


# --- A folder that is removed -------------------------------------------------------


def remove_at(output, moment, put=None):
    """What a study calls with its status: removes its folder at one of the calls."""
    calls = []

    def on_status(status):
        calls.append(status)
        if len(calls) == moment:
            shutil.rmtree(output)
            if put is not None:
                shutil.copytree(put, output)

    return on_status


@pytest.mark.parametrize(("num_seeds", "whole"), [(2, True), (4, False)])
def test_a_study_whose_folder_is_removed_is_saved_as_far_as_it_is_in_memory(
    num_seeds, whole, tmp_path, monkeypatch
):
    """All of it, or what is left of two chunks of which the disk had the first."""
    monkeypatch.setattr(segments, "LONGEST_SEGMENT", 1)
    output = tmp_path / "gone"
    study = Study(SMALL, "CartPole-v1", num_seeds, output=output)
    means = Means(chunk_size=2, checkpoint_minutes=0)
    moment = 3 if whole else 4  # After a status before it begins, and each segment.
    with pytest.raises(disk.WriteError, match="saved there again, and `purejaxppo res"):
        study.run(means=means, on_status=remove_at(output, moment))
    facts = files.read_environment(output)
    assert facts["status"] == ("complete" if whole else "incomplete")
    updates = files.read_results(output)["updates"].values
    assert updates.tolist() == ([2, 2] if whole else [0, 0, 2, 2])
    again = study.run(means=means, resume=True)
    never_removed = dataclasses.replace(study, output=None).run(means=means)
    xarray.testing.assert_identical(again, never_removed)
    assert (again["updates"] == 2).all() and load(output).updates == 2


def test_what_was_put_in_the_place_of_a_removed_folder_is_not_touched(
    small_study, tmp_path, monkeypatch
):
    monkeypatch.setattr(segments, "LONGEST_SEGMENT", 1)
    output = tmp_path / "gone"
    study = Study(SMALL, "CartPole-v1", 2, output=output)
    with pytest.raises(disk.WriteError, match="another study is there"):
        study.run(on_status=remove_at(output, 2, put=small_study))
    for path in small_study.rglob("*"):
        there = output / path.relative_to(small_study)
        same = path.is_dir() or path.read_bytes() == there.read_bytes()
        assert same or path.name == ".lock"
