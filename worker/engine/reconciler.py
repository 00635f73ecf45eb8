"""One reconciliation, from reading to report: desired, actual, plan, guard, apply, verify, report.

Invariants: the plan that the guard evaluates is the plan that is shown and applied; every expected failure ends as a
report. Neighbours: `plan_builder` reads and plans, `applier` writes and reads back, `wiring` builds this.
"""

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from worker.core.model import pauses
from worker.core.model.actual import Actual
from worker.core.model.errors import ClockNotTrusted, FleetSyncError, JournalError, Paused, PlanFileError
from worker.core.model.outcomes import ChangeResult, Deferred, Outcome, Unknown
from worker.core.model.plan import Change, GuardedPlan
from worker.core.model.ports import OpenIntent
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.planning import observation, saved_plan
from worker.engine import applier, pause_watch, plan_builder, reader, run_context, source_watch, verification

log = structlog.get_logger()


class Reconciler:
    """One run."""

    def __init__(
        self,
        context: run_context.RunContext,
        builder: plan_builder.PlanBuilder,
        account_reader: reader.Reader,
        account_applier: applier.Applier,
        *,
        show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
    ) -> None:
        """Take the parts of a run. `show` receives the plan before anything of it is applied."""
        self._context = context
        self._started = context.clock.now()
        self._builder = builder
        self._reader = account_reader
        self._applier = account_applier
        self._journal = context.journal
        self._cancellation = context.cancellation
        self._wall_clock = context.wall_clock
        self._show = show

    async def reconcile(self, *, trigger: str, approved: str | None = None) -> Report:
        """Recover, read, plan, guard, apply, verify, report. Never raises an expected error: the report holds it."""
        try:
            left_open = await self._journal.open()
            async with self._cancellation.reading():
                desired, actual = await self._builder.read()
                still_open, _ = await self._recover(left_open, actual)
            plan_result = await self._builder.plan(desired, actual, approved=approved, open_intents=still_open)
            await self._remember(plan_result)
            plan_result = await self._builder.select(plan_result, approved=approved)
        except FleetSyncError as error:
            return await self._finish(self._report(None, error=error), trigger=trigger)
        self._show(plan_result)
        guarded = plan_result.guarded
        if pauses.everywhere(plan_result.pauses) is not None:
            return await self._finish(self._report(guarded, paused=True), trigger=trigger)
        if not self._builder.may_apply:
            return await self._finish(self._report(guarded, observed=True), trigger=trigger)
        return await self._finish(await self._apply(plan_result, trigger=trigger), trigger=trigger)

    async def apply(
        self, saved: GuardedPlan, *, max_age: datetime.timedelta = datetime.timedelta.max, during_pause: bool = False
    ) -> Report:
        """Make the changes of a saved plan that still fit what Charge holds and that the guard allows, and no other.

        Nothing is done if the plan is older than `max_age`, by Charge's clock too. Unless `during_pause` is set,
        nothing is done either while all fleets, or the fleet of any change, are paused.
        """
        try:
            if not during_pause:
                await self._require_no_pause(saved, now=self._context.clock.now())
            left_open = await self._journal.open()
            async with self._cancellation.reading():
                actual = await self._builder.read_again(saved)
                still_open, retrieved = await self._recover(left_open, actual)
            if retrieved:
                actual = actual.with_drivers(retrieved)
            self._require_age(saved, max_age)
            if not during_pause:  # again: a clock that is ahead of Charge's ends no pause
                await self._require_no_pause(saved, now=self._wall_clock.assess().earliest)
            again = await self._builder.evaluate_again(saved, actual, open_intents=still_open)
        except FleetSyncError as error:
            return await self._finish(self._report(saved, error=error), trigger="apply")
        self._show(again)
        applied = await self._apply(again, trigger="apply", is_saved=True, ignore_pauses=during_pause)
        return await self._finish(applied, trigger="apply")

    async def _require_no_pause(self, saved: GuardedPlan, *, now: datetime.datetime) -> None:
        """Raise errors.Paused while all fleets are paused, or a fleet of any change of the saved plan."""
        for pause in await self._journal.pauses(now=now):
            if pause.fleet is None or any(pause.covers(change) for change in saved_plan.changes(saved)):
                raise Paused(f"{pause.fleet or 'all fleets'}: {pause}")

    def _require_age(self, saved: GuardedPlan, max_age: datetime.timedelta) -> None:
        """Raise errors.PlanFileError if a plan is older than that by this machine's clock or Charge's."""
        if self._wall_clock.assess().latest - saved.created > max_age:
            raise PlanFileError(
                f"the plan is too old by Charge's clock: it was saved at {saved.created:%Y-%m-%d %H:%M} UTC",
                remedy="Set this machine's clock, and create a new plan. Nothing was changed.",
            )

    async def _remember(self, plan_result: plan_builder.PlanResult) -> None:
        """Record what later runs need to know, if it is new."""
        await self._builder.ownership.claim(plan_result.actual, managed=plan_result.managed)
        await self._journal.remember(plan_result.resolutions)
        await self._journal.remember_sources(plan_result.source_records, run=self._context.run, spent=plan_result.spent)
        if plan_result.newly_absent or plan_result.returned:
            await self._journal.note_absences(
                newly_absent=plan_result.newly_absent,
                since=plan_result.guarded.created,
                returned=plan_result.returned,
            )

    async def _recover(self, left_open: Sequence[OpenIntent], actual: Actual) -> tuple[list[OpenIntent], Actual | None]:
        """Settle the open intents of earlier runs by what was just read. Return those that are still unclear.

        Retrieves the drivers that the reading did not show, and returns them too.
        """
        if not left_open:
            return [], None
        retrieved = await self._reader.drivers(observation.unread_drivers(left_open, actual))
        now, late_effects = self._context.clock.now(), self._context.options.late_effects
        if not self._wall_clock.assess().trusted:
            late_effects = datetime.timedelta.max  # how long ago the last attempt was is not known
        settled = [
            settled
            for reading in (actual, retrieved)
            for settled in observation.settle_intents(left_open, reading, now=now, late_effects=late_effects)
        ]
        await self._journal.record(settled)
        outcomes = dict(settled)
        still_open = [
            _with_outcome(each, outcomes.get(each.intent.key), now)
            for each in left_open
            if isinstance(outcomes.get(each.intent.key), Unknown | None)
        ]
        log.warning("recovered", intents=len(left_open), closed=len(left_open) - len(still_open))
        return still_open, retrieved

    async def _apply(
        self, plan_result: plan_builder.PlanResult, *, trigger: str, is_saved: bool = False, ignore_pauses: bool = False
    ) -> Report:
        """Journal the intents, make the changes, read them back, and report."""
        guarded, changes = plan_result.guarded, _to_send(plan_result)
        outcomes = {**plan_result.skipped, **_half_paused(plan_result, changes)}
        skipped = tuple(ChangeResult(change, outcome) for change, outcome in outcomes.items())
        # A pause must not hide what is held or unresolved elsewhere.
        paused = bool(plan_result.left_out) and not (guarded.unsettled or guarded.needs_approval)
        if not changes:
            return self._report(guarded, skipped, paused=paused)
        work = await self._context.compute(lambda: self._prepare(plan_result, changes))
        try:
            await self._journal.begin(
                self._context.run,
                trigger=trigger,
                guarded=guarded,
                intents=work.intents,
                resent=[each.intent.key for each in work.resent],
                spent=guarded.approval_used_by(changes),
            )
        except JournalError as error:
            return self._report(guarded, error=error)
        read = None if is_saved else plan_result
        applied = await self._applier.apply(
            work,
            sources=self._watch(read),
            check=self._check(read),
            pauses=pause_watch.PauseWatch(self._context, ignored=ignore_pauses),
        )
        results = tuple(sorted((*applied.results, *skipped), key=lambda result: result.change.order))
        problems = (*applied.problems, *_lapsed(plan_result, changes))
        return self._report(guarded, results, problems=problems, error=self._cancellation.reason, paused=paused)

    def _prepare(self, plan_result: plan_builder.PlanResult, changes: Sequence[Change]) -> applier.Work:
        guarded = plan_result.guarded
        return self._applier.prepare(
            changes,
            open_intents=plan_result.unclear.resendable.values(),
            concerned=guarded.concerned,
            unsent=_unsent(plan_result),
            statuses=plan_result.actual.inactive,
            approved=guarded.approved_changes,
            names=guarded.names,
            dated=guarded.dated,
            enforced=plan_result.enforced,
        )

    def _watch(self, plan_result: plan_builder.PlanResult | None) -> source_watch.SourceWatch:
        """Return the watch over the sources. A saved plan does what was reviewed, whatever the sources say now."""
        if plan_result is None:
            return source_watch.SourceWatch((), clock=self._context.clock)
        return self._builder.sources

    def _check(self, plan_result: plan_builder.PlanResult | None) -> verification.Verification:
        desired = plan_result.desired if plan_result else None
        requests = plan_result.actual.requests if plan_result else 0
        return verification.Verification(self._context, self._reader, desired=desired, listing_requests=requests)

    async def _finish(self, run_report: Report, *, trigger: str) -> Report:
        """Record the end of the run. A report that cannot be recorded says so."""
        if isinstance(run_report.error, JournalError):
            return run_report
        try:
            await self._journal.finish(run_report, trigger=trigger)
            if (keep := self._context.options.keep) is not None and self._may_prune(run_report):
                # What the limits of the guard count may not be forgotten before it has left their window.
                kept = max(keep, self._builder.window_length)
                await self._journal.prune(before=_start_of_day(run_report.finished - kept))
        except JournalError as error:
            return dataclasses.replace(run_report, error=run_report.error or error)
        return run_report

    def _may_prune(self, run_report: Report) -> bool:
        """Return whether the clock may say which runs are old: a run that failed may not even have compared it."""
        return run_report.error is None and self._wall_clock.assess().trusted

    def _report(
        self,
        guarded: GuardedPlan | None,
        results: tuple[ChangeResult, ...] = (),
        *,
        problems: tuple[Problem, ...] = (),
        error: FleetSyncError | None = None,
        paused: bool = False,
        observed: bool = False,
    ) -> Report:
        """Sum the run up as of now. A clock that was set during the run is a problem too."""
        clock, known = self._wall_clock.assess(), guarded.problems if guarded else ()
        if not clock.trusted and ClockNotTrusted.code not in {problem.code for problem in known}:
            problems = (*problems, clock.problem)
        return Report(
            run=self._context.run,
            started=self._started,
            finished=self._context.clock.now(),
            guarded=guarded,
            results=results,
            problems=problems,
            traffic=self._context.executor.traffic,
            learned_rate=self._context.executor.learned_rate,
            error=error,
            paused=paused,
            observed=observed,
        )


def _to_send(plan_result: plan_builder.PlanResult) -> tuple[Change, ...]:
    """Return the allowed changes that are sent."""
    unsent = plan_result.skipped.keys() | plan_result.left_out
    return tuple(change for change in plan_result.guarded.changes if change not in unsent)


def _half_paused(plan_result: plan_builder.PlanResult, changes: Iterable[Change]) -> dict[Change, Outcome]:
    """Return the outcomes of paused changes of drivers whom the run changes elsewhere: they do not end up as wanted."""
    touched = {change.driver for change in changes}
    return {
        change: Deferred(0, pauses.PAUSED, f"not sent: {pause}")
        for change in sorted(plan_result.left_out, key=lambda change: change.order)
        for pause in plan_result.pauses
        if pause.covers(change) and change.driver in touched
    }


def _lapsed(plan_result: plan_builder.PlanResult, changes: Sequence[Change]) -> Iterator[Problem]:
    """Yield a note if the approval that this run uses up also allowed changes of paused fleets."""
    paused = plan_result.left_out & plan_result.guarded.approved_changes
    if paused and plan_result.guarded.approval_used_by(changes):
        message = f"approved changes of paused fleets: {len(paused)} left out, to be approved again"
        yield Problem(pauses.WHERE, message, note=True, code=ProblemCode.PAUSED)


def _unsent(plan_result: plan_builder.PlanResult) -> list[Change]:
    """Return the changes that are not sent: skipped, left out or held."""
    held = (each.change for each in plan_result.guarded.held)
    return [*plan_result.skipped, *plan_result.left_out, *plan_result.unselected, *held]


def _start_of_day(moment: datetime.datetime) -> datetime.datetime:
    """Return the start of the day: runs are pruned once a day, and the question costs little in every other run."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _with_outcome(each: OpenIntent, outcome: Outcome | None, now: datetime.datetime) -> OpenIntent:
    """Return an open intent with the unknown outcome that was just recorded for it, if any."""
    if not isinstance(outcome, Unknown):
        return each
    return dataclasses.replace(each, attempts=outcome.attempts, last_attempt=now, code=outcome.code)
