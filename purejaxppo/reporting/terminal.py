"""A comparison on the terminal: the answer, and the two tables that it is from."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from purejaxppo.reliability.analysis import Plan
from purejaxppo.reliability.comparison import Comparison
from purejaxppo.reporting import glossary
from purejaxppo.reporting.comparison_page import caveats_of
from purejaxppo.reporting.comparison_tables import pairs_table, results_table
from purejaxppo.reporting.conclusions import verdicts
from purejaxppo.reporting.page_elements import Table
from purejaxppo.reporting.sources import Source

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable


def rendered(
    sources: Sequence[Source], comparison: Comparison, plan: Plan
) -> "list[RenderableType]":
    """Return what `rich.console.Console.print` is to print."""
    from rich.text import Text

    titles = glossary.titles(plan)
    scores = ("task", "algorithm", "runs", titles["iqm"], titles["cvar"])
    pairs = ("first", "second", "task", "P(first is better)", "better", "runs needed")
    # Text, not str: rich would read the brackets of "[361, 830]" as markup.
    warnings = [
        Text(f"Warning: {of.text} {'; '.join(of.about)}".strip(), "red")
        for of in caveats_of(sources, comparison)
    ]
    return [
        _table(results_table(comparison, plan), scores),
        _table(pairs_table(comparison, plan), pairs),
        *(Text(f"• {line}", "bold") for line in verdicts(comparison, plan)),
        *warnings,
    ]


def _table(table: Table, names: Collection[str]) -> "RichTable":
    """Some columns of a table, intervals beside their estimates."""
    from rich.table import Table as RichTable
    from rich.text import Text

    chosen = [i for i, column in enumerate(table.columns) if column.name in names]
    rich = RichTable(title=Text(table.caption), title_justify="left")
    for i in chosen:
        holds = table.columns[i].holds
        rich.add_column(
            Text(table.columns[i].name),
            justify="right" if holds == "number" else "left",
        )
    for row in table.rows:
        cells = (f"{row[i].text} {row[i].detail}".strip() for i in chosen)
        rich.add_row(*map(Text, cells))
    return rich
