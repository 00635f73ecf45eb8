"""Dates without a time: the first moment of the day in any time zone, and what follows for rows."""

import dataclasses
import datetime
import zoneinfo
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import DriverById, FleetById, FleetByName, FleetRef, Mode, Origin, Row
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Action, Plan
from worker.core.planning import days, local_dates, merge_sources, planner

SECOND = datetime.timedelta(seconds=1)
ZONES = sorted(zoneinfo.available_timezones())
DAYS = st.dates(datetime.date(1850, 1, 1), datetime.date(2100, 12, 31))


def midnight(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@worlds.LAW
@given(st.sampled_from(ZONES), DAYS)
def test_a_day_begins_at_its_first_moment(zone: str, day: datetime.date) -> None:
    there, at = zoneinfo.ZoneInfo(zone), datetime.datetime.combine(day, datetime.time())
    start = days.start_of_day(at, there)
    assert start.astimezone(there).replace(tzinfo=None) >= at
    assert (start - SECOND).astimezone(there).replace(tzinfo=None) < at


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Europe/Paris", "2026-07-01", "2026-06-30T22:00"),
        ("Europe/Paris", "2026-12-31", "2026-12-30T23:00"),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00"),
        # Clocks are put forward at midnight: the day begins at 01:00.
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00"),
        # Clocks were put forward from 23:30 to 00:30.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30"),
        # Clocks are put back at 01:00 to midnight: the day begins the first time.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00"),
        # A day that was skipped: it begins and ends in the same moment.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00"),
        ("Asia/Tokyo", "0001-01-01", "0001-01-01T00:00"),
    ],
)
def test_gaps_and_overlaps(zone: str, day: str, start: str) -> None:
    assert days.start_of_day(midnight(day), zoneinfo.ZoneInfo(zone)) == utc(start)


@given(st.datetimes(timezones=st.none()))
def test_in_utc_every_day_begins_at_its_midnight(moment: datetime.datetime) -> None:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert days.start_of_day(day, datetime.UTC) == days.start_of_day(day, zoneinfo.ZoneInfo("UTC")) == utc(str(day))


def find(name: str) -> datetime.tzinfo | None:
    return zoneinfo.ZoneInfo(name) if name in ZONES else None


def plan_at(now: str, *rows: Row, zones: Mapping[FleetId, str], seen: Actual) -> Plan:
    """Plan with these fleets' time zones."""
    fleets = {fleet: Fleet(fleet, worlds.NAMES[fleet], timezone=zones.get(fleet, "")) for fleet in worlds.FLEETS}
    actual = dataclasses.replace(seen, fleets=fleets)
    named: list[FleetRef] = [FleetById(VANS), FleetByName(worlds.NAMES[DEPOT]), FleetById(NORTH)]
    (reading,) = worlds.wish({fleet: [] for fleet in named})
    desired = merge_sources.merge([dataclasses.replace(reading, rows=rows)])
    localized = local_dates.localize(desired, fleets, find)
    return planner.plan(desired=localized, actual=actual, now=utc(now), mode=Mode.EXACT)


def row(fleet: FleetId, *, starts: str = "", ends: str = "") -> Row:
    reference = FleetByName(worlds.NAMES[fleet]) if fleet == DEPOT else FleetById(fleet)
    starting, ending = (midnight(each) if each else None for each in (starts, ends))
    return Row(reference, DriverById(A), Origin("membership.yaml", 1, 1), starting, ending)


def test_a_date_ends_at_midnight_of_the_fleet() -> None:
    ends = row(VANS, ends="2026-07-01")
    zones = {VANS: "Europe/Paris"}
    assert plan_at("2026-06-30T21:59", ends, zones=zones, seen=worlds.seen({A: [VANS]})).changes == ()
    (detach,) = plan_at("2026-06-30T22:00", ends, zones=zones, seen=worlds.seen({A: [VANS]})).changes
    assert (detach.action, detach.driver) == (Action.DETACH, A)


def test_a_fleet_given_by_name_has_its_zone_too() -> None:
    ends, zones, seen = row(DEPOT, ends="2026-07-01"), {DEPOT: "Asia/Tokyo"}, worlds.seen({A: [DEPOT]})
    assert plan_at("2026-06-30T14:59", ends, zones=zones, seen=seen).changes == ()
    assert len(plan_at("2026-06-30T15:00", ends, zones=zones, seen=seen).changes) == 1


def test_a_date_begins_at_midnight_of_the_fleet() -> None:
    starts = row(VANS, starts="2026-07-01")
    zones = {VANS: "America/New_York"}
    assert plan_at("2026-07-01T03:59", starts, zones=zones, seen=worlds.seen({A: []})).changes == ()
    (attach,) = plan_at("2026-07-01T04:00", starts, zones=zones, seen=worlds.seen({A: []})).changes
    assert attach.action is Action.ATTACH


@pytest.mark.parametrize("zone", ["", "Mars/Olympus"])
@pytest.mark.parametrize("now", ["2026-06-20T00:00", "2026-06-30T23:00", "2026-07-01T11:59"])
def test_where_the_zone_is_not_known_nothing_is_decided_by_a_guess(zone: str, now: str) -> None:
    """Neither in that fleet nor, for its drivers, in another one: a driver who may be wanted there keeps all fleets."""
    seen = worlds.seen({A: [VANS, NORTH], B: [VANS, NORTH]})
    plan = plan_at(now, row(VANS, ends="2026-07-01"), zones={VANS: zone}, seen=seen)
    assert {(each.driver, each.fleet) for each in plan.changes} == {(B, NORTH)}
    assert plan.unresolved == 1
    (problem,) = plan.problems
    assert f"fleet {VANS} has dates without a time, and" in problem.message
    assert ("is not known" if zone else "does not say") in problem.message


def test_a_zone_that_is_not_known_is_harmless_where_no_date_needs_it() -> None:
    aware = dataclasses.replace(row(VANS), ends=utc("2026-07-01T00:00"))
    seen = worlds.seen({A: [VANS], B: [VANS]})
    plan = plan_at("2026-06-30T23:59", aware, zones={}, seen=seen)
    assert [each.driver for each in plan.changes] == [B]
    assert plan.problems == ()


def test_a_fleet_that_does_not_exist_needs_no_zone() -> None:
    nowhere = dataclasses.replace(row(VANS, ends="2026-07-01"), fleet=FleetByName("Nowhere"))
    (reading,) = worlds.wish({FleetByName("Nowhere"): []})
    desired = merge_sources.merge([dataclasses.replace(reading, rows=(nowhere,))])
    localized = local_dates.localize(desired, {}, find)
    assert localized.unzoned == {}
    assert localized.rows[0].ends == utc("2026-07-01T12:00")


def test_rows_without_naive_dates_stay_as_they_are() -> None:
    desired = merge_sources.merge(worlds.wish(worlds.by_id(VANS, A)))
    assert local_dates.localize(desired, {}, find) is desired
