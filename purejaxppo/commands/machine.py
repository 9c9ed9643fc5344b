"""The machine that a command has to itself."""

import gc
import os
from pathlib import Path

import jax


def use_this_machine() -> None:
    """Make every CPU core a device and keep compiled programs; before JAX starts.

    Garbage is collected seldom from then on: this is for a process of our own.

    What the user has set in the environment (JAX_NUM_CPU_DEVICES, XLA_FLAGS,
    JAX_COMPILATION_CACHE_DIR) stands.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count()
        )
        jax.config.update("jax_num_cpu_devices", cores)
    if jax.__version_info__ < (0, 11):  # XLA aborts on a flag that it does not know.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", f"{home}/purejaxppo/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    # Modules stay and tracing leaves little: to look for garbage was a seventh of a
    # short command's time.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
