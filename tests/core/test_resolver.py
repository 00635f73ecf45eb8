"""Present, absent, ambiguous and unknown are different answers, and none is a guess."""

import dataclasses

import pytest
from hypothesis import given

from tests.core import worlds
from tests.core.worlds import TWIN_1, TWIN_2, A, B, E, F
from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef, FleetById, FleetByName
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.planning import resolver

WHOLE = worlds.seen(dict.fromkeys(worlds.DRIVERS, ()), absent=[worlds.GHOST], directory_complete=True)


def reason(answer: DriverId | FleetId | resolver.Unresolved) -> str:
    assert isinstance(answer, resolver.Unresolved)
    return answer.reason


@worlds.LAW
@given(worlds.worlds())
def test_a_reference_leads_to_just_whom_it_means_or_to_a_reason(world: worlds.World) -> None:
    for reference in worlds.DRIVER_REFS:
        answer = resolver.resolve_driver(reference, world.actual)
        assert world.leads_to(reference) == (None if isinstance(answer, resolver.Unresolved) else answer)
    answers = resolver.resolve_fleets(worlds.FLEET_REFS, world.actual.fleets)
    for fleet, expected in worlds.FLEET_REFS.items():
        assert expected == (None if isinstance(answers[fleet], resolver.Unresolved) else answers[fleet])
    assert resolver.resolved_ids(answers.values()) == set(worlds.FLEETS) - {TWIN_1, TWIN_2} | {TWIN_1, TWIN_2}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (DriverById(worlds.GHOST), f"driver {worlds.GHOST} does not exist in this account"),
        (DriverByEmail("x@example.com"), "no driver has the e-mail address x@example.com"),
        (DriverByMetadata("k", "v"), "no driver has the metadata k=v"),
        (
            DriverByMetadata("depot", "Lyon"),
            f"2 drivers have the metadata depot=Lyon ({E}, {F}): use the id",
        ),
    ],
    ids=str,
)
def test_a_driver_who_is_not_there_is_told_apart_from_several(reference: DriverRef, expected: str) -> None:
    assert reason(resolver.resolve_driver(reference, WHOLE)) == expected


def test_who_was_not_read_is_unknown_and_who_was_missed_is_absent() -> None:
    """As in ssosync 278: a 503 on one lookup deleted that user."""
    part = worlds.seen({A: []}, absent=[worlds.GHOST])
    assert resolver.resolve_driver(DriverById(A), part) == A
    assert reason(resolver.resolve_driver(DriverById(worlds.GHOST), part)).endswith("does not exist in this account")
    assert reason(resolver.resolve_driver(DriverById(B), part)).endswith(
        "could not be read; it is not known whether it exists"
    )
    assert reason(resolver.resolve_driver(DriverById(B), dataclasses.replace(part, directory_complete=True))).endswith(
        "does not exist in this account"
    )


def test_one_driver_found_in_half_a_directory_may_not_be_the_only_one() -> None:
    part = dataclasses.replace(WHOLE, directory_complete=False)
    for reference in (DriverByEmail("a@example.com"), DriverByMetadata("employee_id", "0A")):
        assert "could not be looked up" in reason(resolver.resolve_driver(reference, part))
        assert resolver.resolve_driver(reference, WHOLE) == A


def test_a_fleet_that_is_not_there_is_told_apart_from_several() -> None:
    missing, nowhere, twins = (
        FleetById(worlds.fleet_id("Y")),
        FleetByName("Nowhere"),
        FleetByName("Twins"),
    )
    answers = resolver.resolve_fleets([missing, nowhere, twins], WHOLE.fleets)
    assert reason(answers[missing]) == f"fleet {missing} does not exist in this account"
    assert reason(answers[nowhere]) == 'no fleet is named "Nowhere"'
    assert reason(answers[twins]) == f'2 fleets are named "Twins" ({TWIN_1}, {TWIN_2}): use the id'


def test_a_name_is_matched_exactly() -> None:
    for name in ("paris vans", "Paris vans ", "Paris"):
        reference = FleetByName(name)
        answer = reason(resolver.resolve_fleets([reference], WHOLE.fleets)[reference])
        assert answer.startswith(f'no fleet is named "{name}"')
        assert ("differs only in" in answer) is (name != "Paris")


def test_a_misspelled_fleet_or_address_is_answered_with_a_question() -> None:
    fleet = FleetByName("Parris vans")
    said = reason(resolver.resolve_fleets([fleet], WHOLE.fleets)[fleet])
    assert said == 'no fleet is named "Parris vans" (did you mean "Paris vans"?)'
    driver = DriverByEmail("alicee@example.com")
    whole = dataclasses.replace(WHOLE, similar={driver: ("alice@example.com",)})
    said = reason(resolver.resolve_driver(driver, whole))
    assert said == "no driver has the e-mail address alicee@example.com (did you mean alice@example.com?)"


def test_an_ambiguity_names_who_is_not_active() -> None:
    """Which of the two is meant is often the one who still drives."""
    whole = dataclasses.replace(WHOLE, statuses={F: "suspended"})
    said = reason(resolver.resolve_driver(DriverByMetadata("depot", "Lyon"), whole))
    assert said == f"2 drivers have the metadata depot=Lyon ({E}, {F} is suspended): use the id"


def test_a_driver_whose_object_is_malformed_is_neither_present_nor_absent() -> None:
    whole = worlds.seen({A: []}, directory_complete=True)
    part = dataclasses.replace(whole, unreadable=frozenset({B}))
    assert "cannot be read: Charge sends an object that is malformed" in reason(
        resolver.resolve_driver(DriverById(B), part)
    )
    said = reason(resolver.resolve_driver(DriverByEmail("b@example.com"), part))
    assert said == "no driver has the e-mail address b@example.com, but not every driver can be read (unreadable: 1)"
    assert "can be read" not in reason(resolver.resolve_driver(DriverByEmail("b@example.com"), whole))
