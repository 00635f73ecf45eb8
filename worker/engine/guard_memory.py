"""What the guard must know beyond a plan: earlier runs, and which approvals are valid.

Invariant: an approval is valid only where the clock is trusted and changes may be made. Neighbours: `plan_builder`
evaluates plans with this, `ports.Journal` remembers, `core.safety.guard` decides.
"""

import dataclasses
import datetime
import types
from collections.abc import Collection, Mapping, Sequence

from worker.core.model import pauses
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, FleetRef
from worker.core.model.identifiers import Account, FleetId, Resolutions
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Change, HeldChange, Plan
from worker.core.model.source_history import SourceRecord
from worker.core.planning import unclear_writes, vanished_fleets
from worker.core.safety import clock_trust, flap_detection, guard, source_rewriting, source_shrinkage, window
from worker.engine import run_context

_RECENT = datetime.timedelta(days=30)
"""How far back accepted writes count that no reading showed. Long enough for three runs of a daily job."""


class GuardMemory:
    """The journal, as the guard of one run asks it."""

    def __init__(
        self,
        context: run_context.RunContext,
        account: Account,
        limits: guard.Limits,
        *,
        unmanaged: Collection[FleetRef],
        only: Collection[FleetRef],
        applies: bool,
    ) -> None:
        """Take the run, its account and limits, and the fleets that are unmanaged.

        `only` are the fleets whose changes the run makes; empty means all. `applies` says whether it makes changes.
        """
        self._journal, self._compute = context.journal, context.compute
        self._account = account
        self._limits = limits
        self._unmanaged = unmanaged
        self._of_all_fleets = not only
        self._applies = applies

    async def history(
        self,
        plan: Plan,
        *,
        now: datetime.datetime,
        resolutions: Resolutions = types.MappingProxyType({}),
        records: Mapping[str, SourceRecord] = types.MappingProxyType({}),
    ) -> guard.GuardHistory:
        """Ask the journal for what the guard needs; for our own writes only if there are changes."""
        drivers = {change.driver for change in plan.changes}
        length = self._limits.window_length
        return guard.GuardHistory(
            resolutions=resolutions,
            unconfirmed_writes=await self._journal.unconfirmed_writes(since=now - _RECENT),
            writes=await self._journal.latest(drivers, most=flap_detection.REVERSALS) if drivers else {},
            recent=window.Window(await self._journal.recent_changes(since=now - length), length),
            sources=source_shrinkage.baselines(records, since=now - length),
        )

    async def approvals(self, clock: clock_trust.Assessment, digest: str | None = None) -> guard.Approvals:
        """Return the digests that are approved now, in the journal or by this run's own `digest`.

        An approval is valid for a time, and a run that makes no change can use none up.
        """
        if not clock.trusted or not self._applies:
            return guard.Approvals(self._account, frozenset())
        recorded = await self._journal.approvals(now=clock.now)
        return guard.Approvals(self._account, recorded | ({digest} if digest else set()), self._of_all_fleets)

    async def to_remember(
        self,
        plan: Plan,
        actual: Actual,
        past: guard.GuardHistory,
        decision: guard.Decision,
        *,
        in_force: Sequence[pauses.Pause],
        unsent: frozenset[Change],
    ) -> guard.Decision:
        """Return the decision to remember for later runs, without an approval that this run may not use up.

        A run that is paused, or limited to some fleets, does not make all approved changes: later runs must hold the
        others until they are approved again. So does one that leaves changes `unsent` because a fleet is paused.
        """
        is_whole = self._of_all_fleets and pauses.everywhere(in_force) is None
        if not decision.approval or (is_whole and unsent.isdisjoint(hold.change for hold in decision.approved)):
            return decision
        return await self._compute(lambda: guard.evaluate(plan, actual, self._limits, past))

    async def managed(self) -> frozenset[FleetId]:
        """Return the fleets of this account that earlier runs managed."""
        owner = await self._journal.owner()
        return owner.managed if owner.account == self._account else frozenset()

    async def check_scope(
        self, plan: Plan, desired: Desired, actual: Actual, *, remembered: Resolutions
    ) -> tuple[Plan, frozenset[FleetId]]:
        """Return the plan with the fleets that vanished from the sources, and the fleets that later runs must find."""
        before, owner = await self.managed(), await self._journal.owner()
        names = {**owner.fleets, **{fleet.id: fleet.name for fleet in actual.fleets.values()}}
        gone = vanished_fleets.vanished(desired, plan, before=before, remembered=remembered)
        given_up = {each for each in gone if vanished_fleets.is_unmanaged(each, names[each], self._unmanaged)}
        vanished = gone - given_up
        problems = tuple(sorted({*plan.problems, *vanished_fleets.problems(vanished, names)}))
        managed = (before | plan.members.keys()) - given_up
        return dataclasses.replace(plan, problems=problems, vanished=vanished), managed


def source_records(
    plan: Plan, decision: guard.Decision, records: Mapping[str, SourceRecord], clock: clock_trust.Assessment
) -> dict[str, SourceRecord]:
    """Return what the journal remembers of each source from now on: its size, with the time of its reading."""
    if not clock.trusted:
        return {}
    return source_shrinkage.updated_records(
        plan.sources,
        records,
        held=decision.shrunk,
        approved=decision.accepted,
        now=clock.now,
        unsettled=source_rewriting.unsettled(plan, decision.held, records),
    )


def count_once(past: guard.GuardHistory, unclear: unclear_writes.UnclearWrites) -> guard.GuardHistory:
    """Return the history without the open writes that the plan repeats: the limits count these as due already."""
    return dataclasses.replace(past, recent=past.recent.without(unclear.repeated)) if unclear.repeated else past


def allow_resending(decision: guard.Decision, unclear: unclear_writes.UnclearWrites) -> guard.Decision:
    """Allow held changes that an earlier run has sent under an approval: it holds until their effect is known."""
    approved = {each.intent.change for each in unclear.repeated if each.intent.approved and each.code != NOT_CONVERGING}
    resent = {held.change for held in decision.held if held.change in approved and held.guard != guard.MUST_SEE}
    if not resent:
        return decision
    held: tuple[HeldChange, ...] = tuple(held for held in decision.held if held.change not in resent)
    allowed = tuple(sorted((*decision.allowed, *resent), key=lambda change: change.order))
    return dataclasses.replace(decision, allowed=allowed, held=held)
