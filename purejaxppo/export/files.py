"""What an exported directory holds."""

import hashlib
import math
from pathlib import Path
from typing import Any

from purejaxppo.study.storage.schemas import (
    DIGEST,
    NAME,
    Schema,
    or_null,
    table_of,
    whole,
)

FACTS, PROGRAM = "policy.json", "policy.stablehlo"
PARAMETERS, MEMORY = "params.safetensors", "memory.safetensors"
PICTURE = "play.gif"
"""What `purejaxppo play` leaves there."""

FORMAT = 1
"""Number of this layout, which another layout is to change."""

BINARIES = (PROGRAM, PARAMETERS, MEMORY)


def _is_tree(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_tree, value))
    return isinstance(value, int | float) and math.isfinite(value)


NEEDED: Schema = {
    "format": whole(FORMAT, FORMAT + 1),
    "env": NAME,
    "env_params": table_of(("a number or lists of numbers", _is_tree)),
    "frame_stack": or_null(whole(1, 2**16)),
    "run": whole(),
    "updates": whole(),
    "batch": or_null(whole(1, 2**20)),
    "finite": ("true or false", lambda x: isinstance(x, bool)),
    "packages": table_of(NAME),
    "sha256": table_of(DIGEST),
}
"""What `policy.json` is read for; it tells people more."""


def holds_policy(directory: Path) -> bool:
    """Whether a policy was exported to the directory."""
    return (directory / FACTS).is_file()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
