"""A study's policies, read from its directory and ready to act."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxppo.algorithm.algorithm import PPO
from purejaxppo.networks.actor_critic import Network
from purejaxppo.study.devices import processes
from purejaxppo.study.grids.groups import Group
from purejaxppo.study.storage import files
from purejaxppo.study.storage.reproducibility import changes
from purejaxppo.study.storage.trust import check_code
from purejaxppo.study.study import Study


class Policy(NamedTuple):
    """What a study keeps of a run's `TrainState`, whose place it takes in `PPO.act`."""

    params: Any
    obs_statistics: Any
    critic_scale: Any


class Loaded(NamedTuple):
    """A study that was read from its directory.

    Attributes:
      study: what was trained, with that directory as its `output`.
      ppo: its algorithm; acts with `policy(run)`.
      env_params: parameters of `ppo.env`.
      policies: arrays `[runs, ...]` in the host's memory, for vmap over all runs.
      updates: how many updates the policies have learned from.
      setting: which one of a grid's it is.
    """

    study: Study
    ppo: PPO
    env_params: Any
    policies: Policy
    updates: int
    setting: int = 0

    def policy(self, run: int) -> Policy:
        """One run's policy, which `ppo.act` takes as its state.

        Raises:
          ValueError: there is no such run.
        """
        if not 0 <= run < self.study.num_seeds:
            raise ValueError(
                f"Expected run to be in [0, {self.study.num_seeds}), got {run}."
            )
        return jax.tree.map(lambda x: x[run], self.policies)


def load(
    directory: Path | str,
    *,
    setting: int | None = None,
    env: Any = None,
    env_params: Any = None,
    network: Network | None = None,
    trust_code: bool = False,
) -> Loaded:
    """Read a study, finished or stopped, so that its policies can act.

    >>> loaded = load("runs/cartpole")  # doctest: +SKIP
    >>> memory = loaded.ppo.init_memory(num_envs)  # doctest: +SKIP
    >>> loaded.ppo.act(loaded.policy(3), obs, memory)  # doctest: +SKIP

    Args:
      directory: where the study was left.
      setting: which one of a grid's; the others are as if they were not there.
      env: the study's environment if it was an object, else that of `config.toml`.
      env_params: the study's if it was given any, else the environment's defaults.
      network: the study's if it was given one, else that of `config.toml`.
      trust_code: import the environment that `config.toml` names, also if it is code
        that may have come with the study; see docs/trust.md.

    Raises:
      ValueError: there is no study, or one without parameters; an object of which
        `config.toml` knows nothing was not given; or the parameters are not those of
        this environment and network; or it has several settings, and none was named;
        or it names code that is not trusted.
    """
    directory = Path(directory)
    study = read_study(directory, env, env_params, network, trust_code)
    number = _setting(study, setting)
    alone = study.of_setting(number)
    runs = np.arange(number * study.num_seeds, (number + 1) * study.num_seeds)
    ppo = alone.make_ppo()
    return Loaded(
        study=alone,
        ppo=ppo,
        env_params=alone.make_env()[1],
        policies=_read_policies(directory, ppo, study.groups, runs),
        updates=_updates(directory, study, runs),
        setting=number,
    )


def read_study(
    directory: Path,
    env: Any = None,
    env_params: Any = None,
    network: Network | None = None,
    trust_code: bool = False,
) -> Study:
    """The study that a directory holds; see `load`."""
    files.check_study(directory)
    facts = files.read_environment(directory)
    given = {"env": env, "env_params": env_params, "network": network}
    _check_given(directory, facts.get("objects", ()), given)
    job = files.read_own_job(directory)
    if env is None:
        check_code(job.env, directory / files.CONFIG, trust_code)
    return Study(
        config=job.config,
        env=job.env if env is None else env,
        num_seeds=job.num_seeds,
        seed=job.seed,
        output=directory,
        env_params=env_params,
        network=network,
        grid=job.settings or None,
    )


def read_group(study: Study, group: Group) -> Policy:
    """The policies of all runs of a group, in the order of its runs.

    Raises:
      ValueError: as `load`.
    """
    ppo = study.algorithm(group._replace(values={}))({})
    return _read_policies(Path(study.output or ""), ppo, study.groups, group.runs)


def load_run(directory: Path | str, run: int, **objects: Any) -> tuple[Loaded, int]:
    """The study of a run's setting alone, and the run's number in that.

    Args:
      directory: where the study was left.
      run: its number among the runs of all settings.
      objects: see `load`.

    Raises:
      ValueError: there is no such run, or as `load`.
    """
    directory = Path(directory)
    files.check_study(directory)
    job = files.read_own_job(directory)
    num_runs = max(1, len(job.settings)) * job.num_seeds
    if not 0 <= run < num_runs:
        raise ValueError(f"Expected run to be in [0, {num_runs}), got {run}.")
    setting, row = divmod(run, job.num_seeds)
    return load(directory, setting=setting, **objects), row


def _updates(directory: Path, study: Study, runs: np.ndarray) -> int:
    if len(study.settings) == 1:
        return files.read_environment(directory)["updates"]
    return int(files.read_results(directory)["updates"][runs].max())


def _setting(study: Study, number: int | None) -> int:
    if number is None and len(study.settings) > 1:
        raise ValueError(
            f"Expected setting to say which one of {len(study.settings)} is meant, "
            f"0 to {len(study.settings) - 1}, got none."
        )
    return number or 0


def _check_given(directory: Path, objects: list[str], given: dict[str, Any]) -> None:
    """Refuse to take a default for what a study was given as a Python object."""
    missing = [name for name in objects if name in given and given[name] is None]
    if missing:
        raise ValueError(
            f"Expected {' and '.join(missing)} to be given in Python: the study in "
            f"{directory} was made with objects, which its {files.CONFIG} cannot hold."
        )


def _read_policies(
    directory: Path, ppo: PPO, groups: Sequence[Group], runs: np.ndarray
) -> Policy:
    """The parameters and statistics that were saved, in the algorithm's own types."""
    state = jax.eval_shape(ppo.init, jax.random.key(0))
    like = Policy(**{name: getattr(state, name) for name in Policy._fields})
    number = next(i for i, group in enumerate(groups) if runs[0] in group.runs)
    saved = processes.named(_read_parameters(directory, number, groups[number]))
    num_runs = len(groups[number].runs)
    ours = {k: _shown((num_runs, *x.shape)) for k, x in processes.named(like).items()}
    theirs = {k: _shown(x.shape) for k, x in saved.items()}
    if told := changes(theirs, ours, "absent"):
        raise ValueError(
            f"Expected {files.PARAMETERS} in {directory} to be of {num_runs} runs with "
            f"this environment and network, but {told[0]}."
        )
    rows = np.flatnonzero(np.isin(groups[number].runs, runs))
    leaves = [saved[name][rows] for name in ours]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _read_parameters(directory: Path, number: int, group: Group) -> Any:
    path = directory / files.PARAMETERS / str(number)
    if not path.exists():
        of = f" of {group.name}" if path.parent.exists() and group.name else ""
        raise ValueError(f"Expected {files.PARAMETERS}{of} in {directory}, found none.")
    return files.read_policies(directory, number)


def _shown(shape: tuple[int, ...]) -> str:
    return f"of shape {shape}"
