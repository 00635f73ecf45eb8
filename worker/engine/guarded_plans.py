"""Puts together what is shown, saved and applied: a plan, what the guard decided of it, and the names in it.

Invariant: what is allowed and what is held are exactly what the guard decided. Neighbours: `core.safety.guard` decides,
`plan_builder` reads and calls this for every plan.
"""

import dataclasses
import datetime
from collections.abc import Collection, Iterable

from worker.core.model.actual import Actual
from worker.core.model.desired import Mode, SourceRevision
from worker.core.model.identifiers import Account, FleetId
from worker.core.model.pauses import Pause
from worker.core.model.people import clean
from worker.core.model.plan import Change, Cost, GuardedPlan, Plan, concerned_ids
from worker.core.model.plan_digest import plan_digest
from worker.core.safety import clock_trust, guard, window


def new(
    plan: Plan,
    decision: guard.Decision,
    *,
    account: Account,
    actual: Actual,
    clock: clock_trust.Assessment,
    recent: window.Window,
    requests_per_second: float,
    sources: tuple[SourceRevision, ...] = (),
) -> GuardedPlan:
    """Return the guarded plan of what was just read."""
    drivers, fleets = concerned_ids(decision.allowed, decision.held, plan.problems)
    return GuardedPlan(
        account=account,
        created=clock.now,
        sources=sources,
        changes=decision.allowed,
        held=decision.held,
        problems=plan.problems,
        in_sync=plan.in_sync,
        fleets=len(plan.members),
        drivers=plan.drivers,
        cost=Cost.of(decision.allowed, plan.concerned, reading=actual.requests, per_second=requests_per_second),
        digest=plan_digest(account, decision.allowed, (held.change for held in decision.held)),
        unsettled=plan.unsettled or not clock.trusted,
        dated=plan.dated,
        modes=plan.modes,
        recent=recent.of(plan.members).counts(),
        approved=decision.approved,
        approval=decision.approval,
        shrunk=decision.shrunk,
        concerned=plan.concerned,
        people={driver: actual.people[driver].cleaned for driver in sorted(drivers & actual.people.keys())},
        fleet_names={fleet: clean(actual.fleets[fleet].name) for fleet in sorted(fleets & actual.fleets.keys())},
    )


def again(
    saved: GuardedPlan,
    plan: Plan,
    decision: guard.Decision,
    *,
    stale: Collection[Change],
    recent: window.Window,
    actual: Actual,
) -> GuardedPlan:
    """Return a saved plan as the guard evaluates it now; `plan` is what still fits of it, `stale` what does not."""
    allowed = tuple(sorted((*decision.allowed, *stale), key=lambda change: change.order))
    drivers = sorted(saved.concerned.keys() & actual.people.keys())
    return dataclasses.replace(
        saved,
        changes=allowed,
        held=decision.held,
        digest=plan_digest(saved.account, allowed, (each.change for each in decision.held)),
        approved=decision.approved,
        approval=decision.approval,
        shrunk=decision.shrunk,
        problems=plan.problems,
        concerned=plan.concerned,
        recent=recent.of(plan.members).counts(),
        people={**saved.people, **{each: actual.people[each].cleaned for each in drivers}},
    )


def enforced_fleets(
    guarded: GuardedPlan, *, grace: datetime.timedelta, in_force: Iterable[Pause] = ()
) -> frozenset[FleetId]:
    """Return the fleets from which the next run would detach, at once, every driver that the sources do not want.

    There are none if the plan may lack changes: then it is not known who is wanted.
    """
    if guarded.unsettled or grace:
        return frozenset()
    paused = {pause.fleet for pause in in_force}
    return frozenset(fleet for fleet, mode in guarded.modes.items() if mode is Mode.EXACT and fleet not in paused)
