"""Runs the service for a long time under injected faults: `python -m tests.soak [--seconds N] [--runs N]`.

Invariant: the service converges after every action, and at the end it has neither exited nor grown. The last lines of
its log are printed. Neighbours: `tests.e2e.test_service` tests each action alone.
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
FAULT_RATES = {"rate_limited": 0.02, "500": 0.02, "503": 0.02, "reset_before": 0.02, "reset_after": 0.02, "html": 0.01}
MAX_GROWTH = 8.0
"""MiB by which the process may grow between its fiftieth run and the end."""


class Scenario:
    """An account, a service that keeps it in sync, and the actions of its operator."""

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        """Create an account with 60 drivers in 6 fleets."""
        self.random = random.Random(seed)
        self.state = state.SandboxState.populate(drivers=60, fleets=6)
        self.charge = app.Sandbox(self.state, quirks=quirks.PLAUSIBLE, faults=faults.Faults(FAULT_RATES, seed=seed))
        self.path = folder
        self.log = folder / "log"
        self.wanted = {fleet: sorted(self.state.members(fleet)) for fleet in self.state.fleets}
        memberships = list(itertools.product(self.state.drivers, self.state.fleets))
        self.random.shuffle(memberships)
        self._drifting = itertools.cycle(memberships)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run the service during the block."""
        with served.over_http(self.charge) as url, self.log.open("w") as stream:
            self.folder = command.Folder(self.path, url)
            self.folder.let_sources_shrink()
            self.folder.write(self.wanted)
            environ = {
                **self.folder.environ,
                "FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.5",
                "FLEET_SYNC_STATUS__LISTEN": "127.0.0.1:0",
                "FLEET_SYNC_STATUS_TOKEN": TOKEN,
                "FLEET_SYNC_GUARD__ALWAYS_ALLOW": "1000",
                "FLEET_SYNC_GUARD__ALLOW_EMPTYING_FLEETS": "true",
            }
            self.running = command.start("run", environ=environ, stderr=stream.fileno(), fresh=True)
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
        """Return the log lines of this event so far."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["event"] == name]

    def runs(self) -> int:
        """Return the number of finished runs."""
        return len(self.events("run_finished"))

    def converged(self) -> bool:
        """Return whether Charge matches the document."""
        return self.wanted == {fleet: sorted(self.state.members(fleet)) for fleet in self.state.fleets}

    def memory(self) -> float:
        """Return the resident memory of the process in MiB."""
        status = pathlib.Path(f"/proc/{self.running.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    # --- Actions ------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """Change a membership in the document: in place, by replacing the file, or by swapping a link."""
        fleet = self.random.choice(sorted(self.wanted))
        driver = self.random.choice(sorted(self.state.drivers))
        drivers = set(self.wanted[fleet]) ^ {driver}
        self.wanted = {**self.wanted, fleet: sorted(drivers)}
        path = self.path / "membership.yaml"
        match self.random.randrange(3):
            case 0:
                target = path.resolve()
                target.write_text(command.document(self.wanted))
            case 1:
                fresh = self.path / "fresh"
                fresh.write_text(command.document(self.wanted))
                fresh.replace(path)
            case _:
                swapped = self.path / f"swapped-{self.random.randrange(10**9)}.yaml.txt"
                swapped.write_text(command.document(self.wanted))
                link = self.path / "link"
                link.symlink_to(swapped.name)
                link.replace(path)

    def drift(self) -> None:
        """Change a membership behind the service's back, each one too rarely to be frozen."""
        driver, fleet = next(self._drifting)
        if driver in self.state.members(fleet):
            self.state.detach(driver, fleet)
        else:
            self.state.attach(driver, fleet)

    def break_the_source(self) -> None:
        """Break the document until a run has failed, then restore it."""
        path, seen = self.path / "membership.yaml", self.runs()
        target = path.resolve()
        sound = target.read_text()
        target.write_text(sound + "\n  - [")
        command.until(lambda: any(run["result"] == "failed" for run in self.events("run_finished")[seen:]), what="seen")
        target.write_text(sound)

    def reload(self) -> None:
        """Send SIGHUP, which reloads the settings."""
        self.running.signal(signal.SIGHUP)

    def burst(self) -> None:
        """Request many runs at once."""
        for _ in range(20):
            httpx.post(f"{self.page}/sync", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=60)

    def read_page(self) -> None:
        """Read the page, the metrics and a probe."""
        for path in ("/", "/metrics", "/readyz"):
            httpx.get(f"{self.page}{path}", trust_env=False, timeout=60)


@click.command()
@click.option("--seconds", default=600.0, help="How long at least.")
@click.option("--runs", default=500, help="How many runs at least.")
@click.option("--seed", default=1)
def main(seconds: float, runs: int, seed: int) -> None:
    """Run the service under faults and actions."""
    with tempfile.TemporaryDirectory(prefix="fleet-sync-soak-") as name:
        scenario = Scenario(pathlib.Path(name), seed)
        actions: list[Callable[[], None]] = [
            scenario.edit,
            scenario.edit,
            scenario.drift,
            scenario.break_the_source,
            scenario.reload,
            scenario.burst,
            scenario.read_page,
        ]
        done: collections.Counter[str] = collections.Counter()
        early = 0.0
        with scenario.serving():
            began = time.monotonic()
            while time.monotonic() - began < seconds or scenario.runs() < runs:
                action = scenario.random.choice(actions)
                action()
                done[action.__name__] += 1
                command.until(scenario.converged, what=f"converged after {action.__name__}")
                if not early and scenario.runs() >= 50:
                    early = scenario.memory()
            grown = scenario.memory() - early
        _print_summary(scenario, done, grown)
        sys.exit(1 if grown > MAX_GROWTH else 0)


def _print_summary(scenario: Scenario, done: collections.Counter[str], grown: float) -> None:
    lines = scenario.log.read_text().splitlines()
    click.echo("\n".join(line[:220] for line in lines[-25:]))
    click.echo(f"{scenario.runs()} runs, {len(scenario.state.effects)} effects, actions: {dict(done)}")
    click.echo(f"{dict(collections.Counter(json.loads(line)['event'] for line in lines))}")
    click.echo(f"memory grew by {grown:.1f} MiB after the first 50 runs (at most {MAX_GROWTH:g})")


if __name__ == "__main__":
    main()
