"""Plans: what is trained together, the memory and the time that it takes."""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from purejaxppo.study.devices import processes
from purejaxppo.study.devices.sharding import AXIS, up_to_multiple
from purejaxppo.study.execution.segments import Programs, advance, filled, start_runs
from purejaxppo.study.grids.groups import Group

GIB = 2**30
USABLE = 0.85
"""Share of the memory that is free which a plan fills."""
TIMED = 3
"""Updates that a prediction of time is made from, after one that is not counted."""


class Chunk(NamedTuple):
    """Runs that are trained side by side, `[start, stop)` of a group's.

    `size` is what their program takes: the numbers' last bits depend on it.
    """

    group: int
    start: int
    stop: int
    size: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.group}-{self.start}-{self.stop}"

    @property
    def num_runs(self) -> int:
        """How many runs it has."""
        return self.stop - self.start

    def halves(self, multiple: int) -> list["Chunk"]:
        """Two chunks of half the size, a multiple of the number of devices.

        Raises:
          ValueError: it cannot be halved.
        """
        return self.parts(half_of(self.size, multiple))

    def parts(self, size: int) -> list["Chunk"]:
        """Chunks of that size in the place of this one."""
        return [
            Chunk(self.group, start, min(start + size, self.stop), size)
            for start in range(self.start, self.stop, size)
        ]


def half_of(size: int, multiple: int) -> int:
    """Half as many runs at once, a multiple of the number of devices.

    Raises:
      ValueError: there are no fewer.
    """
    half = up_to_multiple(math.ceil(size / 2), multiple)
    if half >= size:
        raise ValueError(
            f"Expected {size} runs at once to fit the devices' memory, got that they "
            "do not, and there are no fewer."
        )
    return half


class Need(NamedTuple):
    """What a program needs.

    Attributes:
      bytes: memory of each device, by the compiler's own analysis; 0 if it has none.
      update_seconds: measured for one update of all its runs; NaN if it was not.
      compile_seconds: that compiling it took.
    """

    bytes: int
    update_seconds: float = math.nan
    compile_seconds: float = 0.0


class Plan(NamedTuple):
    """How a study is trained.

    Attributes:
      groups: see `groups.split`.
      chunks: in the order in which they are trained.
      needs: of the program of each group.
      limit: bytes of a device that may be used.
      num_devices: what the runs are spread over.
    """

    groups: Sequence[Group]
    chunks: Sequence[Chunk]
    needs: Sequence[Need]
    limit: int
    num_devices: int

    @property
    def num_runs(self) -> int:
        """Runs of the study."""
        return sum(len(group.runs) for group in self.groups)

    @property
    def env_steps(self) -> int:
        """Environment steps of all runs together."""
        return sum(
            len(g.runs) * g.config.num_updates * g.config.batch_size
            for g in self.groups
        )

    @property
    def seconds(self) -> float:
        """Predicted time of the training alone, NaN where nothing was measured."""
        return sum(
            self.needs[c.group].update_seconds * self.groups[c.group].config.num_updates
            for c in self.chunks
        )

    @property
    def compile_seconds(self) -> float:
        """What compiling took, which the prediction leaves out."""
        return sum(need.compile_seconds for need in self.needs)


def program_bytes(programs: Programs) -> int:
    """Memory that a device needs for the greater of both programs; 0 if not known.

    Arguments, results and what is held between, less results that take the place of
    arguments.
    """
    return max(_bytes(programs.init), _bytes(programs.advance))


def _bytes(program: jax.stages.Compiled) -> int:
    found = program.memory_analysis()
    if found is None:
        return 0
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes
    )


def device_limit() -> int:
    """Bytes of each device that may be used, of what is free now."""
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(USABLE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    num_devices = jax.local_device_count() * processes.num_neighbours()
    return int(USABLE * _free_bytes() / num_devices)


def _free_bytes() -> int:
    """What the host has free, or what its control group leaves."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = _read_number("/proc/meminfo", "MemAvailable:", 1024) or pages
    group = Path("/sys/fs/cgroup")
    most, used = (_read_number(group / f"memory.{name}") for name in ("max", "current"))
    if not most or not used:
        return free
    # The system gives back what it keeps of files as soon as memory is wanted.
    files = ("inactive_file ", "active_file ")
    used -= sum(_read_number(group / "memory.stat", name) or 0 for name in files)
    return min(free, max(0, most - used))


def _read_number(path: Path | str, name: str = "", unit: int = 1) -> int | None:
    """The number behind a name in a file of the system's, if it is there."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return None
    words = [line.removeprefix(name).split() for line in lines if line.startswith(name)]
    return int(words[0][0]) * unit if words and words[0][0].isdigit() else None


def fitting(
    compiled: Callable[[int], Programs], num_runs: int, limit: int, most: int | None
) -> Programs:
    """Programs for as many runs at once as fit, in chunks that are equally large.

    Args:
      compiled: number of runs -> programs that take so many.
      num_runs: of the group.
      limit: bytes of a device.
      most: runs that are at once at most, whatever fits, see `sharding.at_most`.

    Raises:
      ValueError: not even one run for each device fits.
    """
    num_chunks = math.ceil(num_runs / min(num_runs, most or num_runs))
    limit = max(limit, 1)  # Nothing is free: one run for each device is tried.
    while True:
        programs = compiled(math.ceil(num_runs / num_chunks))
        needed = processes.agree(program_bytes(programs))
        if needed <= limit:
            return programs
        if programs.size <= programs.sharding.mesh.shape[AXIS]:
            raise ValueError(
                f"Expected one run to fit {limit / GIB:.3g} GiB of each device, got "
                f"{needed / GIB:.3g} GiB; fewer num_envs, num_steps or a smaller "
                "network take less, and --memory-gib says how much there is."
            )
        # What does not grow with the runs makes a second look necessary at times.
        num_chunks = max(num_chunks + 1, math.ceil(num_chunks * needed / limit))


def cut(group: int, num_runs: int, size: int) -> list[Chunk]:
    """A group's runs in chunks of equal size, but for the last one's filling."""
    return Chunk(group, 0, num_runs, size).parts(size)


def measured(programs: Programs, group: Group, seeds: np.ndarray) -> float:
    """Seconds of one update of all runs of a program, the median of `TIMED`."""
    rows = {name: x[: programs.size] for name, x in group.values.items()}
    state = start_runs(programs, rows, seeds[: programs.size])
    values, times = filled(programs, rows), []
    for update in range(min(1 + TIMED, programs.num_updates)):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(
            advance(programs, values, state, update, update + 1)
        )
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:] or times))
