"""Texts that look alike or differ only in case: named as what may be meant, and never taken for it."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import VANS, A, B, C
from worker.core.model.actual import Driver, Fleet
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    Mode,
)
from worker.core.model.identifiers import DriverId
from worker.core.model.plan import Action
from worker.core.planning import inventory, near_misses, resolver
from worker.core.planning.expected_drivers import ExpectedDrivers

KELVIN = "\N{KELVIN SIGN}"
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")
NFC, NFD = (unicodedata.normalize(form, "Dépôt Lyon") for form in FORMS[:2])


@pytest.mark.parametrize(
    ("actual", "written", "expected"),
    [
        (
            NFC,
            NFD,
            "Unicode form (U+00E9 U+0070 U+00F4 in Charge, U+0065 U+0301 U+0070 U+006F U+0302 in the source)",
        ),
        ("Paris vans ", "Paris vans", "leading or trailing spaces (U+0020 in Charge, nothing in the source)"),
        ("paris vans", "Paris vans", "letter case"),
        ("Par\u200bis", "Paris", "invisible characters (U+200B in Charge, nothing in the source)"),
        ("Paris\u00a0vans", "Paris vans", "Unicode form (U+00A0 in Charge, U+0020 in the source)"),
        ("\u212bsa", "A\u030asa", "Unicode form (U+212B in Charge, U+0041 U+030A in the source)"),  # neither is normal
        (f"{KELVIN}im@x", "kim@x", "Unicode form and letter case (U+212A in Charge, U+006B in the source)"),
        (
            "abcdefgh ",
            "ABCDEFGH",
            "leading or trailing spaces and letter case (U+0061 U+0062 U+0063 U+0064 U+0065 U+0066 … in Charge, "
            "U+0041 U+0042 U+0043 U+0044 U+0045 U+0046 … in the source)",
        ),
    ],
)
def test_a_near_miss_says_how_it_differs_with_code_points_where_they_look_alike(
    actual: str, written: str, expected: str
) -> None:
    assert near_misses.fold(actual) == near_misses.fold(written)
    assert near_misses.describe(actual, written) == expected


@worlds.LAW
@given(st.text(max_size=12), st.sampled_from(FORMS))
def test_folding_ignores_form_case_ends_and_invisible_characters(text: str, form: Form) -> None:
    folded = near_misses.fold(text)
    assert near_misses.fold(f" {text}\u200b ") == folded
    assert near_misses.fold(folded) == folded or not text.isascii()
    if not set(text) & {"\u0345"}:  # its upper case is a letter, which does not combine with what is before it
        assert near_misses.fold(unicodedata.normalize(form, text)) == folded


@pytest.mark.parametrize("text", ["Paris", "Lyon depot", "a=b", "", " "])
def test_ascii_is_folded_in_the_same_way_as_any_other_text(text: str) -> None:
    assert near_misses.fold(f"{text}\u200b") == near_misses.fold(text)


def found(*drivers: Driver, references: list[DriverRef]) -> inventory.Inventory:
    taken = inventory.Inventory(ExpectedDrivers(references=references))
    for driver in drivers:
        taken.add(driver)
    return taken


def test_the_kelvin_sign_is_not_a_k_but_is_named() -> None:
    """In lower case it is: so the wrong person was attached."""
    wanted = DriverByEmail("kim@example.com")
    taken = found(Driver(A, frozenset(), email=f"{KELVIN}im@example.com"), references=[wanted])
    actual = taken.actual(fleets={}, incomplete={}, directory_complete=True, requests=1)
    assert actual.emails == {"kim@example.com": ()}
    answer = resolver.resolve_driver(wanted, actual)
    assert answer == resolver.Unresolved(
        f"no driver has the e-mail address kim@example.com; that of driver {A} differs only in Unicode form and letter "
        "case (U+212A in Charge, U+006B in the source)",
        (A,),
    )


def test_metadata_is_named_too_by_value_and_by_key() -> None:
    wanted: list[DriverRef] = [DriverByMetadata("employee_id", "e7"), DriverByMetadata("badge", "1")]
    first = found(Driver(A, frozenset(), metadata={"employee_id": "E7 ", "other": "e7"}), references=wanted)
    first.merge(found(Driver(B, frozenset(), metadata={"Badge": "1"}), references=wanted))
    actual = first.actual(fleets={}, incomplete={}, directory_complete=True, requests=1)
    assert actual.near_misses == {
        wanted[0]: {
            A: "leading or trailing spaces and letter case "
            "(U+0045 U+0037 U+0020 in Charge, U+0065 U+0037 in the source)"
        },
        wanted[1]: {B: "letter case"},
    }


def test_an_exact_match_has_no_near_misses_and_is_none() -> None:
    wanted: list[DriverRef] = [DriverByEmail("kim@example.com"), DriverByMetadata("badge", "1")]
    kim = Driver(A, frozenset(), email="Kim@Example.COM", metadata={"badge": "1"})
    assert (
        found(kim, references=wanted).actual(fleets={}, incomplete={}, directory_complete=True, requests=1).near_misses
        == {}
    )


def test_an_id_has_no_near_misses() -> None:
    by_id, by_email = DriverById(A), DriverByEmail("kim@example.com")
    index = near_misses.Index([by_id, by_email])
    index.add_email(B, " kim@example.com", compared=" kim@example.com")
    assert list(index.found) == [by_email]


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        (NFD, "Unicode form (U+00E9 U+0070 U+00F4 in Charge, U+0065 U+0301 U+0070 U+006F U+0302 in the source)"),
        ("dépôt lyon", "letter case"),
    ],
)
def test_a_fleet_with_nearly_that_name_is_named(name: str, difference: str) -> None:
    known = {VANS: Fleet(VANS, NFC), worlds.DEPOT: Fleet(worlds.DEPOT, "Lyon")}
    reference = FleetByName(name)
    answer = resolver.resolve_fleets([reference], known)[reference]
    assert isinstance(answer, resolver.Unresolved)
    assert answer.reason == f'no fleet is named "{name}"; the name of fleet {VANS} differs only in {difference}'


def test_only_the_first_few_near_misses_are_named() -> None:
    fleets = [worlds.fleet_id(letter) for letter in "PQRST"]
    known = {fleet: Fleet(fleet, "PARIS") for fleet in fleets}
    reference = FleetByName("Paris")
    answer = resolver.resolve_fleets([reference], known)[reference]
    assert isinstance(answer, resolver.Unresolved)
    assert answer.reason.count("letter case") == 3
    assert answer.reason.endswith("; and 2 more")


@pytest.mark.parametrize("complete", [True, False])
def test_a_driver_that_may_be_meant_keeps_every_fleet(complete: bool) -> None:
    """Otherwise a driver who moves by a mistyped address would be detached and not attached."""
    wanted = DriverByEmail("kim@example.com")
    taken = found(
        Driver(A, frozenset({worlds.DEPOT}), email=f"{KELVIN}im@example.com"),
        Driver(C, frozenset({worlds.DEPOT})),
        references=[wanted],
    )
    fleets = {fleet: Fleet(fleet, total_drivers=0) for fleet in (VANS, worlds.DEPOT)}
    actual = taken.actual(fleets=fleets, incomplete={}, directory_complete=complete, requests=1)
    wishes = worlds.wish({FleetById(VANS): [wanted], FleetById(worlds.DEPOT): []})
    plan = worlds.World(wishes, actual, Mode.EXACT).plan()
    assert _detached(plan.changes) == [C]


def _detached(changes: object) -> list[DriverId]:
    assert isinstance(changes, tuple)
    return [change.driver for change in changes if change.action is Action.DETACH]
