"""A study: one configuration trained with many seeds, and what it leaves behind."""

import dataclasses
import importlib
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from purejaxppo.config import Config
from purejaxppo.environments import Environment
from purejaxppo.networks import Network
from purejaxppo.objectives import Loss
from purejaxppo.spaces import MASK, parts
from purejaxppo.study import store
from purejaxppo.study.segments import (
    Programs,
    compile_programs,
    first_runs,
    run_segments,
    start_runs,
)
from purejaxppo.study.sharding import padded, run_mesh
from purejaxppo.suites import adapt, make
from purejaxppo.training import PPO, TrainState, make_ppo

if TYPE_CHECKING:
    import xarray


class Status(NamedTuple):
    """How far a study is: before compiling (0 seconds), then after each segment.

    `episode_return` is the mean over the runs' latest returns, NaN before the first;
    `seconds` and `steps_per_second` (over all runs) count training alone.
    """

    num_runs: int
    update: int
    num_updates: int
    seconds: float = 0.0
    steps_per_second: float = 0.0
    episode_return: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Study:
    """`num_seeds` runs of `config` on `env`, run i with `jax.random.key(seed + i)`.

    Attributes:
      config: hyperparameters, all concrete.
      env: an id such as `"CartPole-v1"`, or an environment.
      num_seeds: number of runs.
      seed: the first run's seed.
      output: directory to leave the study in; nothing is written if None.
      env_params: the environment's parameters; its defaults if None.
      network: in place of the default one; see `make_ppo`.
      loss: in place of PPO's; see `make_ppo`.

    Raises:
      ValueError: a field is out of range, or the environment is unknown.
    """

    config: Config
    env: Any
    num_seeds: int
    seed: int = 0
    output: Path | str | None = None
    env_params: Any = None
    network: Network | None = None
    loss: Loss | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("num_seeds", 1, 2**20), ("seed", 0, 2**32 - 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"Expected {name} to be int, got {value!r}.")
            if not low <= value <= high:
                raise ValueError(
                    f"Expected {name} to be in [{low}, {high}], got {value}."
                )

    @property
    def seeds(self) -> np.ndarray:
        """Seed of each run."""
        return self.seed + np.arange(self.num_seeds, dtype=np.int64)

    @property
    def job(self) -> store.Job:
        """What is trained, as `config.toml` has it."""
        # Without an address, which would keep the same study from being resumed.
        own = re.sub(r" at 0x[0-9a-f]+", "", repr(self.env))
        env = self.env if isinstance(self.env, str) else own
        return store.Job(env, self.num_seeds, self.seed, self.config)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the fields that hold Python objects, which `config.toml` cannot."""
        own_env = () if isinstance(self.env, str) else ("env",)
        rest = "env_params", "network", "loss"
        return *own_env, *(name for name in rest if getattr(self, name) is not None)

    def make_ppo(self) -> PPO:
        """The algorithm that the study runs."""
        env, env_params = self.make_env()
        return make_ppo(
            self.config, env, env_params, network=self.network, loss=self.loss
        )

    def make_env(self) -> tuple[Environment, Any]:
        """The environment that the study trains on, and its parameters."""
        env = make(self.env)[0] if isinstance(self.env, str) else adapt(self.env)
        given = self.env_params
        return env, env.default_params if given is None else given

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

    def run(
        self,
        *,
        overwrite: bool = False,
        resume: bool = False,
        on_status: Callable[[Status], None] = lambda status: None,
    ) -> "xarray.Dataset":
        """Train all runs and leave the study in `output`.

        On Ctrl-C the segment under way is finished, everything is written, and a later
        call with `resume=True` goes on bit for bit where this one stopped.

        Args:
          overwrite: delete the study that `output` holds.
          resume: go on with the study that `output` holds.
          on_status: called before compiling, and after each segment.

        Returns:
          Metrics with dimensions (run, update) and coordinates `seed` and `env_steps`;
          fewer updates than planned if it was stopped.

        Raises:
          ValueError: `output` holds a study and neither was asked for, or not this
            one; or it cannot be written; or an action mask allowed no action (what was
            trained until then is written).
        """
        output = None if self.output is None else Path(self.output)
        ppo = self.make_ppo()
        if output is not None:
            _claim(output, self, overwrite, resume)
            if store.read_environment(output)["status"] == "complete":
                return store.read_results(output)
        on_status(Status(self.num_seeds, 0, self.config.num_updates))
        threading.Thread(target=_load_libraries, daemon=True).start()
        programs = compile_programs(ppo, self.num_seeds, self.config.num_updates)
        progress = _Progress(self, ppo, programs, output if resume else None)
        try:
            progress.advance(on_status)
        finally:
            if output is not None and progress.columns:
                progress.write(output)
        return progress.dataset()


class _Progress:
    """A study under way: the states of its runs and the metrics so far."""

    def __init__(
        self, study: Study, ppo: PPO, programs: Programs, resume_from: Path | None
    ) -> None:
        self.study, self.programs = study, programs
        self.began = time.perf_counter()
        self.columns: dict[str, list[np.ndarray]] = {}
        self.update = 0
        self.state = start_runs(programs, study.seeds)
        if resume_from is not None and store.read_environment(resume_from)["updates"]:
            self._restore(resume_from)

    def _restore(self, directory: Path) -> None:
        dataset = store.read_results(directory)
        self.update = dataset.sizes["update"]
        self.columns = {str(k): [v.values] for k, v in dataset.data_vars.items()}
        self._check_masks()
        like = first_runs(self.state, self.study.num_seeds)
        saved = store.read_tree(directory, store.STATE, like)
        if (saved.update != self.update).any():
            raise ValueError(
                f"Expected the state in {directory} to be of update {self.update}, as "
                f"the results are, got {saved.update[0]}."
            )
        self.state = _refill(saved, self.state, self.study.num_seeds)

    def advance(self, on_status: Callable[[Status], None]) -> None:
        """Run segments until the end or Ctrl-C."""
        study, first = self.study, self.update
        total = study.config.num_updates
        run = run_segments(self.programs, self.state, study.num_seeds, first, total)
        with _ctrl_c() as stop_asked:
            for state, segment in run:
                self.state, self.update = state, segment.stop
                for name, column in segment.metrics.items():
                    self.columns.setdefault(name, []).append(column)
                self._check_masks()
                on_status(self._status(first))
                if stop_asked.is_set():
                    return

    def _check_masks(self) -> None:
        """Refuse to go on with an environment that at some step allowed no action."""
        if "num_fully_masked" not in self.columns:
            return
        masked = np.concatenate(self.columns["num_fully_masked"], axis=1)
        if masked.any():
            run, update = np.argwhere(masked)[0]
            raise ValueError(
                f"Expected observation.{MASK} to allow an action at each step, got "
                f"none at {masked[run, update]} steps of update {update} of the run "
                f"with seed {self.study.seeds[run]}."
            )

    def _status(self, first: int) -> Status:
        config, num_seeds = self.study.config, self.study.num_seeds
        steps = (self.update - first) * config.batch_size * num_seeds
        latest = self.columns["episode_return"][-1]
        seen = latest[np.isfinite(latest)]
        seconds = time.perf_counter() - self.began
        return Status(
            num_runs=num_seeds,
            update=self.update,
            num_updates=config.num_updates,
            seconds=seconds,
            steps_per_second=steps / seconds,
            episode_return=float(seen.mean()) if seen.size else float("nan"),
        )

    def dataset(self) -> "xarray.Dataset":
        """The metrics so far."""
        metrics = {k: np.concatenate(v, axis=1) for k, v in self.columns.items()}
        study = self.study
        return store.make_dataset(
            metrics, study.seeds, study.config.batch_size, study.attributes
        )

    def write(self, output: Path) -> None:
        """Leave the study in `output`, without an evaluation of earlier policies."""
        num_seeds, total = self.study.num_seeds, self.study.config.num_updates
        seconds = time.perf_counter() - self.began
        # A segment failed after it had taken the state's memory.
        lost = any(x.is_deleted() for x in jax.tree.leaves(self.state))
        if lost and (output / store.STATE).exists():
            return  # What was there fits together, and can be resumed once more.
        store.write_results(output, self.dataset())
        masked = self.columns.get("num_fully_masked", [np.zeros(1)])
        complete = self.update == total and not any(x.any() for x in masked)
        _write_facts(output, self.study, self.update, seconds, complete)
        if lost:
            return
        store.remove(output / store.EVALUATION)
        policy = {
            "params": self.state.params,
            "obs_statistics": self.state.obs_statistics,
            "critic_scale": self.state.critic_scale,
        }
        store.write_tree(output, store.PARAMETERS, first_runs(policy, num_seeds))
        store.remove(output / store.STATE)
        if self.update < total:
            state = first_runs(self.state, num_seeds)
            store.write_tree(output, store.STATE, state)


def _claim(output: Path, study: Study, overwrite: bool, resume: bool) -> None:
    """Make `output` ours before anything is compiled; raises as `Study.run` says."""
    job = study.job
    if store.holds_study(output):
        if overwrite:
            store.clear(output)
        elif not resume:
            raise ValueError(
                f"Expected output to hold no study, but {output} does; "
                "pass --overwrite to replace it or --resume to go on with it."
            )
        elif store.read_job(output / store.CONFIG) != job:
            raise ValueError(
                f"Expected --resume to go on with the study in {output}, but its "
                f"{store.CONFIG} differs: {_difference(output, job)}."
            )
        elif (theirs := _objects(output, study)) != study.objects:
            raise ValueError(
                f"Expected --resume to go on with the study in {output}, but as "
                f"Python objects it was given {_listed(theirs)}, and this one "
                f"{_listed(study.objects)}."
            )
        else:
            return
    elif resume:
        raise ValueError(f"Expected a study to resume in {output}, found none.")
    try:
        store.write_job(output, job)
        _write_facts(output, study, 0, 0.0, complete=False)
    except OSError as error:
        raise ValueError(
            f"Expected output {output} to be writable: {error.strerror}."
        ) from None


def _difference(output: Path, job: store.Job) -> str:
    """The first field in which the study in `output` differs from `job`."""
    theirs = store.read_job(output / store.CONFIG)

    def flat(job: store.Job) -> dict[str, Any]:
        return {**job._asdict(), **store.flatten(job.config), "config": None}

    ours, others = flat(job), flat(theirs)
    name = next(k for k in ours | others if ours.get(k) != others.get(k))
    return f"{name} is {others.get(name)!r} there and {ours.get(name)!r} here"


def _objects(output: Path, study: Study) -> tuple[str, ...]:
    """What the study in `output` was given as objects, as far as it says."""
    return tuple(store.read_environment(output).get("objects", study.objects))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def _write_facts(
    output: Path, study: Study, updates: int, seconds: float, complete: bool
) -> None:
    facts = {
        "status": "complete" if complete else "incomplete",
        "updates": updates,
        "num_updates": study.config.num_updates,
        "training_seconds": round(seconds, 3),
        "objects": study.objects,
    }
    store.write_environment(output, facts)


def _refill(saved: Any, fresh: TrainState, num_runs: int) -> TrainState:
    """The saved states of the runs in the place of fresh ones, padding included."""
    size = padded(num_runs, run_mesh(num_runs))
    rows = np.resize(np.arange(num_runs), size)

    def fill(new: jax.Array, old: np.ndarray) -> jax.Array:
        array = jax.device_put(np.asarray(old)[rows], new.sharding)
        if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(new))
        return array

    return jax.tree.map(fill, fresh, saved)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """An event set by the first Ctrl-C; the second one interrupts as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _load_libraries() -> None:
    """Import what writing needs while the compiler and the training run."""
    for name in ("xarray", "zarr", "orbax.checkpoint", "matplotlib.figure"):
        importlib.import_module(name)
