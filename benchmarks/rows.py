"""A table that a benchmark fills row by row, and goes on with where it was stopped."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import results
from benchmarks.jobs import positive

Row = TypeVar("Row", bound=tuple[Any, ...])


def make_parser(
    description: str | None, names: Sequence[str], num_seeds: int
) -> argparse.ArgumentParser:
    """Options of such a benchmark; `--only` takes some of the rows' `names`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=(), choices=list(names))
    parser.add_argument("--num-seeds", type=positive, default=num_seeds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser


def fill(
    benchmark: str,
    names: Sequence[str],
    row: Callable[..., Row],
    measure: Callable[[str], Row],
    options: argparse.Namespace,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> list[Row]:
    """The rows that are known or asked for, in the order of `names`.

    Each is written to the JSON file as soon as it is measured. The first field of a row
    is its name; `row` makes one of what the file holds.
    """
    rows = known(options.json, row, options.only)
    for name in [name for name in options.only or names if name not in rows]:
        rows[name] = measure(name)
        print(rows[name], flush=True)
        document = results.document(benchmark, list(rows.values()), facts, settings)
        results.write(options.json, document)
    return [rows[name] for name in names if name in rows]


def known(
    path: Path | None, row: Callable[..., Row], only: Sequence[str]
) -> dict[str, Row]:
    """The rows that a JSON file holds, without those to be measured anew."""
    if path is None or not path.exists():
        return {}
    rows = [row(**fields) for fields in json.loads(path.read_text())["results"]]
    return {x[0]: x for x in rows if x[0] not in only}
