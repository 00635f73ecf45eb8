"""How several sources are merged."""

import dataclasses
import datetime
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B, C
from worker.core.model.desired import (
    DriverById,
    FleetById,
    FleetByName,
    FleetEntry,
    FleetRef,
    Mode,
    Origin,
    Row,
    SourceReading,
    SourceRevision,
)
from worker.core.model.errors import DesiredError
from worker.core.model.problem import Problem
from worker.core.planning import merge_sources

FLEET = FleetById(VANS)


def reading(name: str, *rows: Row, fleets: tuple[FleetEntry, ...] = ()) -> SourceReading:
    return SourceReading(SourceRevision("file", name, "sha256:0"), fleets, rows)


def entry(name: str, mode: Mode | None, fleet: FleetRef = FLEET) -> FleetEntry:
    return FleetEntry(fleet, Origin(name, 1, 1), mode)


@worlds.LAW
@given(worlds.worlds(), st.randoms(use_true_random=False))
def test_the_sum_does_not_depend_on_the_order_of_anything(world: worlds.World, chance: random.Random) -> None:
    one, other = world.desired, world.shuffled(chance).desired
    assert one.rows == other.rows
    assert set(one.fleets) == set(other.fleets)
    assert sorted(one.notices) == sorted(other.notices)


@worlds.LAW
@given(worlds.worlds())
def test_every_row_is_kept_or_reported_as_a_repetition(world: worlds.World) -> None:
    rows = [row for one in world.readings for row in one.rows]
    total = world.desired
    assert {str(row.origin) for row in total.rows} | {notice.where for notice in total.notices} == {
        str(row.origin) for row in rows
    }
    assert len(total.rows) + len(total.notices) == len(rows)
    assert {(row.fleet, row.driver, row.starts, row.ends) for row in total.rows} == {
        (row.fleet, row.driver, row.starts, row.ends) for row in rows
    }


def test_a_row_that_repeats_another_is_harmless_and_reported() -> None:
    first = Row(FLEET, DriverById(A), Origin("a.csv", 2, 1))
    second = Row(FLEET, DriverById(A), Origin("b.csv", 7, 1), note="again")
    total = merge_sources.merge([reading("b.csv", second), reading("a.csv", first)])
    assert total.rows == (first,)
    assert total.notices == (Problem("b.csv:7:1", f"{A} in fleet {VANS} is also listed at a.csv:2:1; harmless"),)
    assert [notice.note for notice in total.notices] == [True]


def test_the_same_membership_in_another_time_is_no_repetition() -> None:
    first = Row(FLEET, DriverById(A), Origin("a.csv", 2, 1), ends=worlds.NOW)
    second = Row(FLEET, DriverById(A), Origin("a.csv", 3, 1), starts=worlds.NOW)
    assert merge_sources.merge([reading("a.csv", first, second)]).rows == (first, second)


def test_a_mode_may_be_given_once_or_twice_the_same() -> None:
    exact = Mode.EXACT
    entries = [entry("a.yaml", None), entry("b.yaml", exact), entry("c.yaml", exact)]
    assert merge_sources.stated_modes((each, VANS) for each in entries) == {VANS: exact}
    assert merge_sources.stated_modes([(entry("a.yaml", None), VANS)]) == {}


def test_every_fleet_that_is_given_two_modes_is_named_with_both_places() -> None:
    depot = FleetByName("Lyon depot")
    one = (entry("a.yaml", Mode.EXACT), entry("a.yaml", Mode.ADDITIVE, depot))
    other = (entry("b.yaml", Mode.ADDITIVE), entry("b.yaml", Mode.EXACT, depot))
    with pytest.raises(DesiredError) as caught:
        merge_sources.merge([reading("b.yaml", fleets=other), reading("a.yaml", fleets=one)])
    assert [str(problem) for problem in caught.value.problems] == [
        f"b.yaml:1:1: fleet {VANS} has mode additive here, but mode exact at a.yaml:1:1: write the same mode",
        'b.yaml:1:1: fleet "Lyon depot" has mode exact here, but mode additive at a.yaml:1:1: write the same mode',
    ]
    assert caught.value.exit_code == 1


def test_what_the_sources_report_comes_first() -> None:
    first, again = (Row(FLEET, DriverById(A), Origin("a.xlsx", line, 1)) for line in (2, 3))
    hidden = Problem("a.xlsx", "row 2 is hidden", note=True)
    one = dataclasses.replace(reading("a.xlsx", first, again), notices=(hidden,))
    assert [notice.where for notice in merge_sources.merge([one]).notices] == ["a.xlsx", "a.xlsx:3:1"]


def test_a_fleet_of_a_declared_scope_has_no_position_in_a_document() -> None:
    assert str(Origin("a.csv [sources.fleets]", 0, 0)) == "a.csv [sources.fleets]"


def test_the_text_of_a_reading_has_none_of_its_rows() -> None:
    """At its end asyncio formats the result of a main task, unless Ctrl+C is ignored: that took half of the time."""
    one = reading("a.yaml", Row(FLEET, DriverById(A), Origin("a.yaml", 1, 1)))
    assert "Row(" not in f"{one!r} {merge_sources.merge([one])!r}"


@worlds.LAW
@given(worlds.worlds(), st.randoms(use_true_random=False))
def test_readings_in_another_order_want_the_same(world: worlds.World, chance: random.Random) -> None:
    assert merge_sources.same_rows(world.desired, world.shuffled(chance).desired)


WANTED = Row(FLEET, DriverById(A), Origin("a.csv", 2, 1))
DATED = dataclasses.replace(WANTED, ends=worlds.NOW)


@pytest.mark.parametrize("before", [WANTED, DATED])
@pytest.mark.parametrize(
    ("difference", "same"),
    [
        ({"origin": Origin("b.csv", 9, 4), "note": "moved"}, True),
        ({"driver": DriverById(B)}, False),
        ({"fleet": FleetById(DEPOT)}, False),
        ({"starts": worlds.NOW - datetime.timedelta(days=1)}, False),
        ({"ends": worlds.NOW + datetime.timedelta(days=1)}, False),
    ],
)
def test_only_what_a_row_wants_tells_two_readings_apart(
    before: Row, difference: dict[str, object], *, same: bool
) -> None:
    """A run that does not see that its source changed goes on detaching by what nobody wants any more."""
    kept = Row(FleetById(VANS), DriverById(C), Origin("a.csv", 3, 1))
    after = dataclasses.replace(before, **difference)  # type: ignore[arg-type]
    one, other = (merge_sources.merge([reading("a.csv", row, kept)]) for row in (before, after))
    assert merge_sources.same_rows(one, other) is same


def test_a_row_less_and_another_mode_of_a_fleet_tell_two_readings_apart() -> None:
    one = merge_sources.merge([reading("a.csv", WANTED, fleets=(entry("a.csv", None),))])
    fewer = merge_sources.merge([reading("a.csv", fleets=(entry("a.csv", None),))])
    additive = merge_sources.merge([reading("a.csv", WANTED, fleets=(entry("a.csv", Mode.ADDITIVE),))])
    assert not merge_sources.same_rows(one, fewer)
    assert not merge_sources.same_rows(one, additive)
