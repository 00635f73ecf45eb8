"""How long a detach waits, and what is remembered meanwhile."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.desired import (
    Desired,
    DriverByEmail,
    DriverById,
    DriverRef,
    FleetById,
    FleetRef,
    Mode,
    Origin,
    Row,
    SourceReading,
)
from worker.core.model.identifiers import DriverId, Membership
from worker.core.model.plan import Action, Plan
from worker.core.model.problem import Problem
from worker.core.planning import grace_period, planner
from worker.core.safety import guard

DETACH = Action.DETACH
DAY = datetime.timedelta(days=1)
AGES = st.integers(0, 48).map(lambda hours: worlds.NOW - datetime.timedelta(hours=hours))
KNOWN = st.dictionaries(st.tuples(st.sampled_from(worlds.DRIVERS), st.sampled_from(worlds.FLEETS)), AGES)


def planned(world: worlds.World, known: grace_period.Absences, *, now: datetime.datetime = worlds.NOW) -> Plan:
    return planner.plan(
        desired=world.desired,
        actual=world.actual,
        now=now,
        mode=world.mode,
        absences=known,
        remembered=world.remembered,
    )


def leaving(plan: Plan) -> set[Membership]:
    return {(change.driver, change.fleet) for change in plan.changes if change.action is DETACH}


def after(
    known: grace_period.Absences, result: grace_period.GracePeriodResult, *, now: datetime.datetime
) -> grace_period.Absences:
    """Return the absences that the journal knows after a run."""
    kept = {membership: since for membership, since in known.items() if membership not in result.returned}
    return kept | dict.fromkeys(result.newly_absent, now)


# --- Laws -------------------------------------------------------------------------------------------------


@worlds.LAW
@given(worlds.worlds(), KNOWN)
def test_what_is_not_due_is_left_out_and_nothing_else(world: worlds.World, known: grace_period.Absences) -> None:
    plan = planned(world, known)
    result = grace_period.apply_grace_period(plan, known, grace=DAY, now=worlds.NOW)
    due = {each for each in leaving(plan) if known.get(each, worlds.NOW) + DAY <= worlds.NOW}
    assert leaving(result.plan) == due
    assert result.plan.later == leaving(plan) - due
    assert [each for each in plan.changes if each in set(result.plan.changes)] == list(result.plan.changes)
    assert {each for each in plan.changes if each.action is not DETACH} <= set(result.plan.changes)
    told = set(result.plan.problems) - set(plan.problems)
    assert len(told) == len(result.plan.later)
    assert result.next_end == min((known.get(each, worlds.NOW) + DAY for each in result.plan.later), default=None)


@worlds.LAW
@given(worlds.worlds(), KNOWN)
def test_without_a_grace_nothing_waits_and_everything_is_forgotten(
    world: worlds.World, known: grace_period.Absences
) -> None:
    plan = planned(world, known)
    result = grace_period.apply_grace_period(plan, known, grace=datetime.timedelta(), now=worlds.NOW)
    assert result == grace_period.GracePeriodResult(plan, returned=frozenset(known))


@worlds.LAW
@given(worlds.worlds(), KNOWN)
def test_an_absence_keeps_its_time_where_it_cannot_be_judged_and_is_forgotten_where_it_is_over(
    world: worlds.World, known: grace_period.Absences
) -> None:
    """Unknown is not present: a fleet that cannot be read once does not restart its grace periods."""
    plan = planned(world, known)
    result = grace_period.apply_grace_period(plan, known, grace=DAY, now=worlds.NOW)
    lost = any(worlds.FLEET_REFS[entry.fleet] is None for entry in world.entries)
    unclear = world.managed - world.additive - world.shrinkable
    for driver, fleet in known:
        guarded = driver not in world.waiting and fleet not in unclear
        guarded = guarded or fleet in world.additive
        if fleet not in world.managed:
            guarded = not lost
        kept = (driver, fleet) in leaving(plan) or ((driver, fleet) not in world.wanted and not guarded)
        assert ((driver, fleet) not in result.returned) is kept
    assert result.newly_absent == leaving(plan) - known.keys()


@worlds.LAW
@given(worlds.worlds(), st.integers(1, 72))
def test_what_one_run_finds_absent_is_due_in_one_run(world: worlds.World, hours: int) -> None:
    """Otherwise the grace period would split a plan that the guard holds into parts that it allows."""
    duration = datetime.timedelta(hours=hours)
    known: grace_period.Absences = {}
    whole = leaving(planned(world, known))
    for hour in range(hours + 1):
        now = worlds.NOW + datetime.timedelta(hours=hour)
        frozen = Desired((), world.desired.fleets, tuple(world.active))
        plan = planner.plan(
            desired=frozen,
            actual=world.actual,
            now=worlds.NOW,
            mode=world.mode,
            absences=known,
            remembered=world.remembered,
        )
        result = grace_period.apply_grace_period(plan, known, grace=duration, now=now)
        assert leaving(result.plan) == (whole if hour == hours else set())
        known = after(known, result, now=now)
        assert known.keys() == whole


# --- Messages, and the guard ------------------------------------------------------------------------------


def losing(*drivers: DriverId) -> worlds.World:
    """Return a fleet of three members, of which these are no longer wanted."""
    stay = [driver for driver in (A, B, C) if driver not in drivers]
    seen = worlds.seen({A: [VANS], B: [VANS], C: [VANS]}, directory_complete=True)
    return worlds.World(worlds.wish(worlds.by_id(VANS, *stay)), seen, Mode.EXACT)


def test_a_detach_that_waits_says_since_when_and_until_when_in_words_that_stand_still() -> None:
    since = worlds.NOW - datetime.timedelta(hours=2)
    known = {(A, VANS): since}
    told = set()
    for minutes in (0, 5):
        now = worlds.NOW + datetime.timedelta(minutes=minutes)
        told.add(grace_period.apply_grace_period(planned(losing(A), known), known, grace=DAY, now=now).plan.problems)
    assert told == {
        (
            Problem(
                f"{A}/{VANS}",
                f"{A} in fleet {VANS} is absent from the sources since 2026-10-05T06:00:00.000Z; it is detached after"
                " 2026-10-06T06:00:00.000Z (sync.detach_grace_seconds)",
            ),
        )
    }


def test_a_row_that_is_over_waits_like_any_other_and_is_named() -> None:
    (reading,) = worlds.wish(worlds.by_id(VANS, B))
    origin = Origin("membership.yaml", 4, 9)
    over = Row(FleetById(VANS), DriverById(A), origin, ends=worlds.NOW)
    reading = SourceReading(reading.source, reading.fleets, (*reading.rows, over))
    world = worlds.World((reading,), worlds.seen({A: [VANS], B: [VANS]}), Mode.EXACT)
    result = grace_period.apply_grace_period(world.plan(), {}, grace=DAY, now=worlds.NOW)
    assert result.plan.changes == ()
    assert [(problem.where, problem.note) for problem in result.plan.problems] == [(str(origin), True)]
    assert result.newly_absent == {(A, VANS)}


def test_a_fleet_that_would_be_emptied_in_instalments_is_held_at_the_first() -> None:
    """Two are due, the third is due later. Two of three alone would be allowed."""
    world = losing(A, B, C)
    old = worlds.NOW - 2 * DAY
    known = {(A, VANS): old, (B, VANS): old, (C, VANS): worlds.NOW}
    plan = grace_period.apply_grace_period(planned(world, known), known, grace=DAY, now=worlds.NOW).plan
    assert leaving(plan) == {(A, VANS), (B, VANS)}
    (held, _) = guard.evaluate(plan, world.actual, guard.Limits()).held
    assert held.guard == guard.EMPTYING
    assert held.message == "all 3 members of this fleet would be detached, 1 of them after their grace period"
    assert guard.evaluate(plan, world.actual, guard.Limits(1.0, 1.0, allow_emptying_fleets=True)).held == ()


def test_who_waits_counts_for_no_fraction() -> None:
    """Otherwise a fleet with a steady turnover would hold every detach forever."""
    drivers = [DriverId(f"drv_{number:032}") for number in range(100)]
    seen = worlds.seen({driver: [VANS] for driver in drivers}, directory_complete=True)
    world = worlds.World(worlds.wish(worlds.by_id(VANS, *drivers[60:])), seen, Mode.EXACT)
    known = {(driver, VANS): worlds.NOW - 2 * DAY for driver in drivers[:3]}
    plan = grace_period.apply_grace_period(planned(world, known), known, grace=DAY, now=worlds.NOW).plan
    assert len(plan.changes) == 3
    assert guard.evaluate(plan, seen, guard.Limits()).held == ()


def test_a_sentinel_that_the_sources_leave_out_holds_every_detach_before_its_own_is_due() -> None:
    world = losing(A, B)
    known = {(A, VANS): worlds.NOW - 2 * DAY}
    plan = grace_period.apply_grace_period(planned(world, known), known, grace=DAY, now=worlds.NOW).plan
    limits = guard.Limits(1.0, 1.0, must_see=frozenset({(B, VANS)}))
    (held,) = guard.evaluate(plan, world.actual, limits).held
    assert (held.change.driver, held.guard) == (A, guard.MUST_SEE)


def test_a_recycled_address_is_not_taken_for_settled_while_a_detach_waits_for_its_grace() -> None:
    """Ssosync 358: otherwise the old owner's detach would be allowed as soon as it is due."""
    wishes: dict[FleetRef, list[DriverRef]] = {FleetById(VANS): [DriverByEmail("b@example.com")]}
    seen = worlds.seen({A: [VANS], B: [VANS], C: [DEPOT, NORTH]}, directory_complete=True)
    world = worlds.World(worlds.wish(wishes), seen, Mode.EXACT)
    history = guard.GuardHistory(resolutions={"b@example.com": A})
    plan = grace_period.apply_grace_period(planned(world, {}), {}, grace=DAY, now=worlds.NOW).plan
    decision = guard.evaluate(plan, seen, guard.Limits(), history)
    assert decision == guard.Decision((), ())
    known = {(A, VANS): worlds.NOW - DAY}
    plan = grace_period.apply_grace_period(planned(world, known), known, grace=DAY, now=worlds.NOW).plan
    assert {held.guard for held in guard.evaluate(plan, seen, guard.Limits(), history).held} == {guard.REFERENCE_MOVED}
