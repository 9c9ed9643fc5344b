"""Runs spread over devices: each device does its share of them by one program."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS, ENV_AXIS = "run", "env"
GRID = AXIS, "episode"


def run_mesh(num_runs: int, devices_per_run: int = 1) -> Mesh:
    """A mesh of as many devices as there is work for: all, or some for each run.

    Args:
      num_runs: that are trained at once.
      devices_per_run: that share a run by its environments; with several of them the
        mesh has the axis `env` besides `run`.

    Raises:
      ValueError: there are not so many devices; or of those of some process none would
        be used.
    """
    rows, share = mesh_rows(num_runs, devices_per_run), devices_per_run
    grid = np.asarray(jax.devices()[: rows * share])
    if share == 1:
        return Mesh(grid, (AXIS,))
    return Mesh(grid.reshape(rows, share), (AXIS, ENV_AXIS))


def mesh_rows(num_runs: int, devices_per_run: int = 1) -> int:
    """How many runs of a mesh from `run_mesh` are side by side; raises as it does."""
    devices, share = jax.devices(), devices_per_run
    if share > len(devices):
        raise ValueError(
            f"Expected devices_per_run to be at most {len(devices)}, the number of "
            f"devices, got {share}."
        )
    rows = len(devices) // share
    if jax.process_count() == 1:  # Else each process must have a part in it.
        return min(rows, num_runs)
    parts = {device.process_index for device in devices[: rows * share]}
    if len(parts) < jax.process_count():
        raise ValueError(
            f"Expected devices_per_run to leave no process without a part, got {share} "
            f"with {len(devices)} devices of {jax.process_count()} processes."
        )
    return rows


def at_most(most: int, devices_per_run: int = 1) -> int:
    """The greatest number of runs that is no more, and fills its mesh.

    Raises:
      ValueError: several processes have more devices than that, and each its part.
    """
    rows = mesh_rows(most, devices_per_run)
    if rows > most:
        raise ValueError(
            f"Expected chunk_size to be at least {rows}, the number of runs that the "
            f"devices of {jax.process_count()} processes share, got {most}."
        )
    return most // rows * rows


def is_split(mesh: Mesh) -> bool:
    """Whether a run of a mesh from `run_mesh` has devices of several processes."""
    rows = mesh.devices.reshape(mesh.shape[AXIS], -1)
    return any(len({device.process_index for device in row}) > 1 for row in rows)


def padded(num_runs: int, mesh: Mesh) -> int:
    """The least multiple of the mesh's runs that holds `num_runs` runs."""
    return up_to_multiple(num_runs, mesh.shape[AXIS])


def up_to_multiple(number: int, divisor: int) -> int:
    """The least multiple of `divisor` that is no less.

    >>> up_to_multiple(5, 4), up_to_multiple(8, 4)
    (8, 8)
    """
    return math.ceil(number / divisor) * divisor


EACH = PartitionSpec(AXIS)
"""Of what every run has."""

ALL = PartitionSpec()
"""Of what all runs share."""


def over_runs(
    function: Callable[..., Any],
    mesh: Mesh,
    in_specs: Sequence[Any] = (EACH,),
    out_specs: Any = EACH,
    donate: tuple[int, ...] = (),
) -> Any:
    """`jit` of `function` over a leading axis of runs, which is split over the mesh.

    Args:
      function: of one run.
      mesh: from `run_mesh`.
      in_specs: for each argument `ALL`, or how its leading axis of runs, and those
        behind it, are split: `EACH`, or a tree of others.
      out_specs: likewise of what it returns.
      donate: arguments whose memory the results may take.

    Returns:
      A jitted function; its leading axes must be multiples of the mesh's.
    """
    in_axes = tuple(None if specs == ALL else 0 for specs in in_specs)
    mapped = jax.shard_map(
        jax.vmap(function, in_axes=in_axes),
        mesh=mesh,
        in_specs=tuple(in_specs),
        out_specs=out_specs,
        check_vma=False,
    )
    placed = jax.tree.map(partial(NamedSharding, mesh), (tuple(in_specs), out_specs))
    return jax.jit(
        mapped,
        in_shardings=placed[0],
        out_shardings=placed[1],
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
