"""A write without a clear answer stays unclear until it can no longer take effect."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from tests.support import harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.desired import FleetById
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import Action
from worker.core.model.report import Report
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox.state import SandboxState

pytestmark = pytest.mark.anyio

WANTED: harness.Wanted = {VANS: []}


class DeliveredLate(httpx.AsyncBaseTransport):
    """A gateway that gives no answer to writes, and delivers the first of them some seconds after it was sent."""

    def __init__(self, account_harness: harness.Harness, tasks: anyio.abc.TaskGroup, *, seconds: float) -> None:
        self._harness = account_harness
        self._tasks = tasks
        self._seconds = seconds
        self.delivered = False
        self.keys: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        server = support.transport(self._harness.sandbox)
        if request.method != "POST":
            return await server.handle_async_request(request)
        self.keys.append(request.headers["idempotency-key"])
        if len(self.keys) == 1:
            self._tasks.start_soon(self._deliver, server, request)
        await anyio.sleep(0.5)
        raise httpx.ReadTimeout("no answer", request=request)

    async def _deliver(self, server: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        await anyio.sleep(self._seconds)
        self.delivered = True
        await server.handle_async_request(request)


def _outcome(account_harness: harness.Harness, number: int = 0) -> Outcome | None:
    key = list(account_harness.memory.intents)[number]
    return account_harness.memory.outcomes.get(key)


def _name(finished: Report) -> str:
    return harness.outcome(finished, A, VANS)


def _limits(always_allow: int) -> guard.Limits:
    return guard.Limits(
        max_detach_fraction_per_fleet=0.0,
        max_detach_fraction=1.0,
        always_allow=always_allow,
        allow_emptying_fleets=True,
    )


@contextlib.asynccontextmanager
async def _delivered_late(
    held: SandboxState,
    *,
    kind: type[DeliveredLate] = DeliveredLate,
    seconds: float = 10_000,
    attempts: int = 1,
    **options: Any,
) -> AsyncIterator[tuple[harness.Harness, DeliveredLate]]:
    """Yield an account whose first write is carried out so many seconds after it was sent, and its gateway."""
    async with anyio.create_task_group() as tasks:
        policy = retry_policy.RetryPolicy(max_attempts=attempts)
        account_harness = harness.Harness(held, new_transport=lambda: gateway, policy=policy, **options)
        gateway = kind(account_harness, tasks, seconds=seconds)
        yield account_harness, gateway
        tasks.cancel_scope.cancel()


async def test_a_detach_in_flight_at_a_kill_is_unknown_until_it_lands_and_applied_then() -> None:
    """Story: a detach in flight at the kill landed 12 s later; the journal said "not made"."""
    held = harness.state_of({VANS: [A]})
    async with _delivered_late(held, seconds=40) as (account_harness, gateway):
        with anyio.move_on_after(0.2):  # the kill, with the detach in flight
            await account_harness.reconcile(WANTED)
        account_harness.memory = account_harness.journal = account_harness.memory.crash()
        assert _outcome(account_harness) is None

        second = await account_harness.reconcile(WANTED)  # sends it again, once, under its key
        assert (_name(second), second.exit_code) == ("unknown", 4)
        assert len(gateway.keys) == 2 and len(set(gateway.keys)) == 1
        third = await account_harness.reconcile(WANTED)
        assert (_name(third), third.exit_code) == ("unknown", 4)
        assert len(gateway.keys) == 2

        await anyio.sleep(60)
        assert gateway.delivered
        assert (await account_harness.reconcile(WANTED)).exit_code == 0
        outcome = _outcome(account_harness)
        assert outcome is not None and outcome.name == "applied"
        assert len(account_harness.memory.intents) == 1


async def test_an_unclear_write_that_never_lands_gets_a_new_key_after_the_horizon() -> None:
    held = harness.state_of({VANS: [A]})
    async with _delivered_late(held, attempts=2) as (account_harness, gateway):
        assert _name(await account_harness.reconcile(WANTED)) == "unknown"
        assert _name(await account_harness.reconcile(WANTED)) == "unknown"
        assert len(set(gateway.keys)) == 1
        await anyio.sleep(121)
        assert _name(await account_harness.reconcile(WANTED)) == "unknown"
        assert len(set(gateway.keys)) == 2
        first = _outcome(account_harness)
        assert first is not None and (first.name, first.code) == ("deferred", "not_made")  # type: ignore[union-attr]


async def test_a_late_detach_and_a_corrected_document_strand_nobody() -> None:
    async with _delivered_late(harness.state_of({VANS: [A], DEPOT: [A]}), seconds=30) as (account_harness, gateway):
        assert _name(await account_harness.reconcile({VANS: [], DEPOT: [A]})) == "unknown"
        corrected = await account_harness.reconcile({VANS: [A], DEPOT: []})
        assert harness.outcome(corrected, A, DEPOT) == "deferred" and corrected.exit_code == 4
        await anyio.sleep(31)
    assert set(account_harness.state.fleets_of(A)) == {DEPOT}
    assert len(gateway.keys) == 1


async def test_a_late_detach_and_an_approval_of_one_fleet_strand_nobody() -> None:
    """The detach that the approval freed was sent at once, although another might still take the wanted fleet."""
    corrected = {VANS: [A], DEPOT: [], NORTH: []}
    held = harness.state_of({VANS: [A], DEPOT: [A, C], NORTH: [B, D]})
    async with _delivered_late(held, seconds=30) as (account_harness, _):
        assert _name(await account_harness.reconcile({VANS: [], DEPOT: [A, C], NORTH: [B, D]})) == "unknown"
        account_harness.limits = _limits(0)
        account_harness.only = frozenset({FleetById(DEPOT)})
        digest = (await account_harness.reconcile(corrected)).held_digest
        approved = await account_harness.reconcile(corrected, approved=digest)
        assert harness.outcome(approved, A, DEPOT) == "deferred"
        await anyio.sleep(31)
    assert set(account_harness.state.fleets_of(A)) == {DEPOT}


async def test_an_approval_of_one_fleet_gives_no_second_key_to_an_unclear_write() -> None:
    wanted: harness.Wanted = {VANS: [], NORTH: []}
    async with _delivered_late(harness.state_of({VANS: [A, C], NORTH: [B, D]})) as (account_harness, gateway):
        account_harness.only = frozenset({FleetById(VANS)})
        for _ in range(2):
            assert _name(await account_harness.reconcile({VANS: [C], NORTH: [B, D]})) == "unknown"
        account_harness.limits = _limits(0)
        digest = (await account_harness.reconcile(wanted)).held_digest
        assert _name(await account_harness.reconcile(wanted, approved=digest)) == "unknown"
    assert sorted(gateway.keys.count(key) for key in set(gateway.keys)) == [1, 2]


@pytest.mark.parametrize("only", [[], [FleetById(VANS)]], ids=["all fleets", "its fleet named"])
async def test_an_unclear_write_keeps_its_key_when_its_row_moves(only: list[FleetById]) -> None:
    async with _delivered_late(harness.state_of({VANS: []}, others=[A, B])) as (account_harness, gateway):
        account_harness.only = frozenset(only)
        assert _name(await account_harness.reconcile({VANS: [A]})) == "unknown"
        assert _name(await account_harness.reconcile({VANS: [B, A]})) == "unknown"
    assert sorted(gateway.keys.count(key) for key in set(gateway.keys)) == [1, 2]


async def test_an_unclear_write_is_not_sent_again_while_its_reference_resolves_to_another_driver() -> None:
    """Found by a simulated world: that a run had sent a change before let it through every guard."""
    held = harness.state_of({VANS: []}, others=[A, B])
    async with _delivered_late(held) as (account_harness, gateway):
        account_harness.state.change_driver(A, email="sam@example.com")
        wanted: harness.Wanted = {VANS: ["sam@example.com", A]}
        assert _name(await account_harness.reconcile(wanted)) == "unknown"
        account_harness.state.change_driver(A, email="old@example.com")
        account_harness.state.change_driver(B, email="sam@example.com")
        finished = await account_harness.reconcile(wanted)
    assert finished.guarded is not None
    assert {(each.change.driver, each.guard) for each in finished.guarded.held} == {
        (A, guard.REFERENCE_MOVED),
        (B, guard.REFERENCE_MOVED),
    }
    assert len(gateway.keys) == 1


async def test_an_unclear_write_is_not_sent_again_past_a_limit_that_was_lowered_meanwhile() -> None:
    """Story: fleet-sync was killed while it detached too many, the limit was lowered, and it went on at its start."""
    held = harness.state_of({VANS: [A, B, C, D]})
    async with _delivered_late(held, limits=_limits(2)) as (account_harness, gateway):
        assert _name(await account_harness.reconcile({VANS: [C, D]})) == "unknown"
        account_harness.limits = _limits(1)
        finished = await account_harness.reconcile({VANS: [C, D]})
    assert finished.guarded is not None
    assert [(each.change.driver, each.guard) for each in finished.guarded.held] == [
        (A, guard.PER_FLEET),
        (B, guard.PER_FLEET),
    ]
    assert len(gateway.keys) == 2


async def test_an_unclear_write_counts_once_in_the_limits_as_long_as_it_is_unclear() -> None:
    """It counted as done and as due: until the horizon it was held, for an approval that sends nothing."""
    held = harness.state_of({VANS: [A, B, C, D]})
    async with _delivered_late(held, limits=_limits(2)) as (account_harness, _):
        reports = [await account_harness.reconcile({VANS: [B, C, D]}) for _ in range(3)]
        reports.append(await account_harness.reconcile({VANS: [C, D]}))
    assert [(_name(each), each.exit_code) for each in reports] == [("unknown", 4)] * 4
    assert all(each.held_digest == "" for each in reports)


async def test_two_timeouts_and_an_effect_some_seconds_later_are_found_out_in_the_same_run() -> None:
    held = harness.state_of({VANS: [A]})
    async with _delivered_late(held, seconds=6, attempts=2) as (account_harness, _):
        finished = await account_harness.reconcile(WANTED)
    assert (_name(finished), finished.exit_code) == ("applied", 0)


async def test_an_approved_write_stays_unknown_until_the_horizon_and_is_held_after_it() -> None:
    """It was held again once it had been sent twice, which changed the digest of what is held."""
    held = harness.state_of({VANS: [A, B, C], NORTH: [D]})
    async with _delivered_late(held, limits=_limits(0)) as (account_harness, gateway):
        wanted: harness.Wanted = {VANS: [B, C], NORTH: [D]}
        digest = (await account_harness.reconcile(wanted)).held_digest
        reports = [await account_harness.reconcile(wanted, approved=digest)]
        reports += [await account_harness.reconcile({VANS: [B, C], NORTH: []}) for _ in range(3)]
        await anyio.sleep(121)
        past_horizon = await account_harness.reconcile({VANS: [B, C], NORTH: []})
    assert [_name(each) for each in reports] == ["unknown"] * 4
    assert len({each.held_digest for each in reports[1:]}) == 1
    assert len(gateway.keys) == 2
    assert past_horizon.guarded is not None and {each.change.driver for each in past_horizon.guarded.held} == {A, D}


async def test_an_unclear_write_that_the_sources_no_longer_want_is_a_problem_of_every_run() -> None:
    async with _delivered_late(harness.state_of({VANS: [A]})) as (account_harness, _):
        assert _name(await account_harness.reconcile(WANTED)) == "unknown"
        again = await account_harness.reconcile({VANS: [A]})
        assert again.exit_code == 4
        assert again.guarded is not None
        assert [problem.message for problem in again.guarded.problems] == [
            "the detach that run_1 sent may still take effect"
        ]
        await anyio.sleep(121)
        assert (await account_harness.reconcile({VANS: [A]})).exit_code == 0


class DetachesDeliveredLate(DeliveredLate):
    """The same, but only detaches are late."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/attach"):
            return await support.transport(self._harness.sandbox).handle_async_request(request)
        return await super().handle_async_request(request)


async def test_a_detach_that_was_sent_is_unknown_although_its_attach_vanishes_before_the_next_attempt() -> None:
    """Found by a simulated world: it was recorded as not made, and took effect later."""
    held = harness.state_of({VANS: [A], DEPOT: []})

    class Meddling(DetachesDeliveredLate):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/detach"):
                held.detach(A, DEPOT)
                held.change_fleet(DEPOT, status="archived")  # so that the membership cannot be restored
            return await super().handle_async_request(request)

    async with anyio.create_task_group() as tasks:
        account_harness = harness.Harness(held, new_transport=lambda: gateway)
        gateway = Meddling(account_harness, tasks, seconds=10_000)
        finished = await account_harness.reconcile({VANS: [], DEPOT: [A]})
        tasks.cancel_scope.cancel()
    outcomes = {result.change.action: result.outcome for result in finished.results if not result.repair}
    assert len(gateway.keys) >= 1
    assert outcomes[Action.DETACH].name == "unknown"


async def test_a_detach_that_was_sent_is_unknown_while_its_attach_backs_off() -> None:
    held = harness.state_of({VANS: [A], DEPOT: []})
    held.change_fleet(DEPOT, status="archived")
    async with _delivered_late(held, kind=DetachesDeliveredLate) as (account_harness, _):
        refused = await account_harness.reconcile({VANS: [A], DEPOT: [A]})
        assert harness.outcome(refused, A, DEPOT) == "refused"
        assert _name(await account_harness.reconcile({VANS: []})) == "unknown"
        finished = await account_harness.reconcile({VANS: [], DEPOT: [A]})
    assert (harness.outcome(finished, A, DEPOT), _name(finished)) == ("deferred", "unknown")
