"""The page of a comparison."""

from collections.abc import Sequence

import numpy as np

from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.comparison import Comparison
from purejaxppo.reliability.runs import Runs
from purejaxppo.reporting import comparison_tables, config_tables, figures, glossary
from purejaxppo.reporting.conclusions import verdicts
from purejaxppo.reporting.formatting import counted, listed, percent
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


def make_comparison_page(
    sources: Sequence[Source],
    comparison: Comparison,
    plan: Plan,
    metric: str,
    versions: dict[str, str],
    data: str,
) -> Page:
    """Make the page of a comparison.

    Args:
        sources: where the runs are from, and what they ran.
        comparison: what they say.
        plan: how they were analysed.
        metric: what the curves are called.
        versions: of what made the page.
        data: name of the file with all numbers.
    """
    records = [runs for source in sources for runs in source.records]
    origin: list[Block] = [
        config_tables.differences_table(sources),
        config_tables.origins_table(sources, versions),
    ]
    blocks = {
        ("final", "Final returns"): _final(comparison, records, plan, metric),
        ("better", "Which is better"): _pairs(comparison, plan),
        ("pool", "All tasks together"): _pooled(comparison, plan),
        ("reliability", "Dispersion and risk"): _cells(comparison, plan),
        ("origin", "What was run"): origin,
        ("definitions", "Definitions"): _definitions(plan),
    }
    return Page(
        title=_title(comparison),
        subtitle=_subtitle(comparison, metric),
        answers=verdicts(comparison, plan),
        caveats=caveats_of(sources, comparison),
        sections=[Section(*names, of) for names, of in blocks.items()],
        data=data,
        made=made_by(versions),
    )


def _title(comparison: Comparison) -> str:
    names = comparison.algorithms
    if len(names) > 4:
        return f"Which of {len(names)} algorithms is most reliable?"
    return f"{listed(names)}: which is more reliable?"


def _subtitle(comparison: Comparison, metric: str) -> str:
    runs = counted(sum(len(analysis.scores) for analysis in comparison.analyses))
    algorithms = counted(len(comparison.algorithms), "algorithm")
    return (
        f"{runs} in all: {algorithms} on {listed(comparison.tasks)}, by their {metric}"
    )


def caveats_of(sources: Sequence[Source], comparison: Comparison) -> list[Caveat]:
    """Return all that is to be warned of, and of which runs."""
    found = [(with_advice(line), "") for line in comparison.caveats]
    found += [(note, str(s.path)) for s in sources for note in s.notes]
    source_of = {(r.algorithm, r.task): s for s in sources for r in s.records}
    for analysis in comparison.analyses:
        source = source_of.get((analysis.algorithm, analysis.task))
        lines = (with_advice(c, source, "DIR") for c in analysis.caveats)
        found += [(line, analysis.name) for line in lines]
    return gathered(found, [analysis.name for analysis in comparison.analyses])


def _final(
    comparison: Comparison, records: Sequence[Runs], plan: Plan, metric: str
) -> list[Block]:
    blocks: list[Block] = [comparison_tables.results_table(comparison, plan)]
    for i, task in enumerate(comparison.tasks):
        runs = {r.algorithm: r for r in records if r.task == task}
        scores = {a.algorithm: a.scores for a in comparison.analyses if a.task == task}
        # In the order of the algorithms, whatever the sources' is: colours stay.
        runs = {name: runs[name] for name in comparison.algorithms}
        blocks += [
            Figure(
                f"curves{i}",
                figures.learning_curves(f"curves{i}-drawing", runs, plan.alpha, metric),
                f"Learning curves on {task}",
                f"{metric.capitalize()} over environment steps, means of bins: centre "
                f"(IQM), middle half of the runs, and the mean of the worst "
                f"{percent(plan.alpha)} of them.",
            ),
            Figure(
                f"strip{i}",
                figures.strip(
                    f"strip{i}-drawing", scores, plan.alpha, f"final {metric}"
                ),
                f"Every run on {task}",
                f"The final return of each run, and the worst {percent(plan.alpha)}.",
            ),
        ]
    return blocks


def _pairs(comparison: Comparison, plan: Plan) -> list[Block]:
    names = comparison.algorithms
    blocks: list[Block] = [comparison_tables.pairs_table(comparison, plan)]
    if len(names) > 2:  # Of two, the table says it in one number.
        blocks.append(
            Figure(
                "improvement",
                figures.improvement("improvement-drawing", names, _matrix(comparison)),
                "Probability of improvement",
                f"How probably a run of the algorithm of a row has a higher final "
                f"return than one of that of a column, mean over tasks, with "
                f"{percent(plan.confidence)} intervals.",
            )
        )
    return blocks


def _matrix(comparison: Comparison) -> np.ndarray:
    """`[3, algorithms, algorithms]`: estimates, low ends, high ends."""
    names = comparison.algorithms
    found = np.full((3, len(names), len(names)), np.nan)
    for pair in comparison.pairs:
        i, j = names.index(pair.first), names.index(pair.second)
        of = pair.overall_improvement
        found[:, i, j] = of.estimate, of.low, of.high
        found[:, j, i] = 1 - of.estimate, 1 - of.high, 1 - of.low
    return found


def _pooled(comparison: Comparison, plan: Plan) -> list[Block]:
    pooled, interval = comparison.pooled, f"{percent(plan.confidence)} intervals"
    titles = glossary.titles(plan)
    aggregates = {titles[name]: of for name, of in pooled.aggregates.items()}
    return [
        comparison_tables.pooled_table(comparison, plan),
        Figure(
            "aggregates",
            figures.intervals("aggregates-drawing", aggregates),
            "Aggregates of normalised final returns",
            f"Estimates with {interval}.",
        ),
        Figure(
            "profiles",
            figures.performance_profiles(
                "profiles-drawing",
                pooled.thresholds,
                pooled.profiles,
                "normalised final return τ",
            ),
            "Performance profiles",
            f"Share of runs with a normalised final return above τ, with {interval}. "
            f"A curve that lies above another is better there; where it begins to "
            f"fall, its worst runs are.",
        ),
        Figure(
            "ranks",
            figures.ranking("ranks-drawing", pooled.ranks),
            "Mean ranks",
            f"Of each algorithm's runs among all runs, 1 is best, with {interval}.",
        ),
    ]


def _cells(comparison: Comparison, plan: Plan) -> list[Block]:
    blocks: list[Block] = [comparison_tables.tests_table(comparison, plan)]
    for i, task in enumerate(comparison.tasks):
        found = {a.algorithm: a.cells for a in comparison.analyses if a.task == task}
        blocks.append(
            Figure(
                f"cells{i}",
                figures.cells(f"cells{i}-drawing", found),
                f"Dispersion and risk on {task}",
                f"Estimates with {percent(plan.confidence)} intervals.",
            )
        )
    return [*blocks, comparison_tables.cells_table(comparison, plan)]


def _definitions(plan: Plan) -> list[Block]:
    return [Definitions({**glossary.general(plan), **glossary.SOURCES})]
