"""The page of one study."""

from typing import NamedTuple

from purejaxppo.reliability.analysis import Analysis, Plan
from purejaxppo.reliability.records import Runs
from purejaxppo.reporting import definitions, drawing, settings, tables
from purejaxppo.reporting.models import Block, Definitions, Figure, Page, Section
from purejaxppo.reporting.pages import gathered, made_by, with_advice
from purejaxppo.reporting.sources import Source
from purejaxppo.reporting.verdicts import verdict
from purejaxppo.reporting.words import counted, percent


class Part(NamedTuple):
    """One kind of return of a study.

    Attributes:
        name: "training return" for instance.
        runs: the curves.
        analysis: what they say.
        target: of the optimality gap, or none.
    """

    name: str
    runs: Runs
    analysis: Analysis
    target: float | None


def report_page(
    source: Source,
    parts: list[Part],
    plan: Plan,
    cautions: list[str],
    versions: dict[str, str],
    data: str,
) -> Page:
    """Make the page of a study.

    Args:
        source: where it is, and what it ran.
        parts: one for each kind of return.
        plan: how they were analysed.
        cautions: more to be warned of.
        versions: of what made the page.
        data: name of the file with all numbers.
    """
    first = parts[0].analysis
    several = len(parts) > 1
    found = [(note, "") for note in (*source.notes, *cautions)]
    for part in parts:
        found += [
            (with_advice(line, source.path), part.name if several else "")
            for line in part.analysis.caveats
        ]
    return Page(
        title=f"How reliable is {first.algorithm} on {first.task}?",
        subtitle=f"{counted(len(first.scores))} of {first.env_steps:,.0f} environment "
        f"steps",
        answers=[
            f"{_name(part)}. {said}" if several else said
            for part in parts
            for said in [verdict(part.analysis, plan)]
        ],
        caveats=gathered(found, [part.name for part in parts]),
        sections=[
            *(
                s
                for i, part in enumerate(parts)
                for s in _sections(i, part, plan, several)
            ),
            Section(
                "origin",
                "What was run",
                [
                    settings.config_table(source),
                    settings.origins_table([source], versions),
                ],
            ),
            Section("definitions", "Definitions", _definitions(plan)),
        ],
        data=data,
        made=made_by(versions),
    )


def _sections(index: int, part: Part, plan: Plan, several: bool) -> list[Section]:
    """Final returns, learning, cells: keys are the part's own."""
    of, prefix = f"part{index}", f"{_name(part)}: " if several else ""
    analysis, name = part.analysis, part.analysis.algorithm
    return [
        Section(
            f"{of}-final",
            _titled(prefix, "final returns"),
            [
                tables.scores_table(f"{of}-scores", analysis, plan, part.target),
                _strip(f"{of}-strip", part, plan),
                tables.runs_table(f"{of}-runs", analysis),
            ],
        ),
        Section(
            f"{of}-learning",
            _titled(prefix, "learning"),
            [
                Figure(
                    f"{of}-curves",
                    drawing.learning_curves(
                        f"{of}-curves-drawing", {name: part.runs}, plan.alpha, part.name
                    ),
                    "Learning curves",
                    f"{_name(part)} over environment steps, means of bins: centre "
                    f"(IQM), middle half of the runs, and the mean of the worst "
                    f"{percent(plan.alpha)} of them.",
                ),
                Figure(
                    f"{of}-drawdowns",
                    drawing.drawdowns(
                        f"{of}-drawdowns-drawing", part.runs, plan.definition.alpha
                    ),
                    "Drawdown",
                    "How far runs are below their own best until then: the long-term "
                    "risk is the mean of the worst of it.",
                ),
            ],
        ),
        Section(
            f"{of}-cells",
            _titled(prefix, "dispersion and risk"),
            _cells(of, analysis, plan),
        ),
    ]


def _strip(key: str, part: Part, plan: Plan) -> Figure:
    return Figure(
        key,
        drawing.strip(
            f"{key}-drawing",
            {part.analysis.algorithm: part.analysis.scores},
            plan.alpha,
            f"final {part.name}",
        ),
        "Every run",
        f"The final return of each run, and the worst {percent(plan.alpha)} of them.",
    )


def _cells(of: str, analysis: Analysis, plan: Plan) -> list[Block]:
    return [
        tables.matrix(f"{of}-matrix", analysis),
        Figure(
            f"{of}-intervals",
            drawing.cells(
                f"{of}-intervals-drawing", {analysis.algorithm: analysis.cells}
            ),
            "Cells in thirds of the training",
            f"Estimates with {percent(plan.confidence)} intervals.",
        ),
        tables.cells_table(f"{of}-table", analysis, plan),
    ]


def _name(part: Part) -> str:
    return part.name.capitalize()


def _titled(prefix: str, title: str) -> str:
    return prefix + title if prefix else title.capitalize()


def _definitions(plan: Plan) -> list[Block]:
    return [Definitions({**definitions.general(plan), **definitions.SOURCES})]
