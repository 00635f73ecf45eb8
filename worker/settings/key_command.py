"""Runs the command that prints the API key.

Invariants: the command ends within its time limit, with every process that it started; nothing of its output is in a
message or a log. Neighbours: `secrets` decides whether it is needed, and checks what it printed.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

TIMEOUT_SECONDS = 10.0


class CommandFailed(Exception):
    """The command could not be run, failed, took too long, or printed too much."""


def run(argv: Sequence[str], *, max_bytes: int, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """Return what a command prints. Raises CommandFailed."""
    process = _started(argv)
    late = threading.Event()

    def kill_late() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(timeout, kill_late)
    timer.start()
    with process:
        try:
            output = process.stdout.read(max_bytes + 1) if process.stdout else b""
            if len(output) > max_bytes:
                _kill(process)
            _wait(process)
        except BaseException:
            _kill(process)
            raise
        finally:
            timer.cancel()
    if late.is_set():
        raise CommandFailed(f"the command did not end within {timeout:g} s")
    if len(output) > max_bytes:
        raise CommandFailed("the command prints more than a key")
    if process.returncode:
        raise CommandFailed(f"the command failed with exit code {process.returncode}")
    return output


def _started(argv: Sequence[str]) -> "subprocess.Popen[bytes]":
    from worker.sources import processes  # imported late: most accounts have no command

    try:
        return subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=processes.inherited(os.environ),  # the keys of other accounts may be in it
            start_new_session=True,  # so that its children can be killed with it
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid command"
        raise CommandFailed(f"the command cannot be run ({reason})") from None


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the command to end, and kill the children that it leaves behind."""
    if hasattr(os, "waitid"):  # it keeps the command's id from becoming that of another process; macOS: Python 3.13
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()
    _kill_group(process)
    process.wait()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the command and its children, unless it was waited for: its id may belong to another process by then."""
    if process.returncode is None:
        _kill_group(process)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, if all are zombies
        os.killpg(process.pid, signal.SIGKILL)
