"""Studies' directories as trained ones are, made of numbers that are known."""

import numpy as np

from purejaxppo.config.config import Config
from purejaxppo.config.fields import replace
from purejaxppo.study.execution.chunks import Outcome
from purejaxppo.study.results import merge
from purejaxppo.study.storage import digests, files

BAD = np.where(np.arange(24) % 4 == 0, 20.0, 100.0)
"""Tops of 24 runs, a quarter of which fail."""

PATHS = ("plain-one", "plain-two", "<i>helped", "helped-two")
"""What `leave_studies` leaves of two algorithms on two tasks."""


def returns(seed, runs, top, low=0.0, updates=60):
    noise = np.random.default_rng(seed).normal(size=(runs, updates))
    rise = 1 - np.exp(-np.arange(updates) / (updates / 5))
    return low + (np.broadcast_to(top, runs)[:, None] - low) * rise + noise


def as_dataset(columns, seeds, attributes):
    """Columns `[runs, updates]` of a study with batches of 8 steps."""
    runs, updates = next(iter(columns.values())).shape
    parts = [(np.arange(runs), Outcome(updates, columns, None))]
    return merge(parts, seeds, np.full(runs, 8), [{}], attributes)


def leave_facts(path, **facts):
    """Write a study's `environment.json` beside its `config.toml`."""
    usual = {"status": "complete", "updates": 10, "num_updates": 10}
    digest = digests.digest(path / files.CONFIG)
    more = {"training_seconds": 1.0, "objects": (), "config": digest}
    facts = {**usual, **more, **facts}
    facts.setdefault("run_updates", facts["updates"])
    facts.setdefault("num_run_updates", facts["num_updates"])
    files.write_environment(path, facts)


def leave_study(path, env, made, *, changes=None, evaluated=False, **columns):
    """Write a study's directory, as one that was trained leaves it."""
    config = replace(Config(), changes or {})
    runs, updates = made.shape
    columns = {
        "episode_return": made,
        "finite": np.ones(made.shape, bool),
        "entropy": np.ones(made.shape),
        **columns,
    }
    files.write_job(path, files.Job(env, runs, 3, config))
    leave_facts(path, updates=updates, num_updates=updates)
    attributes = {"env": env, "action_dims": 0}
    dataset = as_dataset(columns, 3 + np.arange(runs), attributes)
    files.write_results(path, dataset)
    if evaluated:
        import xarray

        played = np.random.default_rng(0).normal(100, 5, size=(runs, 30))
        modes = ("sampled", "greedy")
        names = {f"{mode}_return": (("run", "episode"), played) for mode in modes}
        seeds = {"seed": ("run", 3 + np.arange(runs))}
        files.write_evaluation(path, xarray.Dataset(names, seeds, {"env": env}))


def leave_studies(folder):
    """Two algorithms on two tasks, one of them evaluated, and a poor small study."""
    better = {"ent_coef": 0.02}
    leave_study(folder / "plain-one", "One-v0", returns(0, 24, BAD), evaluated=True)
    leave_study(folder / "plain-two", "Two-v0", returns(1, 24, -50.0, -300.0))
    leave_study(
        folder / "<i>helped",
        "One-v0",
        returns(2, 24, 104.0),
        changes=better,
        evaluated=True,
    )
    leave_study(
        folder / "helped-two", "Two-v0", returns(3, 24, -50.0, -300.0), changes=better
    )
    few = returns(4, 5, 100.0)
    few[0] = np.nan
    leave_study(folder / "few", "One-v0", few, evaluation_return=few[:, ::-1])
    return folder
