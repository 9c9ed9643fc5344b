"""Many runs advanced together, some updates at a time, by two compiled programs."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from purejaxppo.algorithm.algorithm import PER_ENV, PPO, Metrics, TrainState
from purejaxppo.algorithm.markers import show_missing
from purejaxppo.study.devices import processes
from purejaxppo.study.devices.sharding import (
    ALL,
    AXIS,
    EACH,
    ENV_AXIS,
    is_split,
    over_runs,
    padded,
    run_mesh,
)

T = TypeVar("T")

SEGMENT_SECONDS = 0.5
LONGEST_SEGMENT = 256

Values: TypeAlias = Mapping[str, Any]
"""What tells runs apart besides their seeds: name -> `[runs, ...]`."""

Algorithm: TypeAlias = Callable[[Values], PPO]
"""The values of one run -> what it runs."""


class Segment(NamedTuple):
    """What one segment brought: metrics `[runs, stop - start]` on the host."""

    start: int
    stop: int
    metrics: dict[str, np.ndarray]


class Programs(NamedTuple):
    """The compiled programs.

    Attributes:
      init: (values, seeds) -> state.
      advance: (values, state, start, stop) -> (state, metrics); of these the first
        `stop - start` columns count. It takes the memory of the state.
      sharding: of everything that has an axis of runs.
      size: how many runs they take, a multiple of the number of devices.
      longest: the most updates that `advance` makes.
      num_updates: those of a run.
      seconds: that compiling took.
      is_split: whether a run has devices of several processes.
    """

    init: Any
    advance: Any
    sharding: NamedSharding
    size: int
    longest: int
    num_updates: int
    seconds: float
    is_split: bool = False


def compile_programs(
    algorithm: Algorithm,
    values: Values,
    num_runs: int,
    num_updates: int,
    devices_per_run: int = 1,
) -> Programs:
    """Compile both programs, side by side.

    `advance` runs any number of updates up to `longest`, so that one program serves
    segments of every length.

    Args:
      algorithm: see `Algorithm`.
      values: for their names, types and shapes; the number of runs may be another.
      num_runs: how many runs are trained at once; there may be some more, as filling.
      num_updates: of a run.
      devices_per_run: that share a run by its environments; with several of them the
        algorithm is that for the mesh axis `ENV_AXIS`.
    """
    began = time.perf_counter()
    mesh = run_mesh(num_runs, devices_per_run)
    whole = _specs(mesh)
    size, longest = padded(num_runs, mesh), min(num_updates, LONGEST_SEGMENT)
    seeds = jax.ShapeDtypeStruct((size,), jnp.uint32)
    index = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = {
        name: jax.ShapeDtypeStruct((size, *np.shape(x)[1:]), x.dtype)
        for name, x in values.items()
    }
    init = over_runs(_start(algorithm), mesh, (EACH, EACH), whole).lower(shapes, seeds)
    states, given = init.out_info, (EACH, whole, ALL, ALL)
    segment = _segment(algorithm, longest)
    advance = over_runs(segment, mesh, given, (whole, EACH), donate=(1,))
    with ThreadPoolExecutor(1) as pool:
        # It runs once, so that optimizing it would take longer than it saves.
        options = {"xla_backend_optimization_level": 0}
        compiling = pool.submit(init.compile, compiler_options=options)
        compiled = advance.lower(shapes, states, index, index).compile()
        return Programs(
            init=compiling.result(),
            advance=compiled,
            sharding=NamedSharding(mesh, EACH),
            size=size,
            longest=longest,
            num_updates=num_updates,
            seconds=time.perf_counter() - began,
            is_split=is_split(mesh),
        )


def _specs(mesh: Mesh) -> Any:
    """How a state is split: by its environments, too, where devices share a run."""
    if ENV_AXIS not in mesh.shape:
        return EACH
    return jax.tree.map(
        lambda on: PartitionSpec(AXIS, ENV_AXIS) if on else EACH, PER_ENV
    )


def _start(algorithm: Algorithm) -> Callable[[Values, jax.Array], TrainState]:
    """`(values, seed) -> state` of one run, which is `train(key(seed))`."""
    return lambda values, seed: algorithm(values).init(jax.random.key(seed))


def _segment(
    algorithm: Algorithm, longest: int
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`(values, state, start, stop) -> (state, metrics [longest])` of one run."""

    def advance(
        values: Values, state: TrainState, start: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, Metrics]:
        one_update = jax.jit(algorithm(values).advance)  # Traced once, used twice.
        return _updates(one_update, longest, state, start, stop)

    return advance


def _updates(
    one_update: Callable[..., tuple[TrainState, Metrics]],
    longest: int,
    state: TrainState,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, Metrics]:
    """The updates `start` to `stop`, and their metrics in columns `[longest]`."""
    _, one = jax.eval_shape(one_update, state, start)
    columns = jax.tree.map(lambda x: jnp.zeros(longest, x.dtype), one)

    def body(
        update: jax.Array, carry: tuple[TrainState, Metrics]
    ) -> tuple[TrainState, Metrics]:
        state, columns = carry
        state, metrics = one_update(state, update)
        return state, jax.tree.map(
            lambda c, m: c.at[update - start].set(m), columns, metrics
        )

    return jax.lax.fori_loop(start, stop, body, (state, columns))


def filled(programs: Programs, rows: Any) -> Any:
    """NumPy arrays `[runs, ...]` on the devices, copies of the first rows behind."""
    place = partial(fill, size=programs.size, sharding=programs.sharding)
    return jax.tree.map(place, rows)


def fill(rows: np.ndarray, size: int, sharding: Sharding) -> jax.Array:
    """Rows and copies of the first ones behind them, `[size, ...]`, on the devices."""
    return processes.spread(rows[np.resize(np.arange(len(rows)), size)], sharding)


def start_runs(programs: Programs, values: Values, seeds: np.ndarray) -> TrainState:
    """The initial state of a run for each seed."""

    def start() -> TrainState:
        return programs.init(
            filled(programs, dict(values)), filled(programs, seeds.astype(np.uint32))
        )

    return _fitting(programs, start)


def _fitting(programs: Programs, action: Callable[[], T]) -> T:
    """What an action gives, if memory suffices: in all processes, where it can be told.

    Where a run has devices of several processes, the others wait within the program:
    then the one that raises ends, and they with it.
    """
    if programs.is_split:
        return action()
    return processes.all_or_none(action)


def advance(
    programs: Programs, values: Values, state: TrainState, start: int, stop: int
) -> tuple[TrainState, Metrics]:
    """The updates from `start` on until there are `stop`, of all runs; see `Programs`.

    Args:
      programs: compiled for the runs.
      values: from `filled`.
      state: of the runs; its memory is taken.
      start: updates that were made.
      stop: updates that are made then, at most `longest` more.
    """
    between = np.int32(start), np.int32(stop)
    return _fitting(programs, partial(programs.advance, values, state, *between))


def run_segments(
    programs: Programs, values: Values, state: TrainState, num_runs: int, start: int
) -> Iterator[tuple[TrainState, Segment]]:
    """Advance from update `start` to the end, yielding after each segment.

    A segment's length follows the measured speed, about `SEGMENT_SECONDS` each; the
    results do not depend on it.
    """
    length, values = 1, filled(programs, dict(values))
    while start < programs.num_updates:
        stop = min(start + length, programs.num_updates)
        began = time.perf_counter()
        state, columns = advance(programs, values, state, start, stop)
        metrics = {
            name: show_missing(column[:num_runs, : stop - start])
            for name, column in processes.to_host(columns)._asdict().items()
            if not isinstance(column, tuple)
        }
        seconds = processes.agree(time.perf_counter() - began)
        yield state, Segment(start, stop, metrics)
        faster = SEGMENT_SECONDS / max(seconds, 1e-3)
        length = int(np.clip(length * min(faster, 8.0), 1, programs.longest))
        start = stop


def first_runs(tree: Any, num_runs: int) -> Any:
    """The first `num_runs` of a tree with a leading axis of runs, on the host."""
    return jax.tree.map(lambda x: x[:num_runs], processes.to_host(tree))
