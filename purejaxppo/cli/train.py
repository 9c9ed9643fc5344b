"""`purejaxppo train`, `sweep` and `resume`: studies, trained and shown."""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich.console import Console

from purejaxppo.cli import devices, interrupts
from purejaxppo.cli.grid_options import parse_tables
from purejaxppo.cli.options import Positional, Texts, given_fields, needed, option
from purejaxppo.cli.plan_table import confirm, describe_rounding, render_plan
from purejaxppo.cli.progress_bars import StudyProgress, shown_warnings
from purejaxppo.cli.screen import make_console
from purejaxppo.config.config import Config
from purejaxppo.config.fields import FieldError, replace
from purejaxppo.config.presets import make_preset
from purejaxppo.environments.suites import make
from purejaxppo.reliability import render
from purejaxppo.reliability.aggregates import check_alpha
from purejaxppo.reliability.analysis import Plan as Analysis
from purejaxppo.reporting import cautions, summaries, write_brief
from purejaxppo.reporting.formatting import counted
from purejaxppo.reporting.sweep_report import check_rank, render_sweep, write_sweep
from purejaxppo.results.studies import how_far, incomplete
from purejaxppo.study import Means, Plan, Status, Study
from purejaxppo.study.devices import processes
from purejaxppo.study.grids.grids import Setting, from_tables
from purejaxppo.study.grids.groups import configured
from purejaxppo.study.loading import read_study
from purejaxppo.study.loggers import make_loggers
from purejaxppo.study.storage import files
from purejaxppo.study.storage.trust import check_code, needs_trust
from purejaxppo.tuning.ownership import check_no_search


@dataclasses.dataclass
class Using:
    """How a study uses the machine."""

    chunk_size: Annotated[int | None, option("INT", "what fits")] = None
    """Runs that are trained at once, at most."""
    memory_gib: Annotated[float | None, option("FLOAT", "most of what is free")] = None
    """Memory of each device."""
    devices_per_run: int = 1
    """Devices that share a run by its environments: for one large run."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints."""
    coordinator: Annotated[str | None, option("HOST:PORT|auto", "none")] = None
    """Where several processes, on this host or others, come together for one study;
    auto where the cluster tells: SLURM, Kubernetes, Open MPI, Cloud TPU."""
    num_processes: Annotated[int | None, option("INT", "what the cluster tells")] = None
    """Number of these processes."""
    process_id: Annotated[int | None, option("INT", "what the cluster tells")] = None
    """Which of them this is, from 0 on."""
    allow_changes: bool = False
    """Resume with other versions, code or devices, at the price of other bits."""
    log: Annotated[Texts, option("csv,tensorboard,wandb", "none")] = ()
    """Where the metrics are logged besides, as the training goes. Repeatable."""
    alpha: float = 0.25
    """Share of the runs that make the report's tail."""


@dataclasses.dataclass
class Wanted:
    """What is trained."""

    env: Annotated[Positional[str | None], option("ENV", "that of --config")] = None
    """Environment, such as CartPole-v1, or your own module:Object (see `list`)."""
    num_seeds: Annotated[int | None, option("INT", "1")] = None
    """Number of runs, of each setting if there are several."""
    seed: Annotated[int | None, option("INT", "0")] = None
    """Seed of the first run; run i has seed + i."""
    output: Annotated[Path | None, option("DIR", "runs/ENV")] = None
    """Directory for the study."""
    preset: Annotated[str | None, option("NAME", "none")] = None
    """A published system's hyperparameters (see `purejaxppo list presets`)."""
    config: Annotated[Path | None, option("FILE", "none")] = None
    """A study's config.toml: the same study again, but for what is given here."""
    trust_code: bool = False
    """Import the environment that --config names, also if it may have come with it."""


@dataclasses.dataclass
class Training(Wanted, Using):
    """What is trained, and how."""

    prefix: ClassVar[str] = ""

    overwrite: bool = False
    """Replace the study that the output directory holds."""
    resume: bool = False
    """Go on with the study that the output directory holds."""
    dry_run: bool = False
    """Show what would be trained, with memory and time, and train nothing."""


@dataclasses.dataclass
class Train(Training):
    """Train many seeds of PPO and report how reliable it was."""


@dataclasses.dataclass
class Sweep(Training):
    """Train a grid of settings x seeds and rank the settings."""

    prefix: ClassVar[str] = "sweep-"

    output: Annotated[Path | None, option("DIR", "runs/sweep-ENV")] = None
    """Directory for the study."""
    grid: Annotated[Texts, option("FIELD=VALUE,VALUE,...", "none")] = ()
    """Values of a field, all combined; a field of the config, or env. and a parameter.
    Also log(LOW,HIGH,NUMBER), linear(...); lists apart by semicolons. Repeatable."""
    zip: Annotated[Texts, option("FIELD=VALUE,VALUE,...", "none")] = ()
    """Values of a field that belong together with those of the other --zip."""
    sample: Annotated[Texts, option("FIELD=log(LOW,HIGH)", "none")] = ()
    """A range, log or linear, or values that a field is drawn from."""
    num_samples: Annotated[int | None, option("INT", "none")] = None
    """Settings that are drawn from --sample."""
    sample_seed: int = 0
    """Seed of what is drawn."""
    rank_by: str = "iqm"
    """What settings are ranked by: iqm, mean, median, cvar or worst final return."""
    yes: bool = False
    """Train without asking, however much it is."""


@dataclasses.dataclass
class Resume(Using):
    """Go on with a study that was stopped or killed, as if it had not been."""

    directory: Annotated[Positional[Path | None], needed("DIR")] = None
    """The study's directory."""
    trust_code: bool = False
    """Import the environment that the study names, also if it may have come with it."""


def run_train(command: Train) -> int:
    """Train the study that the arguments ask for."""
    return _run(command)


def run_sweep(command: Sweep) -> int:
    """Train the grid that the arguments ask for."""
    return _run(command)


def run_resume(command: Resume) -> int:
    """Go on with the study in a directory."""
    check_alpha(command.alpha)
    if command.directory is None:
        raise ValueError("resume needs DIR: The study's directory.")
    study = read_study(command.directory, trust_code=command.trust_code)
    _use_machine(command)
    return _train(command, study, overwrite=False, resume=True)


def _run(command: Training) -> int:
    check_alpha(command.alpha)
    _use_machine(command)  # First: to suit a preset, an environment is made with JAX.
    study = make_study(command)
    if isinstance(command, Sweep) and study.grid is None:
        raise ValueError("Expected --grid, --zip or --sample, got none.")
    check_no_search(Path(study.output or ""))
    if command.dry_run:
        return _dry_run(study, _means(command))
    return _train(command, study, overwrite=command.overwrite, resume=command.resume)


def _use_machine(command: Using) -> None:
    devices.use_this_machine()
    devices.join_hosts(command.coordinator, command.num_processes, command.process_id)


def make_study(command: Training) -> Study:
    """The study that arguments ask for, on top of `--config` or `--preset`.

    Raises:
      ValueError: a field is unknown or out of range; or no environment is given.
    """
    output, path = command.output, command.config
    if output is None and command.env:
        output = _usual_output(command, command.env)
    if command.resume and output is not None and (path or command.preset) is None:
        path = output / files.CONFIG
    job = make_job(command, path, _settings(command))
    return Study(**_of_job(job), output=output or _usual_output(command, job.env))


def _usual_output(command: Training, env: str) -> Path:
    return Path("runs") / f"{command.prefix}{folder(env)}"


def make_job(
    command: Wanted, path: Path | None, settings: Sequence[Setting] = ()
) -> files.Job:
    """What arguments ask for, on top of a file or of `--preset`.

    Args:
      command: the arguments.
      path: of a study's config.toml; None for none.
      settings: of a grid; those of the file if there are none.

    Raises:
      ValueError: both are given; the file is a directory; a field is unknown or out of
        range; or no environment is given, or by the file, and is code of others.
    """
    preset = command.preset
    if path is not None and preset is not None:
        raise ValueError("Expected at most one of --preset and --config, got both.")
    if path is not None and path.is_dir():
        raise ValueError(f"Expected --config to be a file, got the directory {path}.")
    job = files.Job("", 1, 0, Config()) if path is None else files.read_job(path)
    env = command.env or job.env
    if not env:
        raise ValueError("Expected an environment, such as CartPole-v1, got none.")
    if preset is not None:
        job = job._replace(config=_preset(preset, env))
    if command.env is None and path is not None:
        check_code(env, path, command.trust_code)
    given = {"num_seeds": command.num_seeds, "seed": command.seed}
    fields, settings = given_fields(command), settings or job.settings
    for name in fields:
        if settings and name in settings[0]:
            raise ValueError(f"Expected {name} as an option or in the grid, got both.")
    return job._replace(
        env=env,
        config=_base(job.config, fields, settings[0] if settings else {}),
        settings=tuple(settings),
        **{name: value for name, value in given.items() if value is not None},
    )


def _preset(name: str, env_id: str) -> Config:
    """Return a preset with the options that suit an environment's actions."""
    env, env_params = make(env_id)
    return make_preset(name, env.action_space(env_params))


def _base(config: Config, fields: dict[str, Any], setting: Setting) -> Config:
    """What a grid changes: its first setting where that alone makes it a config."""
    try:
        return replace(config, fields)
    except ValueError:
        if not setting:
            raise
        return configured(config, {**fields, **setting})


def _settings(command: Training) -> list[Setting]:
    """The settings that a sweep asks for; none where it does not."""
    if not isinstance(command, Sweep):
        return []
    check_rank(command.rank_by)
    tables = parse_tables(
        command.grid,
        command.zip,
        command.sample,
        command.num_samples,
        command.sample_seed,
    )
    return from_tables(tables)


def _of_job(job: files.Job) -> dict[str, Any]:
    """The arguments of the study that a job describes."""
    given = job._asdict()
    given["grid"] = given.pop("settings") or None
    return given


def folder(env: str) -> str:
    """A folder's name for an id, that of one's own environment included.

    >>> folder("CartPole-v1"), folder("../mine/walk.py:Walk")
    ('CartPole-v1', 'mine-walk.py-Walk')
    """
    return re.sub(r"[^\w.-]+", "-", env).strip(".-")


def _means(command: Using) -> Means:
    names = [item.name for item in dataclasses.fields(Means)]
    try:
        return Means(**{name: getattr(command, name) for name in names})
    except FieldError as error:  # Options have no owner.
        raise FieldError("", error.name, error.expected, error.value) from None


def _dry_run(study: Study, means: Means) -> int:
    """Show the plan of a study."""
    console = make_console(quiet=not processes.is_first())
    plan = study.plan(means)
    _show_size(study, console)
    console.print(render_plan(study, plan))
    return 0


def _show_size(study: Study, console: Console) -> None:
    """Say how many steps are trained, and how often is compiled, before it begins."""
    if line := describe_rounding(study.configs):
        console.print(line, highlight=False, soft_wrap=True)
    if study.grid is not None:
        number = len(study.groups)
        how = "one compilation" if number == 1 else "one compilation each"
        told = f"{counted(number, 'group')} of settings, {how}."
        console.print(told, highlight=False)


def _train(command: Using, study: Study, *, overwrite: bool, resume: bool) -> int:
    """Train a study, show and write what came out."""
    console = make_console(quiet=not processes.is_first())
    directory, means = Path(study.output or ""), _means(command)
    loggers = make_loggers(",".join(command.log))
    progress = StudyProgress(console)

    def show_status(status: Status) -> None:
        if not status.seconds:  # The first one, when all that was asked for is good.
            _show_size(study, console)
        progress.show(status)

    def show_plan(plan: Plan) -> None:
        console.print(render_plan(study, plan))
        if isinstance(command, Sweep) and not command.yes and not resume:
            progress.bar.stop()  # Else it would write over the question.
            confirm(plan, console)

    with shown_warnings(console), progress, _told_if_stopped(progress, study):
        dataset = study.run(
            overwrite=overwrite,
            resume=resume,
            allow_changes=command.allow_changes,
            means=means,
            on_plan=None if study.grid is None else show_plan,
            on_status=show_status,
            loggers=loggers,
        )
    if processes.is_first():
        _show(console, directory, dataset, command)
    processes.wait("the report")  # Where it fails, the others are told.
    console.print(f"Study in {directory}", highlight=False)
    facts = files.read_environment(directory)
    if facts["status"] == "complete":
        if not progress.is_training:
            console.print("It was complete: nothing was left to train.")
        return 0
    told = f"Stopped after {how_far(facts)}; `{_resume_command(study)}` goes on."
    console.print(told, highlight=False, soft_wrap=True)
    return interrupts.STOPPED


@contextmanager
def _told_if_stopped(progress: StudyProgress, study: Study) -> Iterator[None]:
    """Say where a study is that was stopped at once, and not after its segment."""
    try:
        yield
    except KeyboardInterrupt:
        told = "Stopped before the training began."
        if progress.is_training:
            told = f"Stopped; `{_resume_command(study)}` goes on."
        raise KeyboardInterrupt(told) from None


def _resume_command(study: Study) -> str:
    output, env = Path(study.output or ""), study.job.env
    trust = isinstance(study.env, str) and needs_trust(env, output / files.CONFIG)
    option = " --trust-code" if trust else ""
    return f"purejaxppo resume {shlex.quote(str(output))}{option}"


def _show(console: Console, directory: Path, dataset: Any, command: Using) -> None:
    """Write the short report, or that of a sweep, and show its tables."""
    notes = incomplete(directory)
    if "settings" in dataset.attrs:
        plan = Analysis(alpha=command.alpha)
        by = getattr(command, "rank_by", "iqm")
        ranked = write_sweep(directory, dataset, plan, by)
        console.print(
            render_sweep(ranked, dataset.attrs["env"], plan, by, console.width)
        )
    else:
        write_brief(directory, dataset, command.alpha, notes)
        for name, summary in summaries(dataset, command.alpha).items():
            console.print(render(summary, name))
    for line in (*(f"Warning: {note}" for note in notes), *cautions(dataset)):
        console.print(line, highlight=False, soft_wrap=True)
