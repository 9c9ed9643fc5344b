"""What the figures were measured on and with: device, versions, memory."""

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "purejaxppo",
    "rejax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "gymnax",
    "numpy",
    "scipy",
    "rliable",
)


def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def device() -> dict[str, Any]:
    """Name, platform and number of JAX's devices; starts its backend."""
    import jax

    first = jax.devices()[0]
    name = _processor() if first.platform == "cpu" else first.device_kind
    return {
        "name": name,
        "platform": first.platform,
        "count": jax.device_count(),
        "cores": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def memory() -> dict[str, int | None]:
    """Peak bytes of this process, and of the fullest device where it keeps count."""
    import jax

    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    return {
        "peak_rss_bytes": peak_rss(),
        "device_peak_bytes": max(peaks, default=None),
    }


def peak_rss() -> int:
    """Peak bytes of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _processor() -> str:
    """The processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine()).strip()
