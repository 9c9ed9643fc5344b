"""A virtual environment of the peers' own, with the JAX that ours has."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.workers import ROOT

DIRECTORY = ROOT / ".venv-peers"
PEERS = ("rejax==0.1.3", "gymnax==0.0.9")
STAMP = "purejaxppo-peers.txt"


def requirements() -> tuple[str, ...]:
    """The peers, and our JAX with its GPU plugin if it has one."""
    installed = {
        d.metadata["Name"].lower(): d.version for d in metadata.distributions()
    }
    jax = [
        # A plugin brings its CUDA libraries by this extra.
        f"{name}[with-cuda]=={version}" if "plugin" in name else f"{name}=={version}"
        for name, version in sorted(installed.items())
        if name in ("jax", "jaxlib") or name.startswith("jax-cuda")
    ]
    return (*PEERS, *jax)


def ensure(directory: Path = DIRECTORY) -> Path:
    """Make or bring up to date the environment in `directory`; its interpreter.

    Raises:
      subprocess.CalledProcessError: it could not be installed.
    """
    python, stamp = directory / "bin" / "python", directory / STAMP
    wanted = "\n".join(requirements()) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements())} in {directory}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *requirements(),
    ]
    subprocess.run(install, check=True)
    stamp.write_text(wanted)
    return python
