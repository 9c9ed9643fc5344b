"""Is the memory that a plan predicts what a study takes? Five configurations, measured.

`python -m benchmarks.footprint` trains each in a process of its own and compares the
growth of its peak of resident memory, over what it was before the training, with the
plan's bytes of all devices.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import machine, results
from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace


class Case(NamedTuple):
    """What is trained: an environment, so many runs, and what is not default."""

    env: str
    num_seeds: int
    changes: dict[str, Any]


CASES = {
    "many small runs": Case("CartPole-v1", 4096, {}),
    "long rollouts": Case("Acrobot-v1", 64, {"num_envs": 64, "num_steps": 1024}),
    "wide networks": Case(
        "Pendulum-v1", 64, {"num_envs": 16, "network.widths": (512, 512)}
    ),
    "images": Case(
        "Breakout-MinAtar", 16, {"num_envs": 64, "network.conv": "min_atar"}
    ),
    "a memory": Case("CartPole-v1", 256, {"num_envs": 32, "network.memory": "lstm"}),
}


def measure(case: Case) -> dict[str, float]:
    """Predicted and measured bytes of two updates, in this process."""
    from purejaxppo.cli.devices import use_this_machine

    use_this_machine()
    import jax

    from purejaxppo.study import Study
    from purejaxppo.study.execution.chunks import Training
    from purejaxppo.study.execution.plans import program_bytes
    from purejaxppo.study.execution.programs import Programmer

    config = replace(Config(), case.changes)
    config = replace(config, {"total_timesteps": 2 * config.batch_size})
    study = Study(config, case.env, case.num_seeds)
    programs = Programmer(study.groups, study.algorithm).programs(0, case.num_seeds)
    predicted = program_bytes(programs) * jax.local_device_count()
    reset_peak()
    before = resident("VmRSS")
    training = Training(programs, {}, study.seeds)
    for _ in training.segments():
        pass
    return {"predicted": predicted, "measured": resident("VmHWM") - before}


def reset_peak() -> None:
    """Let the peak of resident memory begin anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def resident(name: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at the most."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help="measure this one, here")
    parser.add_argument("--json", type=Path, help="leave the figures in this file")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(CASES[arguments.case])))
        return
    table = Table("case", "predicted MiB", "measured MiB", "predicted / measured")
    found = {}
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.footprint", "--case", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        predicted, measured = found[name]["predicted"], found[name]["measured"]
        sizes = f"{predicted / 2**20:.1f}", f"{measured / 2**20:.1f}"
        table.add_row(name, *sizes, f"{predicted / measured:.2f}")
    Console().print(table)
    facts = {"machine": machine.device(), "versions": machine.versions()}
    results.write(
        arguments.json, results.document("footprint", found, facts, {"cases": CASES})
    )


if __name__ == "__main__":
    main()
