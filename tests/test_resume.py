"""A study that is stopped, killed or refused at any moment, and what it ends with."""

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

import purejaxppo as ppo
from purejaxppo.results.studies import how_far
from purejaxppo.study import Means, Study, directory
from purejaxppo.study.devices import processes
from purejaxppo.study.directory import ChangedWarning
from purejaxppo.study.execution import chunks, segments
from purejaxppo.study.execution.chunks import CheckpointWarning, Training
from purejaxppo.study.runner import Work
from purejaxppo.study.storage import checkpoints, disk
from purejaxppo.study.storage import files as files_room
from purejaxppo.study.storage.locking import locked

UPDATES = 27
CONFIG = ppo.Config(
    total_timesteps=16 * UPDATES,
    num_envs=2,
    num_steps=8,
    num_epochs=1,
    num_minibatches=1,
    normalize_observation=ppo.ObservationNormalization(),
    network=ppo.NetworkConfig(widths=(4,)),
)
OFTEN = Means(chunk_size=2, checkpoint_minutes=0.0)
"""Two chunks of two runs, and a checkpoint after each segment."""


class Killed(BaseException):
    """What nothing catches, in the place of SIGKILL."""


def study(output, **changes):
    return Study(
        **{
            "config": CONFIG,
            "env": "CartPole-v1",
            "num_seeds": 4,
            **changes,
            "output": output,
        }
    )


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(segments, "LONGEST_SEGMENT", 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study without an interruption."""
    output = tmp_path_factory.mktemp("whole") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "LONGEST_SEGMENT", 3)
        study(output).run(means=OFTEN)
    return output


def assert_same(one, other):
    """To the bit."""
    xarray.testing.assert_identical(
        files_room.read_results(one), files_room.read_results(other)
    )
    theirs = files_room.read_tree(other / "parameters" / "0")
    jax.tree.map(
        np.testing.assert_array_equal,
        files_room.read_tree(one / "parameters" / "0"),
        theirs,
    )
    assert not (other / "chunks").exists()


def killed_at(patch, number, where, name, before):
    """Die at the `number`-th call of a function, before it or after it."""
    function, calls = getattr(where, name), []

    def counted(*arguments, **named):
        calls.append(name)
        if len(calls) == number and before:
            raise Killed
        result = function(*arguments, **named)
        if len(calls) == number:
            raise Killed
        return result

    patch.setattr(where, name, counted)
    patch.setattr(Work, "_leave", lambda self: [])  # SIGKILL leaves nothing.


MOMENTS = [
    (1, files_room, "write_job", True),
    (1, files_room, "write_job", False),
    (1, directory, "write_chunks", True),
    (2, checkpoints, "_begin", False),
    (3, files_room, "write_tree", False),
    (3, checkpoints, "_finish", True),
    (4, checkpoints, "_finish", False),
    (2, disk, "sync", False),
    (7, checkpoints, "save", False),
]
"""Calls at which a study is killed, in turn."""

AT_THE_END = [
    (1, files_room, "write_results", False),
    (1, files_room, "write_tree", True),
    (1, files_room, "write_tree", False),
    (1, directory, "write_facts", True),
    (1, directory, "write_facts", False),
]
"""The same of calls that leave the results."""


def test_killed_again_and_again_it_ends_with_the_same_bits(whole, tmp_path):
    """Also between the steps of a write; every attempt gets a little further."""
    output = tmp_path / "study"
    for number, where, name, before in MOMENTS:
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, number, where, name, before)
            with pytest.raises(Killed):
                study(output).run(resume=files_room.holds_study(output), means=OFTEN)
    study(output).run(resume=True, means=OFTEN)
    assert_same(whole, output)


def test_killed_while_it_leaves_the_results_it_trains_nothing_again(whole, tmp_path):
    output, trained = tmp_path / "study", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "_leave", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            study(output).run(means=OFTEN)
    for number, where, name, before in AT_THE_END:
        with pytest.MonkeyPatch.context() as patch:
            leave = Work._leave
            killed_at(patch, number, where, name, before)
            patch.setattr(Work, "_leave", leave)
            with pytest.raises(Killed):
                study(output).run(resume=True, on_status=trained.append)
            if files_room.read_environment(output)["status"] == "complete":
                break
    assert {status.update for status in trained} == {0}
    study(output).run(resume=True)
    dataset = files_room.read_results(output)
    xarray.testing.assert_identical(dataset, files_room.read_results(whole))


def test_a_damaged_checkpoint_costs_what_came_after_the_one_before(whole, tmp_path):
    output, updates = tmp_path / "study", []
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 3, checkpoints, "save", False)
        with pytest.raises(Killed):
            study(output).run(means=OFTEN)
    last = checkpoints.newest(output / "chunks" / "0-0-2")
    assert last is not None
    files = [path for path in (last / "tree").rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    victim.write_bytes(b"")
    with pytest.warns(checkpoints.DamagedWarning):
        study(output).run(
            resume=True, means=OFTEN, on_status=lambda s: updates.append(s.update)
        )
    assert 1 < updates[1] <= checkpoints.update_of(last)
    assert_same(whole, output)


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_training(
    whole, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_begin", full)
    output = tmp_path / "study"
    one = Means(checkpoint_minutes=0.0)
    with pytest.warns(CheckpointWarning, match="^No checkpoint: .*No space left"):
        results = study(output).run(means=one)
    assert results.sizes["update"] == UPDATES
    assert files_room.read_environment(output)["status"] == "complete"


def test_a_chunk_that_cannot_be_put_away_is_in_the_results(
    whole, tmp_path, monkeypatch
):
    """The disk is full when the first chunk ends, and is not any more later on."""
    output, begin = tmp_path / "study", checkpoints._begin

    def full(folder, unfinished):
        if folder.name == "0-0-2":
            raise OSError(28, "No space left on device")
        begin(folder, unfinished)

    monkeypatch.setattr(checkpoints, "_begin", full)
    with pytest.warns(CheckpointWarning, match="No space left"):
        study(output).run(means=Means(chunk_size=2))
    assert files_room.read_environment(output)["status"] == "complete"
    assert_same(whole, output)


def test_a_study_of_which_something_is_lost_is_not_complete(
    whole, tmp_path, monkeypatch
):
    """A finished chunk is damaged before the results are written: it is made again."""
    output, finish = tmp_path / "study", Work._finish

    def damage(self, chunk, training):
        finish(self, chunk, training)
        for path in (output / "chunks" / "0-0-2").glob("*/manifest.json"):
            path.write_text("")

    with monkeypatch.context() as patch, pytest.warns(checkpoints.DamagedWarning):
        patch.setattr(Work, "_finish", damage)
        results = study(output).run(means=Means(chunk_size=2))
    assert results["updates"].values.tolist() == [0, 0, UPDATES, UPDATES]
    assert files_room.read_environment(output)["status"] == "incomplete"
    with pytest.warns(checkpoints.DamagedWarning):
        study(output).run(resume=True)
    assert_same(whole, output)


def test_a_checkpoint_is_written_once(tmp_path, monkeypatch):
    """Also where the study is stopped, or a chunk ends, just after it."""
    updates, save = [], checkpoints.save

    def counted(folder, update, tree):
        updates.append((folder.name, update))
        return save(folder, update, tree)

    monkeypatch.setattr(checkpoints, "save", counted)
    study(tmp_path / "study").run(means=OFTEN)
    assert len(updates) == len(set(updates))


def test_what_is_restored_takes_the_place_of_what_is_there(begun, monkeypatch):
    """Never is the state on the devices twice."""
    deleted, placed = [], Training._placed

    def counted(self, rows, like):
        deleted.append(sum(x.is_deleted() for x in jax.tree.leaves(self.state)))
        return placed(self, rows, like)

    monkeypatch.setattr(Training, "_placed", counted)
    study(begun).run(resume=True)
    assert deleted[1:] == list(range(1, len(deleted)))


def test_finished_chunks_are_not_trained_again(whole, tmp_path):
    """Ctrl-C in the second chunk: resuming starts there, at its last update."""
    output, statuses = tmp_path / "study", []

    def interrupt(status):
        if status.chunk == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = study(output).run(means=OFTEN, on_status=interrupt)
    updates = stopped["updates"].values
    assert (
        updates[:2].tolist() == [UPDATES] * 2 and 0 < updates[2] == updates[3] < UPDATES
    )
    assert np.isnan(stopped["policy_loss"].values[2:, updates[2] :]).all()
    assert stopped["finite"].values.all()
    study(output).run(resume=True, on_status=statuses.append)
    assert statuses[1].update > UPDATES + updates[2]
    assert {status.chunk for status in statuses[1:]} == {1}
    assert_same(whole, output)


def test_who_stops_at_the_last_update_finds_it_finished(whole, tmp_path):
    """Of the first of two chunks, then of the second, and with it of the study."""
    output = tmp_path / "study"

    def interrupt(status):
        if status.update in (UPDATES, 2 * UPDATES):
            os.kill(os.getpid(), signal.SIGINT)

    stopped = study(output).run(means=OFTEN, on_status=interrupt)
    assert stopped["updates"].values.tolist() == [UPDATES, UPDATES, 0, 0]
    facts = files_room.read_environment(output)
    assert facts["status"] == "incomplete"
    assert how_far(facts) == "50 % of all updates"
    study(output).run(resume=True, on_status=interrupt)
    assert files_room.read_environment(output)["status"] == "complete"
    assert_same(whole, output)


def test_chunks_are_those_that_it_was_begun_with(whole, tmp_path):
    output = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 1, checkpoints, "save", False)
        with pytest.raises(Killed):
            study(output).run(means=OFTEN)
    study(output).run(resume=True, means=Means(chunk_size=1))
    assert_same(whole, output)


def test_devices_for_a_run_are_those_that_it_was_begun_with(tmp_path):
    """As chunks are: another number of them rounds otherwise."""
    shared = Means(devices_per_run=2, checkpoint_minutes=0.0)
    study(tmp_path / "whole", num_seeds=1).run(means=shared)
    output = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 3, checkpoints, "save", False)
        with pytest.raises(Killed):
            study(output, num_seeds=1).run(means=shared)
    study(output, num_seeds=1).run(resume=True)
    assert_same(tmp_path / "whole", output)


# --- Refusals -----------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path):
    """A study that was killed after its first checkpoint."""
    output = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 1, checkpoints, "save", False)
        with pytest.raises(Killed):
            study(output).run(means=OFTEN)
    return output


def test_other_versions_are_told_and_allowed_if_asked_for(begun):
    path = begun / "plan.json"
    plan = json.loads(path.read_text())
    plan["provenance"] |= {"jax": "0.8.0", "code": "abc", "devices": 8}
    path.write_text(json.dumps(plan))
    before = path.read_bytes()
    with pytest.raises(ValueError) as error:
        study(begun).run(resume=True)
    told = str(error.value)
    assert "\n" not in told and path.read_bytes() == before
    assert f"jax is 0.8.0 there and {jax.__version__} here" in told
    assert "code is abc there and " in told
    assert f"devices is 8 there and {jax.device_count()} here" in told
    assert "With allow_changes it goes on" in told
    with pytest.warns(ChangedWarning, match="Changed: jax is 0.8.0"):
        results = study(begun).run(resume=True, allow_changes=True)
    assert (results["updates"] == UPDATES).all()


def test_checkpoints_of_another_state_cannot_go_on(begun, monkeypatch):
    """Of code whose state had another array, whatever is allowed."""
    read = checkpoints.read

    def other(path):
        saved = read(path)
        del saved["state"][next(k for k in saved["state"] if k.startswith("params."))]
        return saved

    monkeypatch.setattr(checkpoints, "read", other)
    told = r"params\.\S+ is absent there and float32\[.*\] here; the study cannot go on"
    with pytest.raises(ValueError, match=told):
        study(begun).run(resume=True, allow_changes=True)


def test_other_settings_cannot_go_on(begun):
    other = study(begun, grid={"learning_rate": [1e-3]})
    with pytest.raises(ValueError, match="setting 0: learning_rate is None there and"):
        other.run(resume=True)


def test_a_second_process_is_refused(begun):
    """While this one trains there; and it is let in when this one is gone."""
    code = (
        "import sys; from pathlib import Path\n"
        "from purejaxppo.study.storage.locking import locked\n"
        f"with locked(Path({str(begun)!r})): print('in')\n"
    )
    command = [sys.executable, "-c", code]
    seen = []

    def on_status(status):
        if not seen:
            seen.append(subprocess.run(command, capture_output=True, text=True))

    study(begun).run(resume=True, on_status=on_status)
    assert seen[0].returncode == 1
    last = seen[0].stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ValueError: Expected no other process to train in {begun}, but one does "
        f"(process {os.getpid()} of "
    )
    after = subprocess.run(command, capture_output=True, text=True, check=True)
    assert after.stdout == "in\n"


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^Expected output .* to be writable: Not a"):
        study(tmp_path / "file" / "study").run()


def test_what_was_refused_leaves_no_folder_but_others_files(tmp_path):
    """Where another study has come to lie beside it meanwhile, its error is told."""
    with pytest.raises(KeyError), locked(tmp_path / "runs" / "one"):
        raise KeyError
    assert not (tmp_path / "runs").exists()
    with pytest.raises(KeyError), locked(tmp_path / "runs" / "one"):
        (tmp_path / "runs" / "other").mkdir()
        raise KeyError
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


# --- Memory -------------------------------------------------------------------------


def test_out_of_memory_it_goes_on_with_half_as_many(tmp_path, monkeypatch):
    """More than two runs at once do not fit: four, then two and two."""
    sizes, run = [], segments.run_segments

    def small(programs, *rest):
        sizes.append(programs.size)
        if programs.size > 2:
            message = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."
            raise jax.errors.JaxRuntimeError(message)
        yield from run(programs, *rest)

    monkeypatch.setattr(chunks, "run_segments", small)
    output = tmp_path / "study"
    with pytest.warns(ChangedWarning, match="^Out of memory with 4 runs at once; "):
        results = study(output).run()
    assert sizes == [4, 2, 2]
    plan = json.loads((output / "plan.json").read_text())
    assert plan["chunks"] == [[0, 0, 2, 2], [0, 2, 4, 2]]
    assert (results["updates"] == UPDATES).all()


class Calls:
    """A logger that keeps how it was called."""

    def __init__(self):
        self.calls = []

    def begin(self, about):
        self.calls.append(("begin", about.done.tolist()))

    def log(self, logged):
        self.calls.append(("log", logged.runs.tolist()))

    def close(self):
        self.calls.append(("close",))


def test_a_log_is_closed_before_it_is_begun_for_smaller_parts(tmp_path, monkeypatch):
    """The second chunk fails after its first segment, when the first is done."""
    run, first_does, places = segments.run_segments, processes.first_does, []
    begun = itertools.count(1)

    def second_fails(*given):
        fails = next(begun) == 2
        for segment in run(*given):
            yield segment
            if fails:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    def noted(action, name):
        places.append(name)
        first_does(action, name)

    monkeypatch.setattr(chunks, "run_segments", second_fails)
    # The other processes are to hear of it where the first one's log cannot begin.
    monkeypatch.setattr(processes, "first_does", noted)
    logger, output = Calls(), tmp_path / "study"
    with pytest.warns(ChangedWarning, match="^Out of memory with 4 runs at once; "):
        study(output, num_seeds=8).run(means=Means(chunk_size=4), loggers=[logger])
    calls = [key for key, _ in itertools.groupby(logger.calls)]
    first, second = [0, 1, 2, 3], [4, 5, 6, 7]
    done = [UPDATES] * 4 + [0] * 4
    assert calls == [
        *(("begin", [0] * 8), ("log", first), ("log", second), ("close",)),
        *(("begin", done), ("log", second[:2]), ("log", second[2:]), ("close",)),
    ]
    assert places.count("begin the log") == 2


def test_fewer_runs_at_once_where_the_system_killed_what_took_too_much(tmp_path):
    """Else the same would be tried again, and killed, for ever; what is done stays."""
    output = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 11, Work, "_status", before=False)
        with pytest.raises(Killed):
            study(output, num_seeds=6).run(means=Means(chunk_size=4))
    few = Means(chunk_size=2)
    with pytest.warns(ChangedWarning, match="^Going on with 2 runs at once; the "):
        again = study(output, num_seeds=6)
        results = again.run(resume=True, allow_changes=True, means=few)
    plan = json.loads((output / "plan.json").read_text())
    assert plan["chunks"] == [[0, 0, 4, 4], [0, 4, 6, 2]]
    assert (results["updates"] == UPDATES).all()


def test_halves_go_on_from_where_the_whole_was(tmp_path, monkeypatch):
    """Killed with two chunks of four, one of them finished; then only two runs fit."""
    output, updates = tmp_path / "study", []
    four = Means(chunk_size=4, checkpoint_minutes=0.0)
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 12, checkpoints, "save", False)
        with pytest.raises(Killed):
            study(output, num_seeds=8).run(means=four)
    last = checkpoints.newest(output / "chunks" / "0-4-8")
    assert last is not None
    before = checkpoints.update_of(last)
    run = segments.run_segments

    def small(programs, values, state, num_runs, start):
        if programs.size > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        updates.append(start)
        yield from run(programs, values, state, num_runs, start)

    monkeypatch.setattr(chunks, "run_segments", small)
    with pytest.warns(ChangedWarning, match="^Out of memory with 4 runs at once; "):
        results = study(output, num_seeds=8).run(resume=True)
    assert updates == [before, before]
    monkeypatch.undo()
    alone = study(None, num_seeds=8).run()
    xarray.testing.assert_allclose(results, alone, rtol=2e-3, atol=2e-4)


def test_what_cannot_be_halved_is_one_line(tmp_path, monkeypatch):
    def none(programs, *rest):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(chunks, "run_segments", none)
    with pytest.raises(ValueError, match="Expected 2 runs at once to fit"):
        study(tmp_path / "study", num_seeds=2).run()


# --- A real process -----------------------------------------------------------------

CHILD = """
import sys
sys.path[:0] = [{root!r}]
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_disable_most_optimizations", True)
from pathlib import Path
from tests import test_resume
from purejaxppo.study.execution import segments
segments.LONGEST_SEGMENT = 3
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, {limit})
test_resume.study(Path({output!r})).run(means=test_resume.OFTEN, resume={resume})
"""


@pytest.mark.slow
def test_a_process_that_is_killed_in_the_middle_of_a_write(whole, tmp_path):
    """SIGKILL when a checkpoint is begun; then a disk that takes no large file."""
    output, root = tmp_path / "study", str(Path(__file__).parents[1])

    def child(resume, limit=resource.RLIM_INFINITY, **options):
        code = CHILD.format(
            root=root, output=str(output), resume=resume, limit=(limit, limit)
        )
        return subprocess.Popen([sys.executable, "-c", code], text=True, **options)

    process = child(False)
    deadline = time.monotonic() + 120
    while not list(output.glob("chunks/*/*.unfinished")):
        assert process.poll() is None and time.monotonic() < deadline
    process.kill()
    process.wait()
    assert list(output.glob("chunks/*/*.unfinished"))

    process = child(True, limit=3000, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=120)
    assert "No checkpoint: " in told
    assert process.returncode != 0  # The results did not fit either.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study(output).run(resume=True, allow_changes=False)
    shutil.rmtree(output / "chunks", ignore_errors=True)
    assert_same(whole, output)
