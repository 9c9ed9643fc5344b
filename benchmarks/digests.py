"""Digests of what small trainings compute, to show that a change left numbers alone.

Usage: python -m benchmarks.digests --output before.json
       python -m benchmarks.digests --against before.json

Trains 8 seeds of the default config, and two updates of every preset, of networks with
memory, of masked, hybrid and image environments and of every technique that the tests
pack together. Prints one digest of the parameters and one of the metrics for each.
`--against` names the jobs that differ and ends with exit code 1 if there are any.
Digests depend on the machine and on the versions of JAX: compare on one machine only.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium import spaces

import purejaxppo as ppo
from envs.masked import Console, ConsoleParams, Doors, DoorsParams
from envs.moving import Moving
from envs.moving import Params as MovingParams
from envs.tmaze import Params as TMazeParams
from envs.tmaze import TMaze
from purejaxppo.config.fields import replace
from purejaxppo.config.presets import PRESETS, make_preset
from tests import techniques

SMALL = ppo.Config(num_envs=4, num_steps=32, network=ppo.NetworkConfig(widths=(16,)))
SPACES: Mapping[str, spaces.Space] = {
    "CartPole-v1": spaces.Discrete(2),
    "Pendulum-v1": spaces.Box(-2.0, 2.0, (1,), np.float32),
}


class Job(NamedTuple):
    """One training: a config, an environment with its parameters, a number of seeds."""

    config: ppo.Config
    env: Any
    env_params: Any
    num_seeds: int


def two_updates(config: ppo.Config) -> ppo.Config:
    """Return the config with a budget of two updates."""
    return replace(config, {"total_timesteps": 2 * config.num_envs * config.num_steps})


def jobs() -> Iterator[tuple[str, Callable[[], Job]]]:
    """Yield the name of each job, and what makes it."""
    yield "default", lambda: Job(ppo.Config(), *ppo.make("CartPole-v1"), 8)
    for preset in PRESETS:
        for env, space in SPACES.items():
            yield (
                f"preset {preset} {env}",
                lambda preset=preset, env=env, space=space: Job(
                    two_updates(make_preset(preset, space)), *ppo.make(env), 2
                ),
            )
    changed: dict[str, tuple[dict[str, Any], Callable[[], tuple[Any, Any]]]] = {
        "gru": ({"network.memory": "gru"}, lambda: (TMaze(), TMazeParams())),
        "lstm": (
            {"network.memory": "lstm", "sequence_length": 8, "network.shared": True},
            lambda: (TMaze(), TMazeParams()),
        ),
        "mask": ({}, lambda: (Doors(), DoorsParams())),
        "mask of parts": ({}, lambda: (Console(), ConsoleParams())),
        "hybrid": ({"ratio": "factored"}, lambda: (Moving(), MovingParams())),
        "image": (
            {"network.conv": "min_atar"},
            lambda: ppo.make("Breakout-MinAtar"),
        ),
    }
    for name, (changes, make) in changed.items():
        yield (
            name,
            lambda changes=changes, make=make: Job(
                two_updates(replace(SMALL, changes)), *make(), 2
            ),
        )
    for group in techniques.GROUPS:
        yield (
            f"techniques {group}",
            lambda group=group: Job(
                techniques.base(group),
                techniques.Walk(),
                techniques.CountingParams(5),
                2,
            ),
        )


def digest(tree: Any) -> str:
    """Return a digest of the bytes, types and shapes of a tree's arrays, in order."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


def digests(job: Job) -> dict[str, str]:
    """Train, and return the digests of the parameters and of the metrics."""
    train = jax.jit(jax.vmap(ppo.make_train(job.config, job.env, job.env_params)))
    result = train(jax.random.split(jax.random.key(0), job.num_seeds))
    # By name, so that the order in which metrics are declared does not count.
    metrics = sorted(result.metrics._asdict().items())
    return {"params": digest(result.state.params), "metrics": digest(metrics)}


def main() -> int:
    """Print the digests; compare them with a file's, or write them to one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file to compare with")
    parser.add_argument("--only", default="", help="part of the names of the jobs")
    arguments = parser.parse_args()
    result = {}
    for name, make in jobs():
        if arguments.only in name:
            result[name] = digests(make())
            print(name, *result[name].values(), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1))
    if not arguments.against:
        return 0
    before = json.loads(arguments.against.read_text())
    names = [name for name in before if arguments.only in name]
    changed = [name for name in names if result.get(name) != before[name]]
    changed += [name for name in result if name not in before]
    print(f"{len(changed)} of {len(result)} jobs differ", *changed, sep="\n  ")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
