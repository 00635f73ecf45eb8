"""`python -m tests.journal.network_cut`: the network of a service to its PostgreSQL server is cut for 60 seconds.

Two services and a server each have a network namespace, on one bridge; this needs root and takes four minutes. First
another service stands by and must take over within 30 seconds; then none does, and the old one must finish a run within
30 seconds after the network is healed. Prints the seconds. Each service has a sandbox of its own beside it: only the
way to the journal is cut. Invariant: no packet leaves the namespaces. Neighbours: `postgres` starts the server.
"""

import contextlib
import json
import pathlib
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from tests.journal import postgres
from tests.support import command
from worker.sandbox import app

CUT_SECONDS = 60.0
WITHIN_SECONDS = 30.0
SETTLE_SECONDS = 15.0

_HUB = "fleet-sync-hub"
_SPACES = ("fleet-sync-server", "fleet-sync-first", "fleet-sync-second")
_SERVER_ADDRESS = "10.213.0.1"
_SANDBOX_PORT = 8765

SETTINGS = f"""\
[charge]
base_url = "http://127.0.0.1:{_SANDBOX_PORT}/v1"

[[sources]]
path = "membership.yaml"

[sync]
interval_seconds = 10
interval_jitter = 0

[journal]
url = "URL"
"""
"""A run every 10 seconds, so that the cut is noticed soon. Nothing else differs from the defaults."""


class Service:
    """`fleet-sync run` in a namespace, with a sandbox of its own, and the lines that it logs."""

    def __init__(self, space: str, url: str, folder: pathlib.Path) -> None:
        """Start both; the source wants what the sandbox holds."""
        folder.mkdir()
        (folder / "fleet-sync.toml").write_text(SETTINGS.replace("URL", url))
        environ = command.environment({"CHARGE_API_KEY": app.KEY, "FLEET_SYNC_CONFIG": str(folder / "fleet-sync.toml")})
        self._within: dict[str, Any] = {"cwd": folder, "env": environ, "text": True}
        self._command = ["/usr/sbin/ip", "netns", "exec", space, str(command.PROGRAM)]
        self._sandbox = subprocess.Popen([*self._command, "sandbox"], stdout=subprocess.PIPE, **self._within)
        assert self._sandbox.stdout is not None
        self._sandbox.stdout.readline()
        members = subprocess.run([*self._command, "export"], stdout=subprocess.PIPE, check=True, **self._within)
        (folder / "membership.yaml").write_text(members.stdout)
        self._process = subprocess.Popen([*self._command, "run"], stderr=subprocess.PIPE, **self._within)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)

    def wait_for(self, expected: Mapping[str, str], *, seconds: float) -> float:
        """Return the seconds until it next logs an event with these fields."""
        self._lines.queue.clear()
        start = time.monotonic()
        while True:
            event = json.loads(self._lines.get(timeout=start + seconds - time.monotonic()))
            if expected.items() <= event.items():
                return time.monotonic() - start

    def kill(self) -> None:
        """End both."""
        for each in (self._process, self._sandbox):
            each.kill()
            each.wait()


RAN = {"event": "run_finished", "result": "in_sync"}
FAILED = {"event": "run_finished", "result": "failed"}
STANDS_BY = {"event": "standing_by"}


def main() -> None:
    """Cut the network twice, and print what was measured."""
    with _network(), _server() as url, tempfile.TemporaryDirectory(prefix="fleet-sync-cut-") as folder:
        first, second = Service(_SPACES[1], url, pathlib.Path(folder, "first")), None
        try:
            first.wait_for(RAN, seconds=20)
            second = Service(_SPACES[2], url, pathlib.Path(folder, "second"))
            second.wait_for(STANDS_BY, seconds=20)
            click.echo(f"take-over after {_cut_and_wait(second):.1f} s")
            second.kill()
            first.wait_for(RAN, seconds=WITHIN_SECONDS)
            with _cut(_SPACES[1]):
                first.wait_for(FAILED, seconds=CUT_SECONDS)
                time.sleep(CUT_SECONDS)
            click.echo(
                f"the old writer ran again {first.wait_for(RAN, seconds=WITHIN_SECONDS):.1f} s after the healing"
            )
        finally:
            for each in (first, second):
                if each is not None:
                    each.kill()


def _cut_and_wait(second: Service) -> float:
    """Cut the first service off for the whole time, and return the seconds until the second one ran."""
    with _cut(_SPACES[1]):
        start = time.monotonic()
        seconds = second.wait_for(RAN, seconds=WITHIN_SECONDS)
        time.sleep(start + CUT_SECONDS - time.monotonic())
    second.wait_for(RAN, seconds=SETTLE_SECONDS)  # the first one comes back, and must not take it away
    return seconds


@contextlib.contextmanager
def _cut(space: str) -> Iterator[None]:
    """Drop every packet of a namespace, without any notice to it."""
    _ip("-n", _HUB, "link", "set", _port(space), "nomaster")
    try:
        yield
    finally:
        _ip("-n", _HUB, "link", "set", _port(space), "master", "bridge")


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Make the namespaces, and connect them."""
    try:
        _ip("netns", "add", _HUB)
        _ip("-n", _HUB, "link", "add", "bridge", "type", "bridge")
        _ip("-n", _HUB, "link", "set", "bridge", "up")
        for number, space in enumerate(_SPACES, 1):
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", _port(space), "netns", _HUB)
            _ip("-n", _HUB, "link", "set", _port(space), "master", "bridge", "up")
            _ip("-n", space, "address", "add", f"10.213.0.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
        yield
    finally:
        for space in (_HUB, *_SPACES):
            subprocess.run(["/usr/sbin/ip", "netns", "delete", space], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Run the server in its namespace, and return the URL of the journal."""
    with postgres.server(namespace=_SPACES[0], address=_SERVER_ADDRESS):
        yield f"postgresql://postgres@{_SERVER_ADDRESS}/postgres"


def _port(space: str) -> str:
    return f"to-{space.removeprefix('fleet-sync-')}"


def _ip(*arguments: str) -> None:
    subprocess.run(["/usr/sbin/ip", *arguments], check=True)


if __name__ == "__main__":
    main()
