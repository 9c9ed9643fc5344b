"""What each kind of action, mask, memory and image is shown on: returns of many seeds.

Usage: python -m benchmarks.tasks --json tasks.json --markdown docs/tasks.md \
           --picture docs/tasks.png

With `--json`, tasks whose figures the file holds already are not run again; `--only`
runs some anew. `--num-seeds` and `--scale` (of all budgets) make it shorter.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks import machine, rows
from purejaxppo.cli.devices import use_this_machine
from purejaxppo.config.config import Config
from purejaxppo.config.fields import leaves, parse, replace
from purejaxppo.reliability import summarize, thinned
from purejaxppo.study import Study

POINTS = 40
"""Points of a curve in the file and the picture."""


class Task(NamedTuple):
    """One row: an environment, what is changed from the defaults, and a bar.

    `bar` is what the IQM over seeds has to reach, or, where `below` is true, what it
    must not reach, to show that the task asks for what was left out; `None` where only
    the curve is shown.
    """

    env: str
    changes: Mapping[str, Any]
    bar: float | None
    below: bool = False


FAST = MappingProxyType({"num_steps": 64, "learning_rate": 1e-3})
IDENTITY = MappingProxyType(
    {
        "total_timesteps": 100_000,
        "num_envs": 8,
        **FAST,
        "gamma": 0.9,
        "ent_coef": 0.0,
    }
)
TMAZE = MappingProxyType(
    {
        "total_timesteps": 500_000,
        "num_envs": 32,
        "num_steps": 64,
        "learning_rate": 2e-3,
    }
)
CHAIN = MappingProxyType({**TMAZE, "total_timesteps": 300_000})
VELOCITIES = MappingProxyType(
    {
        "total_timesteps": 1_000_000,
        "num_envs": 32,
        "learning_rate": 1e-3,
        "num_minibatches": 8,
        "normalize_observation": True,
    }
)
DOORS = MappingProxyType({"total_timesteps": 600_000, "num_envs": 16, **FAST})
MINATAR = MappingProxyType(
    {
        "total_timesteps": 200_000,
        "num_envs": 16,
        "learning_rate": 1e-3,
        "network.conv": "min_atar",
        "network.widths": "128",
        "network.activation": "relu",
    }
)


def remembering(changes: Mapping[str, Any], memory: str) -> dict[str, Any]:
    """The same with a memory, learned from sequences of 32 steps."""
    return {**changes, "network.memory": memory, "sequence_length": 32}


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "hybrid": Task(
            "envs.moving:Moving",
            {
                "total_timesteps": 2_000_000,
                "num_envs": 32,
                "num_minibatches": 8,
                "learning_rate": 1e-3,
                "ent_coef": 0.0,
            },
            1.5,
        ),
        "multi-discrete": Task(
            "envs.identity:MultiDiscreteIdentity", {**IDENTITY, "ent_coef": 0.01}, 90
        ),
        "box": Task("envs.identity:BoxIdentity", IDENTITY, -10),
        "tree": Task("envs.identity:HybridIdentity", IDENTITY, 170),
        "autoregressive": Task(
            "envs.identity:MultiDiscreteIdentity",
            {**IDENTITY, "ent_coef": 0.01, "network.autoregressive": "all"},
            90,
        ),
        "masked": Task("envs.masked:Doors", DOORS, 0.9),
        "masked, mask hidden": Task("envs.masked:DarkDoors", DOORS, 0.0, below=True),
        "masked, multi-discrete": Task("envs.masked:MaskedGrid", DOORS, 0.8),
        "masked, tree": Task("envs.masked:Console", DOORS, 18),
        "sequence, LSTM": Task(
            "envs.sequence:FixedSequence",
            {
                **remembering(IDENTITY, "lstm"),
                "gamma": 0.99,
                "ent_coef": 0.01,
            },
            3.5,
        ),
        "T-maze, LSTM": Task(
            "envs.tmaze:TMaze",
            {**remembering(TMAZE, "lstm"), "network.memory.forget_bias": 3.0},
            3.9,
        ),
        "T-maze, GRU": Task("envs.tmaze:TMaze", remembering(TMAZE, "gru"), 3.9),
        "T-maze, no memory": Task("envs.tmaze:TMaze", TMAZE, 2.0, below=True),
        "chain of 10, GRU": Task(
            "envs.chain:memory_chain", remembering(CHAIN, "gru"), 0.9
        ),
        "chain of 10, no memory": Task(
            "envs.chain:memory_chain", CHAIN, 0.1, below=True
        ),
        "hidden velocities, GRU": Task(
            "envs.velocities:HiddenVelocities", remembering(VELOCITIES, "gru"), 475
        ),
        "hidden velocities, no memory": Task(
            "envs.velocities:HiddenVelocities", VELOCITIES, 475, below=True
        ),
        "Breakout": Task(
            "Breakout-MinAtar", {**MINATAR, "total_timesteps": 300_000}, None
        ),
        "Asterix": Task("Asterix-MinAtar", MINATAR, None),
        "Freeway": Task("Freeway-MinAtar", MINATAR, None),
        "SpaceInvaders": Task("SpaceInvaders-MinAtar", MINATAR, None),
    }
)


class Outcome(NamedTuple):
    """A task's final training returns over seeds, and their curve."""

    task: str
    num_seeds: int
    total_timesteps: int
    iqm: float
    q25: float
    q75: float
    cvar: float
    worst: float
    seconds: float
    env_steps: list[int]
    quartiles: list[list[float]]

    def __str__(self) -> str:
        """All but the curve."""
        return repr(self._replace(env_steps=[], quartiles=[]))


def measure(name: str, num_seeds: int, scale: float) -> Outcome:
    """Train a task's seeds 0, 1, ... and summarize their returns."""
    task = TASKS[name]
    config = configured(task.changes)
    budget = max(config.batch_size, int(config.total_timesteps * scale))
    config = replace(config, {"total_timesteps": budget})
    began = time.perf_counter()
    dataset = Study(config, task.env, num_seeds=num_seeds).run()
    seconds = time.perf_counter() - began
    returns = dataset["episode_return"].values.astype(np.float64)
    summary = summarize(returns, dataset["finite"].values)
    steps, curves = thinned(dataset["env_steps"].values, returns, POINTS)
    seen = np.flatnonzero(~np.isnan(curves).all(axis=0))
    quartiles = np.nanquantile(curves[:, seen], [0.25, 0.5, 0.75], axis=0)
    return Outcome(
        task=name,
        num_seeds=num_seeds,
        total_timesteps=config.num_updates * config.batch_size,
        iqm=float(summary.iqm),
        q25=float(summary.q25),
        q75=float(summary.q75),
        cvar=float(summary.cvar),
        worst=float(summary.worst),
        seconds=seconds,
        env_steps=steps[seen].tolist(),
        quartiles=np.round(quartiles, 4).tolist(),
    )


def configured(changes: Mapping[str, Any]) -> Config:
    """The default config with changes, tuples as the command line has them."""
    fields = {leaf.name: leaf for leaf in leaves(Config)}
    parsed = {name: parse(fields[name], str(value)) for name, value in changes.items()}
    return replace(Config(), parsed)


def command(task: Task, num_seeds: int) -> str:
    """The command that trains a task."""
    options = [
        f"--{name.replace('_', '-')} {str(value).lower()}"
        for name, value in task.changes.items()
    ]
    return " ".join(
        [f"purejaxppo train {task.env}", f"--num-seeds {num_seeds}", *options]
    )


NOTES = (
    "In the T-maze the LSTM's forget gate starts with a bias of 3: with Flax's 0, "
    "half of what was seen is gone in a step, and half of the seeds stay with a guess "
    "(1.95). Hidden velocities are learned from standardised observations: from "
    "step to step, positions differ by hundredths.\n\n"
    "MinAtar's games are shown as curves, at the budget that this machine allows, 2 "
    "to 3 % of the usual one. Others report 28 (Breakout), 15 (Asterix), 58 "
    "(Freeway), 131 (SpaceInvaders) at 1e7 steps: the same commands with `--total-"
    "timesteps 1e7`, on a GPU."
)


def verdict(outcome: Outcome) -> str:
    """Whether a task's bar was reached, in a word."""
    task = TASKS[outcome.task]
    if task.bar is None:
        return ""
    if task.below:
        return "as it should be" if outcome.iqm < task.bar else "**reached**"
    return "reached" if outcome.iqm >= task.bar else "**missed**"


def page(outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> str:
    """The table and the commands as a page of Markdown."""
    lines = [
        "# Actions, masks, memory and images: what was learned",
        "",
        "Final training returns (mean of the last tenth of a run) by `python -m "
        f"benchmarks.tasks`, on {facts['device']['name']} with jax "
        f"{facts['versions']['jax']}. The bar is for the IQM; `<` marks what a policy "
        "without memory, or without the mask, must stay below. Policies explore while "
        "they train: their modes are better than this.",
        "",
        "![Median and quartiles of the training return](tasks.png)",
        "",
        "| task | environment | runs × steps | IQM | IQR | CVaR 25 % | worst | bar | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in outcomes:
        task = TASKS[row.task]
        bar = "" if task.bar is None else f"{'< ' if task.below else ''}{task.bar:g}"
        lines.append(
            f"| {row.task} | `{task.env}` | {row.num_seeds} × "
            f"{row.total_timesteps:,} | {row.iqm:.2f} | [{row.q25:.2f}, {row.q75:.2f}] "
            f"| {row.cvar:.2f} | {row.worst:.2f} | {bar} | {verdict(row)} |"
        )
    lines += ["", NOTES, "", "```shell"]
    lines += [command(TASKS[row.task], row.num_seeds) for row in outcomes]
    return "\n".join([*lines, "```", ""])


def picture(outcomes: Sequence[Outcome]) -> Figure:
    """The curves of all tasks: median and quartiles over seeds."""
    columns = 4
    height = -(-len(outcomes) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * height), layout="constrained")
    for i, row in enumerate(outcomes):
        axes, task = figure.add_subplot(height, columns, i + 1), TASKS[row.task]
        low, middle, high = row.quartiles
        axes.fill_between(row.env_steps, low, high, alpha=0.3, linewidth=0)
        axes.plot(row.env_steps, middle)
        if task.bar is not None:
            axes.axhline(task.bar, color="0.5", linestyle=":")
        axes.set_title(row.task, fontsize="small")
        axes.tick_params(labelsize="x-small")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, and write table and picture."""
    parser = rows.make_parser(__doc__, list(TASKS), num_seeds=16)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    use_this_machine()
    facts = {"device": machine.device(), "versions": machine.versions()}
    settings = {"num_seeds": options.num_seeds, "scale": options.scale}
    outcomes = rows.fill(
        "tasks",
        list(TASKS),
        Outcome,
        lambda name: measure(name, **settings),
        options,
        facts,
        settings,
    )
    table = page(outcomes, facts)
    print(table)
    if options.markdown is not None:
        options.markdown.write_text(table)
    if options.picture is not None:
        picture(outcomes).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
