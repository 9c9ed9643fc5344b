"""What a sweep found: a line for each setting, ranked; a table, a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from purejaxppo.config.labels import cell, in_markdown, label, shown
from purejaxppo.reliability import Summary, aggregates, summarize
from purejaxppo.reliability.analysis import Plan, lacking_scores, score_intervals
from purejaxppo.reliability.caveats import of_resamples, title
from purejaxppo.reliability.curves import final_performance
from purejaxppo.reliability.intervals import Interval
from purejaxppo.reporting.formatting import counted
from purejaxppo.study.grids.grids import Setting
from purejaxppo.study.results import runs_of_setting
from purejaxppo.study.storage import disk

if TYPE_CHECKING:
    import xarray
    from rich.table import Table

RANKS = "iqm", "mean", "median", "cvar", "worst"
"""What settings can be ranked by: statistics of their runs' final returns."""

SWEEP = "sweep"
"""Name of the files, with the suffixes .md, .csv and .png."""

SHOWN = 20
"""Settings of a long table that the terminal shows."""

TOGETHER = "setting"
"""Column that all fields share in the terminal where there is no room for each."""

WIDTH, BORDER = 80, 3
"""Characters of a terminal's line, and of what is between two columns."""


class Ranked(NamedTuple):
    """A setting and what its runs came to.

    Attributes:
        number: of the setting in the study.
        setting: field -> value.
        scores: `[runs]` final returns.
        summary: of them.
        intervals: of `iqm`, `mean`, `median` and `cvar`, over runs.
        lacking: what is left out of them, see `analysis.lacking_scores`.
    """

    number: int
    setting: Setting
    scores: np.ndarray
    summary: Summary
    intervals: dict[str, Interval]
    lacking: dict[str, int]


def rank(dataset: "xarray.Dataset", plan: Plan, by: str = "iqm") -> list[Ranked]:
    """The settings of a study with a grid, the best one first.

    What many settings reach, such as the most there is, their tails may tell apart. A
    run without a return counts as the worst of all runs, so that no setting leads by
    the few of its runs that survived; a setting without any comes last.

    Args:
        dataset: a study's results.
        plan: how runs are analysed.
        by: one of `RANKS`.

    Raises:
        ValueError: `by` is none of them, or the study has no grid.
    """
    check_rank(by)
    if "settings" not in dataset.attrs:
        raise ValueError("Expected a study with a grid, got one without settings.")
    settings = dataset.attrs["settings"]
    found = [_ranked(dataset, i, setting, plan) for i, setting in enumerate(settings)]
    seen = np.concatenate([one.scores[~np.isnan(one.scores)] for one in found])
    lowest = seen.min(initial=np.inf)
    worth = [_worth(one.scores, lowest, plan.alpha) for one in found]
    keys = [[-of[name] for of in worth] for name in ("mean", "cvar", by)]
    return [found[i] for i in np.lexsort(keys)]  # NaN last.


def _worth(scores: np.ndarray, lowest: float, alpha: float) -> dict[str, float]:
    """Each of `RANKS`, where runs without a return have the lowest one."""
    missing = np.isnan(scores)
    whole = scores if missing.all() else np.where(missing, lowest, scores)
    return {
        "iqm": float(aggregates.iqm(whole)),
        "mean": float(aggregates.mean(whole)),
        "median": float(aggregates.median(whole)),
        "cvar": float(aggregates.cvar(whole, alpha)),
        "worst": float(whole.min()),
    }


def check_rank(by: str) -> None:
    """Refuse what settings cannot be ranked by.

    Raises:
        ValueError: with what they can.
    """
    if by not in RANKS:
        raise ValueError(
            f"Expected rank_by to be one of {', '.join(RANKS)}, got {by!r}."
        )


def _ranked(
    dataset: "xarray.Dataset", number: int, setting: Setting, plan: Plan
) -> Ranked:
    runs = runs_of_setting(dataset, number)
    curves = runs["episode_return"].values.astype(np.float64)
    if not curves.shape[1]:  # It was not trained yet.
        curves = np.full((len(curves), 1), np.nan)
    scores = np.asarray(final_performance(curves))
    return Ranked(
        number=number,
        setting=setting,
        scores=scores,
        summary=summarize(curves, runs["finite"].values, plan.alpha),
        intervals=score_intervals(scores, plan),
        lacking=lacking_scores(scores, plan),
    )


def write_sweep(
    directory: Path, dataset: "xarray.Dataset", plan: Plan, by: str = "iqm"
) -> list[Ranked]:
    """Write `sweep.md`, `sweep.csv` and `sweep.png`; see `rank`."""
    from purejaxppo.reliability import plots

    ranked = rank(dataset, plan, by)
    head, rows = _columns(ranked, plan), [_cells(one) for one in ranked]
    lines = [
        f"| {' | '.join([row[0], *map(in_markdown, row[1:-4]), *row[-4:]])} |"
        for row in (head, ["---"] * len(head), *rows)
    ]
    env, runs = dataset.attrs["env"], dataset.sizes["run"]
    title = f"# {in_markdown(env)}: {counted(len(ranked), 'setting')}, {counted(runs)}"
    parts = [
        title,
        _how(ranked, plan, by),
        "\n".join(lines),
        *_of_resamples(ranked, plan),
        f"![{SWEEP}]({SWEEP}.png)",
    ]
    disk.write_text(directory / f"{SWEEP}.md", "\n\n".join(parts) + "\n")
    _write_csv(directory / f"{SWEEP}.csv", ranked)
    figure = plots.settings_by_field(
        [one.setting for one in ranked],
        {
            "IQM": np.asarray([one.summary.iqm for one in ranked]),
            f"CVaR {plan.alpha:.0%}": np.asarray([one.summary.cvar for one in ranked]),
        },
        title=f"{env}: dots are settings of {runs // len(ranked)} runs, lines medians",
    )
    with disk.replacing(directory / f"{SWEEP}.png") as beside:
        plots.save(figure, beside)
    return ranked


def render_sweep(
    ranked: list[Ranked], env: str, plan: Plan, by: str, width: int = WIDTH
) -> "Table":
    """The best settings as a table for a terminal of some width."""
    from rich.table import Table
    from rich.text import Text

    more = len(ranked) - SHOWN
    notes = [f"and {more} more in {SWEEP}.csv"] if more > 0 else []
    table = Table(
        title=Text(
            f"{env}: {counted(len(ranked), 'setting')}. {_how(ranked, plan, by)}"
        ),
        title_justify="left",
        caption=Text("\n".join([*notes, *_of_resamples(ranked, plan)])),
    )
    best, names = ranked[:SHOWN], _columns(ranked, plan)[-4:]
    # The tail's interval has no room here.
    rows = [
        [iqm, _figure(one.summary.cvar), worst, runs]
        for one in best
        for iqm, _, worst, runs in [_cells(one)[-4:]]
    ]
    columns = zip(names, *rows, strict=True)
    taken = sum(_width(*column, whole=True) + BORDER for column in columns)
    taken += len(str(len(ranked))) + BORDER + 1  # The numbers' column.
    fields = _field_columns(best, width - taken)
    whole = _sum(fields, whole=True) <= width - taken
    table.add_column("#", no_wrap=True)
    for name, column in fields.items():
        # Without room fields' names are folded, their values are not.
        fixed = None if name == TOGETHER else _width(name, *column, whole=whole)
        table.add_column(Text(name), width=fixed, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for one, *values, row in zip(best, *fields.values(), rows, strict=True):
        table.add_row(*map(Text, (str(one.number), *values, *row)))
    return table


def _field_columns(ranked: list[Ranked], room: int) -> dict[str, list[str]]:
    """The fields' values, in columns of their own where there is room for these."""
    columns = {
        name: [shown(one.setting[name]) for one in ranked] for name in ranked[0].setting
    }
    if _sum(columns) <= room:
        return columns
    return {TOGETHER: [label(one.setting) for one in ranked]}


def _sum(columns: dict[str, list[str]], whole: bool = False) -> int:
    """Characters of all columns together, see `_width`."""
    return sum(_width(name, *of, whole=whole) + BORDER for name, of in columns.items())


def _width(name: str, *column: str, whole: bool = False) -> int:
    """Characters of a column, whose name may be folded or is shown as a whole."""
    return max(*map(len, column), len(name) if whole else min(len(name), 6))


def _how(ranked: list[Ranked], plan: Plan, by: str) -> str:
    missing = any(int(one.summary.missing) for one in ranked)
    told = (
        " Statistics are of the runs that have a return; in the order of the settings "
        "the others count as the worst run of all."
    )
    return (
        f"Final returns, ranked by {by}; in brackets the {plan.confidence:.0%} "
        f"interval over runs.{told if missing else ''} The best of many is best by "
        "luck, too: train it again with other seeds before you say how good it is."
    )


def _of_resamples(ranked: list[Ranked], plan: Plan) -> list[str]:
    """Of the two numbers whose intervals are shown."""
    missing = {
        f"{title(name)} of #{one.number}": one.lacking[name]
        for one in ranked
        for name in ("iqm", "cvar")
        if name in one.lacking
    }
    return of_resamples(missing, plan.num_resamples)


def _columns(ranked: list[Ranked], plan: Plan) -> list[str]:
    fields = list(ranked[0].setting)
    return ["#", *fields, "IQM", f"CVaR {plan.alpha:.0%}", "worst", "runs"]


def _cells(one: Ranked) -> list[str]:
    """A setting's line of the table."""
    summary = one.summary
    return [
        str(one.number),
        *map(shown, one.setting.values()),
        _with_interval(one.intervals["iqm"]),
        _with_interval(one.intervals["cvar"]),
        _figure(summary.worst),
        _counts(summary),
    ]


def _counts(summary: Summary) -> str:
    """How many runs have a return, of how many, and how many diverged."""
    observed = f"{int(summary.num_runs - summary.missing)}"
    of = f"/{summary.num_runs}" if summary.missing else ""
    diverged = _diverged(summary)
    return observed + of + (f", {diverged} diverged" if diverged else "")


def _diverged(summary: Summary) -> int:
    """How many runs diverged."""
    return round(float(summary.diverged) * summary.num_runs)


def _with_interval(interval: Interval) -> str:
    if np.isnan(interval.estimate):
        return "n/a"
    if np.isnan(interval.low) or np.isnan(interval.high):
        return f"{_figure(interval.estimate)} [n/a]"
    low, high = (_figure(float(end), 3) for end in (interval.low, interval.high))
    return f"{_figure(interval.estimate)} [{low}, {high}]"


def _figure(value: Any, digits: int = 4) -> str:
    """A few digits; never an exponent for a large return."""
    if np.isnan(value):
        return "n/a"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def _write_csv(path: Path, ranked: list[Ranked]) -> None:
    """Write the table with all digits."""
    import csv

    with (
        disk.replacing(path) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        intervals = [f"{k}_{end}" for k in ("iqm", "cvar") for end in ("low", "high")]
        fields = list(ranked[0].setting)
        counted = "runs", "missing", "diverged"
        writer.writerow(["setting", *fields, *RANKS, *intervals, *counted])
        for one in ranked:
            ends = [
                float(getattr(one.intervals[name], end))
                for name in ("iqm", "cvar")
                for end in ("low", "high")
            ]
            worth = [float(getattr(one.summary, name)) for name in RANKS]
            values = map(cell, one.setting.values())
            found = one.summary
            counts = found.num_runs, int(found.missing), _diverged(found)
            writer.writerow([one.number, *values, *worth, *ends, *counts])
