"""A saved plan: done as it is, as far as it still fits, and nothing else."""

import dataclasses

import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A, B, C, D
from worker.core.model.desired import DriverByEmail, DriverById, DriverRef, FleetById, FleetByName
from worker.core.model.identifiers import DriverId
from worker.core.model.plan import GuardedPlan
from worker.core.model.plan_digest import held_digest
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import reconciler, wiring
from worker.sandbox import faults, state

pytestmark = pytest.mark.anyio
MANY = [DriverId(f"drv_{number:032d}") for number in range(20)]
LIMITS = guard.Limits(max_detach_fraction=1.0)
QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


async def _saved(account_harness: harness.Harness, wanted: harness.Wanted) -> GuardedPlan:
    return (await account_harness.new_plan_builder(doubles.Source(wanted)).build()).guarded


async def test_a_saved_plan_is_done_and_nothing_else() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.state.attach(C, VANS)
    finished = await account_harness.new_reconciler().apply(saved)
    assert account_harness.state.memberships() == accounts.AFTER | {(C, VANS)}
    assert (finished.exit_code, finished.counts["applied"], finished.guarded) == (0, 3, saved)


async def test_a_change_that_no_longer_fits_is_stale_and_left_undone() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.state.attach(D, VANS)
    account_harness.state.detach(A, VANS)
    account_harness.sandbox.requests.clear()
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], finished.counts["applied"]) == (4, 2, 1)
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    assert [result.change for result in finished.results] == list(saved.changes)


async def test_a_plan_of_which_nothing_fits_sends_nothing() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    await account_harness.reconcile(accounts.WANTED)
    account_harness.state.remove_driver(D)
    account_harness.sandbox.requests.clear()
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], account_harness.writes) == (4, 3, [])
    assert harness.outcome(finished, D, VANS) == "stale"


async def test_applying_a_plan_twice_is_harmless() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    await account_harness.new_reconciler().apply(saved)
    writes = account_harness.writes
    assert (await account_harness.new_reconciler().apply(saved)).counts["stale"] == 3
    assert account_harness.writes == writes


async def test_nobody_is_detached_unseen_by_a_saved_plan_either() -> None:
    """A detach is issued only for a membership seen in this run."""
    account_harness = harness.Harness(accounts.account(), policy=QUICK)
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.sandbox.faults = faults.Faults(script=lambda request: "503" if request.route == "driver" else None)
    finished = await account_harness.new_reconciler().apply(saved)
    assert harness.outcome(finished, A, VANS) == "deferred"
    assert not account_harness.requests("/detach")
    assert finished.exit_code == 4


# --- The guard, anew --------------------------------------------------------------------------------------


async def test_held_changes_of_a_saved_plan_stay_undone() -> None:
    account_harness = harness.Harness(accounts.account(), limits=guard.Limits(always_allow=0))
    saved = await _saved(account_harness, {VANS: [B, D]})
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, len(saved.held)) == (3, 1)
    assert account_harness.state.members(VANS) == {A, B, D}


async def test_held_changes_of_a_saved_plan_are_made_under_one_approval_and_not_twice() -> None:
    """Made, undone as a mistake, and applied again: that needs another approval."""
    account_harness = harness.Harness(_many(), limits=LIMITS)
    saved = await _saved(account_harness, {VANS: MANY[10:]})
    assert (len(saved.held), saved.changes) == (10, ())
    await _approve(account_harness, saved.held_digest)
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["applied"]) == (0, 10)
    for driver in MANY[:10]:
        account_harness.state.attach(driver, VANS)
    again = await account_harness.new_reconciler().apply(saved)
    assert (again.exit_code, again.counts["applied"], again.held_digest) == (3, 0, saved.held_digest)


async def test_a_plan_made_under_an_approval_needs_it_when_it_is_applied() -> None:
    """Between the two, a run used the approval up, and the mistake was undone."""
    account_harness = harness.Harness(_many(), limits=LIMITS)
    await _approve(account_harness, (await _saved(account_harness, {VANS: MANY[10:]})).held_digest)
    saved = await _saved(account_harness, {VANS: MANY[10:]})
    assert (len(saved.changes), len(saved.approved), saved.held) == (10, 10, ())
    assert (await account_harness.reconcile({VANS: MANY[10:]})).exit_code == 0
    for driver in MANY[:10]:
        account_harness.state.attach(driver, VANS)
    account_harness.limits = guard.Limits(1.0, 1.0)  # no limit holds them any more, but the plan says that one did
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["applied"]) == (3, 0)
    assert finished.guarded is not None
    assert {each.guard for each in finished.guarded.held} == {guard.PER_FLEET}


async def test_what_was_done_since_the_plan_was_made_counts() -> None:
    """Each of four plans is allowed by itself; together they would take eight of twenty."""
    account_harness = harness.Harness(_many(), limits=LIMITS)
    slices = [MANY[2 * place : 2 * place + 2] for place in range(4)]
    saved = [await _saved(account_harness, {VANS: [each for each in MANY if each not in some]}) for some in slices]
    assert [len(each.held) for each in saved] == [0, 0, 0, 0]
    finished = [await account_harness.new_reconciler().apply(each) for each in saved]
    assert [each.exit_code for each in finished] == [0, 0, 3, 3]
    assert finished[2].guarded is not None
    assert "after 4 detached" in finished[2].guarded.held[0].message
    assert len(account_harness.state.members(VANS)) == 16


async def test_a_plan_does_not_empty_a_fleet_that_others_have_emptied_since() -> None:
    account_harness = harness.Harness(_many(), limits=guard.Limits(1.0, 1.0))
    saved = await _saved(account_harness, {VANS: MANY[2:]})
    assert saved.held == ()
    for driver in MANY[2:]:
        account_harness.state.detach(driver, VANS)
    finished = await account_harness.new_reconciler().apply(saved)
    assert finished.guarded is not None
    assert (finished.exit_code, {each.guard for each in finished.guarded.held}) == (3, {guard.EMPTYING})


async def test_a_limit_on_attaches_holds_those_of_a_plan() -> None:
    limits = guard.Limits(max_attach_fraction_per_fleet=0.0)
    account_harness = harness.Harness(harness.state_of({VANS: []}, others=MANY), limits=guard.Limits())
    saved = [await _saved(account_harness, {VANS: some}) for some in (MANY, [B])]
    account_harness.state.add_driver(id=B)
    saved[1] = await _saved(account_harness, {VANS: [B]})
    account_harness.limits = limits
    assert [(await account_harness.new_reconciler().apply(each)).exit_code for each in saved] == [0, 3]


async def test_a_frozen_membership_stays_frozen_in_a_plan_that_was_made_before() -> None:
    account_harness = harness.Harness(harness.state_of({VANS: [A, B]}), limits=guard.Limits(1.0, 1.0))
    saved = await _saved(account_harness, {VANS: [B]})
    for _ in range(3):
        assert (await account_harness.new_reconciler().apply(saved)).counts["applied"] == 1
        account_harness.state.attach(A, VANS)
    finished = await account_harness.new_reconciler().apply(saved)
    assert finished.guarded is not None
    assert (finished.exit_code, [each.guard for each in finished.guarded.held]) == (3, [guard.FLAPPING])


async def test_a_sentinel_that_is_not_seen_holds_the_detaches_of_a_plan() -> None:
    account_harness = harness.Harness(_many(), limits=guard.Limits(1.0, 1.0))
    saved = await _saved(account_harness, {VANS: MANY[1:]})
    account_harness.limits = guard.Limits(1.0, 1.0, must_see=frozenset({(C, VANS)}))
    await _approve(account_harness, held_digest(saved.account, saved.changes))
    finished = await account_harness.new_reconciler().apply(saved)
    assert finished.guarded is not None
    assert (finished.exit_code, [each.guard for each in finished.guarded.held]) == (3, [guard.MUST_SEE])


async def test_a_fleet_that_was_taken_out_of_the_sources_since_is_left_alone() -> None:
    for entry in (FleetById(VANS), FleetByName("Fleet V")):
        account_harness = harness.Harness(accounts.account())
        saved = await _saved(account_harness, accounts.WANTED)
        account_harness.unmanaged = frozenset({entry})
        finished = await account_harness.new_reconciler().apply(saved)
        assert account_harness.writes == [f"POST /drivers/{A}/attach"]
        assert (finished.exit_code, finished.counts["stale"]) == (4, 2)


async def test_a_fleet_that_a_source_names_although_it_is_listed_in_unmanaged_is_managed_by_a_saved_plan_too() -> None:
    account_harness = harness.Harness(accounts.account(), unmanaged=[FleetByName("Fleet V")])
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.unmanaged = frozenset({FleetById(VANS), FleetById(DEPOT)})
    finished = await account_harness.new_reconciler().apply(saved)
    stale = {each.change.fleet for each in finished.results if each.outcome.name == "stale"}
    assert stale == {DEPOT}, "only that one was added since"
    assert finished.counts["applied"] > 0


def _ignoring(account_harness: harness.Harness, *entries: DriverRef) -> reconciler.Reconciler:
    rules = dataclasses.replace(account_harness.rules, ignored=frozenset(entries))
    return wiring.new_reconciler(account_harness.context(), rules=rules, sources=[])


@pytest.mark.parametrize("by_id", [True, False])
async def test_a_driver_who_is_ignored_since_is_left_alone(by_id: bool) -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    email = account_harness.state.drivers[A].email.lower()
    finished = await _ignoring(account_harness, DriverById(A) if by_id else DriverByEmail(email)).apply(saved)
    assert account_harness.writes == [f"POST /drivers/{D}/attach"]
    assert (finished.exit_code, finished.counts["stale"]) == (4, 2)


async def test_while_an_ignored_address_leads_nowhere_nobody_is_detached_by_a_saved_plan() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    finished = await _ignoring(account_harness, DriverByEmail("gone@example.com")).apply(saved)
    assert not account_harness.requests("/detach")
    assert (finished.counts["applied"], harness.outcome(finished, A, VANS)) == (2, "stale")


async def test_an_approval_of_a_plan_holds_although_others_made_some_of_its_changes_meanwhile() -> None:
    account_harness = harness.Harness(_many(), limits=LIMITS)
    saved = await _saved(account_harness, {VANS: MANY[10:]})
    account_harness.state.detach(MANY[0], VANS)
    await _approve(account_harness, saved.held_digest)
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["applied"], finished.counts["stale"]) == (4, 9, 1)


async def test_a_plan_of_attaches_alone_reads_only_its_drivers() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, {VANS: [A, B, D]})
    account_harness.sandbox.requests.clear()
    assert (await account_harness.new_reconciler().apply(saved)).exit_code == 0
    assert account_harness.requests()[0] == f"GET /drivers/{D}"
    assert not account_harness.requests("/fleets")


async def test_a_plan_of_attaches_alone_leaves_a_driver_out_who_is_ignored_by_address() -> None:
    """The address was not looked up, so the driver was attached."""
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, {VANS: [A, B, D]})
    email = account_harness.state.drivers[D].email.lower()
    finished = await _ignoring(account_harness, DriverByEmail(email)).apply(saved)
    assert (account_harness.writes, finished.counts["stale"]) == ([], 1)


async def test_a_plan_of_attaches_alone_leaves_a_fleet_out_that_is_unmanaged_by_name() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, {VANS: [A, B, D]})
    account_harness.unmanaged = frozenset({FleetByName("Fleet V")})
    finished = await account_harness.new_reconciler().apply(saved)
    assert (account_harness.writes, finished.counts["stale"]) == ([], 1)


async def _approve(account_harness: harness.Harness, digest: str) -> None:
    now = account_harness.wall.now()
    await account_harness.memory.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME)


def _many() -> state.SandboxState:
    return harness.state_of({VANS: MANY})


async def test_a_saved_plan_without_a_usable_key_sends_no_write() -> None:
    saved = await _saved(harness.Harness(accounts.account()), accounts.WANTED)
    account_harness = harness.Harness(accounts.account(), key="ch_sk_test_wrong")
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, account_harness.writes, finished.results) == (1, [], ())
