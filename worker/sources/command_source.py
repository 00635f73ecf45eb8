"""Run a command and take what it prints for the document.

Invariants: its output counts only if it ends by itself, with exit code 0, within time and size; every process of its
group has ended when a call returns; and no key or other secret of fleet-sync is in its environment.
Neighbours: `document_source` reads the output.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import cast

import anyio
import anyio.abc

from worker.core.model.errors import SourceError
from worker.core.model.secret import KEY_PREFIX
from worker.sources import fetching, positions

KIND = "command"

_MAX_PEEK_BYTES = 64 * 1024
_MAX_STDERR_BYTES = 64 * 1024
_SECRET_VARIABLES = ("CHARGE_API_KEY", "FLEET_SYNC_")
_UNPRINTABLE = re.compile(r"[^ -~\u00a0-\U0010ffff]+")
_MAX_QUOTED = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What is run in which folder; `peek` is empty if there is no command for that. `timeout` is in seconds.

    `environ` is what fleet-sync was started with, `env` what is added to it.
    """

    run: Sequence[str]
    folder: pathlib.Path
    peek: Sequence[str] = ()
    timeout: float = 60.0
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = dataclasses.field(default_factory=lambda: os.environ, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class CommandFetcher:
    """Implements fetching.Fetcher. Places begin with `name`."""

    command: Command
    name: str

    async def fetch(self) -> fetching.Fetched:
        """Run the command and return its output. Raises errors.SourceError."""
        output = await self._output(self.command.run, positions.MAX_BYTES, what="the output")
        first = output[:4096].decode(errors="replace").lstrip("\ufeff").partition("\n")[0].strip()
        hint = (
            f"the output begins with {positions.quote(_printable(first))}: the command must print the document and "
            "nothing else; write warnings to stderr"
        )
        document = fetching.Document(self.name, output, suffix=_suffix(output), hint=hint)
        return fetching.Fetched((document,), proof="exit_code")

    async def peek(self) -> str | None:
        """Run the command for that and return a hash of its output; None if there is none."""
        if not self.command.peek:
            return None
        output = await self._output(self.command.peek, _MAX_PEEK_BYTES, what="the output of peek")
        if not output.strip():
            raise fetching.failure(self.name, "the command of peek prints nothing: it must print a revision")
        return hashlib.sha256(output).hexdigest()

    async def _output(self, argv: Sequence[str], most: int, *, what: str) -> bytes:
        """Return what a command prints. Raises errors.SourceError if it fails, or is too slow or too verbose."""
        process = await self._start(argv)
        ended = _Ended()
        try:
            with anyio.move_on_after(self.command.timeout) as deadline:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ended.read_stderr, process)
                    tasks.start_soon(ended.wait, process)
                    await ended.read_stdout(process, most)
        finally:
            await _end(process)
        if len(ended.stdout) > most:
            raise fetching.failure(self.name, f"{what} is larger than {most >> 10} KiB", code="source_too_large")
        if deadline.cancelled_caught:
            message = f"the command did not end within timeout_seconds = {self.command.timeout:g}"
            raise fetching.failure(self.name, message, code="source_timeout")
        if process.returncode != 0:
            raise self._failed(process.returncode, bytes(ended.stderr))
        return bytes(ended.stdout)

    async def _start(self, argv: Sequence[str]) -> anyio.abc.Process:
        inherited = {
            name: text
            for name, text in self.command.environ.items()
            if not name.startswith(_SECRET_VARIABLES) and KEY_PREFIX not in text
        }
        try:
            # A call that is cancelled while the process starts would leave behind what it started by then.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=self.command.folder,
                    env={**inherited, **self.command.env},
                    start_new_session=True,  # so that the processes that it starts can be killed with it
                )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a valid command"
            code: fetching.Code = "source_unauthorized" if isinstance(error, PermissionError) else "source_unreachable"
            raise fetching.failure(self.name, f"the command cannot be run ({reason})", code=code) from None
        return process

    def _failed(self, code: int | None, stderr: bytes) -> SourceError:
        lines = stderr.decode(errors="replace").strip().splitlines()
        said = _printable(lines[-1]) if lines else ""
        for secret in filter(None, self.command.env.values()):
            said = said.replace(secret, "[secret]")
        why = f"ended with exit code {code}" if code is None or code >= 0 else f"was ended by signal {-code}"
        return fetching.failure(
            self.name, f"the command {why}{f', after: {said}' if said else ''}", code="source_incomplete"
        )


class _Ended:
    """What a process has printed until it ended, or until it printed too much."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()

    async def read_stdout(self, process: anyio.abc.Process, most: int) -> None:
        async for part in cast("anyio.abc.ByteReceiveStream", process.stdout):
            self.stdout += part
            if len(self.stdout) > most:
                _kill(process)
                return

    async def read_stderr(self, process: anyio.abc.Process) -> None:
        """Keep the end of what is printed; a process whose stderr nobody reads would stop."""
        async for part in cast("anyio.abc.ByteReceiveStream", process.stderr):
            self.stderr = (self.stderr + part)[-_MAX_STDERR_BYTES:]

    async def wait(self, process: anyio.abc.Process) -> None:
        """End what the process leaves behind: it would keep stdout open, and could still print."""
        await process.wait()
        _kill(process)


async def _end(process: anyio.abc.Process) -> None:
    _kill(process)
    with anyio.CancelScope(shield=True), anyio.move_on_after(1):
        await process.aclose()


def _kill(process: anyio.abc.Process) -> None:
    """Kill the group. It exists as long as one of its processes does, even if the first has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, if all are zombies
        os.killpg(process.pid, signal.SIGKILL)


def _suffix(output: bytes) -> str:
    """Return the suffix of the format in which the output begins: nothing else says what it is."""
    start = output[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"PK\x03\x04"):
        return ".xlsx"
    if start.startswith(b"{"):
        return ".json"
    if start.startswith(b"["):
        return ".toml"
    return ".yaml" if b":" in start.partition(b"\n")[0] or start.startswith((b"#", b"---")) else ".csv"


def _printable(text: str) -> str:
    shown = _UNPRINTABLE.sub(" ", text).strip()
    return shown if len(shown) <= _MAX_QUOTED else f"{shown[: _MAX_QUOTED - 1]}…"
