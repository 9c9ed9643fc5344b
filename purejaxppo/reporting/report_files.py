"""Reports and comparisons: everything is read and checked first, then written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.comparison import (
    Comparison,
    check_records,
    check_references,
    compare,
)
from purejaxppo.reliability.runs import Runs
from purejaxppo.reporting import glossary
from purejaxppo.reporting.comparison_page import make_comparison_page
from purejaxppo.reporting.html_pages import write_page
from purejaxppo.reporting.json_files import versions, write_json
from purejaxppo.reporting.report_page import Part, analyzed, make_report_page
from purejaxppo.reporting.short_report import cautions
from purejaxppo.reporting.sources import (
    METRICS,
    Source,
    how_to_read,
    metrics_of,
    read_source,
    read_sources,
)
from purejaxppo.study.storage import disk, files

REPORT, COMPARISON = "report", "compare"
"""Names of the files, with the suffixes .html and .json."""


def names_of(kind: str) -> tuple[str, str]:
    """Return the names of a page's files."""
    return f"{kind}.html", f"{kind}.json"


def references(texts: str | None, tasks: Sequence[str], field: str) -> dict[str, float]:
    """Return the score of each task that a text names.

    >>> references("500", ["CartPole-v1"], "target")
    {'CartPole-v1': 500.0}
    >>> references("b=-80,a=1", ["a", "b"], "target")
    {'b': -80.0, 'a': 1.0}

    Args:
        texts: one number for all tasks, or TASK=NUMBER, separated by commas.
        tasks: what there is.
        field: what an error calls it.

    Raises:
        ValueError: it is neither, or of another task.
    """
    if texts is None:
        return {}
    found = {}
    for part in texts.split(","):
        task, _, number = part.rpartition("=")
        try:
            score = float(number)
        except ValueError:
            score = float("nan")
        if score != score or abs(score) == float("inf"):
            raise ValueError(
                f"Expected {field} to be NUMBER or TASK=NUMBER,..., got {texts!r}."
            )
        if task and task not in tasks:
            raise ValueError(
                f"Expected {field} to be of {', '.join(tasks)}, got {task!r}."
            )
        found |= {task: score} if task else dict.fromkeys(tasks, score)
    return found


class Study(NamedTuple):
    """Runs that were read and checked, and are to be reported on.

    Attributes:
        source: what is known of them.
        parts: those of each kind, not yet analysed.
        cautions: what is to be warned of besides.
    """

    source: Source
    parts: list[Part]
    cautions: list[str]


def read_reports(
    paths: Sequence[Path],
    target: str | None = None,
    names: Sequence[str] | None = None,
    format: str | None = None,
    **how: Any,
) -> list[Study]:
    """Read studies with each kind of return that they recorded, or runs from elsewhere.

    Args:
        paths: studies' directories, or whatever else `results.read` reads.
        target: as `references` has it.
        names: the algorithm of each; as it is read if None.
        format: as for `results.read`.
        how: its other arguments; those that are `None` are left out.

    Raises:
        ValueError: there are no paths, or no results, or the target is none.
    """
    if not paths:
        raise ValueError("Expected the directory of a study, got none.")
    asked = how_to_read(paths, names, format, **how)
    studies = [
        _read_report(path, format, own) for path, own in zip(paths, asked, strict=True)
    ]
    tasks = dict.fromkeys(part.runs.task for study in studies for part in study.parts)
    targets = references(target, list(tasks), "target")
    return [
        study._replace(
            parts=[p._replace(target=targets.get(p.runs.task)) for p in study.parts]
        )
        for study in studies
    ]


def _read_report(path: Path, format: str | None, how: dict[str, Any]) -> Study:
    if not files.holds_study(path) or format not in (None, "study"):
        source = read_source(path, format, **how)
        found = source.records
        parts = [Part(f"{r.algorithm} on {r.task}", "return", r) for r in found]
        return Study(source, parts, [])
    metrics = metrics_of(path)
    sources = [read_source(path, format, metric=name, **how) for name in metrics]
    parts = [
        Part(_part_name(runs, name, source, metrics), METRICS[name], runs)
        for name, source in zip(metrics, sources, strict=True)
        for runs in source.records
    ]
    collapses = cautions(files.read_results(path))
    return Study(sources[0], parts, [c.removeprefix("Warning: ") for c in collapses])


def _part_name(runs: Runs, metric: str, source: Source, metrics: list[str]) -> str:
    """What a study's runs are called: by their return, or by setting of a grid."""
    if len(source.records) == 1:
        return METRICS[metric]
    of = f", {METRICS[metric]}" if len(metrics) > 1 else ""
    return f"{runs.algorithm}{of}"


def write_report(study: Study, output: Path, plan: Plan) -> list[Part]:
    """Write `report.html` and `report.json`.

    Args:
        study: from `read_reports`.
        output: directory, made if it is not there.
        plan: how the runs are analysed.

    Returns:
        What was written, for each kind of runs.

    Raises:
        ValueError: the directory cannot be written.
    """
    disk.check_output(output, names_of(REPORT))
    parts = [analyzed(part, plan) for part in study.parts]
    made = versions()
    page = make_report_page(
        study.source, parts, plan, study.cautions, made, f"{REPORT}.json"
    )
    target = parts[0].target
    document = {
        "kind": REPORT,
        "made": page.made,
        "versions": made,
        "source": _origin(study.source),
        "plan": plan,
        "definitions": {
            **glossary.general(plan),
            **glossary.score_definitions(plan, target),
            **glossary.cell_definitions(plan.definition),
        },
        "answers": page.answers,
        "caveats": page.caveats,
        "targets": {part.name: part.target for part in parts},
        "parts": {part.name: part.analysis for part in parts},
    }
    disk.make_folder(output)
    write_json(output / f"{REPORT}.json", document)
    write_page(output / f"{REPORT}.html", page)
    return parts


class Contest(NamedTuple):
    """Runs that were read and checked, and are to be compared.

    Attributes:
        sources: where they are from.
        lows: task -> final return that counts as 0.
        highs: task -> final return that counts as 1.
        quantity: what the curves are called.
    """

    sources: list[Source]
    lows: dict[str, float]
    highs: dict[str, float]
    quantity: str

    @property
    def records(self) -> list[Runs]:
        """The runs of all sources."""
        return [runs for source in self.sources for runs in source.records]


def read_comparison(
    paths: Sequence[Path],
    names: Sequence[str] | None = None,
    baseline: str | None = None,
    target: str | None = None,
    metric: str | None = None,
    format: str | None = None,
    **how: Any,
) -> Contest:
    """Read what is to be compared.

    Args:
        paths: studies' directories, or whatever else `results.read` reads.
        names: the algorithm of each; as it is read if None.
        baseline: final returns that count as 0, as `references` has them.
        target: those that count as 1, likewise.
        metric: see `results.read_study`.
        format: as for `results.read`.
        how: its other arguments; those that are `None` are left out.

    Raises:
        ValueError: what is there cannot be read, or not be compared.
    """
    sources = read_sources(paths, names, format, metric=metric, **how)
    _check_once(sources)
    try:
        _, tasks = check_records([runs for of in sources for runs in of.records])
    except ValueError as error:
        raise ValueError(f"{error}{'' if names else _hint_of_names(sources)}") from None
    lows = references(baseline, tasks, "baseline")
    highs = references(target, tasks, "target")
    check_references(tasks, lows, highs)
    studies = all(source.config for source in sources)
    quantity = metric or ("episode_return" if studies else "return")
    if metric is not None and metric not in METRICS:
        sources = [_of_no_return(source, metric) for source in sources]
    return Contest(sources, lows, highs, METRICS.get(quantity, quantity))


def _hint_of_names(sources: Sequence[Source]) -> str:
    """Return advice for paths of one task each that may be of the same algorithms."""
    tasks = [source.records[0].task for source in sources]
    # The first path of each task may be one algorithm, the second one another.
    places = [tasks[:i].count(task) for i, task in enumerate(tasks)]
    several = any(len(source.records) > 1 for source in sources)
    if several or len(set(tasks)) < 2 or max(places) == 0:
        return ""
    example = ",".join(f"NAME{place + 1}" for place in places)
    return (
        " Each path counts as an algorithm of its own; where several are the same one, "
        f"give the name of each with --names, such as --names {example}."
    )


def _of_no_return(source: Source, metric: str) -> Source:
    """The source without its episodes' returns, which are not what is compared."""
    note = (
        f"What is compared is {metric}: it stands for the return in all that is said, "
        f"and higher counts as better."
    )
    records = [runs._replace(rollouts=None) for runs in source.records]
    return source._replace(records=records, notes=[*source.notes, note])


def write_comparison(contest: Contest, output: Path, plan: Plan) -> Comparison:
    """Write `compare.html` and `compare.json`.

    Args:
        contest: from `read_comparison`.
        output: directory, made if it is not there.
        plan: how the runs are analysed and compared.

    Raises:
        ValueError: the directory cannot be written.
    """
    disk.check_output(output, names_of(COMPARISON))
    comparison = compare(contest.records, plan, contest.lows, contest.highs)
    made, data = versions(), f"{COMPARISON}.json"
    page = make_comparison_page(
        contest.sources, comparison, plan, contest.quantity, made, data
    )
    document = {
        "kind": "comparison",
        "made": page.made,
        "versions": made,
        "sources": [_origin(source) for source in contest.sources],
        "quantity": contest.quantity,
        "plan": plan,
        "definitions": {
            **glossary.general(plan),
            **glossary.score_definitions(plan),
            **glossary.cell_definitions(plan.definition),
            **glossary.comparison_definitions(comparison.ranges, plan),
        },
        "answers": page.answers,
        "caveats": page.caveats,
        "comparison": comparison,
    }
    disk.make_folder(output)
    write_json(output / data, document)
    write_page(output / f"{COMPARISON}.html", page)
    return comparison


def _origin(source: Source) -> dict[str, Any]:
    known = source._asdict()
    del known["records"]
    return known


def _check_once(sources: Sequence[Source]) -> None:
    """Refuse two studies of one algorithm on one task, and say which they are."""
    seen: dict[tuple[str, str], Path] = {}
    for source in sources:
        for runs in source.records:
            name = (runs.algorithm, runs.task)
            if name in seen:
                raise ValueError(
                    f"Expected each algorithm once on each task, got {name[0]} on "
                    f"{name[1]} in {seen[name]} and in {source.path}; --names tells "
                    f"them apart."
                )
            seen[name] = source.path
