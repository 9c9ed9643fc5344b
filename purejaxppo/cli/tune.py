"""`purejaxppo tune`: a search for reliable settings, shown and written."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from purejaxppo.cli import devices, interrupts
from purejaxppo.cli.grid_options import parse_fields
from purejaxppo.cli.options import Texts, option
from purejaxppo.cli.plan_table import describe_rounding
from purejaxppo.cli.progress_bars import StudyProgress, shown_warnings, stop
from purejaxppo.cli.screen import make_console
from purejaxppo.cli.train import Wanted, folder, make_job
from purejaxppo.config.labels import label
from purejaxppo.reporting.formatting import counted
from purejaxppo.study import Status
from purejaxppo.tuning import Progress, Search, Tuned
from purejaxppo.tuning.output_files import BEST, TUNE, header, row, summary
from purejaxppo.tuning.trials import check_sampler

SEEDS = 8
"""Of each setting, where none are given."""

SHOWN = 5
"""Settings that the terminal shows."""


@dataclasses.dataclass
class Tune(Wanted):
    """Search for the settings whose runs are best by a reliability metric."""

    num_seeds: Annotated[int | None, option("INT", "8")] = None
    """Runs of each setting, with the same seeds for all."""
    output: Annotated[Path | None, option("DIR", "runs/tune-ENV")] = None
    """Directory for what is found; the same command again goes on with it."""
    objective: Annotated[str, option("NAME", "cvar")] = "cvar"
    """iqm, mean, median, cvar, worst or optimality_gap of final returns; or one of the
    dispersions and risks across time and runs, such as short_term_risk."""
    alpha: float = 0.25
    """Share of the runs that make the tail of cvar."""
    objective_target: Annotated[float | None, option("SCORE", "none")] = None
    """Final return beyond which more does not count, for optimality_gap."""
    sample: Annotated[Texts, option("FIELD=log(LOW,HIGH)", "the usual ones")] = ()
    """A range, log or linear, or values that a field is drawn from. Repeatable. Floats
    share a program, each value of another field compiles one of its own."""
    num_configs: int = 64
    """Settings that are tried, by all workers together."""
    batch: int = 16
    """Settings that are trained at once."""
    num_rungs: Annotated[int, tyro.conf.arg(aliases=["--rungs"])] = 4
    """How often a batch is judged on its way; 1 prunes nothing."""
    eta: int = 2
    """At each rung, one of so many settings goes on, for so many times the updates."""
    sampler: Annotated[str, option("tpe|random|cmaes", "tpe")] = "tpe"
    """What suggests settings."""
    sample_seed: int = 0
    """Seed of what is suggested."""
    storage: Annotated[str | None, option("URL", "tune.db in the output")] = None
    """Optuna's storage, such as sqlite:///FILE, which workers may share."""
    study_name: Annotated[str | None, option("NAME", "the environment's")] = None
    """Name of the study in the storage."""
    confirm_seeds: int = 64
    """Fresh seeds that the best and the default setting are trained with; 0: none."""


def run_tune(command: Tune) -> int:
    """Search, confirm, show and write; returns the exit code."""
    devices.use_this_machine()  # First: to suit a preset, an environment is made.
    search = make_search(command)
    console = make_console()
    try:
        tuned = _run(search, console)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on.")
        return interrupts.STOPPED
    console.print(render_tuned(tuned))
    for line in summary(tuned):
        console.print(line, highlight=False, markup=False)
    if command.confirm_seeds and tuned.confirmation is None:
        console.print("Other workers are not done: run it again then, to confirm.")
    output = Path(search.output or "")
    where = f"Search in {output / TUNE}.md, best config in {output / BEST}"
    console.print(where, highlight=False, markup=False)
    return 0


def _run(search: Search, console: Console) -> Tuned:
    """Search and confirm, with a progress bar for each."""
    searching, confirming = SearchProgress(console), StudyProgress(console)

    rounding = describe_rounding([search.config])

    def show_progress(progress: Progress) -> None:
        if rounding and not searching.bar.live.is_started:
            console.print(rounding, highlight=False, soft_wrap=True)
        searching.show(progress)

    def confirm(status: Status) -> None:
        stop(searching.bar)  # One bar at a time is all that rich has.
        confirming.show(status)

    with shown_warnings(console), searching, confirming:
        return search.run(on_progress=show_progress, on_status=confirm)


def make_search(command: Tune) -> Search:
    """The search that arguments ask for.

    Raises:
      ValueError: as `make_job`, `parse_fields` and `Search` say; or --config has a
        grid.
    """
    check_sampler(command.sampler)
    job = make_job(command, command.config)
    if job.settings:
        raise ValueError(
            f"Expected {command.config} to be of one setting, got a grid of "
            f"{len(job.settings)}."
        )
    named = {item.name for item in dataclasses.fields(Search)}
    own = [item.name for item in dataclasses.fields(Tune) if item.name in named]
    given: dict[str, Any] = {name: getattr(command, name) for name in own}
    given |= {
        "config": job.config,
        "env": job.env,
        "seed": job.seed,
        "space": parse_fields(command.sample, "sample") or None,
        "num_seeds": SEEDS if command.num_seeds is None else command.num_seeds,
        "output": command.output or Path("runs") / f"tune-{folder(job.env)}",
    }
    return Search(**given)


def render_tuned(tuned: Tuned) -> Table:
    """The best settings as a table for the terminal."""
    more = len(tuned.trials) - SHOWN
    table = Table(
        title=Text(
            f"{tuned.env}: {counted(len(tuned.trials), 'setting')} x "
            f"{counted(tuned.num_seeds, 'seed')}, by "
            f"{tuned.goal.title}"
        ),
        title_justify="left",
        caption=Text(f"and {more} more in {TUNE}.csv" if more > 0 else ""),
    )
    fixed = len(header(tuned)) - len(tuned.space)
    for i, name in enumerate(header(tuned)[:fixed]):
        side = "left" if i == 1 else "right"
        # In several lines, which leaves room for the settings.
        head = Text(name.replace(" ", "\n"))
        table.add_column(head, justify=side, no_wrap=True)
    table.add_column("setting", overflow="fold")
    for trial in tuned.trials[:SHOWN]:
        cells = row(tuned, trial)[:fixed]
        table.add_row(*map(Text, (*cells, label(trial.setting))))
    return table


class SearchProgress:
    """A progress bar for a search; entered, it gives what to call with its progress."""

    def __init__(self, console: Console) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} settings"),
            TextColumn("{task.fields[speed]:,.0f} steps/s"),
            TextColumn("best {task.fields[best]:.4g}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.task = self.bar.add_task(
            "compiling", total=None, speed=0.0, best=float("nan")
        )

    def __enter__(self) -> Any:
        return self.show

    def __exit__(self, *_: Any) -> None:
        stop(self.bar)

    def show(self, progress: Progress) -> None:
        """Show how far a search is."""
        self.bar.start()
        self.bar.update(
            self.task,
            description=f"rung {progress.rung}/{progress.num_rungs}: {progress.going}",
            completed=progress.tried,
            total=progress.num_configs,
            speed=progress.env_steps / max(progress.seconds, 1e-9),
            best=progress.best,
        )
