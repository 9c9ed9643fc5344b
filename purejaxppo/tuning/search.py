"""A search: batches of settings x seeds, halved at each rung; the best confirmed."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purejaxppo.algorithm.learning.objective import Loss
from purejaxppo.config.config import Config
from purejaxppo.config.fields import flatten, replace
from purejaxppo.networks.actor_critic import Network
from purejaxppo.study import Status, Study
from purejaxppo.study.grids.grids import Domain, Setting, check_size
from purejaxppo.study.storage import disk
from purejaxppo.tuning.confirmation import CONFIRM, confirm
from purejaxppo.tuning.halving import Worth, rung_stops, survivors
from purejaxppo.tuning.objectives import Goal, check_goal, make_goal
from purejaxppo.tuning.output_files import DATABASE, check_folder, write_tuned
from purejaxppo.tuning.ownership import claim
from purejaxppo.tuning.pools import Pool, Workshop
from purejaxppo.tuning.records import Progress, Trial, Tuned
from purejaxppo.tuning.search_space import (
    extremes,
    make_space,
    params_of,
    setting_of,
    told,
)
from purejaxppo.tuning.trials import Ledger, check_sampler, open_study, quiet

if TYPE_CHECKING:
    import optuna


@dataclasses.dataclass(frozen=True)
class Search:
    """A search for the settings of `config` that are best on `env`.

    All settings are trained with the seeds `seed`, ..., `seed + num_seeds - 1`; the
    confirmation takes the `confirm_seeds` ones behind them. The first setting that a
    new study tries is the config's own, where the space holds it.

    Attributes:
      config: what is tuned; its budget is that of a run to its end.
      env: as for `Study`.
      space: field -> `LogUniform`, `Uniform`, a list of values, or the text of a range;
        `search_space.USUAL` if None.
      objective: one of `objectives.FINAL` or `objectives.CELLS`.
      alpha: share of the runs in the tail of `cvar`.
      objective_target: of `optimality_gap`, for which it is needed.
      num_configs: settings that are tried, by all workers that share the storage.
      batch: settings that are trained at once.
      num_seeds: runs of each setting.
      seed: the first run's.
      num_rungs: how often a batch is judged; 1 prunes nothing.
      eta: at each rung but the last, one of so many settings goes on.
      sampler: tpe, random or cmaes, or a sampler of Optuna's.
      sample_seed: of what is drawn.
      storage: Optuna's URL, such as sqlite:///FILE; `tune.db` in the output if None,
        and without an output, memory.
      study_name: of the study in it; the environment's name if None.
      output: directory for what is found; nothing is written if None.
      confirm_seeds: of the confirmation; 0 for none.
      env_params: as for `Study`.
      network: likewise.
      loss: likewise.

    Raises:
      ValueError: a number is out of range, or as `make_space`, `make_goal`,
        `check_goal`, `rung_stops` and `check_sampler` say.
    """

    config: Config
    env: Any
    space: Mapping[str, Domain | str] | None = None
    objective: str = "cvar"
    alpha: float = 0.25
    objective_target: float | None = None
    num_configs: int = 64
    batch: int = 16
    num_seeds: int = 8
    seed: int = 0
    num_rungs: int = 4
    eta: int = 2
    sampler: Any = "tpe"
    sample_seed: int = 0
    storage: str | None = None
    study_name: str | None = None
    output: Path | str | None = None
    confirm_seeds: int = 64
    env_params: Any = None
    network: Network | None = None
    loss: Loss | None = None

    def __post_init__(self) -> None:
        least = {"num_configs": 1, "batch": 1, "num_rungs": 1, "eta": 2}
        least |= {"sample_seed": 0, "confirm_seeds": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(
                    f"Expected {name} to be an integer >= {low}, got {value!r}."
                )
        check_sampler(self.sampler)
        updates = {c.num_updates for c in extremes(self.config, self.domains)}
        for stops in (rung_stops(n, self.num_rungs, self.eta) for n in updates):
            check_goal(self.goal, self.num_seeds, stops)
        if self.confirm_seeds:
            check_goal(self.goal, self.confirm_seeds, updates)
        self._check_seeds()

    def _check_seeds(self) -> None:
        """Refuse seeds that there are not, before a search rather than behind it."""
        check_size(self.confirm_seeds)
        last = self.study.seed + self.num_seeds + self.confirm_seeds - 1
        if last >= 2**32:
            raise ValueError(
                f"Expected the seeds, those of the confirmation included, to be below "
                f"{2**32}, got {last}."
            )

    @cached_property
    def domains(self) -> dict[str, Domain]:
        """The space, checked."""
        return make_space(self.config, self.space)

    @cached_property
    def goal(self) -> Goal:
        """The objective, checked."""
        return make_goal(self.objective, self.alpha, self.objective_target)

    @cached_property
    def study(self) -> Study:
        """The runs of the config itself, with the seeds of the search."""
        return Study(
            self.config,
            self.env,
            self.num_seeds,
            self.seed,
            env_params=self.env_params,
            network=self.network,
            loss=self.loss,
        )

    def confirming(self, config: Config, name: str) -> Study:
        """The runs of a config with seeds that the search does not see."""
        return dataclasses.replace(
            self.study,
            config=config,
            num_seeds=self.confirm_seeds,
            seed=self.seed + self.num_seeds,
            output=None if self.output is None else Path(self.output) / CONFIRM / name,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What must be the same of all workers, as the storage has it."""
        return {
            "env": self.study.job.env,
            "objects": list(self.study.objects),
            "objective": self.objective,
            **({"alpha": self.alpha} if self.objective == "cvar" else {}),
            "objective_target": self.objective_target,
            "num_seeds": self.num_seeds,
            "seed": self.seed,
            "num_rungs": self.num_rungs,
            "eta": self.eta,
            **{f"space {name}": text for name, text in told(self.domains).items()},
            **{f"config {k}": _plain(v) for k, v in flatten(self.config).items()},
        }

    def open(self) -> "optuna.Study":
        """The study in the storage, begun where it is not there.

        Raises:
          ValueError: it cannot be opened, or is another search's; or the output is, or
            is not writable.
        """
        url, facts = self.storage, self.facts
        name = self.study_name or self.study.job.env
        if self.output is not None:
            folder = Path(self.output)
            check_folder(folder)
            disk.make_folder(folder)
            claim(folder, name, facts)
            url = url or f"sqlite:///{folder / DATABASE}"
        return open_study(url, name, self.goal.higher_is_better, facts)

    def run(
        self,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_status: Callable[[Status], None] = lambda status: None,
    ) -> Tuned:
        """Try settings until all workers together have tried `num_configs`.

        Run again, it goes on with what the storage holds. The confirmation is made by
        whoever finds that nobody is at work any more.

        Args:
          on_progress: called before compiling, and after each segment.
          on_status: of the confirmation, see `Study.run`.

        Raises:
          ValueError: the environment is unknown; or the storage cannot be used, or
            memory does not suffice; or no setting was trained to its end.
        """
        self.study.make_env()  # Before anything is written.
        with quiet():
            ledger = Ledger(self.open(), self.domains, self.sampler, self.sample_seed)
            work = _Work(self, ledger, on_progress)
            work.run()
            # Known before anything is written, which takes its time: of two workers
            # that end shortly after each other one confirms.
            is_last = not ledger.trials("RUNNING")
            tuned = self._written(self._tuned(ledger, work.env_steps))
            if self.confirm_seeds and is_last:
                default = self.confirming(self.config, "default")
                best = self.confirming(tuned.config, f"trial-{tuned.best.number}")
                found = confirm(default, best, self.goal, on_status)
                tuned = self._written(tuned._replace(confirmation=found))
        return tuned

    def _written(self, tuned: Tuned) -> Tuned:
        """What was found, in the output as well if there is one."""
        if self.output is not None:
            write_tuned(Path(self.output), tuned, self._best_job(tuned))
        return tuned

    def _tuned(self, ledger: Ledger, env_steps: int) -> Tuned:
        trials = ranked(ledger, self.goal)
        if not trials or trials[0].state != "complete":
            going = len(ledger.trials("RUNNING"))
            others = f", {going} of which other workers are at; run it again then"
            raise ValueError(
                "Expected a setting that was trained to its end, got none of "
                f"{len(trials)}{others if going else ''}."
            )
        return Tuned(
            env=self.study.job.env,
            goal=self.goal,
            trials=tuple(trials),
            config=replace(self.config, trials[0].setting),
            space=told(self.domains),
            num_seeds=self.num_seeds,
            env_steps=env_steps,
            confirmation=None,
        )

    def _best_job(self, tuned: Tuned) -> Any:
        """The best config with the seeds of the confirmation, or with the search's."""
        study = self.confirming(tuned.config, "") if self.confirm_seeds else self.study
        return study.job._replace(config=tuned.config)


def tune(
    config: Config,
    env: Any,
    space: Mapping[str, Domain | str] | None = None,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_status: Callable[[Status], None] = lambda status: None,
    **options: Any,
) -> Tuned:
    """Search for the best settings of `config` on `env`; prints nothing.

    Args:
      config: as for `Search`.
      env: likewise.
      space: likewise.
      on_progress: see `Search.run`.
      on_status: likewise.
      options: the other fields of `Search`: objective, alpha, num_configs, ...

    Raises:
      ValueError: as `Search` and `Search.run` do.
    """
    return Search(config, env, space, **options).run(on_progress, on_status)


class _Work:
    """One worker's batches."""

    def __init__(
        self, search: Search, ledger: Ledger, on_progress: Callable[[Progress], None]
    ) -> None:
        self.search, self.ledger, self.on_progress = search, ledger, on_progress
        self.workshop = Workshop(search.study, list(search.domains))
        self.env_steps, self.began = 0, time.perf_counter()
        self.rung, self.going, self.tried, self.best = 1, 0, 0, np.nan

    def run(self) -> None:
        """Batches until there are as many trials as asked for."""
        search, ledger = self.search, self.ledger
        ledger.begin(params_of(search.domains, search.config))
        while missing := max(0, search.num_configs - self._count()):
            try:
                self._train(ledger.ask(min(missing, search.batch)))
            except BaseException:
                ledger.fail()
                raise
            ledger.bury()

    def _count(self) -> int:
        """Trials of all workers that are done with or under way."""
        done = self.ledger.trials("COMPLETE", "PRUNED")
        first = ranked(self.ledger, self.search.goal)[:1]
        complete = [trial.value for trial in first if trial.state == "complete"]
        self.tried, self.best = len(done), next(iter(complete), np.nan)
        return len(done) + len(self.ledger.trials("RUNNING"))

    def _train(self, asked: Mapping[int, Setting]) -> None:
        """A batch, from rung to rung."""
        numbers, search = list(asked), self.search
        pools = self.workshop.pools(list(asked.values()))
        last = search.num_rungs - 1
        for rung in range(search.num_rungs):
            self.rung = rung + 1
            self.going = sum(len(pool.numbers) for pool in pools)
            self._advance(pools, rung)
            worth = self._judge(pools, rung, numbers)
            kept = [] if rung == last else survivors(worth, search.eta)
            for i in worth:
                if rung == last:
                    self.ledger.close(numbers[i], self._value(worth[i]))
                elif i not in kept:
                    self.ledger.close(numbers[i])
            for pool in pools:
                pool.keep([i for i in kept if i in pool.numbers])
            pools = [pool for pool in pools if pool.numbers]

    def _advance(self, pools: Sequence[Pool], rung: int) -> None:
        self._tell(0)
        for pool in pools:
            search = self.search
            stops = rung_stops(pool.num_updates, search.num_rungs, search.eta)
            pool.advance(stops[rung], self._tell)

    def _judge(
        self, pools: Sequence[Pool], rung: int, numbers: Sequence[int]
    ) -> dict[int, Worth]:
        """Report each setting's value, and return what it is worth."""
        worth = {}
        for pool in pools:
            for i in pool.numbers:
                curves = pool.curves(i)
                value = self.search.goal.value(pool.env_steps, curves)
                seen = curves[~np.isnan(curves)]
                ease = float(seen.mean()) if seen.size else -np.inf
                worth[i] = self._signed(value), ease
                facts = {"updates": pool.update, "mean_return": ease}
                facts["env_steps"] = int(pool.env_steps[-1]) * pool.num_seeds
                self.ledger.report(numbers[i], rung + 1, value, **facts)
        return dict(sorted(worth.items()))

    def _signed(self, value: float) -> float:
        return value if self.search.goal.higher_is_better else -value

    def _value(self, worth: Worth) -> float:
        return self._signed(worth[0])

    def _tell(self, env_steps: int) -> None:
        self.env_steps += env_steps
        self.ledger.beat()
        self.on_progress(
            Progress(
                tried=self.tried,
                num_configs=self.search.num_configs,
                rung=self.rung,
                num_rungs=self.search.num_rungs,
                going=self.going,
                env_steps=self.env_steps,
                seconds=time.perf_counter() - self.began,
                best=self.best,
            )
        )


def ranked(ledger: Ledger, goal: Goal) -> list[Trial]:
    """All trials, the best first: complete ones, pruned ones by how far they came.

    Ties are broken by the mean return over the training, then by number.
    """
    sign = 1 if goal.higher_is_better else -1
    found = [_trial(frozen, ledger) for frozen in ledger.trials()]

    def key(trial: Trial) -> tuple[Any, ...]:
        order = ("complete", "pruned").index(trial.state) if trial.rungs else 2
        value = sign * trial.value if trial.rungs else 0.0
        return order, -len(trial.rungs), -value, -trial.mean_return, trial.number

    of_trials = [t for t in found if t.state in ("complete", "pruned")]
    rest = [t for t in found if t.state not in ("complete", "pruned", "waiting")]
    return sorted(of_trials, key=key) + rest


def _trial(frozen: "optuna.trial.FrozenTrial", ledger: Ledger) -> Trial:
    rungs = tuple(value for _, value in sorted(frozen.intermediate_values.items()))
    space, params = ledger.space, frozen.params
    facts = frozen.user_attrs
    return Trial(
        number=frozen.number,
        state=frozen.state.name.lower(),
        setting=setting_of(space, params) if params.keys() == space.keys() else {},
        value=rungs[-1] if rungs else np.nan,
        mean_return=facts.get("mean_return", np.nan),
        updates=facts.get("updates", 0),
        env_steps=facts.get("env_steps", 0),
        rungs=rungs,
    )


def _plain(value: Any) -> Any:
    """A value as JSON gives it back; numbers of NumPy are Python's."""
    value = getattr(value, "tolist", lambda: value)()
    return list(value) if isinstance(value, tuple) else value
