"""A grid's settings as text: for tables, messages, folders and files."""

import re
from collections.abc import Mapping
from typing import Any

EXACT = None
"""In place of a number of digits: as many as tell a float from every other one."""


def label(
    setting: Mapping[str, Any], between: str = ", ", digits: int | None = 4
) -> str:
    """A setting in one line.

    >>> label({"learning_rate": 0.0003, "network.widths": (64, 64)})
    'learning_rate=0.0003, network.widths=64x64'
    """
    return between.join(f"{k}={shown(value, digits)}" for k, value in setting.items())


def shown(value: Any, digits: int | None = 4) -> str:
    """A value as text; of floats so many digits.

    >>> shown(0.99999), shown(0.99999, EXACT), shown((0.5, None))
    ('1', '0.99999', '0.5xnone')
    """
    if isinstance(value, float):
        return str(float(value)) if digits is None else f"{value:.{digits}g}"
    if isinstance(value, tuple | list):
        return "x".join(shown(item, digits) for item in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def cell(value: Any) -> Any:
    """A value for a file that programs read: a number with all digits, else text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else shown(value, EXACT)


def in_markdown(text: str) -> str:
    r"""Return a text that Markdown shows as it is, without links, tags or cells.

    >>> print(in_markdown("<b> [a](b) CartPole-v1 |"))
    \<b\> \[a\](b) CartPole-v1 \|
    """
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", printable(text))


def printable(text: str) -> str:
    r"""Return a text in one line, with escapes for characters that do not print.

    >>> print(printable("a\n b\x1b[31m"))
    a b\x1b[31m
    """
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def as_text(name: str) -> str:
    r"""Return a folder's name as text that any file can hold.

    Python keeps bytes that the system's encoding lacks as lone surrogates.

    >>> as_text("caf\udcc3\udca9"), as_text("caf\udce9")
    ('café', 'caf\\xe9')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
