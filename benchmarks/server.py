"""A sandbox in its own process, so that its work does not count as the client's.

Invariant: both sides know who is in the sandbox: the same numbers give the same people. Neighbours: `worker.sandbox`
is what runs; every benchmark that needs Charge asks `running` for one.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Literal

import anyio

from worker.sandbox import app, http_types, quirks, server, state

KEY = app.KEY
FLEETS = 10

Limit = Literal["bucket", "fixed", "sliding"]

_FOLDER = pathlib.Path(__file__).parent.parent
_ARRIVALS = "/arrivals"


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A running sandbox, at its base URL."""

    url: str

    def arrivals(self) -> list[tuple[float, bool]]:
        """Return the time of each request so far and whether it was accepted. Only with `record`."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + _ARRIVALS, timeout=30) as answer:  # noqa: S310
            return [(moment, accepted) for moment, accepted in json.load(answer)]


@contextlib.contextmanager
def running(
    *, drivers: int, rate: float | None = None, limit: Limit = "bucket", record: bool = False
) -> Iterator[Server]:
    """Serve this many invented drivers. `rate` limits requests per second; `record` keeps the time of each request."""
    arguments = [str(drivers), "" if rate is None else str(rate), limit, "record" if record else ""]
    program = [sys.executable, "-m", "benchmarks.server", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=_FOLDER) as process:
        try:
            yield Server(process.stdout.readline().strip() if process.stdout else "")
        finally:
            process.terminate()


def people(drivers: int) -> tuple[state.SandboxState, str]:
    """Return the state of a sandbox with this many drivers, and the id of an additional, empty fleet."""
    invented = state.SandboxState.populate(drivers=drivers, fleets=FLEETS)
    return invented, invented.add_fleet(name="Benchmark")


def main(drivers: str, rate: str, limit: Limit, record: str) -> None:
    """Print the base URL once the port listens, and serve until terminated."""
    invented, _ = people(int(drivers))
    limits = quirks.Quirks(rate=float(rate) if rate else None, limit=limit)
    sandbox = app.Sandbox(invented, quirks=limits, record=bool(record))

    def started(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    anyio.run(functools.partial(server.serve, _counted(sandbox), started=started))


def _counted(sandbox: app.Sandbox) -> http_types.App:
    """Add an endpoint that returns the requests received so far."""

    async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        if scope["path"] != _ARRIVALS:
            return await sandbox(scope, receive, send)
        body = json.dumps([(request.time, request.status != 429) for request in sandbox.requests]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        return None

    return answer


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
