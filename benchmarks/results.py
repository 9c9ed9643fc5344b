"""The JSON file that a benchmark leaves."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def document(
    benchmark: str,
    results: Any,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """All that a later reader needs to judge the figures, ready for JSON."""
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "settings": plain(settings),
        "results": plain(results),
    }


def plain(value: Any) -> Any:
    """`value` with its NamedTuples as dictionaries, however deep."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def write(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` as JSON, if there is a path."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n")
