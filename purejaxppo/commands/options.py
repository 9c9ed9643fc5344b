"""What the command line's options look like, and those of a config's fields."""

import dataclasses
from typing import Annotated, Any

import tyro

from purejaxppo.config import SECTIONS, Config
from purejaxppo.fields import Leaf, leaves, parse

Positional = tyro.conf.Positional


def option(metavar: str, default: str) -> Any:
    """What the help text says of an option whose absence is told from its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def needed(metavar: str) -> Any:
    """What the help text says of paths that must be given."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


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
        default = ",".join(map(str, default))
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
