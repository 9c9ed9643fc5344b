"""Optuna's side of a search: its studies, which several workers may share."""

import importlib.util
import os
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from purejaxppo.config.fields import nearest
from purejaxppo.study.grids.grids import Setting
from purejaxppo.tuning.ownership import check_same
from purejaxppo.tuning.search_space import Space, suggest

if TYPE_CHECKING:
    import optuna

FACTS, WORKER, AGAIN = "tuning", "worker", "again"
"""Attributes: of a study, what is tuned; of a trial, whose it is, and the numbers under
which its setting failed before."""

MOST_FAILURES = 3
"""Of a setting: it may be what kills the workers."""

BEAT_SECONDS, SILENT_SECONDS = 30.0, 600.0
"""How often a worker says that it is there, and after which silence it is not."""

BUSY = "already exists", "locked", "UNIQUE constraint failed"
"""What SQLite says to workers that make the tables at the same moment."""

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler"}
"""Name of a sampler -> Optuna's class."""

OPTIONS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {"tpe": {"constant_liar": True}, "cmaes": {"consider_pruned_trials": True}}
)
"""Of samplers. Most of a batch is pruned: CMA-ES, left to itself, looks away then."""


def check_sampler(name: Any) -> None:
    """Refuse a sampler that there is not, or whose package is missing.

    Raises:
      ValueError: as above; or Optuna itself is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ValueError(
            "Expected the package optuna to be installed, found none; "
            'pip install "purejaxppo[tune]" brings it.'
        )
    if isinstance(name, str) and name not in SAMPLERS:
        raise ValueError(f"Unknown sampler {name!r}; {nearest(name, SAMPLERS)}.")
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise ValueError(
            "Expected the package cmaes to be installed for the sampler cmaes, found "
            "none; pip install cmaes brings it."
        )


def open_study(
    storage: str | None, name: str, higher_is_better: bool, facts: Mapping[str, Any]
) -> "optuna.Study":
    """The study called `name`, made where it is not there yet.

    Args:
      storage: an URL of Optuna's, such as sqlite:///FILE; in memory if None.
      name: of the study.
      higher_is_better: direction of the objective.
      facts: what is tuned; must be what the study was begun with.

    Raises:
      ValueError: the storage cannot be opened, or the study is another search's.
    """
    import optuna

    try:
        study = optuna.create_study(
            storage=_storage(storage),
            study_name=name,
            direction="maximize" if higher_is_better else "minimize",
            load_if_exists=True,
        )
        there = study.user_attrs.get(FACTS)
        if there is None:
            study.set_user_attr(FACTS, dict(facts))
    except Exception as error:  # Each database has errors of its own.
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"Expected storage to be one that Optuna can open, such as "
            f"sqlite:///FILE, got {storage!r}: {first}."
        ) from None
    check_same(name, facts if there is None else there, facts)
    return study


def _storage(url: str | None) -> Any:
    """Optuna's storage; SQLite waits for other workers, also to make the tables."""
    import optuna

    if url is None or not url.startswith("sqlite"):
        return url
    patient = {"connect_args": {"timeout": 60}}
    for seconds in (0.2, 1.0, 5.0):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=patient)
        except Exception as error:  # Another worker is at it, or it is no database.
            if not any(text in str(error) for text in BUSY):
                raise
            time.sleep(seconds)
    return optuna.storages.RDBStorage(url, engine_kwargs=patient)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's messages: they would stand between ours."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


class Ledger:
    """The trials of one worker in a study.

    A trial's worker is named after its host and process, and says every now and then
    that it is there: what a dead one left under way is told as failed. A setting that
    failed is tried again under another number; else a search that is killed often would
    keep what it pruned, and lose what it did not.

    Args:
      study: from `open_study`.
      space: what settings are drawn from.
      sampler: one of `SAMPLERS`, or a sampler of Optuna's.
      seed: of the draws. Each trial's are by its number, so that workers differ.
    """

    def __init__(
        self, study: "optuna.Study", space: Space, sampler: Any, seed: int
    ) -> None:
        self.study, self.space = study, space
        self.sampler, self.seed = sampler, seed
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.open: dict[int, optuna.Trial] = {}
        self._beaten = -np.inf

    def begin(self, params: Mapping[str, Any] | None) -> None:
        """Fail what dead workers left; try `params` first where nothing was drawn."""
        self.beat()
        self.bury()
        known = [t for t in self.trials() if t.params or t.state.name == "WAITING"]
        if params is not None and not known:
            self.study.enqueue_trial(dict(params))

    def beat(self) -> None:
        """Say that this worker is there, where the last time is a while ago."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self.study.set_user_attr(f"{WORKER} {self.worker}", time.time())
            self._beaten = time.monotonic()

    def bury(self) -> None:
        """Tell trials of dead workers as failed."""
        import optuna

        seen = self.study.user_attrs
        for trial in self.trials("RUNNING"):
            if self._is_left(trial, seen):
                state = optuna.trial.TrialState.FAIL
                self.study.tell(trial.number, state=state, skip_if_finished=True)

    def _is_left(
        self, trial: "optuna.trial.FrozenTrial", seen: Mapping[str, Any]
    ) -> bool:
        """Whether nobody is at a trial that is under way any more."""
        owner, began = trial.user_attrs.get(WORKER), trial.datetime_start
        if owner is None:  # Its worker is about to say so, or was killed before.
            silent = began is not None and time.time() - began.timestamp()
            return silent > SILENT_SECONDS
        last = seen.get(f"{WORKER} {owner}", 0.0)
        return owner != self.worker and is_dead(owner, last)

    def trials(self, *states: str) -> "list[optuna.trial.FrozenTrial]":
        """All workers' trials, or those in some states, by Optuna's names."""
        found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if not states or trial.state.name in states]

    def ask(self, count: int) -> dict[int, Setting]:
        """Settings that nobody has taken, those that failed before suggested ones.

        Returns:
          number of the trial -> setting.
        """
        for trial in self._failed()[:count]:
            chain = [*trial.user_attrs.get(AGAIN, ()), trial.number]
            self.study.enqueue_trial(trial.params, user_attrs={AGAIN: chain})
        asked = {}
        for _ in range(count):
            self._seed(len(self.trials()))
            trial = self.study.ask()
            self.open[trial.number] = trial
            # Before anything else, so that it is nobody's for a moment only.
            trial.set_user_attr(WORKER, self.worker)
            self._seed(trial.number)
            asked[trial.number] = suggest(trial, self.space)
        return asked

    def _failed(self) -> "list[optuna.trial.FrozenTrial]":
        """Trials that failed and were not tried again, nor too often already."""
        chains = [trial.user_attrs.get(AGAIN, ()) for trial in self.trials()]
        again = {number for chain in chains for number in chain}
        return [
            trial
            for trial in self.trials("FAIL")
            if trial.params.keys() == self.space.keys()
            and trial.number not in again
            and len(trial.user_attrs.get(AGAIN, ())) + 1 < MOST_FAILURES
        ]

    def _seed(self, number: int) -> None:
        """Draw by the trial's number: a resumed search draws what it would have."""
        import optuna

        if not isinstance(self.sampler, str):
            self.study.sampler = self.sampler
            return
        drawn = np.random.SeedSequence((self.seed, number)).generate_state(1)
        kind: Callable[..., Any] = getattr(optuna.samplers, SAMPLERS[self.sampler])
        self.study.sampler = kind(seed=int(drawn[0]), **OPTIONS.get(self.sampler, {}))

    def report(self, number: int, rung: int, value: float, **facts: Any) -> None:
        """Tell what a trial came to at a rung, and facts of it so far.

        Nothing is told of one that others took for dead.
        """
        import optuna

        trial = self.open[number]
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.report(value, rung)
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)

    def close(self, number: int, value: float | None = None) -> None:
        """Tell that a trial was trained to its end, or was pruned (no value)."""
        import optuna

        pruned = optuna.trial.TrialState.PRUNED
        state = pruned if value is None else optuna.trial.TrialState.COMPLETE
        trial = self.open.pop(number)
        self.study.tell(trial, value, state=state, skip_if_finished=True)

    def fail(self) -> None:
        """Tell own trials that are under way as failed."""
        import optuna

        for trial in self.open.values():
            state = optuna.trial.TrialState.FAIL
            self.study.tell(trial, state=state, skip_if_finished=True)
        self.open = {}


def is_dead(worker: str, last: float) -> bool:
    """Whether a worker cannot be at work any more.

    It is if its process on this host has ended, or is this one, which has one worker at
    a time; or if it was last seen too long ago.

    Args:
      worker: its name.
      last: when it was seen, in seconds since 1970.
    """
    host, process, _ = worker.rsplit(":", 2)
    if host == socket.gethostname():
        if int(process) == os.getpid():
            return True
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # It is there, and somebody else's.
    return time.time() - last > SILENT_SECONDS
