"""Worker: intervals of reliability's figures, by this library and by rliable.

Each answer is one job on made-up curves, `[runs, points]`, that rise to different
heights with noise on top; its seconds leave out imports and the curves.
"""

import importlib.util
import sys
import time
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.workers import serve
from purejaxppo import reliability

EPISODES = 100
"""Of each run's final policy."""

LEVELS = 101
"""Thresholds of a performance profile."""


class Size(NamedTuple):
    """How large a job is; `few_points` are those that rliable is asked for."""

    num_runs: int
    num_points: int
    num_resamples: int
    few_points: int


def make_runs(size: Size) -> reliability.Runs:
    """Curves of 2M steps with returns up to 500, and rollouts."""
    generator = np.random.default_rng(0)
    runs, points = size.num_runs, size.num_points
    height = 500 * generator.uniform(0.6, 1, size=(runs, 1))
    rise = 1 - np.exp(-5 * np.arange(points) / points)
    return reliability.Runs(
        algorithm="ppo",
        task="task",
        env_steps=2_000_000 * np.arange(1, points + 1) // points,
        curves=height * rise + generator.normal(0, 20, size=(runs, points)),
        seeds=np.arange(runs),
        rollouts=generator.normal(400, 30, size=(runs, EPISODES)),
    )


def our_cells(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """All cells of the table."""
    return reliability.cell_intervals(0, runs, num_resamples=size.num_resamples)


def our_scores(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """IQM, median and mean of the final scores."""
    scores = runs.curves[:, -1:]
    counts = reliability.resample(0, [(size.num_runs,)], size.num_resamples)
    return {
        function.__name__: reliability.bootstrap(
            lambda c, function=function: function(scores, c), counts
        )
        for function in (reliability.iqm, reliability.median, reliability.mean)
    }


def our_comparison(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """What compares two algorithms: these final scores, and others a tenth lower."""
    ours = runs.curves[:, -1] / 500
    scores = (ours, 0.9 * ours[::-1])
    counts = reliability.resample(0, [x.shape for x in scores], size.num_resamples)
    levels = np.linspace(0, 1.1, LEVELS)
    statistics: dict[str, Callable[..., Any]] = {
        "optimality gap": lambda a, _: reliability.optimality_gap(
            ours[:, None], counts=a
        ),
        "profile": lambda a, _: reliability.performance_profile(ours, levels, a),
        "improvement": lambda a, b: reliability.probability_of_improvement(
            *scores, a, b
        ),
        "mean ranks": lambda *both: reliability.mean_ranks(scores, both),
    }
    found = {k: reliability.bootstrap(f, counts) for k, f in statistics.items()}
    return found | {
        "test": reliability.permutation_test(0, scores[:1], scores[1:]),
        "power": reliability.power(0, *scores),
    }


def our_everything(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """Cells, scores and comparison."""
    parts = (our_cells, our_scores, our_comparison)
    return {name: x for part in parts for name, x in part(runs, size).items()}


def our_points(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """The IQM at few points of the curve, resampled at each by itself."""
    scores = _few_points(runs, size)
    counts = reliability.resample(0, [scores.shape], size.num_resamples)
    return {
        "iqm": reliability.bootstrap(
            lambda c: reliability.iqm(scores[..., None], c), counts
        )
    }


def rliable_scores(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """The same as `our_scores`."""
    from rliable import metrics

    functions = {
        "iqm": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
    }
    scores = runs.curves[:, -1:]
    return {
        name: _rliable(scores, lambda x, f=f: np.array([f(x)]), size)
        for name, f in functions.items()
    }


def rliable_points(runs: reliability.Runs, size: Size) -> dict[str, Any]:
    """The same as `our_points`, by the function of rliable's own example."""
    from rliable import metrics

    scores = _few_points(runs, size)[:, None]

    def iqms(x: np.ndarray) -> np.ndarray:
        return np.array([metrics.aggregate_iqm(x[..., i]) for i in range(x.shape[-1])])

    return {"iqm": _rliable(scores, iqms, size)}


def _few_points(runs: reliability.Runs, size: Size) -> np.ndarray:
    points = np.linspace(0, size.num_points - 1, size.few_points).astype(int)
    return runs.curves[:, points]


def _rliable(scores: np.ndarray, function: Any, size: Size) -> reliability.Interval:
    estimates, ends = rliable_library().get_interval_estimates(
        {"ppo": scores}, function, reps=size.num_resamples
    )
    return reliability.Interval(estimates["ppo"], *ends["ppo"])


def rliable_library() -> ModuleType:
    """The library, without the models of arch, which not every pandas lets in."""
    if "arch" not in sys.modules:
        spec = importlib.util.find_spec("arch")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("Expected rliable and arch to be installed.")
        bare = types.ModuleType("arch")
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules["arch"] = bare
    from rliable import library

    return library


JOBS: Mapping[tuple[str, str], Callable[[reliability.Runs, Size], dict[str, Any]]] = (
    MappingProxyType(
        {
            ("everything", "purejaxppo"): our_everything,
            ("cells", "purejaxppo"): our_cells,
            ("scores", "purejaxppo"): our_scores,
            ("scores", "rliable"): rliable_scores,
            ("points", "purejaxppo"): our_points,
            ("points", "rliable"): rliable_points,
        }
    )
)
"""What is measured, and by whom."""


def measure(job: str, by: str, **size: int) -> dict[str, Any]:
    """Seconds, processor seconds and peak memory of a job, and its first figure."""
    sizes = Size(**size)
    runs = make_runs(sizes)
    if by == "rliable":
        rliable_library()
    began, cpu = time.perf_counter(), time.process_time()
    found = JOBS[job, by](runs, sizes)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    first = next(iter(found.values()))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_rss_bytes": machine.peak_rss(),
        "interval": [float(np.ravel(x)[-1]) for x in first],
    }


def facts() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {"device": machine.device(), "versions": machine.versions()}


if __name__ == "__main__":
    serve({"measure": measure, "facts": facts})
