"""Plans for the guard to evaluate, and limits to evaluate them by."""

import dataclasses

from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import VANS
from worker.core.model.actual import Actual
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.plan import Action, Change, HeldChange, Plan
from worker.core.model.plan_digest import held_digest
from worker.core.safety import guard

DETACH = Action.DETACH
_DEFAULT = guard.Limits()


@st.composite
def limits(draw: st.DrawFn) -> guard.Limits:
    """Generate limits that hold some plans."""
    return guard.Limits(
        max_detach_fraction_per_fleet=draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        max_detach_fraction=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        always_allow=draw(st.integers(0, 3)),
        allow_emptying_fleets=draw(st.booleans()),
        must_see=draw(
            st.frozensets(st.tuples(st.sampled_from(worlds.DRIVERS), st.sampled_from(worlds.FLEETS)), max_size=1)
        ),
    )


def driver(number: int) -> DriverId:
    return DriverId(f"drv_{number:032}")


def losing(count: int, members: int, fleet: FleetId = VANS) -> Plan:
    """Make a plan that detaches `count` members of a fleet, and attaches one driver."""
    changes = [Change(DETACH, driver(number), fleet) for number in range(count)]
    attach = Change(Action.ATTACH, driver(members), fleet)
    return Plan((attach, *changes), (), {fleet: members}, in_sync=0, drivers=members)


def together(*plans: Plan) -> Plan:
    """Merge plans of several fleets."""
    changes = sorted((change for plan in plans for change in plan.changes), key=lambda change: change.order)
    members = {fleet: count for plan in plans for fleet, count in plan.members.items()}
    return Plan(tuple(changes), (), members, in_sync=0, drivers=0)


def guarded(plan: Plan, **changes: float | bool) -> guard.Decision:
    """Evaluate with limits that hold nothing, except for those given."""
    lenient = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=1.0, always_allow=0)
    return guard.evaluate(plan, worlds.seen({}), dataclasses.replace(lenient, **changes))  # type: ignore[arg-type]


def approved(
    plan: Plan,
    actual: Actual | None = None,
    limits: guard.Limits = _DEFAULT,
    history: guard.GuardHistory = guard.NO_HISTORY,
) -> guard.Decision:
    """Evaluate, and once more with the approval of exactly that plan."""
    actual = worlds.seen({}) if actual is None else actual
    found = guard.evaluate(plan, actual, limits, history)
    digest = held_digest(worlds.ACCOUNT, (held.change for held in found.held))
    approvals = guard.Approvals(worlds.ACCOUNT, frozenset({digest}))
    return guard.evaluate(plan, actual, limits, history, approvals)


def parts(decision: guard.Decision) -> tuple[tuple[Change, ...], tuple[HeldChange, ...]]:
    return decision.allowed, decision.held


def holds(decision: guard.Decision) -> set[str]:
    return {held.guard for held in decision.held}
