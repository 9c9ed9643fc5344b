"""Several devices, and several processes that train one study; one of them dies."""

import os
import re
import socket
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import xarray
from jax.experimental import multihost_utils

import purejaxppo as ppo
from purejaxppo.cli import devices as devices_room
from purejaxppo.cli import entry_point, rendezvous
from purejaxppo.study import Means, Study
from purejaxppo.study import study as study_room
from purejaxppo.study.devices import processes as processes_room
from purejaxppo.study.devices import sharding
from purejaxppo.study.execution import plans
from purejaxppo.study.storage import files
from tests import children

ROOT = Path(__file__).parents[1]
UPDATES = 200
OPTIONS = (
    *("train", "CartPole-v1", "--num-seeds", "6", "--num-envs", "4"),
    *("--num-steps", "16", "--num-minibatches", "2", "--network.widths", "8"),
    *("--total-timesteps", str(64 * UPDATES), "--normalize-observation", "true"),
    *("--chunk-size", "4", "--checkpoint-minutes", "0"),
)
CHILD = """
import jax, os, sys
initialize = jax.distributed.initialize
jax.distributed.initialize = lambda *given: initialize(
    *given, heartbeat_timeout_seconds=10, shutdown_timeout_seconds=20)
from purejaxppo.cli import entry_point as cli
from purejaxppo.cli import progress_bars as progress
show = progress.StudyProgress.show
def die(self, status):
    show(self, status)
    if status.update > 20 and {dies}:
        os.kill(os.getpid(), 9)
progress.StudyProgress.show = die
{also}
sys.exit(cli.main(sys.argv[1:]))
"""

SHORT_OF_MEMORY = """
from purejaxppo.study.execution import programs
compile_programs = programs.compile_programs
class Small:
    def __init__(self, found):
        self.found = found
    def __call__(self, *given):
        if self.found.size > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return self.found.advance(*given)
    def __getattr__(self, name):
        return getattr(self.found.advance, name)
def compile_small(*given):
    found = compile_programs(*given)
    return found._replace(advance=Small(found))
programs.compile_programs = compile_small
"""
"""No memory for more than two runs at once."""
FAILING = """
def fail(self, status):
    show(self, status)
    if status.chunk == 1:
        raise RuntimeError("no more")
progress.StudyProgress.show = fail
"""
"""It fails in the second chunk."""


def start(*arguments, devices, dies=False, also="", **variables):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(dies=dies, also=also), *arguments],
        cwd=ROOT,
        env=children.environment(JAX_NUM_CPU_DEVICES=str(devices), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def by_address(num):
    """Arguments and variables of each process that is told where the first one is."""
    where = "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(num)
    return [((*where, "--process-id", str(i)), {}) for i in range(num)]


def by_slurm(num):
    """The same where the cluster tells: these variables are a SLURM step's."""
    shared = {
        "SLURM_JOB_ID": str(os.getpid()),  # JAX makes the port of it.
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(num),
    }
    own = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(num)]
    return [(("--coordinator", "auto"), {**shared, **of}) for of in own]


def together(*arguments, num=2, dies=None, each=None, meet=by_address):
    """Processes on this host, of which one dies; their exit codes and output.

    `each` has more arguments, and more code, of some processes.
    """
    processes = []
    for i, (where, variables) in enumerate(meet(num)):
        more, also = (each or {}).get(i, ((), ""))
        given = *arguments, *more, *where
        how: Any = {"devices": 1, "dies": i == dies, "also": also}
        processes.append(start(*given, **how, **variables))
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    return [process.returncode for process in processes], outputs


@pytest.mark.slow
def test_two_processes_equal_one_also_when_one_has_died(tmp_path):
    """The other one ends, too; then both go on, and the bits are one process's."""
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(*OPTIONS, "--output", str(one), devices=2)
    output = alone.communicate(timeout=240)[0]
    assert alone.returncode == 0, output
    codes, outputs = together(*OPTIONS, "--output", str(two), dies=1)
    assert codes[1] == -9 and 0 not in codes, outputs
    assert files.read_environment(two)["status"] == "incomplete"
    assert list(two.glob("chunks/0-0-4/0*")), outputs
    codes, outputs = together("resume", str(two))
    assert codes == [0, 0], outputs
    assert "Study in" in outputs[0] and "Study in" not in outputs[1]
    xarray.testing.assert_identical(files.read_results(one), files.read_results(two))
    jax.tree.map(
        np.testing.assert_array_equal,
        files.read_tree(one / "parameters" / "0"),
        files.read_tree(two / "parameters" / "0"),
    )


FEW = (
    *("train", "CartPole-v1", "--num-seeds", "4", "--num-envs", "2"),
    *("--num-steps", "8", "--num-minibatches", "1", "--network.widths", "4"),
    *("--total-timesteps", "320"),
)


@pytest.mark.slow
def test_what_happens_to_one_of_two_processes_is_known_to_both(tmp_path):
    """Out of memory in one both halve; a failure of one ends both, and soon."""
    output, also = tmp_path / "study", SHORT_OF_MEMORY + FAILING
    began = time.monotonic()
    codes, outputs = together(*FEW, "--output", str(output), each={1: ((), also)})
    assert codes == [1, 1], outputs
    assert "Out of memory with 4 runs at once; going on with 2." in outputs[0]
    assert "purejaxppo: error: Process 1 failed: no more" in outputs[0]
    assert "purejaxppo: error: no more" in outputs[1]
    assert not any("stack trace" in output for output in outputs)
    assert time.monotonic() - began < 120
    plan: Any = files.read_plan(output)
    assert plan["chunks"] == [[0, 0, 2, 2], [0, 2, 4, 2]]
    codes, outputs = together(
        *("resume", str(output)),
        each={1: ((), SHORT_OF_MEMORY)},
        meet=by_slurm,
    )
    assert codes == [0, 0], outputs


@pytest.mark.slow
def test_processes_that_are_given_different_studies_are_refused(tmp_path):
    more = {1: (("--gamma", "0.5"), "")}
    given = *FEW, "--output", str(tmp_path / "study")
    codes, outputs = together(*given, each=more)
    assert codes == [2, 2], outputs
    for output in outputs:
        assert (
            "error: Expected all processes to be given the same config, got another in "
            "process 1 than in 0."
        ) in output
    assert not (tmp_path / "study").exists()


# --- Coming together ----------------------------------------------------------------


def roll_call_of(*given, limit=20.0) -> list[Any]:
    """What comes of processes `(num_processes, process_id)`; None where all is well."""
    port = free_port()

    def call(numbers):
        try:
            rendezvous.call_roll(f"localhost:{port}", numbers[0], numbers[1], limit)
        except ValueError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(given)) as pool:
        return list(pool.map(call, given))


def test_all_processes_come_together_in_any_order():
    assert roll_call_of((3, 2), (3, 0), (3, 1)) == [None] * 3
    assert roll_call_of((1, 0)) == [None]


def test_who_does_not_come_is_told():
    message = (
        "Expected 4 processes to come together, but of --process-id 2, 3 none came."
    )
    assert roll_call_of((4, 0), (4, 1), limit=1.0) == [message] * 2


def test_a_first_process_that_does_not_come_is_told():
    [message] = roll_call_of((2, 1), limit=0.3)
    assert message.startswith("Expected the first process to listen at localhost:")
    assert message.endswith("got: Connection refused.")


def test_two_processes_with_one_number():
    message = "Expected a --process-id of its own for each process, got 1 twice."
    found = roll_call_of((3, 0), (3, 1), (3, 1), limit=5.0)
    assert set(found) == {message}


def test_other_numbers_of_processes():
    message = (
        "Expected all processes to have the same --num-processes, got 2 in 0 and "
        "3 in 1."
    )
    assert roll_call_of((2, 0), (3, 1)) == [message] * 2


def test_a_port_that_is_taken_and_who_is_none_of_ours():
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        message = rf"^Expected port {port} to be free .* Address already in use\.$"
        with pytest.raises(ValueError, match=message):
            rendezvous.call_roll(f"localhost:{port}", 2, 0)
    with ThreadPoolExecutor(1) as pool:
        port = free_port()
        first = pool.submit(rendezvous.call_roll, f"localhost:{port}", 2, 0, 20.0)
        while True:
            try:
                stranger = socket.create_connection(("localhost", port), timeout=1)
                break
            except OSError:
                time.sleep(0.01)
        with stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n")
            rendezvous.call_roll(f"localhost:{port}", 2, 1, 20.0)
        assert first.result() is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("host:", 2, 0),
            "Expected --coordinator to be HOST:PORT or auto, got 'h",
        ),
        ((":9", 2, 0), "Expected --coordinator to be HOST:PORT or auto, got ':9'."),
        (("a:b", 2, 0), "Expected --coordinator to be HOST:PORT or auto, got 'a:b'."),
        (("a:65536", 2, 0), "Expected --coordinator to be HOST:PORT or auto, got "),
        (("a:9", 2, 2), "Expected --process-id to be in [0, 2), the --num-"),
        (
            ("a:9", 2, -1),
            "Expected --process-id to be in [0, 2), the --num-",
        ),
        (("a:9", 0, 0), "Expected --process-id to be in [0, 0), the --num-"),
    ],
)
def test_numbers_and_addresses_that_are_no_good(given: Any, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        devices_room.join_hosts(*given)


# --- What they must have in common --------------------------------------------------


@pytest.fixture
def two(monkeypatch):
    """As if there were two processes; the other one's part is in a list."""
    others: list[Any] = []

    def gather(own):
        return np.stack([own, others.pop(0)])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    return others


def test_one_that_is_short_of_memory_stops_both(two):
    def exhausted():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 1 byte")

    two += [False, True, False]
    assert processes_room.all_or_none(lambda: 3) == 3
    for action in (int, exhausted):
        with pytest.raises(processes_room.ExhaustedError) as caught:
            processes_room.all_or_none(action)
        assert processes_room.is_exhausted(caught.value)
    with pytest.raises(jax.errors.JaxRuntimeError) as alone:
        exhausted()
    assert not processes_room.is_exhausted(
        alone.value
    )  # To halve is for all or for none.


def test_the_first_fact_that_differs_is_named(two):
    def digest(fact):
        return zlib.crc32(repr(fact).encode())

    two += [[digest(1), digest("a")], [digest(1), digest("b")]]
    processes_room.check_alike(lambda: {"one": 1, "other": "a"})
    with pytest.raises(ValueError, match="the same other, got another in process 1 "):
        processes_room.check_alike(lambda: {"one": 1, "other": "a"})


def test_the_host_with_the_least_memory_counts(two):
    two += [np.float32(3)]
    assert processes_room.least(5.0) == 3


def test_processes_on_one_host_share_its_memory(two, monkeypatch):
    here = zlib.crc32(os.uname().nodename.encode())
    monkeypatch.setattr(plans, "_free_bytes", lambda: 1000)
    devices = jax.local_device_count()
    two += [here, here + 1]
    assert plans.device_limit() == int(plans.USABLE * 1000 / (2 * devices))
    assert plans.device_limit() == int(plans.USABLE * 1000 / devices)


def test_all_processes_go_by_one_prediction_of_time(monkeypatch):
    """Else one would ask whether so much is meant, and the others begin."""
    monkeypatch.setattr(processes_room, "agree", lambda seconds: 7.0)
    config = ppo.Config(total_timesteps=16, num_envs=2, num_steps=8, num_minibatches=1)
    study = Study(config, "CartPole-v1", 1)
    assert study.plan(Means(memory_gib=1.0)).needs[0].update_seconds == 7


def devices_of(*processes) -> list[Any]:
    return [SimpleNamespace(process_index=i) for i in processes]


def test_no_process_is_without_a_part(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "devices", lambda: devices_of(0, 1, 2))
    message = "^Expected devices_per_run to leave no process without a part, got 2 with"
    with pytest.raises(ValueError, match=message):
        sharding.run_mesh(4, 2)


def test_fewer_runs_at_once_than_all_processes_have_devices(monkeypatch):
    """More chunks would not make them fewer: it would look for ever."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: devices_of(0, 1))
    with pytest.raises(ValueError, match=r"^Expected chunk_size to be at least 2, th"):
        sharding.at_most(1)
    assert sharding.at_most(5) == 4


def test_a_run_of_several_processes():
    def mesh(processes, share) -> Any:
        devices = np.array(devices_of(*processes)).reshape(-1, share)
        return SimpleNamespace(devices=devices, shape={sharding.AXIS: len(devices)})

    assert not sharding.is_split(mesh((0, 0, 1, 1), 2))
    assert sharding.is_split(mesh((0, 0, 1, 1), 4))
    assert not sharding.is_split(mesh((0, 1), 1))


def test_other_numbers_of_devices_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: devices_of(0, 0, 1))
    with pytest.raises(ValueError, match="to have as many devices, got 2, 1; JAX_NUM"):
        devices_room.check_devices()


def test_a_directory_that_is_not_shared(two, tmp_path):
    two += [True]
    (tmp_path / ".lock").touch()
    with pytest.raises(ValueError, match=r"to be one directory that all processes sh"):
        study_room.check_shared(tmp_path)


# --- What is told in part -----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", None, 0), "Expected --coordinator HOST:PORT with --num-processes "),
        (("host", 2, 0), "Expected --coordinator HOST:PORT with --num-processes "),
        ((None, 2, 0), "Expected --coordinator with --num-processes, got none."),
    ],
)
def test_hosts_that_are_told_in_part_are_one_line(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        devices_room.join_hosts(*given)


def test_more_devices_a_run_than_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices_room, "use_this_machine", lambda: None)
    given = "--output", str(tmp_path / "study"), "--devices-per-run", "64"
    assert entry_point.main((*OPTIONS, *given)) == 2
    assert (
        "purejaxppo: error: Expected devices_per_run to be at most "
        f"{jax.device_count()}, the number of devices, got 64."
    ) in capsys.readouterr().err
