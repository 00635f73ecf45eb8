"""The thread that ends a process which hangs: only where it may, and without delaying any other."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

WATCHED = """
import threading
from worker.cli import exit_watchdog
def others():
    return [each.daemon for each in threading.enumerate() if each is not threading.main_thread()]
exit_watchdog.exit_soon(7)
print(others())
exit_watchdog.arm()
exit_watchdog.exit_soon(7)
print(others())
"""


def test_only_an_armed_process_is_watched_and_it_does_not_wait_for_its_watchdog() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n[True]\n", "")
