"""Tables of a comparison: algorithms x tasks, pairs of algorithms, their tests."""

from purejaxppo.reliability.aggregates import num_observed
from purejaxppo.reliability.analysis import Analysis, Plan
from purejaxppo.reliability.caveats import INTERVAL_RUNS
from purejaxppo.reliability.comparison import Comparison
from purejaxppo.reliability.hypotheses import SCORE, TAIL, Finding
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reliability.pairwise import Pair
from purejaxppo.reporting import glossary
from purejaxppo.reporting.conclusions import better, of_pair
from purejaxppo.reporting.formatting import NOTHING, cell_title, p_value, percent
from purejaxppo.reporting.page_elements import Cell, Column, Table, text, word_columns
from purejaxppo.reporting.study_tables import entering, framed, interval_cell

ALL_TASKS = "all tasks"


def results_table(comparison: Comparison, plan: Plan) -> Table:
    """Final returns of each algorithm on each task."""
    titles = glossary.titles(plan)
    shown = ["iqm", "cvar", "iqr", "mean", "median"]
    some = any("optimality_gap" in a.aggregates for a in comparison.analyses)
    shown += ["optimality_gap"] if some else []
    nothing = Interval(*[float("nan")] * 3)
    rows = [
        [
            text(analysis.task),
            text(analysis.algorithm),
            _runs(analysis),
            *(interval_cell(analysis.aggregates.get(n, nothing)) for n in shown),
        ]
        for task in comparison.tasks
        for analysis in comparison.analyses
        if analysis.task == task
    ]
    meanings = glossary.score_definitions(plan)
    if some:
        meanings["optimality_gap"] = (
            "Mean of target − min(final return, target). Lower is better."
        )
    return Table(
        key="results",
        caption=f"Algorithms x tasks, with {_intervals(plan)}",
        columns=[
            *word_columns("task", "algorithm"),
            Column("runs"),
            *(Column(titles[name]) for name in shown),
        ],
        rows=rows,
        definitions={titles[name]: meanings[name] for name in shown},
    )


def _runs(analysis: Analysis) -> Cell:
    """How many runs, and how many of them have a final return if not all."""
    runs, observed = len(analysis.scores), int(num_observed(analysis.scores))
    said = f"{runs:,}" if runs == observed else f"{observed:,} of {runs:,}"
    return Cell(said, float(runs))


def pooled_table(comparison: Comparison, plan: Plan) -> Table:
    """Normalised final returns over all tasks, and mean ranks."""
    titles, pooled = glossary.titles(plan), comparison.pooled
    terms = glossary.comparison_definitions(comparison.ranges, plan)
    return Table(
        key="pooled",
        caption=f"Normalised final returns over all tasks, with {_intervals(plan)}",
        columns=[
            Column("algorithm", "word"),
            *(Column(titles[name]) for name in pooled.aggregates),
            Column("mean rank"),
        ],
        rows=[
            [
                text(name),
                *(interval_cell(of[name]) for of in pooled.aggregates.values()),
                interval_cell(pooled.ranks[name]),
            ]
            for name in comparison.algorithms
        ],
        definitions={n: terms[n] for n in ("normalised", "over tasks", "mean rank")},
    )


def pairs_table(comparison: Comparison, plan: Plan) -> Table:
    """Each two algorithms on each task, and over all of them."""
    rows = []
    for pair in comparison.pairs:
        tests = of_pair(comparison, pair)
        tasks: list[str | None] = [*comparison.tasks]
        tasks += [None] if len(tasks) > 1 else []
        rows += [_pair_row(pair, tests, task, plan) for task in tasks]
    terms = glossary.comparison_definitions(comparison.ranges, plan)
    tail = glossary.titles(plan)["cvar"]
    return Table(
        key="pairs",
        caption=f"Each two algorithms by their final returns, with {_intervals(plan)}",
        columns=[
            *word_columns("first", "second", "task"),
            Column("P(first is better)"),
            Column("better", "word"),
            Column("p value"),
            Column(f"better by {tail}", "word"),
            Column("p value"),
            Column("runs needed"),
        ],
        rows=rows,
        definitions={
            "P(first is better)": terms["P(first is better)"],
            "p value": terms["p value"],
            "runs needed": terms["runs needed"],
        },
    )


def _pair_row(
    pair: Pair, tests: list[Finding], task: str | None, plan: Plan
) -> list[Cell]:
    by = {test.measure: test for test in tests if test.task == task}
    chance = pair.overall_improvement if task is None else pair.improvement[task]
    return [
        text(pair.first),
        text(pair.second),
        text(task or ALL_TASKS),
        interval_cell(chance),
        *_test_cells(by[SCORE], plan),
        *_test_cells(by.get(TAIL), plan),
        Cell("", None) if task is None else _needed(pair, task),
    ]


def _test_cells(test: Finding | None, plan: Plan) -> list[Cell]:
    """Who is better, if anybody, and the corrected p value."""
    if test is None or test.corrected != test.corrected:
        return [text(NOTHING), Cell(NOTHING, None)]
    winner = better(test, plan)
    return [text(winner or "neither"), Cell(p_value(test.corrected), test.corrected)]


def _needed(pair: Pair, task: str) -> Cell:
    found = pair.power[task]
    if found is None:
        return Cell(f"{NOTHING}: needs {INTERVAL_RUNS} runs", None)
    most = int(found.num_runs[-1])
    if found.needed is None:
        return Cell(f"> {most}", float(most + 1))
    least = int(found.num_runs[0])
    said = f"≤ {least}" if found.needed == least else f"{found.needed}"
    return Cell(said, float(found.needed))


def cells_table(comparison: Comparison, plan: Plan) -> Table:
    """Every cell of each algorithm on each task."""
    meanings = glossary.cell_definitions(plan.definition)
    rows = [
        [
            text(analysis.task),
            text(cell_title(name)),
            text(frame or "whole"),
            text(analysis.algorithm),
            interval_cell(interval),
            entering(analysis, name),
        ]
        for task in comparison.tasks
        for name, frame, _ in _cells_of(comparison, task)
        for analysis in comparison.analyses
        if analysis.task == task
        for n, f, interval in framed(analysis.cells)
        if (n, f) == (name, frame)
    ]
    return Table(
        key="cells",
        caption=f"Dispersion and risk: all numbers ({len(rows):,})",
        columns=[
            *word_columns("task", "cell", "training", "algorithm"),
            Column("value"),
            Column("runs"),
        ],
        rows=rows,
        definitions={cell_title(name): of for name, of in meanings.items()},
        folded=True,
    )


def _cells_of(
    comparison: Comparison, task: str
) -> list[tuple[str, str | None, Interval]]:
    """What the algorithm with the most cells on a task has."""
    of_task = [a for a in comparison.analyses if a.task == task]
    return framed(max((a.cells for a in of_task), key=len))


def tests_table(comparison: Comparison, plan: Plan) -> Table:
    """Each two algorithms by each cell, over all tasks."""
    rows = [
        [
            text(test.first),
            text(test.second),
            text(cell_title(test.measure)),
            text(test.frame or "whole"),
            *_test_cells(test, plan),
            Cell(p_value(test.p_value), _number(test.p_value)),
        ]
        for test in comparison.findings
        if test.measure not in (SCORE, TAIL)
    ]
    terms = glossary.comparison_definitions(comparison.ranges, plan)
    return Table(
        key="tests",
        caption="Each two algorithms by dispersion and risk"
        + (
            f", over {len(comparison.tasks)} tasks" if len(comparison.tasks) > 1 else ""
        ),
        columns=[
            *word_columns("first", "second", "cell", "training", "more reliable"),
            Column("p value"),
            Column("p value, uncorrected"),
        ],
        rows=rows,
        definitions={"p value": terms["p value"]},
    )


def _number(amount: float) -> float | None:
    return None if amount != amount else amount


def _intervals(plan: Plan) -> str:
    return f"{percent(plan.confidence)} intervals"
