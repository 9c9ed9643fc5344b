"""Tables of one study: final returns, cells, and every run by itself."""

from collections.abc import Sequence

import numpy as np

from purejaxppo.reliability.analysis import Analysis, Plan
from purejaxppo.reliability.dispersion_and_risk import FRAMES, HIGHER_IS_BETTER
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reporting import glossary
from purejaxppo.reporting.formatting import (
    NOTHING,
    cell_title,
    ends,
    estimate,
    number,
    percent,
    with_ends,
)
from purejaxppo.reporting.page_elements import Cell, Column, Table, text, word_columns

MATRIX = {
    "across time": ("dispersion_across_time", ("short_term_risk", "long_term_risk")),
    "across runs": ("dispersion_across_runs", ("risk_across_runs",)),
    "across rollouts": ("dispersion_across_rollouts", ("risk_across_rollouts",)),
}
"""Rows of the table of dispersion and risk."""


def value(amount: float | np.floating, digits: int = 4) -> Cell:
    """A cell of one number."""
    amount = float(amount)
    return Cell(number(amount, digits), _key(amount))


def interval_cell(interval: Interval) -> Cell:
    """A cell of an estimate, with its interval below it."""
    said = ends(interval)
    key = _key(float(interval.estimate))
    return Cell(estimate(interval), key, "" if said == NOTHING else said)


def in_frame(interval: Interval, frame: int) -> Interval:
    """The interval of one third of the training."""
    return Interval(*(np.asarray(end)[frame] for end in interval))


def framed(cells: dict[str, Interval]) -> list[tuple[str, str | None, Interval]]:
    """Each cell that there is: its name, third of the training, and scalars."""
    found: list[tuple[str, str | None, Interval]] = []
    for name, interval in cells.items():
        if np.ndim(interval.estimate) == 0:
            found.append((name, None, interval))
            continue
        found += [(name, f, in_frame(interval, i)) for i, f in enumerate(FRAMES)]
    return found


def scores_table(
    key: str, analysis: Analysis, plan: Plan, target: float | None
) -> Table:
    """Final returns: each statistic with its interval and its definition."""
    titles = glossary.titles(plan)
    meanings = glossary.score_definitions(plan, target)
    rows = [
        [
            text(titles[name]),
            Cell(estimate(interval), _key(float(interval.estimate))),
            Cell(ends(interval), _key(float(interval.low))),
        ]
        for name, interval in analysis.aggregates.items()
    ]
    summary, worst = analysis.summary, "The lowest final return of a run."
    if int(summary.worst_run) >= 0:
        worst += f" Seed {analysis.seeds[int(summary.worst_run)]}."
    rows.append([text("worst run"), value(float(summary.worst)), Cell("", None)])
    return Table(
        key=key,
        caption="Final returns over runs",
        columns=[
            Column("statistic", "word"),
            Column("value"),
            Column(f"{percent(plan.confidence)} interval"),
        ],
        rows=rows,
        sortable=False,
        notes=[*(meanings[name] for name in analysis.aggregates), worst],
    )


def matrix(key: str, analysis: Analysis) -> Table:
    """The table of dispersion and risk, at the end of the training where it has one."""
    rows = [
        [text(name), _said(analysis, [dispersion]), _said(analysis, risks)]
        for name, (dispersion, risks) in MATRIX.items()
    ]
    return Table(
        key=key,
        caption="Dispersion and risk at the end of the training",
        columns=word_columns("", "dispersion", "risk"),
        rows=rows,
        sortable=False,
    )


def _said(analysis: Analysis, names: Sequence[str]) -> Cell:
    lines = []
    for name in names:
        what = f"{name.split('_risk')[0].replace('_', ' ')}: " if names[1:] else ""
        found = analysis.cells.get(name)
        if found is None:
            lines.append("not evaluated")
            continue
        last = found if np.ndim(found.estimate) == 0 else in_frame(found, -1)
        better = "higher" if HIGHER_IS_BETTER[name] else "lower"
        exists = not np.isnan(last.estimate)
        said = f"{with_ends(last)}, {better} is better" if exists else NOTHING
        lines.append(f"{what}{said}")
    return text("\n".join(lines))


def cells_table(key: str, analysis: Analysis, plan: Plan) -> Table:
    """The cells by thirds of the training, each beside its definition."""
    meanings = glossary.cell_definitions(plan.definition)
    rows = [
        [text(cell_title(name)), *_by_frame(interval), entering(analysis, name)]
        for name, interval in analysis.cells.items()
    ]
    return Table(
        key=key,
        caption=f"Dispersion and risk, with {percent(plan.confidence)} intervals",
        columns=[
            Column("cell", "word"),
            *map(Column, (*FRAMES, "whole", "runs")),
        ],
        rows=rows,
        sortable=False,
        notes=[meanings[name] for name in analysis.cells],
    )


def entering(analysis: Analysis, name: str) -> Cell:
    """How many runs enter a cell, and of how many if not all."""
    runs, among = analysis.runs_in_cells[name], len(analysis.scores)
    return Cell(f"{runs:,}" if runs == among else f"{runs:,} of {among:,}", float(runs))


def _by_frame(interval: Interval) -> list[Cell]:
    """A cell for each third of the training, and one for the whole."""
    nothing = Cell("", None)
    if np.ndim(interval.estimate) == 0:
        return [*[nothing] * len(FRAMES), interval_cell(interval)]
    thirds = (in_frame(interval, i) for i in range(len(FRAMES)))
    return [*map(interval_cell, thirds), nothing]


def runs_table(key: str, analysis: Analysis) -> Table:
    """Every run: its seed, where it ended, and what it has by itself."""
    within = analysis.within
    columns = {
        "final return": analysis.scores,
        "curve range": analysis.curve_range,
        "maximum drawdown": analysis.max_drawdown,
        "short-term risk": within.short_term_risk,
        "long-term risk": within.long_term_risk,
        "dispersion across rollouts": within.dispersion_across_rollouts,
        "risk across rollouts": within.risk_across_rollouts,
    }
    columns = {name: of for name, of in columns.items() if of is not None}
    finite = analysis.finite
    rows = [
        [
            Cell(str(seed), float(seed)),
            *(value(of[i]) for of in columns.values()),
            text("not recorded" if finite is None else _yes(not finite[i])),
        ]
        for i, seed in enumerate(analysis.seeds)
    ]
    return Table(
        key=key,
        caption=f"Every run by itself ({len(rows):,})",
        columns=[Column("seed"), *map(Column, columns), Column("diverged", "word")],
        rows=rows,
        folded=True,
        definitions={
            "maximum drawdown": "The furthest that a run falls below its best until "
            "then, in units of the return."
        },
    )


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _key(amount: float) -> float | None:
    return None if np.isnan(amount) else amount
