"""The machine that a command has to itself."""

import gc
import os
import signal
from collections import Counter
from pathlib import Path

import jax

from purejaxppo.cli import failures, rendezvous


def join_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Become one of several processes that train one study; before JAX starts.

    Args:
      coordinator: HOST:PORT of the first process; "auto" where the cluster tells
        (SLURM, Kubernetes, Open MPI, Cloud TPU); None to stay alone.
      num_processes: how many there are, if the cluster does not tell.
      process_id: which one this is, from 0 on, if the cluster does not tell.

    Raises:
      ValueError: a part is missing, or they do not come together.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("Expected --coordinator with --num-processes, got none.")
        return
    if coordinator != "auto":
        if ":" not in coordinator or num_processes is None or process_id is None:
            raise ValueError(
                "Expected --coordinator HOST:PORT with --num-processes and "
                f"--process-id, or auto, got {coordinator!r}, {num_processes} and "
                f"{process_id}."
            )
        rendezvous.call_roll(coordinator, num_processes, process_id)
    # What several CPU hosts speak through; other platforms have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address = None if coordinator == "auto" else coordinator
    try:
        jax.distributed.initialize(address, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0].removesuffix(".")
        raise ValueError(
            f"Expected the processes to come together at {coordinator}: {first}."
        ) from None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # JAX would only take a note of it.
    failures.watch()
    check_devices()


def check_devices() -> None:
    """Refuse processes that have not as many devices each, which JAX cannot gather.

    Raises:
      ValueError: in all of them.
    """
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        each = ", ".join(str(counts[process]) for process in sorted(counts))
        raise ValueError(
            f"Expected all processes to have as many devices, got {each}; "
            "JAX_NUM_CPU_DEVICES says how many a CPU has."
        )


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
