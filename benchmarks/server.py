"""A sandbox in a process of its own, so that its work is not counted as the client's.

Invariant: both sides know who is in the sandbox: the same numbers and seed give the same roster. Neighbours:
`worker.sandbox` is what runs; every benchmark that needs Charge asks `running` for one.
"""

import contextlib
import functools
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import anyio

from worker.sandbox import app, behaviour, roster, server

KEY = app.KEY

_FOLDER = pathlib.Path(__file__).parent.parent


@contextlib.contextmanager
def running(*, drivers: int, fleets: int, rate: float | None = None) -> Iterator[str]:
    """Serve so many invented drivers and fleets; give the base URL. `rate` is a limit of requests a second."""
    arguments = [str(drivers), str(fleets), "" if rate is None else str(rate)]
    program = [sys.executable, "-m", "benchmarks.server", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=_FOLDER) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def people(*, drivers: int, fleets: int) -> tuple[roster.Roster, str]:
    """Give the roster of a sandbox with these numbers, and the id of one more fleet, which nobody is in."""
    invented = roster.Roster.populate(drivers=drivers, fleets=fleets)
    return invented, invented.add_fleet(name="Benchmark")


def main(drivers: str, fleets: str, rate: str) -> None:
    """Serve until terminated, and print the base URL once the port listens."""
    invented, _ = people(drivers=int(drivers), fleets=int(fleets))
    limits = behaviour.Behaviour(rate=float(rate) if rate else None)

    def started(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    anyio.run(functools.partial(server.serve, app.create(invented, behaviour=limits, record=False), started=started))


if __name__ == "__main__":
    main(*sys.argv[1:])
