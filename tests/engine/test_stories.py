"""What went wrong in tools that do this job elsewhere, and does not here: each story of one run has its test.

The stories that concern documents, settings or several runs are told in their own folders.
"""

import dataclasses
from typing import Any

import httpx
import pytest

from tests.support import doubles
from tests.support import rig as rigs
from tests.support import sandbox as support
from tests.support.rig import DEPOT, NORTH, VANS
from worker.core import values
from worker.core.model.errors import SourceError
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard
from worker.engine import survey
from worker.sandbox import behaviour, faults, messages, roster

pytestmark = pytest.mark.anyio

DRIVERS = [values.DriverId(f"drv_{number:032d}") for number in range(40)]
IN_VANS, IN_DEPOT = DRIVERS[:30], DRIVERS[30:]
DEFAULT = guard.Limits()


def _account(**options: Any) -> rigs.Rig:
    """Thirty drivers in one fleet, ten in another, under the guard's defaults, beside a crowd that is unmanaged."""
    held = rigs.roster_of({VANS: IN_VANS, DEPOT: IN_DEPOT, NORTH: DRIVERS[:3]})
    crowd = held.add_fleet(name="Crowd")
    for number in range(500):
        held.add_driver(email=f"c{number}@example.com", fleets=[crowd])
    everything: dict[str, Any] = {"limits": DEFAULT, "page_size": 10} | options
    return rigs.Rig(held, **everything)


async def _unharmed(rig: rigs.Rig, wanted: rigs.Wanted) -> Report:
    """Do a run that may detach nobody."""
    before = rig.roster.memberships()
    finished = await rig.reconcile(wanted)
    assert before <= rig.roster.memberships()
    assert not rig.requests("/detach")
    return finished


async def test_a_skewed_config_removed_people_from_teams() -> None:
    """kubernetes/org 4365: limits on single fleets and on the whole run, and additive mode as a switch."""
    finished = await _unharmed(_account(), {VANS: IN_VANS[:20], DEPOT: IN_DEPOT})
    assert finished.exit_code == 3
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} == {guard.PER_FLEET}
    finished = await _unharmed(_account(), {VANS: IN_VANS[:-5], DEPOT: IN_DEPOT[:-2]})
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} == {guard.PER_RUN}
    finished = await _unharmed(_account(mode=values.Mode.ADDITIVE), {VANS: IN_VANS[:1], DEPOT: []})
    assert finished.exit_code == 0


@pytest.mark.parametrize("beside", [0, 1])
async def test_an_empty_or_lost_source_deleted_everybody(beside: int) -> None:
    """awslabs/ssosync 194, cf-mgmt 121: a source error ends the run, however good the other sources are."""
    rig = _account()
    sources = [doubles.Source({VANS: IN_VANS})] * beside + [doubles.BrokenSource()]
    finished = await rig.cycle(*sources).reconcile(trigger="test")
    assert isinstance(finished.error, SourceError)
    assert (finished.exit_code, rig.sandbox.requests) == (1, [])


@pytest.mark.parametrize("name", ["503", "500", "html", "html_200", "reset_before", "truncated", "hang"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_failed_page_deleted_those_who_were_not_fetched(name: str, later: bool) -> None:
    """Ssosync 234: a failed page voids the listing."""

    def script(request: messages.Request) -> str | None:
        about = request.route == "drivers" and request.query.get("fleet") == VANS
        return name if about and ("page" in request.query) is later else None

    rig = _account(faults=faults.Faults(script=script), timeout=1, limits=rigs.LENIENT)
    finished = await _unharmed(rig, {VANS: IN_VANS[:-1], DEPOT: [*IN_DEPOT, IN_VANS[0]]})
    assert (finished.exit_code, finished.counts["applied"]) == (4, 1)
    assert finished.guarded is not None
    assert VANS in {problem.where for problem in finished.guarded.problems}


async def test_a_503_on_one_lookup_deleted_that_user() -> None:
    """Ssosync 278: present, absent and unknown are three things."""
    rig = _account(limits=rigs.LENIENT)
    newcomer = rig.roster.add_driver(id=rigs.driver_id("N"))
    rig.sandbox.faults = faults.Faults(script=lambda request: "503" if request.path.endswith(newcomer) else None)
    finished = await _unharmed(rig, {VANS: [*IN_VANS[1:], newcomer], DEPOT: IN_DEPOT})
    assert finished.exit_code == 4
    assert finished.guarded is not None
    assert any("could not be read" in problem.message for problem in finished.guarded.problems)


@pytest.mark.parametrize("shown", [0, 5, 10])
async def test_a_200_with_data_missing_was_read_as_deleted(shown: int) -> None:
    """Firezone 9194, and lists silently capped: `total_drivers` contradicts such a list, so nobody is detached."""

    def cap(request: httpx.Request, answer: Any) -> object | None:
        if request.url.params.get("fleet") != VANS:
            return None
        return {**answer, "data": answer["data"][:shown], "next_page_url": None}

    rig = _account(limits=rigs.LENIENT)
    rig = rigs.Rig(rig.roster, page_size=10, transport=lambda: doubles.Meddler(support.transport(rig.sandbox), cap))
    finished = await _unharmed(rig, {VANS: IN_VANS[5:], DEPOT: IN_DEPOT})
    assert finished.exit_code == 4


@pytest.mark.parametrize("conduct", [behaviour.Behaviour(page_cap=5), behaviour.Behaviour(total_drivers_offset=4)])
async def test_lists_were_silently_capped(conduct: behaviour.Behaviour) -> None:
    """terraform-provider-github 701, -okta 944."""
    rig = _account(behaviour=conduct, limits=rigs.LENIENT)
    wanted = {VANS: IN_VANS[1:], DEPOT: IN_DEPOT}
    finished = await _unharmed(rig, wanted)
    assert finished.exit_code in (1, 4)


async def test_page_tokens_went_in_circles() -> None:
    """Fleetdm/fleet 49365."""
    rig = _account(limits=rigs.LENIENT)
    rig.sandbox.faults = faults.Faults(script=lambda request: "loop" if request.query.get("fleet") == VANS else None)
    finished = await _unharmed(rig, {VANS: IN_VANS[1:], DEPOT: IN_DEPOT})
    assert finished.exit_code == 4
    assert len(rig.sandbox.requests) < 100


async def test_a_filter_changed_its_meaning_overnight_and_owners_were_removed() -> None:
    """GAM 673: a sentinel that is not seen in its fleet means that the reading is wrong."""
    sentinel = frozenset({(IN_DEPOT[0], DEPOT)})
    rig = _account(limits=guard.Limits(1.0, 1.0, 100, True, sentinel))
    rig.roster.detach(IN_DEPOT[0], DEPOT)
    finished = await _unharmed(rig, {VANS: IN_VANS[1:], DEPOT: IN_DEPOT[1:]})
    assert finished.exit_code == 3
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} == {guard.MUST_SEE}
    approved = await rig.reconcile({VANS: IN_VANS[1:], DEPOT: IN_DEPOT[1:]}, approved=finished.guarded.digest)
    assert (approved.exit_code, rig.requests("/detach")) == (3, [])


async def test_a_spreadsheet_turned_the_ids_into_others() -> None:
    """GAMADV-XTD3 177: many unknown ids at once hold the run."""
    rig = _account(limits=DEFAULT)
    garbled = [values.DriverId(f"drv_{number:031d}E") for number in range(10)]
    finished = await _unharmed(rig, {VANS: [*IN_VANS[10:], *garbled], DEPOT: IN_DEPOT})
    assert finished.error is not None
    assert (finished.exit_code, finished.error.code, rig.writes) == (1, "too_many_unresolved", [])


async def test_an_attribute_was_written_but_never_read_back() -> None:
    """Ssosync 329: what a fresh reading does not show is said loudly, not written for ever in silence."""

    def forget(request: httpx.Request, shown: Any) -> object | None:
        return None if request.method == "POST" or "fleets" not in shown else {**shown, "fleets": []}

    rig = rigs.Rig(_account().roster, transport=lambda: doubles.Meddler(support.transport(rig.sandbox), forget))
    finished = await rig.reconcile({DEPOT: [*IN_DEPOT, DRIVERS[0]]})
    assert (finished.exit_code, finished.counts["unknown"]) == (4, 1)
    assert "a fresh reading does not show them" in finished.problems[0].message
    for limits in (DEFAULT, rigs.LENIENT):
        rig = _account(limits=limits)
        await rig.reconcile({DEPOT: [*IN_DEPOT, DRIVERS[0]]})
        survey = await rig.surveyor(doubles.Source({DEPOT: [*IN_DEPOT, DRIVERS[0]]})).survey()
        assert survey.guarded.changes == ()


async def test_one_renamed_e_mail_aborted_every_run() -> None:
    """Ssosync 353: each reference stands alone; only its own fleet's detaches wait."""
    rig = _account(limits=rigs.LENIENT)
    finished = await rig.reconcile(
        {VANS: [*IN_VANS[2:], "renamed@example.com", IN_DEPOT[0]], DEPOT: [*IN_DEPOT[1:], DRIVERS[0]]}
    )
    assert finished.exit_code == 4
    assert rig.roster.members(VANS) == {*IN_VANS, IN_DEPOT[0]}
    assert rig.roster.members(DEPOT) == {*IN_DEPOT[1:], DRIVERS[0]}


async def test_an_address_that_changes_while_its_driver_moves_leaves_nobody_without_a_fleet() -> None:
    """The journal knows whom it led to: unknown is not absent."""
    rig = rigs.Rig(rigs.roster_of({VANS: IN_VANS, DEPOT: IN_DEPOT}))
    alice = rig.roster.add_driver(email="alice@example.com", fleets=[VANS])
    assert (await rig.reconcile({VANS: [*IN_VANS, "alice@example.com"], DEPOT: IN_DEPOT})).exit_code == 0
    rig.roster.drivers[alice] = dataclasses.replace(rig.roster.drivers[alice], email="alice.new@example.com")
    finished = await rig.reconcile({VANS: IN_VANS[1:], DEPOT: [*IN_DEPOT, "alice@example.com"]})
    assert finished.exit_code == 4
    assert finished.guarded is not None
    assert f"it led to {alice} before" in finished.guarded.problems[0].message
    assert rig.roster.members(VANS) == {*IN_VANS[1:], alice}


async def test_moving_ownership_made_a_tool_delete_what_was_anothers() -> None:
    """external-dns 5993: managed fleets only."""
    rig = _account(limits=rigs.LENIENT)
    crowd = rig.roster.members(NORTH)
    await rig.reconcile({VANS: [], DEPOT: IN_DEPOT})
    assert rig.roster.members(VANS) == frozenset()
    assert rig.roster.members(NORTH) == crowd


@pytest.mark.parametrize("wanted", [{VANS: [], DEPOT: IN_DEPOT}, {VANS: [], DEPOT: []}, {VANS: IN_DEPOT[:1]}])
async def test_turning_the_sync_on_emptied_all_groups(wanted: rigs.Wanted) -> None:
    """DefGuard 2833: the guard holds from the first run, and `export` gives what is to start from."""
    rig = _account()
    finished = await _unharmed(rig, wanted)
    assert finished.exit_code == 3
    actual = await rig.surveyor().export()
    exported: dict[str, list[str]] = {fleet: [] for fleet in actual.fleets}
    for driver, fleets in actual.memberships.items():
        for fleet in fleets:
            exported[fleet].append(driver)
    assert (await rig.reconcile(exported)).result is RunResult.IN_SYNC


async def test_the_guard_judged_something_else_than_what_was_applied() -> None:
    """peribolos, octoDNS: one immutable plan feeds guard, output, journal and applier."""
    shown: list[survey.Survey] = []
    rig = _account()
    wanted = {VANS: [*IN_VANS[1:], IN_DEPOT[0]], DEPOT: IN_DEPOT[:5]}
    finished = await rig.cycle(doubles.Source(wanted), show=shown.append).reconcile(trigger="test")
    guarded = shown[0].guarded
    assert guarded is finished.guarded is rig.memory.plans[finished.run]
    assert tuple(result.change for result in finished.results) == guarded.changes
    made = {(effect.action, effect.driver, effect.fleet) for effect in rig.roster.effects}
    assert made == {(change.action.value, change.driver, change.fleet) for change in guarded.changes}
    assert made.isdisjoint((each.change.action.value, each.change.driver, each.change.fleet) for each in guarded.held)


async def test_attach_manual_detach_and_attach_again_within_a_day_changed_nothing() -> None:
    """A key derived from driver and fleet replays the first answer; a key of one intent does not."""
    rig = _account()
    wanted = {DEPOT: [*IN_DEPOT, DRIVERS[0]]}
    for _ in range(3):
        finished = await rig.reconcile(wanted)
        assert (finished.exit_code, finished.counts["applied"]) == (0, 1)
        assert DRIVERS[0] in rig.roster.members(DEPOT)
        rig.roster.detach(DRIVERS[0], DEPOT)
    assert len({request.key for request in rig.sandbox.requests if request.key}) == 3


async def test_a_503_storm_left_an_unmanaged_crowd_alone() -> None:
    """Whatever the weather: who is not in a managed fleet is never written to."""
    rig = _account(faults=faults.Faults({"503": 0.3, "truncated": 0.2}), limits=rigs.LENIENT)
    await rig.reconcile({VANS: IN_VANS[3:], DEPOT: IN_DEPOT})
    written = {line.split("/")[2] for line in rig.writes}
    assert written <= {*IN_VANS, *IN_DEPOT}


def test_the_account_of_the_stories_is_as_large_as_they_say() -> None:
    held: roster.Roster = rigs.roster_of({VANS: IN_VANS, DEPOT: IN_DEPOT})
    assert (held.count(VANS), held.count(DEPOT)) == (30, 10)
