"""What the guard knows of earlier runs: moved references, unconfirmed writes, and reverted changes."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import plans, worlds
from tests.core.worlds import DEPOT, VANS, A, B
from worker.core.model.desired import DriverById, DriverRef, FleetById, FleetByName, Mode, is_fleet_name
from worker.core.model.identifiers import DriverId, FleetId, Membership
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.ports import OwnWrite
from worker.core.planning import grace_period, ignored_drivers
from worker.core.safety import guard

DETACH = Action.DETACH


ALICE = "alice@example.com"


def renamed(*changes: Change, **resolutions: DriverId) -> Plan:
    """Return a plan with these resolutions; its fleets are so large that no fraction holds anything."""
    known = {f"{name}@example.com": driver for name, driver in resolutions.items()}
    return Plan(
        tuple(sorted(changes, key=lambda change: change.order)),
        (),
        dict.fromkeys(worlds.FLEETS, 100),
        in_sync=0,
        drivers=2,
        resolutions=known,
    )


def change(action: Action, driver: DriverId, fleet: FleetId = VANS) -> Change:
    return Change(action, driver, fleet)


def test_ssosync_a_recycled_address_inherits_no_access() -> None:
    """358: both the old and the new driver stay as they are until the plan is approved."""
    attach, detach = change(Action.ATTACH, B), change(DETACH, A)
    other = change(Action.ATTACH, worlds.C)
    plan, history = renamed(attach, detach, other, alice=B), guard.GuardHistory(resolutions={ALICE: A})
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(), history)
    assert decision.allowed == (other,)
    assert [(held.change, held.guard) for held in decision.held] == [
        (attach, guard.REFERENCE_MOVED),
        (detach, guard.REFERENCE_MOVED),
    ]
    assert f"{ALICE} resolved to {A} before and resolves to {B} now" in decision.held[0].message
    assert decision.resolutions_to_remember == {}

    approved = plans.approved(plan, history=history)
    assert plans.parts(approved) == (plan.changes, ())
    assert approved.resolutions_to_remember == {ALICE: B}


def test_a_reference_that_is_new_or_leads_where_it_led_holds_nothing() -> None:
    attach = change(Action.ATTACH, A)
    for before in ({}, {ALICE: A}, {"bob@example.com": B}):
        plan, history = renamed(attach, alice=A), guard.GuardHistory(resolutions=before)
        decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(), history)
        assert plans.parts(decision) == ((attach,), ())
        assert decision.resolutions_to_remember == ({} if ALICE in before else {ALICE: A})


def test_a_move_that_changes_nobodys_memberships_is_taken_note_of() -> None:
    plan, history = renamed(alice=B), guard.GuardHistory(resolutions={ALICE: A})
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(), history)
    assert decision.held == ()
    assert decision.resolutions_to_remember == {ALICE: B}


def test_a_move_is_not_settled_while_another_guard_holds_its_changes() -> None:
    """Otherwise it would be allowed as soon as the must_see membership is back."""
    detach = change(DETACH, A)
    plan, history = renamed(detach, alice=B), guard.GuardHistory(resolutions={ALICE: A})
    unseen = guard.Limits(must_see=frozenset({(worlds.C, DEPOT)}))
    decision = guard.evaluate(plan, worlds.seen({}), unseen, history)
    assert plans.holds(decision) == {guard.MUST_SEE}
    assert decision.resolutions_to_remember == {}
    decision = guard.evaluate(plan, worlds.seen({worlds.C: [DEPOT]}), unseen, history)
    assert plans.holds(decision) == {guard.REFERENCE_MOVED}


def test_a_new_reference_is_remembered_even_while_its_driver_is_held_for_something_else() -> None:
    detach = change(DETACH, A, DEPOT)
    plan = dataclasses.replace(renamed(detach, alice=A), members={DEPOT: 1})
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits())
    assert plans.holds(decision) == {guard.EMPTYING}
    assert decision.resolutions_to_remember == {ALICE: A}


@pytest.mark.parametrize(("count", "held"), [(0, False), (2, False), (3, True), (30, True)])
def test_ssosync_what_is_written_and_never_read_back_is_not_written_for_ever(count: int, held: bool) -> None:
    """329: an attribute was written, never read back, and rewritten in every run."""
    attach, detach, other = change(Action.ATTACH, A), change(DETACH, A, DEPOT), change(Action.ATTACH, B)
    history = guard.GuardHistory(unconfirmed_writes={(Action.ATTACH, A, VANS): count})
    decision = guard.evaluate(renamed(attach, detach, other), worlds.seen({}), guard.Limits(), history)
    assert bool(decision.held) is held
    if held:
        # The driver's detach is held too: a driver that cannot be attached must not lose a fleet.
        assert decision.allowed == (other,)
        assert plans.holds(decision) == {NOT_CONVERGING}
        assert f"{count} times" in decision.held[0].message
        assert plans.approved(renamed(attach, detach, other), history=history).held == ()


def test_what_was_fruitless_in_another_fleet_or_the_other_way_round_counts_for_nothing() -> None:
    attach = change(Action.ATTACH, A)
    history = guard.GuardHistory(unconfirmed_writes={(Action.ATTACH, A, DEPOT): 9, (DETACH, A, VANS): 9})
    assert guard.evaluate(renamed(attach), worlds.seen({}), guard.Limits(), history).held == ()


def made(change: Change, *minutes: int) -> dict[Membership, tuple[OwnWrite, ...]]:
    """Return our writes of a change at these minutes, the newest first."""
    times = [worlds.NOW + datetime.timedelta(minutes=minute) for minute in minutes]
    return {(change.driver, change.fleet): tuple(OwnWrite(change.action, change.row, at, at) for at in times)}


def test_argo_cd_what_somebody_else_keeps_reversing_is_frozen_until_that_plan_is_approved() -> None:
    """18417, external-dns 1771: two controllers fought over the same objects."""
    attach, detach, other = change(Action.ATTACH, A), change(DETACH, A, DEPOT), change(Action.ATTACH, B)
    plan, history = renamed(attach, detach, other), guard.GuardHistory(writes=made(attach, 20, 10, 0))
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(), history)
    assert decision.allowed == (other,)
    assert [held.change for held in decision.held] == [held for held in plan.changes if held is not other]
    assert plans.holds(decision) == {guard.FLAPPING}
    approved = plans.approved(plan, history=history)
    assert plans.parts(approved) == (plan.changes, ())
    assert {hold.change for hold in approved.approved} == {attach, detach}


def test_a_sentinel_and_a_recycled_address_are_reported_before_the_flapping() -> None:
    attach, detach = change(Action.ATTACH, A), change(DETACH, A, DEPOT)
    history = guard.GuardHistory(resolutions={ALICE: B}, writes=made(attach, 20, 10, 0))
    plan = renamed(attach, detach, alice=A)
    unseen = guard.Limits(must_see=frozenset({(worlds.C, DEPOT)}))
    decision = guard.evaluate(plan, worlds.seen({}), unseen, history)
    assert {held.change: held.guard for held in decision.held} == {
        attach: guard.REFERENCE_MOVED,
        detach: guard.MUST_SEE,
    }
    history = guard.GuardHistory(writes=made(attach, 20, 10, 0))
    decision = guard.evaluate(plan, worlds.seen({}), unseen, history)
    assert {held.change: held.guard for held in decision.held} == {attach: guard.FLAPPING, detach: guard.MUST_SEE}


def test_the_attach_of_a_driver_in_no_fleet_is_never_frozen() -> None:
    """Story: an attach was not kept, the detach went out, and then `not_converging` held the only attach."""
    attach = change(Action.ATTACH, A)
    history = guard.GuardHistory(unconfirmed_writes={(Action.ATTACH, A, VANS): 9}, writes=made(attach, 20, 10, 0))
    stranded, elsewhere = worlds.seen({A: []}), worlds.seen({A: [DEPOT]})
    assert guard.evaluate(renamed(attach), stranded, guard.Limits(), history).held == ()
    assert plans.holds(guard.evaluate(renamed(attach), elsewhere, guard.Limits(), history)) == {NOT_CONVERGING}


@worlds.LAW
@given(worlds.worlds(), plans.limits(), st.data())
def test_memory_only_ever_holds_more(world: worlds.World, limits: guard.Limits, data: st.DataObject) -> None:
    """Allowed and held changes together are still the plan, in its order."""
    plan = world.plan()
    before: dict[str, DriverId | FleetId] = {}
    for reference in sorted(plan.resolutions):
        fleet, driver = data.draw(st.sampled_from(worlds.FLEETS)), data.draw(st.sampled_from(worlds.DRIVERS))
        before[reference] = fleet if is_fleet_name(reference) else driver
    counts = {(each.action, each.driver, each.fleet): data.draw(st.integers(0, 5)) for each in plan.changes}
    plain = guard.evaluate(plan, world.actual, limits)
    flaps = {m: w for each in plan.changes if data.draw(st.booleans()) for m, w in made(each, 20, 10, 0).items()}
    history = guard.GuardHistory(resolutions=before, unconfirmed_writes=counts, writes=flaps)
    decision = guard.evaluate(plan, world.actual, limits, history)
    assert set(decision.allowed) <= set(plain.allowed)
    held = [each.change for each in decision.held]
    assert sorted([*decision.allowed, *held], key=lambda each: each.order) == list(plan.changes)
    settled = decision.resolutions_to_remember
    moved = {each for reference in settled for each in (before[reference], plan.resolutions[reference])}
    assert moved.isdisjoint(each.driver for each in held)
    assert moved.isdisjoint(each.fleet for each in held)
    for each in decision.allowed:
        stays = not {each.driver, each.fleet} & {
            id
            for reference, now in plan.resolutions.items()
            if before[reference] != now
            for id in (before[reference], now)
        }
        assert stays


@worlds.LAW
@given(worlds.worlds(), st.lists(st.sampled_from([*worlds.DRIVER_REFS]), max_size=2), plans.limits(), st.data())
def test_a_move_is_learned_only_if_it_changes_nothing_whatever_the_settings_or_is_approved(
    world: worlds.World, entries: list[DriverRef], limits: guard.Limits, data: st.DataObject
) -> None:
    """No mode, ignored driver or grace period keeps a change out of a plan and lets it pass later."""
    ignored = ignored_drivers.find(entries, world.actual, {})
    plan = ignored_drivers.leave_out(world.plan(), ignored)
    grace = data.draw(st.sampled_from([datetime.timedelta(), datetime.timedelta(days=1)]))
    plan = grace_period.apply_grace_period(plan, {}, grace=grace, now=worlds.NOW).plan
    before: dict[str, DriverId | FleetId] = {}
    for reference in sorted(plan.resolutions):
        others = worlds.FLEETS if is_fleet_name(reference) else worlds.DRIVERS
        before[reference] = data.draw(st.sampled_from([plan.resolutions[reference], *others]))
    history = guard.GuardHistory(resolutions=before)
    every = {each for change in world.in_exact_mode().plan().changes for each in (change.driver, change.fleet)}
    for decision in (
        guard.evaluate(plan, world.actual, limits, history),
        plans.approved(plan, world.actual, limits, history),
    ):
        seen = {each for hold in decision.approved for each in (hold.change.driver, hold.change.fleet)}
        for reference, now in decision.resolutions_to_remember.items():
            assert not {before[reference], now} & every or {before[reference], now} & seen


# --- Names of fleets --------------------------------------------------------------------------------------

NORTH = worlds.NORTH


def named(*changes: Change, **fleets: FleetId) -> Plan:
    """Return a plan with these resolutions of fleet names; no fraction holds anything."""
    return dataclasses.replace(renamed(*changes), resolutions={f'"{name}"': fleet for name, fleet in fleets.items()})


def test_two_fleets_that_exchange_names_change_nothing_until_the_plan_is_approved() -> None:
    """It caused 40 attaches to wrong fleets."""
    changes = [
        change(action, driver, fleet) for action, driver, fleet in ((Action.ATTACH, A, VANS), (DETACH, B, DEPOT))
    ]
    other = change(Action.ATTACH, worlds.C, NORTH)
    plan = named(*changes, other, Vans=VANS, Depot=DEPOT, North=NORTH)
    history = guard.GuardHistory(resolutions={'"Vans"': DEPOT, '"Depot"': VANS, '"North"': NORTH})
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(), history)
    assert decision.allowed == (other,)
    assert plans.holds(decision) == {guard.REFERENCE_MOVED}
    assert decision.held[0].message == (
        f'"Vans" resolved to {DEPOT} before and resolves to {VANS} now: check whether it is the same fleet'
    )
    assert decision.resolutions_to_remember == {}

    approved = plans.approved(plan, history=history)
    assert plans.parts(approved) == (plan.changes, ())
    assert approved.resolutions_to_remember == {'"Vans"': VANS, '"Depot"': DEPOT}


def test_a_driver_whose_attach_to_a_renamed_fleet_is_held_keeps_every_fleet() -> None:
    attach, detach, free = change(Action.ATTACH, A), change(DETACH, A, NORTH), change(DETACH, B, NORTH)
    history = guard.GuardHistory(resolutions={'"Vans"': DEPOT})
    decision = guard.evaluate(named(attach, detach, free, Vans=VANS), worlds.seen({}), guard.Limits(), history)
    assert decision.allowed == (free,)
    reasons = {held.change: held.message for held in decision.held}
    assert f"the attach of this driver to {VANS} is held (reference_moved)" in reasons[detach]


@pytest.mark.parametrize(("unresolved", "incomplete"), [(1, 0), (0, 1)])
def test_a_moved_name_is_not_settled_by_a_plan_that_may_lack_changes(unresolved: int, incomplete: int) -> None:
    history = guard.GuardHistory(resolutions={'"Vans"': DEPOT, ALICE: A})
    whole = dataclasses.replace(named(Vans=VANS, New=NORTH), references=1)
    part = dataclasses.replace(whole, unresolved=unresolved, incomplete=incomplete)
    settled = [guard.evaluate(plan, worlds.seen({}), guard.Limits(), history) for plan in (whole, part)]
    assert [each.resolutions_to_remember for each in settled] == [{'"Vans"': VANS, '"New"': NORTH}, {'"New"': NORTH}]


def test_the_planner_resolves_names_of_fleets_for_the_guard_and_no_ids() -> None:
    wishes = worlds.wish({FleetByName("Paris vans"): [DriverById(A)], FleetById(DEPOT): [DriverById(B)]})
    plan = worlds.World(wishes, worlds.seen({A: [], B: []}), Mode.EXACT).plan()
    assert plan.resolutions == {'"Paris vans"': VANS}
