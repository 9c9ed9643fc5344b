"""A page: from its parts to one self-contained HTML file."""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from purejaxppo import disk
from purejaxppo.reliability.caveats import NO_ROLLOUTS, NO_UNITS
from purejaxppo.reporting.models import Caveat, Page

if TYPE_CHECKING:
    from markupsafe import Markup

ADVICE = {
    NO_ROLLOUTS: "`purejaxppo evaluate {directory}` makes them.",
    NO_UNITS: "`--cell-units return` gives them in those of the return.",
}
"""End of a warning -> the command, or option, that helps."""


def write_page(path: Path, page: Page) -> None:
    """Write a page; it needs no other file and no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("purejaxppo.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = _said
    text = environment.get_template("page.html").render(page=page)
    disk.write_text(path, text)


def made_by(versions: dict[str, str]) -> str:
    """Return what made a page, and when."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made by purejaxppo {versions['purejaxppo']} on {now}"


def gathered(
    found: Iterable[tuple[str, str]], everything: Collection[str] = ()
) -> list[Caveat]:
    """Return equal warnings as one, with all that they are about.

    Args:
        found: sentences, and what each is about; "" for everything.
        everything: that there is to be warned of: what is about all of it does not say
            so.
    """
    about: dict[str, list[str]] = {}
    for sentence, subject in found:
        about.setdefault(sentence, []).extend([subject] if subject else [])
    return [
        Caveat(sentence, [] if set(subjects) == set(everything) else subjects)
        for sentence, subjects in about.items()
    ]


def with_advice(caveat: str, directory: Path | str) -> str:
    """Return a warning with what can be done about it, if there is a command for it.

    Args:
        caveat: a sentence of `reliability.caveats`.
        directory: of the study.
    """
    for ending, advice in ADVICE.items():
        if caveat.endswith(ending):
            return f"{caveat} {advice.format(directory=directory)}"
    return caveat


def _said(words: str) -> "Markup":
    """Words as HTML: code between backticks, no line that begins with a unit."""
    from markupsafe import Markup, escape

    safe = str(escape(words))
    for glued in (" %", " × 10", "p = "):
        safe = safe.replace(glued, glued.replace(" ", "&nbsp;"))
    safe = re.sub(r"\[[^\[\]]+\]", lambda m: m[0].replace(" ", "&nbsp;"), safe)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", safe))
