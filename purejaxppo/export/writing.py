"""An exported policy's directory, written whole or not at all."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
from jax import export

import purejaxppo
from purejaxppo.export import files
from purejaxppo.export.extras import check_installed
from purejaxppo.export.policy import PortablePolicy, make_portable, seen
from purejaxppo.export.stablehlo import PLATFORMS, lower, signature
from purejaxppo.study import Loaded, load_run
from purejaxppo.study.storage import disk


def export_study(
    directory: Path | str,
    run: int,
    output: Path | str,
    *,
    trust_code: bool = False,
    **options: Any,
) -> Path:
    """Export the policy of a study's run: `export_policy` of `study.load_run`."""
    check_output(Path(output), options.get("overwrite", False))
    found = load_run(directory, run, trust_code=trust_code)
    return export_policy(*found, output, **options)


def export_policy(
    loaded: Loaded,
    run: int,
    output: Path | str,
    *,
    platforms: Sequence[str] = PLATFORMS,
    batch: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Export a run's policy to a directory, for programs that need no more than JAX.

    `policy.stablehlo` is `PortablePolicy.call` as `jax.export` serialises it,
    `params.safetensors` its parameters, `memory.safetensors` the memory of one episode
    at its start (empty of a policy without one), and `policy.json` says what they are.

    Args:
      loaded: from `study.load`.
      run: which run's.
      output: the directory to make.
      platforms: where the program can run; names as JAX has them.
      batch: number of observations in each call; any number if None.
      overwrite: replace the policy that was exported to `output`.

    Returns:
      `output`.

    Raises:
      ValueError: there is no such run; `output` is there, or not writable; the policy
        cannot be lowered; or a package is missing. Nothing is changed then.
    """
    output = Path(output)
    check_output(output, overwrite)
    policy, obs = make_portable(loaded, run), seen(loaded)
    lowered = lower(policy, obs, platforms, batch)
    facts = {
        **policy.facts,
        "batch": batch,
        "platforms": list(lowered.platforms),
        **signature(policy, obs, lowered),
    }
    target = output.resolve()  # A link to a folder stays one.
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with disk.writing(output):
            _write(partial, policy, lowered, facts)
            _replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse to begin where a policy could not be left.

    Raises:
      ValueError: `output` holds a policy that is not to be replaced, or anything else;
        or a package is missing.
    """
    check_installed("export", "safetensors", "flatbuffers")
    disk.check_output(output)
    if not output.exists():
        return
    ours = {files.FACTS, files.PICTURE, *files.BINARIES}
    others = sorted(path.name for path in output.iterdir() if path.name not in ours)
    if others:
        raise ValueError(
            f"Expected output {output} to hold nothing but an exported policy, got "
            f"{others[0]}."
        )
    if files.holds_policy(output) and not overwrite:
        raise ValueError(
            f"Expected output to hold no policy, but {output} does; overwrite "
            "replaces it."
        )


def _write(
    directory: Path,
    policy: PortablePolicy,
    lowered: export.Exported,
    facts: dict[str, Any],
) -> None:
    from safetensors.numpy import save

    directory.mkdir(parents=True)
    disk.write_bytes(directory / files.PROGRAM, bytes(lowered.serialize()))
    named = {files.PARAMETERS: policy.params, files.MEMORY: policy.memory}
    for name, arrays in named.items():
        # The format has no strides: it takes the bytes as they lie.
        plain = {k: np.array(x, order="C") for k, x in arrays.items()}
        disk.write_bytes(directory / name, save(plain))
    digests = {name: files.digest(directory / name) for name in files.BINARIES}
    record = {
        "format": files.FORMAT,
        **facts,
        "key": str(jax.random.key_impl(jax.random.key(0))),
        "packages": _versions(),
        "sha256": digests,
    }
    disk.write_json(directory / files.FACTS, record)


def _replace(partial: Path, output: Path) -> None:
    """Put a directory in the place of another one."""
    if output.exists():
        old = partial.with_name(f"{partial.name}.old")
        output.rename(old)
        partial.rename(output)
        shutil.rmtree(old)
    else:
        partial.rename(output)


def _versions() -> dict[str, str]:
    packages = purejaxppo, jax, jaxlib, flax
    return {package.__name__: package.__version__ for package in packages}
