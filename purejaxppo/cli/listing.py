"""`purejaxppo check` and `list`: environments, presets, definitions."""

import dataclasses
import textwrap
from typing import Annotated, Literal

import tyro
from rich.table import Table
from rich.text import Text

from purejaxppo.checks import check_environment
from purejaxppo.cli import devices
from purejaxppo.cli.options import Positional
from purejaxppo.cli.screen import make_console
from purejaxppo.config.presets import PRESETS
from purejaxppo.environments.suites import env_ids, make
from purejaxppo.reliability.analysis import Plan
from purejaxppo.reporting import glossary


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


def run_check(command: Check) -> int:
    """Check the environment, show what was found; 1 if a check failed."""
    devices.use_this_machine()
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
    make_console().print(table)
    for check in checks:
        if check.passed is False:  # Whole, where the table has wrapped it.
            print(f"FAIL {check.name}: {check.detail}")
    return 0 if all(check.passed for check in checks) else 1


def run_list(command: List) -> int:
    """Print the list."""
    if command.what == "environments":
        print("\n".join(env_ids()))
        print("Your own: module:Object, or path/to/file.py:Object")
        return 0
    if command.what == "definitions":
        for name, meaning in glossary.everything(Plan()).items():
            print(textwrap.fill(f"{name}: {meaning}", 88, subsequent_indent="    "))
        return 0
    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        line, *_ = (preset.__doc__ or "").splitlines()
        print(f"{name:{width}}  {line}")
    return 0
