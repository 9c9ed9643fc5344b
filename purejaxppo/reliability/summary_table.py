"""A `Summary` for people: each statistic beside what it means in plain words."""

import math
from typing import TYPE_CHECKING, NamedTuple

from purejaxppo.reliability.aggregates import QUARTILE_RUNS
from purejaxppo.reliability.arrays import Array
from purejaxppo.reliability.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        statistic: its name.
        value: its value, or "n/a" and the reason.
        meaning: its definition in plain words.
    """

    statistic: str
    value: str
    meaning: str


def markdown(summary: Summary, name: str) -> str:
    """Return the summary as a Markdown table under the name of the study.

    Args:
        summary: what `summarize` returned for one study.
        name: what was run, for example "PPO on CartPole-v1".

    Returns:
        Markdown text that ends in a newline; warnings stand above the table.
    """
    lines = [f"**{name}**: {_scope(summary)}", ""]
    for warning in warnings(summary):
        lines += [f"> **Warning:** {warning}", ""]
    lines += ["| statistic | value | meaning |", "| --- | ---: | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows(summary)]
    return "\n".join(lines) + "\n"


def render(summary: Summary, name: str) -> "Table":
    """Return the summary as a table for the terminal; warnings stand below it.

    Args:
        summary: what `summarize` returned for one study.
        name: what was run, for example "PPO on CartPole-v1".

    Returns:
        A table for `rich.console.Console.print`.
    """
    from rich.table import Table
    from rich.text import Text

    # Text, not str: rich would read the brackets of "[361, 830]" as markup.
    table = Table(
        title=Text(f"{name}: {_scope(summary)}"),
        title_justify="left",
        caption=Text("\n".join(f"Warning: {line}" for line in warnings(summary))),
        caption_style="bold red",
        caption_justify="left",
    )
    table.add_column("statistic", style="bold", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("meaning", style="dim")
    for row in rows(summary):
        table.add_row(*(Text(cell) for cell in row))
    return table


def rows(summary: Summary) -> list[Row]:
    """Return the lines of the table, centre first, then spread, tail, failures.

    Args:
        summary: what `summarize` returned for one study.

    Returns:
        One row a statistic.
    """
    counted = _counted(summary)
    which = int(summary.worst_run)
    worst = f"run {which}, the lowest of {counted}" if which >= 0 else "there is none"
    return [
        Row("IQM", _number(summary.iqm), f"mean of the middle half of {counted}"),
        Row("mean", _number(summary.mean), f"mean of {counted}"),
        Row("median", _number(summary.median), f"middle value of {counted}"),
        _iqr_row(summary),
        _cvar_row(summary),
        Row("worst run", _number(summary.worst), worst),
        _diverged_row(summary),
    ]


def warnings(summary: Summary) -> list[str]:
    """Return a sentence for each way in which runs failed; none if none did.

    Args:
        summary: what `summarize` returned for one study.

    Returns:
        Plain sentences.
    """
    runs, missing, found = int(summary.num_runs), int(summary.missing), []
    if missing:
        found.append(
            f"{missing} of {_runs(runs)} without a final return, "
            "left out of every statistic of returns."
        )
    if float(summary.diverged) > 0:
        found.append(
            f"{_num_diverged(summary)} of {_runs(runs)} diverged (an update was not "
            "finite). A final return from before is still counted."
        )
    return found


def _iqr_row(summary: Summary) -> Row:
    """Return the interquartile range, as soon as a quarter holds a run."""
    observed = _observed(summary)
    value = f"[{_number(summary.q25)}, {_number(summary.q75)}]"
    if observed < QUARTILE_RUNS:
        value = f"n/a: needs at least {QUARTILE_RUNS} runs"
    meaning = f"the middle half of {_counted(summary)} lies in this range"
    return Row("IQR", value, meaning)


def _cvar_row(summary: Summary) -> Row:
    """Return the tail with its size, or how many runs a tail would need."""
    alpha, tail = float(summary.alpha), int(summary.tail_runs)
    percent, counted = f"{100 * alpha:g} %", _counted(summary)
    if tail == 0:
        # An alpha of float32 may lie just below the number that was asked for.
        needed = math.ceil((1 - 1e-6) / alpha)
        value = f"n/a: needs at least {needed} runs"
        meaning = f"mean of the worst {percent} of {counted}"
    else:
        value = _number(summary.cvar)
        meaning = (
            f"mean of the worst {tail} of {counted} "
            f"(by rank, up to the {percent} quantile)"
        )
    return Row(f"CVaR {percent}", value, meaning)


def _diverged_row(summary: Summary) -> Row:
    """Return how many runs diverged, which is unknown if nobody recorded it."""
    share = float(summary.diverged)
    value = "n/a: not recorded"
    if not math.isnan(share):
        value = f"{_num_diverged(summary)} ({100 * share:.3g} %)"
    every = _runs(int(summary.num_runs))
    meaning = f"of all {every}, those with an update that was not finite"
    return Row("diverged", value, meaning)


def _scope(summary: Summary) -> str:
    """Return which runs the statistics are about."""
    runs, observed = int(summary.num_runs), _observed(summary)
    if observed == runs:
        return f"final return of {_runs(runs)}"
    return f"final return of {observed} of {_runs(runs)}"


def _counted(summary: Summary) -> str:
    """Return the runs that a statistic of returns counts, and why if not all."""
    which = " with a final return" if int(summary.missing) else ""
    return f"{_runs(_observed(summary))}{which}"


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _observed(summary: Summary) -> int:
    return int(summary.num_runs) - int(summary.missing)


def _num_diverged(summary: Summary) -> int:
    return round(float(summary.diverged) * int(summary.num_runs))


def _number(value: Array) -> str:
    """Return four significant digits; never an exponent for a large return."""
    value = float(value)
    if math.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
