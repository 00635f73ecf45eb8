"""What went wrong in tools that do this job elsewhere, and does not here: each story of one run has its test.

The stories that concern documents, settings or several runs are told in their own folders.
"""

import dataclasses
from typing import Any

import httpx
import pytest

from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS
from worker.core.model.desired import Mode
from worker.core.model.errors import SourceError
from worker.core.model.identifiers import DriverId
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard
from worker.engine import plan_builder
from worker.sandbox import faults, http_types, quirks, state

pytestmark = pytest.mark.anyio

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(40)]
IN_VANS, IN_DEPOT = DRIVERS[:30], DRIVERS[30:]
DEFAULT = guard.Limits()


def _account(**options: Any) -> harness.Harness:
    """Thirty drivers in one fleet, ten in another, under the guard's defaults, beside a crowd that is unmanaged."""
    held = harness.state_of({VANS: IN_VANS, DEPOT: IN_DEPOT, NORTH: DRIVERS[:3]})
    crowd = held.add_fleet(name="Crowd")
    for number in range(500):
        held.add_driver(email=f"c{number}@example.com", fleets=[crowd])
    everything: dict[str, Any] = {"limits": DEFAULT, "page_size": 10} | options
    return harness.Harness(held, **everything)


async def _unharmed(account_harness: harness.Harness, wanted: harness.Wanted) -> Report:
    """Do a run that may detach nobody."""
    before = account_harness.state.memberships()
    finished = await account_harness.reconcile(wanted)
    assert before <= account_harness.state.memberships()
    assert not account_harness.requests("/detach")
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
    finished = await _unharmed(_account(mode=Mode.ADDITIVE), {VANS: IN_VANS[:1], DEPOT: []})
    assert finished.exit_code == 0


@pytest.mark.parametrize("beside", [0, 1])
async def test_an_empty_or_lost_source_deleted_everybody(beside: int) -> None:
    """awslabs/ssosync 194, cf-mgmt 121: a source error ends the run, however good the other sources are."""
    account_harness = _account()
    sources = [doubles.Source({VANS: IN_VANS})] * beside + [doubles.BrokenSource()]
    finished = await account_harness.new_reconciler(*sources).reconcile(trigger="test")
    assert isinstance(finished.error, SourceError)
    assert (finished.exit_code, account_harness.sandbox.requests) == (1, [])


@pytest.mark.parametrize("name", ["503", "500", "html", "html_200", "reset_before", "truncated", "hang"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_failed_page_deleted_those_who_were_not_fetched(name: str, later: bool) -> None:
    """Ssosync 234: a failed page voids the listing."""

    def script(request: http_types.Request) -> str | None:
        about = request.route == "drivers" and request.query.get("fleet") == VANS
        return name if about and ("page" in request.query) is later else None

    account_harness = _account(faults=faults.Faults(script=script), timeout=1, limits=harness.LENIENT)
    finished = await _unharmed(account_harness, {VANS: IN_VANS[:-1], DEPOT: [*IN_DEPOT, IN_VANS[0]]})
    assert (finished.exit_code, finished.counts["applied"]) == (4, 1)
    assert finished.guarded is not None
    assert VANS in {problem.where for problem in finished.guarded.problems}


async def test_a_503_on_one_lookup_deleted_that_user() -> None:
    """Ssosync 278: present, absent and unknown are three things."""
    account_harness = _account(limits=harness.LENIENT)
    newcomer = account_harness.state.add_driver(id=harness.driver_id("N"))
    account_harness.sandbox.faults = faults.Faults(
        script=lambda request: "503" if request.path.endswith(newcomer) else None
    )
    finished = await _unharmed(account_harness, {VANS: [*IN_VANS[1:], newcomer], DEPOT: IN_DEPOT})
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

    account_harness = _account(limits=harness.LENIENT)
    account_harness = harness.Harness(
        account_harness.state,
        page_size=10,
        new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), cap),
    )
    finished = await _unharmed(account_harness, {VANS: IN_VANS[5:], DEPOT: IN_DEPOT})
    assert finished.exit_code == 4


@pytest.mark.parametrize("conduct", [quirks.Quirks(page_cap=5), quirks.Quirks(total_drivers_offset=4)])
async def test_lists_were_silently_capped(conduct: quirks.Quirks) -> None:
    """terraform-provider-github 701, -okta 944."""
    account_harness = _account(quirks=conduct, limits=harness.LENIENT)
    wanted = {VANS: IN_VANS[1:], DEPOT: IN_DEPOT}
    finished = await _unharmed(account_harness, wanted)
    assert finished.exit_code in (1, 4)


async def test_page_tokens_went_in_circles() -> None:
    """Fleetdm/fleet 49365."""
    account_harness = _account(limits=harness.LENIENT)
    account_harness.sandbox.faults = faults.Faults(
        script=lambda request: "loop" if request.query.get("fleet") == VANS else None
    )
    finished = await _unharmed(account_harness, {VANS: IN_VANS[1:], DEPOT: IN_DEPOT})
    assert finished.exit_code == 4
    assert len(account_harness.sandbox.requests) < 100


async def test_a_filter_changed_its_meaning_overnight_and_owners_were_removed() -> None:
    """GAM 673: a sentinel that is not seen in its fleet means that the reading is wrong."""
    sentinel = frozenset({(IN_DEPOT[0], DEPOT)})
    account_harness = _account(limits=guard.Limits(1.0, 1.0, 100, True, sentinel))
    account_harness.state.detach(IN_DEPOT[0], DEPOT)
    finished = await _unharmed(account_harness, {VANS: IN_VANS[1:], DEPOT: IN_DEPOT[1:]})
    assert finished.exit_code == 3
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} == {guard.MUST_SEE}
    approved = await account_harness.reconcile(
        {VANS: IN_VANS[1:], DEPOT: IN_DEPOT[1:]}, approved=finished.guarded.held_digest
    )
    assert (approved.exit_code, account_harness.requests("/detach")) == (3, [])


async def test_a_spreadsheet_turned_the_ids_into_others() -> None:
    """GAMADV-XTD3 177: many unknown ids at once hold the run."""
    account_harness = _account(limits=DEFAULT)
    garbled = [DriverId(f"drv_{number:031d}E") for number in range(10)]
    finished = await _unharmed(account_harness, {VANS: [*IN_VANS[10:], *garbled], DEPOT: IN_DEPOT})
    assert finished.error is not None
    assert (finished.exit_code, finished.error.code, account_harness.writes) == (1, "too_many_unresolved", [])


async def test_an_attribute_was_written_but_never_read_back() -> None:
    """Ssosync 329: what a fresh reading does not show is said loudly, not written forever in silence."""

    def forget(request: httpx.Request, shown: Any) -> object | None:
        return None if request.method == "POST" or "fleets" not in shown else {**shown, "fleets": []}

    account_harness = harness.Harness(
        _account().state,
        new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), forget),
    )
    finished = await account_harness.reconcile({DEPOT: [*IN_DEPOT, DRIVERS[0]]})
    assert (finished.exit_code, finished.counts["unknown"]) == (4, 1)
    assert "no reading shows them" in finished.problems[0].message
    for limits in (DEFAULT, harness.LENIENT):
        account_harness = _account(limits=limits)
        await account_harness.reconcile({DEPOT: [*IN_DEPOT, DRIVERS[0]]})
        plan_result = await account_harness.new_plan_builder(doubles.Source({DEPOT: [*IN_DEPOT, DRIVERS[0]]})).build()
        assert plan_result.guarded.changes == ()


async def test_one_renamed_e_mail_aborted_every_run() -> None:
    """Ssosync 353: each reference stands alone; only its own fleet's detaches wait."""
    account_harness = _account(limits=harness.LENIENT)
    finished = await account_harness.reconcile(
        {VANS: [*IN_VANS[2:], "renamed@example.com", IN_DEPOT[0]], DEPOT: [*IN_DEPOT[1:], DRIVERS[0]]}
    )
    assert finished.exit_code == 4
    assert account_harness.state.members(VANS) == {*IN_VANS, IN_DEPOT[0]}
    assert account_harness.state.members(DEPOT) == {*IN_DEPOT[1:], DRIVERS[0]}


async def test_an_address_that_changes_while_its_driver_moves_leaves_nobody_without_a_fleet() -> None:
    """The journal knows whom it led to: unknown is not absent."""
    account_harness = harness.Harness(harness.state_of({VANS: IN_VANS, DEPOT: IN_DEPOT}))
    alice = account_harness.state.add_driver(email="alice@example.com", fleets=[VANS])
    assert (await account_harness.reconcile({VANS: [*IN_VANS, "alice@example.com"], DEPOT: IN_DEPOT})).exit_code == 0
    account_harness.state.drivers[alice] = dataclasses.replace(
        account_harness.state.drivers[alice], email="alice.new@example.com"
    )
    finished = await account_harness.reconcile({VANS: IN_VANS[1:], DEPOT: [*IN_DEPOT, "alice@example.com"]})
    assert finished.exit_code == 4
    assert finished.guarded is not None
    assert f"it resolved to {alice} before" in finished.guarded.problems[0].message
    assert account_harness.state.members(VANS) == {*IN_VANS[1:], alice}


async def test_two_fleets_that_exchange_names_attach_nobody_to_the_wrong_fleet() -> None:
    """Nor does an archived fleet whose name was given to a new one: both need an approval, once."""
    account_harness = harness.Harness(harness.state_of({VANS: IN_VANS, DEPOT: IN_DEPOT, NORTH: []}))
    wanted = {"Fleet V": IN_VANS, "Fleet W": IN_DEPOT}
    assert (await account_harness.reconcile(wanted)).result is RunResult.IN_SYNC
    account_harness.state.change_fleet(VANS, name="Fleet W")
    account_harness.state.change_fleet(DEPOT, name="Fleet V")
    digest = ""
    for _ in range(2):
        finished = await _unharmed(account_harness, wanted)
        assert finished.exit_code == 3
        assert finished.guarded is not None
        digest = finished.guarded.held_digest
        assert {each.guard for each in finished.guarded.held} == {guard.REFERENCE_MOVED}
    assert (await account_harness.reconcile(wanted, approved=digest)).exit_code == 0
    assert account_harness.state.members(VANS) == frozenset(IN_DEPOT)
    assert (await account_harness.reconcile(wanted)).result is RunResult.IN_SYNC


async def test_moving_ownership_made_a_tool_delete_what_was_anothers() -> None:
    """external-dns 5993: managed fleets only."""
    account_harness = _account(limits=harness.LENIENT)
    crowd = account_harness.state.members(NORTH)
    await account_harness.reconcile({VANS: [], DEPOT: IN_DEPOT})
    assert account_harness.state.members(VANS) == frozenset()
    assert account_harness.state.members(NORTH) == crowd


@pytest.mark.parametrize("wanted", [{VANS: [], DEPOT: IN_DEPOT}, {VANS: [], DEPOT: []}, {VANS: IN_DEPOT[:1]}])
async def test_turning_the_sync_on_emptied_all_groups(wanted: harness.Wanted) -> None:
    """DefGuard 2833: the guard holds from the first run, and `export` gives what is to start from."""
    account_harness = _account()
    finished = await _unharmed(account_harness, wanted)
    assert finished.exit_code == 3
    actual = await account_harness.new_plan_builder().export()
    exported: dict[str, list[str]] = {fleet: [] for fleet in actual.fleets}
    for driver, fleets in actual.memberships.items():
        for fleet in fleets:
            exported[fleet].append(driver)
    assert (await account_harness.reconcile(exported)).result is RunResult.IN_SYNC


async def test_the_guard_judged_something_else_than_what_was_applied() -> None:
    """peribolos, octoDNS: one immutable plan feeds guard, output, journal and applier."""
    shown: list[plan_builder.PlanResult] = []
    account_harness = _account()
    wanted = {VANS: [*IN_VANS[1:], IN_DEPOT[0]], DEPOT: IN_DEPOT[:5]}
    finished = await account_harness.new_reconciler(doubles.Source(wanted), show=shown.append).reconcile(trigger="test")
    guarded = shown[0].guarded
    assert guarded is finished.guarded is account_harness.memory.plans[finished.run]
    assert tuple(result.change for result in finished.results) == guarded.changes
    made = {(effect.action, effect.driver, effect.fleet) for effect in account_harness.state.effects}
    assert made == {(change.action.value, change.driver, change.fleet) for change in guarded.changes}
    assert made.isdisjoint((each.change.action.value, each.change.driver, each.change.fleet) for each in guarded.held)


async def test_attach_manual_detach_and_attach_again_within_a_day_changed_nothing() -> None:
    """A key derived from driver and fleet replays the first answer; a key of one intent does not."""
    account_harness = _account()
    wanted = {DEPOT: [*IN_DEPOT, DRIVERS[0]]}
    for _ in range(3):
        finished = await account_harness.reconcile(wanted)
        assert (finished.exit_code, finished.counts["applied"]) == (0, 1)
        assert DRIVERS[0] in account_harness.state.members(DEPOT)
        account_harness.state.detach(DRIVERS[0], DEPOT)
    assert len({request.key for request in account_harness.sandbox.requests if request.key}) == 3


async def test_a_503_storm_left_an_unmanaged_crowd_alone() -> None:
    """Whatever the weather: who is not in a managed fleet is never written to."""
    account_harness = _account(faults=faults.Faults({"503": 0.3, "truncated": 0.2}), limits=harness.LENIENT)
    await account_harness.reconcile({VANS: IN_VANS[3:], DEPOT: IN_DEPOT})
    written = {line.split("/")[2] for line in account_harness.writes}
    assert written <= {*IN_VANS, *IN_DEPOT}


def test_the_account_of_the_stories_is_as_large_as_they_say() -> None:
    held: state.SandboxState = harness.state_of({VANS: IN_VANS, DEPOT: IN_DEPOT})
    assert (held.count(VANS), held.count(DEPOT)) == (30, 10)
