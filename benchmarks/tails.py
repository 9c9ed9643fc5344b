"""The library's own study: does a technique help the worst seeds, and at what cost?

Usage: python -m benchmarks.tails --output runs/tails --docs docs/tails

First `CANDIDATES` are tried on seeds that the study does not use. Then plain PPO and
the one with the best tail are trained on each of `TASKS`, every final policy plays, and
both are compared. Under `--output` are the studies, under `--docs` what was found:
README.md with its pictures, compare.html, compare.json, candidates.json. What is there
is not made again: neither a candidate's row nor a study that is complete. `--scale` (of
the number of seeds, of all budgets and of resamples) makes everything smaller.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarks import machine, rows
from purejaxppo import reporting
from purejaxppo.cli.devices import use_this_machine
from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace
from purejaxppo.reliability import Comparison, Definition, Plan, Runs, plots, summarize
from purejaxppo.reporting.figures import smoothed
from purejaxppo.reporting.formatting import number, with_ends
from purejaxppo.study import Study, evaluate_study
from purejaxppo.study.storage import files

TASKS = MappingProxyType({"CartPole-v1": 256, "Acrobot-v1": 64})
"""Environment -> number of seeds."""

CANDIDATES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "plain": {},
        "normalize_observation": {"normalize_observation": True},
        "normalize_reward": {"normalize_reward": True},
        "normalize_value": {"normalize_value": "running_mean_std"},
        "pop_art": {"normalize_value": "pop_art"},
        "grad_scope group": {"grad_scope": "group"},
        "kl_stop": {"kl_stop.target": 0.02, "kl_stop.scope": "policy"},
        "observation and reward": {
            "normalize_observation": True,
            "normalize_reward": True,
        },
    }
)
"""Name -> what differs from the defaults."""

PLAIN = next(iter(CANDIDATES))

TRIED_ON = next(iter(TASKS))
"""The task on which candidates are tried: the one whose tail is bad."""

TRIED_SEEDS, FIRST_SEED = 64, 1000
"""Seeds that candidates are tried on: none of the study's own."""

ALPHA = 0.25
"""Share of the runs in the tail."""

STEPS, EPISODES, RESAMPLES = 500_000, 1000, 2000


@dataclass(frozen=True)
class Size:
    """How much of everything is done."""

    scale: float = 1.0

    def of(self, number: int, least: int) -> int:
        """That share of a number."""
        return max(int(self.scale * number), least)

    def config(self, name: str) -> Config:
        """Of a candidate."""
        steps = self.of(STEPS, 4096)
        return replace(Config(), {**CANDIDATES[name], "total_timesteps": steps})


class Tried(NamedTuple):
    """What a candidate came to, over seeds."""

    name: str
    iqm: float
    mean: float
    q25: float
    cvar: float
    worst: float


def attempt(name: str, size: Size) -> Tried:
    """Train a candidate on seeds that the study does not use."""
    num_seeds = size.of(TRIED_SEEDS, 4)
    results = Study(size.config(name), TRIED_ON, num_seeds, FIRST_SEED).run()
    found = summarize(results.episode_return.values.astype(float), alpha=ALPHA)
    return Tried(name, *(float(getattr(found, of)) for of in Tried._fields[1:]))


def choose(tried: Sequence[Tried]) -> str:
    """The technique with the best tail."""
    return max((of for of in tried if of.name != PLAIN), key=lambda of: of.cvar).name


def train(name: str, env: str, folder: Path, size: Size) -> Path:
    """Train and play what is not there yet; return the study's directory."""
    path = folder / f"{name}-{env}"
    study = Study(size.config(name), env, size.of(TASKS[env], 4), output=path)
    study.run(resume=files.holds_study(path))
    if not (path / files.EVALUATION).exists():
        evaluate_study(path, size.of(EPISODES, 10))
    return path


def compare(
    chosen: str, folder: Path, docs: Path, size: Size
) -> tuple[Comparison, list[Runs]]:
    """Compare plain PPO with a technique on all tasks, and leave the page of it.

    Cells are in units of the return: these hold for Acrobot's negative returns too, and
    can be read beside them.
    """
    pairs = [(name, env) for env in TASKS for name in (PLAIN, chosen)]
    paths = [train(name, env, folder, size) for name, env in pairs]
    contest = reporting.read_comparison(paths, [name for name, _ in pairs])
    plan = Plan(
        alpha=ALPHA,
        definition=Definition(normalize=False),
        num_resamples=size.of(RESAMPLES, 40),
        num_permutations=size.of(10_000, 200),
        num_across_permutations=size.of(1_000, 20),
    )
    return reporting.write_comparison(contest, docs, plan), contest.records


# --- What is shown ------------------------------------------------------------------


def pictures(comparison: Comparison, records: Sequence[Runs]) -> dict[str, Figure]:
    """File name -> picture, of each task."""
    found = {}
    for env in comparison.tasks:
        of = [a for a in comparison.analyses if a.task == env]
        curves = {r.algorithm: smoothed(r) for r in records if r.task == env}
        scores = {a.algorithm: a.scores for a in of}
        final = "final training return"
        cells = {a.algorithm: a.cells for a in of}
        found |= {
            f"curves-{env}": plots.learning_curves(curves, alpha=ALPHA, title=env),
            f"runs-{env}": plots.strip(scores, alpha=ALPHA, ylabel=final, title=env),
            f"cells-{env}": plots.cells(cells, title=env),
        }
    return found


PAGE = """# Does a technique help the worst seeds?

Plain PPO, with all defaults, beside `{chosen}`, by one command, on {device} with jax
{jax}:

```shell
python -m benchmarks.tails --output runs/tails --docs docs/tails
```

{answers}

{results}

All intervals, cells, tests and definitions are in [compare.html](compare.html), a page
that opens from the disk; its numbers are in [compare.json](compare.json). Dispersion
and risk are in units of the return.

{pictures}

## How the technique was chosen

By the CVaR on {task} of {seeds} seeds from {first} on: the study's own seeds are no
part of the choice.

{candidates}
"""


def results(comparison: Comparison) -> str:
    """Final returns and policies, a row for each algorithm on each task."""
    found = []
    for of in sorted(comparison.analyses, key=lambda a: comparison.tasks.index(a.task)):
        worst = number(float(of.summary.worst))
        intervals = (of.aggregates["iqm"], of.aggregates["cvar"])
        within = of.cells["dispersion_across_rollouts"]
        said = [*map(with_ends, intervals), worst, with_ends(within)]
        found.append([of.task, of.algorithm, str(len(of.scores)), *said])
    heads = "task | algorithm | runs | IQM | CVaR 25 % | worst | IQR of episodes"
    return table(heads, found)


def candidates(tried: Sequence[Tried]) -> str:
    """What was tried, as a table."""
    found = []
    for name, *values in tried:
        changes = CANDIDATES[name].items()
        options = " ".join(f"--{k.replace('_', '-')} {v}".lower() for k, v in changes)
        found.append([name, f"`{options}`" if options else "", *map(number, values)])
    heads = "candidate | options | IQM | mean | first quartile | CVaR 25 % | worst"
    return table(heads, found)


def table(heads: str, found: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, whose first two columns are words."""
    numbers = " ---: |" * (heads.count("|") - 1)
    lines = [f"| {' | '.join(cells)} |" for cells in found]
    return "\n".join([f"| {heads} |", f"| --- | --- |{numbers}", *lines])


def write(
    tried: Sequence[Tried],
    comparison: Comparison,
    drawn: Mapping[str, Figure],
    docs: Path,
    facts: Mapping[str, Any],
    size: Size,
) -> None:
    """Write the pictures, and the page that they are on."""
    for name, figure in drawn.items():
        plots.save(figure, docs / f"{name}.png")
    answers = json.loads((docs / "compare.json").read_text())["answers"]
    text = PAGE.format(
        chosen=choose(tried),
        device=facts["device"]["name"],
        jax=facts["versions"]["jax"],
        answers="\n".join(f"- {line}" for line in answers),
        results=results(comparison),
        pictures="\n\n".join(f"![{name}]({name}.png)" for name in drawn),
        task=TRIED_ON,
        seeds=size.of(TRIED_SEEDS, 4),
        first=FIRST_SEED,
        candidates=candidates(tried),
    )
    (docs / "README.md").write_text(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try, train, play, compare, and write down what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--docs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=(), choices=list(CANDIDATES))
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args(arguments)
    use_this_machine()
    facts = {"device": machine.device(), "versions": machine.versions()}
    size = Size(options.scale)
    options.docs.mkdir(parents=True, exist_ok=True)
    options.json = options.docs / "candidates.json"
    settings = {"scale": size.scale, "task": TRIED_ON, "first seed": FIRST_SEED}
    tried = rows.fill(
        "tails",
        list(CANDIDATES),
        Tried,
        lambda name: attempt(name, size),
        options,
        facts,
        settings,
    )
    comparison, records = compare(choose(tried), options.output, options.docs, size)
    drawn = pictures(comparison, records)
    write(tried, comparison, drawn, options.docs, facts, size)


if __name__ == "__main__":
    main()
