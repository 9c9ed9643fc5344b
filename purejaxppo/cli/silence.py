"""What other packages' threads print of their errors, which they raise as well."""

import logging
import os
import sys
import threading
import warnings


def quiet_threads() -> None:
    """Leave out tracebacks of threads, which would bury the line that says why.

    What a thread raises comes to the main one, too, where a command fails of it. Set
    PUREJAXPPO_TRACEBACK to see all of it.
    """
    if os.environ.get("PUREJAXPPO_TRACEBACK"):
        return
    for name in ("absl", "asyncio"):
        logging.getLogger(name).disabled = True
    # zarr's: what it had begun to write when the disk was full.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    # Threads of Python come to the one, callbacks of C++ to the other.
    threading.excepthook = lambda told: None
    sys.unraisablehook = lambda told: None
