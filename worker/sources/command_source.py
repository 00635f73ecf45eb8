"""Runs a command and reads what it prints as the document.

Invariants: the output counts only if the command ends by itself, with exit code 0, and its stdout is closed, within
time and size. No message has a value of the source's `env`.
Neighbours: `processes` runs the command, `document_source` reads its output.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from worker.core.model.errors import SourceError
from worker.sources import fetching, positions, processes

_MAX_PEEK_BYTES = 64 * 1024
_UNPRINTABLE = re.compile(r"[^ -~\u00a0-\U0010ffff]+")
_MAX_QUOTED = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What is run in which folder; `peek` is empty if there is no command for that. `timeout` is in seconds.

    `environ` is what fleet-sync was started with, `env` what is added to it. Arguments may contain a secret.
    """

    run: Sequence[str] = dataclasses.field(repr=False)
    folder: pathlib.Path
    peek: Sequence[str] = dataclasses.field(default=(), repr=False)
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
            f"the output begins with {positions.quote(self._printable(first))}: the command must print the document "
            "and nothing else; write warnings to stderr"
        )
        document = fetching.Document(self.name, output, suffix=_suffix(output), hint=hint, secrets=self._secrets())
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
        command = self.command
        environ = {**processes.inherited(command.environ), **command.env}
        try:
            ended = await processes.run(processes.Program(argv, command.folder, environ, command.timeout, most))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a valid command"
            code: fetching.Code = "source_unauthorized" if isinstance(error, PermissionError) else "source_unreachable"
            raise fetching.failure(self.name, f"the command cannot be run ({reason})", code=code) from None
        if ended.is_too_large:
            raise fetching.failure(self.name, f"{what} is larger than {most >> 10} KiB", code="source_too_large")
        if ended.is_late:
            message = f"the command did not end within timeout_seconds = {command.timeout:g}"
            raise fetching.failure(self.name, message, code="source_timeout")
        if ended.code != 0:
            raise self._failed(ended.code, ended.stderr)
        return ended.stdout

    def _failed(self, code: int, stderr: bytes) -> SourceError:
        lines = stderr.decode(errors="replace").strip().splitlines()
        said = self._printable(lines[-1]) if lines else ""
        why = f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
        return fetching.failure(
            self.name, f"the command {why}{f', after: {said}' if said else ''}", code="source_incomplete"
        )

    def _secrets(self) -> tuple[str, ...]:
        """Return the values of env, and each line of those with several: messages quote single lines."""
        values = self.command.env.values()
        return tuple({*values, *(line.strip() for value in values for line in value.splitlines())})

    def _printable(self, text: str) -> str:
        """Return a line for a message, masked before it is shortened."""
        shown = _UNPRINTABLE.sub(" ", fetching.mask(text, self._secrets())).strip()
        return shown if len(shown) <= _MAX_QUOTED else f"{shown[: _MAX_QUOTED - 1]}…"


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
