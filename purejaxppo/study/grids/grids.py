"""Grids: the settings that a study trains, each a few fields and their values."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Setting: TypeAlias = dict[str, Any]
"""Field -> value; a config's dotted name, or `env.` and a parameter's."""

Grid: TypeAlias = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
"""All combinations of some fields' values, or the settings themselves."""

TABLES = "grid", "zip", "sample"
"""Tables of a file that say what settings there are; see `from_tables`."""

MOST_RUNS = 2**20
"""Of one study."""


class Uniform(NamedTuple):
    """Numbers between two bounds, for `sampled`."""

    low: float
    high: float

    def at(self, quantile: float) -> float:
        """The value at a quantile in [0, 1)."""
        return self.low + quantile * (self.high - self.low)


class LogUniform(NamedTuple):
    """Positive numbers between two bounds whose logarithm is uniform."""

    low: float
    high: float

    def at(self, quantile: float) -> float:
        """The value at a quantile in [0, 1)."""
        return float(self.low * (self.high / self.low) ** quantile)


_RANGES = Uniform, LogUniform

Domain: TypeAlias = Uniform | LogUniform | Sequence[Any]
"""What `sampled` draws a field's values from."""


def product(values: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """All combinations of the fields' values, the last field changing fastest.

    >>> product({"gamma": [0.9, 0.99], "num_envs": [4]})
    [{'gamma': 0.9, 'num_envs': 4}, {'gamma': 0.99, 'num_envs': 4}]

    Raises:
      ValueError: a field has no values, or there are more than `MOST_RUNS` settings.
    """
    columns = _columns(values)
    check_size(math.prod(len(column) for column in columns.values()))
    rows = itertools.product(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in rows]


def zipped(values: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """One setting for each place in the fields' values, which are equally many.

    >>> zipped({"num_envs": [4, 8], "num_steps": [128, 64]})
    [{'num_envs': 4, 'num_steps': 128}, {'num_envs': 8, 'num_steps': 64}]

    Raises:
      ValueError: a field has no values, or not as many as another.
    """
    columns = _columns(values)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {number}" for name, number in lengths.items())
        raise ValueError(f"Expected zipped fields to have equally many values: {told}.")
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def sampled(
    domains: Mapping[str, Domain], num_settings: int, seed: int = 0
) -> list[Setting]:
    """Settings drawn at random, each field from a range or from a list of values.

    Args:
      domains: field -> `Uniform`, `LogUniform`, or a sequence to choose from.
      num_settings: how many; the first ones stay when there are to be more.
      seed: of the draws.

    Raises:
      ValueError: there is no field, a range is empty, or a number is not positive.
    """
    _check_whole("num_settings", num_settings, 1)
    _check_whole("seed", seed, 0)
    check_size(num_settings)
    if not domains:
        raise ValueError("Expected at least one field to draw, got none.")
    lists = {k: v for k, v in domains.items() if not isinstance(v, _RANGES)}
    domains = {**domains, **(_columns(lists) if lists else {})}
    for name, domain in domains.items():
        check_domain(name, domain)
    draws = np.random.default_rng(seed).random((num_settings, len(domains)))
    return [
        {
            name: _drawn(domain, float(draw))
            for (name, domain), draw in zip(domains.items(), row, strict=True)
        }
        for row in draws
    ]


def crossed(*grids: Iterable[Mapping[str, Any]]) -> list[Setting]:
    """Every setting of one grid together with every one of the others.

    >>> crossed([{"gamma": 0.9}], zipped({"num_envs": [4, 8]}))
    [{'gamma': 0.9, 'num_envs': 4}, {'gamma': 0.9, 'num_envs': 8}]

    Raises:
      ValueError: two grids have the same field, or there are more than `MOST_RUNS`.
    """
    lists = [list(grid) for grid in grids]
    check_size(math.prod(len(settings) for settings in lists))
    names = [set().union(*settings) for settings in lists]
    for one, other in itertools.combinations(names, 2):
        if both := sorted(one & other):
            raise ValueError(
                f"Expected each field in one grid only, got {both[0]} twice."
            )
    return [
        {name: value for setting in chosen for name, value in setting.items()}
        for chosen in itertools.product(*lists)
    ]


def log_range(low: float, high: float, num: int) -> list[float]:
    """`num` values from `low` to `high` with equal ratios.

    >>> log_range(0.001, 0.1, 3)
    [0.001, 0.01, 0.1]

    Raises:
      ValueError: the bounds are not 0 < low < high, or `num` is below 2.
    """
    return _spaced("log_range", LogUniform(low, high), num)


def linear_range(low: float, high: float, num: int) -> list[float]:
    """`num` values from `low` to `high` with equal differences.

    >>> linear_range(0, 1, 3)
    [0.0, 0.5, 1.0]

    Raises:
      ValueError: the bounds are not low < high, or `num` is below 2.
    """
    return _spaced("linear_range", Uniform(low, high), num)


def settings_of(grid: Grid | None) -> tuple[Setting, ...]:
    """The settings of a grid, of which there is one without changes if it is None.

    Raises:
      ValueError: there are none, or more than `MOST_RUNS`; or they have not all the
        same fields; or it is no grid, or a value none that a file can hold.
    """
    if grid is None:
        return ({},)
    if isinstance(grid, str) or not isinstance(grid, Iterable):
        raise ValueError(f"Expected grid to be a dict or a list of them, got {grid!r}.")
    settings = product(grid) if isinstance(grid, Mapping) else list(map(_setting, grid))
    if not settings or not settings[0]:
        raise ValueError("Expected grid to have at least one setting, got none.")
    check_size(len(settings))
    for i, setting in enumerate(settings):
        if setting.keys() != settings[0].keys():
            raise ValueError(
                f"Expected all settings to have the fields {', '.join(settings[0])}, "
                f"got {', '.join(setting) or 'none'} in setting {i}."
            )
    return tuple(settings)


def from_tables(tables: Mapping[str, Mapping[str, Any]]) -> list[Setting]:
    """The settings that a file or a command line asks for.

    Args:
      tables: `grid`, fields whose values are combined; `zip`, fields whose values
        belong together; `sample`, fields that are drawn, beside `num_settings` and
        `seed`. Several of them are crossed. Values are a list, or a range as text:
        "log(1e-5, 1e-2, 8)", "linear(0.9, 0.99, 4)", in `sample` without the number.

    Raises:
      ValueError: a range cannot be read, or as the functions for each say.
    """
    grids: list[list[Setting]] = []
    given = {name: _dotted(table, name) for name, table in tables.items()}
    if "grid" in given:
        table = given["grid"]
        grids.append(product({k: _values(k, v) for k, v in table.items()}))
    if "zip" in given:
        grids.append(zipped({k: _values(k, v) for k, v in given["zip"].items()}))
    if "sample" in given:
        table = given["sample"]
        numbers = {k: table.pop(k) for k in ("num_settings", "seed") if k in table}
        if "num_settings" not in numbers:
            raise ValueError("Expected sample.num_settings to be given, got none.")
        grids.append(sampled({k: domain_of(k, v) for k, v in table.items()}, **numbers))
    return crossed(*grids) if grids else []


def _dotted(table: Any, prefix: str) -> dict[str, Any]:
    """A file's table by dotted names, whether these were written in quotes or not."""
    if not isinstance(table, Mapping):
        raise ValueError(f"Expected {prefix} to be a table of fields, got {table!r}.")
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            inner = _dotted(value, f"{prefix}.{name}")
            flat |= {f"{name}.{rest}": below for rest, below in inner.items()}
        else:
            flat[name] = value
    return flat


RANGES = {"log": LogUniform, "linear": Uniform}
"""Name of a range -> what it is."""


def read_range(field: str, text: str) -> tuple[str, list[float]] | None:
    """The name and the numbers of a field's range; None of any other text.

    >>> read_range("learning_rate", "log(1e-5, 1e-2, 8)")
    ('log', [1e-05, 0.01, 8.0])

    Raises:
      ValueError: it looks like one, and is none.
    """
    match = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", text)
    if match is None:
        return None
    name, inner = match.groups()
    try:
        numbers = [float(part) for part in inner.split(",")]
    except ValueError:
        numbers = []
    if name not in RANGES or len(numbers) not in (2, 3):
        raise ValueError(
            f"Expected the range of {field} to be log(LOW, HIGH, NUMBER) or linear("
            f"LOW, HIGH, NUMBER), without NUMBER where it is sampled, got {text!r}."
        )
    return name, numbers


def _values(field: str, given: Any) -> Sequence[Any]:
    found = read_range(field, given) if isinstance(given, str) else None
    if found is None:
        return given
    name, numbers = found
    if len(numbers) != 3 or not numbers[2].is_integer():
        raise ValueError(
            f"Expected the range of {field} to have a number of values, as in "
            f"{name}({numbers[0]:g}, {numbers[1]:g}, 8), got {given!r}."
        )
    low, high, number = numbers
    return _spaced(field, RANGES[name](low, high), int(number))


def domain_of(field: str, given: Any) -> Domain:
    """What a field is drawn from: a range from its text, or what is given already.

    >>> domain_of("learning_rate", "log(1e-5, 1e-2)")
    LogUniform(low=1e-05, high=0.01)

    Raises:
      ValueError: the text looks like a range of two numbers, and is none.
    """
    found = read_range(field, given) if isinstance(given, str) else None
    if found is None:
        return given
    name, numbers = found
    if len(numbers) != 2:
        raise ValueError(
            f"Expected the range of {field}, which is sampled, to be {name}(LOW, "
            f"HIGH), got {given!r}."
        )
    return RANGES[name](*numbers)


def check_size(number: int) -> None:
    """Refuse more runs than any machine will train.

    Raises:
      ValueError: with the number.
    """
    if number > MOST_RUNS:
        raise ValueError(
            f"Expected a study to have at most {MOST_RUNS:,} runs, got {number:,}."
        )


def _columns(values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    columns = {}
    for name, column in values.items():
        column = getattr(column, "tolist", lambda x=column: x)()  # Of an array.
        if isinstance(column, str) or not isinstance(column, Sequence):
            raise ValueError(
                f"Expected the values of {name} to be a list, got {column!r}."
            )
        if not len(column):
            raise ValueError(f"Expected {name} to have at least one value, got none.")
        columns[name] = [_python(name, value) for value in column]
    if not columns:
        raise ValueError("Expected grid to have at least one field, got none.")
    return columns


def _setting(given: Any) -> Setting:
    if not isinstance(given, Mapping):
        raise ValueError(f"Expected a setting to be {{field: value}}, got {given!r}.")
    return {name: _python(name, value) for name, value in given.items()}


def _python(name: str, value: Any) -> Any:
    """A value that a file can hold; arrays and their numbers become Python's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(_python(name, part) for part in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"Expected the values of {name} to be numbers, texts, none, or lists of them, "
        f"got {value!r}; a technique's own fields have dotted names."
    )


def _drawn(domain: Domain, quantile: float) -> Any:
    if isinstance(domain, _RANGES):
        return domain.at(quantile)
    return domain[int(quantile * len(domain))]


def _spaced(name: str, domain: Uniform | LogUniform, num: int) -> list[float]:
    """So many values of a range, checked."""
    check_domain(name, domain)
    if num < 2:
        raise ValueError(f"Expected {name} to have at least 2 values, got {num}.")
    check_size(num)
    inner = [_rounded(domain.at(i / (num - 1))) for i in range(1, num - 1)]
    return [float(domain.low), *inner, float(domain.high)]


def _rounded(value: float) -> float:
    """To 12 digits: 0.01 rather than 0.010000000000000002 in files and labels."""
    return float(f"{value:.12g}")


def _check_whole(name: str, number: Any, least: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise ValueError(
            f"Expected {name} to be a whole number >= {least}, got {number!r}."
        )


def check_domain(name: str, domain: Domain) -> None:
    """Refuse a range that is empty, or a list without values.

    Raises:
      ValueError: with the field.
    """
    if not isinstance(domain, _RANGES):
        _columns({name: domain})
        return
    lowest = 0 if isinstance(domain, LogUniform) else -math.inf
    if not lowest < domain.low < domain.high < math.inf:
        bound = "0 < low < high" if lowest == 0 else "low < high"
        raise ValueError(
            f"Expected the range of {name} to be {bound}, got {domain.low} and "
            f"{domain.high}."
        )
