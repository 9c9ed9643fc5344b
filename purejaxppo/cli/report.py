"""`purejaxppo report` and `compare`: what the runs of studies say."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from purejaxppo.cli.options import Positional, Texts, needed, option
from purejaxppo.cli.screen import make_console
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
from purejaxppo.reporting.sweep_report import render_sweep, write_sweep
from purejaxppo.results.studies import incomplete
from purejaxppo.study.storage import disk, files


@dataclasses.dataclass
class Reading:
    """How runs from elsewhere are read."""

    names: Annotated[str | None, option("NAME,NAME,...", "as they are called")] = None
    """The algorithm of each path, in their order."""
    task: Annotated[str | None, option("NAME", "as the files say")] = None
    """The environment, where files do not tell it, or in place of the only one."""
    format: Annotated[str | None, option("NAME", "recognised")] = None
    """What the paths hold: study, tensorboard, table, scores; or monitor, progress or
    evaluations of Stable-Baselines3."""
    tag: Annotated[str | None, option("TAG", "the return's")] = None
    """The return's tag in TensorBoard's files, or its column in a progress.csv."""
    pattern: Annotated[str | None, option("REGEX", "the usual ones")] = None
    """What is read from folders' names: groups among algorithm, task and seed."""
    columns: Annotated[Texts, option("THEIRS=OURS", "as they are called")] = ()
    """Name of a table's column = algorithm, task, seed, env_steps or episode_return.
    Repeatable."""
    points: Annotated[int | None, option("INT", "all steps")] = None
    """Bins that steps are gathered in, for runs with steps of their own."""


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
class Report(Reading, Analysing):
    """Report on studies: report.html, report.json, tables and pictures."""

    paths: Annotated[Positional[tuple[Path, ...]], needed("DIR...")] = ()
    """Studies' directories; or tables, rliable's scores, folders of TensorBoard's or of
    Stable-Baselines3's files."""
    output: Annotated[Path | None, option("DIR", "the study's directory")] = None
    """Directory for the report, if it is one. Of runs.csv, it is runs by default."""


@dataclasses.dataclass
class Compare(Reading, Analysing):
    """Compare studies, algorithms x tasks: compare.html and compare.json."""

    paths: Annotated[Positional[tuple[Path, ...]], needed("DIR DIR...")] = ()
    """Studies' directories, or what else `report` reads; together each algorithm on
    the same tasks."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("compare")
    """Directory for the comparison."""
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
    studies = read_reports(command.paths, command.target, **_how(command))
    paths, console = command.paths, make_console()
    own = [path if path.is_dir() else path.with_suffix("") for path in paths]
    outputs = [command.output] if command.output else own
    for i, output in enumerate(outputs):
        disk.check_output(output, files.REPORTS)
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
    dataset = files.read_results(path) if files.holds_study(path) else None
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
        baseline=command.baseline,
        target=command.target,
        metric=command.metric,
        **_how(command),
    )
    comparison = write_comparison(contest, command.output, plan)
    console = make_console()
    for part in rendered(contest.sources, comparison, plan):
        console.print(part)
    path = command.output / "compare.html"
    console.print(f"Comparison in {path}", highlight=False)
    return 0


def _how(command: Report | Compare) -> dict[str, Any]:
    """How the paths are read."""
    names = ("task", "format", "tag", "pattern", "points", "rollouts")
    return {
        **{name: getattr(command, name) for name in names},
        "names": _names(command.names) if command.names else None,
        "columns": parse_columns(command.columns) or None,
    }


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(
            f"--names takes NAME,NAME,..., none of them empty, not {text!r}."
        )
    return names


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """Return a table's columns and what they are called here.

    >>> parse_columns(("Step=env_steps,a=b=episode_return", "run=seed"))
    {'Step': 'env_steps', 'a=b': 'episode_return', 'run': 'seed'}

    Raises:
      ValueError: a part is not THEIRS=OURS.
    """
    columns = {}
    for part in ",".join(texts).split(",") if texts else ():
        theirs, _, ours = (name.strip() for name in part.rpartition("="))
        if not theirs or not ours:
            raise ValueError(
                f"--columns takes THEIRS=OURS, such as Step=env_steps, not {part!r}."
            )
        columns[theirs] = ours
    return columns


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
