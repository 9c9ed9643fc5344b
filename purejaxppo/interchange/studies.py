"""A study's directory, as a record of its runs.

From `results.zarr` (dimensions run, update) come a metric, `finite`, and the
coordinates `seed` and `env_steps`; from `evaluation.zarr` (dimensions run, episode), if
it is there, `sampled_return` or `greedy_return`, and `seed`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from purejaxppo.fields import nearest
from purejaxppo.interchange.gathering import warn
from purejaxppo.reliability.records import Runs, check_runs
from purejaxppo.study import store

if TYPE_CHECKING:
    import xarray


Actions: TypeAlias = Literal["sampled", "greedy"]


def read_study(
    directory: Path | str,
    *,
    metric: str = "episode_return",
    algorithm: str | None = None,
    rollouts: Actions = "sampled",
) -> Runs:
    """Read a study: its curves, seeds and, where it was evaluated, its rollouts.

    Whoever reads a study that stopped before its end is warned.

    Args:
      directory: the study's.
      metric: the recorded metric that is the curve, such as `evaluation_return`.
      algorithm: its name; that of the directory if None.
      rollouts: whether they are those of sampled or of greedy actions.

    Returns:
      The runs, in float64.

    Raises:
      ValueError: there are no results, or not this metric; or the evaluation is of
        other seeds, or not of such actions.
    """
    directory = Path(directory)
    results = store.read_results(directory)
    curves = _variable(results, metric, directory / store.RESULTS)
    _warn_if_incomplete(directory)
    return check_runs(
        Runs(
            algorithm=algorithm or directory.resolve().name,
            task=results.attrs["env"],
            env_steps=results["env_steps"].values,
            curves=curves,
            seeds=results["seed"].values,
            finite=np.all(results["finite"].values, axis=1),
            rollouts=_rollouts(directory, rollouts, results["seed"].values),
        )
    )


def _rollouts(
    directory: Path, actions: Actions, seeds: np.ndarray
) -> np.ndarray | None:
    import xarray

    path = directory / store.EVALUATION
    if not path.exists():
        return None
    evaluation = xarray.open_zarr(path, consolidated=False, chunks=None).load()
    found = evaluation["seed"].values
    if not np.array_equal(found, seeds):
        raise ValueError(
            f"Expected {path} to be of the study's {len(seeds)} seeds from {seeds[0]} "
            f"on, got {len(found)} from {found[0]} on; evaluate the study again."
        )
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
    facts = store.read_environment(directory)
    if facts["status"] != "complete":
        warn(
            f"Incomplete: the study in {directory} stopped after {facts['updates']} of "
            f"{facts['num_updates']} updates."
        )
