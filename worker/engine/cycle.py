"""One reconciliation, from reading to report. It reads like the architecture: desired, actual, plan, judged, outcome.

Invariants: the plan that is judged is the plan that is shown and applied; every failure that is foreseen ends as a
report. Neighbours: `reading` and `apply` do the work, `core` decides, `service` builds this and runs it.
"""

import dataclasses
import datetime
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from worker.core import desired as desired_
from worker.core import (
    digest,
    errors,
    evidence,
    flapping,
    grace,
    guard,
    outcomes,
    planner,
    ports,
    recovery,
    report,
    schedule,
    undoing,
    values,
    waiting,
)
from worker.engine import apply, reading, sending

log = structlog.get_logger()

_RECENT = datetime.timedelta(days=30)
"""How far back a write that was answered as done, and yet not seen, counts against the next one, in a daily job too."""

Postpone = Callable[[Sequence[values.Change], datetime.datetime], Mapping[values.Change, outcomes.Outcome]]
"""Gives those of all planned changes that are not to be sent in this run, with the outcome that says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided beforehand; `keep` is how long the journal keeps a finished run, None for ever.

    `grace` is how long a membership must be absent from the sources before it is detached.
    """

    account: values.Account
    mode: values.Mode
    limits: guard.Limits
    requests_per_second: float
    keep: datetime.timedelta | None = None
    grace: datetime.timedelta = datetime.timedelta()


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What was read, the judged plan that follows from it, and what is to be remembered of that.

    `resolutions` are references that nothing speaks against; `absent` and `back` are memberships that the sources leave
    out from now on, or no longer. `members` counts what each managed fleet holds; at `next_boundary` the sources will
    want something else, whether or not anybody edits them. `thawed` are changes that were frozen, each with the digest
    whose approval freed it: to make one of them uses that up.
    """

    desired: values.Desired
    actual: values.Actual
    judged: values.Judged
    resolutions: Mapping[str, values.DriverId] = dataclasses.field(default_factory=dict)
    absent: frozenset[values.Membership] = frozenset()
    back: frozenset[values.Membership] = frozenset()
    members: Mapping[values.FleetId, int] = dataclasses.field(default_factory=dict)
    next_boundary: datetime.datetime | None = None
    thawed: Mapping[values.Change, str] = dataclasses.field(default_factory=dict)

    def spent(self, changes: Iterable[values.Change]) -> str | None:
        """Give the digest whose approval is used up by making these changes."""
        return next((self.thawed[change] for change in changes if change in self.thawed), None)


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
        postpone: Postpone = lambda changes, now: {},
    ) -> None:
        """Take everything that a run needs. `show` gets the judged plan before anything of it is applied.

        `postpone` says which of its changes `reconcile` is not to send this time.
        """
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
        self._postpone = postpone

    async def survey(self, *, approved: str | None = None) -> Survey:
        """Read, plan and judge; change nothing. `approved` is the digest of a plan whose held changes may be made.

        Raises errors.FleetSyncError where that cannot be done.
        """
        async with self._sender.halt.reading():
            desired = await self.desired()
            actual = await self._reader.read(desired)
        return await self._plan(desired, actual, approved=approved)

    async def _plan(self, desired: values.Desired, actual: values.Actual, *, approved: str | None) -> Survey:
        """Plan and judge what was read, in the light of what the journal remembers."""
        now = self._clock.now()
        absences, resolutions = await self._journal.absences(), await self._journal.resolutions()
        plan = planner.plan(
            desired=desired,
            actual=actual,
            now=now,
            mode=self._rules.mode,
            absences=absences,
            remembered=resolutions,
        )
        guard.trust(plan, self._rules.limits)
        outlook = grace.outlook(plan, absences, grace=self._rules.grace, now=now)
        plan = outlook.plan
        memory = await self._memory(plan, resolutions=resolutions, now=now)
        found = guard.judge(plan, actual, self._rules.limits, memory)
        judgement = await self._allow(found, approved=approved, now=now)
        judged = self._judged(plan, judgement, sources=desired.sources, reading=actual.requests, now=now)
        return Survey(
            desired,
            actual,
            judged,
            resolutions=guard.settled(plan, judgement, memory),
            absent=outlook.fresh,
            back=outlook.over,
            members=plan.members,
            next_boundary=schedule.next_boundary(desired.rows, grace_ends=outlook.next_end, now=now),
            thawed=dict.fromkeys(guard.thawed(found, judgement), self._digest(found)),
        )

    async def _memory(
        self, plan: values.Plan, *, resolutions: Mapping[str, values.DriverId], now: datetime.datetime
    ) -> guard.Memory:
        """Ask the journal what the guard judges by; of our own writes only where there is something to write."""
        drivers = {change.driver for change in plan.changes}
        return guard.Memory(
            resolutions=resolutions,
            fruitless=await self._journal.fruitless(since=now - _RECENT),
            writes=await self._journal.latest(drivers, most=flapping.ENOUGH) if drivers else {},
        )

    async def _allow(
        self, judgement: guard.Judgement, *, approved: str | None = None, now: datetime.datetime
    ) -> guard.Judgement:
        """Free what is held where somebody approved exactly this plan, now or by the journal."""
        if not judgement.held:
            return judgement
        digest = self._digest(judgement)
        if digest == approved or await self._journal.approved(digest, now=now):
            return guard.approve(judgement)
        return judgement

    async def rehearse(self) -> values.Plan:
        """Read, and plan as if every row had begun: this shows each reference that leads nowhere, or will."""
        async with self._sender.halt.reading():
            desired = await self.desired()
            begun = dataclasses.replace(desired, rows=tuple(dataclasses.replace(r, starts=None) for r in desired.rows))
            actual = await self._reader.read(begun)
        return planner.plan(desired=begun, actual=actual, now=self._clock.now(), mode=self._rules.mode)

    async def export(self) -> values.Actual:
        """Read everything that Charge holds. Raises errors.ReadingError where that cannot be read whole."""
        async with self._sender.halt.reading():
            return await self._reader.export()

    async def desired(self) -> values.Desired:
        """Read every source whole, and add them up."""
        readings = [await source.read() for source in self._sources]
        return desired_.combine(readings)

    async def reconcile(self, *, trigger: str, approved: str | None = None) -> report.Report:
        """Recover, read, plan, guard, apply, verify, report. Never raises what it foresees: the report says it."""
        try:
            left_open = await self._journal.open()
            async with self._sender.halt.reading():
                desired = await self.desired()
                actual = await self._reader.read(desired)
                await self._recover(left_open, actual)
            survey = await self._plan(desired, actual, approved=approved)
            await self._remember(survey)
        except errors.FleetSyncError as error:
            return await self._finish(self._report(None, error=error), trigger=trigger)
        self._show(survey)
        left_out = self._left_out(survey.judged)
        changes = tuple(change for change in survey.judged.changes if change not in left_out)
        undone = tuple(outcomes.Result(change, outcome) for change, outcome in left_out.items())
        finished = await self._carry_out(survey.judged, changes, trigger=trigger, undone=undone, survey=survey)
        return await self._finish(finished, trigger=trigger)

    async def _remember(self, survey: Survey) -> None:
        """Bring to the journal what later runs judge by, where it is new."""
        await self._journal.remember(survey.resolutions)
        if survey.absent or survey.back:
            await self._journal.note_absences(fresh=survey.absent, since=survey.judged.created, over=survey.back)

    def _left_out(self, judged: values.Judged) -> Mapping[values.Change, outcomes.Outcome]:
        """Give the changes that are not sent in this run: what is postponed, and what waits for that."""
        planned = (*judged.changes, *(held.change for held in judged.held))
        return waiting.left_out(judged.changes, self._postpone(planned, judged.created))

    async def apply(self, saved: values.Judged) -> report.Report:
        """Make the changes of a saved plan that still fit what Charge holds; the others are left undone."""
        try:
            left_open = await self._journal.open()
            async with self._sender.halt.reading():
                actual = await self._reader.drivers({change.driver for change in saved.changes})
                await self._recover(left_open, actual)
        except errors.FleetSyncError as error:
            return await self._finish(self._report(saved, error=error), trigger="apply")
        misfits = {change: outcome for change in saved.changes if (outcome := evidence.misfit(change, actual))}
        undone = tuple(outcomes.Result(change, outcome) for change, outcome in misfits.items())
        fitting = tuple(change for change in saved.changes if change not in misfits)
        return await self._finish(
            await self._carry_out(saved, fitting, trigger="apply", undone=undone), trigger="apply"
        )

    async def undo(self, run: values.RunId, record: ports.Record) -> Survey:
        """Plan and judge the inverse of a past run; change nothing. Raises errors.FleetSyncError where it cannot."""
        drivers = sorted({past.change.driver for past in await record.changes(run=run)})
        history = [past for driver in drivers for past in await record.changes(driver=driver)]
        concerned = undoing.concerned(run, history)
        async with self._sender.halt.reading():
            actual = await self._reader.read(concerned)
        plan = undoing.plan(run, history, actual)
        now = self._clock.now()
        judgement = await self._allow(guard.judge(plan, actual, self._rules.limits), now=now)
        judged = self._judged(plan, judgement, sources=(), reading=actual.requests, now=now)
        return Survey(concerned, actual, judged, members=plan.members)

    async def _recover(self, left_open: Sequence[ports.OpenIntent], actual: values.Actual) -> None:
        """Close what earlier lives left open, by what was just read; retrieve whom the reading did not show."""
        if not left_open:
            return
        retrieved = await self._reader.drivers(recovery.unread(left_open, actual))
        closed = [*recovery.settle(left_open, actual), *recovery.settle(left_open, retrieved)]
        await self._journal.record(closed)
        log.warning("recovered", intents=len(left_open), closed=len(closed))

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
        spent = survey.spent(changes) if survey else None
        try:
            await self._journal.begin(self._run, trigger=trigger, spent=spent, judged=judged, intents=intents)
        except errors.JournalError as error:
            return self._report(judged, error=error)
        made = await self._applier.apply(intents)
        verified, problems = await self._verify(made, survey)
        await self._correct(intents, made, verified)
        results = tuple(sorted((*verified, *undone), key=lambda result: result.change.order))
        return self._report(judged, results, problems=problems, error=self._sender.halt.reason)

    async def _correct(
        self,
        intents: Sequence[ports.Intent],
        made: Sequence[outcomes.Result],
        verified: Sequence[outcomes.Result],
    ) -> None:
        """Bring to the journal which outcomes the verification changed."""
        corrected = [
            (intent.key, after.outcome)
            for intent, before, after in zip(intents, made, verified, strict=True)
            if after is not before
        ]
        try:
            await self._journal.record(corrected)
        except errors.JournalError as error:
            self._sender.halt.stop(error)

    async def _finish(self, finished: report.Report, *, trigger: str) -> report.Report:
        """Record the end of the run. A report that cannot be recorded says so."""
        if isinstance(finished.error, errors.JournalError):
            return finished
        try:
            await self._journal.finish(finished, trigger=trigger)
            if self._rules.keep is not None:
                # To the day: it is a cheap question in every run, and there is something to forget once a day.
                last = finished.finished - self._rules.keep
                await self._journal.prune(before=last.replace(hour=0, minute=0, second=0, microsecond=0))
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
            async with self._sender.halt.reading():
                actual = await self._read_back(drivers, survey)
        except errors.FleetSyncError as error:
            return results, (values.Problem("verification", f"what was done could not be read back: {error.message}"),)
        verified = tuple(evidence.verified(result, actual) for result in results)
        lost = sum(result.done for result in results) - sum(result.done for result in verified)
        unread = sum(result.done and evidence.unread(result.change, actual) for result in results)
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
        plan: values.Plan,
        judgement: guard.Judgement,
        *,
        sources: tuple[values.SourceRevision, ...],
        reading: int,
        now: datetime.datetime,
    ) -> values.Judged:
        """Put together the one object that is shown, saved and applied; `reading` is what a reading costs."""
        requests = len(judgement.allowed) + min(len({change.driver for change in judgement.allowed}), reading)
        return values.Judged(
            account=self._rules.account,
            created=now,
            sources=sources,
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
