"""Measures the service while many clients read its page: `python -m tests.readers_load [--seconds N]`.

Invariant: one service, one sandbox and one load, each in a process of its own, and quiet and loaded phases in turns, so
that a busy machine disturbs both alike. Neighbours: `tests.web.test_throttle` and `tests.web.test_server` hold the
limits without measuring time.
"""

import asyncio
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import httpx

from tests.support import command, served
from worker.sandbox import app, quirks, state

READERS, IDLE, PIPELINED = 100, 140, 20
MIN_RATIO = 0.8
"""Lowest share of the quiet write rate that must be left under load."""

INTERVAL, LATE = 3.0, 0.5
"""Seconds from one run to the next, and how much later than that a run may end."""


# --- The load, in a process of its own --------------------------------------------------------------------


async def _read_forever(port: int) -> None:
    """Send `GET /` without waiting for responses, on one connection after another."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * PIPELINED
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(request)
                while received := await reader.read(65536):
                    for _ in range(received.count(b"HTTP/1.1 ")):
                        writer.write(request[: len(request) // PIPELINED])
        await asyncio.sleep(0.05)


async def _stay_idle(port: int) -> None:
    """Hold a connection open without a request, and open another whenever it is closed."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                await reader.read()
        await asyncio.sleep(0.05)


async def _load(port: int, kind: str) -> None:
    clients = (
        [_read_forever(port) for _ in range(READERS)] if kind == "read" else [_stay_idle(port) for _ in range(IDLE)]
    )
    await asyncio.gather(*clients)


@contextlib.contextmanager
def _loading(port: int, kind: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "tests.readers_load", "--port", str(port), "--load", kind])
    try:
        time.sleep(1)
        yield
    finally:
        process.kill()
        process.wait()


# --- The measurement --------------------------------------------------------------------------------------


class Probes:
    """Asks /healthz twice a second on new connections, as kubelet does, and records how long each response took."""

    def __init__(self, page: str) -> None:
        self.seconds: list[float] = []
        self._url = f"{page}/healthz"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> "Probes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _probe(self) -> None:
        while not self._stopped.wait(0.5):
            started = time.monotonic()
            try:
                answered = httpx.get(self._url, trust_env=False, timeout=5).status_code == 200
            except httpx.HTTPError:
                answered = False
            self.seconds.append(time.monotonic() - started if answered else float("inf"))

    def __str__(self) -> str:
        late = sum(seconds > 1 for seconds in self.seconds)
        return f"{len(self.seconds)} probes, {late} failed or later than 1 s, slowest {max(self.seconds):.2f} s"


class Scenario:
    """A service that always has something to write."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.state = state.SandboxState.populate(drivers=6000, fleets=10)
        members = [(driver, fleet) for fleet in self.state.fleets for driver in sorted(self.state.members(fleet))]
        self._memberships = itertools.cycle(members)
        self.charge = app.Sandbox(self.state, quirks=quirks.PLAUSIBLE)
        self.path = folder
        self.log = folder / "log"

    @contextlib.contextmanager
    def serving(self, url: str, **environ: str) -> Iterator[int]:
        """Run the service; yield the port of its page."""
        folder = command.Folder(self.path, url)
        folder.write({fleet: sorted(self.state.members(fleet)) for fleet in self.state.fleets})
        limits = {
            "FLEET_SYNC_STATUS__LISTEN": "127.0.0.1:0",
            "FLEET_SYNC_GUARD__ALWAYS_ALLOW": "100000",
            "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
        }
        with self.log.open("w") as stream:
            running = command.start(
                "run", environ={**folder.environ, **limits, **environ}, stderr=stream.fileno(), fresh=True
            )
            self.pid = running.process.pid
            try:
                _until(lambda: bool(self.events("serving")), "a page")
                yield httpx.URL(self.events("serving")[0]["url"]).port or 0
                running.signal(signal.SIGTERM)
                running.end()
            finally:
                running.reap()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of this event so far."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def cpu_seconds(self) -> float:
        """Return the CPU time that the service has used."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def write(self, count: int) -> tuple[float, float]:
        """Detach drivers behind the service's back; return the writes per second and CPU milliseconds per write.

        The service attaches the drivers again.
        """
        drifted = list(itertools.islice(self._memberships, count))  # each but once, or it would be frozen
        before = len(self.state.effects)
        for driver, fleet in drifted:
            self.state.detach(driver, fleet)
        _until(lambda: len(self.state.effects) > before, "the first write")
        started, first, used = time.monotonic(), len(self.state.effects), self.cpu_seconds()
        _until(lambda: len(self.state.effects) >= before + len(drifted), "the last write")
        written = len(self.state.effects) - first
        return written / (time.monotonic() - started), 1000 * (self.cpu_seconds() - used) / written


def _until(happened: Callable[[], bool], what: str) -> None:
    command.until(happened, what=what, timeout=120)


def _measure_writes(seconds: float, rate: float) -> bool:
    """Compare the write rate with and without readers."""
    quiet, loaded = list[tuple[float, float]](), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as name:
        scenario = Scenario(pathlib.Path(name))
        environ = {
            "FLEET_SYNC_RATE_LIMIT__REQUESTS_PER_SECOND": str(rate),
            "FLEET_SYNC_RATE_LIMIT__ADAPTIVE": "false",
            "FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.1",
        }
        with served.over_http(scenario.charge) as url, scenario.serving(url, **environ) as port:
            _until(lambda: bool(scenario.events("run_finished")), "a run")
            with Probes(f"http://127.0.0.1:{port}") as probes:
                for _ in range(3):
                    quiet.append(scenario.write(int(rate * seconds)))
                    with _loading(port, "read"):
                        loaded.append(scenario.write(int(rate * seconds)))
    ratio = statistics.median(now / then for (now, _), (then, _) in zip(loaded, quiet, strict=True))
    click.echo(f"writes at most {rate:g}/s: quiet {_list(quiet)}, {READERS} readers {_list(loaded)}, ratio {ratio:.2f}")
    click.echo(f"  {probes}")
    return ratio >= MIN_RATIO and max(probes.seconds) <= 1


def _measure_runs(seconds: float) -> bool:
    """Measure the time from one run to the next, with and without readers."""
    environ = {"FLEET_SYNC_SYNC__INTERVAL_SECONDS": str(INTERVAL), "FLEET_SYNC_SYNC__INTERVAL_JITTER": "0"}
    with tempfile.TemporaryDirectory() as name:
        scenario = Scenario(pathlib.Path(name))
        with served.over_http(scenario.charge) as url, scenario.serving(url, **environ) as port:
            _until(lambda: bool(scenario.events("run_finished")), "a run")
            quiet = _longest_gap(scenario, seconds)
            with _loading(port, "read"), Probes(f"http://127.0.0.1:{port}") as probes:
                loaded = _longest_gap(scenario, seconds)
    gaps = f"quiet at most {quiet:.2f} s apart, {READERS} readers {loaded:.2f} s"
    click.echo(f"runs every {INTERVAL:g} s, in {seconds:g} s: {gaps}; {probes}")
    return loaded <= INTERVAL + LATE and max(probes.seconds) <= 1


def _longest_gap(scenario: Scenario, seconds: float) -> float:
    """Return the longest time from the end of one run to the end of the next, in the given time and after it began."""
    before = len(scenario.events("run_finished"))
    time.sleep(seconds)
    ends = [datetime.datetime.fromisoformat(each["timestamp"]) for each in scenario.events("run_finished")]
    gaps = [(end - start).total_seconds() for start, end in itertools.pairwise(ends[before - 1 :])]
    return max(gaps, default=float("inf"))


def _measure_idle(seconds: float) -> bool:
    """Probe while idle connections take what they can."""
    with tempfile.TemporaryDirectory() as name:
        scenario = Scenario(pathlib.Path(name))
        with (
            served.over_http(scenario.charge) as url,
            scenario.serving(url) as port,
            _loading(port, "idle"),
            Probes(f"http://127.0.0.1:{port}") as probes,
        ):
            time.sleep(seconds)
    click.echo(f"{IDLE} idle connections: {probes}")
    return max(probes.seconds) <= 1


def _list(phases: list[tuple[float, float]]) -> str:
    return ", ".join(f"{rate:.1f}/s ({cpu:.1f} ms CPU each)" for rate, cpu in phases)


@click.command()
@click.option("--seconds", default=20.0, help="Length of each phase.")
@click.option("--rate", "rates", type=float, multiple=True, default=(25.0, 200.0), help="Limit on writes per second.")
@click.option("--port", type=int, hidden=True)
@click.option("--load", type=click.Choice(["read", "idle"]), hidden=True)
def main(seconds: float, rates: tuple[float, ...], port: int | None, load: str | None) -> None:
    """Measure writes, runs and probes under readers; exit with 1 if a goal is missed."""
    if port is not None and load is not None:
        asyncio.run(_load(port, load))
    measurements: list[Callable[[], bool]] = [lambda rate=rate: _measure_writes(seconds, rate) for rate in rates]  # type: ignore[misc]
    measurements += [lambda: _measure_runs(max(seconds, 15)), lambda: _measure_idle(seconds)]
    sys.exit(0 if all([measure() for measure in measurements]) else 1)


if __name__ == "__main__":
    main()
