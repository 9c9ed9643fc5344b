"""Runs spread over devices: each device does its share of them by one program."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "run"
GRID = AXIS, "episode"


def run_mesh(num_runs: int) -> Mesh:
    """A mesh of as many devices as there is work for: all, or one for each run."""
    devices = jax.devices()[:num_runs]
    return Mesh(devices, (AXIS,))


def padded(num_runs: int, mesh: Mesh) -> int:
    """The least multiple of the mesh's size that holds `num_runs` runs."""
    return up_to_multiple(num_runs, mesh.size)


def up_to_multiple(number: int, divisor: int) -> int:
    """The least multiple of `divisor` that is no less.

    >>> up_to_multiple(5, 4), up_to_multiple(8, 4)
    (8, 8)
    """
    return math.ceil(number / divisor) * divisor


def over_runs(
    function: Callable[..., Any],
    mesh: Mesh,
    in_axes: Sequence[int | None] = (0,),
    donate: tuple[int, ...] = (),
) -> Any:
    """`jit` of `function` over a leading axis of runs, which is split over the mesh.

    Args:
      function: of one run.
      mesh: from `run_mesh`.
      in_axes: for each argument 0 (has the axis of runs) or None (shared by all).
      donate: arguments whose memory the results may take.

    Returns:
      A jitted function; its leading axes must be multiples of the mesh's size.
    """
    specs = tuple(
        PartitionSpec() if axis is None else PartitionSpec(AXIS) for axis in in_axes
    )
    mapped = jax.shard_map(
        jax.vmap(function, in_axes=tuple(in_axes)),
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )
    return jax.jit(
        mapped,
        in_shardings=tuple(NamedSharding(mesh, spec) for spec in specs),
        out_shardings=NamedSharding(mesh, PartitionSpec(AXIS)),
        donate_argnums=donate,
    )


def over_devices(function: Callable[[Any], Any], num_runs: int) -> Any:
    """`jit(vmap(function))` for `num_runs` runs, on as many devices as divide them.

    >>> keys = jax.random.split(jax.random.key(0), 4)
    >>> over_devices(jax.random.bits, 4)(keys).shape
    (4,)
    """
    size = next(n for n in range(len(jax.devices()), 0, -1) if num_runs % n == 0)
    return over_runs(function, run_mesh(size))


def grid_mesh(num_runs: int, num_episodes: int) -> Mesh:
    """A mesh `[runs, episodes]` whose busiest device has the least to play.

    Among equals the one with the most devices along the runs: each device holds the
    parameters of its own runs only.
    """
    devices = jax.devices()

    def shape(rows: int) -> tuple[int, int]:
        return rows, min(len(devices) // rows, num_episodes)

    def work(rows: int) -> tuple[int, int]:
        rows, columns = shape(rows)
        busiest = math.ceil(num_runs / rows) * math.ceil(num_episodes / columns)
        return busiest, -rows

    rows, columns = shape(min(range(1, min(len(devices), num_runs) + 1), key=work))
    grid = np.asarray(devices[: rows * columns]).reshape(rows, columns)
    return Mesh(grid, GRID)


def over_grid(function: Callable[[Any, Any], Any], mesh: Mesh) -> Any:
    """`jit` of `function` over all pairs of a run and an episode, split over the mesh.

    Args:
      function: (what a run has, what an episode has) -> a tree of one pair.
      mesh: from `grid_mesh`.

    Returns:
      A jitted function of trees `[runs, ...]` and `[episodes, ...]`, whose leading axes
      must be multiples of the mesh's, to a tree `[runs, episodes, ...]`.
    """
    over_episodes = jax.vmap(function, in_axes=(None, 0))
    specs = tuple(PartitionSpec(axis) for axis in GRID)
    mapped = jax.shard_map(
        jax.vmap(over_episodes, in_axes=(0, None)),
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec(*GRID),
        check_vma=False,
    )
    return jax.jit(
        mapped,
        in_shardings=tuple(NamedSharding(mesh, spec) for spec in specs),
        out_shardings=NamedSharding(mesh, PartitionSpec(*GRID)),
    )
