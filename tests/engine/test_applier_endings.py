"""Applying that ends early: what was sent and may have happened is reported apart from what was not sent."""

from collections.abc import Sequence

import anyio
import httpx
import pytest

from tests.engine import applying
from tests.support import doubles, harness, memory_journal
from tests.support import sandbox as support
from tests.support.harness import DEPOT, VANS, A, B, D
from worker.core.model.errors import JournalError, KeyRejected, Stopped
from worker.core.model.identifiers import DriverId, IntentKey
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Change
from worker.core.pacing import retry_policy
from worker.sandbox import faults, http_types, quirks, state

pytestmark = pytest.mark.anyio


def _crowd(count: int) -> tuple[state.SandboxState, list[Change]]:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(count)]
    return harness.state_of({VANS: []}, others=drivers), [applying.attach(driver, VANS) for driver in drivers]


async def test_a_rejected_key_ends_everything_at_once() -> None:
    held, changes = _crowd(30)
    left = [10]
    account_harness = harness.Harness(
        held, concurrency=1, new_transport=lambda: doubles.Revoking(support.transport(account_harness.sandbox), left)
    )
    found = await applying.apply(account_harness, changes)
    assert left == [-1]
    assert applying.names(found) == ["applied"] * 10 + ["deferred"] * 20
    assert len(account_harness.state.effects) == 10
    assert isinstance(account_harness.run_cancellation.reason, KeyRejected)


async def test_too_long_a_pause_defers_what_is_left() -> None:
    held, changes = _crowd(30)
    account_harness = harness.Harness(held, requests_per_second=20, burst=1, concurrency=4)

    async def refuse() -> None:
        await anyio.sleep(0.5)
        account_harness.sandbox.quirks = quirks.Quirks(
            rate=0.001, burst=1, limit="sliding", window_seconds=3600, retry_after="seconds"
        )

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refuse)
        found = await applying.apply(account_harness, changes)
    assert anyio.current_time() - start < 5
    assert set(applying.names(found)) == {"applied", "deferred"}
    assert all(outcome.code == "rate_limit_exceeded" for outcome in found if isinstance(outcome, Deferred))
    assert applying.names(found).count("applied") == len(account_harness.state.effects)


async def test_a_stop_lets_finish_what_is_in_flight_and_sends_nothing_more() -> None:
    held, changes = _crowd(30)
    account_harness = harness.Harness(held, concurrency=5, quirks=quirks.Quirks(latency_seconds=10))

    async def stop() -> None:
        await anyio.sleep(3)
        account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        found = await applying.apply(account_harness, changes)
    assert applying.names(found) == ["applied"] * 5 + ["deferred"] * 25
    assert len(account_harness.writes) == len(account_harness.state.effects) == 5
    assert all(isinstance(outcome, Deferred) and outcome.attempts == 0 for outcome in found[5:])


async def test_a_stop_ends_a_backoff_with_what_is_known() -> None:
    """After 429 it certainly was not made; after 503 that is unknown, and there is no more reading."""
    account_harness = harness.Harness(
        applying.account(), policy=retry_policy.RetryPolicy(max_attempts=9, base_seconds=100, max_seconds=100)
    )

    def script(request: http_types.Request) -> str | None:
        return {A: "rate_limited", B: "503"}.get(DriverId(request.subject))

    account_harness.sandbox.faults = faults.Faults(script=script)

    async def stop() -> None:
        await anyio.sleep(5)
        account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        found = await applying.apply(account_harness, [applying.attach(A, DEPOT), applying.attach(B, DEPOT)])
    assert applying.names(found) == ["deferred", "unknown"]
    assert len(account_harness.sandbox.requests) == 2


async def test_a_cut_leaves_what_was_in_flight_unknown() -> None:
    held, changes = _crowd(30)
    account_harness = harness.Harness(held, concurrency=5, faults=applying.writes("hang_after"))

    async def end() -> None:
        await anyio.sleep(3)
        account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))
        await anyio.sleep(3)
        account_harness.run_cancellation.abort_writes()

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        found = await applying.apply(account_harness, changes)
    assert anyio.current_time() - start == pytest.approx(6)
    assert applying.names(found) == ["unknown"] * 5 + ["deferred"] * 25


async def _cut(account_harness: harness.Harness) -> None:
    """End a run after three seconds, as a second SIGTERM does."""
    await anyio.sleep(3)
    account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    account_harness.run_cancellation.abort_writes()


async def test_a_cut_while_a_contradiction_is_being_settled_leaves_it_unknown() -> None:
    """An answer said done and showed otherwise: until a reading shows which, neither is known."""

    def script(request: http_types.Request) -> str | None:
        return "hang" if request.route == "driver" else None

    account_harness = harness.Harness(
        applying.account(),
        faults=faults.Faults(script=script),
        new_transport=lambda: applying.lying(lambda: account_harness, forward=True, fleets=[]),
    )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cut, account_harness)
        found = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert applying.names(found) == ["unknown"]


async def test_a_cut_while_a_lost_membership_is_restored_after_the_last_write_is_in_the_report() -> None:
    held = harness.state_of({VANS: [A], DEPOT: [A]})

    def script(request: http_types.Request) -> str | None:
        if request.route == "driver" and A not in held.members(VANS):
            held.detach(A, DEPOT)  # another client acts before the run reads back what it did
        return "hang" if request.route == "attach" else None

    account_harness = harness.Harness(held, faults=faults.Faults(script=script))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cut, account_harness)
        finished = await account_harness.reconcile({VANS: [], DEPOT: [A]})
    assert [(each.change.fleet, each.outcome.name, each.repair) for each in finished.results] == [
        (VANS, "applied", False),
        (DEPOT, "unknown", True),
    ]
    assert len(account_harness.memory.outcomes) == len(account_harness.memory.intents) == 2


async def test_a_journal_that_fails_meanwhile_stops_further_writes() -> None:
    held, changes = _crowd(60)
    journal = doubles.FailingJournal("record", after=1)
    account_harness = harness.Harness(held, journal=journal, requests_per_second=50, burst=2, concurrency=2)
    found = await applying.apply(account_harness, changes)
    assert isinstance(account_harness.run_cancellation.reason, JournalError)
    assert 0 < len(account_harness.writes) < 20
    assert set(applying.names(found)) == {"applied", "deferred"}
    assert applying.names(found).count("applied") == len(account_harness.state.effects)


def _stopped_after_the_reply(account_harness: harness.Harness) -> doubles.ResponseTamper:
    """Return a transport to the server of an account, whose run is stopped when a write was answered with 200."""

    def stop(request: httpx.Request, document: object) -> None:
        if request.method == "POST":
            account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))

    return doubles.ResponseTamper(support.transport(account_harness.sandbox), stop)


async def test_a_reply_of_200_that_does_not_show_the_change_is_never_recorded_as_a_success() -> None:
    """Not even until the end of the run: it might be killed meanwhile."""
    held = applying.account()
    held.change_driver(D, status="suspended")
    account_harness = harness.Harness(held, quirks=quirks.Quirks(suspended_driver="ignore"))
    recorded: list[str] = []

    class Spy(memory_journal.MemoryJournal):
        async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
            recorded.extend(outcome.name for _, outcome in group)
            await super().record(group)

    account_harness.journal = account_harness.memory = Spy(clock=account_harness.wall)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert outcome.name == "unknown"
    assert set(recorded) == {"unknown"}


async def test_a_reply_that_may_be_a_stored_one_is_no_success_if_the_run_is_stopped_then() -> None:
    """The first attempt took effect and another client reverted it: the stored reply shows how things were."""
    account_harness = harness.Harness(
        applying.account(), new_transport=lambda: _stopped_after_the_reply(account_harness)
    )
    attempts: list[str] = []

    def script(request: http_types.Request) -> str | None:
        attempts.append(request.route)
        if len(attempts) == 1:
            return "reset_after"
        account_harness.state.detach(D, VANS)
        return None

    account_harness.sandbox.faults = faults.Faults(script=script)
    (outcome,) = await applying.apply(account_harness, [applying.attach(D, VANS)])
    assert (outcome.name, attempts) == ("unknown", ["attach", "attach"])
