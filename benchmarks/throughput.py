"""Environment steps a second, learning included, over a grid of agents x environments.

Usage: python -m benchmarks.throughput --grid 1x4,64x4 --env CartPole-v1

Each configuration is a fresh process, so that its peak memory is its own. Trace and
compile seconds are reported apart; the rate is that of whole runs of the compiled
program after one that is thrown away, summed over the agents.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.jobs import Job, make_job, positive
from benchmarks.spread import Spread, spread
from benchmarks.workers import Worker


class Throughput(NamedTuple):
    """Figures of one configuration.

    Attributes:
      job: what was trained.
      devices: number of devices that the agents were spread over.
      trace_seconds: from Python to the compiler's input.
      compile_seconds: from there to the program.
      env_steps: made by one run, all agents together.
      steps_per_second: over the repeats, all agents together.
      program_bytes: the compiler's account of the program's memory on each device.
      peak_rss_bytes: of the process, compiler included.
      device_peak_bytes: of the fullest device; None on CPU.
    """

    job: Job
    devices: int
    trace_seconds: float
    compile_seconds: float
    env_steps: int
    steps_per_second: Spread
    program_bytes: dict[str, int] | None
    peak_rss_bytes: int
    device_peak_bytes: int | None


def measure(job: Job, repeats: int) -> tuple[Throughput, dict[str, Any]]:
    """A job's figures, and the facts of the machine, from a fresh process."""
    with Worker("benchmarks.ours") as worker:
        facts = worker.ask("facts")
        compiled = worker.ask("compile", **job._asdict())
        worker.ask("run", seed=0)
        runs = [worker.ask("run", seed=1 + i) for i in range(repeats)]
        figures = Throughput(
            job=job,
            **compiled,
            env_steps=runs[0]["env_steps"],
            steps_per_second=spread(run["env_steps"] / run["seconds"] for run in runs),
            **worker.ask("memory"),
        )
    return figures, facts


def make_table(figures: Sequence[Throughput], facts: dict[str, Any]) -> Table:
    """The figures for people."""
    device, jax = facts["device"], facts["versions"]["jax"]
    table = Table(title=f"{device['count']} x {device['name']}, jax {jax}")
    table.add_column("job", no_wrap=True)
    for header in ("devices", "trace s", "compile s", "k steps/s", "program MB"):
        table.add_column(header, justify="right")
    table.add_column("peak MB", justify="right")
    for row in figures:
        table.add_row(
            row.job.show(),
            str(row.devices),
            f"{row.trace_seconds:.2f}",
            f"{row.compile_seconds:.2f}",
            row.steps_per_second.show(",.0f", 1e-3),
            _megabytes(sum(row.program_bytes.values()) if row.program_bytes else None),
            _megabytes(row.device_peak_bytes or row.peak_rss_bytes),
        )
    return table


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments; `jobs` holds one for each place of the grid."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", default="1x4,8x4,64x4,256x4,1x64")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--total-timesteps", type=positive, default=102_400)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    try:
        options.jobs = [
            make_job(size, options.env, options.total_timesteps)
            for size in options.grid.split(",")
        ]
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --grid: {error}")
    return options


def main() -> None:
    options = parse()
    console, figures, facts = Console(), [], {}
    for job in options.jobs:
        row, facts = measure(job, options.repeats)
        figures.append(row)
        rate = row.steps_per_second.show(",.0f", 1e-3)
        console.print(f"{job.show()}: {rate} k steps/s", highlight=False)
    console.print(make_table(figures, facts))
    settings = {"repeats": options.repeats}
    results.write(
        options.json, results.document("throughput", figures, facts, settings)
    )


if __name__ == "__main__":
    main()
