"""Scope: a fleet that vanishes from the sources is noticed, whatever its references do."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS
from worker.core.model.desired import Desired, FleetById, FleetByName, FleetEntry, FleetRef, Origin
from worker.core.model.identifiers import FleetId, Resolutions
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.problem import ProblemCode
from worker.core.planning import vanished_fleets

WAS_VANS, IS_DEPOT = {'"Vans"': VANS}, {'"Vans"': DEPOT}
HERE = Origin("membership.yaml", 1, 1)


def _vanished(
    *references: FleetRef,
    managed: set[FleetId],
    before: set[FleetId],
    remembered: Resolutions | None = None,
    resolved: Resolutions | None = None,
    changed: FleetId | None = None,
) -> frozenset[FleetId]:
    desired = Desired((), tuple(FleetEntry(reference, HERE) for reference in references), ())
    changes = (Change(Action.ATTACH, worlds.A, changed),) if changed else ()
    members = dict.fromkeys(managed, 0)
    plan = Plan(changes, (), members=members, in_sync=0, drivers=0, resolutions=resolved or {})
    return vanished_fleets.vanished(desired, plan, before=before, remembered=remembered or {})


def test_a_fleet_that_no_source_names_any_more_has_vanished() -> None:
    assert _vanished(FleetById(VANS), managed={VANS}, before={VANS, DEPOT}) == {DEPOT}
    assert _vanished(FleetById(VANS), managed={VANS}, before=set()) == frozenset()


def test_a_fleet_that_charge_no_longer_has_is_still_named() -> None:
    assert _vanished(FleetById(VANS), managed=set(), before={VANS}) == frozenset()


def test_a_name_that_matches_nothing_still_names_the_fleet_of_before() -> None:
    """That is a problem of its own."""
    assert _vanished(FleetByName("Vans"), managed=set(), before={VANS}, remembered=WAS_VANS) == frozenset()


@pytest.mark.parametrize("changed", [VANS, DEPOT])
def test_a_name_of_another_fleet_names_the_fleet_of_before_while_changes_of_either_are_held(changed: FleetId) -> None:
    moved = functools.partial(_vanished, FleetByName("Vans"), managed={DEPOT}, before={VANS}, resolved=IS_DEPOT)
    assert moved(remembered=WAS_VANS, changed=changed) == frozenset()
    assert moved(remembered=WAS_VANS, changed=NORTH) == {VANS}
    assert moved(remembered=WAS_VANS) == {VANS}
    assert moved(remembered=IS_DEPOT, changed=changed) == {VANS}


@given(
    managed=st.frozensets(st.sampled_from(worlds.FLEETS)),
    before=st.frozensets(st.sampled_from(worlds.FLEETS)),
)
def test_exactly_what_was_managed_before_and_is_not_now_has_vanished(
    managed: frozenset[FleetId], before: frozenset[FleetId]
) -> None:
    found = _vanished(*map(FleetById, managed), managed=set(managed), before=set(before))
    assert found == before - managed


def test_a_fleet_is_unmanaged_by_its_id_or_exact_name() -> None:
    unmanaged: list[FleetRef] = [FleetById(VANS), FleetByName("North")]
    assert vanished_fleets.is_unmanaged(VANS, "", unmanaged)
    assert vanished_fleets.is_unmanaged(NORTH, "North", unmanaged)
    assert not vanished_fleets.is_unmanaged(NORTH, "north", unmanaged)
    assert not vanished_fleets.is_unmanaged(DEPOT, "", unmanaged)
    assert not vanished_fleets.is_unmanaged(DEPOT, VANS, unmanaged)


def test_a_vanished_fleet_is_named_with_what_to_do() -> None:
    named, unnamed = vanished_fleets.problems([DEPOT, NORTH], {DEPOT: "Depot Lyon", NORTH: ""})
    assert (named.where, named.code, named.note) == (DEPOT, ProblemCode.SCOPE_SHRANK, False)
    assert named.message.startswith('fleet "Depot Lyon" was managed in an earlier run, but no source names it any more')
    assert "add it to unmanaged in the section [guard]" in named.message
    assert unnamed.message.startswith("this fleet was managed")
