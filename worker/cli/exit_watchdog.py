"""Ends the process in time if a thread hangs, for example in a DNS resolver that does not answer.

Invariant: the process is ended only if it belongs to fleet-sync alone, and only once its exit code is known.
Neighbours: `main` arms the watchdog, `context` starts it when the work is done.
"""

import os
import sys
import threading

SECONDS = 3.0
"""How long the interpreter may take to exit by itself."""

_armed = threading.Event()


def arm() -> None:
    """Declare that this process belongs to fleet-sync alone and may be ended."""
    _armed.set()


def exit_soon(code: int) -> None:
    """End the process with this code in a few seconds, if it still runs then and is armed."""
    if _armed.is_set():
        threading.Thread(target=_exit, args=(code,), daemon=True).start()


def _exit(code: int) -> None:
    threading.Event().wait(SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
