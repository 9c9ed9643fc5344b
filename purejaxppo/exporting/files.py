"""What an exported directory holds."""

import hashlib
from pathlib import Path

FACTS, PROGRAM = "policy.json", "policy.stablehlo"
PARAMETERS, MEMORY = "params.safetensors", "memory.safetensors"
PICTURE = "play.gif"
"""What `purejaxppo play` leaves there."""

FORMAT = 1
"""Number of this layout, which another layout is to change."""

BINARIES = (PROGRAM, PARAMETERS, MEMORY)


def holds_policy(directory: Path) -> bool:
    """Whether a policy was exported to the directory."""
    return (directory / FACTS).is_file()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
