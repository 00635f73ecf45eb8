"""A driver whom the sources want somewhere is never left in no fleet while the report says that all is well."""

import json
import random
from collections.abc import Iterable
from typing import Any

import anyio
import httpx
import pytest

from tests.support import doubles, harness, laws
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C
from tests.support.meddling import Hook, Hooked, once
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import Already, Deferred, Outcome, Unknown
from worker.core.model.plan import Action
from worker.core.model.report import Report, RunResult
from worker.core.safety import attach_first
from worker.sandbox import faults, http_types, quirks, state

pytestmark = pytest.mark.anyio

SOUTH = harness.fleet_id("S")


def hooked(
    held: state.SandboxState, *, before: Hook | None = None, after: Hook | None = None, **rest: Any
) -> harness.Harness:
    """Return an account with another client at work."""
    account_harness = harness.Harness(
        held,
        new_transport=lambda: Hooked(support.transport(account_harness.sandbox), before=before, after=after),
        **rest,
    )
    return account_harness


def moved() -> state.SandboxState:
    """Return an account in which A is in two fleets."""
    return harness.state_of({VANS: [A], DEPOT: [A], NORTH: []}, others=[B, C])


WANTED = {VANS: [], DEPOT: [A]}


def problems(finished: Report) -> list[str]:
    return [problem.where for problem in finished.problems if not problem.note]


async def test_another_client_removes_the_wanted_membership_before_our_detach() -> None:
    """Story: another writer took a driver out of his last other fleet between our reading and our detach."""
    held = moved()
    account_harness = hooked(held, before=once(f"GET /v1/drivers/{A}", lambda: held.detach(A, DEPOT)))
    finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (DEPOT,)
    assert finished.result is RunResult.CONVERGED
    assert [(result.change.fleet, result.outcome.name, result.repair) for result in finished.results] == [
        (VANS, "applied", False),
        (DEPOT, "applied", True),
    ]


async def test_another_client_removes_the_wanted_membership_between_the_proof_and_the_detach() -> None:
    held = moved()
    account_harness = hooked(held, before=once("/detach", lambda: held.detach(A, DEPOT)))
    finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (DEPOT,)
    assert finished.result is RunResult.CONVERGED
    assert [result.repair for result in finished.results if result.change.fleet == DEPOT] == [True]


async def test_another_client_removes_the_wanted_membership_after_our_last_write() -> None:
    held = moved()
    account_harness = hooked(held, after=once("/detach", lambda: held.detach(A, DEPOT)))
    finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (DEPOT,)
    assert finished.result is RunResult.CONVERGED


async def test_a_repair_that_cannot_be_recorded_is_not_sent_and_ends_the_run() -> None:
    held = moved()
    journal = doubles.FailingJournal("add_intents")
    account_harness = hooked(held, before=once(f"GET /v1/drivers/{A}", lambda: held.detach(A, DEPOT)), journal=journal)
    finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (VANS,), "the detach without its repair would leave A in no fleet"
    assert account_harness.writes == []
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, finished.counts["deferred"]) == (1, 1)


async def test_a_second_removal_is_not_repaired_but_reported() -> None:
    held = moved()

    def meddle(request: httpx.Request) -> None:
        if request.method == "POST" and DEPOT in held.fleets_of(A):
            held.detach(A, DEPOT)

    account_harness = hooked(held, after=meddle)
    finished = await account_harness.reconcile(WANTED)
    assert (finished.result, finished.exit_code) == (RunResult.PARTIAL, 4)
    assert A in problems(finished) or not all(result.done for result in finished.results)
    assert len([line for line in account_harness.writes if line.endswith("attach")]) == 1


async def test_the_proof_is_taken_again_after_a_pause_that_charge_asked_for() -> None:
    """The pause of 40 s begins after the proof; another client acts during it."""
    held = moved()
    seen: list[tuple[str, ...]] = []

    def note(request: httpx.Request) -> None:
        if request.url.path.endswith("/detach"):
            seen.append(held.fleets_of(A))

    account_harness = hooked(held, before=note)
    refused = anyio.Event()

    def script(request: http_types.Request) -> str | None:
        if request.route == "detach" and not refused.is_set():
            refused.set()
            return "rate_limited"
        return None

    account_harness.sandbox.faults = faults.Faults(script=script)
    account_harness.sandbox.quirks = quirks.Quirks(retry_after="seconds")

    async def meddle() -> None:
        await refused.wait()
        account_harness.limiter.limited(anyio.current_time(), 40.0)
        held.detach(A, DEPOT)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meddle)
        finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (DEPOT,)
    assert finished.exit_code == 0
    assert all(DEPOT in fleets for fleets in seen)


async def test_an_attach_that_is_accepted_and_not_kept_defers_the_detach_and_is_no_success() -> None:
    """Story: an attach was answered 200 and not kept; the detach went out."""
    held = harness.state_of({VANS: [A], DEPOT: []})
    account_harness = hooked(held, after=once("/attach", lambda: held.detach(A, DEPOT)))
    finished = await account_harness.reconcile(WANTED)
    assert held.fleets_of(A) == (VANS,)
    assert finished.exit_code == 4
    outcomes: dict[str, Outcome] = {result.change.action: result.outcome for result in finished.results}
    assert isinstance(outcomes["attach"], Unknown) and outcomes["attach"].code == "not_converging"
    assert isinstance(outcomes["detach"], Deferred) and outcomes["detach"].code == "attach_first"


async def test_an_attach_that_is_never_seen_defers_every_detach_of_its_driver() -> None:
    """The second detach has a proof of its own: the driver is in another wanted fleet."""
    held = harness.state_of({VANS: [A], DEPOT: [A], NORTH: [A], SOUTH: []}, others=[B])
    account_harness = hooked(held, after=once("/attach", lambda: held.detach(A, SOUTH)))
    finished = await account_harness.reconcile({VANS: [], DEPOT: [], NORTH: [A], SOUTH: [A]})
    assert set(held.fleets_of(A)) == {VANS, DEPOT, NORTH}
    outcomes = {(result.change.action, result.change.fleet): result.outcome for result in finished.results}
    for fleet in (VANS, DEPOT):
        assert outcomes[Action.DETACH, fleet] == attach_first.deferred_detach(SOUTH)
    assert not account_harness.requests("/detach")


class History:
    """The writes of all connections, with their times, and a lock so that a reading is not disturbed by a write."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, str, str, str]] = []
        self.lock = anyio.Lock()


class Lagging(httpx.AsyncBaseTransport):
    """A connection to a server whose lists, or all of whose reads, show the account as it was some seconds ago."""

    def __init__(
        self, account_harness: harness.Harness, history: "History", *, seconds: float, lists_only: bool
    ) -> None:
        self.writes, self.lock = history.writes, history.lock
        self._harness = account_harness
        self._seconds = seconds
        self._lists_only = lists_only

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")
        server = support.transport(self._harness.sandbox)
        async with self.lock:
            if request.method == "POST":
                fleet = json.loads(request.content)["fleet"]
                self.writes.append((anyio.current_time(), parts[4], parts[3], fleet))
                return await server.handle_async_request(request)
            if parts[2] == "fleets" or (len(parts) > 3 and self._lists_only):
                return await server.handle_async_request(request)
            late = [each for each in self.writes if each[0] > anyio.current_time() - self._seconds]
            for _, action, driver, fleet in reversed(late):
                self._apply("detach" if action == "attach" else "attach", driver, fleet)
            response = await server.handle_async_request(request)
            for _, action, driver, fleet in late:
                self._apply(action, driver, fleet)
            return response

    def _apply(self, action: str, driver: str, fleet: str) -> None:
        act = self._harness.state.attach if action == "attach" else self._harness.state.detach
        act(driver, fleet)


@pytest.mark.parametrize("lists_only", [True, False])
async def test_reads_that_lag_behind_writes_make_no_run_partial(lists_only: bool) -> None:
    """Story: with lists 3 s behind, every run was `partial`, and real changes stayed `unknown` forever."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(300)]
    held = harness.state_of({VANS: drivers, DEPOT: []})
    history = History()
    account_harness = harness.Harness(
        held, new_transport=lambda: Lagging(account_harness, history, seconds=3.0, lists_only=lists_only)
    )
    for number in range(1, 4):
        wanted = {VANS: drivers[100 * number :], DEPOT: drivers[: 100 * number]}
        finished = await account_harness.reconcile(wanted)
        assert (finished.result, finished.exit_code) == (RunResult.CONVERGED, 0)
        assert held.members(DEPOT) == set(drivers[: 100 * number])
        await anyio.sleep(60)


async def test_a_listing_that_may_lag_does_not_outweigh_the_reply_to_our_last_write() -> None:
    """Replies are always current: if the last one lacks a wanted fleet, only a GET settles that."""
    leavers = [DriverId(f"drv_{number:032d}") for number in range(20)]  # so many that the run reads back by listing
    held = harness.state_of({VANS: [A, *leavers], DEPOT: [A], NORTH: [A]})
    repaired: list[str] = []

    def before(request: httpx.Request) -> None:
        if request.url.path.endswith(f"{A}/detach"):
            held.detach(A, VANS)  # now A is in DEPOT and NORTH, which is what lists show from now on
            held.detach(A, NORTH)
        elif request.url.path.endswith(f"{A}/attach"):
            held.detach(A, DEPOT)
            repaired.append(A)
        elif repaired and request.url.path.count("/") == 2:
            held.attach(A, DEPOT)

    def after(request: httpx.Request) -> None:
        if repaired and request.url.path.count("/") == 2:
            held.detach(A, DEPOT)

    account_harness = hooked(held, before=before, after=after, concurrency=1)
    finished = await account_harness.reconcile({VANS: [], DEPOT: [A], NORTH: [A]})
    assert held.fleets_of(A) == (NORTH,)
    assert not account_harness.requests("GET /drivers/drv_0"), "the others are read back by listing"
    assert (finished.result, problems(finished)) == (RunResult.PARTIAL, [A])


async def test_moves_complete_at_any_rate_although_charge_asks_for_pauses_now_and_then() -> None:
    """The proof rule never livelocks."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(12)]
    for rate in (0.5, 25.0):
        held = harness.state_of({VANS: drivers, DEPOT: []})
        account_harness = hooked(held, requests_per_second=rate, burst=1)
        count = iter(range(10_000))

        def pause(request: httpx.Request, account: harness.Harness = account_harness, count: Any = count) -> None:
            if next(count) % 9 == 8:
                account.limiter.limited(anyio.current_time(), 7.0)

        account_harness = hooked(held, after=pause, requests_per_second=rate, burst=1)
        finished = await account_harness.reconcile({VANS: [], DEPOT: drivers})
        assert held.members(DEPOT) == set(drivers)
        assert held.members(VANS) == set()
        assert finished.result is RunResult.CONVERGED


async def test_a_detach_of_a_driver_who_stays_takes_one_more_get_and_a_leaver_takes_none() -> None:
    held = harness.state_of({VANS: [A, B], DEPOT: []}, others=[C])
    account_harness = harness.Harness(held)
    wanted = {VANS: [], DEPOT: [A]}
    plan_result = await account_harness.new_plan_builder(doubles.Source(wanted)).build()
    before = len(account_harness.sandbox.requests)
    finished = await account_harness.reconcile(wanted)
    after = account_harness.requests()[before + plan_result.actual.requests :]
    assert finished.result is RunResult.CONVERGED
    assert after.count(f"GET /drivers/{A}") == 1 + 1  # the proof, and reading back
    assert after.count(f"GET /drivers/{B}") == 1  # reading back
    assert len(after) == plan_result.guarded.cost.requests
    idle = len(account_harness.sandbox.requests)
    assert (await account_harness.reconcile(wanted)).result is RunResult.IN_SYNC
    assert len(account_harness.sandbox.requests) - idle == plan_result.actual.requests


async def test_a_detach_answered_404_of_a_driver_who_is_gone_is_already_done() -> None:
    """Story: removing somebody already gone failed (terraform-provider-github 1002)."""
    held = harness.state_of({VANS: [A, B]})
    account_harness = hooked(held, before=once(f"POST /v1/drivers/{A}/detach", lambda: held.remove_driver(A)))
    finished = await account_harness.reconcile({VANS: [B]})
    assert isinstance(finished.results[0].outcome, Already)
    assert finished.exit_code == 0


def _contradictions(
    finished: Report, held: state.SandboxState, wanted: harness.Wanted, written: Iterable[str]
) -> list[str]:
    return [
        driver
        for driver in written
        if any(driver in drivers and driver not in held.members(fleet) for fleet, drivers in wanted.items())
    ]


@pytest.mark.parametrize("seed", range(laws.tries(40)))
async def test_two_hosts_with_two_versions_of_the_document_strand_nobody(seed: int) -> None:
    """Story: two hosts with two versions of one document moved the same driver: in no fleet, both `converged`."""
    chance = random.Random(seed)
    drivers = [DriverId(f"drv_{number:032d}") for number in range(4)]
    fleets = [VANS, DEPOT, NORTH]
    held = harness.state_of(
        {fleet: [driver for driver in drivers if chance.random() < 0.5] for fleet in fleets}, others=drivers
    )
    versions = [{fleet: [driver for driver in drivers if chance.random() < 0.6] for fleet in fleets} for _ in range(2)]
    hosts = [
        harness.Harness(
            held, quirks=quirks.Quirks(latency_seconds=chance.uniform(0.05, 1.0)), requests_per_second=20, burst=3
        )
        for _ in versions
    ]
    for host in hosts[1:]:
        host.sandbox.state = held

    async def reconcile(host: harness.Harness, wanted: harness.Wanted, delay: float) -> None:
        await anyio.sleep(delay)
        await host.reconcile(wanted)

    async with anyio.create_task_group() as tasks:
        for host, wanted in zip(hosts, versions, strict=True):
            tasks.start_soon(reconcile, host, wanted, chance.uniform(0, 3))
    for host, wanted in zip(hosts, versions, strict=True):
        await host.reconcile(wanted)
    wanted_by_both = {
        driver
        for driver in drivers
        if all(any(driver in members for members in version.values()) for version in versions)
    }
    assert all(held.fleets_of(driver) for driver in wanted_by_both)
