"""Rows in columns: they are the rows that were added, and the index says what those want."""

import dataclasses
import datetime
import itertools
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B
from worker.core.model.desired import DriverByEmail, DriverById, FleetById, FleetByName, Origin, Row
from worker.core.model.rows import Batch, Rows, key_of

_DATES = st.sampled_from([None, worlds.NOW, worlds.NOW + datetime.timedelta(days=1)])
_ORIGINS = st.builds(Origin, st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2))
_FLEETS = st.sampled_from([FleetById(VANS), FleetById(DEPOT), FleetByName("Vans")])
_DRIVERS = st.sampled_from([DriverById(A), DriverById(B), DriverByEmail(A)])
_ROWS = st.lists(st.builds(Row, _FLEETS, _DRIVERS, _ORIGINS, _DATES, _DATES, st.sampled_from(["", "note"])))


T = TypeVar("T")


def _place(row: Row) -> Origin:
    return row.origin


def _identity(row: Row) -> object:
    return row.fleet, row.driver, row.starts, row.ends


@worlds.LAW
@given(_ROWS, st.integers(-5, 5), st.integers(-5, 5))
def test_rows_are_those_that_were_added(rows: list[Row], one: int, other: int) -> None:
    kept = Rows(rows)
    assert list(kept) == rows and kept == rows and rows == kept and len(kept) == len(rows)
    assert Rows.of(kept) is kept and Rows.of(rows) == kept
    assert kept[one:other] == rows[one:other]
    if -len(rows) <= one < len(rows):
        assert kept[one] == rows[one]
    assert kept != [*rows, *rows, None] and kept != "rows" and (kept == 3) is False


def _unless_none_has_any(column: Sequence[T]) -> Sequence[T]:
    return column if any(column) else ()


@worlds.LAW
@given(_ROWS, _ROWS, st.sampled_from("ab"))
def test_many_rows_of_a_document_are_added_like_each(before: list[Row], rows: list[Row], name: str) -> None:
    ascending = sorted((dataclasses.replace(row, origin=row.origin._replace(name=name)) for row in rows), key=_place)
    each, together = Rows([*before, *ascending]), Rows(before)
    batch = Batch(
        [key_of(row.driver) for row in ascending],
        lines=[row.origin.line for row in ascending],
        columns=[row.origin.column for row in ascending],
        starts=_unless_none_has_any([row.starts for row in ascending]),
        ends=_unless_none_has_any([row.ends for row in ascending]),
        notes=_unless_none_has_any([row.note for row in ascending]),
    )
    together.extend(batch, [together.number(row.fleet) for row in ascending], name=name)
    assert together == each
    assert (together.are_in_order, together.undated, together.repeated) == (
        each.are_in_order,
        each.undated,
        each.repeated,
    )


@worlds.LAW
@given(st.lists(_ROWS, max_size=3))
def test_rows_of_several_parts_are_all_their_rows_and_can_be_put_in_order(parts: Sequence[list[Row]]) -> None:
    rows = list(itertools.chain(*parts))
    chained = Rows.chained([Rows(part) for part in parts])
    assert chained == rows
    in_order = sorted(rows, key=lambda row: row.origin)
    assert chained.in_order() == in_order
    assert not chained.are_in_order or rows == in_order
    assert Rows(in_order).are_in_order


@worlds.LAW
@given(_ROWS)
def test_the_index_says_which_rows_are_dated_what_the_others_want_and_which_repeat_one(rows: list[Row]) -> None:
    kept = Rows(rows)
    assert list(kept.dated) == [row for row in rows if not row.undated]
    assert kept.undated == {
        key_of(row.driver): {each.fleet for each in rows if each.undated and each.driver == row.driver}
        for row in rows
        if row.undated
    }
    firsts = {_identity(row): position for position, row in reversed(list(enumerate(rows)))}
    assert list(kept.repeated) == [position for position, row in enumerate(rows) if firsts[_identity(row)] != position]


@worlds.LAW
@given(_ROWS)
def test_rows_are_found_by_their_drivers(rows: list[Row]) -> None:
    kept = Rows(rows)
    found = kept.select(kept.referring({A}))
    assert found == [row for row in rows if row.driver == DriverById(A)]
    assert list(kept.referring(set())) == []
