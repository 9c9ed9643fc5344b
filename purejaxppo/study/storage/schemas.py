"""What each field of a study's records may be, declared once and checked when read."""

import math
import string
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from purejaxppo.config.fields import Rule

Schema: TypeAlias = Mapping[str, Rule]
"""Name of a field -> what its value must be, and whether one is that."""

MOST = 2**53
"""Bound of whole numbers: JSON's readers hold no larger ones exactly."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_name(value: Any) -> bool:
    return _is_text(value) and bool(value.strip())


def _is_whole(value: Any, low: int, high: int) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and low <= value < high
    )


def _is_scalar(value: Any) -> bool:
    is_whole = isinstance(value, int) and abs(value) < MOST
    return value is None or _is_text(value) or is_whole


ANY: Rule = ("anything", lambda x: True)
TABLE: Rule = ("a table", lambda x: isinstance(x, dict))
TEXT: Rule = ("a text of characters that all print", _is_text)
NAME: Rule = ("a name of characters that all print", _is_name)
SECONDS: Rule = (
    "a number of seconds >= 0",
    lambda x: type(x) in (int, float) and math.isfinite(x) and 0 <= x < MOST,
)
DIGEST: Rule = (
    "a SHA-256 in 64 hexadecimal digits",
    lambda x: isinstance(x, str) and len(x) == 64 and set(x) <= set(string.hexdigits),
)


def whole(low: int = 0, high: int = MOST) -> Rule:
    """Return the rule of whole numbers in [`low`, `high`)."""
    below = "" if high == MOST else f" and < {high}"
    told = f"a whole number >= {low}{below}"
    return told, lambda x: _is_whole(x, low, high)


def one_of(*choices: str) -> Rule:
    """Return the rule of a few names."""
    return f"one of {', '.join(choices)}", lambda x: isinstance(x, str) and x in choices


def list_of(rule: Rule) -> Rule:
    """Return the rule of lists whose items obey a rule."""
    told, holds = rule
    return (
        f"a list, each item {told}",
        lambda x: isinstance(x, list) and all(map(holds, x)),
    )


def or_null(rule: Rule) -> Rule:
    """Return the rule of what obeys another one, or is null."""
    told, holds = rule
    return f"{told}, or null", lambda x: x is None or holds(x)


def table_of(rule: Rule) -> Rule:
    """Return the rule of tables whose values obey a rule; keys are names."""
    told, holds = rule

    def all_hold(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return all(map(_is_name, value)) and all(map(holds, value.values()))

    return f"a table, each value {told}", all_hold


NUMBER: Rule = (
    "a number, true or false",
    lambda x: isinstance(x, int | float) or x in ("NaN", "Infinity", "-Infinity"),
)


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(x, list) and _is_value(x) for x in value)
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return value is None or _is_text(value) or is_number


VALUE: Rule = ("a text, a number or a list of these", _is_value)
"""What a grid gives to a field."""

SCALAR: Rule = ("null, a text, a whole number, true or false", _is_scalar)

ENVIRONMENT: Schema = {
    "written": NAME,
    "python": NAME,
    "packages": table_of(NAME),
    "platform": NAME,
    "device": TEXT,
    "num_devices": whole(1),
    "status": one_of("complete", "incomplete"),
    "updates": whole(),
    "num_updates": whole(1),
    "run_updates": whole(),
    "num_run_updates": whole(1),
    "training_seconds": SECONDS,
    "objects": list_of(one_of("env", "env_params", "network", "loss")),
    "config": DIGEST,
}
"""`environment.json`."""

CHUNK: Rule = (
    "group, start, stop and size, each a whole number",
    lambda x: isinstance(x, list) and len(x) == 4 and all(map(whole()[1], x)),
)

PLAN: Schema = {
    "provenance": table_of(SCALAR),
    "devices_per_run": whole(1, 2**20),
    "chunks": list_of(CHUNK),
}
"""`plan.json`."""

JOB: Schema = {
    "env": TEXT,
    "num_seeds": whole(1, 2**20 + 1),
    "seed": whole(0, 2**32),
    "config": TABLE,
}
"""`config.toml`, but for the settings; the config checks its own fields."""


def fault(record: Any, schema: Schema, needed: Collection[str] | None = None) -> str:
    """Return what is wrong with a record that was read, or nothing.

    Args:
      record: of any type.
      schema: of its fields; others are a fault.
      needed: fields that must be there, where others may be that are not looked at;
        all of the schema's, and no others, if None.
    """
    if not isinstance(record, dict):
        return f"it is no table but {_shown(record)}"
    for name in schema if needed is None else needed:
        if name not in record:
            return f"it has no {name}"
    for name, value in record.items():
        rule, holds = schema.get(name, ANY)
        if name not in schema and needed is None:
            return f"it has an unknown field {_shown(name)}"
        if not holds(value):
            return f"{name}={_shown(value)} is not {rule}"
    return ""


def _shown(value: Any) -> str:
    """Show the beginning of a value, in one line without control characters."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # Too deep; too many digits.
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."
