"""What the command line's options look like, and those of a config's fields."""

import dataclasses
import types
import typing
from typing import Annotated, Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from purejaxppo.config.config import SECTIONS, Config
from purejaxppo.config.fields import OFF, FieldError, Leaf, is_off, leaves, parse

Positional = tyro.conf.Positional
Texts = tyro.conf.UseAppendAction[tuple[str, ...]]
"""An option that may be given several times."""


def option(metavar: str, default: str) -> Any:
    """What the help text says of an option whose absence is told from its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def needed(metavar: str) -> Any:
    """What the help text says of paths that must be given."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


AS_TEXT = ConstructorRegistry()
"""Numbers and choices are left as texts by tyro, which tells of a bad one in a box."""


class Unread(str):
    """The text of a number or a choice, see `read`."""


@AS_TEXT.primitive_rule
def _as_text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    leaf = _leaf("", info.type)
    if leaf is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=leaf.metavar,
        instance_from_str=lambda parts: Unread(parts[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def _leaf(name: str, kind: Any) -> Leaf | None:
    """An option as a field, if it is a number or a choice."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    options = typing.get_args(kind) if is_union else (kind,)
    of = next((option for option in options if option is not types.NoneType), None)
    if of in (int, float):
        return Leaf(name, kind, None, "")
    if typing.get_origin(of) is typing.Literal:
        return Leaf(name, str, None, "", typing.get_args(of))
    return None


def read(command: Any) -> Any:
    """The command with its numbers and choices read from their texts.

    Raises:
      ValueError: a text is none of its kind.
    """
    hints = typing.get_type_hints(type(command))
    described = typing.get_type_hints(type(command), include_extras=True)
    found: dict[str, Any] = {}
    for item in dataclasses.fields(command):
        name, value = item.name, getattr(command, item.name)
        if isinstance(value, Unread):
            found[name] = _read(name, hints[name], value)
        elif _is_off_by_default(described[name]):
            found[name] = _without_off(value)
    return dataclasses.replace(command, **found)


def _is_off_by_default(kind: Any) -> bool:
    """Whether the help text of an option says that it is off by default."""
    hints = (
        getattr(told, "help_behavior_hint", "")
        for told in getattr(kind, "__metadata__", ())
    )
    return f"(default: {OFF[0]})" in hints


def _without_off(value: Any) -> Any:
    """The texts of an option but for those that switch it off."""
    if isinstance(value, tuple):
        return tuple(text for text in value if not is_off(text))
    return None if is_off(str(value)) else value


def _read(name: str, kind: Any, text: str) -> Any:
    leaf = _leaf(name, kind)
    assert leaf is not None  # Else it were not unread.
    value = parse(leaf, str(text))
    if leaf.choices and value not in leaf.choices:
        raise FieldError("", name, f"be one of {', '.join(leaf.choices)}", value)
    return value


def texts(command: Any) -> dict[str, Any]:
    """What was given for each option, those of the sections included."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(command):
        value = getattr(command, item.name)
        found |= texts(value) if dataclasses.is_dataclass(value) else {item.name: value}
    return found


def identifier(name: str) -> str:
    """A dotted name, or a section's title, as an attribute's."""
    return name.replace(".", "__").replace(", ", "_").replace(" ", "_")


def with_fields(command: type) -> type:
    """A command with a text option for each field of `Config`, in sections."""
    section_of = {head: title for title, heads in SECTIONS.items() for head in heads}
    options: dict[str, list[Any]] = {title: [] for title in ("", *SECTIONS)}
    for leaf in leaves(Config):
        if leaf.techniques and leaf.default is not None:
            continue  # Always on; its own fields follow.
        section = section_of.get(leaf.name.partition(".")[0], "")
        options[section].append(
            (identifier(leaf.name), _text(leaf), dataclasses.field(default=None))
        )
    sections = [_section(title, options[title]) for title in SECTIONS]
    documented = {"__doc__": command.__doc__}  # What the list of commands says of it.
    fields = [*options[""], *sections]
    return dataclasses.make_dataclass(
        command.__name__, fields, bases=(command,), namespace=documented
    )


def given_fields(command: Any) -> dict[str, Any]:
    """The config's fields that were given, by dotted name.

    Raises:
      ValueError: a text is not of its field's type.
    """
    found = texts(command)
    return {
        leaf.name: parse(leaf, found[identifier(leaf.name)])
        for leaf in leaves(Config)
        if found.get(identifier(leaf.name)) is not None
    }


def _text(leaf: Leaf) -> Any:
    """The type of a text option for a field."""
    default = "off" if leaf.default is None else leaf.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or OFF[0]
    if isinstance(default, float):
        default = f"{default:.4g}"
    owners = f"{', '.join(leaf.owners)}; " if leaf.owners else ""
    option = tyro.conf.arg(
        name=leaf.name,
        metavar=leaf.metavar,
        help=leaf.help,
        help_behavior_hint=f"({owners}default: {default})",
    )
    return Annotated[str | None, option]


def _section(title: str, options: list[Any]) -> tuple[str, Any, Any]:
    """The field that holds a section of options, whose names do not tell of it."""
    section = dataclasses.make_dataclass(identifier(title), options)
    section.__doc__ = ""
    kind = Annotated[section, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name=title)]
    return identifier(title), kind, dataclasses.field(default_factory=section)
