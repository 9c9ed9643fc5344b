"""Where runs come from, and what is known of them besides."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejaxppo.config.fields import flatten
from purejaxppo.config.labels import shown
from purejaxppo.reliability.runs import Runs
from purejaxppo.reporting.formatting import counted
from purejaxppo.results import ReadingWarning, arguments, read
from purejaxppo.study.storage import files

METRICS = {
    "episode_return": "training return",
    "evaluation_return": "evaluation return",
}
"""Recorded metrics that are returns, and what they are called."""


class Source(NamedTuple):
    """A study, or another place that runs were read from.

    Attributes:
        path: where they are.
        records: the runs, one for each algorithm and task.
        config: option -> value, those of the whole study; empty if not known.
        environment: versions, devices, date, status; empty if not known.
        notes: what is worth knowing of how they were read, a sentence each.
    """

    path: Path
    records: list[Runs]
    config: dict[str, Any]
    environment: dict[str, Any]
    notes: list[str]


def read_source(path: Path, format: str | None = None, **how: Any) -> Source:
    """Read runs and what is known of them.

    Args:
        path: a study's directory, or whatever else `results.read` reads.
        format: as for `results.read`.
        how: its other arguments.

    Raises:
        ValueError: there is nothing of the kind, or it is not as it should be.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReadingWarning)
        records = read(path, format, **how)
    config, environment = {}, {}
    if files.holds_study(path):
        job = files.read_own_job(path)
        config = {**job._asdict(), **flatten(job.config), **_grid(job)}
        del config["config"], config["settings"]
        environment = files.read_environment(path)
    notes = [str(warning.message) for warning in caught]
    return Source(path, records, config, environment, notes)


def _grid(job: files.Job) -> dict[str, Any]:
    """The values that a grid gives to each of its fields, once each."""
    names = job.settings[0] if job.settings else ()
    return {
        f"grid.{name}": tuple(dict.fromkeys(shown(s[name]) for s in job.settings))
        for name in names
    }


def read_sources(
    paths: Sequence[Path],
    names: Sequence[str] | None = None,
    format: str | None = None,
    **how: Any,
) -> list[Source]:
    """Read several sources, each under a name of its own if names are given.

    Args:
        paths: as for `results.read`.
        names: the algorithm of each.
        format: as for `results.read`.
        how: its other arguments; those that are `None` are left out.

    Raises:
        ValueError: as `read_source`; or there are not as many names as paths.
    """
    asked = how_to_read(paths, names, format, **how)
    return [
        read_source(path, format, **own) for path, own in zip(paths, asked, strict=True)
    ]


def how_to_read(
    paths: Sequence[Path], names: Sequence[str] | None, format: str | None, **how: Any
) -> list[dict[str, Any]]:
    """Return the arguments that each path is read with; see `read_sources`.

    Raises:
        ValueError: there are not as many names as paths, or no path takes an argument.
    """
    given = {name: value for name, value in how.items() if value is not None}
    taken = arguments(paths, format, given)
    if names is None:
        return taken
    if len(names) != len(paths):
        raise ValueError(
            f"Expected one name for each path, got {counted(len(names), 'name')} for "
            f"{counted(len(paths), 'path')}."
        )
    return [{**own, "algorithm": name} for own, name in zip(taken, names, strict=True)]


def metrics_of(path: Path) -> list[str]:
    """Return which of `METRICS` a study has recorded."""
    results = files.read_results(path)
    return [name for name in METRICS if name in results]
