"""Checked dataclass fields: a rule for each, and access to all by dotted name.

A technique is a dataclass of its own. A field that holds one is `None` where it is off;
where there are several alternatives, it is a union of their dataclasses.
"""

import dataclasses
import difflib
import functools
import itertools
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
BELOW_1: Rule = ("be in [0, 1)", lambda x: 0 <= x < 1)
BETWEEN: Rule = ("be in (0, 1)", lambda x: 0 < x < 1)
ABOVE_1: Rule = ("be > 1", lambda x: x > 1)
ANY: Rule = ("be finite", lambda x: True)

OFF = "none", "off"
"""Words for what is off; the first one is a choice of some fields, too."""
FLAGS = {"true": True, "on": True, "false": False, "off": False}
"""Word -> whether something is on."""

LARGEST = 2**53
"""Bound of whole numbers: floats hold no larger ones exactly."""


def field(default: Any, rule: Rule, help: str) -> Any:
    """A dataclass field with the rule that its value must obey, and its help."""
    return dataclasses.field(default=default, metadata={"rule": rule, "help": help})


def choice(default: str | None, choices: tuple[str, ...], help: str) -> Any:
    """A field that takes one of a few names."""
    rule = (f"be one of {', '.join(choices)}", lambda x: x in choices)
    metadata = {"rule": rule, "help": help, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


class FieldError(ValueError):
    """A field's value breaks a rule: one line with field, rule and value."""

    def __init__(self, owner: str, name: str, expected: str, value: Any) -> None:
        prefix = f"{owner}." if owner else ""
        super().__init__(f"Expected {prefix}{name} to {expected}, got {value!r}.")
        self.name, self.expected, self.value = name, expected, value

    def under(self, owner: str, head: str) -> "FieldError":
        """The same error of a field that belongs to the field `head`."""
        return FieldError(owner, f"{head}.{self.name}", self.expected, self.value)


class UnknownField(ValueError):
    """There is no such field: one line with the nearest names."""

    def __init__(self, name: str, known: Iterable[str], owner: str = "") -> None:
        whose = f" of {owner}" if owner else ""
        self.name, self.known = name, list(known)
        super().__init__(
            f"Unknown config field {name!r}{whose}; {nearest(name, self.known)}."
        )

    def under(self, head: str, owner: str = "") -> "UnknownField":
        """The same error of a field that belongs to the field `head`."""
        known = [f"{head}.{name}" for name in self.known]
        return UnknownField(f"{head}.{self.name}", known, owner)


class Technique:
    """Base of the dataclasses that hold a technique's numbers: checks them.

    Raises:
      FieldError: a field is out of its range.
    """

    def __post_init__(self) -> None:
        check(self)


def owner_name(config_type: type) -> str:
    """What an error calls a field's owner: nothing if it is the whole config."""
    return kind_name(config_type).removesuffix("config").removesuffix("_")


@functools.cache
def kind_name(technique: type) -> str:
    """A technique's name among its alternatives: its class's in snake case."""
    border = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return re.sub(border, "_", technique.__name__).lower()


def check(config: Any) -> None:
    """Check each field of a config's dataclass by its type and rule.

    Traced values and JAX arrays are not looked at.

    Raises:
      FieldError: naming the field, the rule and the value.
    """
    hints = _hints(type(config))
    for item in dataclasses.fields(config):
        value, owner = getattr(config, item.name), owner_name(type(config))
        if not _is_a(value, hints[item.name]):
            expected = f"be {_type_name(hints[item.name])}"
            options = _options(hints[item.name])
            for base in (x for x in options if isinstance(value, x)):
                expected = (
                    f"be no subclass of {base.__name__}, whose formula would be run in "
                    "its place (CONTRIBUTING.md says how to add a technique; make_ppo "
                    "takes a network= and a loss= of your own)"
                )
            raise FieldError(owner, item.name, expected, value)
        if value is None or hasattr(value, "aval"):
            continue
        rule, holds = item.metadata["rule"]
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, int) and abs(x) >= LARGEST for x in numbers):
            raise FieldError(owner, item.name, "be below 2^53", value)
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            raise FieldError(owner, item.name, "be finite", value)
        if not holds(value):
            raise FieldError(owner, item.name, rule, value)


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
    if isinstance(value, Technique):  # Formulas are chosen by class, so by this one.
        return type(value) in options
    return isinstance(value, options)


def _options(expected: Any) -> tuple[Any, ...]:
    """The types of a union; a plain type is a union of one."""
    if isinstance(expected, types.UnionType):
        return typing.get_args(expected)
    return (typing.get_origin(expected) or expected,)


def _type_name(expected: Any) -> str:
    names = [
        "None" if option is type(None) else option.__name__
        for option in _options(expected)
    ]
    if names == ["tuple"]:
        return f"tuple of {typing.get_args(expected)[0].__name__}"
    return " or ".join(names)


class Leaf(NamedTuple):
    """One field by its dotted name, for files, command lines and grids.

    `owners` are the alternatives that have the field, by name; empty where there are
    none to choose from.
    """

    name: str
    kind: Any
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()

    @property
    def techniques(self) -> dict[str, type]:
        """The dataclasses behind a field that is a technique, by name."""
        options: list[type] = [o for o in _options(self.kind) if _is_technique(o)]
        return {kind_name(option): option for option in options}

    @property
    def metavar(self) -> str:
        """The type in a few capitals, or the names to choose from, for a help text."""
        if len(self.techniques) == 1:
            return "BOOL"
        if names := self.choices or tuple(self.techniques):
            return "|".join((*names, "none")[: len(names) + self.optional])
        if tuple in _options(self.kind):
            return f"{typing.get_args(self.kind)[0].__name__.upper()},..."
        kinds = [o for o in _options(self.kind) if o is not type(None)]
        return "|".join(o.__name__.upper() for o in kinds)

    @property
    def optional(self) -> bool:
        """Whether the field may be `None`."""
        return type(None) in _options(self.kind)


def leaves(config_type: type, prefix: str = "") -> Iterator[Leaf]:
    """All fields of a config by dotted name, techniques before their own fields.

    Alternatives that share a field's name share the leaf, the first one's.
    """
    for leaf in own_leaves(config_type):
        yield leaf._replace(name=prefix + leaf.name)
        inner: dict[str, Leaf] = {}
        for kind, technique in leaf.techniques.items():
            for below in leaves(technique, f"{prefix}{leaf.name}."):
                first = inner.get(below.name, below)
                if len(leaf.techniques) > 1:
                    first = first._replace(owners=(*first.owners, kind))
                inner[below.name] = first
        yield from inner.values()


@functools.cache
def own_leaves(config_type: type) -> tuple[Leaf, ...]:
    """The fields of a config itself, without those of its techniques."""
    hints = _hints(config_type)
    return tuple(
        Leaf(
            item.name,
            hints[item.name],
            item.default,
            item.metadata["help"],
            item.metadata.get("choices", ()),
        )
        for item in dataclasses.fields(config_type)
    )


@functools.cache
def _hints(config_type: type) -> dict[str, Any]:
    """The types of a config's fields: slow to tell, and asked for at every change."""
    return typing.get_type_hints(config_type)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config as `{dotted name: value}`; a technique that is off is `None`.

    Where there are alternatives, `name.kind` says which one is on.
    """
    flat: dict[str, Any] = {}
    for leaf in own_leaves(type(config)):
        name, value = prefix + leaf.name, getattr(config, leaf.name)
        if not dataclasses.is_dataclass(value):
            flat[name] = value
            continue
        if len(leaf.techniques) > 1:
            flat[f"{name}.kind"] = kind_name(type(value))
        flat |= flatten(value, f"{name}.")
    return flat


def replace(config: C, changes: Mapping[str, Any]) -> C:
    """A config with fields changed by dotted name.

    A technique is switched on by `True` (the first alternative), by the name of an
    alternative, or by any of its fields; off by `None` or `False`. Lists become tuples
    and whole numbers floats where a field wants them.

    Raises:
      ValueError: an unknown name (with the nearest ones), or a value out of range.
    """
    known = {leaf.name: leaf for leaf in own_leaves(type(config))}
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in known or (rest and not known[head].techniques):
            raise UnknownField(name, [leaf.name for leaf in leaves(type(config))])
        leaf = known[head]
        if rest:
            nested.setdefault(head, {})[rest] = value
        elif leaf.techniques and isinstance(value, Mapping):
            nested.setdefault(head, {}).update(value)
        elif leaf.techniques and (value is True or _names_a_kind(value)):
            own[head] = _switch_on(leaf, getattr(config, head), value)
        else:
            off = leaf.techniques and value is False
            own[head] = _coerce(None if off else value, leaf)
    for head, fields in nested.items():
        leaf, start = known[head], own.get(head, getattr(config, head))
        if "kind" in fields:
            start = _switch_on(leaf, start, fields.pop("kind"))
        elif not _names_a_kind(changes.get(head)):
            start = _having(leaf, start, [name.partition(".")[0] for name in fields])
        own[head] = _with_fields(leaf, start, fields, type(config))
    return dataclasses.replace(config, **own)  # pyright: ignore[reportArgumentType]


def _is_technique(option: Any) -> bool:
    return isinstance(option, type) and dataclasses.is_dataclass(option)


def _names_a_kind(value: Any) -> bool:
    return isinstance(value, str) and not is_off(value)


def _switch_on(leaf: Leaf, now: Any, kind: Any) -> Any:
    """The technique called `kind`, or whichever is on or comes first for `True`."""
    if kind is True:
        return now or next(iter(leaf.techniques.values()))()
    if kind not in leaf.techniques:
        rule = f"be one of {', '.join(leaf.techniques)}"
        raise FieldError("", leaf.name, rule, kind)
    technique = leaf.techniques[kind]
    return now if isinstance(now, technique) else technique()


def _having(leaf: Leaf, now: Any, heads: list[str]) -> Any:
    """The technique that is on, or else the only alternative, that has some fields."""
    names = {
        k: [f.name for f in dataclasses.fields(t)] for k, t in leaf.techniques.items()
    }
    fitting = [kind for kind, own in names.items() if set(heads) <= set(own)]
    if now is not None and kind_name(type(now)) in fitting:
        return now
    if len(fitting) == 1:
        return leaf.techniques[fitting[0]]()
    if fitting:
        rule = f"be given, as one of {', '.join(fitting)}"
        raise FieldError("", leaf.name, rule, None)
    known = list(dict.fromkeys(itertools.chain(*names.values())))
    for head in heads:
        if head not in known:
            raise UnknownField(head, known).under(leaf.name)
    raise FieldError("", leaf.name, f"be one that has {' and '.join(heads)}", now)


def _with_fields(leaf: Leaf, now: Any, fields: Mapping[str, Any], owner: type) -> Any:
    """A technique with some fields changed."""
    try:
        return replace(now, fields)
    except UnknownField as error:
        kind = kind_name(type(now)) if len(leaf.techniques) > 1 else ""
        raise error.under(leaf.name, kind) from None
    except FieldError as error:
        raise error.under(owner_name(owner), leaf.name) from None


def is_off(value: Any) -> bool:
    """Whether a value is a word for what is off."""
    return isinstance(value, str) and value.lower() in OFF


def _off_value(leaf: Leaf) -> Any:
    """Return the value of a field that is off, or False if it cannot be off."""
    if leaf.optional:
        return None
    if OFF[0] in leaf.choices:
        return OFF[0]
    return () if tuple in _options(leaf.kind) else False


def _coerce(value: Any, leaf: Leaf) -> Any:
    options = _options(leaf.kind)
    if is_off(value) and (off := _off_value(leaf)) is not False:
        return off
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, tuple) and typing.get_args(leaf.kind)[:1] == (float,):
        return tuple(
            float(v) if isinstance(v, int) and abs(v) < LARGEST else v for v in value
        )
    if isinstance(value, int) and not isinstance(value, bool) and float in options:
        return float(value) if abs(value) < LARGEST else value
    return value


def parse(leaf: Leaf, text: str) -> Any:
    """The value of a field from text: `64,64` for tuples, `off` or `none` for off.

    Raises:
      ValueError: the text is not of the field's type.
    """
    options = (bool,) if leaf.techniques else _options(leaf.kind)
    lower = text.lower()
    if is_off(text) and (off := _off_value(leaf)) is not False:
        return off
    if len(leaf.techniques) > 1 and lower not in FLAGS:
        return lower
    try:
        if tuple in options:
            item = typing.get_args(leaf.kind)[0]
            return tuple(item(part) for part in text.split(",") if part.strip())
        if bool in options:
            return FLAGS[lower]
        if int in options and float(text).is_integer():  # 1e6 is a whole number.
            return int(float(text))
        if float in options:
            return float(text)
        if int in options:
            raise ValueError(text)
    except (ValueError, KeyError):
        raise ValueError(
            f"Expected {leaf.name} to be {_wanted(leaf)}, got {text!r}."
        ) from None
    return text


def _wanted(leaf: Leaf) -> str:
    """What a field's text must be, for an error message."""
    if leaf.metavar != "BOOL":
        return leaf.metavar
    inner = [
        f"{leaf.name}.{own.name}"
        for t in leaf.techniques.values()
        for own in own_leaves(t)
    ]
    hint = (
        f" (its numbers have options of their own, such as {inner[0]})" if inner else ""
    )
    return f"true or false{hint}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, or some of them, for an error message."""
    known = list(known)
    initials = [k for k in known if "".join(re.findall(r"(?:^|[_.-])(\w)", k)) == name]
    if not known:
        return "there are none"
    near = initials + difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        return f"nearest: {', '.join(near)}"
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"known: {', '.join(known[:8])}{more}"
