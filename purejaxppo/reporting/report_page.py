"""The page of one study."""

from typing import NamedTuple

from purejaxppo.reliability.analysis import Analysis, Plan, analyze
from purejaxppo.reliability.runs import Runs
from purejaxppo.reporting import config_tables, figures, glossary, study_tables
from purejaxppo.reporting.conclusions import verdict
from purejaxppo.reporting.formatting import counted, percent
from purejaxppo.reporting.html_pages import gathered, made_by, with_advice
from purejaxppo.reporting.page_elements import (
    Block,
    Caveat,
    Definitions,
    Figure,
    Page,
    Section,
)
from purejaxppo.reporting.sources import Source


class Part(NamedTuple):
    """Runs of one kind: an algorithm on a task, by one of its returns.

    Attributes:
        name: what they are called where there are others.
        quantity: what their curves are, "training return" for instance.
        runs: the curves.
        target: of the optimality gap, or none.
        result: what they say, or none before they were analysed.
    """

    name: str
    quantity: str
    runs: Runs
    target: float | None = None
    result: Analysis | None = None

    @property
    def heading(self) -> str:
        """The name as a sentence begins; an algorithm's is left as it is."""
        return self.name.capitalize() if self.name == self.quantity else self.name

    @property
    def analysis(self) -> Analysis:
        """What they say."""
        assert self.result is not None
        return self.result


def analyzed(part: Part, plan: Plan) -> Part:
    """Return the part with what its runs say."""
    return part._replace(result=analyze(part.runs, plan, part.target))


def make_report_page(
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
        parts: one for each kind of runs.
        plan: how they were analysed.
        cautions: more to be warned of.
        versions: of what made the page.
        data: name of the file with all numbers.
    """
    several = len(parts) > 1
    sections = [
        section
        for index, part in enumerate(parts)
        for section in _sections(f"part{index}", part, plan, several)
    ]
    return Page(
        title=_title(parts, source),
        subtitle=_subtitle(parts),
        answers=[_answer(part, plan, several) for part in parts],
        caveats=_caveats(source, parts, cautions),
        sections=[
            *sections,
            Section("origin", "What was run", _origin(source, versions)),
            Section("definitions", "Definitions", _definitions(plan)),
        ],
        data=data,
        made=made_by(versions),
    )


def _answer(part: Part, plan: Plan, several: bool) -> str:
    said = verdict(part.analysis, plan)
    return f"{part.heading}. {said}" if several else said


def _title(parts: list[Part], source: Source) -> str:
    names = {part.analysis.name for part in parts}
    if len(names) == 1:
        return f"How reliable is {names.pop()}?"
    return f"How reliable are the runs of {source.path.name}?"


def _subtitle(parts: list[Part]) -> str:
    sizes = {len(part.analysis.scores) for part in parts}
    steps = {part.analysis.env_steps for part in parts}
    if len(sizes) > 1 or len(steps) > 1:
        return f"{counted(len(parts), 'kind')} of runs"
    return f"{counted(sizes.pop())} of {steps.pop():,.0f} environment steps"


def _caveats(source: Source, parts: list[Part], cautions: list[str]) -> list[Caveat]:
    found = [(note, "") for note in (*source.notes, *cautions)]
    for part in parts:
        lines = (with_advice(line, source) for line in part.analysis.caveats)
        found += [(line, part.name) for line in lines]
    return gathered(found, [part.name for part in parts])


def _sections(of: str, part: Part, plan: Plan, several: bool) -> list[Section]:
    """Final returns, learning, cells: keys are the part's own."""
    prefix = f"{part.heading}: " if several else ""
    return [
        Section(
            f"{of}-final",
            _titled(prefix, "final returns"),
            [
                study_tables.scores_table(
                    f"{of}-scores", part.analysis, plan, part.target
                ),
                _strip(f"{of}-strip", part, plan),
                study_tables.runs_table(f"{of}-runs", part.analysis),
            ],
        ),
        Section(
            f"{of}-learning",
            _titled(prefix, "learning"),
            [
                _curves(f"{of}-curves", part, plan),
                _drawdowns(f"{of}-drawdowns", part, plan),
            ],
        ),
        Section(
            f"{of}-cells",
            _titled(prefix, "dispersion and risk"),
            _cells(of, part.analysis, plan),
        ),
    ]


def _curves(key: str, part: Part, plan: Plan) -> Figure:
    runs, alpha = {part.runs.algorithm: part.runs}, plan.alpha
    return Figure(
        key,
        figures.learning_curves(f"{key}-drawing", runs, alpha, part.quantity),
        "Learning curves",
        f"{part.quantity.capitalize()} over environment steps, means of bins: centre "
        f"(IQM), middle half of the runs, and the mean of the worst "
        f"{percent(alpha)} of them.",
    )


def _drawdowns(key: str, part: Part, plan: Plan) -> Figure:
    return Figure(
        key,
        figures.drawdowns(f"{key}-drawing", part.runs, plan.definition.alpha),
        "Drawdown",
        "How far runs are below their own best until then: the long-term risk is the "
        "mean of the worst of it. Drawn of means of bins, which are less deep than the "
        "curves that the tables are of; in brackets, a run's place from 0 on.",
    )


def _strip(key: str, part: Part, plan: Plan) -> Figure:
    return Figure(
        key,
        figures.strip(
            f"{key}-drawing",
            {part.analysis.algorithm: part.analysis.scores},
            plan.alpha,
            f"final {part.quantity}",
        ),
        "Every run",
        f"The final return of each run, and the worst {percent(plan.alpha)} of them.",
    )


def _cells(of: str, analysis: Analysis, plan: Plan) -> list[Block]:
    return [
        study_tables.matrix(f"{of}-matrix", analysis),
        Figure(
            f"{of}-intervals",
            figures.cells(
                f"{of}-intervals-drawing", {analysis.algorithm: analysis.cells}
            ),
            "Cells in thirds of the training",
            f"Estimates with {percent(plan.confidence)} intervals.",
        ),
        study_tables.cells_table(f"{of}-table", analysis, plan),
    ]


def _titled(prefix: str, title: str) -> str:
    return prefix + title if prefix else title.capitalize()


def _origin(source: Source, versions: dict[str, str]) -> list[Block]:
    """What is known of it: without a study, there are no options."""
    options: list[Block] = [config_tables.config_table(source)] if source.config else []
    return [*options, config_tables.origins_table([source], versions)]


def _definitions(plan: Plan) -> list[Block]:
    return [Definitions({**glossary.general(plan), **glossary.SOURCES})]
