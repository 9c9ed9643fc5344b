"""What threads of other packages print of their errors, which they raise as well."""

import logging
import os
import sys
import threading
from types import TracebackType


def quiet_threads() -> None:
    """Leave out tracebacks of threads, which would bury the line that says why.

    What a thread raises comes to the main one, too, where a command fails of it. Set
    PUREJAXPPO_TRACEBACK to see all of it.
    """
    if os.environ.get("PUREJAXPPO_TRACEBACK"):
        return
    for name in ("absl", "asyncio"):
        logging.getLogger(name).disabled = True
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            before(kind, error, trace)

    # Threads of C++ come to the one, those of Python to the other.
    sys.excepthook = hook
    threading.excepthook = lambda told: None
