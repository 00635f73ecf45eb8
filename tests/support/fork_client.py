"""Asks the fork server for commands. Each process of the tests has a server of its own, started with the first command.

Invariant: a `Forked` is used like a `subprocess.Popen` with text pipes, and signals no process that has ended.
Neighbours: `fork_server` is the other side, `command` the only user.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

SERVER = pathlib.Path(__file__).with_name("fork_server.py")


def environment() -> dict[str, str]:
    """Return what every command has in its environment: no key, no settings, no terminal."""
    # Variables configure coverage in subprocesses; defects are planted in another tree than the installed one.
    kept = {name: text for name, text in os.environ.items() if name.startswith("COVERAGE_") or name == "PYTHONPATH"}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **kept}


class Forked:
    """A process that the server has forked."""

    def __init__(self, pid: int, *, status: IO[str], outputs: Sequence[IO[str] | None]) -> None:
        """Store the file on which the exit code arrives, and the pipes of stdout and stderr."""
        self.pid = pid
        self.stdout, self.stderr = outputs
        self._status = status
        self._code: int | None = None
        self._read: list[str | None] = [None, None]
        self._readers: list[threading.Thread] = []

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        return self._wait(0)

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(9)

    def communicate(self, *, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Read all output and wait for the end. Raise subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._readers:
            self._readers = [threading.Thread(target=self._drain, args=(number,), daemon=True) for number in range(2)]
            for reader in self._readers:
                reader.start()
        for reader in self._readers:
            reader.join(_left(deadline))
        if any(reader.is_alive() for reader in self._readers) or self._wait(_left(deadline)) is None:
            raise subprocess.TimeoutExpired("fleet-sync", timeout or 0)
        return self._read[0], self._read[1]

    def _drain(self, number: int) -> None:
        pipe = (self.stdout, self.stderr)[number]
        if pipe is not None:
            with pipe:
                self._read[number] = pipe.read()

    def _wait(self, seconds: float | None) -> int | None:
        if self._code is None and select.select([self._status], [], [], seconds)[0]:
            self._code = int(self._status.readline())
            self._status.close()
        return self._code


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def fork(
    program: pathlib.Path,
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: pathlib.Path,
    stdin: int | None,
    outputs: Sequence[int | None],
) -> Forked:
    """Start a command. `outputs` are descriptors for stdout and stderr, or None for a pipe to the tests.

    `stdin` is a descriptor, or None for no input.
    """
    request = {
        "program": str(program),
        "arguments": arguments,
        "environment": dict(environ),
        "folder": str(folder),
    }
    ours: list[int | None] = []
    theirs = [os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)]
    for descriptor in (*outputs, None):
        reading, writing = os.pipe() if descriptor is None else (None, os.dup(descriptor))
        ours.append(reading)
        theirs.append(writing)
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], theirs)
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    stdout, stderr, status = [None if reading is None else os.fdopen(reading) for reading in ours]
    assert status is not None
    return Forked(int(status.readline()), status=status, outputs=(stdout, stderr))


@functools.cache
def _server() -> socket.socket:
    """Start the server, which ends when this process does and the socket closes with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", SERVER, str(theirs.fileno())],
            env=environment(),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(_stop, ours, process)
    return ours


def _stop(connection: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    connection.close()
    process.wait()
