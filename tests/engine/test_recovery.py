"""What a process that was cut off left behind, and what the next one does about it: on virtual time."""

from collections.abc import Collection, Sequence
from typing import Any

import anyio
import pytest

from tests.engine import moving_account
from tests.support import doubles, harness, memory_journal
from worker.core.model.desired import FleetById
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Applied, Outcome
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import Intent
from worker.core.model.report import Report, RunResult
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox import faults, quirks

pytestmark = pytest.mark.anyio

QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


SLOW = quirks.Quirks(latency_seconds=1)


async def _cut_off(account_harness: harness.Harness, *, after: float) -> None:
    """Start a run, end its life so many seconds later, and begin the next one: quicker, on the same journal."""
    account_harness.sandbox.quirks = SLOW
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(account_harness.reconcile, moving_account.WANTED)
        await anyio.sleep(after)
        account_harness.memory = account_harness.journal = account_harness.memory.crash()
        tasks.cancel_scope.cancel()
    account_harness.sandbox.quirks = quirks.PLAUSIBLE


def _open(account_harness: harness.Harness) -> set[IntentKey]:
    return set(account_harness.memory.intents) - set(account_harness.memory.outcomes)


@pytest.mark.integration
@pytest.mark.parametrize("after", [0.5, 2.1, 3.7, 5.3, 6.2, 8.9])
async def test_the_next_life_finds_out_what_the_last_one_did_and_goes_on(
    after: float, log: list[dict[str, Any]]
) -> None:
    account_harness = harness.Harness(moving_account.account())
    await _cut_off(account_harness, after=after)
    left_open, done = len(_open(account_harness)), len(account_harness.state.effects)
    finished = await account_harness.reconcile(moving_account.WANTED)
    assert finished.exit_code == 0
    assert account_harness.state.memberships() == {(driver, moving_account.DEPOT) for driver in moving_account.DRIVERS}
    assert len(account_harness.state.effects) == 80, "nothing was done twice"
    assert finished.counts["applied"] == 80 - done
    # The outcome of every intent is known, and is the truth.
    assert _open(account_harness) == set()
    applied = [key for key, outcome in account_harness.memory.outcomes.items() if isinstance(outcome, Applied)]
    assert sorted(applied) == sorted(str(effect.key) for effect in account_harness.state.effects)
    recovered = [line for line in log if line["event"] == "recovered"]
    assert [line["intents"] for line in recovered] == ([left_open] if left_open else [])


async def test_what_was_left_open_is_closed_before_anything_new_is_planned() -> None:
    account_harness, order = harness.Harness(moving_account.account()), list[str]()

    class Spy(memory_journal.MemoryJournal):
        async def begin(
            self,
            run: RunId,
            *,
            trigger: str,
            guarded: GuardedPlan,
            intents: Sequence[Intent],
            resent: Collection[IntentKey] = (),
            spent: str | None = None,
        ) -> None:
            order.append("begin")
            await super().begin(run, trigger=trigger, guarded=guarded, intents=intents, resent=resent, spent=spent)

        async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
            order.append("record")
            await super().record(group)

    await _cut_off(account_harness, after=4)
    account_harness.memory = account_harness.journal = Spy(beside=account_harness.memory)
    assert (await account_harness.reconcile(moving_account.WANTED)).exit_code == 0
    assert order[:2] == ["record", "begin"]


async def test_no_key_of_an_earlier_run_is_used_again_once_its_write_can_no_longer_take_effect() -> None:
    """Charge would answer with what it remembers, not with the present state."""
    account_harness = harness.Harness(moving_account.account())
    await _cut_off(account_harness, after=5)
    await account_harness.reconcile({harness.fleet_id("N"): []})  # finds the open intents
    await anyio.sleep(121)
    earlier = {request.key for request in account_harness.sandbox.requests if request.key}
    assert earlier
    moving_account.all_back(account_harness)
    account_harness.sandbox.requests.clear()
    assert (await account_harness.reconcile(moving_account.WANTED)).counts["applied"] == 80
    assert earlier.isdisjoint(request.key for request in account_harness.sandbox.requests)


async def test_a_driver_whom_the_reading_no_longer_covers_is_retrieved() -> None:
    """The document changed meanwhile: nobody lists the fleet any more."""
    account_harness = harness.Harness(
        moving_account.account(), unmanaged=[FleetById(fleet) for fleet in moving_account.WANTED]
    )
    await _cut_off(account_harness, after=5)
    gone = next(
        change.driver for key, change in account_harness.memory.intents.items() if key in _open(account_harness)
    )
    theirs = {key for key in _open(account_harness) if account_harness.memory.intents[key].driver == gone}
    account_harness.state.remove_driver(gone)
    account_harness.state.add_fleet(id=harness.fleet_id("N"))
    account_harness.sandbox.requests.clear()
    finished = await account_harness.reconcile({harness.fleet_id("N"): []})
    # The other changes may have been sent, and may still take effect: the report says so, and the intents stay open.
    assert (finished.result, account_harness.writes) == (RunResult.PARTIAL, [])
    assert _open(account_harness).isdisjoint(theirs)
    await anyio.sleep(121)
    finished = await account_harness.reconcile({harness.fleet_id("N"): []})
    assert (finished.result, account_harness.writes) == (RunResult.IN_SYNC, [])
    assert _open(account_harness) == set()
    assert {account_harness.memory.outcomes[key].name for key in theirs} == {"already"}


async def test_what_cannot_be_read_stays_open_for_the_run_after() -> None:
    account_harness = harness.Harness(moving_account.account(), policy=QUICK)
    await _cut_off(account_harness, after=5)
    left_open = _open(account_harness)
    assert left_open
    sent = len(account_harness.writes)
    account_harness.sandbox.faults = faults.Faults({"503": 1.0})
    assert (await account_harness.reconcile(moving_account.WANTED)).exit_code == 1
    assert (await account_harness.new_reconciler(doubles.BrokenSource()).reconcile(trigger="test")).exit_code == 1
    assert (_open(account_harness), len(account_harness.writes)) == (left_open, sent)
    account_harness.sandbox.faults = faults.NONE
    assert (await account_harness.reconcile(moving_account.WANTED)).exit_code == 0
    assert _open(account_harness) == set()


async def test_a_saved_plan_recovers_first_too() -> None:
    account_harness = harness.Harness(moving_account.account())
    saved = (await account_harness.new_plan_builder(doubles.Source(moving_account.WANTED)).build()).guarded
    await _cut_off(account_harness, after=5)
    done = len(account_harness.state.effects)
    assert done > 0
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.counts["stale"], finished.counts["applied"]) == (done, 80 - done)
    assert len(account_harness.state.effects) == 80
    assert _open(account_harness) == set()


async def test_a_life_that_is_over_writes_nothing_more() -> None:
    """It noticed nothing of its end: another process took its place."""
    account_harness = harness.Harness(moving_account.account(), quirks=SLOW)
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await account_harness.reconcile(moving_account.WANTED))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconcile)
        await anyio.sleep(5)
        await account_harness.memory.crash().open()
        sent = len(account_harness.writes)
    (finished,) = reports
    assert isinstance(finished.error, JournalError)
    assert finished.exit_code == 1
    assert len(account_harness.writes) <= sent + 8, "only what had gone out already"
    assert finished.counts["applied"] == len(account_harness.state.effects) < 80


async def test_a_write_that_was_cut_off_does_not_count_as_fruitless() -> None:
    """That somebody takes back what was made is another guard's matter."""
    account_harness = harness.Harness(moving_account.account())
    for _ in range(5):
        await _cut_off(account_harness, after=5)
        moving_account.all_back(account_harness)
    held = (await account_harness.new_plan_builder(doubles.Source(moving_account.WANTED)).build()).guarded.held
    assert {each.guard for each in held} <= {guard.FLAPPING}


async def test_a_reference_that_moves_while_runs_are_cut_off_is_still_noticed() -> None:
    """What was remembered outlives the life that remembered it."""
    account_harness = harness.Harness(harness.state_of({moving_account.VANS: []}, others=moving_account.DRIVERS[:2]))
    account_harness.state.change_driver(moving_account.DRIVERS[0], email="sam@example.com")
    assert (await account_harness.reconcile({moving_account.VANS: ["sam@example.com"]})).exit_code == 0
    account_harness.state.change_driver(moving_account.DRIVERS[0], email="old@example.com")
    account_harness.state.change_driver(moving_account.DRIVERS[1], email="SAM@example.com")
    account_harness.sandbox.requests.clear()
    for _ in range(2):
        account_harness.memory = account_harness.journal = account_harness.memory.crash()
        finished = await account_harness.reconcile({moving_account.VANS: ["sam@example.com"]})
        assert finished.guarded is not None
        assert {each.guard for each in finished.guarded.held} == {guard.REFERENCE_MOVED}
    assert account_harness.writes == []


async def test_a_recycled_address_is_noticed_after_it_led_nowhere_for_a_while() -> None:
    """Ssosync 358: somebody left, and months later somebody else got the address."""
    account_harness = harness.Harness(
        harness.state_of({moving_account.VANS: moving_account.DRIVERS[2:]}, others=moving_account.DRIVERS[:2])
    )
    wanted = {moving_account.VANS: [*moving_account.DRIVERS[2:], "sam@example.com"]}
    account_harness.state.change_driver(moving_account.DRIVERS[0], email="sam@example.com")
    assert (await account_harness.reconcile(wanted)).exit_code == 0
    account_harness.state.remove_driver(moving_account.DRIVERS[0])
    assert (await account_harness.reconcile(wanted)).exit_code == 4
    await anyio.sleep(100 * 24 * 3600)
    account_harness.state.change_driver(moving_account.DRIVERS[1], email="sam@example.com")
    finished = await account_harness.reconcile(wanted)
    assert finished.guarded is not None
    assert (finished.exit_code, {each.guard for each in finished.guarded.held}) == (3, {guard.REFERENCE_MOVED})
    assert len(account_harness.writes) == 1
