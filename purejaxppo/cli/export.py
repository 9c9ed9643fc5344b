"""The commands `purejaxppo export` and `purejaxppo play`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import tyro
from rich.console import Console
from rich.table import Column, Table

from purejaxppo.cli import devices
from purejaxppo.cli.options import Positional, option
from purejaxppo.cli.screen import make_console
from purejaxppo.config.labels import label
from purejaxppo.export import files
from purejaxppo.export.gifs import write_gif
from purejaxppo.export.playing import Played, play
from purejaxppo.export.policy import PortablePolicy, make_portable
from purejaxppo.export.reading import read_facts, read_policy
from purejaxppo.export.stablehlo import PLATFORMS
from purejaxppo.export.writing import export_study
from purejaxppo.reporting.formatting import NOTHING, counted
from purejaxppo.study import load_run
from purejaxppo.study.storage import disk
from purejaxppo.study.storage.files import holds_study


@dataclasses.dataclass
class Export:
    """Export a run's policy: StableHLO and safetensors, for any program with JAX."""

    directory: Positional[Path]
    """The study's directory."""
    run: int = 0
    """Number of the run; the first is 0."""
    output: Annotated[Path | None, option("DIR", "policy-RUN in the study's")] = None
    """Directory for the policy."""
    platforms: Annotated[str, tyro.conf.arg(metavar="NAME,NAME,...")] = ",".join(
        PLATFORMS
    )
    """Where it can run; none of them need be here."""
    batch: Annotated[int | None, option("INT", "any")] = None
    """Number of observations in each call."""
    overwrite: bool = False
    """Replace the policy that the output directory holds."""
    trust_code: bool = False
    """Import the environment that the study names, also if it may have come with it."""


@dataclasses.dataclass
class Play:
    """Play a policy in the real gymnasium environment, and make a GIF."""

    directory: Positional[Path]
    """The study's directory, or that of an exported policy."""
    run: Annotated[int | None, option("INT", "0")] = None
    """Number of the study's run; the first is 0."""
    episodes: int = 100
    """Number of episodes."""
    seed: int = 0
    """Seed of the episodes."""
    sampled: bool = False
    """Draw the actions; else take the most likely ones."""
    max_steps: int = 10_000
    """An episode still running after so many steps is cut."""
    max_frames: int = 500
    """The GIF shows so much of the first episode; 0 makes none."""
    output: Annotated[Path | None, option("FILE", "play.gif in the directory")] = None
    """The GIF."""
    overwrite: bool = False
    """Replace the GIF that is there."""
    trust_code: bool = False
    """Import the environment that the study names, also if it may have come with it."""


def run_export(command: Export) -> int:
    """Export, and say where it is; returns the exit code.

    Raises:
      ValueError: as `export_policy`, or the directory holds no study.
    """
    devices.use_this_machine()
    output = command.output or command.directory / f"policy-{command.run}"
    export_study(
        command.directory,
        command.run,
        output,
        platforms=tuple(filter(None, command.platforms.split(","))),
        batch=command.batch,
        trust_code=command.trust_code,
        overwrite=command.overwrite,
    )
    facts = read_facts(output)
    console = make_console()
    console.print(_contents(output, facts))
    _warn(console, facts)
    console.print(f"Policy in {output}", highlight=False)
    return 0


def _contents(output: Path, facts: dict[str, Any]) -> Table:
    """The files of an exported policy."""
    contents = {
        files.PROGRAM: f"actions, on {', '.join(facts['platforms'])}",
        files.PARAMETERS: "parameters, and statistics of observations",
        files.MEMORY: "memory at an episode's start",
        files.FACTS: "names and shapes, and what was trained",
    }
    table = Table("file", Column("KiB", justify="right"), "what")
    for name, what in contents.items():
        size = (output / name).stat().st_size / 1024
        table.add_row(name, f"{size:.1f}", what)
    return table


def run_play(command: Play) -> int:
    """Play, and say how it went; returns the exit code.

    Raises:
      ValueError: as `play` and `read_policy`, there is no such run, or the GIF is there
        and not to be replaced, or cannot be written.
    """
    directory = command.directory
    if not files.holds_policy(directory) and not holds_study(directory):
        raise ValueError(
            f"There is neither a study nor an exported policy in {directory}."
        )
    path = command.output or directory / files.PICTURE
    if command.max_frames and path.exists() and not command.overwrite:
        raise ValueError(
            f"Expected output {path} not to be there; pass --overwrite to replace it."
        )
    if command.max_frames:
        disk.check_file(path)
    devices.use_this_machine()
    policy = _policy(command)
    played = play(
        policy,
        command.episodes,
        seed=command.seed,
        sampled=command.sampled,
        max_steps=command.max_steps,
        max_frames=command.max_frames,
    )
    console = make_console()
    console.print(_what(policy, command), highlight=False)
    console.print(_outcome(played, command.max_steps))
    _warn(console, policy.facts)
    if changed := policy.facts["env_params"]:
        line = f"Warning: trained with {label(changed)}, played with the usual values."
        console.print(line, highlight=False)
    if played.frames:
        write_gif(played.frames, path, played.fps)
        console.print(f"First episode in {path}", highlight=False)
    return 0


def _policy(command: Play) -> PortablePolicy:
    """The policy in the directory, a study's or one that was exported."""
    if not files.holds_policy(command.directory):
        run, trust_code = command.run or 0, command.trust_code
        found = load_run(command.directory, run, trust_code=trust_code)
        return make_portable(*found)
    if command.run is not None:
        raise ValueError(
            f"Expected no run with {command.directory}, which holds one policy, got "
            f"{command.run}."
        )
    return read_policy(command.directory)


def _outcome(played: Played, max_steps: int) -> Table:
    table = Table(Column("", style="bold"))
    for name in ("mean", "std", "lowest", "highest"):
        table.add_column(name, justify="right")
    for name, values in (("return", played.returns), ("length", played.lengths)):
        std = f"{values.std(ddof=1):.2f}" if len(values) > 1 else NOTHING
        mean, lowest, highest = (
            f"{x:.2f}" for x in (values.mean(), values.min(), values.max())
        )
        table.add_row(name, mean, std, lowest, highest)
    if cut := int(played.cut.sum()):
        table.caption = f"{cut:,} cut after {max_steps:,} steps"
    return table


def _what(policy: PortablePolicy, command: Play) -> str:
    """What is played, in a line."""
    facts, mode = policy.facts, "sampled" if command.sampled else "greedy"
    return (
        f"{facts['env']} of gymnasium {gymnasium.__version__}: "
        f"{counted(command.episodes, 'episode')}, {mode}, "
        f"run {facts['run']} after {facts['updates']:,} updates"
    )


def _warn(console: Console, facts: dict[str, Any]) -> None:
    if not facts["finite"]:
        line = f"Warning: run {facts['run']} has parameters that are not finite."
        console.print(line, highlight=False)
