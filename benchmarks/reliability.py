"""Seconds and memory of reliability's figures with their intervals, beside rliable's.

Usage: python -m benchmarks.reliability --json reliability.json \
           --markdown docs/reliability.md

Each measurement is a fresh process, so that its peak memory is its own; each round
measures every job once, in turn. `everything` is the table of six cells over all
points, the aggregates of the final scores, and a comparison of two algorithms, with
all their intervals. rliable has the aggregates only, so that these are measured by
themselves: of the final scores, and at a few points of the curve.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.jobs import positive
from benchmarks.spread import Spread, spread
from benchmarks.workers import Worker

WORKER = "benchmarks.reliability_jobs"

MEASURED = (
    ("everything", "purejaxppo"),
    ("cells", "purejaxppo"),
    ("scores", "purejaxppo"),
    ("scores", "rliable"),
    ("points", "purejaxppo"),
    ("points", "rliable"),
)


class Figures(NamedTuple):
    """One job, by one library.

    Attributes:
      job: of `MEASURED`.
      by: the library.
      seconds: of the job alone, over the rounds.
      cpu_seconds: of all the process's threads.
      peak_rss_bytes: of the whole process, imports included; the largest.
      interval: the last of the job's first statistics, and the ends of its interval.
      at_all_points: median seconds times all points over those measured; `None` where
        all were.
    """

    job: str
    by: str
    seconds: Spread
    cpu_seconds: Spread
    peak_rss_bytes: int
    interval: list[float]
    at_all_points: float | None


def measure(settings: Mapping[str, int], repeats: int) -> list[Figures]:
    """Every job once in each round."""
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {x: [] for x in MEASURED}
    for _ in range(repeats):
        for (job, by), found in answers.items():
            with Worker(WORKER) as worker:
                found.append(worker.ask("measure", job=job, by=by, **settings))
    return [make_row(*x, found, settings) for x, found in answers.items()]


def make_row(
    job: str, by: str, rounds: Sequence[dict[str, Any]], settings: Mapping[str, int]
) -> Figures:
    """The figures of a job's rounds."""
    seconds = spread(x["seconds"] for x in rounds)
    share = settings["num_points"] / settings["few_points"]
    return Figures(
        job=job,
        by=by,
        seconds=seconds,
        cpu_seconds=spread(x["cpu_seconds"] for x in rounds),
        peak_rss_bytes=max(x["peak_rss_bytes"] for x in rounds),
        interval=rounds[0]["interval"],
        at_all_points=share * seconds.median if job == "points" else None,
    )


def describe(job: str, settings: Mapping[str, int]) -> str:
    """What a job is, in words."""
    runs, points, few = (
        f"{settings[name]:,}" for name in ("num_runs", "num_points", "few_points")
    )
    return {
        "everything": f"every figure of {runs} runs x {points} points",
        "cells": f"of these, the six cells at {points} points",
        "scores": f"IQM, median and mean of {runs} final scores",
        "points": f"IQM at {few} of the {points} points",
    }[job]


def cells_of(row: Figures, settings: Mapping[str, int]) -> list[str]:
    """A line of the table."""
    extrapolated = row.at_all_points
    estimate, low, high = row.interval
    return [
        describe(row.job, settings),
        row.by,
        row.seconds.show(".2f"),
        row.cpu_seconds.show(".2f"),
        "" if extrapolated is None else f"{extrapolated:.3g}",
        f"{row.peak_rss_bytes / 1e6:,.0f}",
        f"{estimate:.4g} [{low:.4g}, {high:.4g}]",
    ]


HEADERS = (
    "job",
    "by",
    "seconds",
    "CPU seconds",
    "at all points, extrapolated",
    "peak MB",
    "first figure",
)


def make_table(rows: Sequence[Figures], settings: Mapping[str, int]) -> Table:
    """The figures for people."""
    table = Table(*HEADERS)
    for row in rows:
        table.add_row(*cells_of(row, settings))
    return table


def page(
    rows: Sequence[Figures], settings: Mapping[str, int], facts: Mapping[str, Any]
) -> str:
    """The figures as a page of Markdown."""
    device, versions = facts["device"], facts["versions"]
    lines = [
        "# How long reliability's figures take",
        "",
        f"With intervals of {settings['num_resamples']:,} resamples, by `python -m "
        f"benchmarks.reliability`, on {device['cores']} cores of {device['name']} with "
        f"numpy {versions['numpy']} and rliable {versions.get('rliable', 'unknown')}. "
        "Median (range) over fresh processes, without their imports. At all points: "
        "the seconds times all points over those measured.",
        "",
        f"| {' | '.join(HEADERS)} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [f"| {' | '.join(cells_of(row, settings))} |" for row in rows]
    return "\n".join([*lines, ""])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-runs", type=positive, default=2048)
    parser.add_argument("--num-points", type=positive, default=1000)
    parser.add_argument("--num-resamples", type=positive, default=2000)
    parser.add_argument("--few-points", type=positive, default=10)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    if options.few_points > options.num_points:
        parser.error(
            f"argument --few-points: expected at most {options.num_points}, got "
            f"{options.few_points}"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    names = ("num_runs", "num_points", "num_resamples", "few_points")
    settings = {name: getattr(options, name) for name in names}
    rows = measure(settings, options.repeats)
    with Worker(WORKER) as worker:
        facts = worker.ask("facts")
    Console().print(make_table(rows, settings))
    document = results.document(
        "reliability", rows, facts, {**settings, "repeats": options.repeats}
    )
    results.write(options.json, document)
    if options.markdown is not None:
        options.markdown.write_text(page(rows, settings, facts))


if __name__ == "__main__":
    main()
