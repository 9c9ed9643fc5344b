"""A study: settings and seeds that are trained together, and what they leave behind."""

import contextlib
import dataclasses
import importlib
import math
import re
import threading
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from gymnasium.spaces import Box

from purejaxppo.algorithm.algorithm import PPO, make_ppo
from purejaxppo.algorithm.learning.objective import Loss
from purejaxppo.config.config import Config
from purejaxppo.config.fields import UnknownField, flatten
from purejaxppo.config.labels import printable
from purejaxppo.environments.protocol import Environment
from purejaxppo.environments.spaces import parts
from purejaxppo.environments.suites import adapt, make
from purejaxppo.networks.actor_critic import Network
from purejaxppo.study.devices import processes
from purejaxppo.study.directory import Task, as_begun, check_claim
from purejaxppo.study.execution.plans import Chunk, Plan
from purejaxppo.study.execution.programs import Programmer, make_plan
from purejaxppo.study.execution.resources import DEFAULT, Means
from purejaxppo.study.execution.segments import Algorithm
from purejaxppo.study.grids.grids import Grid, Setting, check_size, settings_of
from purejaxppo.study.grids.groups import (
    Group,
    Variant,
    algorithm_of,
    check_distinct,
    in_full,
    knowing,
    make_configs,
    split,
)
from purejaxppo.study.loggers import fan_out
from purejaxppo.study.runner import Status, Work
from purejaxppo.study.storage import files
from purejaxppo.study.storage.locking import Lock, locked
from purejaxppo.study.storage.reproducibility import code

if TYPE_CHECKING:
    import xarray


@dataclasses.dataclass(frozen=True)
class Study:
    """`num_seeds` runs of each setting of `config` on `env`.

    Run `i * num_seeds + j` has the grid's setting i and `jax.random.key(seed + j)`.

    Attributes:
      config: hyperparameters, all concrete.
      env: an id such as `"CartPole-v1"`, or an environment.
      num_seeds: number of runs of each setting.
      seed: the first run's seed.
      output: directory to leave the study in; nothing is written if None.
      env_params: the environment's parameters; its defaults if None.
      network: in place of the default one; see `make_ppo`.
      loss: in place of PPO's; see `make_ppo`.
      grid: field -> its values, all combinations of which are trained; or a list of
        settings `{field: value}`. A field is a config's dotted name, or `env.` and a
        parameter of the environment. None for `config` alone.

    Raises:
      ValueError: a field is out of range or unknown, or two settings are the same; not
        yet for the environment and its own fields: it is made when it is needed.
    """

    config: Config
    env: Any
    num_seeds: int
    seed: int = 0
    output: Path | str | None = None
    env_params: Any = None
    network: Network | None = None
    loss: Loss | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.config, Config):
            raise ValueError(f"Expected config to be a Config, got {self.config!r}.")
        for name, low, high in (("num_seeds", 1, 2**20), ("seed", 0, 2**32 - 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"Expected {name} to be int, got {value!r}.")
            if not low <= value <= high:
                raise ValueError(
                    f"Expected {name} to be in [{low}, {high}], got {value}."
                )
        check_size(len(self.settings) * self.num_seeds)
        check_distinct(self.settings)
        try:
            _ = self.configs
        except UnknownField as error:
            raise knowing(error, self.make_env()[1]) from None

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """What the grid gives to each setting's runs; one without changes if None."""
        return settings_of(self.grid)

    @property
    def num_runs(self) -> int:
        """Runs of all settings together."""
        return len(self.settings) * self.num_seeds

    @property
    def seeds(self) -> np.ndarray:
        """Seed of each run."""
        seeds = self.seed + np.arange(self.num_seeds, dtype=np.int64)
        return np.tile(seeds, len(self.settings))

    @property
    def job(self) -> files.Job:
        """What is trained, as `config.toml` has it."""
        # Without an address, which would keep the same study from being resumed.
        own = printable(re.sub(r" at 0x[0-9a-f]+", "", repr(self.env)))
        env = self.env if isinstance(self.env, str) else own
        settings = () if self.grid is None else self.settings
        return files.Job(
            env, self.num_seeds, self.seed, self.config, files.plain(settings)
        )

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the fields that hold Python objects, which `config.toml` cannot."""
        own_env = () if isinstance(self.env, str) else ("env",)
        rest = "env_params", "network", "loss"
        return *own_env, *(name for name in rest if getattr(self, name) is not None)

    def make_ppo(self) -> PPO:
        """The algorithm that the study runs, without its grid."""
        env, env_params = self.make_env()
        return self._ppo(env, self.config, env_params)

    def _ppo(
        self,
        env: Environment,
        config: Config,
        env_params: Any,
        axis_name: str | None = None,
    ) -> PPO:
        return make_ppo(
            config,
            env,
            env_params,
            network=self.network,
            loss=self.loss,
            axis_name=axis_name,
        )

    def make_env(self) -> tuple[Environment, Any]:
        """The environment that the study trains on, and its parameters."""
        env = make(self.env)[0] if isinstance(self.env, str) else adapt(self.env)
        given = self.env_params
        return env, env.default_params if given is None else given

    @cached_property
    def configs(self) -> list[Config]:
        """Each setting's config."""
        return make_configs(self.config, self.settings)

    @cached_property
    def variants(self) -> list[Variant]:
        """Each setting in full; raises as `in_full` does."""
        return in_full(self.configs, self.make_env()[1], self.settings)

    @cached_property
    def groups(self) -> list[Group]:
        """The runs that one program each trains."""
        variants, settings, num_seeds = self.variants, self.settings, self.num_seeds
        groups = split(variants, settings, num_seeds)
        if all(self._traces(group) for group in groups):
            return groups
        return split(variants, settings, num_seeds, env_static=True)

    def algorithm(self, group: Group, axis_name: str | None = None) -> Algorithm:
        """The algorithm of a group's runs, see `groups.algorithm_of`.

        Args:
          group: one of `groups`.
          axis_name: a mesh axis that each run is spread over, see `make_ppo`.
        """
        env, _ = self.make_env()

        def make(config: Config, env_params: Any) -> PPO:
            return self._ppo(env, config, env_params, axis_name)

        return algorithm_of(group, make)

    def _traces(self, group: Group) -> bool:
        """Whether the environment bears to be told its parameters when it runs."""
        if not any(name.startswith("env.") for name in group.values):
            return True
        one = {
            name: jax.eval_shape(lambda x=x: x[0]) for name, x in group.values.items()
        }
        return _is_traceable(self.algorithm(group), one)

    def of_setting(self, number: int) -> "Study":
        """The study of one setting alone, without a grid.

        Raises:
          ValueError: there is no such setting.
        """
        if not 0 <= number < len(self.settings):
            raise ValueError(
                f"Expected setting to be in [0, {len(self.settings)}), got {number}."
            )
        if self.grid is None:
            return self
        config, env_params = self.variants[number]
        return dataclasses.replace(
            self, config=config, env_params=env_params, grid=None
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """What the results say of the environment: its name, and its actions' kind.

        `action_dims` counts the dimensions of all Boxes of actions.
        """
        env, env_params = self.make_env()
        space = env.action_space(env_params)
        boxes = [part for _, part in parts(space) if isinstance(part, Box)]
        dims = sum(math.prod(box.shape) for box in boxes)
        return {"env": self.job.env, "action_dims": dims}

    def plan(self, means: Means = DEFAULT) -> Plan:
        """What would be trained together, with the memory and time that it takes.

        All programs are compiled, and each makes a few updates.

        Raises:
          ValueError: a run does not fit a device's memory; or not all processes are
            given the same study.
        """
        processes.check_alike(lambda: self._facts("plan", means))
        programmer = Programmer(self.groups, self.algorithm, means.devices_per_run)
        return make_plan(programmer, means, self.seeds)

    def run(
        self,
        *,
        overwrite: bool = False,
        resume: bool = False,
        allow_changes: bool = False,
        means: Means = DEFAULT,
        on_plan: Callable[[Plan], None] | None = None,
        on_status: Callable[[Status], None] = lambda status: None,
        loggers: Any = (),
    ) -> "xarray.Dataset":
        """Train all runs and leave the study in `output`.

        On Ctrl-C or SIGTERM the segment under way is finished, everything is written,
        and a later call with `resume=True` goes on bit for bit where this one stopped;
        after a crash it goes on from the last checkpoint, and ends with the same bits.

        Args:
          overwrite: delete the study that `output` holds.
          resume: go on with the study that `output` holds; not both.
          allow_changes: go on also with other versions, code, devices or smaller chunks
            than it began with, at the price of other bits.
          means: memory, checkpoints and the like, on which no result depends but for
            rounding; a study that goes on keeps its devices for a run, and its chunks
            unless changes are allowed and `chunk_size` is less.
          on_plan: called with the plan before the training begins, but not where a
            study goes on; times are predicted only where it is given.
          on_status: called before compiling, and after each segment.
          loggers: a function of `loggers.Logged` or an object, see
            `loggers.as_logger`; or several of them.

        Returns:
          Metrics with dimensions (run, update), see `results.merge`; fewer updates than
          planned if it was stopped.

        Raises:
          ValueError: `output` holds a study and neither was asked for, or not this
            one, or damaged files; or it cannot be written, or another process trains in
            it; or an action mask allowed no action (what was trained until then is
            written); or not all processes are given the same, or see the same `output`.
        """
        options = overwrite, resume, allow_changes, on_plan is None
        processes.check_alike(lambda: self._facts("training", means, *options))
        task, logger = self._task(), fan_out(loggers if processes.is_first() else ())
        if task.output is None:
            return Work(task, means, [], logger).run(on_plan, on_status)
        output = task.output
        lock: Lock | None = None
        with contextlib.ExitStack() as stack:

            def check() -> None:
                nonlocal lock
                claim = partial(check_claim, task, output, overwrite, resume)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Of what is to be said below.
                    claim(allow_changes)  # What is refused stays as it is.
                    if resume:
                        as_begun(output, task, means, allow_changes)
                lock = stack.enter_context(locked(output))
                claim(allow_changes)

            processes.first_does(check, "take the directory")
            check_shared(output)
            is_new = overwrite or not files.holds_study(output)
            processes.wait("what is there")  # Before the first process changes it.
            if not is_new and files.read_environment(output)["status"] == "complete":
                # Killed before they were removed.
                rests = output / files.CHUNKS
                processes.first_does(lambda: files.remove(rests), "tidy up")
                return files.read_results(output)
            threading.Thread(target=_load_libraries, daemon=True).start()
            chunks: list[Chunk] = []
            if not is_new:
                chunks, means = as_begun(output, task, means, allow_changes)
            work = Work(task, means, chunks, logger, is_new, lock)
            return work.run(on_plan, on_status)

    def _facts(self, use: str, means: Means, *options: bool) -> dict[str, Any]:
        """What must be the same in all processes, by name: always the same names."""
        job = self.job
        return {
            "command": use,
            **job._replace(config=flatten(job.config))._asdict(),
            "Python objects": self.objects,
            "output": self.output is None,
            **dataclasses.asdict(means),
            "options": options,
            "code and versions": code(job.env),
        }

    def _task(self) -> Task:
        return Task(
            job=self.job,
            objects=self.objects,
            groups=self.groups,
            algorithm=self.algorithm,
            seeds=self.seeds,
            settings=self.settings,
            attributes=self.attributes,
            output=None if self.output is None else Path(self.output),
        )


def check_shared(output: Path) -> None:
    """Refuse a directory that only the first process has, and now holds.

    Raises:
      ValueError: in all processes.
    """
    if processes.any_of(not (output / files.LOCK).exists()):
        raise ValueError(
            f"Expected output {output} to be one directory that all processes share, "
            "got one that some do not see."
        )


def _is_traceable(algorithm: Algorithm, values: Any) -> bool:
    def one_update(values: Any, key: jax.Array) -> Any:
        ppo = algorithm(values)
        return ppo.step(ppo.init(key))

    try:
        jax.eval_shape(one_update, values, jax.random.key(0))
    except Exception:  # Of many kinds; a true fault shows again when it is compiled.
        return False
    return True


def _load_libraries() -> None:
    """Import what writing needs while the compiler and the training run."""
    for name in ("xarray", "zarr", "orbax.checkpoint", "matplotlib.figure"):
        importlib.import_module(name)
