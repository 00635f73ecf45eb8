"""`python -m tests.soak [--seconds N] [--runs N]`: a service in weather, with an operator who does everything at once.

Invariant: after every deed the service converges, and in the end it has neither died nor grown. What it says is kept,
and its last lines are shown: they should read like a diary. Neighbours: `tests.e2e.test_service` has each deed alone.
"""

import collections
import contextlib
import itertools
import json
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import httpx

from tests.support import command, served
from worker.sandbox import app, faults, quirks, state

TOKEN = "a-token-of-the-soak"
WEATHER = {"rate_limited": 0.02, "500": 0.02, "503": 0.02, "reset_before": 0.02, "reset_after": 0.02, "html": 0.01}
MOST_GROWTH = 8.0
"""MiB by which the process may be larger at the end than after its first fifty runs."""


class Place:
    """An account with a service that runs on it, and an operator with a seed."""

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        """Make an account of 60 drivers in 6 fleets."""
        self.chance = random.Random(seed)
        self.people = state.SandboxState.populate(drivers=60, fleets=6)
        self.charge = app.create(self.people, quirks=quirks.PLAUSIBLE, faults=faults.Faults(WEATHER, seed=seed))
        self.path = folder
        self.log = folder / "log"
        self.wanted = {fleet: sorted(self.people.members(fleet)) for fleet in self.people.fleets}
        memberships = list(itertools.product(self.people.drivers, self.people.fleets))
        self.chance.shuffle(memberships)
        self._drifting = itertools.cycle(memberships)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run the service."""
        with served.over_http(self.charge) as url, self.log.open("w") as stream:
            self.folder = command.Folder(self.path, url)
            self.folder.write(self.wanted)
            environ = {
                **self.folder.environ,
                "FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.5",
                "FLEET_SYNC_STATUS__LISTEN": "127.0.0.1:0",
                "FLEET_SYNC_STATUS_TOKEN": TOKEN,
                "FLEET_SYNC_GUARD__ALWAYS_ALLOW": "1000",
                "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
            }
            self.running = command.start("run", environ=environ, stderr=stream.fileno())
            try:
                command.until(lambda: bool(self.events("serving")), what="a page")
                self.page = self.events("serving")[0]["url"].rstrip("/")
                yield
                self.running.signal(signal.SIGTERM)
                ended = self.running.end()
                assert ended.code == 143, ended
            finally:
                self.running.reap()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the log lines of this name, until now."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def runs(self) -> int:
        """Count the runs that have ended."""
        return len(self.events("run_finished"))

    def converged(self) -> bool:
        """Tell whether Charge holds what the document says."""
        return self.wanted == {fleet: sorted(self.people.members(fleet)) for fleet in self.people.fleets}

    def memory(self) -> float:
        """Give the MiB that the process has in memory."""
        status = pathlib.Path(f"/proc/{self.running.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    # --- What the operator, and others, do ----------------------------------------------------------------

    def edit(self) -> None:
        """Move somebody in the document: in place, by replacement, or by swapping a link."""
        fleet = self.chance.choice(sorted(self.wanted))
        driver = self.chance.choice(sorted(self.people.drivers))
        drivers = set(self.wanted[fleet]) ^ {driver}
        self.wanted = {**self.wanted, fleet: sorted(drivers)}
        path = self.path / "membership.yaml"
        match self.chance.randrange(3):
            case 0:
                target = path.resolve()
                target.write_text(command.document(self.wanted))
            case 1:
                fresh = self.path / "fresh"
                fresh.write_text(command.document(self.wanted))
                fresh.replace(path)
            case _:
                swapped = self.path / f"swapped-{self.chance.randrange(10**9)}.yaml.txt"
                swapped.write_text(command.document(self.wanted))
                link = self.path / "link"
                link.symlink_to(swapped.name)
                link.replace(path)

    def drift(self) -> None:
        """Have somebody else change memberships; no one so often that it would be frozen."""
        driver, fleet = next(self._drifting)
        if driver in self.people.members(fleet):
            self.people.detach(driver, fleet)
        else:
            self.people.attach(driver, fleet)

    def break_the_source(self) -> None:
        """Break the document for some runs."""
        path, seen = self.path / "membership.yaml", self.runs()
        target = path.resolve()
        sound = target.read_text()
        target.write_text(sound + "\n  - [")
        command.until(lambda: any(run["result"] == "failed" for run in self.events("run_finished")[seen:]), what="seen")
        target.write_text(sound)

    def hang_up(self) -> None:
        """Have the settings read anew."""
        self.running.signal(signal.SIGHUP)

    def burst(self) -> None:
        """Ask for many runs at once."""
        for _ in range(20):
            httpx.post(f"{self.page}/sync", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)

    def look(self) -> None:
        """Look at the page and the metrics."""
        for path in ("/", "/metrics", "/readyz"):
            httpx.get(f"{self.page}{path}", trust_env=False)


@click.command()
@click.option("--seconds", default=600.0, help="How long at least.")
@click.option("--runs", default=500, help="How many runs at least.")
@click.option("--seed", default=1)
def main(seconds: float, runs: int, seed: int) -> None:
    """Let the service run in weather."""
    with tempfile.TemporaryDirectory(prefix="fleet-sync-soak-") as name:
        place = Place(pathlib.Path(name), seed)
        deeds: list[Callable[[], None]] = [
            place.edit,
            place.edit,
            place.drift,
            place.break_the_source,
            place.hang_up,
            place.burst,
            place.look,
        ]
        done: collections.Counter[str] = collections.Counter()
        early = 0.0
        with place.serving():
            began = time.monotonic()
            while time.monotonic() - began < seconds or place.runs() < runs:
                deed = place.chance.choice(deeds)
                deed()
                done[deed.__name__] += 1
                command.until(place.converged, what=f"converged after {deed.__name__}", timeout=60)
                if not early and place.runs() >= 50:
                    early = place.memory()
            grown = place.memory() - early
        _tell(place, done, grown)
        sys.exit(1 if grown > MOST_GROWTH else 0)


def _tell(place: Place, done: collections.Counter[str], grown: float) -> None:
    lines = place.log.read_text().splitlines()
    click.echo("\n".join(line[:220] for line in lines[-25:]))
    click.echo(f"{place.runs()} runs, {len(place.people.effects)} effects, deeds: {dict(done)}")
    click.echo(f"{dict(collections.Counter(json.loads(line)['event'] for line in lines))}")
    click.echo(f"memory grew by {grown:.1f} MiB after the first 50 runs (at most {MOST_GROWTH:g})")


if __name__ == "__main__":
    main()
