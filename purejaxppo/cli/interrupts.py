"""How a process ends that a person stops: heard wherever it is, without an abort."""

import _thread
import contextlib
import os
import sys
import threading
from typing import NoReturn

import jax

STOPPED = 130
"""Exit code of what a person stopped."""


def hear_interrupts() -> None:
    """Make Ctrl-C heard where Python ignores what is raised, as in JAX's callbacks."""
    before = sys.unraisablehook

    def hook(told: "sys.UnraisableHookArgs") -> None:
        if issubclass(told.exc_type, KeyboardInterrupt):
            threading.Timer(0.1, _thread.interrupt_main).start()
        else:
            before(told)

    sys.unraisablehook = hook


def end(code: int) -> NoReturn:
    """End this process; one that was stopped without XLA, which aborts at its work."""
    if code == STOPPED and not jax.distributed.is_initialized():
        end_at_once(code)
    sys.exit(code)


def end_at_once(code: int) -> NoReturn:
    """End this process without what JAX and XLA do then."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
