"""One reconciliation, from reading to report. It reads like the architecture: desired, actual, plan, judged, outcome.

Invariants: the plan that is judged is the plan that is shown and applied; every failure that is foreseen ends as a
report. Neighbours: `survey` reads and judges, `apply` writes, `verification` looks again; `service` builds this.
"""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence

import structlog

from worker.core.model.actual import Actual
from worker.core.model.errors import FleetSyncError, JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import ChangeResult, Outcome
from worker.core.model.plan import Change, GuardedPlan
from worker.core.model.ports import Clock, Intent, Journal, OpenIntent
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.planning import observation
from worker.core.safety import attach_first
from worker.engine import applier, plan_builder, reader, request_executor, verification

log = structlog.get_logger()

Postpone = Callable[[Sequence[Change], datetime.datetime], Mapping[Change, Outcome]]
"""Gives those of all planned changes that are not to be sent in this run, with the outcome that says why."""


class Reconciler:
    """One run, under the id `run`."""

    def __init__(
        self,
        *,
        run: RunId,
        builder: plan_builder.PlanBuilder,
        reader: reader.Reader,
        applier: applier.Applier,
        journal: Journal,
        executor: request_executor.RequestExecutor,
        clock: Clock,
        keep: datetime.timedelta | None = None,
        show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
        postpone: Postpone = lambda changes, now: {},
    ) -> None:
        """Take everything that a run needs. `show` gets the judged plan before anything of it is applied.

        `keep` is how long the journal keeps a finished run, None for ever. `postpone` says which of its
        changes `reconcile` is not to send this time.
        """
        self._run = run
        self._started = clock.now()
        self._builder = builder
        self._reader = reader
        self._applier = applier
        self._journal = journal
        self._executor = executor
        self._clock = clock
        self._keep = keep
        self._show = show
        self._postpone = postpone

    async def reconcile(self, *, trigger: str, approved: str | None = None) -> Report:
        """Recover, read, plan, guard, apply, verify, report. Never raises what it foresees: the report says it."""
        try:
            left_open = await self._journal.open()
            async with self._executor.run_cancellation.reading():
                desired, actual = await self._builder.read()
                await self._recover(left_open, actual)
            plan_result = await self._builder.plan(desired, actual, approved=approved)
            await self._remember(plan_result)
        except FleetSyncError as error:
            return await self._finish(self._report(None, error=error), trigger=trigger)
        self._show(plan_result)
        left_out = self._left_out(plan_result.guarded)
        changes = tuple(change for change in plan_result.guarded.changes if change not in left_out)
        undone = tuple(ChangeResult(change, outcome) for change, outcome in left_out.items())
        finished = await self._carry_out(
            plan_result.guarded, changes, trigger=trigger, undone=undone, plan_result=plan_result
        )
        return await self._finish(finished, trigger=trigger)

    async def _remember(self, plan_result: plan_builder.PlanResult) -> None:
        """Bring to the journal what later runs judge by, where it is new."""
        names = {fleet.id: fleet.name for fleet in plan_result.actual.fleets.values()}
        await self._journal.claim(plan_result.guarded.account, fleets=names)
        await self._journal.remember(plan_result.resolutions)
        if plan_result.newly_absent or plan_result.returned:
            await self._journal.note_absences(
                newly_absent=plan_result.newly_absent, since=plan_result.guarded.created, returned=plan_result.returned
            )

    def _left_out(self, guarded: GuardedPlan) -> Mapping[Change, Outcome]:
        """Give the changes that are not sent in this run: what is postponed, and what waits for that."""
        planned = (*guarded.changes, *(held.change for held in guarded.held))
        return attach_first.skipped_changes(guarded.changes, self._postpone(planned, guarded.created))

    async def apply(self, saved: GuardedPlan) -> Report:
        """Make the changes of a saved plan that still fit what Charge holds; the others are left undone."""
        try:
            left_open = await self._journal.open()
            async with self._executor.run_cancellation.reading():
                await self._builder.ownership.check_account()
                actual = await self._reader.drivers({change.driver for change in saved.changes})
                await self._builder.ownership.check_fleets(actual)
                await self._recover(left_open, actual)
        except FleetSyncError as error:
            return await self._finish(self._report(saved, error=error), trigger="apply")
        misfits = {change: outcome for change in saved.changes if (outcome := observation.stale_reason(change, actual))}
        undone = tuple(ChangeResult(change, outcome) for change, outcome in misfits.items())
        fitting = tuple(change for change in saved.changes if change not in misfits)
        return await self._finish(
            await self._carry_out(saved, fitting, trigger="apply", undone=undone), trigger="apply"
        )

    async def _recover(self, left_open: Sequence[OpenIntent], actual: Actual) -> None:
        """Close what earlier lives left open, by what was just read; retrieve whom the reading did not show."""
        if not left_open:
            return
        retrieved = await self._reader.drivers(observation.unread_drivers(left_open, actual))
        closed = [*observation.settle_intents(left_open, actual), *observation.settle_intents(left_open, retrieved)]
        await self._journal.record(closed)
        log.warning("recovered", intents=len(left_open), closed=len(closed))

    async def _carry_out(
        self,
        guarded: GuardedPlan,
        changes: Sequence[Change],
        *,
        trigger: str,
        undone: tuple[ChangeResult, ...] = (),
        plan_result: plan_builder.PlanResult | None = None,
    ) -> Report:
        """Journal what is intended, make it, look again at what was done, and report."""
        if not changes:
            return self._report(guarded, undone)
        intents = [
            dataclasses.replace(intent, approved=intent.change in guarded.approved)
            for intent in self._applier.intend(changes)
        ]
        spent = plan_result.spent(changes) if plan_result else None
        try:
            await self._journal.begin(self._run, trigger=trigger, spent=spent, guarded=guarded, intents=intents)
        except JournalError as error:
            return self._report(guarded, error=error)
        made = await self._applier.apply(intents)
        verified, problems = await verification.verify(
            made, plan_result=plan_result, reader=self._reader, run_cancellation=self._executor.run_cancellation
        )
        await self._correct(intents, made, verified)
        results = tuple(sorted((*verified, *undone), key=lambda result: result.change.order))
        return self._report(guarded, results, problems=problems, error=self._executor.run_cancellation.reason)

    async def _correct(
        self,
        intents: Sequence[Intent],
        made: Sequence[ChangeResult],
        verified: Sequence[ChangeResult],
    ) -> None:
        """Bring to the journal which outcomes the verification changed."""
        corrected = [
            (intent.key, after.outcome)
            for intent, before, after in zip(intents, made, verified, strict=True)
            if after is not before
        ]
        try:
            await self._journal.record(corrected)
        except JournalError as error:
            self._executor.run_cancellation.request_stop(error)

    async def _finish(self, finished: Report, *, trigger: str) -> Report:
        """Record the end of the run. A report that cannot be recorded says so."""
        if isinstance(finished.error, JournalError):
            return finished
        try:
            await self._journal.finish(finished, trigger=trigger)
            if self._keep is not None:
                # To the day: it is a cheap question in every run, and there is something to forget once a day.
                last = finished.finished - self._keep
                await self._journal.prune(before=last.replace(hour=0, minute=0, second=0, microsecond=0))
        except JournalError as error:
            return dataclasses.replace(finished, error=finished.error or error)
        return finished

    def _report(
        self,
        guarded: GuardedPlan | None,
        results: tuple[ChangeResult, ...] = (),
        *,
        problems: tuple[Problem, ...] = (),
        error: FleetSyncError | None = None,
    ) -> Report:
        """Sum the run up as of now."""
        return Report(
            run=self._run,
            started=self._started,
            finished=self._clock.now(),
            guarded=guarded,
            results=results,
            problems=problems,
            traffic=self._executor.traffic,
            error=error,
        )
