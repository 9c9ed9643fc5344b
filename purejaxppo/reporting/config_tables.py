"""What was run: options, versions and devices, seeds, as tables of a page."""

from collections.abc import Sequence
from typing import Any

from purejaxppo.config.config import Config
from purejaxppo.config.fields import flatten
from purejaxppo.reporting.formatting import spans
from purejaxppo.reporting.page_elements import Table, text, word_columns
from purejaxppo.reporting.sources import Source


def config_table(source: Source) -> Table:
    """Every option of a study, beside its default."""
    defaults = flatten(Config())
    rows = [
        [
            text(name),
            text(shown(value)),
            text(shown(defaults[name]) if name in defaults else ""),
            text("yes" if name in defaults and defaults[name] != value else ""),
        ]
        for name, value in source.config.items()
    ]
    return Table(
        key="options",
        caption=f"Options of the study ({len(rows)})",
        columns=word_columns("option", "value", "default", "changed"),
        rows=rows,
        folded=True,
    )


def differences_table(sources: Sequence[Source]) -> Table:
    """The options that are not the same in all studies."""
    names = dict.fromkeys(name for source in sources for name in source.config)
    told = [name for name in names if len({_shown(s, name) for s in sources}) > 1]
    known = all(source.config for source in sources)
    alike = "No option differs between the studies" if known else "Options: not known"
    return Table(
        key="differences",
        caption="Options that differ between the studies" if told else alike,
        columns=word_columns("option", *(str(source.path) for source in sources)),
        rows=[
            [text(name), *(text(_shown(source, name)) for source in sources)]
            for name in told
        ],
        sortable=False,
    )


def origins_table(sources: Sequence[Source], made: dict[str, str]) -> Table:
    """Where runs are from: seeds, date, versions, devices; and what made the page."""
    facts = [_facts(source) for source in sources]
    here = {
        "python": made["python"],
        **{k: v for k, v in made.items() if k != "python"},
    }
    names = dict.fromkeys(name for fact in [*facts, here] for name in fact)
    return Table(
        key="origins",
        caption="Seeds, versions and devices",
        columns=word_columns("", *(str(s.path) for s in sources), "this page"),
        rows=[
            [text(name), *(text(fact.get(name, "")) for fact in [*facts, here])]
            for name in names
        ],
        sortable=False,
    )


def _facts(source: Source) -> dict[str, str]:
    environment = dict(source.environment)
    packages = environment.pop("packages", {})
    seeds = {
        f"seeds, {r.algorithm} on {r.task}"
        if len(source.records) > 1
        else "seeds": spans(r.seeds)
        for r in source.records
    }
    facts = {name.replace("_", " "): shown(v) for name, v in environment.items()}
    return {**seeds, **facts, **packages}


def _shown(source: Source, name: str) -> str:
    return shown(source.config[name]) if name in source.config else ""


def shown(value: Any) -> str:
    """Return an option's value as it is given on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(shown, value))
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
