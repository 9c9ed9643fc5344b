"""A study's fixed policies, all on the same episodes: greedy, and sampled."""

import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from purejaxppo.algorithm.algorithm import PPO
from purejaxppo.algorithm.evaluation import Episodes, evaluate
from purejaxppo.networks.actor_critic import Network
from purejaxppo.study.devices.sharding import (
    AXIS,
    GRID,
    grid_mesh,
    over_grid,
    up_to_multiple,
)
from purejaxppo.study.execution.segments import Values
from purejaxppo.study.grids.groups import Group, variant_of
from purejaxppo.study.loading import Loaded, Policy, read_group, read_study
from purejaxppo.study.results import grid_attributes, grid_coordinates
from purejaxppo.study.storage import files
from purejaxppo.study.study import Study

if TYPE_CHECKING:
    import xarray

MODES = {"greedy": False, "sampled": True}
"""Name of a way to act -> whether actions are drawn; else they are the mode."""

EPISODES_AT_ONCE = 2**12
"""How many a device plays side by side, all runs together: few enough for a cache."""

WORKING_BYTES = 2**30
"""Memory that they may take; where they would take more, there are fewer at once."""


class Played(NamedTuple):
    """How far an evaluation is: before compiling (0 seconds), then after each chunk."""

    num_runs: int
    episode: int
    num_episodes: int
    seconds: float = 0.0


class _How(NamedTuple):
    """How policies are played: the numbers of `play_policies`."""

    episodes: int
    seed: int
    max_steps: int
    chunk: int | None


class _Batch(NamedTuple):
    """Runs whose policies one program plays.

    Attributes:
      runs: `[B]`, their numbers in the study.
      policies: arrays `[B, ...]`.
      values: what else sets them apart, `[B, ...]` each.
      make: the values of one run -> its algorithm, and its environment's parameters.
    """

    runs: np.ndarray
    policies: Policy
    values: Values
    make: Callable[[Values], tuple[PPO, Any]]


class _Program(NamedTuple):
    """`play(rows, keys)`, compiled for `chunk` episodes of every run."""

    play: Any
    chunk: int


def evaluate_study(
    directory: Path | str,
    episodes: int = 1000,
    *,
    seed: int = 0,
    max_steps: int = 10_000,
    overwrite: bool = False,
    chunk: int | None = None,
    env: Any = None,
    env_params: Any = None,
    network: Network | None = None,
    trust_code: bool = False,
    on_status: Callable[[Played], None] = lambda status: None,
) -> "xarray.Dataset":
    """Evaluate the policies in a study's directory and keep the outcome there.

    Args:
      directory: where the study, finished or stopped, was left.
      episodes: how many each policy plays in each mode.
      seed: of the episodes; see `play_policies`.
      max_steps: an episode still running after so many steps is cut.
      overwrite: replace the evaluation that the directory holds.
      chunk: see `play_policies`.
      env: as for `load`.
      env_params: as for `load`.
      network: as for `load`.
      trust_code: as for `load`.
      on_status: called before compiling, and after each chunk.

    Returns:
      What `play_policies` gives, of all settings, and `files.read_evaluation` reads.
      With a grid its coordinate `setting` says which one a run has, each field that has
      numbers is one too, and the attribute `settings` has all of them. Training that
      goes on removes it from the directory.

    Raises:
      ValueError: a number is out of range; the directory holds an evaluation already
        or is not writable; or the study cannot be loaded. Nothing is changed then.
    """
    directory = Path(directory)
    _check_numbers(episodes, seed, max_steps, chunk)
    if (directory / files.EVALUATION).exists() and not overwrite:
        raise ValueError(
            f"Expected {directory} to hold no {files.EVALUATION}, but it does; "
            "overwrite replaces it."
        )
    study = read_study(directory, env, env_params, network, trust_code)
    batches = [_batch(study, group) for group in study.groups]
    if not os.access(directory, os.W_OK):
        raise ValueError(f"Expected {directory} to be writable.")
    updates = files.read_environment(directory)["updates"]
    how = _How(episodes, seed, max_steps, chunk)
    dataset = _play_all(study, batches, how, updates, on_status)
    files.write_evaluation(directory, dataset)
    return dataset


def play_policies(
    loaded: Loaded,
    episodes: int = 1000,
    *,
    seed: int = 0,
    max_steps: int = 10_000,
    chunk: int | None = None,
    on_status: Callable[[Played], None] = lambda status: None,
) -> "xarray.Dataset":
    """Play the same episodes with every policy, once greedy and once sampled.

    Episode e is that of `evaluate` with the key `fold_in(key(seed), e)`: its start and
    its environment's randomness are the same for all runs, both modes, any number of
    episodes and any chunk. (Matrix products of another size may round otherwise.)

    Args:
      loaded: from `load`.
      episodes: how many each policy plays in each mode.
      seed: of the episodes.
      max_steps: an episode still running after so many steps is cut.
      chunk: how many episodes of every run are played side by side, rounded up to fill
        the devices; by default what fits `EPISODES_AT_ONCE` and `WORKING_BYTES`.
      on_status: called before compiling, and after each chunk.

    Returns:
      `{greedy, sampled}_{return, length, cut}` with dimensions (run, episode), where
      `cut` says which episodes `max_steps` cut; `finite` (run), whether all of a run's
      parameters are; the coordinate `seed` of the runs; and as attributes what was
      played: `env`, `episode_seed`, `max_steps`, and the policies' `updates`.

    Raises:
      ValueError: a number is out of range.
    """
    _check_numbers(episodes, seed, max_steps, chunk)
    runs = np.arange(loaded.study.num_seeds)
    alone = _Batch(
        runs, loaded.policies, {}, lambda values: (loaded.ppo, loaded.env_params)
    )
    how = _How(episodes, seed, max_steps, chunk)
    return _play_all(loaded.study, [alone], how, loaded.updates, on_status)


def _batch(study: Study, group: Group) -> _Batch:
    """The runs of a group, whose numbers that differ are told to the program."""
    algorithm = study.algorithm(group)

    def make(values: Values) -> tuple[PPO, Any]:
        return algorithm(values), variant_of(group, values).env_params

    return _Batch(group.runs, read_group(study, group), group.values, make)


def _play_all(
    study: Study,
    batches: list[_Batch],
    how: _How,
    updates: int,
    on_status: Callable[[Played], None],
) -> "xarray.Dataset":
    """Play batch after batch, and put the outcomes together."""
    num_runs, total = study.num_runs, how.episodes * len(batches)
    on_status(Played(num_runs, 0, total))
    done, seconds, columns = 0, 0.0, []
    for batch in batches:
        columns.append([])
        for played, number, took in _play_batch(batch, how):
            columns[-1].append(played)
            seconds += took
            on_status(Played(num_runs, done + number, total, seconds))
        done += how.episodes
    rows = [
        jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, : how.episodes], *column)
        for column in columns
    ]
    order = np.argsort(np.concatenate([batch.runs for batch in batches]))
    outcome = jax.tree.map(lambda *x: np.concatenate(x)[order], *rows)
    finite = np.concatenate([_finite(batch.policies) for batch in batches])[order]
    attributes = {
        "episode_seed": how.seed,
        "max_steps": how.max_steps,
        "updates": updates,
    }
    return _dataset(study, outcome, finite, attributes)


def _play_batch(
    batch: _Batch, how: _How
) -> Iterator[tuple[dict[str, Episodes], int, float]]:
    """Outcomes `[B, chunk]` of chunk after chunk, with episodes so far, and seconds."""
    num_runs = len(batch.runs)
    most = how.episodes if how.chunk is None else min(how.chunk, how.episodes)
    mesh = grid_mesh(num_runs, most)
    rows = _spread((batch.policies, dict(batch.values)), num_runs, mesh)
    program = _compile(batch, rows, mesh, how)
    for start in range(0, how.episodes, program.chunk):
        began = time.perf_counter()
        played = program.play(rows, episode_keys(how.seed, start, program.chunk))
        outcome = jax.tree.map(lambda x: np.asarray(x)[:num_runs], played)
        done = min(start + program.chunk, how.episodes)
        yield outcome, done, time.perf_counter() - began


def episode_keys(seed: int, start: int, count: int) -> jax.Array:
    """Key of each of `count` episodes from number `start` on."""
    key = jax.random.key(np.uint32(seed))
    numbers = start + jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def _play(
    batch: _Batch, max_steps: int, row: tuple[Policy, Values], key: jax.Array
) -> dict[str, Episodes]:
    """One episode of one policy in each mode, scalars."""
    policy, values = row
    ppo, env_params = batch.make(values)

    def play(sampled: bool) -> Episodes:
        act, memory = partial(_act, ppo, policy, sampled), ppo.init_memory(1)
        played = evaluate(key, act, ppo.env, env_params, 1, max_steps, memory)
        return jax.tree.map(lambda x: x[0], played)

    return {mode: play(sampled) for mode, sampled in MODES.items()}


def _act(
    ppo: PPO, policy: Policy, sampled: bool, obs: Any, memory: Any, key: jax.Array
) -> tuple[Any, Any]:
    """The policy's action, a sample or the mode, and its memory after that."""
    return ppo.act(policy, obs, memory, key if sampled else None)


def _spread(tree: Any, num_runs: int, mesh: Mesh) -> Any:
    """Arrays of runs on the devices that play them, copies behind to fill the mesh."""
    rows = np.resize(np.arange(num_runs), up_to_multiple(num_runs, mesh.shape[AXIS]))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda x: jax.device_put(x[rows], sharding), tree)


def _compile(batch: _Batch, runs: Any, mesh: Mesh, how: _How) -> _Program:
    """Compile for chunks of at most `chunk` episodes, or of what memory bears."""
    play = over_grid(partial(_play, batch, how.max_steps), mesh)
    rows, columns = (mesh.shape[axis] for axis in GRID)

    def compiled(limit: int) -> _Program:
        even = math.ceil(how.episodes / math.ceil(how.episodes / limit))
        size = up_to_multiple(even, columns)
        keys = jax.eval_shape(lambda: episode_keys(0, 0, size))
        return _Program(play=play.lower(runs, keys).compile(), chunk=size)

    if how.chunk is not None:
        return compiled(how.chunk)
    of_each_run = EPISODES_AT_ONCE * rows // len(batch.runs)
    program = compiled(columns * max(1, of_each_run))
    share = WORKING_BYTES / max(1, _working_bytes(program))
    if share >= 1 or program.chunk == columns:
        return program
    return compiled(max(columns, int(program.chunk * share)))


def _working_bytes(program: _Program) -> int:
    """Memory that a device needs to play, 0 where the compiler does not tell."""
    analysis = program.play.memory_analysis()
    return 0 if analysis is None else analysis.temp_size_in_bytes


def _dataset(
    study: Study,
    outcome: dict[str, Episodes],
    finite: np.ndarray,
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """Outcomes `[runs, episodes]` with names."""
    import xarray

    settings, variables = study.settings, {}
    for mode, episodes in outcome.items():
        for name, values in episodes._asdict().items():
            field = name.removeprefix("episode_")
            variables[f"{mode}_{field}"] = (("run", "episode"), values)
    return xarray.Dataset(
        {**variables, "finite": ("run", finite)},
        coords={
            "seed": ("run", study.seeds),
            **grid_coordinates(settings, study.num_runs),
        },
        attrs={"env": study.job.env, **attributes, **grid_attributes(settings)},
    )


def _finite(policies: Policy) -> np.ndarray:
    """Whether all parameters of each run are finite, `[runs]`."""
    leaves = jax.tree.leaves(policies.params)
    each = [np.isfinite(x.reshape(len(x), -1)).all(axis=1) for x in leaves]
    return np.all(each, axis=0)


def _check_numbers(episodes: int, seed: int, max_steps: int, chunk: int | None) -> None:
    ranges = {
        "episodes": (episodes, 1, 2**24),
        "seed": (seed, 0, 2**32 - 1),
        "max_steps": (max_steps, 1, 2**31 - 1),
        "chunk": (1 if chunk is None else chunk, 1, 2**24),
    }
    for name, (value, low, high) in ranges.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"Expected {name} to be int, got {value!r}.")
        if not low <= value <= high:
            raise ValueError(f"Expected {name} to be in [{low}, {high}], got {value}.")
