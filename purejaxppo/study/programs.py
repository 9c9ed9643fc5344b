"""The compiled programs of a study's groups, and the plan that they allow."""

from collections.abc import Callable, Sequence

import numpy as np

from purejaxppo.study import hosts
from purejaxppo.study.groups import Group
from purejaxppo.study.means import Means
from purejaxppo.study.plans import (
    GIB,
    Chunk,
    Need,
    Plan,
    cut,
    device_limit,
    fitting,
    measured,
    program_bytes,
)
from purejaxppo.study.segments import Algorithm, Programs, compile_programs
from purejaxppo.study.sharding import ENV_AXIS, at_most


class Programmer:
    """Compiles the programs of groups, each once."""

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
        key = group, num_runs
        if key not in self._compiled:
            of = self.groups[group]
            axis = ENV_AXIS if self.devices_per_run > 1 else None
            self._compiled[key] = compile_programs(
                self.algorithm(of, axis),
                of.values,
                num_runs,
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
    chunks: Sequence[Chunk] | None = None,
) -> Plan:
    """Compile the programs of all groups, for as many runs at once as fit.

    Args:
      programmer: of the study's groups.
      means: how much fits.
      seeds: of all runs.
      timed: measure an update of each program.
      chunks: those that a study was begun with, where it goes on.

    Raises:
      ValueError: a run does not fit a device's memory.
    """
    given = means.memory_gib
    limit = int(hosts.least(device_limit()) if given is None else given * GIB)
    needs, found, num_devices = [], [], 1
    for number, group in enumerate(programmer.groups):
        programs = _programs(programmer, number, limit, means, chunks)
        seconds = np.nan
        if timed:  # All processes must decide alike what is too long.
            seconds = hosts.agree(measured(programs, group, seeds[group.runs]))
        needs.append(Need(program_bytes(programs), seconds))
        found += cut(number, len(group.runs), programs.size)
        num_devices = max(num_devices, programs.sharding.num_devices)
    return Plan(
        groups=programmer.groups,
        chunks=found if chunks is None else chunks,
        needs=needs,
        limit=limit,
        num_devices=num_devices,
    )


def _programs(
    programmer: Programmer,
    group: int,
    limit: int,
    means: Means,
    chunks: Sequence[Chunk] | None,
) -> Programs:
    if chunks is not None:
        # The first may be trained, and of more runs than fitted thereafter.
        size = min(chunk.size for chunk in chunks if chunk.group == group)
        return programmer.programs(group, size)
    most = means.chunk_size
    return fitting(
        lambda num_runs: programmer.programs(group, num_runs),
        len(programmer.groups[group].runs),
        limit,
        None if most is None else at_most(most, means.devices_per_run),
    )
