"""An exported policy, read from its directory and ready to act."""

import json
from pathlib import Path
from typing import Any

import jax
from jax import export

from purejaxppo.exporting import files
from purejaxppo.exporting.extras import check_installed
from purejaxppo.exporting.portable import POLICY_FACTS, PortablePolicy
from purejaxppo.suites.own import describe


def read_policy(directory: Path | str) -> PortablePolicy:
    """Read what `export_policy` has written.

    Raises:
      ValueError: there is no policy, or a damaged one, or one that this version of JAX
        does not read; or a package is missing.
    """
    directory = Path(directory)
    check_installed("export", "safetensors", "flatbuffers")
    from safetensors.numpy import load_file

    facts = read_facts(directory)
    for name in files.BINARIES:
        _check_file(directory / name, facts["sha256"].get(name))
    return PortablePolicy(
        call=_read_program(directory / files.PROGRAM, facts).call,
        params=load_file(directory / files.PARAMETERS),
        memory=load_file(directory / files.MEMORY),
        facts=facts,
    )


def read_facts(directory: Path) -> dict[str, Any]:
    """Read `policy.json`.

    Raises:
      ValueError: there is none, or not one that `export_policy` has written.
    """
    path = directory / files.FACTS
    if not path.is_file():
        raise ValueError(f"Expected an exported policy in {directory}, found none.")
    try:
        facts = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"Expected {path} to be JSON: {error}.") from None
    given = facts.get("format") if isinstance(facts, dict) else None
    if given != files.FORMAT:
        raise ValueError(
            f"Expected format in {path} to be {files.FORMAT}, got {given!r}."
        )
    needed = *POLICY_FACTS, "packages", "sha256"
    missing = [name for name in needed if name not in facts]
    if missing:
        raise ValueError(f"Expected {path} to have {missing[0]}, found none.")
    return facts


def _check_file(path: Path, wanted: str | None) -> None:
    if not path.is_file():
        raise ValueError(f"Expected a file at {path}, found none.")
    if (found := files.digest(path)) != wanted:
        raise ValueError(
            f"Expected {path} to have the SHA-256 of {files.FACTS}, {wanted}, got "
            f"{found}."
        )


def _read_program(path: Path, facts: dict[str, Any]) -> export.Exported:
    try:
        return export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:
        raise ValueError(
            f"Expected {path}, written by jax {facts['packages'].get('jax')}, to be "
            f"of a version that jax {jax.__version__} reads, got {describe(error)}."
        ) from error
