"""Reads desired and actual state, and returns the guarded plan that follows: all of a run that changes nothing.

Invariant: the plan that the guard evaluates is the plan that is shown, saved and applied. Neighbours: `reader` reads
Charge, `source_watch` the sources, `core` decides; `reconciler` applies the plan, and `plan` stops here.
"""

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence

from worker.core.model import pauses
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, DriverRef, FleetRef, Mode, SourceRevision
from worker.core.model.identifiers import Account, FleetId, Membership, Resolutions, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.pauses import Pause
from worker.core.model.plan import Change, Cost, GuardedPlan, Plan
from worker.core.model.ports import OpenIntent, RunHistory, Source
from worker.core.model.rows import Rows
from worker.core.model.source_history import SourceRecord
from worker.core.planning import (
    grace_period,
    ignored_drivers,
    local_dates,
    planner,
    saved_plan,
    similar,
    unclear_writes,
    undo,
    vanished_fleets,
)
from worker.core.safety import attach_first, clock_trust, fleet_selection, guard, refusal_backoff, window
from worker.engine import guard_memory, guarded_plans, ownership, reader, run_context, source_watch


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided beforehand.

    `grace` is how long a membership must be absent from the sources before it is detached. `adopt_journal` allows a
    journal that belongs to another account. `find_zone` finds the time zones of fleets. `ignored` are drivers whom
    no change may concern. `only` are the fleets whose changes are planned; without any, those of all fleets are.
    `unmanaged` are fleets that were taken out of the sources on purpose. Without `apply`, nothing is written to Charge.
    """

    account: Account
    mode: Mode
    limits: guard.Limits
    requests_per_second: float
    grace: datetime.timedelta = datetime.timedelta()
    adopt_journal: bool = False
    find_zone: local_dates.FindZone = lambda name: None
    ignored: frozenset[DriverRef] = frozenset()
    only: frozenset[FleetRef] = frozenset()
    unmanaged: frozenset[FleetRef] = frozenset()
    apply: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class PlanResult:
    """What was read, the guarded plan that follows, and what later runs must remember.

    `skipped` are allowed changes that this run does not send, each with its outcome; `unclear` are open intents of
    earlier runs, of which it sends some again. `resolutions` are references that may be remembered; `newly_absent` and
    `returned` are memberships that the sources leave out from now on, or no longer. `members` counts the members of
    each managed fleet. `source_records` are what the journal remembers of the sources from now on, and `spent` is the
    approval that they use up. `pauses` are those in force, and `left_out` the allowed changes that they cover: nothing
    becomes of them. `managed` are the fleets that later runs must find in the sources, and `enforced` those in which
    only wanted drivers may be. At `next_boundary` the sources want something else although no source changes, or a
    pause ends.
    """

    desired: Desired
    actual: Actual
    guarded: GuardedPlan
    skipped: Mapping[Change, Outcome] = dataclasses.field(default_factory=dict)
    unclear: unclear_writes.UnclearWrites = unclear_writes.NONE
    resolutions: Resolutions = dataclasses.field(default_factory=dict)
    newly_absent: frozenset[Membership] = frozenset()
    returned: frozenset[Membership] = frozenset()
    members: Mapping[FleetId, int] = dataclasses.field(default_factory=dict)
    source_records: Mapping[str, SourceRecord] = dataclasses.field(default_factory=dict)
    spent: str | None = None
    pauses: tuple[Pause, ...] = ()
    left_out: frozenset[Change] = frozenset()
    unselected: frozenset[Change] = frozenset()
    managed: frozenset[FleetId] = frozenset()
    enforced: frozenset[FleetId] = frozenset()
    next_boundary: datetime.datetime | None = None


class PlanBuilder:
    """Builds the plan of one run."""

    def __init__(
        self,
        context: run_context.RunContext,
        account_reader: reader.Reader,
        *,
        rules: Rules,
        sources: Sequence[Source],
    ) -> None:
        """Take the run, its reader, the operator's rules, and the sources."""
        self.sources = source_watch.SourceWatch(sources, clock=context.clock, compute=context.compute)
        self._rules = rules
        self._reader = account_reader
        self._journal = context.journal
        self._memory = guard_memory.GuardMemory(
            context, rules.account, rules.limits, unmanaged=rules.unmanaged, only=rules.only, applies=rules.apply
        )
        self._cancellation, self._executor = context.cancellation, context.executor
        self._clock = context.clock
        self._compute = context.compute
        self._wall_clock = context.wall_clock
        self.ownership = ownership.Ownership(rules.account, context.journal, account_reader, adopt=rules.adopt_journal)

    @property
    def may_apply(self) -> bool:
        """Return whether a run may make the changes that it plans."""
        return self._rules.apply

    @property
    def window_length(self) -> datetime.timedelta:
        """Return how far back the limits of the guard count."""
        return self._rules.limits.window_length

    async def build(self, *, approved: str | None = None) -> PlanResult:
        """Read, plan and evaluate; change nothing. `approved` is the digest of a plan whose held changes are allowed.

        Raises errors.FleetSyncError if that cannot be done.
        """
        async with self._cancellation.reading():
            desired, actual = await self.read()
        return await self.select(await self.plan(desired, actual, approved=approved), approved=approved)

    async def select(self, plan_result: PlanResult, *, approved: str | None) -> PlanResult:
        """Leave the changes of fleets out that `Rules.only` does not name. Raises errors.UnknownFleet."""
        if not self._rules.only:
            return plan_result
        actual, members = plan_result.actual, plan_result.members
        fleets = fleet_selection.resolve(self._rules.only, members, actual.fleets, suggest=similar.suggest)
        clock = self._wall_clock.assess()
        approvals = await self._memory.approvals(clock, approved)
        guarded, unselected = fleet_selection.narrow(plan_result.guarded, fleets, approvals=approvals.digests)
        per_second = self._rules.requests_per_second
        cost = Cost.of(guarded.changes, guarded.concerned, reading=actual.requests, per_second=per_second)
        left_out = pauses.left_out(guarded.changes, plan_result.pauses)
        return dataclasses.replace(
            plan_result,
            guarded=dataclasses.replace(guarded, cost=cost),
            # Anew, because an approval of what is left may have freed changes.
            skipped=await self._skipped(guarded, plan_result.unclear, left_out | unselected, now=clock.now),
            left_out=left_out,
            unselected=unselected,
            enforced=plan_result.enforced & fleets,
        )

    async def plan_ignoring_start_dates(self) -> tuple[Plan, frozenset[Membership]]:
        """Read, and plan as if every row had begun; return the plan, and which of `guard.must_see` was not seen."""
        async with self._cancellation.reading():
            desired = await self._read_sources()
            begun = dataclasses.replace(
                desired, rows=Rows(dataclasses.replace(row, starts=None) for row in desired.rows)
            )
            actual = await self._reader.read(begun)
            await self._wall_clock.learn()
        begun = local_dates.localize(begun, actual.fleets, self._rules.find_zone)
        plan = planner.plan(desired=begun, actual=actual, now=self._clock.now(), mode=self._rules.mode)
        plan = ignored_drivers.leave_out(plan, ignored_drivers.find(begun.ignored, actual, {}))
        return clock_trust.restrict(plan, self._wall_clock.assess()), guard.unseen(actual, self._rules.limits)

    async def export(self) -> Actual:
        """Read everything that Charge holds. Raises errors.ReadingError if that cannot be read completely."""
        async with self._cancellation.reading():
            return await self._reader.export()

    async def undo(self, run: RunId, history: RunHistory) -> PlanResult:
        """Plan and evaluate the inverse of a past run; change nothing. Raises errors.FleetSyncError if it cannot."""
        past_plan, report = await history.documents(run)
        made = [*undo.reported(report), *(past.change for past in await history.changes(run=run))]
        drivers = sorted({change.driver for change in made})
        changes = [past for driver in drivers for past in await history.changes(driver=driver)]
        managed = await self._memory.managed()
        desired = dataclasses.replace(undo.required_reading(run, changes, managed=managed), ignored=self._rules.ignored)
        async with self._cancellation.reading():
            actual = await self._reader.read(desired)
            await self._wall_clock.learn()
        clock = self._wall_clock.assess()
        ignored = ignored_drivers.find(desired.ignored, actual, await self._journal.resolutions())
        plan = undo.plan_inverse(run, changes, actual, managed=managed, plan=past_plan, report=report)
        plan = clock_trust.restrict(ignored_drivers.leave_out(plan, ignored), clock)
        past, approvals = await self._memory.history(plan, now=clock.earliest), await self._memory.approvals(clock)
        decision = guard.evaluate(plan, actual, self._rules.limits, past, approvals)
        guarded = self._guarded(plan, decision, clock, past.recent, actual=actual)
        return PlanResult(desired, actual, guarded, members=plan.members)

    async def read_again(self, saved: GuardedPlan) -> Actual:
        """Read what it takes to evaluate a saved plan anew: its managed fleets, or its drivers where that is enough.

        Records what later runs must know of the fleets. Call this within `Cancellation.reading`. Raises
        errors.FleetSyncError if it cannot be done.
        """
        self._executor.start_at(await self.ownership.check_account(now=self._clock.now()))
        rules = self._rules
        is_limited = rules.limits.max_attach_fraction_per_fleet is not None
        if is_limited or saved_plan.needs_fleets(saved, rules.ignored | rules.unmanaged):
            actual = await self._reader.read(saved_plan.required_reading(saved, rules.ignored))
        else:
            actual = await self._reader.drivers({change.driver for change in saved_plan.changes(saved)})
        await self.ownership.check_fleets(actual)
        managed = await self._memory.managed() | (saved.modes.keys() if saved.sources else frozenset())
        await self.ownership.claim(actual, managed=managed, saved_names=saved.fleet_names)
        await self._wall_clock.learn()
        return actual

    async def evaluate_again(
        self, saved: GuardedPlan, actual: Actual, *, open_intents: Sequence[OpenIntent] = ()
    ) -> PlanResult:
        """Evaluate what still fits of a saved plan. What was held stays held, unless exactly that is approved."""
        clock = self._wall_clock.assess()
        ignored = ignored_drivers.find(self._rules.ignored, actual, await self._journal.resolutions())
        stale = saved_plan.stale_changes(saved, actual, unmanaged=self._rules.unmanaged, ignored=ignored)
        plan = saved_plan.plan_again(saved, actual, without=stale)
        plan = dataclasses.replace(plan, problems=self.ownership.with_notes(plan.problems))
        unclear = unclear_writes.sort_out(open_intents, plan.changes)
        past, approvals = await self._memory.history(plan, now=clock.earliest), await self._memory.approvals(clock)
        before, once = saved_plan.held_before(saved), guard_memory.count_once(past, unclear)
        decision = guard.evaluate(
            plan, actual, self._rules.limits, once, approvals, held_before=before, shrunk_before=saved.shrunk
        )
        decision = guard_memory.allow_resending(decision, unclear)
        missing = [*(each.change for each in decision.held), *fleet_selection.missing_attaches(saved)]
        guarded = guarded_plans.again(saved, plan, decision, stale=stale, recent=past.recent, actual=actual)
        postponed = {**unclear.waiting, **clock_trust.forbidden(guarded, clock)}
        skipped = unclear.unless_sent(attach_first.skipped_changes(decision.allowed, postponed, held=missing) | stale)
        desired = saved_plan.required_reading(saved, self._rules.ignored)
        enforced = guarded_plans.enforced_fleets(guarded, grace=self._rules.grace)
        return PlanResult(desired, actual, guarded, skipped, unclear, enforced=enforced)

    async def read(self) -> tuple[Desired, Actual]:
        """Read every source completely, and what Charge holds of what they name.

        Call this within `Cancellation.reading`. Raises errors.FleetSyncError if it cannot be done.
        """
        self._executor.start_at(await self.ownership.check_account(now=self._clock.now()))
        desired = await self._read_sources()
        actual = await self._reader.read(desired, all_names=False)
        await self.ownership.check_fleets(actual)
        await self._wall_clock.learn()
        return desired, actual

    async def _read_sources(self) -> Desired:
        desired = await self.sources.read()
        desired = await self.sources.compare_versions(desired, await self._journal.source_records())
        return dataclasses.replace(desired, ignored=self._rules.ignored)

    async def plan(
        self, desired: Desired, actual: Actual, *, approved: str | None, open_intents: Sequence[OpenIntent] = ()
    ) -> PlanResult:
        """Plan and evaluate what was read, knowing the journal. `open_intents` are unclear writes of earlier runs."""
        clock = self._wall_clock.assess()
        desired = local_dates.localize(desired, actual.fleets, self._rules.find_zone)
        resolutions = await self._journal.resolutions()
        grace, managed = await self._plan_changes(desired, actual, clock, resolutions=resolutions)
        unclear = unclear_writes.sort_out(open_intents, grace.plan.changes)
        in_force = await self._journal.pauses(now=clock.earliest)
        plan = self._noted(grace.plan, unclear, in_force)
        records = await self._journal.source_records()
        past = await self._memory.history(plan, resolutions=resolutions, records=records, now=clock.earliest)
        decision, once = await self._decide(plan, actual, past, await self._memory.approvals(clock, approved), unclear)
        build = functools.partial(self._guarded, plan, decision, clock, past.recent, sources=desired.sources)
        guarded = await self._compute(lambda: build(actual=actual, unclear=unclear))
        left_out = pauses.left_out(guarded.changes, in_force)
        skipped = await self._skipped(guarded, unclear, left_out, now=clock.now)
        unsent = left_out | attach_first.dependent_detaches(guarded.changes, left_out).keys()
        kept = await self._memory.to_remember(plan, actual, once, decision, in_force=in_force, unsent=unsent)
        return PlanResult(
            desired,
            actual,
            guarded,
            skipped=skipped,
            unclear=unclear,
            resolutions=kept.resolutions_to_remember,
            newly_absent=grace.newly_absent,
            returned=grace.returned,
            members=plan.members,
            managed=managed,
            enforced=guarded_plans.enforced_fleets(guarded, grace=self._rules.grace, in_force=in_force),
            source_records=guard_memory.source_records(plan, kept, records, clock),
            spent=kept.approval if kept.accepted else None,
            pauses=in_force,
            left_out=left_out,
            next_boundary=_next_boundary(desired, grace, in_force, clock),
        )

    async def _decide(
        self,
        plan: Plan,
        actual: Actual,
        past: guard.GuardHistory,
        approvals: guard.Approvals,
        unclear: unclear_writes.UnclearWrites,
    ) -> tuple[guard.Decision, guard.GuardHistory]:
        """Evaluate the guard, beside the event loop for a large plan. What was approved and sent is allowed once more.

        Returns what was counted, too: unclear writes only once.
        """
        once = guard_memory.count_once(past, unclear)
        decision = await self._compute(lambda: guard.evaluate(plan, actual, self._rules.limits, once, approvals))
        return guard_memory.allow_resending(decision, unclear), once

    def _noted(self, plan: Plan, unclear: unclear_writes.UnclearWrites, in_force: Sequence[Pause]) -> Plan:
        """Return the plan with what is to be said beside its changes."""
        problems = {*plan.problems, *unclear.problems, *pauses.notes(in_force)}
        return dataclasses.replace(plan, problems=self.ownership.with_notes(problems))

    async def _skipped(
        self,
        guarded: GuardedPlan,
        unclear: unclear_writes.UnclearWrites,
        left_out: frozenset[Change],
        *,
        now: datetime.datetime,
    ) -> Mapping[Change, Outcome]:
        """Return the allowed changes that are not sent now: refused lately, unclear, or waiting for one of these.

        `left_out` are changes that are not made either, and that need no outcome.
        """
        refusals = await self._journal.refusals(guarded.concerned.keys()) if guarded.changes else {}

        def skipped() -> Mapping[Change, Outcome]:
            changes = [each for each in guarded.changes if each not in left_out]
            postponed = refusal_backoff.postponed(changes, refusals, now)
            held = [*(held.change for held in guarded.held), *left_out]
            return attach_first.skipped_changes(changes, {**postponed, **unclear.waiting}, held=held)

        return unclear.unless_sent(await self._compute(skipped))

    async def _plan_changes(
        self,
        desired: Desired,
        actual: Actual,
        clock: clock_trust.Assessment,
        *,
        resolutions: Resolutions,
    ) -> tuple[grace_period.GracePeriodResult, frozenset[FleetId]]:
        """Plan, and take out what is not due; by a clock that is not trusted, everything that rests on the time.

        Returns the fleets that later runs must find in the sources, too.
        """
        absences = await self._journal.absences()
        now = clock.now if clock.trusted else None
        work = functools.partial(planner.plan, now=now, mode=self._rules.mode, absences=absences)
        plan = await self._compute(lambda: work(desired=desired, actual=actual, remembered=resolutions))
        self.sources.boundaries = plan.boundaries
        if desired.ignored:
            plan = ignored_drivers.leave_out(plan, ignored_drivers.find(desired.ignored, actual, resolutions))
        plan, managed = await self._memory.check_scope(plan, desired, actual, remembered=resolutions)
        if not clock.trusted:  # nor is any absence recorded or forgotten
            return grace_period.GracePeriodResult(clock_trust.restrict(plan, clock)), managed
        return grace_period.apply_grace_period(plan, absences, grace=self._rules.grace, now=clock.now), managed

    def _guarded(
        self,
        plan: Plan,
        decision: guard.Decision,
        clock: clock_trust.Assessment,
        recent: window.Window,
        *,
        actual: Actual,
        sources: tuple[SourceRevision, ...] = (),
        unclear: unclear_writes.UnclearWrites = unclear_writes.NONE,
    ) -> GuardedPlan:
        guarded = guarded_plans.new(
            plan,
            decision,
            account=self._rules.account,
            actual=actual,
            clock=clock,
            recent=recent,
            requests_per_second=self._rules.requests_per_second,
            sources=sources,
        )
        # Without sources, as in an undo, no source names a fleet that is listed.
        listed = vanished_fleets.listed(plan.members if sources else (), actual, self._rules.unmanaged)
        unsettled = guarded.unsettled or bool(unclear.problems)
        return dataclasses.replace(guarded, unsettled=unsettled, listed_unmanaged=listed)


def _next_boundary(
    desired: Desired, grace: grace_period.GracePeriodResult, in_force: Sequence[Pause], clock: clock_trust.Assessment
) -> datetime.datetime | None:
    """Return when something else is due although no source changes, unless the clock cannot say so."""
    if not clock.trusted:
        return None
    due = grace_period.next_boundary(desired.rows, grace_ends=grace.next_end, now=clock.now)
    moments = (due, *(pause.until for pause in in_force))
    return min((moment for moment in moments if moment is not None), default=None)
