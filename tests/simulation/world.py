"""Plays a world: processes with faults one after the other, then undisturbed runs after which everything must be right.

Invariant: a seed decides everything, including the order in which tasks run, so that a world can be replayed.
Neighbours: `draw` draws the world, `simulated_process` is a process in it, `oracles`, `state_oracle` and `final_checks`
judge it.
"""

import collections
import contextlib
import dataclasses
import datetime
import itertools
import logging
import math
import pathlib
import tempfile
import traceback
from collections.abc import Iterator

import structlog
import trio
import trio.testing

from tests.simulation import (
    audit,
    documents,
    draw,
    expected_state,
    final_checks,
    journal_storage,
    network,
    simulated_process,
    surroundings,
)
from tests.support import clocks
from worker.core.model.desired import SourceReading
from worker.core.model.report import Report
from worker.sandbox import app

PARTS = surroundings.Parts()

_UNDISTURBED = draw.ProcessSpec(
    incidents=(),
    runs=1,
    interval=1.0,
    pause=60.0,
    edits=False,
    spoilt=False,
    others=0.0,
    others_around=0.0,
    second_host=False,
    saved_plans=0.0,
    slowness=0.002,
    faults={},
    write_faults={},
)
_TWO_HOURS = datetime.timedelta(hours=2)
_RECENT_SECONDS = 3600.0
_LONG = datetime.timedelta(days=3650)


@dataclasses.dataclass(frozen=True)
class Played:
    """A played world: broken rules, how often things happened, and the trace if it was asked for."""

    seed: int
    violations: list[str]
    counts: collections.Counter[str]
    lines: list[str]
    fingerprint: str


def play(seed: int, *, parts: surroundings.Parts = PARTS, verbose: bool = False, postgres: str | None = None) -> Played:
    """Play the world of a seed. `postgres` is the folder with a server's socket; without one, SQLite stands in."""
    seen = audit.Audit(verbose=verbose)
    with _seeded(seed), tempfile.TemporaryDirectory(prefix="fleet-sync-world-") as folder:
        try:
            played = _World(seed, seen, parts, pathlib.Path(folder), postgres)
            trio.run(played.play, clock=trio.testing.MockClock(autojump_threshold=0))
        except Exception as error:  # noqa: BLE001 - whatever the product raises is a finding of this seed
            seen.violations.append(f"crash: {error!r}")
            seen.lines += traceback.format_exception(error)
    what = [(effect.action, effect.pair, effect.key, effect.time) for effect in seen.effects]
    fingerprint = f"{audit.hash_of(seen.fingerprint, what, sorted(seen.counts.items()), seen.violations):08x}"
    return Played(seed, seen.violations, seen.counts, seen.lines, fingerprint)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make trio's scheduler follow the seed, as hypothesis-trio does, and silence the logs."""
    core, before, logs = trio._core._run, trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, structlog.get_config()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    core._r.seed(seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        structlog.configure(**logs)


class _World:
    """One world."""

    def __init__(
        self,
        seed: int,
        seen: audit.Audit,
        parts: surroundings.Parts,
        folder: pathlib.Path,
        postgres: str | None,
    ) -> None:
        self._folder = folder
        self._postgres = postgres
        self._seen = seen
        self._parts = parts
        self._account = audit.RecordedState(seed=seed)
        self._account.audit = seen
        self._spec = draw.spec(seed, self._account)
        self._seed = seed

    async def play(self) -> None:
        """Play the world."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        async with trio.open_nursery() as outside:
            self._around = self._surroundings(clock, outside)
            self._seen.directory(self._account)
            self._host = self._new_host("A")
            self._hosts = [self._host]
            for spec in self._spec.processes:
                process = await self._live(self._host, spec)
                if self._spec.approving and process.reports:
                    await self._approve(process.reports[-1])
            await self._rest()
            outside.cancel_scope.cancel()
        for host in self._hosts:
            await host.storage.open_anew()
            final_checks.recorded(self._seen, host.name, host.storage)
            await host.storage.journal.aclose()

    def _surroundings(self, clock: trio.testing.MockClock, outside: trio.Nursery) -> surroundings.Surroundings:
        wall = clocks.Wall()
        return surroundings.Surroundings(
            settings=self._spec.settings,
            parts=self._parts,
            account=self._account,
            sandbox=app.Sandbox(self._account, quirks=self._spec.quirks, clock=wall.seconds, record=False),
            wall=wall,
            clock=clock,
            seen=self._seen,
            outside=outside,
            chance=draw.generator(self._seed, "chance"),
            expectations=self._expectations,
            recent_expectations=self._recent_expectations,
            always_wanted=self._always_wanted,
            most_requests=self._request_bound(),
        )

    def _new_host(self, name: str, folder: documents.SourceFolder | None = None) -> surroundings.Host:
        wall = self._around.wall
        if self._spec.journal == "memory":
            storage = journal_storage.in_memory(wall)
        elif self._spec.journal == "PostgreSQL" and self._postgres:
            storage = journal_storage.in_postgresql(self._postgres, f"world_{self._seed}_{name}", wall)
            self._seen.counts["journals in PostgreSQL"] += 1
        else:
            storage = journal_storage.in_sqlite(self._folder / f"{name}.db", wall)
            self._seen.counts["journals in SQLite"] += 1
        chance = draw.generator(self._seed, "documents")
        folder = folder or documents.SourceFolder(self._account, self._spec.boundaries, chance)
        return surroundings.Host(name, storage, folder)

    def _request_bound(self) -> int:
        """Return how many requests a run may make: a few times what the worst reading and all writes need."""
        settings, drivers, fleets = self._spec.settings, len(self._account.drivers), len(self._account.fleets)
        pages = math.ceil(drivers / settings.page_size) + 1
        reading = (math.ceil(fleets / settings.page_size) + fleets) + pages * (2 + 2 * fleets) + drivers * 12
        return 300 + 3 * settings.policy.max_attempts * (reading + 5 * drivers * fleets)

    async def _live(self, host: surroundings.Host, spec: draw.ProcessSpec) -> simulated_process.SimulatedProcess:
        """Let one process run, and after that none for a while."""
        around = self._around
        around.sandbox.faults = network.Faults(
            spec.faults,
            spec.write_faults,
            seed=around.chance.randrange(1 << 32),
            seen=self._seen,
            later=lambda seconds: around.outside.start_soon(self._deliver_late, seconds),
        )
        if spec.spoilt:
            host.folder.spoil()
        process = simulated_process.SimulatedProcess(around, host, spec)
        async with trio.open_nursery() as nursery:
            if spec.second_host:
                nursery.start_soon(simulated_process.SimulatedProcess(around, self._second_host(), spec).live)
            await process.live()
        self._seen.counts["processes"] += 1
        await trio.sleep(spec.pause)
        host.folder.repair()
        if spec.edits:
            host.folder.edit()
        return process

    async def _deliver_late(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._around.sandbox.deliver_late()

    def _second_host(self) -> surroundings.Host:
        if len(self._hosts) == 1:
            folder = self._host.folder.fork(draw.generator(self._seed, "second documents"))
            self._hosts.append(self._new_host("B", folder))
        return self._hosts[1]

    async def _approve(self, run_report: Report) -> bool:
        """Approve what a run held. Return whether it held anything."""
        guarded = run_report.guarded
        if guarded is None or not guarded.held:
            return False
        await self._host.storage.approve(guarded, now=self._around.wall.now())
        return True

    async def _rest(self) -> None:
        """Let nothing more happen, and check that undisturbed runs leave everything right."""
        around, settings = self._around, self._spec.settings
        around.sandbox.quirks = draw.without_obstacles(self._spec.quirks)
        self._seen.note("world", "is quiet")
        now = around.wall.now()
        longest = _TWO_HOURS + settings.grace + 8 * settings.late_effects  # from here until the world is judged
        begins = now
        for moment in sorted(self._spec.boundaries):
            if begins <= moment <= begins + longest:
                begins = moment
        # What is unclear stays so until it can no longer take effect; refused changes back off; absences have a grace.
        await trio.sleep((begins - now + settings.late_effects).total_seconds() + 1)
        for host in (*self._hosts[1:] * 2, self._host):
            await self._undisturbed_run(host)
        await trio.sleep(settings.grace.total_seconds() + 1)
        first = await self._undisturbed_run()
        if self._spec.approving and first and await self._approve(first):
            first = await self._undisturbed_run()
        second = await self._undisturbed_run()
        if first is None or second is None:
            self._seen.violated("convergence", "an undisturbed run did not end")
            return
        self._judge_rest(first, second)

    def _judge_rest(self, first: Report, second: Report) -> None:
        expected = expected_state.expected(
            self._host.folder.readings(),
            self._seen.directories[-1][1],
            self._around.wall.now(),
            self._spec.settings.mode,
        )
        allowed = {"too_many_unresolved"} if expected.references >= 20 else set[str]()
        allowed |= {"sources_contradict"} if expected.contradictory else set()
        final_checks.at_rest(self._seen, self._account, expected, second, allowed=allowed)
        if first.error is None and second.error is None:
            final_checks.idle(self._seen, first, second)
        final_checks.moved(self._seen, self._host.storage, self._around.runs)

    async def _undisturbed_run(self, host: surroundings.Host | None = None) -> Report | None:
        process = await self._live(host or self._host, _UNDISTURBED)
        await trio.sleep(self._spec.settings.late_effects.total_seconds())
        return process.reports[-1] if process.reports else None

    def _expectations(self, run: audit.Run) -> list[expected_state.Expected]:
        """Return what a run's sources may ask for, for every moment of the run at which that changed."""
        return self._expected([run.readings], run.began, trio.current_time() - run.started)

    def _always_wanted(self, run: audit.Run) -> set[expected_state.Pair]:
        """Return what a run's sources want both long before and long after every date in them."""
        now, mode = self._around.wall.now(), self._spec.settings.mode
        return {
            pair
            for known in self._seen.directories_since(run.began)
            for pair in expected_state.expected(run.readings, known, now - _LONG, mode).possible
            & expected_state.expected(run.readings, known, now + _LONG, mode).possible
        }

    def _recent_expectations(self, host: surroundings.Host) -> list[expected_state.Expected]:
        """Return what every version of a host's documents of the last hour asks for."""
        since = trio.current_time() - _RECENT_SECONDS
        versions = host.folder.readings_since(since)
        return self._expected(versions, self._seen.order_at(since), _RECENT_SECONDS)

    def _expected(
        self, versions: list[list[SourceReading]], order: int, seconds: float
    ) -> list[expected_state.Expected]:
        now = self._around.wall.now()
        since = now - datetime.timedelta(seconds=seconds)
        moments = sorted({since, now, *(at for at in self._spec.boundaries if since <= at <= now)})
        directories = self._seen.directories_since(order)
        return [
            expected_state.expected(readings, known, moment, self._spec.settings.mode)
            for readings, known, moment in itertools.product(versions, directories, moments)
        ]
