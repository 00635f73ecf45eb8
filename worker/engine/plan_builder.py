"""What is, what should be, and the judged plan that follows: all of a reconciliation that changes nothing.

Invariant: the plan that is judged is the plan that is shown, saved and applied. Neighbours: `reading` reads Charge,
`core` decides; `cycle` carries out what comes of it, and knows nothing of a dry run: `plan` just stops here.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, Mode, SourceRevision
from worker.core.model.identifiers import Account, FleetId, Membership, Resolutions, RunId
from worker.core.model.plan import Change, Cost, GuardedPlan, Plan
from worker.core.model.plan_digest import plan_digest
from worker.core.model.ports import Clock, Journal, RunHistory, Source
from worker.core.planning import grace_period, merge_sources, planner, undo
from worker.core.safety import flap_detection, guard, window
from worker.engine import cancellation, ownership, reader

_RECENT = datetime.timedelta(days=30)
"""How far back a write that was answered as done, and yet not seen, counts against the next one, in a daily job too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided beforehand.

    `grace` is how long a membership must be absent from the sources before it is detached. `adopt_journal` allows a
    journal that belongs to another account.
    """

    account: Account
    mode: Mode
    limits: guard.Limits
    requests_per_second: float
    grace: datetime.timedelta = datetime.timedelta()
    adopt_journal: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PlanResult:
    """What was read, the judged plan that follows from it, and what is to be remembered of that.

    `resolutions` are references that nothing speaks against; `absent` and `back` are memberships that the sources leave
    out from now on, or no longer. `members` counts what each managed fleet holds; at `next_boundary` the sources will
    want something else, whether or not anybody edits them. `unfrozen` are changes that were frozen until the digest
    `approval` was approved: to make one of them uses that approval up.
    """

    desired: Desired
    actual: Actual
    guarded: GuardedPlan
    resolutions: Resolutions = dataclasses.field(default_factory=dict)
    newly_absent: frozenset[Membership] = frozenset()
    returned: frozenset[Membership] = frozenset()
    members: Mapping[FleetId, int] = dataclasses.field(default_factory=dict)
    next_boundary: datetime.datetime | None = None
    approval: str = ""
    unfrozen: frozenset[Change] = frozenset()

    def spent(self, changes: Iterable[Change]) -> str | None:
        """Return the digest whose approval is used up by making these changes."""
        return self.approval if not self.unfrozen.isdisjoint(changes) else None


class PlanBuilder:
    """Surveys one account for one run."""

    def __init__(
        self,
        *,
        rules: Rules,
        sources: Sequence[Source],
        reader: reader.Reader,
        journal: Journal,
        run_cancellation: cancellation.Cancellation,
        clock: Clock,
    ) -> None:
        """Take the operator's rules, what is read, and the journal, which is only asked."""
        self._rules = rules
        self._sources = sources
        self._reader = reader
        self._journal = journal
        self._cancellation = run_cancellation
        self._clock = clock
        self.ownership = ownership.Ownership(rules.account, journal, reader, adopt=rules.adopt_journal)

    async def plan_result(self, *, approved: str | None = None) -> PlanResult:
        """Read, plan and judge; change nothing. `approved` is the digest of a plan whose held changes may be made.

        Raises errors.FleetSyncError where that cannot be done.
        """
        async with self._cancellation.reading():
            desired, actual = await self.read()
        return await self.plan(desired, actual, approved=approved)

    async def plan_ignoring_start_dates(self) -> Plan:
        """Read, and plan as if every row had begun: this shows each reference that leads nowhere, or will."""
        async with self._cancellation.reading():
            desired = await self.desired()
            begun = dataclasses.replace(desired, rows=tuple(dataclasses.replace(r, starts=None) for r in desired.rows))
            actual = await self._reader.read(begun)
        return planner.plan(desired=begun, actual=actual, now=self._clock.now(), mode=self._rules.mode)

    async def export(self) -> Actual:
        """Read everything that Charge holds. Raises errors.ReadingError where that cannot be read whole."""
        async with self._cancellation.reading():
            return await self._reader.export()

    async def undo(self, run: RunId, record: RunHistory) -> PlanResult:
        """Plan and judge the inverse of a past run; change nothing. Raises errors.FleetSyncError where it cannot."""
        drivers = sorted({past.change.driver for past in await record.changes(run=run)})
        history = [past for driver in drivers for past in await record.changes(driver=driver)]
        concerned = undo.required_reading(run, history)
        async with self._cancellation.reading():
            actual = await self._reader.read(concerned)
        plan = undo.plan_inverse(run, history, actual)
        now = self._clock.now()
        # Without the window: the run to undo is in it, and would make its own inverse look like too much.
        decision = guard.evaluate(plan, actual, self._rules.limits, approvals=await self._approvals(now=now))
        guarded = self._judged(plan, decision, sources=(), reading=actual.requests, now=now)
        return PlanResult(concerned, actual, guarded, members=plan.members)

    async def read(self) -> tuple[Desired, Actual]:
        """Read every source whole, add them up, and read of Charge what they speak of.

        Raises errors.FleetSyncError where that cannot be done. To be called within `Halt.reading`.
        """
        await self.ownership.check_account()
        desired = await self.desired()
        actual = await self._reader.read(desired)
        await self.ownership.check_fleets(actual)
        return desired, actual

    async def desired(self) -> Desired:
        """Read every source whole, and add them up."""
        readings = [await source.read() for source in self._sources]
        return merge_sources.merge(readings)

    async def plan(self, desired: Desired, actual: Actual, *, approved: str | None) -> PlanResult:
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
        grace = grace_period.apply_grace_period(plan, absences, grace=self._rules.grace, now=now)
        plan = grace.plan
        history = await self._history(plan, resolutions=resolutions, now=now)
        approvals = await self._approvals(approved, now=now)
        decision = guard.evaluate(plan, actual, self._rules.limits, history, approvals)
        guarded = self._judged(plan, decision, sources=desired.sources, reading=actual.requests, now=now)
        return PlanResult(
            desired,
            actual,
            guarded,
            resolutions=decision.resolutions_to_remember,
            newly_absent=grace.newly_absent,
            returned=grace.returned,
            members=plan.members,
            next_boundary=grace_period.next_boundary(desired.rows, grace_ends=grace.next_end, now=now),
            approval=decision.approval,
            unfrozen=decision.unfrozen,
        )

    async def _history(self, plan: Plan, *, resolutions: Resolutions, now: datetime.datetime) -> guard.GuardHistory:
        """Ask the journal what the guard judges by; of our own writes only where there is something to write."""
        drivers = {change.driver for change in plan.changes}
        return guard.GuardHistory(
            resolutions=resolutions,
            unconfirmed_writes=await self._journal.unconfirmed_writes(since=now - _RECENT),
            writes=await self._journal.latest(drivers, most=flap_detection.REVERSALS) if drivers else {},
            recent=await self._recent(now),
        )

    async def _recent(self, now: datetime.datetime) -> window.Window:
        """Return our changes within the window of the limits."""
        length = self._rules.limits.window_length
        return window.Window(await self._journal.recent_changes(since=now - length), length)

    async def _approvals(self, digest: str | None = None, *, now: datetime.datetime) -> guard.Approvals:
        """Return the digests that are approved at `now`, by the journal or by this run's own `digest`."""
        recorded = await self._journal.approvals(now=now)
        return guard.Approvals(self._rules.account, recorded | ({digest} if digest else set()))

    def _judged(
        self,
        plan: Plan,
        decision: guard.Decision,
        *,
        sources: tuple[SourceRevision, ...],
        reading: int,
        now: datetime.datetime,
    ) -> GuardedPlan:
        """Put together the one object that is shown, saved and applied; `reading` is what a reading costs."""
        requests = len(decision.allowed) + min(len({change.driver for change in decision.allowed}), reading)
        return GuardedPlan(
            account=self._rules.account,
            created=now,
            sources=sources,
            changes=decision.allowed,
            held=decision.held,
            problems=plan.problems,
            in_sync=plan.in_sync,
            fleets=len(plan.members),
            drivers=plan.drivers,
            cost=Cost(requests, round(requests / self._rules.requests_per_second, 1)),
            digest=plan_digest(self._rules.account, decision.allowed, (held.change for held in decision.held)),
            unsettled=bool(plan.unresolved or plan.incomplete),
            approved=decision.approved,
        )
