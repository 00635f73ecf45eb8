"""The planner: laws over generated worlds. Its stories are in `test_planner_stories`."""

import dataclasses
import datetime
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import VANS, A, B, C, pairs, plan_of
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetRef,
    Mode,
    Origin,
    Row,
    SourceReading,
)
from worker.core.model.errors import DesiredError
from worker.core.model.plan import Action
from worker.core.model.plan_digest import plan_digest, row_fingerprint
from worker.core.planning import planner
from worker.core.safety import guard

ATTACH, DETACH = Action.ATTACH, Action.DETACH


# --- Laws -------------------------------------------------------------------------------------------------


@worlds.LAW
@given(worlds.worlds())
def test_a_second_plan_after_the_first_was_applied_is_empty(world: worlds.World) -> None:
    first = world.plan()
    second = world.after(first.changes).plan()
    assert second.changes == ()
    assert second.problems == first.problems
    assert second.in_sync == len(world.wanted)


@worlds.LAW
@given(worlds.worlds())
def test_applying_the_plan_gives_every_shrinkable_fleet_just_whom_it_should_have(world: worlds.World) -> None:
    """A driver wanted in a fleet that does not resolve keeps all fleets."""
    after = worlds.applied(world.actual, world.plan().changes)
    for fleet in world.shrinkable:
        stayed = worlds.members(world.actual, fleet) & world.waiting
        assert worlds.members(after, fleet) == {driver for driver, where in world.wanted if where == fleet} | stayed


@worlds.LAW
@given(worlds.worlds())
def test_applying_the_plan_lets_every_other_managed_fleet_only_grow(world: worlds.World) -> None:
    after = worlds.applied(world.actual, world.plan().changes)
    for fleet in world.managed - world.shrinkable:
        wanted = {driver for driver, where in world.wanted if where == fleet}
        assert worlds.members(after, fleet) == worlds.members(world.actual, fleet) | wanted


@worlds.LAW
@given(worlds.worlds())
def test_unmanaged_fleets_never_appear(world: worlds.World) -> None:
    plan = world.plan()
    assert {change.fleet for change in plan.changes} <= world.managed
    assert plan.members == {fleet: len(worlds.members(world.actual, fleet)) for fleet in world.managed}


@worlds.LAW
@given(worlds.worlds())
def test_an_additive_fleet_never_loses_anybody(world: worlds.World) -> None:
    assert not {fleet for _, fleet in pairs(world.plan(), DETACH)} & world.additive


@worlds.LAW
@given(worlds.worlds())
def test_an_incomplete_fleet_never_loses_anybody(world: worlds.World) -> None:
    assert not {fleet for _, fleet in pairs(world.plan(), DETACH)} & world.actual.incomplete.keys()


@worlds.LAW
@given(worlds.worlds())
def test_a_fleet_with_a_reference_that_leads_nowhere_never_loses_anybody(world: worlds.World) -> None:
    assert not {fleet for _, fleet in pairs(world.plan(), DETACH)} & world.unclear


@worlds.LAW
@given(worlds.worlds())
def test_a_driver_whom_an_unknown_fleet_or_reference_may_mean_loses_none(world: worlds.World) -> None:
    assert not {driver for driver, _ in pairs(world.plan(), DETACH)} & world.waiting


@worlds.LAW
@given(worlds.worlds())
def test_only_what_was_seen_and_is_not_wanted_is_detached(world: worlds.World) -> None:
    for driver, fleet in pairs(world.plan(), DETACH):
        assert fleet in world.actual.memberships[driver]
        assert (driver, fleet) not in world.wanted


@worlds.LAW
@given(worlds.worlds())
def test_what_is_wanted_and_missing_is_attached_and_nothing_else(world: worlds.World) -> None:
    missing = {(driver, fleet) for driver, fleet in world.wanted if fleet not in world.actual.memberships[driver]}
    assert pairs(world.plan(), ATTACH) == missing


@worlds.LAW
@given(worlds.worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_irrelevant(world: worlds.World, chance: random.Random) -> None:
    limits = guard.Limits()
    first, second = world.plan(), world.shuffled(chance).plan()
    assert first == second
    rows = tuple(chance.sample(world.desired.rows, len(world.desired.rows)))
    mixed = dataclasses.replace(world.desired, rows=rows)
    assert first == planner.plan(
        desired=mixed, actual=world.actual, now=worlds.NOW, mode=world.mode, remembered=world.remembered
    )
    assert list(first.members) == list(second.members)
    one, other = guard.evaluate(first, world.actual, limits), guard.evaluate(second, world.actual, limits)
    assert one == other
    assert plan_digest(worlds.ACCOUNT, one.allowed, (held.change for held in one.held)) == plan_digest(
        worlds.ACCOUNT, other.allowed, (held.change for held in other.held)
    )


@worlds.LAW
@given(worlds.worlds())
def test_the_plan_is_sorted_by_fleet_with_attaches_first_and_says_nothing_twice(world: worlds.World) -> None:
    keys = [(change.fleet, change.action.value, change.driver) for change in world.plan().changes]
    assert keys == sorted(keys)
    assert len({(driver, fleet) for fleet, _, driver in keys}) == len(keys)


@worlds.LAW
@given(worlds.worlds())
def test_every_attach_names_the_first_row_that_asks_for_it(world: worlds.World) -> None:
    for change in world.plan().changes:
        asking = [
            row.origin
            for row in world.active
            if (world.leads_to(row.driver), worlds.FLEET_REFS[row.fleet]) == (change.driver, change.fleet)
        ]
        if change.action is ATTACH:
            assert change.origin == min(asking)
        else:
            assert asking == []


@worlds.LAW
@given(worlds.worlds())
def test_the_figures_of_a_plan_are_those_of_its_world(world: worlds.World) -> None:
    plan = world.plan()
    drivers, fleets = {row.driver for row in world.active}, {entry.fleet for entry in world.entries}
    held = {driver for fleet in world.managed for driver in worlds.members(world.actual, fleet)}
    assert plan.in_sync == len(world.wanted) - len(pairs(plan, ATTACH))
    assert plan.drivers == len(held | {driver for driver, _ in world.wanted})
    assert plan.references == len(drivers) + len(fleets)
    assert plan.unresolved == sum(not world.leads_to(driver) for driver in drivers) + sum(
        not worlds.FLEET_REFS[fleet] for fleet in fleets
    )
    assert plan.incomplete == len(world.managed & world.actual.incomplete.keys())


@worlds.LAW
@given(worlds.worlds())
def test_everything_that_keeps_a_plan_from_being_whole_is_said(world: worlds.World) -> None:
    told = {problem.where for problem in world.plan().problems}
    lost = {str(row.origin) for row in world.active if not world.leads_to(row.driver)}
    assert lost <= told
    assert world.managed & world.actual.incomplete.keys() <= told
    assert any(not problem.note for problem in world.plan().problems) == bool(
        world.plan().unresolved or world.plan().incomplete
    )


def test_the_problems_of_a_plan_stand_in_the_order_of_the_lines() -> None:
    """Sorted as text, line 10 would come before line 3, and the first ten would not be the first ten."""
    lines = [3, 10, 20, 100]
    rows = [Row(FleetById(VANS), DriverByEmail(f"{line}@x"), Origin("a.csv", line, 1)) for line in lines]
    (reading,) = worlds.wish(worlds.by_id(VANS))
    plan = plan_of((dataclasses.replace(reading, rows=tuple(rows)),), worlds.seen({}, directory_complete=True))
    assert [problem.where for problem in plan.problems] == [f"a.csv:{line}:1" for line in lines]


# --- The same membership twice ----------------------------------------------------------------------------


@worlds.LAW
@given(worlds.worlds())
def test_every_row_that_says_what_another_says_is_reported(world: worlds.World) -> None:
    """Whichever references they use. Rows with other times are different rows."""
    rows = sorted((row for reading in world.readings for row in reading.rows), key=lambda row: row.origin)
    said, again = set[object](), set[str]()
    for row in rows:
        known = (world.leads_to(row.driver), worlds.FLEET_REFS[row.fleet])
        meant = (known if all(known) else (row.driver, row.fleet), row.starts, row.ends)
        if meant in said:
            again.add(str(row.origin))
        said.add(meant)
    assert {problem.where for problem in world.plan().problems if problem.note} == again


def test_two_references_to_one_driver_in_one_fleet_are_harmless_and_reported_with_both_places() -> None:
    rows: dict[FleetRef, list[DriverRef]] = {
        FleetById(VANS): [
            DriverById(A),
            DriverByEmail("a@example.com"),
            DriverByMetadata("employee_id", "0A"),
        ],
        FleetByName("Paris vans"): [DriverById(A)],
    }
    once = plan_of(worlds.wish(worlds.by_id(VANS, A)), worlds.seen({A: [], B: [VANS]}, directory_complete=True))
    plan = plan_of(worlds.wish(rows), worlds.seen({A: [], B: [VANS]}, directory_complete=True))
    assert plan.changes == once.changes
    assert plan.unresolved == 0
    assert [str(problem) for problem in plan.problems] == [
        f"membership.yaml:102:5: a@example.com in fleet {VANS} is also listed at membership.yaml:101:5, as {A} in "
        f"fleet {VANS}; harmless",
        f"membership.yaml:103:5: employee_id=0A in fleet {VANS} is also listed at membership.yaml:101:5, as {A} in "
        f"fleet {VANS}; harmless",
        f'membership.yaml:201:5: {A} in fleet "Paris vans" is also listed at membership.yaml:101:5, as {A} in fleet '
        f"{VANS}; harmless",
    ]
    assert all(problem.note for problem in plan.problems)


def test_rows_of_other_times_say_something_else_however_they_name_the_driver() -> None:
    """A row that repeats the second of them is reported as well."""
    windows = [(None, None), (None, worlds.NOW), (worlds.NOW, None), (worlds.NOW, None)]
    drivers: list[DriverRef] = [*[DriverById(A)] * 3, DriverByEmail("a@example.com")]
    rows = tuple(
        Row(FleetById(VANS), driver, Origin("a.csv", line, 1), starts, ends)
        for line, (driver, (starts, ends)) in enumerate(zip(drivers, windows, strict=True), 2)
    )
    (reading,) = worlds.wish(worlds.by_id(VANS))
    plan = plan_of((dataclasses.replace(reading, rows=rows),), worlds.seen({A: []}, directory_complete=True))
    (problem,) = plan.problems
    assert (problem.where, problem.note) == ("a.csv:5:1", True)
    assert "is also listed at a.csv:4:1" in problem.message


# --- Rows in time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("starts", "ends", "active"), worlds.WINDOWS)
def test_from_is_inclusive_and_until_is_exclusive(starts: None, ends: None, active: bool) -> None:
    row = Row(FleetById(VANS), DriverById(A), Origin("a.csv", 2, 1), starts, ends)
    assert row.active(worlds.NOW) is active


@worlds.LAW
@given(worlds.worlds())
def test_without_a_clock_rows_with_dates_attach_nobody_and_their_references_still_count(world: worlds.World) -> None:
    """The guard must see that a reference leads elsewhere, whoever uses it."""
    plan, blind = world.plan(), dataclasses.replace(world, now=None).plan()
    assert blind.dated == frozenset()
    assert pairs(blind, ATTACH) == pairs(plan, ATTACH) - {(each.driver, each.fleet) for each in plan.dated}
    assert blind.resolutions == plan.resolutions


def test_a_plan_says_when_a_row_of_a_driver_with_a_change_begins_or_ends_next() -> None:
    hour = datetime.timedelta(hours=1)
    periods: list[tuple[DriverRef, datetime.datetime | None, datetime.datetime | None]] = [
        (DriverById(A), worlds.NOW - hour, worlds.NOW + 3 * hour),
        (DriverById(A), worlds.NOW + 2 * hour, worlds.NOW + 4 * hour),
        (DriverById(B), None, worlds.NOW + hour),
        (DriverById(C), None, worlds.NOW),
        (DriverByEmail("nobody@example.com"), None, worlds.NOW + hour),
    ]
    rows = tuple(
        Row(FleetById(VANS), driver, Origin("a.csv", line, 1), starts, ends)
        for line, (driver, starts, ends) in enumerate(periods, 2)
    )
    (reading,) = worlds.wish(worlds.by_id(VANS))
    seen = worlds.seen({A: [], B: [VANS], C: []}, directory_complete=True)
    plan = plan_of((dataclasses.replace(reading, rows=rows),), seen)
    assert pairs(plan, ATTACH) == {(A, VANS)}
    assert plan.boundaries == {A: worlds.NOW + 2 * hour}
    assert plan_of((dataclasses.replace(reading, rows=rows[3:]),), seen).boundaries == {}


def test_a_membership_that_ended_is_detached_and_the_detach_names_its_row() -> None:
    origin = Origin("membership.yaml", 4, 9)
    over = Row(FleetById(VANS), DriverById(A), origin, ends=worlds.NOW)
    (reading,) = worlds.wish(worlds.by_id(VANS, B))
    reading = SourceReading(reading.source, reading.fleets, (*reading.rows, over))
    plan = plan_of((reading,), worlds.seen({A: [VANS], B: [VANS], C: [VANS]}))
    assert [(change.driver, change.origin) for change in plan.changes] == [(A, origin), (C, None)]


def test_a_change_bears_the_fingerprint_of_the_row_that_asks_for_it() -> None:
    (reading,) = worlds.wish(worlds.by_id(VANS, B))
    origin = Origin("membership.yaml", 4, 9)
    over = Row(FleetById(VANS), DriverById(A), origin, ends=worlds.NOW, note="seasonal")
    reading = SourceReading(reading.source, reading.fleets, (*reading.rows, over))
    plan = plan_of((reading,), worlds.seen({A: [VANS], B: [], C: [VANS]}))
    rows = {change.driver: change.row for change in plan.changes}
    assert rows == {A: row_fingerprint(over), B: row_fingerprint(reading.rows[0]), C: ""}


def test_a_row_that_does_not_count_now_keeps_no_fleet_from_shrinking() -> None:
    """A past or a future row whose reference does not resolve does not matter now."""
    (reading,) = worlds.wish(worlds.by_id(VANS, A))
    origin = Origin("membership.yaml", 9, 9)
    over = Row(FleetById(VANS), DriverById(worlds.GHOST), origin, ends=worlds.NOW)
    reading = SourceReading(reading.source, reading.fleets, (*reading.rows, over))
    plan = plan_of((reading,), worlds.seen({A: [VANS], B: [VANS]}, absent=[worlds.GHOST]))
    assert pairs(plan, DETACH) == {(B, VANS)}
    assert plan.problems == ()
    assert plan.unresolved == 0


# --- Modes ------------------------------------------------------------------------------------------------


def test_a_fleets_own_mode_wins_over_that_of_all() -> None:
    actual = worlds.seen({A: [VANS], B: [VANS]})
    for own, default in ((Mode.ADDITIVE, Mode.EXACT), (Mode.EXACT, Mode.ADDITIVE)):
        plan = plan_of(worlds.wish(worlds.by_id(VANS, A), own), actual, default)
        assert bool(plan.changes) is (own is Mode.EXACT)


def test_a_fleet_that_has_two_modes_under_its_id_and_its_name_is_an_error() -> None:
    one = worlds.wish({FleetById(VANS): []}, Mode.EXACT)
    other = worlds.wish({FleetByName("Paris vans"): []}, Mode.ADDITIVE)
    with pytest.raises(DesiredError, match="has mode additive here, but mode exact at"):
        plan_of((*one, *other), worlds.seen({}))
