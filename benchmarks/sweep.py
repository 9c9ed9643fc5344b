"""A sweep as one program, against the same runs one by one; all devices against one.

`python -m benchmarks.sweep` trains 8 learning rates x 4 clip ranges x 8 seeds, 256 runs
of CartPole-v1, as one study; then the same runs one after another by a program for one
run, which is compiled once and takes the numbers as arguments. Each variant runs in a
process of its own, in turns. One CPU device may use several cores, so that it is also
measured on a core of its own, and for each variant the cores that were busy.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import machine, results
from benchmarks.jobs import positive
from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace


class Variant(NamedTuple):
    """CPU devices and cores, 0 for as many as there are; runs at once, 0 for all."""

    devices: int = 0
    cores: int = 0
    at_once: int = 0


VARIANTS = {
    "one program, all devices": Variant(),
    "one program, one device": Variant(devices=1),
    "one program, one device on one core": Variant(devices=1, cores=1),
    "one by one, one device": Variant(devices=1, at_once=1),
}

RATES = 8
CLIPS = (0.1, 0.15, 0.2, 0.3)
SEEDS = 8


def measure(variant: Variant, steps: int) -> dict[str, float]:
    """Seconds of compiling and of training, and peak memory, in this process."""
    if variant.devices:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(variant.devices)
    if variant.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: variant.cores])
    from purejaxppo.cli.devices import use_this_machine

    use_this_machine()
    from purejaxppo.study import Study, log_range
    from purejaxppo.study.execution.chunks import Training
    from purejaxppo.study.execution.programs import Programmer

    config = replace(Config(), {"total_timesteps": steps})
    rates = log_range(1e-4, 1e-2, RATES)
    grid = {"learning_rate": rates, "clip_eps": list(CLIPS)}
    study = Study(config, "CartPole-v1", SEEDS, grid=grid)
    (group,) = study.groups
    at_once = variant.at_once or study.num_runs
    programs = Programmer([group], study.algorithm).programs(0, at_once)
    began, busy = time.perf_counter(), time.process_time()
    for start in range(0, study.num_runs, at_once):
        rows = slice(start, start + at_once)
        values = {name: column[rows] for name, column in group.values.items()}
        for _ in Training(programs, values, study.seeds[rows]).segments():
            pass
    seconds = time.perf_counter() - began
    total = study.num_runs * config.num_updates * config.batch_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "compile_seconds": programs.seconds,
        "seconds": seconds,
        "steps_per_second": total / seconds,
        "busy_cores": (time.process_time() - busy) / seconds,
        "peak_bytes": peak,
    }


def main() -> None:
    """Measure each variant in a process of its own, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one, here")
    parser.add_argument("--steps", type=positive, default=50_000)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--json", type=Path, help="leave the figures in this file")
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(VARIANTS[arguments.variant], arguments.steps)))
        return
    rounds = {name: [] for name in VARIANTS}
    for _ in range(arguments.repeats):
        for name, found in rounds.items():
            command = [sys.executable, "-m", "benchmarks.sweep", "--variant", name]
            command += ["--steps", str(arguments.steps)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table("variant", "compile s", "training s", "steps/s", "cores", "peak MiB")
    for name, found in rounds.items():
        middle = {key: median(one[key] for one in found) for key in found[0]}
        table.add_row(
            name,
            f"{middle['compile_seconds']:.1f}",
            f"{middle['seconds']:.1f}",
            f"{middle['steps_per_second']:,.0f}",
            f"{middle['busy_cores']:.2f}",
            f"{middle['peak_bytes'] / 2**20:,.0f}",
        )
    Console().print(table)
    facts = {"machine": machine.device(), "versions": machine.versions()}
    settings = {"steps": arguments.steps, "repeats": arguments.repeats}
    results.write(arguments.json, results.document("sweep", rounds, facts, settings))


if __name__ == "__main__":
    main()
