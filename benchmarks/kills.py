"""Kill a study at random moments until it ends; is it what it would have been?

`python -m benchmarks.kills --kills 20` trains one study without interruption, and
another that is killed with SIGKILL, again and again, some of the times while it writes
a checkpoint, and resumed each time. Both must end with the same bits.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace

CONFIG = replace(
    Config(),
    {
        "total_timesteps": 64 * 8000,
        "num_envs": 2,
        "num_steps": 32,
        "num_minibatches": 2,
        "normalize_observation": True,
        "normalize_reward": "reward_normalization",
        "kl_penalty": True,
        "network.widths": (8,),
    },
)
GRID = {"learning_rate": [1e-3, 3e-3], "env.gravity": [9.8, 5.0], "num_envs": [2, 4]}


class Moment(NamedTuple):
    """When to kill: after some seconds, of the process or of its training.

    `inside` waits for the next checkpoint to be begun.
    """

    training: bool
    seconds: float
    inside: bool


class Kill(NamedTuple):
    """A moment at which the study was killed, and whether it was writing."""

    seconds: float
    inside: bool


def train(directory: Path) -> None:
    """Begin the study, or go on with it, with a checkpoint every 0.6 seconds."""
    from purejaxppo.cli.devices import use_this_machine
    from purejaxppo.study import Means, Status, Study
    from purejaxppo.study.execution import segments
    from purejaxppo.study.storage import files

    use_this_machine()
    segments.SEGMENT_SECONDS = 0.1  # Many segments, many checkpoints.
    study = Study(CONFIG, "CartPole-v1", 3, output=directory, grid=GRID)
    means = Means(chunk_size=6, checkpoint_minutes=0.01)
    begun = []

    def say_when_it_trains(status: Status) -> None:
        if status.seconds and not begun:
            begun.append(True)
            print("training", flush=True)

    resume = files.holds_study(directory)
    study.run(resume=resume, means=means, on_status=say_when_it_trains)


def start(directory: Path) -> subprocess.Popen:
    """A process that trains."""
    command = [sys.executable, "-m", "benchmarks.kills", "--train", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def is_writing(directory: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any(directory.glob("chunks/*/*.unfinished"))


def kill(process: subprocess.Popen, directory: Path, moment: Moment) -> Kill | None:
    """Kill a process, unless it ends before.

    Returns:
      What happened; None if it ended.
    """
    began = time.monotonic()
    if moment.training:
        assert process.stdout is not None
        process.stdout.readline()
    at = time.monotonic() + moment.seconds
    while process.poll() is None and time.monotonic() < at:
        time.sleep(0.002)
    while process.poll() is None and moment.inside and not is_writing(directory):
        pass
    if process.poll() is not None:
        return None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Looked at only now that nothing goes on: it was in the middle, not at its end.
    return Kill(time.monotonic() - began, is_writing(directory))


def draw_moment(draw: random.Random, number: int) -> Moment:
    """Of four kills, one before the training begins, one inside a write."""
    before = number % 4 == 1
    seconds = draw.uniform(0.5, 6.0) if before else draw.uniform(0.0, 3.0)
    return Moment(training=not before, seconds=seconds, inside=number % 4 == 3)


def assert_same(one: Path, other: Path) -> None:
    """Refuse results or policies that differ in a bit."""
    import jax
    import numpy as np
    import xarray

    from purejaxppo.study.storage import files

    xarray.testing.assert_identical(files.read_results(one), files.read_results(other))
    for path in (p for p in (one / files.PARAMETERS).iterdir() if p.is_dir()):
        theirs = files.read_tree(other / files.PARAMETERS / path.name)
        jax.tree.map(np.testing.assert_array_equal, files.read_tree(path), theirs)


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        start(whole).communicate()
        draw, kills = random.Random(arguments.seed), []
        while len(kills) < arguments.kills:
            happened = kill(start(killed), killed, draw_moment(draw, len(kills)))
            if happened is None:
                break
            kills.append(happened)
            print(f"{len(kills)}: after {happened.seconds:.2f} s", end="")
            print(", inside a checkpoint write" if happened.inside else "", flush=True)
        last = start(killed)
        last.communicate()
        assert last.returncode == 0
        assert_same(whole, killed)
    inside = sum(one.inside for one in kills)
    print(f"{len(kills)} kills, {inside} inside a checkpoint write: the same bits")


if __name__ == "__main__":
    main()
