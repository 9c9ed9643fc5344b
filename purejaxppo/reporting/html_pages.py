"""A page: from its parts to one self-contained HTML file."""

import re
import shlex
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from purejaxppo.reliability.caveats import NO_ROLLOUTS, NO_UNITS
from purejaxppo.reliability.comparison import MEASURED
from purejaxppo.reporting.page_elements import Caveat, Page
from purejaxppo.reporting.sources import Source
from purejaxppo.study.storage import disk

if TYPE_CHECKING:
    from markupsafe import Markup


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


def with_advice(caveat: str, source: Source | None = None, directory: str = "") -> str:
    """Return a warning with what can be done about it, if there is a command for it.

    Args:
        caveat: a sentence of `reliability.caveats`.
        source: of the runs, if they are of one; only a study can be evaluated, and from
            the command line only one that was given no Python objects.
        directory: what the study's is called; its path if empty.
    """
    if caveat.endswith(NO_UNITS):
        return f"{caveat} `--cell-units return` gives them in those of the return."
    if caveat.endswith(MEASURED):
        return (
            f"{caveat} `--baseline SCORE --target SCORE` give the returns that count "
            "as 0 and 1; for scores that are normalised already, `--baseline 0 "
            "--target 1`."
        )
    if source is None or not caveat.endswith(NO_ROLLOUTS):
        return caveat
    if source.config and not source.environment.get("objects"):
        where = directory or shlex.quote(str(source.path))
        return f"{caveat} `purejaxppo evaluate {where}` makes them."
    return caveat


def _said(words: str) -> "Markup":
    """Words as HTML: code between backticks, no line that begins with a unit."""
    from markupsafe import Markup, escape

    safe = str(escape(words))
    for glued in (" %", " × 10", "p = "):
        safe = safe.replace(glued, glued.replace(" ", "&nbsp;"))
    safe = re.sub(r"\[[^\[\]]+\]", lambda m: m[0].replace(" ", "&nbsp;"), safe)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", safe))
