"""The planner, by what went wrong in similar projects."""

import dataclasses

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C, D, pairs, plan_of
from worker.core.model.actual import Actual
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetRef,
    Mode,
)
from worker.core.model.plan import Action
from worker.core.model.problem import Problem
from worker.core.planning import merge_sources

ATTACH, DETACH = Action.ATTACH, Action.DETACH


def test_an_account_that_reads_as_empty_deletes_nobody_and_creates_nobody() -> None:
    """As in ssosync 194: an empty read deleted every user and group."""
    readings = worlds.wish(worlds.by_id(VANS, A, B))
    plan = plan_of(readings, Actual(fleets={}, memberships={}, directory_complete=True))
    assert plan.changes == ()
    assert plan.unresolved == plan.references == 3


def test_a_fleet_whose_pages_failed_with_503_loses_nobody_while_others_are_kept() -> None:
    """As in ssosync 234: some groups were fetched, the others deleted."""
    readings = worlds.wish(worlds.by_id(VANS, A) | worlds.by_id(DEPOT, A))
    plan = plan_of(readings, worlds.seen({A: [VANS], B: [VANS, DEPOT]}, incomplete=[VANS]))
    assert pairs(plan, DETACH) == {(B, DEPOT)}
    assert pairs(plan, ATTACH) == {(A, DEPOT)}
    assert plan.problems == (
        Problem(VANS, "a page could not be read; no driver is detached from this fleet in this run"),
    )


def test_a_503_on_the_lookup_of_one_driver_detaches_nobody_from_its_fleet() -> None:
    """As in ssosync 278: that driver was deleted. Present, absent and unknown are three things."""
    readings = worlds.wish(worlds.by_id(VANS, A, B))
    unknown = plan_of(readings, worlds.seen({A: [VANS], C: [VANS]}))
    absent = plan_of(readings, worlds.seen({A: [VANS], C: [VANS]}, absent=[B]))
    assert unknown.changes == absent.changes == ()
    assert "it is not known whether it exists; no driver is detached" in unknown.problems[0].message
    assert "does not exist in this account; no driver is detached" in absent.problems[0].message


def test_a_directory_that_cannot_be_reached_removes_nobody_from_anything() -> None:
    """As in cf-mgmt 121: everyone was removed from everything."""
    readings = worlds.wish({FleetById(VANS): [DriverByEmail("a@example.com")]})
    plan = plan_of(readings, worlds.seen({A: [VANS], B: [VANS]}, directory_complete=False))
    assert plan.changes == ()
    assert "the list of all drivers is incomplete" in plan.problems[0].message


def test_one_renamed_address_stops_neither_the_other_rows_nor_the_other_fleets() -> None:
    """As in ssosync 353: it aborted every run for two and a half days."""
    renamed = DriverByEmail("nobody@example.com")
    wishes: dict[FleetRef, list[DriverRef]] = {
        FleetById(VANS): [renamed, DriverById(A)],
        FleetById(DEPOT): [],
    }
    plan = plan_of(worlds.wish(wishes), worlds.seen({A: [], B: [VANS], C: [DEPOT]}, directory_complete=True))
    assert pairs(plan, ATTACH) == {(A, VANS)}
    assert pairs(plan, DETACH) == {(C, DEPOT)}
    assert [problem.where for problem in plan.problems] == ["membership.yaml:101:5"]


def test_a_member_of_another_tools_fleet_is_left_where_he_is() -> None:
    """As in external-dns 5993: a change of ownership made it want to delete another's records."""
    plan = plan_of(worlds.wish(worlds.by_id(VANS, A)), worlds.seen({A: [NORTH], B: [NORTH, VANS]}))
    assert pairs(plan, ATTACH) == {(A, VANS)}
    assert pairs(plan, DETACH) == {(B, VANS)}


def test_turning_the_sync_on_with_one_fleet_leaves_all_others_alone() -> None:
    """DefGuard 2833: turning it on for the first time emptied all groups."""
    actual = worlds.seen({A: [VANS, DEPOT, NORTH], B: [DEPOT], C: [NORTH]})
    assert plan_of(worlds.wish(worlds.by_id(VANS, A)), actual).changes == ()


def test_additive_is_a_switch_that_no_skewed_document_gets_past() -> None:
    """As in kubernetes/org 4365: a skewed configuration removed people, and a flag had to be patched in."""
    plan = plan_of(worlds.wish(worlds.by_id(VANS, D)), worlds.seen({A: [VANS], D: []}), Mode.ADDITIVE)
    assert pairs(plan, DETACH) == set()
    assert pairs(plan, ATTACH) == {(D, VANS)}


def test_a_driver_who_moves_to_a_fleet_that_is_not_found_stays_in_the_old_one() -> None:
    """Otherwise a mistyped name would leave the driver in no fleet."""
    wishes: dict[FleetRef, list[DriverRef]] = {
        FleetByName("Nowhere"): [DriverById(A)],
        FleetById(VANS): [DriverById(B)],
    }
    plan = plan_of(worlds.wish(wishes), worlds.seen({A: [VANS], B: [VANS], C: [VANS]}))
    assert pairs(plan, DETACH) == {(C, VANS)}
    assert plan.problems == (
        Problem(
            "membership.yaml:100:1",
            'no fleet is named "Nowhere"; its drivers are not attached to it and not detached from any other fleet',
        ),
    )


def test_a_driver_who_may_be_meant_by_an_ambiguous_reference_stays_where_he_is() -> None:
    """Otherwise a driver who moves by an ambiguous reference would end up in no fleet."""
    wishes: dict[FleetRef, list[DriverRef]] = {
        FleetById(DEPOT): [DriverByMetadata("depot", "Lyon")],
        FleetById(VANS): [],
    }
    several = {("depot", "Lyon"): (A, B)}
    actual = worlds.seen({A: [VANS], B: [NORTH], C: [VANS]}, directory_complete=True)
    plan = plan_of(worlds.wish(wishes), dataclasses.replace(actual, metadata=several))
    assert pairs(plan, DETACH) == {(C, VANS)}
    assert pairs(plan, ATTACH) == set()


def test_a_driver_whose_address_changes_as_he_moves_stays_where_he_was() -> None:
    """Otherwise the driver that the old address resolved to would end up in no fleet: unknown is not absent."""
    wishes: dict[FleetRef, list[DriverRef]] = {
        FleetById(DEPOT): [DriverByEmail("nobody@example.com")],
        FleetById(VANS): [DriverById(B)],
    }
    world = worlds.World(
        worlds.wish(wishes), worlds.seen({A: [VANS], B: [VANS], C: [VANS]}, directory_complete=True), Mode.EXACT
    )
    assert pairs(world.plan(), DETACH) == {(A, VANS), (C, VANS)}
    plan = dataclasses.replace(world, remembered={"nobody@example.com": A}).plan()
    assert pairs(plan, DETACH) == {(C, VANS)}
    assert plan.problems == (
        Problem(
            "membership.yaml:101:5",
            f"no driver has the e-mail address nobody@example.com (it resolved to {A} before); no driver is"
            f" detached from fleet {DEPOT} until this is fixed, and the drivers that it may mean are not detached from"
            " any fleet",
        ),
    )


def test_neither_driver_nor_fleet_found_is_said_at_both_places() -> None:
    wishes: dict[FleetRef, list[DriverRef]] = {
        FleetByName("Nowhere"): [DriverById(worlds.GHOST)],
        FleetById(VANS): [DriverById(A)],
    }
    plan = plan_of(worlds.wish(wishes), worlds.seen({A: [VANS], B: [VANS]}, absent=[worlds.GHOST]))
    assert [problem.where for problem in plan.problems] == ["membership.yaml:100:1", "membership.yaml:101:5"]
    assert pairs(plan, DETACH) == {(B, VANS)}


def test_sources_add_up_so_that_whom_one_leaves_out_another_keeps() -> None:
    one, other = worlds.wish(worlds.by_id(VANS, A)), worlds.wish(worlds.by_id(VANS, B))
    plan = plan_of((*one, *other), worlds.seen({A: [VANS], B: [VANS], C: [VANS]}))
    assert pairs(plan, DETACH) == {(C, VANS)}


def test_combining_keeps_every_source_and_fleet() -> None:
    one, other = worlds.wish(worlds.by_id(VANS, A)), worlds.wish(worlds.by_id(DEPOT, A))
    total = merge_sources.merge((*one, *other))
    assert total.sources == (one[0].source, other[0].source)
    assert [entry.fleet for entry in total.fleets] == [FleetById(VANS), FleetById(DEPOT)]
