"""Runs a program to its end, within time and size, and leaves nothing of it behind.

Invariants: every process of its group has ended when a call returns, also if the call is cancelled; and no key or other
secret of fleet-sync is in the environment that `inherited` returns. Neighbours: `command_source` and `git_source`.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import cast

import anyio
import anyio.abc

from worker.core.model.secret import KEY_PREFIX

QUIET_SECONDS = 5.0
"""How long what a program left behind may print nothing before it is killed, if it has stdout open."""

_MAX_STDERR_BYTES = 64 * 1024
_SECRET_VARIABLES = ("CHARGE_API_KEY", "FLEET_SYNC_")


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """What is run: `timeout` is in seconds, `most` the size of the longest output."""

    argv: Sequence[str]
    folder: pathlib.Path
    environ: Mapping[str, str] = dataclasses.field(repr=False)
    timeout: float
    most: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `stderr` is the end of what it printed there; a signal that ended it is a negative code.

    `is_late` means that the program, or a process that still printed for it, did not end in time.
    """

    stdout: bytes
    stderr: bytes
    code: int
    is_late: bool
    is_too_large: bool


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the key and the other secrets of fleet-sync."""
    return {
        name: text
        for name, text in environ.items()
        if not name.startswith(_SECRET_VARIABLES) and KEY_PREFIX not in text
    }


async def run(program: Program) -> Ended:
    """Run a program without input. Raises OSError or ValueError if it cannot be started."""
    process = await _start(program)
    output = _Output(program.most)
    try:
        with anyio.move_on_after(program.timeout) as deadline:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(output.read_stderr, process)
                tasks.start_soon(output.read_stdout, process)
                await _end(process, output)
    finally:
        _kill(process)
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await process.aclose()
    return Ended(
        bytes(output.stdout),
        bytes(output.stderr),
        -signal.SIGKILL if process.returncode is None else process.returncode,
        is_late=deadline.cancelled_caught,
        is_too_large=len(output.stdout) > program.most,
    )


async def _start(program: Program) -> anyio.abc.Process:
    # A call that is cancelled while the process starts would leave behind what it started by then.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            list(program.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=program.folder,
            env=dict(program.environ),
            start_new_session=True,  # so that the processes that it starts can be killed with it
        )
    return process


class _Output:
    """What a process has printed until it ended, or until it printed too much."""

    def __init__(self, most: int) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._ended = anyio.Event()
        self._most = most

    async def read_stdout(self, process: anyio.abc.Process) -> None:
        async for part in cast("anyio.abc.ByteReceiveStream", process.stdout):
            self.stdout += part
            if len(self.stdout) > self._most:
                _kill(process)
                break
        self._ended.set()

    async def quiet(self) -> None:
        """Wait until stdout has ended, or nothing has come for `QUIET_SECONDS`."""
        before = -1
        while not self._ended.is_set() and len(self.stdout) > before:
            before = len(self.stdout)
            with anyio.move_on_after(QUIET_SECONDS):
                await self._ended.wait()

    async def read_stderr(self, process: anyio.abc.Process) -> None:
        """Keep the end of what is printed; a process whose stderr nobody reads would stop."""
        async for part in cast("anyio.abc.ByteReceiveStream", process.stderr):
            self.stderr = (self.stderr + part)[-_MAX_STDERR_BYTES:]


async def _end(process: anyio.abc.Process, output: _Output) -> None:
    """Wait until a program has ended and its stdout is complete, then kill what it leaves behind."""
    if await process.wait() == 0:
        # Others may still print for it, such as tee in `exec > >(tee log)`. They would be cut off.
        await output.quiet()
    _kill(process)


def _kill(process: anyio.abc.Process) -> None:
    """Kill the group. It exists as long as one of its processes does, even if the first has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, if all are zombies
        os.killpg(process.pid, signal.SIGKILL)
