"""Terminals that lack characters: a readable replacement, never an error.

A terminal, a pipe or a log file that is not in UTF-8 cannot show every character. What
is printed there has `-` for a minus sign and `x` for a times sign; of a character that
has no such replacement, as in a file's name, it has the escape.
"""

import codecs
import io
import sys
from collections.abc import Mapping
from types import MappingProxyType

REPLACEMENTS: Mapping[str, str] = MappingProxyType(
    {
        **{"−": "-", "–": "-", "×": "x", "·": "*", "½": "1/2", "•": "*", "…": "..."},
        **{"²": "^2", "₁": "_1", "₂": "_2", "≥": ">=", "≤": "<=", "‖": "||"},
        **{"⌊": "floor(", "⌋": ")", "Σ": "Sigma", "β": "beta", "ε": "epsilon"},
        **{"θ": "theta", "λ": "lambda", "μ": "mu", "σ": "sigma", "τ": "tau"},
    }
)
"""Characters of our own output -> ASCII."""


def accept_any_text() -> None:
    """Let standard output and error take any text, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        # Notebooks have other streams, and a closed one is None.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace the characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_readable, lacking)), error.end


def _readable(character: str) -> str:
    escaped = character.encode("ascii", "backslashreplace").decode("ascii")
    return REPLACEMENTS.get(character, escaped)


HANDLER = "purejaxppo.readable"
"""Name of the error handler."""
codecs.register_error(HANDLER, _replace)
