"""A study's plan on the screen, and the question whether it is meant."""

import math
import sys
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from purejaxppo.config.config import Config
from purejaxppo.reporting.formatting import counted
from purejaxppo.study import Plan, Study
from purejaxppo.study.grids.groups import Group

LONG_SECONDS, MANY_RUNS = 3600.0, 4096
"""Beyond either, a sweep asks before it starts."""


def render_plan(study: Study, plan: Plan) -> Table:
    """A line for each group: its runs, chunks, memory, and times.

    That of compiling was measured, that of the training is predicted.
    """
    settings = counted(len(study.settings), "setting")
    what = f"{settings} x {counted(study.num_seeds, 'seed')}"
    seconds = plan.seconds
    compiling = f"after {_duration(plan.compile_seconds)} of compiling"
    time = "" if math.isnan(seconds) else f", about {_duration(seconds)} {compiling}"
    devices = counted(plan.num_devices, "device")
    table = Table(
        title=Text(
            f"{counted(plan.num_runs)} ({what}) of {study.job.env}, "
            f"{plan.env_steps:,} env steps on {devices}{time}"
        ),
        title_justify="left",
        caption=Text(f"memory of a device, which may use {_bytes(plan.limit)}"),
        caption_justify="left",
    )
    table.add_column("group")
    for name in ("runs", "chunks", "at once", "memory", "compile", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, (group, need) in enumerate(zip(plan.groups, plan.needs, strict=True)):
        chunks = [chunk for chunk in plan.chunks if chunk.group == number]
        update, updates = need.update_seconds, group.config.num_updates
        table.add_row(
            Text(_named(group)),
            f"{len(group.runs):,}",
            f"{len(chunks):,}",
            f"{chunks[0].size:,}",
            _bytes(need.bytes),
            _duration(need.compile_seconds),
            "" if math.isnan(update) else _duration(update * updates * len(chunks)),
        )
    return table


def _named(group: Group) -> str:
    """What a group's runs have in common, and how many values of the rest there are."""
    varied = {name: len(np.unique(x, axis=0)) for name, x in group.values.items()}
    rest = ", ".join(f"{name} x {number}" for name, number in varied.items())
    return "; ".join(filter(None, (group.name, rest))) or "all"


def describe_rounding(configs: Sequence[Config]) -> str:
    """Return a line where fewer steps than total_timesteps are trained, else nothing.

    >>> describe_rounding([Config(total_timesteps=1000)])[-39:]
    'each run trains 512 steps, in 1 update.'

    Args:
      configs: of all settings.
    """
    rounded = [c for c in configs if c.total_timesteps % c.batch_size]
    if not rounded:
        return ""
    some = "each run" if len(rounded) == len(configs) else "each run of such a setting"
    batch, updates = (
        _range(getattr(config, name) for config in rounded)
        for name in ("batch_size", "num_updates")
    )
    steps = _range(config.num_updates * config.batch_size for config in rounded)
    return (
        f"total_timesteps={_range(config.total_timesteps for config in rounded)} is "
        f"not a multiple of the batch of {batch} (num_envs x num_steps): {some} trains "
        f"{steps} steps, in {updates} update{'' if updates == '1' else 's'}."
    )


def _range(numbers: Iterable[int]) -> str:
    """Return the least and the greatest number, or one if they are the same.

    >>> _range([512]), _range([3, 1024, 5])
    ('512', '3 to 1,024')
    """
    found = set(numbers)
    return " to ".join(f"{number:,}" for number in sorted({min(found), max(found)}))


def confirm(plan: Plan, console: Console) -> None:
    """Ask whether so much is meant, where it is much.

    Raises:
      ValueError: it is not, or nobody can be asked.
    """
    if plan.seconds <= LONG_SECONDS and plan.num_runs <= MANY_RUNS:
        return
    told = f"{plan.num_runs:,} runs, about {_duration(plan.seconds)}"
    alone = jax.process_count() == 1  # Else all would have to answer alike.
    if not alone or sys.stdin is None or not sys.stdin.isatty():
        raise ValueError(f"Expected --yes for a study as large as this: {told}.")
    try:
        answer = console.input(f"Train {told}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ValueError(f"Expected a yes to train {told}, got {answer!r}.")


def _duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> _duration(3.2), _duration(200), _duration(7500), _duration(200_000)
    ('3.2 s', '3 min 20 s', '2 h 5 min', '2 d 8 h')
    """
    for name, smaller, size, part in (
        ("d", "h", 86400, 3600),
        ("h", "min", 3600, 60),
        ("min", "s", 60, 1),
    ):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {name} {rest} {smaller}"
    return f"{seconds:.2g} s"


def _bytes(number: int) -> str:
    """Bytes in the largest unit that leaves a digit.

    >>> _bytes(0), _bytes(1536), _bytes(3 * 2**30)
    ('unknown', '1.5 KiB', '3 GiB')
    """
    if not number:
        return "unknown"
    power = min(int(math.log2(number) // 10), 4)
    return (
        f"{number / 2 ** (10 * power):.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
    )
