"""The compiled programs of a study's groups, and the plan that they allow."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from purejaxppo.study.devices import processes
from purejaxppo.study.devices.sharding import AXIS, ENV_AXIS, at_most, padded, run_mesh
from purejaxppo.study.execution.plans import (
    GIB,
    Need,
    Plan,
    cut,
    device_limit,
    fitting,
    half_of,
    measured,
    program_bytes,
)
from purejaxppo.study.execution.resources import Means
from purejaxppo.study.execution.segments import Algorithm, Programs, compile_programs
from purejaxppo.study.grids.groups import Group


class Programmer:
    """Compiles the programs of groups, each once for each size."""

    def __init__(
        self,
        groups: Sequence[Group],
        algorithm: Callable[[Group, str | None], Algorithm],
        devices_per_run: int = 1,
    ) -> None:
        self.groups, self.algorithm = groups, algorithm
        self.devices_per_run = devices_per_run
        self._compiled: dict[tuple[int, int], Programs] = {}

    def programs(self, group: int, num_runs: int) -> Programs:
        """Programs that train so many runs of a group at once."""
        size = padded(num_runs, run_mesh(num_runs, self.devices_per_run))
        key = group, size
        if key not in self._compiled:
            of = self.groups[group]
            axis = ENV_AXIS if self.devices_per_run > 1 else None
            self._compiled[key] = compile_programs(
                self.algorithm(of, axis),
                of.values,
                size,
                of.config.num_updates,
                self.devices_per_run,
            )
        return self._compiled[key]

    def forget(self, group: int) -> None:
        """Let go of a group's programs."""
        self._compiled = {k: v for k, v in self._compiled.items() if k[0] != group}


def make_plan(
    programmer: Programmer,
    means: Means,
    seeds: np.ndarray,
    *,
    timed: bool = True,
) -> Plan:
    """Compile the programs of all groups, for as many runs at once as fit.

    Args:
      programmer: of the study's groups.
      means: how much fits.
      seeds: of all runs.
      timed: measure an update of each program.

    Raises:
      ValueError: a run does not fit a device's memory.
    """
    given = means.memory_gib
    limit = int(processes.least(device_limit()) if given is None else given * GIB)
    most, share = means.chunk_size, means.devices_per_run
    most = None if most is None else at_most(most, share)
    needs, found, num_devices = [], [], 1
    for number, group in enumerate(programmer.groups):
        own = seeds[group.runs] if timed else None
        programs, seconds = _fitted(programmer, number, limit, most, own)
        needs.append(Need(program_bytes(programs), seconds, programs.seconds))
        found += cut(number, len(group.runs), programs.size)
        num_devices = max(num_devices, programs.sharding.num_devices)
    return Plan(
        groups=programmer.groups,
        chunks=found,
        needs=needs,
        limit=limit,
        num_devices=num_devices,
    )


def _fitted(
    programmer: Programmer,
    number: int,
    limit: int,
    most: int | None,
    seeds: np.ndarray | None,
) -> tuple[Programs, float]:
    """Programs of a group that fit, and seconds of an update; NaN without seeds."""
    group = programmer.groups[number]
    compiled = partial(programmer.programs, number)
    programs = fitting(compiled, len(group.runs), limit, most)
    if seeds is None:
        return programs, np.nan
    try:  # All processes must decide alike what is too long.
        return programs, processes.agree(measured(programs, group, seeds))
    except RuntimeError as error:
        if not processes.is_exhausted(error):
            raise
    programmer.forget(number)
    fewer = half_of(programs.size, programs.sharding.mesh.shape[AXIS])
    return _fitted(programmer, number, limit, fewer, seeds)
