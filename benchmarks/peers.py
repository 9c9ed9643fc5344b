"""The same jobs in purejaxppo and in rejax, turn by turn.

Usage: python -m benchmarks.peers --jobs 64x4:CartPole-v1:20_480 --rounds 5

Each library lives in a process of its own with its compiled program; each round runs
one, then the other, while the first idles. The ratio is taken round by round. Ours is
spread over all devices (CPU cores count), as a study does it; rejax is vmapped in one
jit, as its users do it. Rates divide by the steps that each really made: see
`rejax_programs`. Its environment is built on first use.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import peers_environment, results
from benchmarks.jobs import Job, parse_job, positive
from benchmarks.spread import Spread, paired_ratio, spread
from benchmarks.workers import Worker

JOBS = (
    "64x4:CartPole-v1:20_480",
    "1x4:CartPole-v1:256_000",
    "8x16:Breakout-MinAtar:20_480",
)


class Side(NamedTuple):
    """One library's figures on a job; rates are summed over the agents."""

    devices: int
    trace_seconds: float
    compile_seconds: float
    env_steps: int
    rates: tuple[float, ...]
    steps_per_second: Spread


class Comparison(NamedTuple):
    """Both libraries on a job, and ours/theirs over the rounds."""

    job: Job
    ours: Side
    rejax: Side
    ratio: Spread


def compare(job: Job, ours: Worker, theirs: Worker, rounds: int) -> Comparison:
    """Both on `job`, interleaved."""
    workers = (ours, theirs)
    compiled = [worker.ask("compile", **job._asdict()) for worker in workers]
    for worker in workers:
        worker.ask("run", seed=0)
    runs: tuple[list[dict[str, Any]], ...] = ([], [])
    for i in range(rounds):
        for worker, mine in zip(workers, runs, strict=True):
            mine.append(worker.ask("run", seed=1 + i))
    sides = [_side(c, r) for c, r in zip(compiled, runs, strict=True)]
    ratio = paired_ratio(sides[0].rates, sides[1].rates)
    return Comparison(job=job, ours=sides[0], rejax=sides[1], ratio=ratio)


def _side(compiled: dict[str, Any], runs: Sequence[dict[str, Any]]) -> Side:
    rates = tuple(run["env_steps"] / run["seconds"] for run in runs)
    return Side(
        devices=compiled["devices"],
        trace_seconds=compiled["trace_seconds"],
        compile_seconds=compiled["compile_seconds"],
        env_steps=runs[0]["env_steps"],
        rates=rates,
        steps_per_second=spread(rates),
    )


def make_table(comparisons: Sequence[Comparison], facts: dict[str, Any]) -> Table:
    """The figures for people."""
    device, versions = facts["device"], facts["versions"]
    title = f"{device['count']} x {device['name']}, jax {versions['jax']}"
    table = Table(title=f"{title}: purejaxppo / rejax")
    table.add_column("job", no_wrap=True)
    for header in ("k steps/s", "rejax", "ratio", "compile s", "rejax"):
        table.add_column(header, justify="right")
    for row in comparisons:
        table.add_row(
            row.job.show(),
            f"{row.ours.steps_per_second.median / 1e3:,.0f}",
            f"{row.rejax.steps_per_second.median / 1e3:,.0f}",
            row.ratio.show(),
            f"{row.ours.compile_seconds:.2f}",
            f"{row.rejax.compile_seconds:.2f}",
        )
    return table


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = [parse_job(job) for job in JOBS]
    parser.add_argument("--jobs", nargs="+", type=parse_job, default=jobs)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--venv", type=Path, default=peers_environment.DIRECTORY)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    python = peers_environment.ensure(options.venv)
    console, comparisons = Console(), []
    with (
        Worker("benchmarks.ours") as ours,
        Worker("benchmarks.rejax_programs", python) as theirs,
    ):
        facts = {**ours.ask("facts"), "rejax": theirs.ask("facts")}
        for job in options.jobs:
            row = compare(job, ours, theirs, options.rounds)
            comparisons.append(row)
            console.print(f"{job.show()}: ratio {row.ratio.show()}", highlight=False)
    console.print(make_table(comparisons, facts))
    settings = {"rounds": options.rounds}
    results.write(options.json, results.document("peers", comparisons, facts, settings))


if __name__ == "__main__":
    main()
