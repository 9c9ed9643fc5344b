"""Checked dataclass fields: a rule for each, and access to all by dotted name."""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

C = TypeVar("C")

Rule = tuple[str, Callable[[Any], bool]]

POSITIVE: Rule = ("be > 0", lambda x: x > 0)
NON_NEGATIVE: Rule = ("be >= 0", lambda x: x >= 0)
FRACTION: Rule = ("be in [0, 1]", lambda x: 0 <= x <= 1)
ANY: Rule = ("be finite", lambda x: True)


def field(default: Any, rule: Rule, help: str) -> Any:
    """A dataclass field with the rule that its value must obey, and its help."""
    return dataclasses.field(default=default, metadata={"rule": rule, "help": help})


def choice(default: str, choices: tuple[str, ...], help: str) -> Any:
    """A field that takes one of a few names."""
    rule = (f"be one of {', '.join(choices)}", lambda x: x in choices)
    return field(default, rule, help)


def check(config: Any, prefix: str = "") -> None:
    """Check each field of a config's dataclass by its type and rule.

    Traced values and JAX arrays are not looked at.

    Raises:
      ValueError: naming the field, the rule and the value.
    """
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        name, value = prefix + item.name, getattr(config, item.name)
        if not _is_a(value, hints[item.name]):
            expected = _type_name(hints[item.name])
            raise ValueError(f"Expected {name} to be {expected}, got {value!r}.")
        if value is None or hasattr(value, "aval"):
            continue
        rule, holds = item.metadata["rule"]
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            raise ValueError(f"Expected {name} to be finite, got {value!r}.")
        if not holds(value):
            raise ValueError(f"Expected {name} to {rule}, got {value!r}.")


def _is_a(value: Any, expected: Any) -> bool:
    """Whether a value is of a field's type; a float may be any number or 0-d array."""
    options = _options(expected)
    if value is None:
        return type(None) in options
    if isinstance(value, bool):
        return bool in options
    if float in options:
        return isinstance(value, int | float) or getattr(value, "shape", None) == ()
    if tuple in options:
        item = typing.get_args(expected)[0]
        return isinstance(value, tuple) and all(_is_a(v, item) for v in value)
    return isinstance(value, options)


def _options(expected: Any) -> tuple[Any, ...]:
    """The types of a union; a plain type is a union of one."""
    if isinstance(expected, types.UnionType):
        return typing.get_args(expected)
    return (typing.get_origin(expected) or expected,)


def _type_name(expected: Any) -> str:
    return str(expected) if typing.get_args(expected) else expected.__name__


class Leaf(NamedTuple):
    """One field by its dotted name, for files, command lines and grids."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def technique(self) -> type | None:
        """The dataclass behind a field that is a technique (or the network)."""
        for option in _options(self.kind):
            if isinstance(option, type) and dataclasses.is_dataclass(option):
                return option
        return None

    @property
    def metavar(self) -> str:
        """The type in a few capitals, for a help text."""
        if self.technique:
            return "BOOL"
        options = [
            o.__name__.upper() for o in _options(self.kind) if o is not type(None)
        ]
        return "|".join(options).replace("TUPLE", "INT,...")


def leaves(config_type: type, prefix: str = "") -> Iterator[Leaf]:
    """All fields of a config by dotted name, techniques before their own fields."""
    hints = typing.get_type_hints(config_type)
    for item in dataclasses.fields(config_type):
        leaf = Leaf(
            prefix + item.name,
            hints[item.name],
            item.default,
            item.metadata["help"],
        )
        yield leaf
        if leaf.technique:
            yield from leaves(leaf.technique, leaf.name + ".")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config as `{dotted name: value}`; a technique that is off is `None`."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{item.name}.")
        else:
            flat[prefix + item.name] = value
    return flat


def replace(config: C, changes: Mapping[str, Any]) -> C:
    """A config with fields changed by dotted name.

    A technique is switched on by `True` or by any of its fields, off by `None` or
    `False`. Lists become tuples and whole numbers floats where a field wants them.

    Raises:
      ValueError: an unknown name (with the nearest ones), or a value out of range.
    """
    known = {leaf.name: leaf for leaf in leaves(type(config))}
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in known or (rest and not known[head].technique):
            raise ValueError(f"Unknown config field {name!r}; {nearest(name, known)}.")
        technique = known[head].technique
        if rest:
            nested.setdefault(head, {})[rest] = value
        elif technique and value is True:
            nested.setdefault(head, {})
        elif technique and isinstance(value, Mapping):
            nested.setdefault(head, {}).update(value)
        else:
            own[head] = _coerce(None if technique and not value else value, known[head])
    for head, rest in nested.items():
        technique = known[head].technique
        assert technique is not None
        start = own.get(head, getattr(config, head)) or technique()
        own[head] = replace(start, rest)
    return dataclasses.replace(config, **own)  # pyright: ignore[reportArgumentType]


def _coerce(value: Any, leaf: Leaf) -> Any:
    options = _options(leaf.kind)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and value.lower() == "none" and type(None) in options:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and float in options:
        return float(value)
    return value


def parse(leaf: Leaf, text: str) -> Any:
    """The value of a field from text: `64,64` for tuples, `none` for what is off.

    Raises:
      ValueError: the text is not of the field's type.
    """
    options = (bool,) if leaf.technique else _options(leaf.kind)
    if text.lower() == "none" and type(None) in _options(leaf.kind):
        return None
    try:
        if tuple in options:
            return tuple(int(part) for part in text.split(",") if part.strip())
        if bool in options:
            return {"true": True, "false": False}[text.lower()]
        if int in options and float(text).is_integer():  # 1e6 is a whole number.
            return int(float(text))
        if float in options:
            return float(text)
        if int in options:
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ValueError(
            f"Expected {leaf.name} to be {leaf.metavar}, got {text!r}."
        ) from None
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, or some of them, for an error message."""
    known = list(known)
    initials = [k for k in known if "".join(re.findall(r"(?:^|[_.-])(\w)", k)) == name]
    near = initials + difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        return f"nearest: {', '.join(near)}"
    return f"known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
