"""The real command, in a process of its own, and the folder in which an operator keeps an account.

Invariant: a command sees an environment that is written down here, and nothing of the one that runs the tests.
Neighbours: `served` is the Charge that it talks to.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.sandbox import app

PROGRAM = pathlib.Path(sys.executable).with_name("fleet-sync")
LONGEST = 40.0
"""Seconds after which a command that does not end is taken for hung."""

SETTINGS = """\
[charge]
base_url = "{url}"
timeout_seconds = 5

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
    """A command that has ended. `code` is what a shell would show: 128 and the number for a deadly signal."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Read stdout as the one JSON document that it must be."""
        return json.loads(self.stdout)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Read the log lines of stderr, each one JSON object."""
        return [json.loads(line) for line in self.stderr.splitlines()]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the whole environment of a command: no key, no settings, no terminal."""
    # What measures coverage in processes of their own has to get there.
    measuring = {name: text for name, text in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **measuring, **(extra or {})}


def run(*arguments: str, environ: Mapping[str, str] | None = None, cwd: pathlib.Path | None = None) -> Ended:
    """Run `fleet-sync` to its end, with its output in pipes."""
    return start(*arguments, environ=environ, cwd=cwd).end()


class Running:
    """A command under way; whatever happens, `reap` leaves nothing behind."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take a process whose output goes to pipes."""
        self.process = process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = LONGEST) -> Ended:
        """Wait for its end, and give what it wrote. A command that hangs is killed, and fails the test."""
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"no end within {timeout} s\n{stdout}\n{stderr}") from None
        code = self.process.returncode
        return Ended(128 - code if code < 0 else code, stdout or "", stderr or "")

    def reap(self) -> None:
        """End it by force if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def start(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Running:
    """Start `fleet-sync`, and give the running command. `stdout` and `stderr` may be files' descriptors."""
    return Running(
        subprocess.Popen(
            [PROGRAM, *arguments],
            env=environment(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            start_new_session=True,
        )
    )


@contextlib.contextmanager
def started(*arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Have `fleet-sync` run beside the test, no longer than the block."""
    running = start(*arguments, environ=environ)
    try:
        yield running
    finally:
        running.reap()


def until(happened: Callable[[], bool], *, what: str, timeout: float = 15.0) -> None:
    """Wait for something that another process or thread does; nothing else tells us of it."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.005)


class Folder:
    """Settings, a membership document and a journal in a folder, and the command that uses them."""

    def __init__(self, path: pathlib.Path, url: str, *, source: str = "membership.yaml", key: str = app.KEY) -> None:
        """Write settings that are quick where the defaults are patient."""
        self.path = path
        self.settings = path / "fleet-sync.toml"
        self.environ = {"CHARGE_API_KEY": key, "FLEET_SYNC_CONFIG": str(self.settings)}
        self.settings.write_text(SETTINGS.format(url=url, source=source))

    def write(self, text: str | Mapping[str, Iterable[str]], name: str = "membership.yaml") -> pathlib.Path:
        """Write a file of the folder: a text, or the drivers of each fleet as a YAML document."""
        path = self.path / name
        path.write_text(text if isinstance(text, str) else document(text), encoding="utf-8")
        return path

    def run(self, *arguments: str, **environ: str) -> Ended:
        """Run a command on the account, with these variables in its environment too."""
        return run(*arguments, environ={**self.environ, **environ}, cwd=self.path)

    def together(self, *calls: Sequence[str], **environ: str) -> list[Ended]:
        """Run several commands at once, that do not get into each other's way."""
        running = [start(*call, environ={**self.environ, **environ}, cwd=self.path) for call in calls]
        return [each.end() for each in running]

    def started(self, *arguments: str, **environ: str) -> contextlib.AbstractContextManager[Running]:
        """Start a command on the account."""
        return started(*arguments, environ={**self.environ, **environ})

    def journal(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the journal."""
        with contextlib.closing(sqlite3.connect(self.path / "fleet-sync.db")) as database:
            return database.execute(query).fetchall()


def document(members: Mapping[str, Iterable[str]]) -> str:
    """Write a YAML document: one line a fleet, one a driver."""
    lines = ["fleets:"]
    for fleet, drivers in members.items():
        rows = [f"    - {json.dumps(driver)}" for driver in drivers]
        lines += [f"  {json.dumps(fleet)}:{'' if rows else ' []'}", *rows]
    return "\n".join(lines) + "\n"
