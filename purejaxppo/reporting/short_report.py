"""From a study's results to a short report: `report.md`, a picture of each curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purejaxppo.config.labels import in_markdown
from purejaxppo.reliability import (
    Summary,
    entropy_collapsed,
    markdown,
    summarize,
    thinned,
)
from purejaxppo.study.results import runs_of_setting
from purejaxppo.study.storage import disk

if TYPE_CHECKING:
    import xarray

POINTS = 100
"""Points of a curve in a picture, at the most."""

CURVES = {
    "episode_return": ("training return", "learning_curve.png"),
    "evaluation_return": ("evaluation return", "evaluation_curve.png"),
}
"""Metric -> what it is called, and the picture of it."""


def summaries(dataset: "xarray.Dataset", alpha: float) -> dict[str, Summary]:
    """Statistics over runs of each kind of return that the study recorded."""
    finite = dataset["finite"].values
    return {
        name: summarize(dataset[metric].values.astype(np.float64), finite, alpha)
        for metric, (name, _) in CURVES.items()
        if metric in dataset
    }


def cautions(dataset: "xarray.Dataset") -> list[str]:
    """What a reader of the table should know beside it, a line each."""
    if "entropy" not in dataset:
        return []
    collapsed = np.concatenate([_collapsed(alone) for alone in _settings(dataset)])
    if not collapsed.any():
        return []
    return [
        f"Warning: the policy's entropy collapsed in the first quarter of the training "
        f"in {collapsed.sum()} of {collapsed.size} runs; a higher ent_coef, or an "
        f"ent_schedule, keeps them exploring."
    ]


def _settings(dataset: "xarray.Dataset") -> list["xarray.Dataset"]:
    """The results of each setting of a grid, whose updates may be of other numbers."""
    if "setting" not in dataset.coords:
        return [dataset]
    number = range(len(dataset.attrs["settings"]))
    return [runs_of_setting(dataset, i) for i in number]


def _collapsed(dataset: "xarray.Dataset") -> np.ndarray:
    entropy = dataset["entropy"].values.astype(np.float64)
    if not entropy.size:  # It was not trained yet.
        return np.zeros(len(entropy), bool)
    dims = dataset.attrs.get("action_dims", 0)
    return np.asarray(entropy_collapsed(entropy, dims))


def write_brief(
    directory: Path,
    dataset: "xarray.Dataset",
    alpha: float,
    notes: Sequence[str] = (),
) -> None:
    """Write `report.md`, with notes, and a picture of each curve into a directory."""
    env, steps = dataset.attrs["env"], dataset["env_steps"].values
    parts = [
        f"# {in_markdown(env)}: {dataset.sizes['run']} runs of {steps[-1]:,} steps"
    ]
    for name, summary in summaries(dataset, alpha).items():
        metric, picture = next((m, p) for m, (n, p) in CURVES.items() if n == name)
        draw(directory / picture, dataset, metric, alpha)
        parts += [markdown(summary, name), f"![{name}]({picture})"]
    parts += map(in_markdown, [*notes, *cautions(dataset)])
    disk.write_text(directory / "report.md", "\n\n".join(parts) + "\n")


def draw(path: Path, dataset: "xarray.Dataset", metric: str, alpha: float) -> None:
    """Draw one metric of all runs over environment steps, as means of time bins.

    A single update sees few ends of episodes, and its statistics over runs jump.
    """
    from purejaxppo.reliability import plots

    curves = dataset[metric].values.astype(np.float64)
    figure = plots.learning_curve(
        *thinned(dataset["env_steps"].values, curves, POINTS),
        alpha=alpha,
        title=f"{dataset.attrs['env']}, {dataset.sizes['run']} runs",
        ylabel=CURVES[metric][0],
    )
    with disk.replacing(path) as beside:
        plots.save(figure, beside)
