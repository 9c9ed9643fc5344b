"""Claims: a name in a storage, and a folder, are of one search each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purejaxppo.study.storage import disk, files

SEARCH = "search.json"
"""File in the output: which study it is of, and what is tuned."""

STUDY, FACTS = "study_name", "tuning"


def check_no_search(directory: Path) -> None:
    """Refuse a search's folder for something else.

    Raises:
      ValueError: it is one.
    """
    if (directory / SEARCH).exists():
        raise ValueError(
            f"Expected output {directory} to hold no search, but it does; another "
            "--output begins the study."
        )


def claim(directory: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Make a folder a search's own, which keeps what another one found from being lost.

    Args:
      directory: where the search leaves its files.
      name: of its study.
      facts: what is tuned.

    Raises:
      ValueError: it is another search's, or a study's, or what says so cannot be read.
    """
    if files.holds_study(directory):
        raise ValueError(
            f"Expected output {directory} to hold no study, but it does; another "
            "--output begins the search."
        )
    path = directory / SEARCH
    if path.exists():
        whose, there = _read(path)
        if whose != name:
            raise ValueError(
                f"Expected output {directory} to be the study {name!r}'s, but it is "
                f"{whose!r}'s; another --output begins a new one."
            )
        check_same(name, there, facts)
        return
    # Workers that begin at the same moment write the same, each beside the file.
    disk.write_json(path, {STUDY: name, FACTS: dict(facts)})


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        found = disk.read_json(path)
        return found[STUDY], found[FACTS]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"Expected {path} to say whose the output is, got a damaged file; without "
            "it the output is free."
        ) from None


def check_same(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with another search.

    Args:
      name: of the study.
      there: what was tuned in it.
      here: what is to be tuned.

    Raises:
      ValueError: they differ; with the first difference.
    """
    for field in {**there, **here}:
        if there.get(field) != here.get(field):
            raise ValueError(
                f"Expected the study {name!r} to be of the same search, but its "
                f"{field} is {there.get(field)!r} and here it is {here.get(field)!r}; "
                "another --output, and --study-name where --storage is given, begins "
                "a new one."
            )
