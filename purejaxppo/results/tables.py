"""Tidy tables: a row for each point of each run's curve, in CSV or Parquet.

The columns, in any order; others are left unread:

| column | holds |
| --- | --- |
| algorithm, task | names, without line breaks and the like |
| seed | a whole number that tells the runs apart |
| env_steps | a whole number >= 0 that increases from row to row of a run |
| episode_return | a number; empty or NaN where nothing was observed |
| finite | optional: whether all updates of the run were finite; empty if not known |

The returns of the final policies are in a second table beside `NAME.csv`, called
`NAME.rollouts.csv`: columns algorithm, task, seed, episode (a whole number >= 0 that
increases) and return. CSV is in UTF-8, with commas and a header, and keeps every bit
of a float64, as Parquet does.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from purejaxppo.reliability.runs import Runs, check_runs
from purejaxppo.results import cells
from purejaxppo.results.common_grid import (
    distinct,
    gather,
    on_union,
    renamed,
    require,
    says_normalized,
)
from purejaxppo.results.folders import OPTIONS
from purejaxppo.study.storage import disk

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("algorithm", "task", "seed")


class _Kind(NamedTuple):
    """What one of the two tables has beside its keys."""

    step: str
    value: str


CURVES = _Kind(step="env_steps", value="episode_return")
ROLLOUTS = _Kind(step="episode", value="return")


class _Table(NamedTuple):
    """The rows of a file, `[rows]` each; `finite` is 1, 0 or, if not known, NaN."""

    path: Path
    algorithm: np.ndarray
    task: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    value: np.ndarray
    finite: np.ndarray

    def groups(self) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
        """Each algorithm and task with its rows, in the order of the first ones."""
        groups: dict[tuple[str, str], list[int]] = {}
        names = zip(self.algorithm.tolist(), self.task.tolist(), strict=True)
        for row, name in enumerate(names):
            groups.setdefault(name, []).append(row)
        for name, rows in groups.items():
            yield name, np.array(rows)


def read_table(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    algorithm: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    points: int | None = None,
) -> list[Runs]:
    """Read a tidy table, and the one of rollouts beside it; see the module's text.

    Runs with rows at the same, equally spaced steps keep these, NaN where a run has no
    row. Others, of a row an episode for instance, are brought to bins of equal width,
    so that no figure depends on how often they were logged (`reliability.grids`). In
    both cases a `ReadingWarning` counts what is missing. Rows of an error count from 1,
    without the header.

    Args:
      path: a `.csv` or `.parquet`.
      columns: the name of a column in the table of curves -> its name above. A column
        of returns that is called normalised, such as `human_normalized_score`, is taken
        for that: a comparison then counts 0 as 0 and 1 as 1.
      algorithm: the name where no column tells, or in place of the only one.
      task: likewise.
      seed: of the only run of each algorithm and task, where no column tells; or 0.
      points: number of bins of equal width, whatever the steps are.

    Returns:
      A record for each algorithm and task, all in the order of their first rows.

    Raises:
      ValueError: one line that names the file and, where there is one, the row.
    """
    path = Path(path)
    given = {"algorithm": algorithm, "task": task, "seed": seed}
    curves = _table(_mapped(_load(path), columns or {}, path), CURVES, given, path)
    beside, rollouts = rollouts_path(path), None
    if beside.exists():
        rollouts = _table(_load(beside), ROLLOUTS, given, beside)
    theirs = next(
        (t for t, ours in (columns or {}).items() if ours == CURVES.value), ""
    )
    records = [
        _record(name, curves, rows, points)._replace(normalized=says_normalized(theirs))
        for name, rows in curves.groups()
    ]
    return records if rollouts is None else _with_rollouts(records, rollouts, path)


def write_table(records: Sequence[Runs], path: Path | str) -> None:
    """Write a tidy table, and one of rollouts beside it where there are some.

    `read_table` gives back every bit of runs with equally spaced steps, as studies' and
    its own are: curves and rollouts in float64, NaN and the order of runs included.
    Both files are replaced: where no record has rollouts there is no second table
    afterwards.

    Args:
      records: at least one.
      path: a `.csv` or `.parquet`.

    Raises:
      ValueError: there is no record, or one that could not be read again.
    """
    path = Path(path)
    if not records:
        raise ValueError(f"Expected runs to be written to {path}, got none.")
    distinct([check_runs(record) for record in records])
    curves, rollouts = _curve_rows(records), _rollout_rows(records)
    _save(curves, path)
    if rollouts is None:
        rollouts_path(path).unlink(missing_ok=True)
    else:
        _save(rollouts, rollouts_path(path))


def rollouts_path(path: Path) -> Path:
    """The table of rollouts beside one of curves.

    >>> str(rollouts_path(Path("runs/all.csv")))
    'runs/all.rollouts.csv'
    """
    return path.with_suffix(f".rollouts{path.suffix}")


# --- Files --------------------------------------------------------------------------


def _load(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} is no table: a file that ends in .csv or .parquet.")
    frame = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    if frame.empty:
        raise _no_rows(path)
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _read_csv(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
            )
    except pd.errors.EmptyDataError:
        raise _no_rows(path) from None
    except (ValueError, pd.errors.ParserWarning) as error:
        raise _unreadable(path, "CSV", error) from None


def _read_parquet(path: Path) -> "pd.DataFrame":
    require("pyarrow", "parquet", path)
    import pandas as pd

    try:
        return pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError:
        raise
    except Exception as error:  # Of many kinds.
        raise _unreadable(path, "Parquet", error) from None


def _no_rows(path: Path) -> ValueError:
    return ValueError(f"Expected {path} to hold rows, found none.")


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    if isinstance(error, UnicodeDecodeError):
        return ValueError(f"Expected {path} to be {kind}, but it is not UTF-8.")
    line = " ".join(str(error).split()).rstrip(".")
    return ValueError(f"Expected {path} to be {kind}, got: {line}.")


def _save(table: "pd.DataFrame", path: Path) -> None:
    if path.suffix != ".csv":
        require("pyarrow", "parquet", path)
    with disk.replacing(path) as beside:
        if path.suffix == ".csv":
            table.to_csv(beside, index=False)
        else:
            table.to_parquet(beside, engine="pyarrow", index=False)


# --- Columns ------------------------------------------------------------------------


def _mapped(
    raw: dict[str, np.ndarray], columns: Mapping[str, str], path: Path
) -> dict[str, np.ndarray]:
    """The columns of the table of curves, by the names that they have here."""
    known = (*KEYS, *CURVES, "finite")
    for theirs, ours in columns.items():
        if theirs not in raw:
            raise ValueError(
                f"Expected {path} to have the column {theirs!r} that columns maps, got "
                f"{', '.join(raw)}."
            )
        if ours not in known or (ours in raw and ours not in columns):
            raise ValueError(
                f"Expected columns to map {theirs!r} to one of {', '.join(known)} that "
                f"{path} lacks, got {ours!r}."
            )
    return {columns.get(name, name): column for name, column in raw.items()}


def _table(
    raw: dict[str, np.ndarray], kind: _Kind, given: Mapping[str, Any], path: Path
) -> _Table:
    """The columns that are read, each of one type, and the steps in order."""
    optional = {"seed", *(name for name in KEYS if given[name] is not None)}
    for name in (*KEYS, *kind):
        if name not in raw and name not in optional:
            raise ValueError(
                f"Expected {path} to have a column {name}, got {', '.join(raw)}; "
                f"{_remedy(name)}."
            )
    rows = len(raw[kind.step])
    table = _Table(
        path=path,
        algorithm=_names("algorithm", raw, given, rows, path),
        task=_names("task", raw, given, rows, path),
        seed=_seeds(raw, given, rows, path),
        step=cells.whole(kind.step, raw[kind.step], path, least=0),
        value=cells.numbers(kind.value, raw[kind.value], path),
        finite=cells.flags("finite", raw.get("finite", np.full(rows, np.nan)), path),
    )
    _check_order(table, kind.step, "seed" in raw)
    return table


def _remedy(column: str) -> str:
    """What to do where a table lacks a column."""
    if column in OPTIONS:
        return f"{column} ({OPTIONS[column]} NAME) says it for all rows"
    return f"columns (--columns OTHER={column}) says which one it is"


def _names(
    field: str,
    raw: dict[str, np.ndarray],
    given: Mapping[str, Any],
    rows: int,
    path: Path,
) -> np.ndarray:
    if field not in raw:
        return np.full(rows, given[field], object)
    found = cells.names(field, raw[field], path)
    renamed(field, given[field], found)
    return found if given[field] is None else np.full(rows, given[field], object)


def _seeds(
    raw: dict[str, np.ndarray], given: Mapping[str, Any], rows: int, path: Path
) -> np.ndarray:
    if "seed" not in raw:
        return np.full(rows, given["seed"] or 0)
    if given["seed"] is not None:
        raise ValueError(
            f"Expected no seed to be given for {path}, whose column tells it, got "
            f"{given['seed']}."
        )
    return cells.whole("seed", raw["seed"], path)


def _check_order(table: _Table, field: str, has_seeds: bool) -> None:
    """Refuse two rows at one step of a run, and steps that go back."""
    for _, rows in table.groups():
        by_run = rows[np.argsort(table.seed[rows], kind="stable")]
        before, after = by_run[:-1], by_run[1:]
        same_run = table.seed[before] == table.seed[after]
        bad = same_run & (table.step[after] <= table.step[before])
        if bad.any():
            first, second = before[bad.argmax()], after[bad.argmax()]
            why = "" if has_seeds else "; without a column seed all rows are of one run"
            raise ValueError(
                f"Expected {field} in row {second + 1} of {table.path} to increase "
                f"within its run, got {table.step[second]} after {table.step[first]} "
                f"in row {first + 1}{why}."
            )


# --- Records from rows --------------------------------------------------------------


def _record(
    name: tuple[str, str], table: _Table, rows: np.ndarray, points: int | None
) -> Runs:
    seeds = np.array(list(dict.fromkeys(table.seed[rows].tolist())))
    run = _index(table.seed[rows], seeds)
    runs = gather(name, run, table.step[rows], table.value[rows], seeds, points)
    return runs._replace(finite=_all_finite(table, rows, run, len(seeds)))


def _index(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The place in `known` of each of `values`."""
    order = np.argsort(known)
    return order[np.searchsorted(known, values, sorter=order)]


def _all_finite(
    table: _Table, rows: np.ndarray, run: np.ndarray, num_runs: int
) -> np.ndarray | None:
    """Whether a run has no row that says False; None if no row says anything."""
    flags = table.finite[rows]
    unknown = np.isnan(flags)
    if unknown.all():
        return None
    if unknown.any():
        row = int(rows[unknown.argmax()])
        rule = "true or false, as in other rows of its algorithm and task"
        raise cells.bad_cell("finite", row, rule, "", table.path)
    return np.bincount(run, flags == 0, num_runs) == 0


def _with_rollouts(records: list[Runs], rollouts: _Table, path: Path) -> list[Runs]:
    """The records, each with what the table has of its rollouts."""
    own = {(record.algorithm, record.task): record for record in records}
    for name, rows in rollouts.groups():
        label, seeds = " on ".join(name), rollouts.seed[rows]
        if name not in own:
            raise ValueError(
                f"Expected {rollouts.path} to be of runs in {path}, got {label}."
            )
        known = own[name].seeds
        if not np.isin(seeds, known).all():
            seed = seeds[~np.isin(seeds, known)][0]
            raise ValueError(
                f"Expected {rollouts.path} to be of runs in {path}, got {label} with "
                f"seed {seed}."
            )
        _, returns = on_union(
            _index(seeds, known),
            rollouts.step[rows],
            rollouts.value[rows],
            len(known),
            f"{label} in {rollouts.path}",
        )
        own[name] = own[name]._replace(rollouts=returns)
    return list(own.values())


# --- Rows from records --------------------------------------------------------------


def _curve_rows(records: Sequence[Runs]) -> "pd.DataFrame":
    import pandas as pd

    some_known = any(record.finite is not None for record in records)
    tables = []
    for record in records:
        table = _rows(record, record.env_steps, record.curves, CURVES)
        if some_known:
            finite = np.full(len(record.seeds), pd.NA, object)
            if record.finite is not None:
                finite[:] = record.finite
            repeated = np.repeat(finite, len(record.env_steps))
            table["finite"] = pd.array(repeated, dtype="boolean")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _rollout_rows(records: Sequence[Runs]) -> "pd.DataFrame | None":
    import pandas as pd

    tables = []
    for record in records:
        if record.rollouts is not None:
            episodes = np.arange(record.rollouts.shape[1])
            tables.append(_rows(record, episodes, record.rollouts, ROLLOUTS))
    return pd.concat(tables, ignore_index=True) if tables else None


def _rows(
    record: Runs, steps: np.ndarray, values: np.ndarray, kind: _Kind
) -> "pd.DataFrame":
    """A row for each value, run after run."""
    import pandas as pd

    name = f"{record.algorithm} on {record.task}"
    for field in ("algorithm", "task"):
        cells.names(field, np.array([getattr(record, field)], object), repr(name))
    seeds = cells.whole("seed", record.seeds, name)
    steps = cells.whole(kind.step, steps, name, least=0)
    return pd.DataFrame(
        {
            "algorithm": record.algorithm,
            "task": record.task,
            "seed": np.repeat(seeds, len(steps)),
            kind.step: np.tile(steps, len(seeds)),
            kind.value: np.asarray(values, np.float64).reshape(-1),
        }
    )
