"""A training job as one compiled program, measured on a parent's demand."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.jobs import Job
from benchmarks.workers import serve


class Program(NamedTuple):
    """A library's way to train a job.

    Attributes:
      function: jitted, keys -> result.
      make_keys: seed -> keys.
      count_steps: result -> environment steps that all agents together really made.
    """

    function: Any
    make_keys: Callable[[int], Any]
    count_steps: Callable[[Any], int]


def serve_programs(make_program: Callable[[Job], Program]) -> None:
    """Serve `facts`, `compile`, `run` and `memory` for one library."""
    bench = _Bench(make_program)
    serve(
        {
            "facts": lambda: {
                "device": machine.device(),
                "versions": machine.versions(),
            },
            "compile": lambda **job: bench.compile(Job(**job)),
            "run": bench.run,
            "memory": machine.memory,
        }
    )


class _Bench:
    """The program under measurement."""

    def __init__(self, make_program: Callable[[Job], Program]) -> None:
        self.make_program = make_program
        self.program: Program | None = None
        self.compiled: Any = None

    def compile(self, job: Job) -> dict[str, Any]:
        """Build and compile the job's program, in place of the one before."""
        self.program = self.make_program(job)
        keys = self.program.make_keys(0)
        began = time.perf_counter()
        lowered = self.program.function.trace(keys).lower()
        traced = time.perf_counter()
        self.compiled = lowered.compile()
        done = time.perf_counter()
        return {
            "trace_seconds": traced - began,
            "compile_seconds": done - traced,
            "devices": len(self.compiled.input_shardings[0][0].device_set),
            "program_bytes": _program_bytes(self.compiled),
        }

    def run(self, seed: int) -> dict[str, Any]:
        """Train once: seconds, and the steps that were made in them."""
        import jax

        assert self.program is not None
        keys = jax.block_until_ready(self.program.make_keys(seed))
        began = time.perf_counter()
        result = jax.block_until_ready(self.compiled(keys))
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "env_steps": self.program.count_steps(result)}


def _program_bytes(compiled: Any) -> dict[str, int] | None:
    """The compiler's own account of the program's memory, on each device."""
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    parts = ("argument", "output", "temp", "generated_code")
    return {part: getattr(stats, f"{part}_size_in_bytes") for part in parts}
