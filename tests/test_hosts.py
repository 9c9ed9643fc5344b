"""Several devices, and several processes that train one study; one of them dies."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

from purejaxppo import cli
from purejaxppo.commands import machine
from purejaxppo.study import store

ROOT = Path(__file__).parents[1]
UPDATES = 400
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
from purejaxppo import cli
from purejaxppo.commands import progress
show = progress.StudyProgress.show
def die(self, status):
    show(self, status)
    if status.update > 20 and {dies}:
        os.kill(os.getpid(), 9)
progress.StudyProgress.show = die
sys.exit(cli.main(sys.argv[1:]))
"""


def start(*arguments, devices, dies=False):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
    }
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(dies=dies), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def together(*arguments, dies=None):
    """Four processes on this host, of which one dies; their exit codes and output."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    where = ("--coordinator", f"127.0.0.1:{port}", "--num-processes", "4")
    processes = [
        start(*arguments, *where, "--process-id", str(i), devices=1, dies=i == dies)
        for i in range(4)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    return [process.returncode for process in processes], outputs


@pytest.mark.slow
def test_four_processes_equal_one_also_when_one_has_died(tmp_path):
    """The others end, too; then all go on, and the bits are those of one process."""
    one, four = tmp_path / "one", tmp_path / "four"
    alone = start(*OPTIONS, "--output", str(one), devices=4)
    output = alone.communicate(timeout=240)[0]
    assert alone.returncode == 0, output
    codes, outputs = together(*OPTIONS, "--output", str(four), dies=1)
    assert codes[1] == -9 and 0 not in codes, outputs
    assert store.read_environment(four)["status"] == "incomplete"
    assert list(four.glob("chunks/0-0-4/0*")), outputs
    codes, outputs = together("resume", str(four))
    assert codes == [0] * 4, outputs
    assert "Study in" in outputs[0] and "Study in" not in outputs[1]
    xarray.testing.assert_identical(store.read_results(one), store.read_results(four))
    jax.tree.map(
        np.testing.assert_array_equal,
        store.read_tree(one / "parameters" / "0"),
        store.read_tree(four / "parameters" / "0"),
    )


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
        machine.join_hosts(*given)


def test_more_devices_a_run_than_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "use_this_machine", lambda: None)
    given = "--output", str(tmp_path / "study"), "--devices-per-run", "64"
    assert cli.main((*OPTIONS, *given)) == 2
    assert (
        "purejaxppo: error: Expected devices_per_run to be at most "
        f"{jax.device_count()}, the number of devices, got 64."
    ) in capsys.readouterr().err
