"""`python -m tests.journal.network_cut`: the network of a writer to its PostgreSQL server is cut for 60 seconds.

Two processes and a server each have a network namespace, on one bridge; this needs root and takes three minutes. First
another process stands by and must take over within 30 seconds; then none does, and the old writer must write again
within 30 seconds after the network is healed. Prints the seconds. Invariant: no packet leaves the namespaces.
Neighbours: `postgres` starts the server, `processes` the writers.
"""

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Iterator

import click

from tests.journal import postgres, processes

CUT_SECONDS = 60.0
WITHIN_SECONDS = 30.0
SETTLE_SECONDS = 3.0

_HUB = "fleet-sync-hub"
_SPACES = ("fleet-sync-server", "fleet-sync-first", "fleet-sync-second")
_SERVER_ADDRESS = "10.213.0.1"

# As the service: `worker.service.scheduler` says how long it waits.
WRITER = """
import time
from worker.service import scheduler
number = 0
while True:
    try:
        await journal.open()
        while True:
            await journal.check()
            number += 1
            run = f"run_{sys.argv[3]}_{number}"
            await journal_factories.whole(journal, journal_factories.many(1), run=run, at=journal_factories.NOON)
            print("wrote", flush=True)
            await anyio.sleep(0.2)
    except errors.JournalBusy:
        print("busy", flush=True)
        await anyio.sleep(scheduler._WRITER_LOCK_POLL_SECONDS)
    except errors.JournalError as error:
        print("lost", error.message, flush=True)
        await anyio.sleep(10)
"""


class Writer:
    """A process that becomes the writer as soon as it can, and the lines that it prints."""

    def __init__(self, space: str, url: str) -> None:
        """Start the process in a namespace."""
        command = ["ip", "netns", "exec", space, *processes.script(WRITER), url, "asyncio", space]
        self._process = subprocess.Popen(command, cwd=processes.ROOT, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def wait_for(self, word: str, *, seconds: float) -> float:
        """Return the seconds until it next prints a line that begins so."""
        self._lines.queue.clear()
        start = time.monotonic()
        while not self._lines.get(timeout=start + seconds - time.monotonic()).startswith(word):
            pass
        return time.monotonic() - start

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Cut the network twice, and print what was measured."""
    with _network(), _server() as url:
        first, second = Writer(_SPACES[1], url), None
        try:
            first.wait_for("wrote", seconds=20)
            second = Writer(_SPACES[2], url)
            second.wait_for("busy", seconds=20)
            click.echo(f"take-over after {_cut_and_wait(second):.1f} s")
            second.kill()
            first.wait_for("wrote", seconds=WITHIN_SECONDS)
            with _cut(_SPACES[1]):
                first.wait_for("lost", seconds=CUT_SECONDS)
                time.sleep(CUT_SECONDS)
            click.echo(
                f"the old writer wrote again {first.wait_for('wrote', seconds=WITHIN_SECONDS):.1f} s after the healing"
            )
        finally:
            for each in (first, second):
                if each is not None:
                    each.kill()


def _cut_and_wait(second: Writer) -> float:
    """Cut the first process off for the whole time, and return the seconds until the second one wrote."""
    with _cut(_SPACES[1]):
        start = time.monotonic()
        seconds = second.wait_for("wrote", seconds=WITHIN_SECONDS)
        time.sleep(start + CUT_SECONDS - time.monotonic())
    second.wait_for("wrote", seconds=SETTLE_SECONDS)  # the first one comes back, and must not take it away
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
