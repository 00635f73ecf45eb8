"""The real command in its own process, and the folder in which an operator keeps an account.

Invariant: a command gets the environment defined here, and nothing of the environment of the tests.
Neighbours: `fork_client` starts most commands, `served` serves the sandbox that they talk to.
"""

import contextlib
import dataclasses
import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

from tests.support import fork_client, schemas
from worker.sandbox import app

PROGRAM = pathlib.Path(sys.executable).with_name("fleet-sync")
LONGEST = 120.0
"""Seconds after which a command that does not end is taken for hung, on a slow machine too."""

SETTINGS = """\
[charge]
base_url = "{url}"
timeout_seconds = 60

[[sources]]
path = "{source}"

[rate_limit]
requests_per_second = 2000
burst = 100
concurrency = 16

[retry]
base_seconds = 0.01
max_seconds = 0.1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A finished command. `code` is what a shell shows: 128 plus the number for a fatal signal."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Return the JSON document in stdout. A plan and a report must fit their schemas."""
        document = json.loads(self.stdout)
        schemas.check(document)
        return document

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the JSON log lines in stderr."""
        return [json.loads(line) for line in self.stderr.splitlines()]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the complete environment of a command."""
    return {**fork_client.environment(), **(extra or {})}


def run(*arguments: str, environ: Mapping[str, str] | None = None, cwd: pathlib.Path | None = None) -> Ended:
    """Run `fleet-sync` to its end and capture its output."""
    return start(*arguments, environ=environ, cwd=cwd).end()


class Process(Protocol):
    """What the tests need of `subprocess.Popen`."""

    pid: int
    stdout: IO[str] | None
    stderr: IO[str] | None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        ...

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        ...

    def communicate(self, *, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Read all output and wait for the end. Raise subprocess.TimeoutExpired."""
        ...


class Running:
    """A running command. `reap` ends it in any case."""

    def __init__(self, process: Process) -> None:
        """Store a process whose output goes to pipes."""
        self.process = process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = LONGEST) -> Ended:
        """Wait for the end and return the output. A command that hangs is killed and fails the test."""
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"no end within {timeout} s\n{stdout}\n{stderr}") from None
        code = self.process.poll()
        assert code is not None
        return Ended(128 - code if code < 0 else code, stdout or "", stderr or "")

    def reap(self) -> None:
        """Kill the command if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def start(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    fresh: bool = False,
) -> Running:
    """Start `fleet-sync` and return the running command.

    It is forked from a process that has imported everything already, unless `fresh` or its environment wants an
    interpreter of its own. Without a descriptor for stdout or stderr, the tests read it from a pipe; without one for
    stdin, there is no input.
    """
    complete = environment(environ)
    if fresh or any(name.startswith(("LD_", "PYTHON")) for name in environ or ()):
        return Running(
            subprocess.Popen(
                [PROGRAM, *arguments],
                env=complete,
                cwd=cwd,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE if stdout is None else stdout,
                stderr=subprocess.PIPE if stderr is None else stderr,
                encoding="utf-8",
                start_new_session=True,
            )
        )
    folder = cwd or pathlib.Path.cwd()
    outputs = [stdout, stderr]
    return Running(fork_client.fork(PROGRAM, arguments, environ=complete, folder=folder, stdin=stdin, outputs=outputs))


@contextlib.contextmanager
def started(*arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `fleet-sync` for the duration of the block."""
    running = start(*arguments, environ=environ)
    try:
        yield running
    finally:
        running.reap()


def until(happened: Callable[[], bool], *, what: str, timeout: float = 60.0) -> None:
    """Wait for something that another process or thread does, by polling."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.005)


class Folder:
    """A folder with settings, a membership document and a journal, and the command that uses them."""

    def __init__(self, path: pathlib.Path, url: str, *, source: str = "membership.yaml", key: str = app.KEY) -> None:
        """Write settings that retry faster than the defaults."""
        self.path = path
        self.settings = path / "fleet-sync.toml"
        self.environ = {"CHARGE_API_KEY": key, "FLEET_SYNC_CONFIG": str(self.settings)}
        self.settings.write_text(SETTINGS.format(url=url, source=source))

    def write(self, text: str | Mapping[str, Iterable[str]], name: str = "membership.yaml") -> pathlib.Path:
        """Replace a file by a text, or by the drivers of each fleet as a YAML document."""
        path = self.path / name
        # A service that polls must never find a file that has been truncated and is not yet written.
        fresh = path.with_name(f".{path.name}.fresh")
        fresh.write_text(text if isinstance(text, str) else document(text), encoding="utf-8")
        return fresh.replace(path)

    def let_sources_shrink(self) -> None:
        """Let the source lose any number of rows."""
        settings = self.settings.read_text()
        unlimited = "[sources.completeness]\nmax_shrink_fraction = 1.0\n\n[rate_limit]"
        self.settings.write_text(settings.replace("[rate_limit]", unlimited, 1))

    def run(self, *arguments: str, **environ: str) -> Ended:
        """Run a command on the account, with additional environment variables."""
        return run(*arguments, environ={**self.environ, **environ}, cwd=self.path)

    def together(self, *calls: Sequence[str], **environ: str) -> list[Ended]:
        """Run several commands at once that do not interfere with each other."""
        running = [start(*call, environ={**self.environ, **environ}, cwd=self.path) for call in calls]
        return [each.end() for each in running]

    def started(self, *arguments: str, **environ: str) -> contextlib.AbstractContextManager[Running]:
        """Start a command on the account."""
        return started(*arguments, environ={**self.environ, **environ})

    def journal(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the journal."""
        with contextlib.closing(sqlite3.connect(self.path / "fleet-sync.db")) as database:
            return database.execute(query).fetchall()


def document(members: Mapping[str, Iterable[str]]) -> str:
    """Return a YAML document with a line for each fleet and each driver."""
    lines = ["fleets:"]
    for fleet, drivers in members.items():
        rows = [f"    - {json.dumps(driver)}" for driver in drivers]
        lines += [f"  {json.dumps(fleet)}:{'' if rows else ' []'}", *rows]
    return "\n".join(lines) + "\n"
