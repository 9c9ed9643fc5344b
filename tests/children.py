"""How the processes that tests start compile: fast, for what runs for moments."""

import os

import jax

XLA_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if jax.__version_info__[:2] == (0, 10)
    else ""
)
"""Programs compile in half the time. XLA aborts on flags that it does not know."""


def environment(**more: str) -> dict[str, str]:
    """This process's variables, those that compile fast, and more."""
    fast = {"XLA_FLAGS": XLA_FLAGS, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return {**os.environ, **fast, **more}
