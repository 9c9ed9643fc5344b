"""What the bits of a study's results depend on, besides its configuration."""

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import purejaxppo

PACKAGES = (
    "purejaxppo",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "gymnax",
    "numpy",
)

OPTIONS = (
    *("jax_enable_x64", "jax_default_matmul_precision", "jax_threefry_partitionable"),
    "jax_default_prng_impl",
)
"""JAX's that change numbers."""


def package_versions() -> dict[str, str]:
    """The version of each package that takes part in the training."""
    return {name: _version(name) for name in PACKAGES}


def provenance(env: Any) -> dict[str, Any]:
    """Name -> value of all that must be the same for the same bits.

    Args:
      env: a study's; of one's own, its file counts as code.
    """
    device = jax.devices()[0]
    return {
        **code(env),
        "platform": device.platform,
        "device": _cpu() if device.platform == "cpu" else device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "XLA_FLAGS": " ".join(os.environ.get("XLA_FLAGS", "").split()),
        **{option: getattr(jax.config, option) for option in OPTIONS},
    }


def code(env: Any) -> dict[str, str]:
    """Name -> version or digest of all code that a study on `env` runs."""
    return {
        **package_versions(),
        "code": _digest(Path(purejaxppo.__file__).parent),
        **_own_code(env),
    }


def changes(
    before: dict[str, Any], now: dict[str, Any], missing: str = "unknown"
) -> list[str]:
    """What differs, a phrase each: "jax is 0.10.1 there and 0.10.2 here"."""
    return [
        f"{name} is {before.get(name, missing)} there and {now.get(name, missing)} here"
        for name in now | before
        if before.get(name) != now.get(name)
    ]


def _own_code(env: Any) -> dict[str, str]:
    """The digest of the file that an id such as `walk.py:Walk` names."""
    place = env.rpartition(":")[0] if isinstance(env, str) else ""
    path = Path(place if place.endswith(".py") else place.replace(".", "/") + ".py")
    return {"env's code": _digest(path)} if place and path.is_file() else {}


@cache
def _digest(path: Path) -> str:
    """Of a file, or of all Python files in a folder; the first characters."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(path)}\n".encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:12]


def _cpu() -> str:
    """The processor's name: others round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
