"""The command line: train, evaluate, report, compare, check, list."""

import dataclasses
import functools
import gc
import operator
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from purejaxppo.checking import check_environment
from purejaxppo.config import SECTIONS, Config
from purejaxppo.fields import Leaf, leaves, nearest, parse, replace
from purejaxppo.presets import PRESETS, make_preset
from purejaxppo.reliability import Definition, mean, median, render
from purejaxppo.reliability.aggregates import check_alpha
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reporting import (
    cautions,
    check_output,
    definitions,
    read_comparison,
    read_reports,
    rendered,
    summaries,
    write_brief,
    write_comparison,
    write_report,
)
from purejaxppo.study import MODES, Played, Status, Study, evaluate_study, store
from purejaxppo.suites import env_ids, make

Positional = tyro.conf.Positional


def _option(metavar: str, default: str) -> Any:
    """What the help text says of an option whose absence is told from its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def _needed(metavar: str) -> Any:
    """What the help text says of paths that must be given."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclasses.dataclass
class Train:
    """Train many seeds of PPO and report how reliable it was."""

    env: Annotated[Positional[str | None], _option("ENV", "that of --config")] = None
    """Environment, such as CartPole-v1, or your own module:Object (see `list`)."""
    num_seeds: Annotated[int | None, _option("INT", "1")] = None
    """Number of runs."""
    seed: Annotated[int | None, _option("INT", "0")] = None
    """Seed of the first run; run i has seed + i."""
    output: Annotated[Path | None, _option("DIR", "runs/ENV")] = None
    """Directory for the study."""
    preset: Annotated[str | None, _option("NAME", "none")] = None
    """A published system's hyperparameters (see `purejaxppo list presets`)."""
    config: Annotated[Path | None, _option("FILE", "none")] = None
    """A study's config.toml: the same study again, but for what is given here."""
    overwrite: bool = False
    """Replace the study that the output directory holds."""
    resume: bool = False
    """Go on with the study that the output directory holds."""
    alpha: float = 0.25
    """Share of the runs that make the report's tail."""


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


@dataclasses.dataclass
class Analysing:
    """How runs are analysed."""

    alpha: float = 0.25
    """Share of the runs that make the tail of final returns."""
    cell_alpha: float = 0.05
    """Share that makes the tails of dispersion and risk: of changes, runs, episodes."""
    cell_units: Literal["range", "return"] = "range"
    """Units of dispersion and risk: each run's own range (of rollouts, their median),
    or those of the return."""
    target: Annotated[str | None, _option("SCORE|TASK=SCORE,...", "none")] = None
    """Final return beyond which more does not count: gives the optimality gap."""
    rollouts: Annotated[
        Literal["sampled", "greedy"] | None, _option("sampled|greedy", "sampled")
    ] = None
    """Which episodes of `purejaxppo evaluate` count."""
    confidence: float = 0.95
    """Of all intervals."""
    resamples: int = 2000
    """Number of samples of the bootstrap."""
    seed: int = 0
    """Seed of all that is drawn."""


@dataclasses.dataclass
class Report(Analysing):
    """Report on studies: report.html, report.json, tables and pictures."""

    paths: Annotated[Positional[tuple[Path, ...]], _needed("DIR...")] = ()
    """Studies' directories; or tables, TensorBoard's folders, rliable's scores."""
    output: Annotated[Path | None, _option("DIR", "the study's directory")] = None
    """Directory for the report, if it is one. Of runs.csv, it is runs by default."""


@dataclasses.dataclass
class Compare(Analysing):
    """Compare studies, algorithms x tasks: compare.html and compare.json."""

    paths: Annotated[Positional[tuple[Path, ...]], _needed("DIR DIR...")] = ()
    """Studies' directories, or what else `report` reads; together each algorithm on
    the same tasks."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("compare")
    """Directory for the comparison."""
    names: Annotated[str | None, _option("NAME,NAME,...", "the directories'")] = None
    """The algorithm of each study."""
    baseline: Annotated[str | None, _option("SCORE|TASK=SCORE,...", "measured")] = None
    """Final return that counts as 0 where tasks are pooled; the target is 1."""
    metric: Annotated[str | None, _option("NAME", "episode_return")] = None
    """The recorded metric that is compared, such as evaluation_return."""
    permutations: int = 10_000
    """Number that tests of what each run has are made with."""
    cell_permutations: int = 1_000
    """The same of cells that only all runs together have, which take longer."""
    correction: Literal["bh", "by", "none"] = "bh"
    """For many tests: Benjamini and Hochberg's, Benjamini and Yekutieli's, or none."""


@dataclasses.dataclass
class Check:
    """Check that an environment keeps the protocol."""

    env: Annotated[Positional[str], tyro.conf.arg(metavar="ENV")]
    """Environment, such as CartPole-v1, or your own module:Object (see `list`)."""
    num_envs: int = 8
    """How many are played at random, side by side."""
    num_steps: int = 200
    """Number of steps that each is played."""
    seed: int = 0
    """Seed of all that is random."""


@dataclasses.dataclass
class List:
    """List the environments, the presets, or the definitions of all numbers."""

    what: Positional[Literal["environments", "presets", "definitions"]] = "environments"
    """What to list."""


Command = Train | Evaluate | Report | Compare | Check | List


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for bad input, 1 for a failure.

    An environment that fails a check is a failure, too.

    Set PUREJAXPPO_TRACEBACK to see where an error came from.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"purejaxppo {version('purejaxppo')}")
        return 0
    try:
        return _run(*_parse(arguments))
    except BrokenPipeError:
        sys.stdout = None  # The reader has gone, as after `| head`.
        return 0
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _fail(error, 1)


def _run(command: Command, given: dict[str, Any]) -> int:
    match command:
        case Train():
            return _train(command, given)
        case Evaluate():
            return _evaluate(command)
        case Report():
            return _report(command)
        case Compare():
            return _compare(command)
        case Check():
            return _check(command)
    return _list(command)


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("PUREJAXPPO_TRACEBACK"):
        traceback.print_exc()
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"purejaxppo: error: {lines[0]}", file=sys.stderr)
    return code


# --- Arguments ----------------------------------------------------------------------


def _parse(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]]:
    """The command, and the config fields given by dotted name."""
    commands = {
        "train": _train_type(),
        "evaluate": Evaluate,
        "report": Report,
        "compare": Compare,
        "check": Check,
        "list": List,
    }
    if arguments and arguments[0].isalpha() and arguments[0] not in commands:
        hint = nearest(arguments[0], commands)
        raise ValueError(f"Unknown command {arguments[0]!r}; {hint}.")
    kinds = (
        Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        for name, kind in commands.items()
    )
    kind: Any = functools.reduce(operator.or_, kinds)
    command, unknown = tyro.cli(
        kind, prog="purejaxppo", args=list(arguments), return_unknown_args=True
    )
    if unknown:
        if not unknown[0].startswith("-"):
            raise ValueError(
                f"Unexpected argument {unknown[0]!r}; options begin with --."
            )
        known = [name.replace("__", ".") for name in _texts(command)]
        name = unknown[0].lstrip("-").split("=")[0].replace("-", "_")
        raise ValueError(f"Unknown option {unknown[0]!r}; {nearest(name, known)}.")
    texts = _texts(command) if isinstance(command, Train) else {}
    given = {
        leaf.name: parse(leaf, texts[_identifier(leaf.name)])
        for leaf in leaves(Config)
        if texts.get(_identifier(leaf.name)) is not None
    }
    return command, given


def _texts(command: Any) -> dict[str, Any]:
    """What was given for each option, those of the sections included."""
    texts: dict[str, Any] = {}
    for item in dataclasses.fields(command):
        value = getattr(command, item.name)
        texts |= (
            _texts(value) if dataclasses.is_dataclass(value) else {item.name: value}
        )
    return texts


def _identifier(name: str) -> str:
    """A dotted name, or a section's title, as an attribute's."""
    return name.replace(".", "__").replace(", ", "_").replace(" ", "_")


def _train_type() -> type:
    """`Train` with a text option for each field of `Config`, in sections."""
    section_of = {head: title for title, heads in SECTIONS.items() for head in heads}
    options: dict[str, list[Any]] = {title: [] for title in ("", *SECTIONS)}
    for leaf in leaves(Config):
        if leaf.techniques and leaf.default is not None:
            continue  # Always on; its own fields follow.
        section = section_of.get(leaf.name.partition(".")[0], "")
        options[section].append(
            (_identifier(leaf.name), _text(leaf), dataclasses.field(default=None))
        )
    sections = [_section(title, options[title]) for title in SECTIONS]
    documented = {"__doc__": Train.__doc__}  # What the list of commands says of it.
    return dataclasses.make_dataclass(
        "Train", [*options[""], *sections], bases=(Train,), namespace=documented
    )


def _text(leaf: Leaf) -> Any:
    """The type of a text option for a field."""
    default = "off" if leaf.default is None else leaf.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    if isinstance(default, float):
        default = f"{default:.4g}"
    owners = f"{', '.join(leaf.owners)}; " if leaf.owners else ""
    option = tyro.conf.arg(
        name=leaf.name,
        metavar=leaf.metavar,
        help=leaf.help,
        help_behavior_hint=f"({owners}default: {default})",
    )
    return Annotated[str | None, option]


def _section(title: str, options: list[Any]) -> tuple[str, Any, Any]:
    """The field that holds a section of options, whose names do not tell of it."""
    section = dataclasses.make_dataclass(_identifier(title), options)
    section.__doc__ = ""
    kind = Annotated[section, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name=title)]
    return _identifier(title), kind, dataclasses.field(default_factory=section)


# --- Commands -----------------------------------------------------------------------


def _train(command: Train, given: dict[str, Any]) -> int:
    check_alpha(command.alpha)
    study = _study(command, given)
    use_this_machine()
    console = Console()
    with _progress(console) as show:
        dataset = study.run(
            overwrite=command.overwrite, resume=command.resume, on_status=show
        )
    assert study.output is not None
    directory = Path(study.output)
    write_brief(directory, dataset, command.alpha)
    _show(console, dataset, command.alpha)
    console.print(f"Study in {directory}", highlight=False)
    if dataset.sizes["update"] < study.config.num_updates:
        done = f"{dataset.sizes['update']} of {study.config.num_updates} updates"
        console.print(f"Stopped after {done}; --resume goes on.", highlight=False)
        return 130
    return 0


def _study(command: Train, given: dict[str, Any]) -> Study:
    """The study that the arguments ask for, on top of `--config` or `--preset`."""
    path, preset = command.config, command.preset
    if path is not None and preset is not None:
        raise ValueError("Expected at most one of --preset and --config, got both.")
    output = command.output
    if output is None and command.env:
        output = Path("runs") / _folder(command.env)
    if command.resume and output is not None and (path or preset) is None:
        path = output / store.CONFIG
    start = Config() if preset is None else make_preset(preset)
    job = store.Job("", 1, 0, start) if path is None else store.read_job(path)
    env = command.env or job.env
    if not env:
        raise ValueError("Expected an environment, such as CartPole-v1, got none.")
    return Study(
        config=replace(job.config, given),
        env=env,
        num_seeds=job.num_seeds if command.num_seeds is None else command.num_seeds,
        seed=job.seed if command.seed is None else command.seed,
        output=output or Path("runs") / _folder(env),
    )


def _folder(env: str) -> str:
    """A folder's name for an id, that of one's own environment included.

    >>> _folder("CartPole-v1"), _folder("../mine/walk.py:Walk")
    ('CartPole-v1', 'mine-walk.py-Walk')
    """
    return re.sub(r"[^\w.-]+", "-", env).strip(".-")


def _evaluate(command: Evaluate) -> int:
    use_this_machine()
    console = Console()
    with _playing(console) as show:
        dataset = evaluate_study(
            command.directory,
            command.episodes,
            seed=command.seed,
            max_steps=command.max_steps,
            overwrite=command.overwrite,
            on_status=show,
        )
    console.print(_outcomes(dataset))
    for line in _faults(dataset):
        console.print(line, highlight=False)
    path = command.directory / store.EVALUATION
    console.print(f"Evaluation in {path}", highlight=False)
    return 0


def _outcomes(dataset: Any) -> Table:
    """What the policies' mean returns come to over runs, in each mode."""
    runs, episodes = dataset.sizes["run"], dataset.sizes["episode"]
    facts = f"{runs} runs x {episodes:,} episodes after {dataset.updates:,} updates"
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
        if bar.live.is_started:  # Else it would print an empty line.
            bar.stop()


def _report(command: Report) -> int:
    plan = _plan(command)
    if command.output is not None and len(command.paths) > 1:
        raise ValueError(f"Expected one study with --output, got {len(command.paths)}.")
    studies = read_reports(command.paths, command.target, command.rollouts)
    paths, console = command.paths, Console()
    own = [path if path.is_dir() else path.with_suffix("") for path in paths]
    outputs = [command.output] if command.output else own
    for i, output in enumerate(outputs):
        check_output(output)
        if output.resolve() in [other.resolve() for other in outputs[:i]]:
            raise ValueError(
                f"Expected each report in a directory of its own, got several in "
                f"{output}; report on one at a time, with --output."
            )
    for study, path, output in zip(studies, paths, outputs, strict=True):
        parts = write_report(study, output, plan)
        if store.holds_study(path):
            write_brief(output, store.read_results(path), command.alpha)
        for part in parts:
            console.print(render(part.analysis.summary, part.name))
        for line in study.cautions:
            console.print(f"Warning: {line}", highlight=False)
        console.print(f"Report in {output / 'report.html'}", highlight=False)
    return 0


def _compare(command: Compare) -> int:
    plan = dataclasses.replace(
        _plan(command),
        num_permutations=command.permutations,
        num_across_permutations=command.cell_permutations,
        correction=command.correction,
    )
    contest = read_comparison(
        command.paths,
        names=command.names.split(",") if command.names else None,
        baseline=command.baseline,
        target=command.target,
        metric=command.metric,
        rollouts=command.rollouts,
    )
    comparison = write_comparison(contest, command.output, plan)
    console = Console()
    for part in rendered(contest.sources, comparison, plan):
        console.print(part)
    path = command.output / "compare.html"
    console.print(f"Comparison in {path}", highlight=False)
    return 0


def _plan(command: Analysing) -> Plan:
    if not 0 < command.cell_alpha <= 0.5:
        raise ValueError(
            f"Expected cell_alpha to be in (0, 0.5], got {command.cell_alpha}."
        )
    return Plan(
        alpha=command.alpha,
        definition=Definition(
            alpha=command.cell_alpha, normalize=command.cell_units == "range"
        ),
        confidence=command.confidence,
        num_resamples=command.resamples,
        seed=command.seed,
    )


def _show(console: Console, dataset: Any, alpha: float) -> None:
    for name, summary in summaries(dataset, alpha).items():
        console.print(render(summary, name))
    for line in cautions(dataset):
        console.print(line, highlight=False)


def _check(command: Check) -> int:
    use_this_machine()
    env, env_params = make(command.env)
    checks = check_environment(
        env,
        env_params,
        num_envs=command.num_envs,
        num_steps=command.num_steps,
        seed=command.seed,
    )
    table = Table("check", "result", "detail", title=Text(command.env))
    results = {True: ("pass", "green"), False: ("FAIL", "red"), None: ("not run", "")}
    for check in checks:
        # Text, not str: rich would read the brackets of a message as markup.
        table.add_row(check.name, Text(*results[check.passed]), Text(check.detail))
    Console().print(table)
    for check in checks:
        if check.passed is False:  # Whole, where the table has wrapped it.
            print(f"FAIL {check.name}: {check.detail}")
    return 0 if all(check.passed for check in checks) else 1


def _list(command: List) -> int:
    if command.what == "environments":
        print("\n".join(env_ids()))
        print("Your own: module:Object, or path/to/file.py:Object")
        return 0
    if command.what == "definitions":
        for name, meaning in definitions.everything(Plan()).items():
            print(textwrap.fill(f"{name}: {meaning}", 88, subsequent_indent="    "))
        return 0
    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        line, *_ = (preset.__doc__ or "").splitlines()
        print(f"{name:{width}}  {line}")
    return 0


# --- Machine and screen -------------------------------------------------------------


def use_this_machine() -> None:
    """Make every CPU core a device and keep compiled programs; before JAX starts.

    Garbage is collected seldom from then on: this is for a process of our own.

    What the user has set in the environment (JAX_NUM_CPU_DEVICES, XLA_FLAGS,
    JAX_COMPILATION_CACHE_DIR) stands.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count()
        )
        jax.config.update("jax_num_cpu_devices", cores)
    if jax.__version_info__ < (0, 11):  # XLA aborts on a flag that it does not know.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", f"{home}/purejaxppo/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    # Modules stay and tracing leaves little: to look for garbage was a seventh of a
    # short command's time.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


class _progress:
    """A progress bar for a study; entered, it gives what to call with a status."""

    def __init__(self, console: Console) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} updates"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("return {task.fields[episode_return]:.1f}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task(
            "compiling", total=None, speed="", episode_return=float("nan")
        )

    def __enter__(self) -> Callable[[Status], None]:
        return self.show

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def show(self, status: Status) -> None:
        """Show how far a study is; the first status comes before compiling."""
        self.bar.start()
        self.bar.update(
            self.task,
            description=f"{status.num_runs} runs" if status.seconds else "compiling",
            completed=status.update,
            total=status.num_updates,
            speed=f"{status.steps_per_second:,.0f} steps/s",
            episode_return=status.episode_return,
        )


if __name__ == "__main__":
    sys.exit(main())
