"""A study's directory, as a record of its runs.

From `results.zarr` (dimensions run, update) come a metric, `finite`, and the
coordinates `seed` and `env_steps`; from `evaluation.zarr` (dimensions run, episode), if
it is there, `sampled_return` or `greedy_return`, and `seed`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from purejaxppo.config.fields import nearest
from purejaxppo.config.labels import label
from purejaxppo.reliability.runs import Runs, check_runs
from purejaxppo.results.common_grid import warn
from purejaxppo.study.results import runs_of_setting
from purejaxppo.study.storage import files

if TYPE_CHECKING:
    import xarray


Actions: TypeAlias = Literal["sampled", "greedy"]


def read_study(
    directory: Path | str,
    *,
    setting: int | None = None,
    metric: str = "episode_return",
    algorithm: str | None = None,
    rollouts: Actions = "sampled",
) -> Runs:
    """Read a study: its curves, seeds and, where it was evaluated, its rollouts.

    Whoever reads a study that stopped before its end is warned.

    Args:
      directory: the study's.
      setting: which one of a grid's; see `read_settings` for all of them.
      metric: the recorded metric that is the curve, such as `evaluation_return`.
      algorithm: its name; that of the directory if None, with the setting.
      rollouts: whether they are those of sampled or of greedy actions.

    Returns:
      The runs, in float64.

    Raises:
      ValueError: there are no results, or not this metric; or the evaluation is of
        other seeds, or not of such actions; or there is no such setting, or it was not
        trained yet, or there are several, and none was named.
    """
    directory = Path(directory)
    files.check_study(directory)
    results = files.read_results(directory)
    names = _names(results, algorithm or directory.resolve().name)
    if setting is None and len(names) > 1:
        raise ValueError(
            f"Expected setting to say which one of {len(names)} in {directory} is "
            f"meant, 0 to {len(names) - 1}, got none."
        )
    number = setting or 0
    if not 0 <= number < len(names):
        raise ValueError(f"Expected setting to be in [0, {len(names)}), got {number}.")
    _warn_if_incomplete(directory)
    evaluation = _evaluation(directory, results)
    return _runs(directory, results, evaluation, number, names, metric, rollouts)


def read_settings(
    directory: Path | str,
    *,
    metric: str = "episode_return",
    algorithm: str | None = None,
    rollouts: Actions = "sampled",
) -> list[Runs]:
    """Read each setting of a study with a grid, an algorithm of its own; or the study.

    Algorithms are called as the study with the setting behind, "NAME gamma=0.9". Who
    reads a study with settings that were not trained yet is warned, and gets the rest.

    Args:
      directory: the study's.
      metric: as for `read_study`.
      algorithm: the study's name; that of the directory if None.
      rollouts: as for `read_study`.

    Raises:
      ValueError: as `read_study`; or no setting was trained yet.
    """
    directory = Path(directory)
    files.check_study(directory)
    results = files.read_results(directory)
    names = _names(results, algorithm or directory.resolve().name)
    _warn_if_incomplete(directory)
    trained = [i for i in range(len(names)) if _of_setting(results, i).sizes["update"]]
    if len(trained) < len(names):
        warn(
            f"Incomplete: {len(names) - len(trained)} of {len(names)} settings in "
            f"{directory} were not trained yet, and are left out."
        )
    evaluation = _evaluation(directory, results)
    return [
        _runs(directory, results, evaluation, i, names, metric, rollouts)
        for i in trained
    ]


def _runs(
    directory: Path,
    results: "xarray.Dataset",
    evaluation: "xarray.Dataset | None",
    number: int,
    names: list[str],
    metric: str,
    actions: Actions,
) -> Runs:
    """The runs of one setting."""
    alone = _of_setting(results, number)
    if not alone.sizes["update"]:
        raise ValueError(
            f"Expected setting {number} in {directory} to be trained, but the study "
            "stopped before."
        )
    if evaluation is not None and "setting" in results.coords:
        rows = results["setting"].values == number
        evaluation = evaluation.isel(run=rows)
    return check_runs(
        Runs(
            algorithm=names[number],
            task=results.attrs["env"],
            env_steps=alone["env_steps"].values,
            curves=_variable(alone, metric, directory / files.RESULTS),
            seeds=alone["seed"].values,
            finite=np.all(alone["finite"].values, axis=1),
            rollouts=_rollouts(evaluation, actions, directory / files.EVALUATION),
        )
    )


def _of_setting(results: "xarray.Dataset", number: int) -> "xarray.Dataset":
    return runs_of_setting(results, number) if "setting" in results.coords else results


def _names(results: "xarray.Dataset", study: str) -> list[str]:
    """What the settings are called; a number where values differ in late digits."""
    settings = results.attrs.get("settings")
    if settings is None:
        return [study]
    labels = [label(setting, " ") for setting in settings]
    return [
        f"{study} {name}" if labels.count(name) == 1 else f"{study} {name} #{i}"
        for i, name in enumerate(labels)
    ]


def _evaluation(directory: Path, results: "xarray.Dataset") -> "xarray.Dataset | None":
    """The evaluation of a study, if there is one, of the same runs."""
    path = directory / files.EVALUATION
    if not path.exists():
        return None
    evaluation, seeds = files.read_evaluation(directory), results["seed"].values
    found = evaluation["seed"].values
    if not np.array_equal(found, seeds):
        raise ValueError(
            f"Expected {path} to be of the study's {len(seeds)} seeds from {seeds[0]} "
            f"on, got {len(found)} from {found[0]} on; evaluate the study again."
        )
    return evaluation


def _rollouts(
    evaluation: "xarray.Dataset | None", actions: Actions, path: Path
) -> np.ndarray | None:
    if evaluation is None:
        return None
    returns = _variable(evaluation, f"{actions}_return", path)
    cut = int(evaluation.get(f"{actions}_cut", np.zeros(1)).sum())
    if cut:
        warn(
            f"Cut: {cut} of {returns.size} episodes in {path} were still running after "
            f"the most steps allowed; what they had got by then counts as their return."
        )
    return returns


def _variable(dataset: "xarray.Dataset", name: str, path: Path) -> np.ndarray:
    if name not in dataset.data_vars:
        hint = nearest(name, map(str, dataset.data_vars))
        raise ValueError(f"Expected {path} to hold {name}, found none; {hint}.")
    return dataset[name].values.astype(np.float64)


def _warn_if_incomplete(directory: Path) -> None:
    for line in incomplete(directory):
        warn(line)


def incomplete(directory: Path) -> list[str]:
    """A sentence for a study that was stopped; none for one that is complete."""
    facts = files.read_environment(directory)
    if facts["status"] == "complete":
        return []
    return [f"Incomplete: the study in {directory} stopped after {how_far(facts)}."]


def how_far(facts: Mapping[str, Any]) -> str:
    """Return how far a study was trained, in words.

    >>> two_runs = {"num_updates": 9, "num_run_updates": 18}
    >>> how_far({"updates": 3, "run_updates": 6, **two_runs})
    '3 of 9 updates'
    >>> how_far({"updates": 9, "run_updates": 10, **two_runs})
    '55 % of all updates'

    Args:
      facts: of the study's `environment.json`. Where some runs have more updates than
        others, as when its chunks are trained one after another, those of all count.
    """
    most, planned = facts["updates"], facts["num_updates"]
    done, total = facts.get("run_updates", most), facts.get("num_run_updates", planned)
    if done == total:
        return "its last update, before its files were complete"
    if most * total == done * planned:
        return f"{most} of {planned} updates"
    return f"{100 * done // total} % of all updates"
