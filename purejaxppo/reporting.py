"""From a study's results to its table and pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from purejaxppo.reliability import Summary, markdown, summarize

if TYPE_CHECKING:
    import xarray

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


def write_report(directory: Path, dataset: "xarray.Dataset", alpha: float) -> None:
    """Write `report.md` and a picture of each curve into the study's directory."""
    env, steps = dataset.attrs["env"], dataset["env_steps"].values
    parts = [f"# {env}: {dataset.sizes['run']} runs of {steps[-1]:,} steps"]
    for name, summary in summaries(dataset, alpha).items():
        metric, picture = next((m, p) for m, (n, p) in CURVES.items() if n == name)
        draw(directory / picture, dataset, metric, alpha)
        parts += [markdown(summary, name), f"![{name}]({picture})"]
    (directory / "report.md").write_text("\n\n".join(parts) + "\n")


def draw(path: Path, dataset: "xarray.Dataset", metric: str, alpha: float) -> None:
    """Draw the curve of one metric over all runs."""
    from purejaxppo.reliability import plots

    figure = plots.learning_curve(
        dataset["env_steps"].values,
        dataset[metric].values.astype(np.float64),
        alpha=alpha,
        title=f"{dataset.attrs['env']}, {dataset.sizes['run']} runs",
        ylabel=CURVES[metric][0],
    )
    plots.save(figure, path)
