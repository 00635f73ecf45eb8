"""Ends the process in time, whatever threads still hang, as one in a resolver that does not answer does.

Invariant: only a process that is all ours is ended, and only when its work is done and its exit code known.
Neighbours: `main` declares the process ours, `invocation` knows when the work is done.
"""

import os
import sys
import threading
import time

SECONDS = 3.0
"""How long the interpreter may take to end by itself."""

_ours: list[bool] = []


def arm() -> None:
    """Allow this process to be ended."""
    _ours.append(True)


def exit_soon(code: int) -> None:
    """End the process with this code, if it has not ended by itself in time."""
    if _ours:
        threading.Thread(target=_end, args=(code,), daemon=True).start()


def _end(code: int) -> None:
    time.sleep(SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
