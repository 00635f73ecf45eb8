"""What a life that was cut off left behind, and what one that stood still must not do: on virtual time."""

import datetime
from collections.abc import Callable, Collection, Sequence
from typing import Any

import anyio
import httpx
import pytest
import trio.testing

from tests.support import doubles, harness, memory_journal
from tests.support import sandbox as support
from worker.core.model.desired import FleetById
from worker.core.model.errors import JournalError, ProcessSuspended
from worker.core.model.identifiers import DriverId, IntentKey, RunId
from worker.core.model.outcomes import NOT_CONVERGING, Applied, Deferred, Outcome, Refused, Unknown
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import Intent
from worker.core.model.report import Report, RunResult
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import cancellation
from worker.sandbox import faults, quirks, state

pytestmark = pytest.mark.anyio

VANS, DEPOT = harness.fleet_id("V"), harness.fleet_id("W")
DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(40)]
QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)
DAY = guard.APPROVAL_LIFETIME / datetime.timedelta(hours=1)


def _account() -> state.SandboxState:
    """Forty drivers, who are all in one fleet."""
    return harness.state_of({VANS: DRIVERS, DEPOT: []})


WANTED = {VANS: [], DEPOT: DRIVERS}
"""Everybody moves: forty attaches, forty detaches."""

SLOW = quirks.Quirks(latency_seconds=1)


async def _cut_off(account_harness: harness.Harness, *, after: float) -> None:
    """Start a run, end its life so many seconds later, and begin the next one: quicker, on the same journal."""
    account_harness.sandbox.quirks = SLOW
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(account_harness.reconcile, WANTED)
        await anyio.sleep(after)
        account_harness.memory = account_harness.journal = account_harness.memory.crash()
        tasks.cancel_scope.cancel()
    account_harness.sandbox.quirks = quirks.PLAUSIBLE


def _all_back(account_harness: harness.Harness) -> None:
    """Undo everything by hand."""
    for driver in DRIVERS:
        account_harness.state.detach(driver, DEPOT)
        account_harness.state.attach(driver, VANS)


def _open(account_harness: harness.Harness) -> set[IntentKey]:
    return set(account_harness.memory.intents) - set(account_harness.memory.outcomes)


# --- Recovery ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.5, 2.1, 3.7, 5.3, 6.2, 8.9])
async def test_the_next_life_finds_out_what_the_last_one_did_and_goes_on(
    after: float, log: list[dict[str, Any]]
) -> None:
    account_harness = harness.Harness(_account())
    await _cut_off(account_harness, after=after)
    left_open, done = len(_open(account_harness)), len(account_harness.state.effects)
    finished = await account_harness.reconcile(WANTED)
    assert finished.exit_code == 0
    assert account_harness.state.memberships() == {(driver, DEPOT) for driver in DRIVERS}
    assert len(account_harness.state.effects) == 80, "nothing was done twice"
    assert finished.counts["applied"] == 80 - done
    # The outcome of every intent is known, and is the truth.
    assert _open(account_harness) == set()
    applied = [key for key, outcome in account_harness.memory.outcomes.items() if isinstance(outcome, Applied)]
    assert sorted(applied) == sorted(str(effect.key) for effect in account_harness.state.effects)
    recovered = [line for line in log if line["event"] == "recovered"]
    assert [line["intents"] for line in recovered] == ([left_open] if left_open else [])


async def test_what_was_left_open_is_closed_before_anything_new_is_planned() -> None:
    account_harness, order = harness.Harness(_account()), list[str]()

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
    assert (await account_harness.reconcile(WANTED)).exit_code == 0
    assert order[:2] == ["record", "begin"]


async def test_no_key_of_an_earlier_run_is_used_again_once_its_write_can_no_longer_take_effect() -> None:
    """Charge would answer with what it remembers, not with the present state."""
    account_harness = harness.Harness(_account())
    await _cut_off(account_harness, after=5)
    await account_harness.reconcile({harness.fleet_id("N"): []})  # finds the open intents
    await anyio.sleep(121)
    earlier = {request.key for request in account_harness.sandbox.requests if request.key}
    assert earlier
    _all_back(account_harness)
    account_harness.sandbox.requests.clear()
    assert (await account_harness.reconcile(WANTED)).counts["applied"] == 80
    assert earlier.isdisjoint(request.key for request in account_harness.sandbox.requests)


async def test_a_driver_whom_the_reading_no_longer_covers_is_retrieved() -> None:
    """The document changed meanwhile: nobody lists the fleet any more."""
    account_harness = harness.Harness(_account(), unmanaged=[FleetById(fleet) for fleet in WANTED])
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
    account_harness = harness.Harness(_account(), policy=QUICK)
    await _cut_off(account_harness, after=5)
    left_open = _open(account_harness)
    assert left_open
    sent = len(account_harness.writes)
    account_harness.sandbox.faults = faults.Faults({"503": 1.0})
    assert (await account_harness.reconcile(WANTED)).exit_code == 1
    assert (await account_harness.new_reconciler(doubles.BrokenSource()).reconcile(trigger="test")).exit_code == 1
    assert (_open(account_harness), len(account_harness.writes)) == (left_open, sent)
    account_harness.sandbox.faults = faults.NONE
    assert (await account_harness.reconcile(WANTED)).exit_code == 0
    assert _open(account_harness) == set()


async def test_a_saved_plan_recovers_first_too() -> None:
    account_harness = harness.Harness(_account())
    saved = (await account_harness.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    await _cut_off(account_harness, after=5)
    done = len(account_harness.state.effects)
    assert done > 0
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.counts["stale"], finished.counts["applied"]) == (done, 80 - done)
    assert len(account_harness.state.effects) == 80
    assert _open(account_harness) == set()


async def test_a_life_that_is_over_writes_nothing_more() -> None:
    """It noticed nothing of its end: another process took its place."""
    account_harness = harness.Harness(_account(), quirks=SLOW)
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await account_harness.reconcile(WANTED))

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


# --- Standing still ---------------------------------------------------------------------------------------


def _pause(seconds: float) -> None:
    """Let time pass in which nothing of this process runs."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


class Pausing(httpx.AsyncBaseTransport):
    """A connection to a server: once it has answered so many writes, the process stands still for a while."""

    def __init__(self, server: httpx.AsyncBaseTransport, *, writes: int, seconds: float) -> None:
        self._server, self._left, self._seconds = server, writes, seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._server.handle_async_request(request)
        if request.method == "POST":
            self._left -= 1
            if self._left == 0:
                _pause(self._seconds)
        return response


def _stopped_at(writes: int, seconds: float, **options: Any) -> harness.Harness:
    account_harness: harness.Harness
    account_harness = harness.Harness(
        _account(),
        new_transport=lambda: Pausing(support.transport(account_harness.sandbox), writes=writes, seconds=seconds),
        **{"concurrency": 1, "timeout": 600, **options},
    )
    return account_harness


@pytest.mark.parametrize("writes", [1, 7, 79])
async def test_a_process_that_was_stopped_and_resumed_sends_nothing_more(writes: int) -> None:
    """SIGSTOP, SIGCONT: what it read may be true no more. Nothing that was not sent is in doubt."""
    account_harness = _stopped_at(writes, cancellation.MAX_SILENCE + 1)
    finished = await account_harness.reconcile(WANTED)
    assert isinstance(finished.error, ProcessSuspended)
    assert (finished.exit_code, finished.error.code) == (1, "paused")
    assert (finished.counts["applied"], finished.counts["deferred"], finished.counts["unknown"]) == (
        writes,
        80 - writes,
        0,
    )
    reasons = {each.outcome.code for each in finished.results if isinstance(each.outcome, Deferred)}
    assert {"paused"} <= reasons <= {"paused", "attach_first"}
    assert len(account_harness.writes) == writes
    assert account_harness.memory.reports[finished.run] is finished
    assert set(account_harness.memory.outcomes) == set(account_harness.memory.intents)
    assert (await account_harness.reconcile(WANTED)).exit_code == 0


async def test_a_short_pause_harms_nobody() -> None:
    account_harness = _stopped_at(7, cancellation.MAX_SILENCE - 1)
    finished = await account_harness.reconcile(WANTED)
    assert (finished.exit_code, finished.counts["applied"]) == (0, 80)


@pytest.mark.parametrize("conduct", [quirks.Quirks(latency_seconds=50), quirks.Quirks(rate=0.02, burst=9)])
async def test_waiting_for_charge_is_no_standing_still(conduct: quirks.Quirks) -> None:
    """However slow the answers are, or long the pauses that Charge asks for."""
    account_harness = harness.Harness(
        harness.state_of({VANS: []}, others=DRIVERS[:6]), quirks=conduct, concurrency=1, timeout=600, adaptive=True
    )
    assert (await account_harness.reconcile({VANS: DRIVERS[:6]})).counts["applied"] == 6


# --- What was allowed, and for how long -------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "code"), [(0, 0), (DAY - 0.01, 0), (DAY, 3), (100, 3)])
async def test_an_approval_holds_for_a_day(hours: float, code: int) -> None:
    account_harness = harness.Harness(_account(), limits=guard.Limits())
    wanted = {VANS: DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    now = account_harness.wall.now()
    await account_harness.memory.approve(held.held_digest, now=now, until=now + guard.APPROVAL_LIFETIME)
    await anyio.sleep(hours * 3600)
    assert (await account_harness.reconcile(wanted)).exit_code == code
    assert len(account_harness.state.members(VANS)) == (20 if code == 0 else 40)


async def test_an_approval_allows_a_mistake_once() -> None:
    """Held, approved, applied, undone by hand, and made again: it was applied again, unasked, all day."""
    account_harness = harness.Harness(_account(), limits=guard.Limits())
    wanted = {VANS: DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    now = account_harness.wall.now()
    await account_harness.memory.approve(held.held_digest, now=now, until=now + guard.APPROVAL_LIFETIME)
    assert (await account_harness.reconcile(wanted)).exit_code == 0
    _all_back(account_harness)
    for _ in range(3):
        assert (await account_harness.reconcile(wanted)).exit_code == 3
    assert len(account_harness.state.members(VANS)) == 40


async def test_an_approval_dated_in_the_future_allows_nothing() -> None:
    account_harness = harness.Harness(_account(), limits=guard.Limits())
    wanted = {VANS: DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    later = account_harness.wall.now() + datetime.timedelta(hours=1)
    await account_harness.memory.approve(held.held_digest, now=later, until=later + guard.APPROVAL_LIFETIME)
    assert (await account_harness.reconcile(wanted)).exit_code == 3


async def test_an_approval_lifts_no_must_see() -> None:
    """There the reading is wrong, and no approval makes it right."""
    account_harness = harness.Harness(_account(), limits=guard.Limits(must_see=frozenset({(DRIVERS[0], DEPOT)})))
    held = (await account_harness.reconcile({VANS: DRIVERS[1:]})).guarded
    assert held is not None
    await account_harness.memory.approve(
        held.held_digest,
        now=account_harness.wall.now(),
        until=account_harness.wall.now() + datetime.timedelta(hours=24),
    )
    for approved in (None, held.held_digest):
        assert (await account_harness.reconcile({VANS: DRIVERS[1:]}, approved=approved)).exit_code == 3
    assert account_harness.writes == []


# --- What is not tried for ever ---------------------------------------------------------------------------


def _forgetful(account_harness: Callable[[], harness.Harness], driver: str) -> Callable[[], httpx.AsyncBaseTransport]:
    """Make connections to a server that shows one driver in no fleet, but in the answer to a write."""

    def forget(request: httpx.Request, shown: Any) -> object | None:
        if request.method == "POST":
            return None
        rows = shown.get("data", [shown])
        for row in rows:
            if row["id"] == driver:
                row["fleets"] = [fleet for fleet in row["fleets"] if fleet != VANS]
        return dict(shown)

    return lambda: doubles.ResponseTamper(support.transport(account_harness().sandbox), forget)


async def test_what_is_written_and_never_read_back_is_held_after_three_runs_and_tried_again_a_month_later() -> None:
    """Ssosync 329: every object was rewritten in every run."""
    lost = DRIVERS[0]
    held = harness.state_of({VANS: [], DEPOT: [lost]}, others=DRIVERS[:2])
    held.change_fleet(VANS, name="Vans")
    account_harness: harness.Harness
    account_harness = harness.Harness(held, new_transport=_forgetful(lambda: account_harness, lost))
    for number in range(3):
        finished = await account_harness.reconcile({VANS: DRIVERS[:2]})
        assert harness.outcome(finished, lost, VANS) == "unknown", number
        assert finished.exit_code == 4
        await anyio.sleep(300)
    recorded = [
        account_harness.memory.outcomes[key]
        for key, change in account_harness.memory.intents.items()
        if change.driver == lost
    ]
    assert [(each.name, each.code) for each in recorded if isinstance(each, Refused | Unknown)] == [
        ("refused", "not_converging"),  # it can no longer take effect
        ("refused", "not_converging"),
        ("unknown", "not_converging"),
    ]
    for _ in range(5):
        finished = await account_harness.reconcile({VANS: DRIVERS[:2]})
        assert finished.guarded is not None
        assert [(each.change.driver, each.guard) for each in finished.guarded.held] == [(lost, NOT_CONVERGING)]
        await anyio.sleep(300)
    assert len(account_harness.requests(f"{lost}/attach")) == 3
    assert finished.guarded is not None
    assert (await account_harness.reconcile({VANS: DRIVERS[:2]}, approved=finished.guarded.held_digest)).counts[
        "unknown"
    ] == 1
    assert len(account_harness.requests(f"{lost}/attach")) == 4
    for days, tries in ((1, 4), (30, 5)):
        await anyio.sleep(days * 24 * 3600)
        await account_harness.reconcile({VANS: DRIVERS[:2]})
        assert len(account_harness.requests(f"{lost}/attach")) == tries


async def test_a_job_that_runs_once_a_day_gives_up_after_three_runs_too() -> None:
    lost = DRIVERS[0]
    account_harness: harness.Harness
    account_harness = harness.Harness(
        harness.state_of({VANS: [], DEPOT: [lost]}, others=DRIVERS[:2]),
        new_transport=_forgetful(lambda: account_harness, lost),
    )
    for day in range(6):
        finished = await account_harness.reconcile({VANS: DRIVERS[:2]})
        assert finished.guarded is not None
        assert [each.guard for each in finished.guarded.held] == [NOT_CONVERGING] * (day >= 3), day
        await anyio.sleep(24 * 3600)
    assert len(account_harness.requests(f"{lost}/attach")) == 3


async def test_a_write_that_was_cut_off_does_not_count_as_fruitless() -> None:
    """That somebody takes back what was made is another guard's matter."""
    account_harness = harness.Harness(_account())
    for _ in range(5):
        await _cut_off(account_harness, after=5)
        _all_back(account_harness)
    held = (await account_harness.new_plan_builder(doubles.Source(WANTED)).build()).guarded.held
    assert {each.guard for each in held} <= {guard.FLAPPING}


async def test_a_reference_that_moves_while_runs_are_cut_off_is_still_noticed() -> None:
    """What was remembered outlives the life that remembered it."""
    account_harness = harness.Harness(harness.state_of({VANS: []}, others=DRIVERS[:2]))
    account_harness.state.change_driver(DRIVERS[0], email="sam@example.com")
    assert (await account_harness.reconcile({VANS: ["sam@example.com"]})).exit_code == 0
    account_harness.state.change_driver(DRIVERS[0], email="old@example.com")
    account_harness.state.change_driver(DRIVERS[1], email="SAM@example.com")
    account_harness.sandbox.requests.clear()
    for _ in range(2):
        account_harness.memory = account_harness.journal = account_harness.memory.crash()
        finished = await account_harness.reconcile({VANS: ["sam@example.com"]})
        assert finished.guarded is not None
        assert {each.guard for each in finished.guarded.held} == {guard.REFERENCE_MOVED}
    assert account_harness.writes == []


async def test_a_recycled_address_is_noticed_after_it_led_nowhere_for_a_while() -> None:
    """Ssosync 358: somebody left, and months later somebody else got the address."""
    account_harness = harness.Harness(harness.state_of({VANS: DRIVERS[2:]}, others=DRIVERS[:2]))
    wanted = {VANS: [*DRIVERS[2:], "sam@example.com"]}
    account_harness.state.change_driver(DRIVERS[0], email="sam@example.com")
    assert (await account_harness.reconcile(wanted)).exit_code == 0
    account_harness.state.remove_driver(DRIVERS[0])
    assert (await account_harness.reconcile(wanted)).exit_code == 4
    await anyio.sleep(100 * 24 * 3600)
    account_harness.state.change_driver(DRIVERS[1], email="sam@example.com")
    finished = await account_harness.reconcile(wanted)
    assert finished.guarded is not None
    assert (finished.exit_code, {each.guard for each in finished.guarded.held}) == (3, {guard.REFERENCE_MOVED})
    assert len(account_harness.writes) == 1
