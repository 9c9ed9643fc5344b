"""Any file of a study's directory damaged: one clear line, and nothing is lost."""

import json
import os
import shutil

import pytest

from purejaxppo.cli import devices, entry_point
from purejaxppo.study import Study
from purejaxppo.study.storage import disk
from purejaxppo.study.storage import files as files_room
from tests.conftest import SMALL

RESUME, REPORT = ("resume",), ("report",)
EVALUATE = ("evaluate", "--episodes", "1", "--max-steps", "2", "--overwrite")
READ_BY = {
    "config.toml": RESUME,
    "environment.json": RESUME,
    "plan.json": RESUME,
    "results.zarr/zarr.json": REPORT,
    "results.zarr/episode_return/zarr.json": REPORT,
    "results.zarr/episode_return/c/0/0": REPORT,
    "parameters/0/_METADATA": EVALUATE,
    "parameters/0/_CHECKPOINT_METADATA": EVALUATE,
    "parameters/0/manifest.ocdbt": EVALUATE,
    "parameters/0/d": EVALUATE,
}
"""File, or folder of files, of a study -> a command that reads it."""


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(128, 256))),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped": flip,
    "other": lambda path: path.write_text("[3]"),
    "deleted": os.unlink,
}


@pytest.fixture(autouse=True)
def same_machine(monkeypatch):
    """Leave the test process's devices and caches as they are."""
    monkeypatch.setattr(devices, "use_this_machine", lambda: None)


@pytest.fixture
def folder(small_study, tmp_path):
    """A copy of the study, as if it had been stopped before its end."""
    folder = shutil.copytree(small_study, tmp_path / "study")
    facts = files_room.read_environment(folder)
    disk.write_json(folder / "environment.json", {**facts, "status": "incomplete"})
    (folder / ".lock").unlink()  # As it comes from elsewhere, perhaps.
    return folder


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files}


def refused(capfd, folder, command, *arguments):
    """The one line that a command prints, which changes nothing."""
    before = contents(folder)
    assert entry_point.main((command, str(folder), *arguments)) == 2
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 1, told
    assert contents(folder) == before
    return told[0].removeprefix("purejaxppo: error: ")


CASES = [(name, damage) for name in READ_BY for damage in DAMAGES]
CASES.remove(("plan.json", "deleted"))  # It is planned anew.
CASES.remove(("plan.json", "flipped"))  # No digests: it may still be a number.
CASES.remove(("environment.json", "flipped"))


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_file_is_one_line(name, damage, folder, capfd):
    victim = folder / name
    if victim.is_dir():
        victim = sorted(victim.iterdir())[0]
    DAMAGES[damage](victim)
    told = refused(capfd, folder, *READ_BY[name])
    assert told.startswith("Expected ") and str(folder) in told
    assert "as it was written, but it is damaged: " in told or damage == "deleted"


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [[0, 0, 1, 2]],
        [[0, 0, 2, 2], [0, 1, 2, 1]],
        [[0, 0, 2, 1]],
        [[0, 0, 2]],
        ["x"],
    ],
)
def test_a_plan_that_has_not_each_run_once_is_damaged(chunks, folder, capfd):
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "chunks": chunks}))
    told = refused(capfd, folder, "resume")
    assert str(folder / "plan.json") in told and "damaged" in told


def test_another_config_cannot_go_on(folder, capfd):
    """Also where it fits all that is on the disk."""
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("gamma = 0.99", "gamma = 0.9"))
    told = refused(capfd, folder, "resume", "--allow-changes")
    assert told.endswith(
        "it is not the one that the study was begun with; undo the change, or train "
        f"what it says as another study, with --config {path} and --output."
    )
    again = ("train", "CartPole-v1", "--resume", "--output", str(folder))
    assert entry_point.main(again) == 2
    assert capfd.readouterr().err.strip().endswith(told)
    assert refused(capfd, folder, "report") == told


def test_a_complete_study_with_damaged_policies_is_told(small_study, tmp_path, capfd):
    folder = shutil.copytree(small_study, tmp_path / "study")
    for path in (folder / "parameters" / "0" / "d").iterdir():
        os.truncate(path, 3)
    told = refused(capfd, folder, "resume")
    assert told.startswith(f"Expected {folder / 'parameters' / '0'} as it was written")
    shutil.rmtree(folder / "parameters")  # Given away: the results are all there.
    assert entry_point.main(("resume", str(folder))) == 0


def test_objects_are_asked_for_by_name(folder, capfd):
    facts = files_room.read_environment(folder)
    disk.write_json(folder / "environment.json", {**facts, "objects": ["env"]})
    told = refused(capfd, folder, "resume")
    assert told.startswith("Expected env to be given in Python: the study in ")


def test_what_an_evaluation_left_is_checked_too(folder):
    (folder / "evaluation.zarr" / "greedy_return" / "c" / "0" / "0").unlink()
    with pytest.raises(ValueError, match=r"evaluation\.zarr as it was written, but it"):
        files_room.read_evaluation(folder)


def test_overwriting_a_study_leaves_none_of_its_files(folder):
    for name in ("sweep.md", "sweep.csv", "sweep.png"):
        (folder / name).write_text("")
    (folder / "notes.txt").write_text("mine")
    files_room.clear(folder)
    assert {path.name for path in folder.iterdir()} == {"notes.txt"}


def test_what_lies_about_in_the_directory_does_no_harm(folder):
    """A link that leads nowhere, and checkpoints of a study that is complete."""
    facts = files_room.read_environment(folder)
    (folder / "latest").symlink_to("nowhere")
    study = Study(SMALL, "CartPole-v1", 2, output=folder)
    study.run(resume=True)
    assert (
        files_room.read_environment(folder)["status"] == "complete" != facts["status"]
    )
    (folder / "chunks").mkdir()
    study.run(resume=True)
    assert not (folder / "chunks").exists()
