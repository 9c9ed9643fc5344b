"""`purejaxppo report` and `compare`: what the runs of studies say."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from purejaxppo import disk
from purejaxppo.commands.options import Positional, needed, option
from purejaxppo.commands.screen import make_console
from purejaxppo.interchange.studies import incomplete
from purejaxppo.reliability import Definition, render
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reporting import (
    read_comparison,
    read_reports,
    rendered,
    write_brief,
    write_comparison,
    write_report,
)
from purejaxppo.reporting.report_page import Part
from purejaxppo.reporting.sweeps import render_sweep, write_sweep
from purejaxppo.study import store


@dataclasses.dataclass
class Analysing:
    """How runs are analysed."""

    alpha: float = 0.25
    """Share of the runs that make the tail of final returns."""
    cell_alpha: float = 0.05
    """Share that makes the tails of dispersion and risk: of changes, runs, episodes."""
    cell_units: Literal["range", "return"] = "range"
    """Units of dispersion and risk: each run's own range (of rollouts, their median),
    or those of the return."""
    target: Annotated[str | None, option("SCORE|TASK=SCORE,...", "none")] = None
    """Final return beyond which more does not count: gives the optimality gap."""
    rollouts: Annotated[
        Literal["sampled", "greedy"] | None, option("sampled|greedy", "sampled")
    ] = None
    """Which episodes of `purejaxppo evaluate` count."""
    confidence: float = 0.95
    """Of all intervals."""
    resamples: int = 2000
    """Number of samples of the bootstrap."""
    seed: int = 0
    """Seed of all that is drawn."""


@dataclasses.dataclass
class Report(Analysing):
    """Report on studies: report.html, report.json, tables and pictures."""

    paths: Annotated[Positional[tuple[Path, ...]], needed("DIR...")] = ()
    """Studies' directories; or tables, TensorBoard's folders, rliable's scores."""
    output: Annotated[Path | None, option("DIR", "the study's directory")] = None
    """Directory for the report, if it is one. Of runs.csv, it is runs by default."""


@dataclasses.dataclass
class Compare(Analysing):
    """Compare studies, algorithms x tasks: compare.html and compare.json."""

    paths: Annotated[Positional[tuple[Path, ...]], needed("DIR DIR...")] = ()
    """Studies' directories, or what else `report` reads; together each algorithm on
    the same tasks."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("compare")
    """Directory for the comparison."""
    names: Annotated[str | None, option("NAME,NAME,...", "the directories'")] = None
    """The algorithm of each study."""
    baseline: Annotated[str | None, option("SCORE|TASK=SCORE,...", "measured")] = None
    """Final return that counts as 0 where tasks are pooled; the target is 1."""
    metric: Annotated[str | None, option("NAME", "episode_return")] = None
    """The recorded metric that is compared, such as evaluation_return."""
    permutations: int = 10_000
    """Number that tests of what each run has are made with."""
    cell_permutations: int = 1_000
    """The same of cells that only all runs together have, which take longer."""
    correction: Literal["bh", "by", "none"] = "bh"
    """For many tests: Benjamini and Hochberg's, Benjamini and Yekutieli's, or none."""


def run_report(command: Report) -> int:
    """Write a report of each study, show its tables."""
    plan = _plan(command)
    if command.output is not None and len(command.paths) > 1:
        raise ValueError(f"Expected one study with --output, got {len(command.paths)}.")
    studies = read_reports(command.paths, command.target, command.rollouts)
    paths, console = command.paths, make_console()
    own = [path if path.is_dir() else path.with_suffix("") for path in paths]
    outputs = [command.output] if command.output else own
    for i, output in enumerate(outputs):
        disk.check_output(output, store.REPORTS)
        if output.resolve() in [other.resolve() for other in outputs[:i]]:
            raise ValueError(
                f"Expected each report in a directory of its own, got several in "
                f"{output}; report on one at a time, with --output."
            )
    for study, path, output in zip(studies, paths, outputs, strict=True):
        parts = write_report(study, output, plan)
        for table in _tables(path, output, parts, plan, console.width):
            console.print(table)
        for line in (*study.source.notes, *study.cautions):
            console.print(f"Warning: {line}", highlight=False)
        console.print(f"Report in {output / 'report.html'}", highlight=False)
    return 0


def _tables(
    path: Path, output: Path, parts: list[Part], plan: Plan, width: int
) -> list[Any]:
    """Tables of each part, or of a sweep; a study's short report is written beside."""
    dataset = store.read_results(path) if store.holds_study(path) else None
    if dataset is not None and "settings" in dataset.attrs:
        ranked = write_sweep(output, dataset, plan)
        return [render_sweep(ranked, dataset.attrs["env"], plan, "iqm", width)]
    if dataset is not None:
        write_brief(output, dataset, plan.alpha, incomplete(path))
    return [render(part.analysis.summary, part.name) for part in parts]


def run_compare(command: Compare) -> int:
    """Write a comparison of all studies, show its tables."""
    plan = dataclasses.replace(
        _plan(command),
        num_permutations=command.permutations,
        num_across_permutations=command.cell_permutations,
        correction=command.correction,
    )
    contest = read_comparison(
        command.paths,
        names=command.names.split(",") if command.names else None,
        baseline=command.baseline,
        target=command.target,
        metric=command.metric,
        rollouts=command.rollouts,
    )
    comparison = write_comparison(contest, command.output, plan)
    console = make_console()
    for part in rendered(contest.sources, comparison, plan):
        console.print(part)
    path = command.output / "compare.html"
    console.print(f"Comparison in {path}", highlight=False)
    return 0


def _plan(command: Analysing) -> Plan:
    if not 0 < command.cell_alpha <= 0.5:
        raise ValueError(
            f"Expected cell_alpha to be in (0, 0.5], got {command.cell_alpha}."
        )
    return Plan(
        alpha=command.alpha,
        definition=Definition(
            alpha=command.cell_alpha, normalize=command.cell_units == "range"
        ),
        confidence=command.confidence,
        num_resamples=command.resamples,
        seed=command.seed,
    )
