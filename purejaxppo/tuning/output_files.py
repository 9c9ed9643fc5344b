"""What a search found, as files: a table, a page, a picture, the best config."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejaxppo.config.labels import cell, in_markdown, label, shown
from purejaxppo.reliability import Interval
from purejaxppo.study.storage import disk, files
from purejaxppo.tuning.confirmation import CONFIRM
from purejaxppo.tuning.ownership import SEARCH
from purejaxppo.tuning.records import Confirmation, Trial, Tuned

DATABASE, TUNE, BEST = "tune.db", "tune", "best.toml"
"""Files in the output: the storage, those with `TUNED`, the config."""

TUNED = ".csv", ".md", ".png"

OPTIMISTIC = (
    "The best of many is best by luck, too: its value in the search, by which it was "
    "chosen, is optimistic."
)


def check_folder(directory: Path) -> None:
    """Raise if a search cannot write its files into a folder; nothing may be a link.

    Raises:
      ValueError: naming what is wrong.
    """
    beside = "-journal", "-wal", "-shm"  # What SQLite has beside a database.
    names = SEARCH, BEST, DATABASE, *(f"{DATABASE}{suffix}" for suffix in beside)
    disk.check_output(directory, [*names, *(f"{TUNE}{of}" for of in TUNED)])
    disk.check_entry(directory / CONFIRM, is_folder=True)


def write_tuned(directory: Path, tuned: Tuned, job: files.Job) -> None:
    """Write `tune.csv`, `tune.md`, `tune.png` and `best.toml`."""
    disk.make_folder(directory)
    files.write_job(directory, job, BEST)
    head, rows = header(tuned), [row(tuned, trial) for trial in tuned.trials]
    lines = [header(tuned, full=True), *_full(tuned)]
    table = directory / f"{TUNE}.csv"
    with (
        disk.replacing(table) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(lines)
    env, settings = in_markdown(tuned.env), f"{len(tuned.trials)} settings"
    parts = [
        f"# {env}: {tuned.goal.title} of {settings}",
        *summary(tuned),
        *_confirmed(tuned),
        "## Settings",
        f"Each with {tuned.num_seeds} seeds; the value is that of the last rung that "
        "the setting came to, and compares with others of as many updates only.",
        _table(head, rows),
        f"![{TUNE}]({TUNE}.png)",
    ]
    disk.write_text(directory / f"{TUNE}.md", "\n\n".join(parts) + "\n")
    _draw(directory / f"{TUNE}.png", tuned)


def summary(tuned: Tuned) -> list[str]:
    """What came out, a sentence each."""
    best, goal = tuned.best, tuned.goal
    lines = [
        f"Best: {label(best.setting)} (trial {best.number}), with "
        f"{goal.title} {figure(best.value)} over the {tuned.num_seeds} seeds of the "
        f"search. {OPTIMISTIC}"
    ]
    if tuned.confirmation is None:
        return lines
    return [*lines, verdict(tuned.confirmation, goal.title)]


def verdict(found: Confirmation, title: str) -> str:
    """What the confirmation says, in a sentence."""
    seeds = f"On {len(found.seeds)} fresh seeds"
    pair = f"{with_ends(found.best)} against the default's {with_ends(found.default)}"
    low, high = found.difference.low, found.difference.high
    if low > 0:
        how = "better than the default"
    elif high < 0:
        how = "worse than the default"
    else:
        how = "not to be told apart from the default"
    return f"{seeds} the best setting is {how}: {title} {pair}."


def _confirmed(tuned: Tuned) -> list[str]:
    found, title = tuned.confirmation, tuned.goal.title
    if found is None:
        return ["Not confirmed on fresh seeds."]
    rows = [
        [f"{title}, best setting", with_ends(found.best)],
        [f"{title}, default setting", with_ends(found.default)],
        ["how much better (> 0: better)", with_ends(found.difference)],
        ["probability that a run is better", with_ends(found.improvement)],
    ]
    seeds = found.seeds
    how = (
        f"Both settings with seeds {seeds[0]} to {seeds[-1]}, which the search has not "
        "seen; in brackets 95 % intervals over runs. The probability is of final "
        "returns, ties half."
    )
    return ["## Confirmation", how, _table(["", "value"], rows)]


def header(tuned: Tuned, full: bool = False) -> list[str]:
    """Names of the columns; all of them, or those that a page has."""
    fields, goal = list(tuned.space), tuned.goal
    if not full:
        return ["trial", "state", goal.title, "mean return", "updates", *fields]
    rungs = max((len(trial.rungs) for trial in tuned.trials), default=0)
    more = [f"rung_{i + 1}" for i in range(rungs)]
    counts = ["mean_return", "updates", "env_steps"]
    return ["trial", "state", goal.name, *counts, *fields, *more]


def row(tuned: Tuned, trial: Trial) -> list[str]:
    """A setting's line of a page."""
    values = [shown(trial.setting[k]) if trial.setting else "" for k in tuned.space]
    figures = [figure(trial.value), figure(trial.mean_return)]
    return [str(trial.number), trial.state, *figures, str(trial.updates), *values]


def _full(tuned: Tuned) -> list[list[Any]]:
    """All lines of the table, with all digits."""
    return [
        [
            *(trial.number, trial.state, trial.value, trial.mean_return),
            *(trial.updates, trial.env_steps),
            *(cell(trial.setting.get(name, "")) for name in tuned.space),
            *trial.rungs,
        ]
        for trial in tuned.trials
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def figure(value: float) -> str:
    """Four digits; never an exponent for a large return.

    >>> figure(12345.6), figure(0.123456), figure(float("nan"))
    ('12346', '0.1235', 'n/a')
    """
    if np.isnan(value):
        return "n/a"
    return f"{value:.0f}" if 1000 <= abs(value) < np.inf else f"{value:.4g}"


def with_ends(interval: Interval) -> str:
    """An estimate with its interval's ends."""
    estimate, low, high = (figure(float(x)) for x in interval)
    return f"{estimate} [{low}, {high}]"


def _draw(path: Path, tuned: Tuned) -> None:
    """Draw all settings at the first rung, and those that were trained to the end."""
    from purejaxppo.reliability import plots

    shown_ones = [trial for trial in tuned.trials if trial.setting and trial.rungs]
    first = [trial.rungs[0] for trial in shown_ones]
    end = [t.value if t.state == "complete" else np.nan for t in shown_ones]
    statistics = {"at the first rung": _finite(first)}
    if any(len(trial.rungs) > 1 for trial in shown_ones):
        statistics["trained to the end"] = _finite(end)
    figure_of = plots.settings_by_field(
        [trial.setting for trial in shown_ones],
        statistics,
        ylabel=tuned.goal.title,
        title=f"{tuned.env}, {tuned.num_seeds} runs each",
    )
    with disk.replacing(path) as beside:
        plots.save(figure_of, beside)


def _finite(values: Sequence[float]) -> np.ndarray:
    column = np.asarray(values, float)
    return np.where(np.isfinite(column), column, np.nan)
