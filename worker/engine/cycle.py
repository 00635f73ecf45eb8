"""One reconciliation, from reading to report. It reads like the architecture: desired, actual, plan, judged, outcome.

Invariants: the plan that is judged is the plan that is shown and applied; every failure that is foreseen ends as a
report. Neighbours: `reading` and `apply` do the work, `core` decides, `service` builds this and runs it.
"""

import dataclasses
import datetime
from collections.abc import Callable, Collection, Sequence

import structlog

from worker.core import desired as desired_
from worker.core import digest, errors, guard, outcomes, planner, ports, report, values
from worker.engine import apply, reading, sending

log = structlog.get_logger()


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided beforehand."""

    account: values.Account
    mode: values.Mode
    limits: guard.Limits
    requests_per_second: float


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What was read, and the judged plan that follows from it."""

    desired: values.Desired
    actual: values.Actual
    judged: values.Judged


class Cycle:
    """One run, under the id `run`."""

    def __init__(
        self,
        *,
        run: values.RunId,
        rules: Rules,
        sources: Sequence[ports.Source],
        reader: reading.Reader,
        applier: apply.Applier,
        journal: ports.Journal,
        sender: sending.Sender,
        clock: ports.Clock,
        show: Callable[["Survey"], None] = lambda survey: None,
    ) -> None:
        """Take everything that a run needs. `show` gets the judged plan before anything of it is applied."""
        self._run = run
        self._started = clock.now()
        self._rules = rules
        self._sources = sources
        self._reader = reader
        self._applier = applier
        self._journal = journal
        self._sender = sender
        self._clock = clock
        self._show = show

    async def survey(self, *, approved: str | None = None) -> Survey:
        """Read, plan and judge; change nothing. `approved` is the digest of a plan whose held changes may be made.

        Raises errors.FleetSyncError where that cannot be done.
        """
        with self._sender.halt.reading():
            desired = await self.desired()
            actual = await self._reader.read(desired)
        now = self._clock.now()
        plan = planner.plan(desired=desired, actual=actual, now=now, mode=self._rules.mode)
        guard.trust(plan, self._rules.limits)
        judgement = guard.judge(plan, actual, self._rules.limits)
        if approved is not None and approved == self._digest(judgement):
            judgement = guard.approve(judgement)
        return Survey(desired, actual, self._judged(desired, actual, plan, judgement, now))

    async def rehearse(self) -> values.Plan:
        """Read, and plan as if every row had begun: this shows each reference that leads nowhere, or will."""
        with self._sender.halt.reading():
            desired = await self.desired()
            begun = dataclasses.replace(desired, rows=tuple(dataclasses.replace(r, starts=None) for r in desired.rows))
            actual = await self._reader.read(begun)
        return planner.plan(desired=begun, actual=actual, now=self._clock.now(), mode=self._rules.mode)

    async def export(self) -> values.Actual:
        """Read everything that Charge holds. Raises errors.ReadingError where that cannot be read whole."""
        with self._sender.halt.reading():
            return await self._reader.export()

    async def desired(self) -> values.Desired:
        """Read every source whole, and add them up."""
        readings = [await source.read() for source in self._sources]
        return desired_.combine(readings)

    async def reconcile(self, *, trigger: str, approved: str | None = None) -> report.Report:
        """Read, plan, guard, apply, verify, report. Never raises what it foresees: the report says it."""
        try:
            survey = await self.survey(approved=approved)
        except errors.FleetSyncError as error:
            return self._report(None, error=error)
        self._show(survey)
        return await self._carry_out(survey.judged, survey.judged.changes, trigger=trigger, survey=survey)

    async def apply(self, saved: values.Judged) -> report.Report:
        """Make the changes of a saved plan that still fit what Charge holds; the others are left undone."""
        try:
            with self._sender.halt.reading():
                actual = await self._reader.drivers({change.driver for change in saved.changes})
        except errors.FleetSyncError as error:
            return self._report(saved, error=error)
        misfits = {change: outcome for change in saved.changes if (outcome := _misfit(change, actual))}
        undone = tuple(outcomes.Result(change, outcome) for change, outcome in misfits.items())
        fitting = tuple(change for change in saved.changes if change not in misfits)
        return await self._carry_out(saved, fitting, trigger="apply", undone=undone)

    async def _carry_out(
        self,
        judged: values.Judged,
        changes: Sequence[values.Change],
        *,
        trigger: str,
        undone: tuple[outcomes.Result, ...] = (),
        survey: Survey | None = None,
    ) -> report.Report:
        """Journal what is intended, make it, look again at what was done, and report."""
        if not changes:
            return self._report(judged, undone)
        intents = self._applier.intend(changes)
        try:
            await self._journal.begin(self._run, trigger=trigger, judged=judged, intents=intents)
        except errors.JournalError as error:
            return self._report(judged, error=error)
        made = await self._applier.apply(self._run, intents)
        verified, problems = await self._verify(made, survey)
        results = tuple(sorted((*verified, *undone), key=lambda result: result.change.order))
        finished = self._report(judged, results, problems=problems, error=self._sender.halt.reason)
        try:
            await self._journal.finish(self._run, finished)
        except errors.JournalError as error:
            return dataclasses.replace(finished, error=finished.error or error)
        return finished

    async def _verify(
        self, results: tuple[outcomes.Result, ...], survey: Survey | None
    ) -> tuple[tuple[outcomes.Result, ...], tuple[values.Problem, ...]]:
        """Read back what was answered as done: an answer may be a replay of how things once were."""
        drivers = {result.change.driver for result in results if result.done}
        if not drivers or self._sender.halt.reason is not None:
            return results, ()
        try:
            with self._sender.halt.reading():
                actual = await self._read_back(drivers, survey)
        except errors.FleetSyncError as error:
            return results, (values.Problem("verification", f"what was done could not be read back: {error.message}"),)
        verified = tuple(_verified(result, actual) for result in results)
        lost = sum(result.done for result in results) - sum(result.done for result in verified)
        unread = sum(result.done and _unread(result.change, actual) for result in results)
        messages = []
        if lost:
            log.error("not_converging", changes=lost)
            messages.append(f"{lost} of the changes were answered as done, but a fresh reading does not show them")
        if unread:
            messages.append(f"{unread} of the changes were answered as done, but could not be read back")
        return verified, tuple(values.Problem("verification", message) for message in messages)

    async def _read_back(self, drivers: Collection[values.DriverId], survey: Survey | None) -> values.Actual:
        """Read the changed drivers, or everything once more where that costs fewer requests."""
        if survey is None or len(drivers) <= survey.actual.requests:
            return await self._reader.drivers(drivers)
        return await self._reader.read(survey.desired)

    def _digest(self, judgement: guard.Judgement) -> str:
        return digest.digest(self._rules.account, judgement.allowed, (held.change for held in judgement.held))

    def _judged(
        self,
        desired: values.Desired,
        actual: values.Actual,
        plan: values.Plan,
        judgement: guard.Judgement,
        now: datetime.datetime,
    ) -> values.Judged:
        """Put together the one object that is shown, saved and applied."""
        read_back = min(len({change.driver for change in judgement.allowed}), actual.requests)
        requests = len(judgement.allowed) + read_back
        return values.Judged(
            account=self._rules.account,
            created=now,
            sources=desired.sources,
            changes=judgement.allowed,
            held=judgement.held,
            problems=plan.problems,
            in_sync=plan.in_sync,
            fleets=len(plan.members),
            drivers=plan.drivers,
            cost=values.Cost(requests, round(requests / self._rules.requests_per_second, 1)),
            digest=self._digest(judgement),
            unsettled=bool(plan.unresolved or plan.incomplete),
        )

    def _report(
        self,
        judged: values.Judged | None,
        results: tuple[outcomes.Result, ...] = (),
        *,
        problems: tuple[values.Problem, ...] = (),
        error: errors.FleetSyncError | None = None,
    ) -> report.Report:
        """Sum the run up as of now."""
        return report.Report(
            run=self._run,
            started=self._started,
            finished=self._clock.now(),
            judged=judged,
            results=results,
            problems=problems,
            traffic=self._sender.traffic,
            error=error,
        )


def _misfit(change: values.Change, actual: values.Actual) -> outcomes.Outcome | None:
    """Give what becomes of a saved change that is not to be made, or None. An unread attach is left to the write."""
    if change.driver in actual.absent:
        return outcomes.Stale("the driver no longer exists")
    fleets = actual.memberships.get(change.driver)
    attach = change.action is values.Action.ATTACH
    if fleets is None:
        message = "the driver could not be read, and nobody is detached unseen; nothing was sent"
        return None if attach else outcomes.Deferred(0, "driver_unread", message)
    if not apply.fits(change, fleets):
        return None
    there = "is in the fleet already" if attach else "is no longer in the fleet"
    return outcomes.Stale(f"the driver {there}; nothing was sent")


def _unread(change: values.Change, actual: values.Actual) -> bool:
    """Tell whether a reading says nothing of a change: who is not seen in a fleet that was seen whole is out of it."""
    if change.driver in actual.memberships or change.driver in actual.absent:
        return False
    seen = change.fleet in actual.fleets and change.fleet not in actual.incomplete
    return change.action is values.Action.ATTACH or not seen


def _verified(result: outcomes.Result, actual: values.Actual) -> outcomes.Result:
    """Give the result as it is, or as unknown where a fresh reading contradicts it."""
    outcome = result.outcome
    if not isinstance(outcome, outcomes.Applied | outcomes.Already):
        return result
    fleets = actual.memberships.get(result.change.driver)
    if fleets is None or apply.fits(result.change, fleets):
        return result
    message = "Charge answered that it was done, but a fresh reading does not show it"
    return outcomes.Result(
        result.change, outcomes.Unknown(outcome.attempts, "not_converging", message, outcome.request_id)
    )
