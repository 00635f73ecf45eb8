"""One life: a process with the real client, pace, reader, applier and cycle, that may be ended at any point.

Invariant: nothing of ours is replaced but the edges; what a dead life still tries to do, does not happen.
Neighbours: `world` gives it its surroundings, `fate` its points; a planted defect is another `Parts`.
"""

import dataclasses
import random
from collections.abc import Callable

import httpx
import trio
import trio.testing

from tests.simulation import (
    audit,
    documents,
    draw,
    expected_state,
    fake_journal,
    fault_points,
    final_checks,
    oracles,
    wire,
)
from tests.support import clocks, doubles, harness
from tests.support import sandbox as support
from worker.charge import client, transport
from worker.core.model.errors import Stopped
from worker.core.model.identifiers import Account, IntentKey, RunId
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.engine import cancellation, plan_builder, rate_limiter, reconciler, request_executor, run_context, wiring
from worker.sandbox import app

LONGEST_RUN = 6 * 3600.0
"""Seconds of virtual time in which every run must have ended."""

DRAIN_SECONDS = 0.5
PAUSE_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the product is made of; to plant a defect, replace one."""

    engine: wiring.Parts = wiring.DEFAULT_PARTS
    new_executor: type[request_executor.RequestExecutor] = request_executor.RequestExecutor
    new_client: type[client.Client] = client.Client
    new_transport: type[transport.Transport] = transport.Transport
    new_limiter: type[rate_limiter.RateLimiter] = rate_limiter.RateLimiter
    new_cancellation: type[cancellation.Cancellation] = cancellation.Cancellation
    new_journal: type[fake_journal.FakeJournal] = fake_journal.FakeJournal


@dataclasses.dataclass
class Surroundings:
    """What lives share: the account, the disk, the sources, the time, and who watches."""

    settings: draw.Settings
    parts: Parts
    roster: audit.RecordedState
    sandbox: app.Sandbox
    disk: fake_journal.Storage
    shelf: documents.Shelf
    wall: clocks.Wall
    clock: trio.testing.MockClock
    seen: audit.Audit
    outside: trio.Nursery
    chance: random.Random
    truths: Callable[[audit.Run], list[expected_state.Expected]]
    most_requests: int
    runs: dict[str, audit.Run] = dataclasses.field(default_factory=dict)
    lives: int = 0
    keys: int = 0


class Life:
    """One process."""

    def __init__(self, around: Surroundings, plan: draw.Life) -> None:
        """Start a process."""
        around.lives += 1
        self.number = around.lives
        self.reports: list[Report] = []
        self._around = around
        self._plan = plan
        self._revoked = False
        self._stopped: Stopped | None = None
        self._scope = trio.CancelScope()
        self._fate = fault_points.FaultPoints(
            plan.moments,
            who=f"life {self.number}",
            seen=around.seen,
            meddle=self._meddle_perhaps,
            strike={
                "crash": self._die,
                "stop": lambda: self._stop(DRAIN_SECONDS),
                "cut": lambda: self._stop(0.0),
                "revoke": self._revoke,
                "lose lock": self._lose_lock,
                "fill disk": self._fill_disk,
                "stumble": self._stumble,
                "pause": self._pause,
                "meddle": self._meddle,
                "edit": around.shelf.edit,
            },
        )
        settings = around.settings
        # Who has got a turn asks the journal before going; as with the network's delays, turns bunch by as much.
        burst = settings.burst + settings.rate * fake_journal.asking(plan.slowness)
        rules = oracles.Rules(settings.mode, settings.limits, settings.rate, burst, around.most_requests)
        self._judge = oracles.Judge(
            seen=around.seen, held=around.roster, disk=around.disk, rules=rules, truths=around.truths
        )
        self._run = audit.Run("", self.number, 0, 0.0)

    async def live(self) -> None:
        """Live until the runs are done, or until something ends it."""
        self._around.seen.note(f"life {self.number}", "begins")
        try:
            with self._scope:
                await self._live()
        except* fault_points.Killed:
            pass
        if self._fate.dead:
            self._around.seen.counts["crashes"] += 1
            self._around.seen.note(f"life {self.number}", "is dead")

    async def _live(self) -> None:
        self._furnish()
        for number in range(self._plan.runs):
            if number:
                await trio.sleep(self._plan.interval)
            if self._stopped is None:
                await self._reconcile("start" if number == 0 else "interval")

    def _furnish(self) -> None:
        """Make what outlives a run."""
        around, settings = self._around, self._around.settings
        self._journal = around.parts.new_journal(
            around.disk,
            life=self._fate,
            seen=around.seen,
            chance=around.chance,
            now=around.wall.now,
            slowness=self._plan.slowness,
            landed=lambda name, intents, guarded: self._judge.landed(around.runs[name], name, intents, guarded),
            failed=lambda: self._run.end("a failure of the journal"),
            planning=self._plans,
        )
        self._limiter = around.parts.new_limiter(
            requests_per_second=settings.rate, burst=settings.burst, adaptive=settings.adaptive
        )
        self._http = around.parts.new_transport(
            transport.Endpoint(harness.BASE, "2026-03-01", "fleet-sync/simulated", settings.timeout),
            key=Secret(app.KEY),
            network=transport.Network(settings.concurrency),
            make=self._wire,
        )
        self._client = around.parts.new_client(http=self._http, clock=around.wall, page_size=settings.page_size)

    def _plans(self) -> None:
        self._run.planned = True

    def _wire(self) -> wire.Wire:
        return wire.Wire(
            support.transport(self._around.sandbox),
            outside=self._around.outside,
            life=self._fate,
            who=f"life {self.number}",
            seen=self._around.seen,
            run=lambda: self._run,
            sending=self._sending,
            revoked=lambda: self._revoked,
        )

    def _sending(self, request: httpx.Request) -> None:
        self._judge.sending(self._run, request)
        if self._run.requests > self._around.most_requests:
            self._die()  # it would go on for ever
            self._fate.alive()

    async def _reconcile(self, trigger: str) -> None:
        """Do one run, and judge its report."""
        around = self._around
        name = f"run-{len(around.runs) + 1}"
        run = self._run = audit.Run(name, self.number, around.seen.next(), trio.current_time())
        run.deceived = run.misled = around.sandbox.quirks.page_cap is not None
        run.lost = trio.current_time() if self._journal.lost else None
        around.runs[name] = run
        around.seen.note(f"life {self.number}", f"{name} begins ({trigger})")
        around.seen.counts["runs"] += 1
        self._cancellation = around.parts.new_cancellation(wake=self._limiter.wake)
        with trio.move_on_after(LONGEST_RUN) as bound:
            finished = await self._reconciler(run).reconcile(trigger=trigger)
        if bound.cancelled_caught:
            around.seen.violated("deadlock", f"{name} did not end")
            return
        run.end("the end of the run")
        around.seen.note(f"life {self.number}", f"{name} ends: {finished.result} {finished.error or ''}")
        self.reports.append(finished)
        final_checks.reported(around.seen, around.roster, run, finished)

    def _reconciler(self, run: audit.Run) -> reconciler.Reconciler:
        around, settings, parts = self._around, self._around.settings, self._around.parts
        executor = parts.new_executor(
            limiter=self._limiter,
            run_cancellation=self._cancellation,
            policy=settings.policy,
            jitter=around.chance.random,
        )
        context = run_context.RunContext(
            run=RunId(run.name),
            charge=self._client,
            journal=self._journal,
            executor=executor,
            clock=around.wall,
            progress=doubles.Watcher(),
            new_key=self._new_key,
            options=run_context.RunOptions(
                page_size=settings.page_size,
                concurrency=settings.concurrency,
                must_see=frozenset(fleet for _, fleet in settings.limits.must_see),
            ),
        )
        return wiring.new_reconciler(
            context,
            rules=plan_builder.Rules(Account(harness.BASE, "test"), settings.mode, settings.limits, settings.rate),
            sources=[
                documents.Source(around.shelf, place, self._fate, run) for place in range(len(around.shelf.readings()))
            ],
            parts=parts.engine,
        )

    def _new_key(self) -> IntentKey:
        self._around.keys += 1
        return IntentKey(f"key-{self._around.keys}")

    # --- what befalls it

    def _die(self) -> None:
        self._fate.dead = True
        self._scope.cancel()

    def _stop(self, drain: float) -> None:
        self._stopped = self._stopped or Stopped("ended by SIGTERM", exit_code=143)
        if self._run.name:
            self._run.end("a signal")
            self._cancellation.request_stop(self._stopped)
            self._around.outside.start_soon(self._cut, self._cancellation, drain)

    async def _cut(self, run_cancellation: cancellation.Cancellation, drain: float) -> None:
        await trio.sleep(drain)
        if not self._fate.dead:
            run_cancellation.abort_writes()

    def _revoke(self) -> None:
        self._revoked = True

    def _lose_lock(self) -> None:
        self._journal.lost = True
        # Who was just told that all is well may go once more.
        self._run.lost = trio.current_time() + fake_journal.asking(self._plan.slowness)

    def _fill_disk(self) -> None:
        self._journal.full = True

    def _stumble(self) -> None:
        self._journal.stumbles += 1

    def _pause(self) -> None:
        """Stand still, while the world goes on."""
        self._around.clock.jump(PAUSE_SECONDS)
        # Whoever had got a turn before goes now, all at once.
        self._around.seen.levels[self.number] = (-float(self._around.settings.concurrency), trio.current_time())
        if self._run.planned:
            self._run.resumed = trio.current_time()

    def _meddle_perhaps(self) -> None:
        if self._plan.meddling and self._around.chance.random() < self._plan.meddling:
            self._meddle()

    def _meddle(self) -> None:
        """Let another writer change something."""
        around, chance = self._around, self._around.chance
        drivers = sorted(around.roster.drivers)
        if not drivers:
            return
        driver = chance.choice(drivers)
        what = chance.random()
        if what < 0.03:
            around.seen.note("another", f"deletes {audit.short(driver)}")
            around.roster.vanish(driver)
        elif what < 0.06:
            other = chance.choice(drivers)
            around.seen.note("another", f"gives {audit.short(other)}'s address to {audit.short(driver)}")
            address = around.roster.drivers[other].email
            around.roster.change_driver(other, email=around.roster.drivers[driver].email)
            around.roster.change_driver(driver, email=address)
            around.seen.directory(around.roster)
        else:
            around.roster.meddle((driver, chance.choice(sorted(around.roster.fleets))))
