"""Many runs advanced together, some updates at a time, by two compiled programs."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxppo.study.sharding import over_runs, padded, run_mesh
from purejaxppo.training import PPO, Metrics, TrainState

SEGMENT_SECONDS = 0.5
LONGEST_SEGMENT = 256


class Segment(NamedTuple):
    """What one segment brought: metrics `[runs, stop - start]` on the host."""

    start: int
    stop: int
    metrics: dict[str, np.ndarray]


class Programs(NamedTuple):
    """The compiled programs: `init(keys)`, `advance(state, start, stop)`."""

    init: Callable[[jax.Array], TrainState]
    advance: Callable[..., tuple[TrainState, Metrics]]
    longest: int


def seed_keys(seeds: np.ndarray) -> jax.Array:
    """`jax.random.key(seed)` of each seed: run i is `train(key(seeds[i]))`."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def compile_programs(ppo: PPO, num_runs: int, num_updates: int) -> Programs:
    """Compile both programs, side by side.

    `advance` runs any number of updates up to `longest`, so that one program serves
    segments of every length; of its metrics, the first `stop - start` columns count.
    """
    mesh = run_mesh(num_runs)
    longest = min(num_updates, LONGEST_SEGMENT)
    keys = jax.eval_shape(seed_keys, np.zeros(padded(num_runs, mesh), np.uint32))
    index = jax.ShapeDtypeStruct((), jnp.int32)
    init = over_runs(ppo.init, mesh).lower(keys)
    states = init.out_info
    advance = over_runs(_segment(ppo, longest), mesh, (0, None, None), donate=(0,))
    with ThreadPoolExecutor(1) as pool:
        # It runs once, so that optimizing it would take longer than it saves.
        options = {"xla_backend_optimization_level": 0}
        compiling = pool.submit(init.compile, compiler_options=options)
        compiled = advance.lower(states, index, index).compile()
        return Programs(init=compiling.result(), advance=compiled, longest=longest)


def _segment(ppo: PPO, longest: int) -> Callable[..., tuple[TrainState, Metrics]]:
    """`(state, start, stop) -> (state, metrics [longest])` of one run."""
    one_update = jax.jit(ppo.advance)  # Traced once, though it is used twice.

    def advance(
        state: TrainState, start: jax.Array, stop: jax.Array
    ) -> tuple[TrainState, Metrics]:
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

    return advance


def start_runs(programs: Programs, seeds: np.ndarray) -> TrainState:
    """The initial state of a run for each seed, padded with copies to fill the mesh."""
    mesh = run_mesh(len(seeds))
    filler = np.resize(seeds, padded(len(seeds), mesh))
    return programs.init(seed_keys(filler))


def run_segments(
    programs: Programs,
    state: TrainState,
    num_runs: int,
    start: int,
    num_updates: int,
) -> Iterator[tuple[TrainState, Segment]]:
    """Advance from update `start` to the end, yielding after each segment.

    A segment's length follows the measured speed, about `SEGMENT_SECONDS` each; the
    results do not depend on it.
    """
    length = 1
    while start < num_updates:
        stop = min(start + length, num_updates)
        began = time.perf_counter()
        state, columns = programs.advance(state, np.int32(start), np.int32(stop))
        metrics = {
            name: np.asarray(column)[:num_runs, : stop - start]
            for name, column in jax.device_get(columns)._asdict().items()
            if not isinstance(column, tuple)
        }
        seconds = time.perf_counter() - began
        yield state, Segment(start, stop, metrics)
        faster = SEGMENT_SECONDS / max(seconds, 1e-3)
        length = int(np.clip(length * min(faster, 8.0), 1, programs.longest))
        start = stop


def first_runs(tree: Any, num_runs: int) -> Any:
    """The first `num_runs` of a tree with a leading axis of runs, on the host."""

    def take(x: jax.Array) -> np.ndarray:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        return np.asarray(jax.device_get(x))[:num_runs]

    return jax.tree.map(take, tree)
