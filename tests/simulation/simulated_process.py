"""One fleet-sync process with the real client, rate limiter and engine, which may end at any point.

Invariant: only the edges are replaced, and nothing that a dead process still tries to do happens. Neighbours:
`surroundings` says what it is given, `fault_points` has its incidents.
"""

import contextlib
import copy
import datetime
from collections.abc import Sequence

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
    network,
    oracles,
    other_writers,
    state_oracle,
    surroundings,
)
from tests.support import doubles, harness
from tests.support import sandbox as support
from worker.charge import transport
from worker.core.model.errors import FleetSyncError, Stopped
from worker.core.model.identifiers import Account, IntentKey, RunId
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import Intent
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.engine import cancellation, plan_builder, run_context, wiring
from worker.sandbox import app

LONGEST_RUN = 24 * 3600.0
"""Seconds of virtual time within which every run must end."""

DRAIN_SECONDS = 0.5
PAUSE_SECONDS = 90.0
WRONG_DAYS = (-1.0, -0.01, 0.01, 2.0, 60.0, 3650.0)


class SimulatedProcess:
    """One process of a host."""

    def __init__(self, around: surroundings.Surroundings, host: surroundings.Host, spec: draw.ProcessSpec) -> None:
        """Start a process."""
        around.processes += 1
        self.number = around.processes
        self.reports: list[Report] = []
        self._around = around
        self._host = host
        self._spec = spec
        self._revoked = False
        self._stopped: Stopped | None = None
        self._scope = trio.CancelScope()
        self._who = f"process {self.number}"
        self._wall = copy.copy(around.wall)
        self._others = other_writers.OtherWriters(
            around.account, around.sandbox, around.chance, around.seen, spec.others, spec.others_around
        )
        self._points = fault_points.FaultPoints(
            spec.incidents,
            who=self._who,
            seen=around.seen,
            at_every_point=self._others.maybe_act,
            effects={
                "crash": self._die,
                "stop": lambda: self._stop(DRAIN_SECONDS),
                "cut": lambda: self._stop(0.0),
                "revoke": self._revoke,
                "lose lock": self._lose_lock,
                "fill disk": self._fill_disk,
                "stumble": self._stumble,
                "pause": self._pause,
                "others": self._others.act,
                "edit": self._edit,
                "set clock": self._set_clock,
            },
        )
        settings = around.settings
        # A request asks the journal between its turn and its sending; turns bunch by that much.
        burst = settings.burst + settings.rate * fake_journal.question_seconds(spec.slowness)
        # A proof lasts 5 s or two turns, and a server that answers with 429 is asked again every 20 s at the longest.
        limited = around.sandbox.quirks.rate or any(
            name.startswith("rate_") for name in (*spec.faults, *spec.write_faults)
        )
        proof_seconds = max(40.0 if limited else 5.0, 2 / settings.rate)
        rules = oracles.Rules(settings.mode, settings.limits, settings.rate, burst, around.most_requests, proof_seconds)
        self._judge = oracles.Judge(
            seen=around.seen,
            account=around.account,
            storage=host.storage,
            rules=rules,
            expectations=around.expectations,
            always_wanted=around.always_wanted,
        )
        self._run = audit.Run("", host.name, self.number, 0, 0.0)

    async def live(self) -> None:
        """Run until all runs are done, or until something ends the process."""
        self._around.seen.note(self._who, "begins")
        try:
            with self._scope:
                await self._live()
        except* fault_points.Killed:
            pass
        if self._points.dead:
            self._around.seen.counts["crashes"] += 1
            self._around.seen.note(self._who, "is dead")

    async def _live(self) -> None:
        await self._host.storage.open_anew()
        self._open()
        for number in range(self._spec.runs):
            if number:
                await trio.sleep(self._spec.interval)
            if self._stopped is None:
                trigger = "start" if number == 0 else "interval"
                if self._around.chance.random() < self._spec.saved_plans:
                    await self._apply_saved_plan()
                else:
                    await self._reconcile(trigger)

    def _open(self) -> None:
        """Create what outlives a run."""
        around, settings = self._around, self._around.settings
        self._journal = around.parts.new_journal(
            self._host.storage,
            points=self._points,
            seen=around.seen,
            chance=around.chance,
            slowness=self._spec.slowness,
            begun=self._begun,
            failed=lambda: self._run.end("a failure of the journal"),
            planning=self._plans,
            late_keys=around.sandbox.late_keys,
        )
        self._limiter = around.parts.new_limiter(
            requests_per_second=settings.rate, burst=settings.burst, adaptive=settings.adaptive
        )
        self._http = around.parts.new_transport(
            transport.Endpoint(harness.BASE, "2026-03-01", "fleet-sync/simulated", settings.timeout),
            key=Secret(app.KEY),
            network=transport.Network(settings.concurrency),
            make=self._network,
        )
        self._client = around.parts.new_client(http=self._http, clock=self._wall, page_size=settings.page_size)

    def _begun(self, name: RunId, intents: Sequence[Intent], resent: Sequence[Intent], guarded: GuardedPlan) -> None:
        self._run.plan_made(self._around.seen.next())
        self._judge.begun(self._around.runs[name], intents, resent, guarded)

    def _plans(self) -> None:
        self._run.plan_made(self._around.seen.next())

    def _network(self) -> network.Network:
        return network.Network(
            support.transport(self._around.sandbox),
            outside=self._around.outside,
            points=self._points,
            who=self._who,
            seen=self._around.seen,
            observers=network.Observers(
                run=lambda: self._run,
                sending=self._sending,
                answered=self._answered,
                revoked=lambda: self._revoked,
                lag=self._lag,
            ),
        )

    def _sending(self, request: httpx.Request) -> None:
        self._others.maybe_act_before(request)
        self._judge.sending(self._run, request)
        if self._run.requests > self._around.most_requests:
            self._die()  # it would go on forever
            self._points.alive()

    def _answered(self, request: httpx.Request) -> None:
        if request.method == "POST":
            written = self._run.written[request.url.path.split("/")[3]]
            written[request.headers["idempotency-key"]] = self._around.seen.next()
        if not self._points.dead:
            self._others.maybe_act_after(request)

    def _lag(self, request: httpx.Request) -> float:
        quirks = self._around.sandbox.quirks
        if request.method != "GET":
            return 0.0
        lag = quirks.read_lag_seconds if request.url.path.count("/") == 3 else quirks.list_lag_seconds
        return lag + quirks.latency_seconds / 2 if lag else 0.0  # it was made before its way back

    def _new_run(self, *, saved_plan: bool = False) -> audit.Run:
        around = self._around
        quirks = around.sandbox.quirks
        name = f"run-{len(around.runs) + 1}"
        began, now = around.seen.next(), trio.current_time()
        if lag := max(quirks.list_lag_seconds, quirks.read_lag_seconds):
            began = around.seen.order_at(now - lag)
        run = self._run = audit.Run(name, self._host.name, self.number, began, now, saved_plan=saved_plan)
        run.deceived = run.misled = quirks.page_cap is not None
        run.lost = now if self._journal.lost else None
        run.began_wrong = bool(self._wall.ahead)
        run.wrong_clock = now if run.began_wrong else None
        around.runs[name] = run
        around.seen.note(self._who, f"{name} begins")
        around.seen.counts["runs"] += 1
        self._cancellation = around.parts.new_cancellation(wake=self._limiter.wake)
        return run

    async def _reconcile(self, trigger: str) -> None:
        run = self._new_run()
        with trio.move_on_after(LONGEST_RUN) as bound:
            reconciler = wiring.new_reconciler(
                self._context(run), rules=self._rules(), sources=self._sources(run), parts=self._around.parts.engine
            )
            self._judge_report(run, await reconciler.reconcile(trigger=trigger))
        self._judge_end(run, bound)

    async def _apply_saved_plan(self) -> None:
        """Plan, wait as long as an operator does, and apply what was planned."""
        planning = self._new_run()
        builder = wiring.new_plan_builder(
            self._context(planning),
            rules=self._rules(),
            sources=self._sources(planning),
            parts=self._around.parts.engine,
        )
        saved: list[GuardedPlan] = []
        with trio.move_on_after(LONGEST_RUN) as bound, contextlib.suppress(FleetSyncError):
            saved.append((await builder.build()).guarded)
        self._judge_end(planning, bound)
        await trio.sleep(self._spec.interval)
        if not saved or self._stopped is not None:
            return
        run = self._new_run(saved_plan=True)
        self._around.seen.counts["saved plans"] += 1
        with trio.move_on_after(LONGEST_RUN) as bound:
            reconciler = wiring.new_reconciler(
                self._context(run), rules=self._rules(), sources=(), parts=self._around.parts.engine
            )
            self._judge_report(run, await reconciler.apply(saved[0]))
        self._judge_end(run, bound)

    def _judge_report(self, run: audit.Run, run_report: Report) -> None:
        around = self._around
        around.seen.note(self._who, f"{run.name} ends: {run_report.result} {run_report.error or ''}")
        self.reports.append(run_report)
        around.sandbox.deliver_late()
        final_checks.reported(around.seen, around.account, run, run_report)
        state_oracle.converged(around.seen, run, run_report, has_grace=bool(around.settings.grace))
        if not run.saved_plan and run.wrong_clock is None:  # else rows with dates attach nobody, which is one problem
            recent = lambda: around.recent_expectations(self._host)  # noqa: E731
            state_oracle.nobody_stranded(around.seen, around.account, run, run_report, recent=recent)

    def _judge_end(self, run: audit.Run, bound: trio.CancelScope) -> None:
        if bound.cancelled_caught:
            self._around.seen.violated("deadlock", f"{run.name} did not end")
        run.end("the end of the run")

    def _context(self, run: audit.Run) -> run_context.RunContext:
        around, settings = self._around, self._around.settings
        executor = around.parts.new_executor(
            limiter=self._limiter,
            run_cancellation=self._cancellation,
            policy=settings.policy,
            jitter=around.chance.random,
        )
        return run_context.RunContext(
            run=RunId(run.name),
            charge=self._client,
            journal=self._journal,
            executor=executor,
            clock=self._wall,
            progress=doubles.Watcher(),
            new_key=self._new_key,
            options=run_context.RunOptions(
                page_size=settings.page_size,
                concurrency=settings.concurrency,
                must_see=frozenset(fleet for _, fleet in settings.limits.must_see),
                late_effects=settings.late_effects,
            ),
        )

    def _rules(self) -> plan_builder.Rules:
        settings = self._around.settings
        account = Account(harness.BASE, "test")
        return plan_builder.Rules(account, settings.mode, settings.limits, settings.rate, grace=settings.grace)

    def _sources(self, run: audit.Run) -> list[documents.Source]:
        folder = self._host.folder
        return [documents.Source(folder, number, self._points, run) for number in range(len(folder.readings()))]

    def _new_key(self) -> IntentKey:
        self._host.keys += 1
        return IntentKey(f"{self._host.name}-{self._host.keys}")

    # --- incidents

    def _die(self) -> None:
        self._points.dead = True
        self._scope.cancel()

    def _stop(self, drain: float) -> None:
        self._stopped = self._stopped or Stopped("ended by SIGTERM", exit_code=143)
        if self._run.name:
            self._run.end("a signal")
            self._cancellation.request_stop(self._stopped)
            self._around.outside.start_soon(self._abort_writes, self._cancellation, drain)

    async def _abort_writes(self, run_cancellation: cancellation.Cancellation, drain: float) -> None:
        await trio.sleep(drain)
        if not self._points.dead:
            run_cancellation.abort_writes()

    def _revoke(self) -> None:
        self._revoked = True

    def _lose_lock(self) -> None:
        self._journal.lost = True
        # A write whose check was just answered may still go out.
        self._run.lost = trio.current_time() + fake_journal.question_seconds(self._spec.slowness)

    def _fill_disk(self) -> None:
        self._journal.full = True

    def _stumble(self) -> None:
        self._journal.stumbles += 1

    def _pause(self) -> None:
        """Stand still while time goes on."""
        self._around.clock.jump(PAUSE_SECONDS)
        # All requests that already had their turn go now, at once.
        self._around.seen.levels[self.number] = (-float(self._around.settings.concurrency), trio.current_time())
        if self._run.planned:
            self._run.resumed, self._run.stood_still = trio.current_time(), PAUSE_SECONDS

    def _set_clock(self) -> None:
        """Set this machine's clock, and no other, to a wrong time."""
        self._wall.ahead = datetime.timedelta(days=self._around.chance.choice(WRONG_DAYS))
        self._run.wrong_clock = self._run.wrong_clock or trio.current_time()

    def _edit(self) -> None:
        self._host.folder.edit()
        run, seen = self._run, self._around.seen
        if not run.planned or run.saved_plan:
            return
        before = run.readings
        after = self._host.folder.readings()[: len(before)]  # a run reads no document that is new among its sources
        directory, now, mode = seen.directories[-1][1], self._around.wall.now(), self._around.settings.mode
        was, is_now = (expected_state.expected(each, directory, now, mode) for each in (before, after))
        # A document that is gone, or contradicts another, cannot be read: that withholds detaches only.
        readable = len(after) == len(before) and not is_now.contradictory
        if (was.wanted, was.modes) != (is_now.wanted, is_now.modes) and readable:
            run.superseded = trio.current_time() if run.superseded is None else run.superseded
        elif run.superseded is not None and trio.current_time() <= run.superseded + oracles.NOTICED_SECONDS:
            run.superseded = None  # this edit undoes an earlier one that the run need not have seen
