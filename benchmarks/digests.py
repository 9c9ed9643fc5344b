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
from collections.abc import Callable, Mapping
from functools import partial
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


def preset_job(preset: str, env: str) -> Job:
    """Return two updates of a preset as `make_preset` makes it for `env`."""
    config = make_preset(preset, SPACES[env])
    return Job(two_updates(config), *ppo.make(env), 2)


def small_job(changes: Mapping[str, Any], env: Any, env_params: Any) -> Job:
    """Return two updates of `SMALL` with changes."""
    return Job(two_updates(replace(SMALL, changes)), env, env_params, 2)


def group_job(group: str) -> Job:
    """Return the tests' training of a group of techniques."""
    env, env_params = techniques.Walk(), techniques.CountingParams(5)
    return Job(techniques.base(group), env, env_params, 2)


LSTM = {"network.memory": "lstm", "sequence_length": 8, "network.shared": True}

JOBS: Mapping[str, Callable[[], Job]] = {
    "default": lambda: Job(ppo.Config(), *ppo.make("CartPole-v1"), 8),
    "gru": lambda: small_job({"network.memory": "gru"}, TMaze(), TMazeParams()),
    "lstm": lambda: small_job(LSTM, TMaze(), TMazeParams()),
    "mask": lambda: small_job({}, Doors(), DoorsParams()),
    "mask of parts": lambda: small_job({}, Console(), ConsoleParams()),
    "hybrid": lambda: small_job({"ratio": "factored"}, Moving(), MovingParams()),
    "image": lambda: small_job(
        {"network.conv": "min_atar"}, *ppo.make("Breakout-MinAtar")
    ),
    **{f"techniques {g}": partial(group_job, g) for g in techniques.GROUPS},
    **{f"preset {p} {e}": partial(preset_job, p, e) for p in PRESETS for e in SPACES},
}
"""Name of each training -> what makes it."""


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
    for name, make in JOBS.items():
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
