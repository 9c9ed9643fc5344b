"""`purejaxppo evaluate`: the same episodes with each policy of a study."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from purejaxppo.cli import devices
from purejaxppo.cli.options import Positional
from purejaxppo.cli.progress_bars import stop
from purejaxppo.cli.screen import make_console
from purejaxppo.config.labels import label
from purejaxppo.reliability import mean, median
from purejaxppo.reporting.formatting import counted
from purejaxppo.results.studies import incomplete
from purejaxppo.study import MODES, Played, evaluate_study
from purejaxppo.study.storage import files

SHOWN = 20
"""Settings of a sweep that the table shows."""


@dataclasses.dataclass
class Evaluate:
    """Play the same episodes with each final policy of a study, greedy and sampled."""

    directory: Positional[Path]
    """The study's directory, which keeps the outcome."""
    episodes: int = 1000
    """Number of episodes that each policy plays, in each of the two modes."""
    seed: int = 0
    """Seed of the episodes."""
    max_steps: int = 10_000
    """An episode still running after so many steps is cut."""
    overwrite: bool = False
    """Replace the evaluation that the directory holds."""
    trust_code: bool = False
    """Import the environment that the study names, also if it may have come with it."""


def run_evaluate(command: Evaluate) -> int:
    """Play the episodes, show what came out."""
    devices.use_this_machine()
    console = make_console()
    with _playing(console) as show:
        dataset = evaluate_study(
            command.directory,
            command.episodes,
            seed=command.seed,
            max_steps=command.max_steps,
            overwrite=command.overwrite,
            trust_code=command.trust_code,
            on_status=show,
        )
    console.print(_outcomes(dataset))
    notes = [f"Warning: {note}" for note in incomplete(command.directory)]
    for line in (*notes, *_faults(dataset)):
        console.print(line, highlight=False)
    path = command.directory / files.EVALUATION
    console.print(f"Evaluation in {path}", highlight=False)
    return 0


def _outcomes(dataset: Any) -> Table:
    """What the policies' mean returns come to over runs, in each mode."""
    if "settings" in dataset.attrs:
        return _settings(dataset)
    runs, episodes = dataset.sizes["run"], dataset.sizes["episode"]
    facts = (
        f"{counted(runs)} x {counted(episodes, 'episode')} after "
        f"{counted(dataset.updates, 'update')}"
    )
    table = Table(title=Text(f"{dataset.env}: {facts}"), title_justify="left")
    table.add_column("statistic", style="bold", no_wrap=True)
    for mode in MODES:
        table.add_column(mode, justify="right", no_wrap=True)
    table.add_column("meaning", style="dim")
    meanings = {
        "mean": "over runs, of their mean returns",
        "median": "over runs, of their mean returns",
        "worst run": "the lowest mean return",
        "length": "mean steps of an episode",
        "cut": f"episodes cut after {dataset.max_steps:,} steps",
    }
    columns = [_outcome(dataset, mode) for mode in MODES]
    for (name, meaning), *cells in zip(meanings.items(), *columns, strict=True):
        table.add_row(name, *cells, meaning)
    return table


def _settings(dataset: Any) -> Table:
    """What the policies of each setting come to, the best one first."""
    returns = {mode: _mean_returns(dataset, mode) for mode in MODES}
    rows = [dataset["setting"].values == i for i in range(len(dataset.settings))]
    worth = np.asarray([mean(returns["greedy"][row]) for row in rows])
    table = Table(
        title=Text(
            f"{dataset.env}: {counted(len(rows), 'setting')} x "
            f"{counted(rows[0].sum())} x "
            f"{counted(dataset.sizes['episode'], 'episode')}; over runs, of their mean "
            "returns"
        ),
        title_justify="left",
    )
    table.add_column("#", no_wrap=True)
    table.add_column("setting", overflow="fold")
    for mode in MODES:
        table.add_column(mode, justify="right", no_wrap=True)
        table.add_column("worst run", justify="right", no_wrap=True)
    for i in np.argsort(-worth)[:SHOWN]:  # NaN last.
        figures = [f(returns[mode][rows[i]]) for mode in MODES for f in (mean, _worst)]
        name = label(dataset.settings[i])
        table.add_row(*map(Text, (str(i), name, *map(_figure, figures))))
    if len(rows) > SHOWN:
        table.caption = Text(f"the best {SHOWN} of {len(rows)}, by their greedy return")
    return table


def _worst(returns: np.ndarray) -> float:
    return float(np.sort(returns)[0])  # NaN last.


def _outcome(dataset: Any, mode: str) -> list[str]:
    """The table's column of a mode."""
    returns = _mean_returns(dataset, mode)
    run = np.argsort(returns)[0]  # NaN last.
    return [
        _figure(mean(returns)),
        _figure(median(returns)),
        f"{_figure(returns[run])} (run {run})",
        _figure(dataset[f"{mode}_length"].values.mean()),
        f"{dataset[f'{mode}_cut'].values.sum():,}",
    ]


def _mean_returns(dataset: Any, mode: str) -> np.ndarray:
    """Each policy's mean over its episodes."""
    return dataset[f"{mode}_return"].values.mean(axis=1, dtype=np.float64)


def _figure(value: Any) -> str:
    """Four digits; never an exponent for a large return."""
    if np.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _faults(dataset: Any) -> list[str]:
    """What is wrong with policies that the table counts, or leaves out; a line each."""
    faults = {"has parameters that are not finite": ~dataset["finite"].values}
    for mode in MODES:
        missing = np.isnan(_mean_returns(dataset, mode))
        faults[f"has a {mode} return that is no number, and is left out"] = missing
    return [
        f"Warning: of {len(runs)} policies {runs.sum()} {fault} "
        f"(run {', '.join(map(str, np.flatnonzero(runs)))})."
        for fault, runs in faults.items()
        if runs.any()
    ]


@contextmanager
def _playing(console: Console) -> Iterator[Callable[[Played], None]]:
    """A progress bar for an evaluation: what to call with how far it is."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} episodes"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("compiling", total=None)

    def show(played: Played) -> None:
        bar.start()
        bar.update(
            task,
            description=f"{played.num_runs} runs" if played.seconds else "compiling",
            completed=played.episode,
            total=played.num_episodes,
        )

    try:
        yield show
    finally:
        stop(bar)
