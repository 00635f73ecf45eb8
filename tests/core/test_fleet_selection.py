"""Choosing fleets for `--fleet`, and what is left of a plan: laws over guarded plans."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS
from tests.support import doubles
from worker.core.model.actual import Fleet
from worker.core.model.desired import FleetById, FleetByName
from worker.core.model.errors import UnknownFleet
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.safety import attach_first, fleet_selection, guard

KNOWN = {
    VANS: Fleet(VANS, "Paris vans"),
    DEPOT: Fleet(DEPOT, "Twins"),
    NORTH: Fleet(NORTH, "Twins"),
}
CHANGES = st.lists(
    st.builds(Change, st.sampled_from(Action), st.sampled_from(worlds.DRIVERS), st.sampled_from(worlds.FLEETS)),
    unique_by=lambda change: (change.driver, change.fleet),
)


def _suggest(written: str, names: object) -> str:
    return f" ({written}?)"


def test_a_managed_fleet_is_chosen_by_id_or_exact_name() -> None:
    for reference in (FleetById(VANS), FleetByName("Paris vans")):
        assert fleet_selection.resolve([reference], KNOWN, KNOWN, suggest=_suggest) == {VANS}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (FleetById(VANS), f"--fleet {VANS}: no source lists this fleet ({VANS}?)"),
        (FleetByName("paris vans"), '--fleet "paris vans": no source lists this fleet (paris vans?)'),
        (FleetByName("Twins"), '--fleet "Twins": several fleets in the sources have this name'),
    ],
)
def test_any_other_is_an_error(reference: FleetById | FleetByName, message: str) -> None:
    with pytest.raises(UnknownFleet) as caught:
        fleet_selection.resolve([reference], {DEPOT, NORTH}, KNOWN, suggest=_suggest)
    assert caught.value.message == message


@given(CHANGES, CHANGES, st.frozensets(st.sampled_from(worlds.FLEETS)), st.booleans())
def test_what_is_left_and_what_is_left_out_are_the_whole_plan(
    allowed: list[Change], held: list[Change], fleets: frozenset[object], approve: bool
) -> None:
    held = [change for change in held if change not in allowed]
    guards = (guard.PER_RUN, guard.MUST_SEE)
    whole = dataclasses.replace(
        doubles.guarded(sorted(allowed, key=lambda change: change.order)),
        held=tuple(HeldChange(change, guards[at % 2], "") for at, change in enumerate(held)),
    )
    chosen = frozenset(fleet for fleet in worlds.FLEETS if fleet in fleets)
    plain, left_out = fleet_selection.narrow(whole, chosen, approvals=frozenset())
    kept = {*plain.changes, *(hold.change for hold in plain.held)}
    assert kept | left_out == {*allowed, *held} and not kept & left_out
    assert all((change.fleet in chosen) is (change in kept) for change in {*allowed, *held})
    waiting = bool(attach_first.dependent_detaches(plain.changes, left_out))
    assert [problem.where for problem in plain.problems] == ["--fleet"] * (bool(left_out) + waiting)
    approvals = frozenset({plain.held_digest}) if approve else frozenset()
    narrowed, _ = fleet_selection.narrow(whole, chosen, approvals=approvals)
    freed = {hold.change for hold in plain.held} - {hold.change for hold in narrowed.held}
    assert freed == {hold.change for hold in plain.held if approve and hold.guard != guard.MUST_SEE}
    assert freed == set(narrowed.changes) - set(plain.changes) == {hold.change for hold in narrowed.approved}
    assert list(narrowed.changes) == sorted(narrowed.changes, key=lambda change: change.order)
