"""A process that fails tells the others, which would wait for it for ever.

Collectives wait for all processes, and so does JAX at the end of each: for minutes, and
then with a stack trace. What a process says of its failure is read by a thread of each
other one, which ends it with the same line.
"""

import atexit
import contextlib
import json
import sys
import threading
import time
from typing import Any

import jax

from purejaxppo.cli.interrupts import end_at_once
from purejaxppo.config.labels import printable

FAILED = "purejaxppo/failed"
POLL = 0.5
"""Seconds between looks."""
GRACE = 4 * POLL
"""Seconds in which each that fails, too, may say so itself."""

_over = threading.Event()
_speaking = threading.Lock()
"""This process has failed, or is through; and who says why holds the lock."""


def watch() -> None:
    """End this process when another one has failed."""
    thread = threading.Thread(target=_watch, args=(_client(),), daemon=True)
    thread.start()

    def stop() -> None:
        _over.set()
        thread.join()

    atexit.register(stop)  # It goes before JAX leaves the others.


def leave(code: int, line: str = "") -> int:
    """Say why this process fails; with others it tells them, and does not come back.

    Args:
      code: its exit code.
      line: why; nothing where a person stopped it.

    Returns:
      The exit code, where it is alone.
    """
    if "Gloo" in line:  # What CPU hosts speak through.
        line = f"Another process has ended: {line}"
    with _speaking:
        _over.set()
        if line:
            _say(line)
    if jax.distributed.is_initialized():
        told = {
            "process": jax.process_index(),
            "code": code,
            "line": line or "It was stopped.",
        }
        with contextlib.suppress(Exception):  # Another one was first.
            _client().key_value_set(f"{FAILED}/first", json.dumps(told))
        time.sleep(GRACE)
        _end(code)
    return code


def _watch(client: Any) -> None:
    while not _over.wait(POLL):
        try:
            found = client.key_value_dir_get(FAILED)
        except Exception:  # Of what the first process did not live to tell, JAX knows.
            return
        if found and not _over.wait(GRACE):
            told = json.loads(found[0][1])
            with _speaking:  # What fails because the others end is not said.
                _say(f"Process {told['process']} failed: {told['line']}")
                _end(told["code"] or 1)


def _say(line: str) -> None:
    print(f"purejaxppo: error: {printable(line)}", file=sys.stderr)


def _end(code: int) -> None:
    """End without JAX, which would wait for the others.

    When all have spoken, the first one last: it serves the others what is told.
    """
    time.sleep(4 * POLL if jax.process_index() == 0 else 2 * POLL)
    end_at_once(code)


def _client() -> Any:
    """JAX's client of what all processes can read; it has no public name."""
    from jax._src import distributed

    return distributed.global_state.client
