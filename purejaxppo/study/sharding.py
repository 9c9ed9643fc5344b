"""Runs spread over devices: each device trains its share of the runs by one program."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "run"


def run_mesh(num_runs: int) -> Mesh:
    """A mesh of as many devices as there is work for: all, or one for each run."""
    devices = jax.devices()[:num_runs]
    return Mesh(devices, (AXIS,))


def padded(num_runs: int, mesh: Mesh) -> int:
    """The least multiple of the mesh's size that holds `num_runs` runs."""
    return math.ceil(num_runs / mesh.size) * mesh.size


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
