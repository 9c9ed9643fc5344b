"""Seconds before there is a result: imports, and whole processes.

Usage: python -m benchmarks.startup --repeats 5 [--parts imports command rejax]

`imports` compares `import purejaxppo` with importing the libraries it stands on;
`command` is the command line's whole process, with an empty cache of compiled programs
(cold) and a filled one (warm); `rejax` is the same job in a rejax process, which keeps
no cache, so always cold. Each round measures every variant once, in turn.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import peers_environment, results
from benchmarks.jobs import positive
from benchmarks.spread import Spread, paired_ratio, spread
from benchmarks.workers import ROOT, Worker

IMPORTS = {
    "import purejaxppo": "import purejaxppo",
    "import its base": "import jax, flax.linen, optax, distrax",
}
PARTS = ("imports", "command", "rejax")
RATIOS = (
    ("import purejaxppo", "import its base"),
    ("command, cold", "rejax process, cold"),
    ("command, warm", "command, cold"),
)

Variants = Mapping[str, Callable[[], float]]


class Duration(NamedTuple):
    """Seconds of one variant, round by round."""

    name: str
    rounds: tuple[float, ...]
    seconds: Spread


class Ratio(NamedTuple):
    """Seconds of one variant over another's, taken round by round."""

    name: str
    over: str
    ratio: Spread


def import_seconds(statement: str) -> float:
    """Seconds of an import statement in a fresh process, without Python's own start."""
    clock = "from time import perf_counter as now; began = now()"
    script = f"{clock}; {statement}; print(now() - began)"
    command = [sys.executable, "-c", script]
    return float(_run(command, os.environ).stdout.splitlines()[-1])


def command_seconds(cache: Path, total_timesteps: int) -> float:
    """Seconds of the command line's whole process, with `cache` for its programs."""
    with TemporaryDirectory() as directory:
        command = [
            str(Path(sys.executable).with_name("purejaxppo")),
            "train",
            "CartPole-v1",
            "--num-seeds=1",
            f"--total-timesteps={total_timesteps}",
            f"--output={directory}/study",
        ]
        return _seconds(command, {"JAX_COMPILATION_CACHE_DIR": str(cache)})


def cold_command_seconds(total_timesteps: int) -> float:
    """The same with an empty cache."""
    with TemporaryDirectory() as cache:
        return command_seconds(Path(cache), total_timesteps)


def rejax_seconds(python: Path, total_timesteps: int) -> float:
    """Seconds of a whole rejax process."""
    command = [str(python), "-m", "benchmarks.rejax_startup", str(total_timesteps)]
    return _seconds(command, {"JAX_ENABLE_COMPILATION_CACHE": "false"})


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    _run(command, {**os.environ, **environment})
    return time.perf_counter() - began


def _run(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done


def interleave(variants: Variants, rounds: int) -> list[Duration]:
    """Each variant once in each round, after a round that is thrown away.

    The first round fills the disk's cache, compiles bytecode, and fills the programs'
    cache of the warm variant.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(1 + rounds):
        for name, measure in variants.items():
            value = measure()
            if i > 0:
                seconds[name].append(value)
    return [Duration(name, tuple(s), spread(s)) for name, s in seconds.items()]


def ratios(durations: Sequence[Duration]) -> list[Ratio]:
    """Those of `RATIOS` of which both sides were measured."""
    rounds = {duration.name: duration.rounds for duration in durations}
    return [
        Ratio(name, over, paired_ratio(rounds[name], rounds[over]))
        for name, over in RATIOS
        if name in rounds and over in rounds
    ]


def make_variants(options: argparse.Namespace, warm_cache: Path) -> Variants:
    """What to measure, by name."""
    steps: int = options.total_timesteps
    variants: dict[str, Callable[[], float]] = {}
    if "imports" in options.parts:
        for name, statement in IMPORTS.items():
            variants[name] = lambda statement=statement: import_seconds(statement)
    if "command" in options.parts:
        variants["command, cold"] = lambda: cold_command_seconds(steps)
        variants["command, warm"] = lambda: command_seconds(warm_cache, steps)
    if "rejax" in options.parts:
        python = peers_environment.ensure(options.venv)
        variants["rejax process, cold"] = lambda: rejax_seconds(python, steps)
    return variants


def make_table(durations: Sequence[Duration], quotients: Sequence[Ratio]) -> Table:
    """The figures for people."""
    table = Table("what", "median (range)")
    for row in durations:
        table.add_row(row.name, f"{row.seconds.show('.2f')} s")
    for row in quotients:
        table.add_row(f"{row.name} / {row.over}", row.ratio.show())
    return table


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--total-timesteps", type=positive, default=500_000)
    parser.add_argument("--venv", type=Path, default=peers_environment.DIRECTORY)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    with TemporaryDirectory() as cache:
        durations = interleave(make_variants(options, Path(cache)), options.repeats)
    quotients = ratios(durations)
    Console().print(make_table(durations, quotients))
    with Worker("benchmarks.ours") as worker:
        facts = worker.ask("facts")
    settings = {
        "repeats": options.repeats,
        "total_timesteps": options.total_timesteps,
        "peers": peers_environment.requirements(),
    }
    figures = {"durations": durations, "ratios": quotients}
    results.write(options.json, results.document("startup", figures, facts, settings))


if __name__ == "__main__":
    main()
