"""An exported policy, read from its directory and ready to act."""

import re
from pathlib import Path
from typing import Any

import jax
from jax import export

from purejaxppo.config.labels import printable
from purejaxppo.environments.suites.custom import describe
from purejaxppo.export import files
from purejaxppo.export.extras import check_installed
from purejaxppo.export.policy import PortablePolicy
from purejaxppo.study.storage import disk, schemas

CUSTOM_CALL = re.compile(r"custom_call\W+([\w.$-]+)")
"""In a program's text: a function of the machine's that it calls, by its name."""

HARMLESS = frozenset({"shape_assertion", "Sharding"})
"""Those of JAX's that our programs may have; they touch nothing but their arguments."""


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
    arrays = {}
    for name in (files.PARAMETERS, files.MEMORY):
        try:
            arrays[name] = load_file(directory / name)
        except Exception as error:  # Of safetensors, which has kinds of its own.
            raise _damaged(directory / name, describe(error)) from None
    return PortablePolicy(
        call=_read_program(directory / files.PROGRAM, facts).call,
        params=arrays[files.PARAMETERS],
        memory=arrays[files.MEMORY],
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
    disk.check_entry(path, is_folder=False)
    try:
        facts = disk.read_json(path)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be JSON: {error}.") from None
    given = facts.get("format") if isinstance(facts, dict) else None
    if given != files.FORMAT:
        raise ValueError(
            f"Expected format in {path} to be {files.FORMAT}, got {given!r}."
        )
    missing = [name for name in files.NEEDED if name not in facts]
    if missing:
        raise ValueError(f"Expected {path} to have {missing[0]}, found none.")
    if told := schemas.fault(facts, files.NEEDED, needed=files.NEEDED):
        raise _damaged(path, told)
    return facts


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged: {why.removesuffix('.')}.")


def _check_file(path: Path, wanted: str | None) -> None:
    disk.check_entry(path, is_folder=False)
    if not path.is_file():
        raise ValueError(f"Expected a file at {path}, found none.")
    if (found := files.digest(path)) != wanted:
        raise ValueError(
            f"Expected {path} to have the SHA-256 of {files.FACTS}, {wanted}, got "
            f"{found}."
        )


def _read_program(path: Path, facts: dict[str, Any]) -> export.Exported:
    try:
        program = export.deserialize(bytearray(path.read_bytes()))
        calls = set(CUSTOM_CALL.findall(program.mlir_module()))
    except Exception as error:
        raise ValueError(
            f"Expected {path}, written by jax {facts['packages'].get('jax')}, to be "
            f"of a version that jax {jax.__version__} reads, got {describe(error)}."
        ) from error
    if unknown := sorted(calls - HARMLESS):
        raise _damaged(
            path,
            f"it calls {printable(unknown[0])} outside of the program, which exported "
            "policies do not",
        )
    return program
