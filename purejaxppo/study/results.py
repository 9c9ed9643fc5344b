"""The results of all runs as one dataset, also where they differ in length."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from purejaxppo.study.execution.chunks import Outcome
from purejaxppo.study.grids.grids import Setting

if TYPE_CHECKING:
    import xarray


def make_dataset(
    metrics: dict[str, np.ndarray],
    coordinates: dict[str, Any],
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """Metrics `[runs, updates]` with names: dimensions (run, update)."""
    import xarray

    return xarray.Dataset(
        {name: (("run", "update"), values) for name, values in metrics.items()},
        coords=coordinates,
        attrs=attributes,
    )


def merge(
    parts: Sequence[tuple[np.ndarray, Outcome]],
    seeds: np.ndarray,
    batch_sizes: np.ndarray,
    settings: Sequence[Setting],
    attributes: dict[str, Any],
) -> "xarray.Dataset":
    """One dataset of all runs.

    A run that has made fewer updates than another, or a metric that it has not, leaves
    NaN, 0 or (of `finite`) True there; the coordinate `updates` says how many it made.

    Args:
      parts: numbers of some runs, and where they are.
      seeds: of all runs.
      batch_sizes: of all runs, environment steps of an update.
      settings: of the study; run i has setting `i // (runs / settings)`.
      attributes: of the dataset.

    Returns:
      Dimensions (run, update) with coordinates `seed`, `updates` and `env_steps`, which
      is of (update), or of (run, update) where batches differ in size. With a grid,
      `setting`, and each field that has numbers, as `config.FIELD` or `env.FIELD`; the
      attribute `settings` has all of them.
    """
    num_runs = len(seeds)
    width = max(outcome.update for _, outcome in parts)
    metrics: dict[str, np.ndarray] = {}
    updates = np.zeros(num_runs, np.int64)
    for runs, outcome in parts:
        updates[runs] = outcome.update
        for name, column in outcome.metrics.items():
            if name not in metrics:
                metrics[name] = _nothing(name, column.dtype, (num_runs, width))
            metrics[name][runs, : outcome.update] = column
    coordinates = {
        "seed": ("run", seeds),
        "updates": ("run", updates),
        "env_steps": _env_steps(batch_sizes, width),
        **grid_coordinates(settings, num_runs),
    }
    attributes = {**attributes, **grid_attributes(settings)}
    return make_dataset(metrics, coordinates, attributes)


def grid_attributes(settings: Sequence[Setting]) -> dict[str, Any]:
    """All settings of a grid, as `settings`; nothing if there is no grid."""
    if not settings[0]:
        return {}
    table = [
        {name: _plain(value) for name, value in setting.items()} for setting in settings
    ]
    return {"settings": table}


def _nothing(name: str, dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
    missing = np.nan if dtype.kind == "f" else name == "finite"
    return np.full(shape, missing, dtype)


def _env_steps(batch_sizes: np.ndarray, width: int) -> Any:
    steps = np.arange(1, width + 1)
    if (batch_sizes == batch_sizes[0]).all():
        return "update", steps * batch_sizes[0]
    return ("run", "update"), steps * batch_sizes[:, None]


def grid_coordinates(settings: Sequence[Setting], num_runs: int) -> dict[str, Any]:
    """The setting of each run, and the values of each field that has numbers."""
    if not settings[0]:
        return {}
    number = np.arange(num_runs) // (num_runs // len(settings))
    coordinates: dict[str, Any] = {"setting": ("run", number)}
    for name in settings[0]:
        column = [setting[name] for setting in settings]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in column):
            full = name if name.startswith("env.") else f"config.{name}"
            coordinates[full] = ("run", np.asarray(column)[number])
    return coordinates


def runs_of_setting(dataset: "xarray.Dataset", number: int) -> "xarray.Dataset":
    """The results of one setting's runs alone, without what others made longer."""
    alone = dataset.isel(run=dataset["setting"].values == number)
    alone = alone.isel(update=slice(0, int(alone["updates"].max())))
    if alone["env_steps"].ndim == 2:
        alone = alone.assign_coords(env_steps=("update", alone["env_steps"].values[0]))
    return alone


def _plain(value: Any) -> Any:
    """A value as `config.toml` gives it back, so that resuming changes nothing."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return "none" if value is None else value
