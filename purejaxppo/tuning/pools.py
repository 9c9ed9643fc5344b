"""Pools: the runs that one program trains, fewer after each rung.

Settings of one static part share a program. Its size is rounded up to a power of two of
settings, so that a search compiles few of them; programs are kept from batch to batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from purejaxppo.config.labels import label
from purejaxppo.study import Study
from purejaxppo.study.execution.chunks import check_masks
from purejaxppo.study.execution.plans import GIB, device_limit, program_bytes
from purejaxppo.study.execution.segments import (
    Programs,
    Segment,
    compile_programs,
    run_segments,
    start_runs,
)
from purejaxppo.study.grids.grids import Setting
from purejaxppo.study.grids.groups import (
    Group,
    Variant,
    make_variants,
    split,
    static_key,
)

KEPT = "episode_return", "finite"
"""Metrics that settings are judged by."""

OnSegment = Callable[[int], None]
"""Called with the environment steps that were made, of all runs."""


class Workshop:
    """Makes pools, and the programs that they need, each once.

    Args:
      study: what is tuned, without a grid; its seeds are every setting's.
      fields: names of the fields that differ between settings.
    """

    def __init__(self, study: Study, fields: Sequence[str]) -> None:
        self.study, self.fields = study, fields
        _, self.env_params = study.make_env()
        self._compiled: dict[Any, Programs] = {}

    def variants(self, settings: Sequence[Setting]) -> list[Variant]:
        """Settings in full; raises as `make_variants` does."""
        return make_variants(self.study.config, self.env_params, settings)

    def pools(self, settings: Sequence[Setting]) -> list["Pool"]:
        """The runs of a batch of settings, none of which has begun."""
        variants, num_seeds = self.variants(settings), self.study.num_seeds
        groups = split(variants, settings, num_seeds, always=self.fields)
        return [Pool(self, group, settings) for group in groups]

    def programs(self, group: Group, num_settings: int) -> Programs:
        """Programs for at least so many settings of a group.

        Raises:
          ValueError: they do not fit the devices' memory.
        """
        size = 2 ** (num_settings - 1).bit_length()
        key = static_key(Variant(group.config, group.env_params)), size
        if key not in self._compiled:
            self._compiled[key] = compile_programs(
                self.study.algorithm(group),
                group.values,
                size * self.study.num_seeds,
                group.config.num_updates,
            )
            self._check_memory(self._compiled[key])
        return self._compiled[key]

    def _check_memory(self, programs: Programs) -> None:
        needed, limit = program_bytes(programs), device_limit()
        if needed > limit:
            raise ValueError(
                f"Expected {programs.size} runs at once to fit {limit / GIB:.3g} GiB "
                f"of each device, got {needed / GIB:.3g} GiB; a smaller batch, or "
                "fewer num_seeds, take less."
            )


class Pool:
    """Runs of some of a batch's settings, all after the same number of updates.

    Args:
      workshop: where its programs are from.
      group: the settings' runs, which begin with the seeds of the study.
      settings: of the whole batch.
    """

    def __init__(
        self, workshop: Workshop, group: Group, settings: Sequence[Setting]
    ) -> None:
        self.workshop, self.settings = workshop, settings
        self.num_seeds, self.update = workshop.study.num_seeds, 0
        self.group, self.state = group, None
        self.numbers: list[int] = (
            group.runs[:: self.num_seeds] // self.num_seeds
        ).tolist()
        self.columns: dict[str, np.ndarray] = {}
        self._rows: np.ndarray | None = None  # Those to be gathered before going on.

    @property
    def num_updates(self) -> int:
        """Of a run to its end."""
        return self.group.config.num_updates

    @property
    def num_runs(self) -> int:
        """Those that are trained, without the filling."""
        return len(self.numbers) * self.num_seeds

    @property
    def env_steps(self) -> np.ndarray:
        """`[update]` of a run so far."""
        return np.arange(1, self.update + 1) * self.group.config.batch_size

    def advance(self, stop: int, on_segment: OnSegment) -> None:
        """Train all runs until they have made `stop` updates.

        Raises:
          ValueError: the environment allowed no action, or memory does not suffice.
        """
        programs = self.workshop.programs(self.group, len(self.numbers))
        if self.state is None:
            seeds = np.tile(self.workshop.study.seeds, len(self.numbers))
            self.state = start_runs(programs, self.group.values, seeds)
        elif self._rows is not None:
            self.state = _gathered(self.state, self._rows, programs)
        self._rows = None
        until = programs._replace(num_updates=stop)
        columns = {name: [column] for name, column in self.columns.items()}
        run = run_segments(
            until, self.group.values, self.state, self.num_runs, self.update
        )
        for state, segment in run:
            self.state = state
            self._take(segment, columns)
            done = (segment.stop - segment.start) * self.num_runs
            on_segment(done * self.group.config.batch_size)
        self.update = stop
        self.columns = {k: np.concatenate(v, axis=1) for k, v in columns.items()}

    def _take(self, segment: Segment, columns: dict[str, list[np.ndarray]]) -> None:
        check_masks(segment.metrics, self._named, segment.start)
        for name in KEPT:
            columns.setdefault(name, []).append(segment.metrics[name])

    def _named(self, row: int) -> str:
        number, seed = divmod(row, self.num_seeds)
        of = label(self.settings[self.numbers[number]])
        return f"the run with seed {self.workshop.study.seeds[seed]} of {of}"

    def curves(self, number: int) -> np.ndarray:
        """Returns `[seeds, update]` of a setting, as `usable` has them."""
        rows = self._rows_of([number])
        return usable(*(self.columns[name][rows] for name in KEPT))

    def keep(self, numbers: Sequence[int]) -> None:
        """Go on with some of the settings only; the others' runs are let go of."""
        if not numbers:
            self.state, self.columns = None, {}
        elif len(numbers) < len(self.numbers):
            rows = self._rows_of(numbers)
            runs, values = self.group.runs[rows], self.group.values
            self.group = self.group._replace(
                runs=runs, values={name: x[rows] for name, x in values.items()}
            )
            self.columns = {k: v[rows] for k, v in self.columns.items()}
            self._rows = rows
        self.numbers = list(numbers)

    def _rows_of(self, numbers: Sequence[int]) -> np.ndarray:
        places = np.asarray([self.numbers.index(number) for number in numbers])
        return (places[:, None] * self.num_seeds + np.arange(self.num_seeds)).reshape(
            -1
        )


def _gathered(state: Any, rows: np.ndarray, programs: Programs) -> Any:
    """Some rows of a state where a smaller program wants them, copies behind."""
    rows = np.resize(rows, programs.size)
    return jax.tree.map(lambda x: jax.device_put(x[rows], programs.sharding), state)


def usable(returns: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Returns `[runs, update]`; none of a run whose parameters ended up not finite."""
    lost = ~np.asarray(finite, bool)[:, -1]
    return np.where(lost[:, None], np.nan, np.asarray(returns, np.float64))
