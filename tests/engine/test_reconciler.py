"""One run from reading to report, on the real engine before a sandbox."""

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any

import anyio
import httpx
import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, VANS, A, B, C, D
from worker.core.model.desired import Mode
from worker.core.model.errors import JournalError, KeyForbidden, KeyRejected, Stopped
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.plan import Cost
from worker.core.model.report import Report, RunResult
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import plan_builder
from worker.sandbox import faults, http_types, quirks

pytestmark = pytest.mark.anyio

QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


# --- A run ------------------------------------------------------------------------------------------------


async def test_a_run_makes_what_is_wanted_so_and_says_what_it_did() -> None:
    account_harness = harness.Harness(accounts.account(), quirks=quirks.Quirks(latency_seconds=0.1))
    finished = await account_harness.reconcile(accounts.WANTED)
    assert account_harness.state.memberships() == accounts.AFTER
    assert (finished.result, finished.exit_code, finished.error) == (RunResult.CONVERGED, 0, None)
    assert [(result.change.action.value, result.change.driver, result.change.fleet) for result in finished.results] == [
        ("attach", D, VANS),
        ("detach", A, VANS),
        ("attach", A, DEPOT),
    ]
    assert finished.counts == {name: 3 if name == "applied" else 0 for name in OUTCOME_NAMES}
    assert finished.finished > finished.started
    assert account_harness.memory.reports[finished.run] is finished
    assert account_harness.memory.plans[finished.run] is finished.guarded


async def test_a_second_run_makes_no_writes() -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.reconcile(accounts.WANTED)
    writes = account_harness.writes
    finished = await account_harness.reconcile(accounts.WANTED)
    assert account_harness.writes == writes
    assert (finished.result, finished.exit_code, finished.results) == (RunResult.IN_SYNC, 0, ())
    assert finished.traffic.writes == 0
    assert finished.run not in account_harness.memory.plans


@pytest.mark.parametrize("conduct", [quirks.Quirks(null_lists=True, unknown_values=True), quirks.PLAUSIBLE])
async def test_the_figures_are_those_of_the_wire(conduct: quirks.Quirks) -> None:
    account_harness = harness.Harness(accounts.account(), quirks=conduct, timeout=1)
    account_harness.sandbox.faults = faults.Faults(
        dict.fromkeys(("rate_limited_seconds", "500", "503", "reset_after", "truncated", "hang"), 0.15), seed=5
    )
    finished = await account_harness.reconcile(accounts.WANTED)
    requests = account_harness.sandbox.requests
    assert finished.traffic.writes == len(account_harness.writes)
    assert finished.traffic.reads == len(requests) - len(account_harness.writes)
    assert finished.traffic.rate_limited == sum(request.status == 429 for request in requests) > 0
    assert finished.traffic.retries > finished.traffic.rate_limited


async def test_the_cost_of_a_plan_is_what_carrying_it_out_takes() -> None:
    account_harness = harness.Harness(accounts.account(), requests_per_second=10)
    plan_result = await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()
    before = len(account_harness.sandbox.requests)
    assert plan_result.actual.requests == before
    await account_harness.reconcile(accounts.WANTED)
    carried_out = len(account_harness.sandbox.requests) - 2 * before
    assert plan_result.guarded.cost == Cost(carried_out, round(carried_out / 10, 1))


async def test_the_same_inputs_give_the_same_plan() -> None:
    surveys = [
        await harness.Harness(accounts.account()).new_plan_builder(doubles.Source(accounts.WANTED)).build()
        for _ in range(2)
    ]
    surveys.append(
        await harness.Harness(accounts.account())
        .new_plan_builder(doubles.Source(dict(reversed(accounts.WANTED.items()))))
        .build()
    )
    assert len({plan_result.guarded.digest for plan_result in surveys}) == 1
    assert surveys[0].guarded.changes == surveys[1].guarded.changes


async def test_several_sources_add_up() -> None:
    account_harness = harness.Harness(accounts.account())
    sources = [doubles.Source({fleet: drivers}) for fleet, drivers in accounts.WANTED.items()]
    await account_harness.new_reconciler(*sources).reconcile(trigger="test")
    assert account_harness.state.memberships() == accounts.AFTER


@pytest.mark.parametrize("of_fleet", [False, True])
async def test_an_additive_fleet_loses_nobody(of_fleet: bool) -> None:
    account_harness = harness.Harness(accounts.account(), mode=Mode.EXACT if of_fleet else Mode.ADDITIVE)
    modes = dict.fromkeys(accounts.WANTED, Mode.ADDITIVE) if of_fleet else {}
    await account_harness.new_reconciler(doubles.Source(accounts.WANTED, modes=modes)).reconcile(trigger="test")
    assert account_harness.state.memberships() == accounts.AFTER | {(A, VANS)}


async def test_fleets_by_name_and_drivers_by_address_mean_the_same() -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.reconcile(
        {"Fleet V": ["B" * 32 + "@EXAMPLE.com", D], "Fleet W": ["a" * 32 + "@example.com", "c" * 32 + "@Example.COM"]}
    )
    assert account_harness.state.memberships() == accounts.AFTER


async def test_a_rehearsal_and_a_survey_change_nothing() -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).plan_ignoring_start_dates()
    await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()
    assert account_harness.writes == []
    assert account_harness.memory.plans == {}


# --- The guard --------------------------------------------------------------------------------------------


async def test_what_the_guard_holds_is_made_once_its_digest_is_approved() -> None:
    account_harness = harness.Harness(accounts.account(), limits=guard.Limits(always_allow=0))
    finished = await account_harness.reconcile({VANS: [B]})
    assert finished.guarded is not None
    assert (finished.exit_code, finished.result, len(finished.guarded.held)) == (3, RunResult.HELD, 1)
    assert account_harness.writes == []
    digest = finished.guarded.held_digest
    assert (await account_harness.reconcile({VANS: [B]}, approved="sha256:" + "0" * 64)).exit_code == 3
    more = await account_harness.new_plan_builder(doubles.Source({VANS: [B], DEPOT: []})).build(approved=digest)
    assert (len(more.guarded.held), more.guarded.changes) == (2, ())
    assert account_harness.writes == []
    assert (await account_harness.reconcile({VANS: [B]}, approved=digest)).exit_code == 0
    assert account_harness.state.members(VANS) == {B}


async def test_a_refusal_outranks_a_hold() -> None:
    held = accounts.account()
    held.change_fleet(DEPOT, status="archived")
    account_harness = harness.Harness(held, limits=guard.Limits(always_allow=0))
    finished = await account_harness.reconcile({VANS: [B], DEPOT: [A, C]})
    assert finished.guarded is not None
    assert (len(finished.guarded.held), finished.counts["refused"], finished.exit_code) == (1, 1, 4)


# --- What ends a run --------------------------------------------------------------------------------------


async def test_a_rejected_key_costs_one_request() -> None:
    account_harness = harness.Harness(accounts.account(), key="ch_sk_test_wrong")
    finished = await account_harness.reconcile(accounts.WANTED)
    assert isinstance(finished.error, KeyRejected)
    assert (finished.exit_code, finished.guarded, len(account_harness.sandbox.requests)) == (1, None, 1)
    assert "ch_sk_test_wrong" not in str(vars(finished.error))


@pytest.mark.parametrize("left", range(7))
async def test_a_key_revoked_at_any_moment_stops_all_requests_at_once(left: int) -> None:
    requests = [left]
    account_harness = harness.Harness(
        accounts.account(),
        concurrency=1,
        new_transport=lambda: doubles.Revoking(support.transport(account_harness.sandbox), requests),
    )
    finished = await account_harness.reconcile(accounts.WANTED)
    assert requests == [-1]
    assert isinstance(finished.error, KeyRejected)
    assert finished.exit_code == 1
    assert finished.counts["applied"] == len(account_harness.state.effects)


async def test_a_stop_while_reading_ends_the_run_at_once() -> None:
    account_harness = harness.Harness(accounts.account(), quirks=quirks.Quirks(latency_seconds=20))
    run = account_harness.new_reconciler(doubles.Source(accounts.WANTED))
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await run.reconcile(trigger="test"))

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconcile)
        await anyio.sleep(25)
        account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    assert anyio.current_time() - start == pytest.approx(25)
    assert (reports[0].exit_code, reports[0].guarded, account_harness.writes) == (143, None, [])


async def test_a_stop_while_writing_reports_what_was_made_and_what_was_not() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(20)]
    held = harness.state_of({VANS: []}, others=drivers)
    account_harness = harness.Harness(held, requests_per_second=10, burst=1, quirks=quirks.Quirks(latency_seconds=0.5))
    run = account_harness.new_reconciler(doubles.Source({VANS: drivers}))
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await run.reconcile(trigger="test"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconcile)
        await anyio.sleep(2)
        account_harness.run_cancellation.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    (finished,) = reports
    assert finished.exit_code == 143
    made = len(account_harness.state.effects)
    assert 5 < made < 20
    assert (finished.counts["applied"], finished.counts["deferred"]) == (made, 20 - made)
    assert account_harness.memory.reports[finished.run] is finished
    assert (await account_harness.reconcile({VANS: drivers})).exit_code == 0
    assert account_harness.state.members(VANS) == set(drivers)


async def test_a_key_without_permission_to_read_says_so() -> None:
    account_harness = harness.Harness(
        accounts.account(),
        new_transport=lambda: httpx.MockTransport(lambda request: httpx.Response(403, json={"message": "Not yours."})),
    )
    finished = await account_harness.reconcile(accounts.WANTED)
    assert isinstance(finished.error, KeyForbidden)
    assert (finished.error.code, finished.exit_code) == ("key_forbidden", 1)
    assert "403: Not yours." in finished.error.message


# --- The journal ------------------------------------------------------------------------------------------


async def test_without_a_journal_nothing_is_sent() -> None:
    account_harness = harness.Harness(accounts.account(), journal=doubles.FailingJournal("begin"))
    finished = await account_harness.reconcile(accounts.WANTED)
    assert account_harness.writes == []
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, finished.results, finished.result) == (1, (), RunResult.FAILED)
    assert finished.error.remedy


async def test_a_run_with_nothing_to_write_needs_no_journal() -> None:
    account_harness = harness.Harness(accounts.account(), journal=doubles.FailingJournal("begin"))
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 0


async def test_a_journal_that_fails_in_mid_run_stops_further_writes() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    account_harness = harness.Harness(
        harness.state_of({VANS: []}, others=drivers),
        journal=doubles.FailingJournal("record", after=2),
        requests_per_second=50,
        burst=1,
    )
    finished = await account_harness.reconcile({VANS: drivers})
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, len(account_harness.writes) < 20) == (1, True)
    assert finished.counts["applied"] == len(account_harness.state.effects)
    assert finished.counts["applied"] + finished.counts["deferred"] == 40


async def test_a_journal_that_cannot_take_the_end_is_an_error_beside_what_was_done() -> None:
    account_harness = harness.Harness(accounts.account(), journal=doubles.FailingJournal("finish"))
    finished = await account_harness.reconcile(accounts.WANTED)
    assert account_harness.state.memberships() == accounts.AFTER
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, finished.counts["applied"]) == (1, 3)


# --- Verification -----------------------------------------------------------------------------------------


class Replaying(httpx.AsyncBaseTransport):
    """A server that answers writes of one driver as if they were made, and makes none of them."""

    def __init__(self, server: httpx.AsyncBaseTransport, driver: str, fleets: Iterable[str]) -> None:
        self._server, self._driver, self._fleets = server, driver, list(fleets)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self._driver in request.url.path:
            return httpx.Response(200, json={"id": self._driver, "fleets": self._fleets})
        return await self._server.handle_async_request(request)


@pytest.mark.parametrize("crowd", [0, 40])
@pytest.mark.parametrize(
    ("driver", "fleets", "wanted"), [(D, [VANS], [A, B, D]), (A, [], [B])], ids=["attach", "detach"]
)
async def test_an_answer_that_lies_is_caught_by_reading_back(
    driver: DriverId, fleets: list[str], wanted: list[DriverId], crowd: int, log: list[dict[str, Any]]
) -> None:
    """By the changed drivers, or by everything where that is cheaper."""
    others = [DriverId(f"drv_{number:032d}") for number in range(crowd)]
    held = harness.state_of({VANS: [A, B]}, others=[D, *others])
    account_harness = harness.Harness(
        held, new_transport=lambda: Replaying(support.transport(account_harness.sandbox), driver, fleets)
    )
    finished = await account_harness.reconcile({VANS: [*wanted, *others]})
    assert harness.outcome(finished, driver, VANS) == "unknown"
    assert (finished.exit_code, finished.counts["unknown"], finished.counts["applied"]) == (4, 1, crowd)
    assert [problem.where for problem in finished.problems] == ["verification"]
    assert ("not_converging", "error") in [(line["event"], line["log_level"]) for line in log]


@pytest.mark.integration
async def test_verification_costs_no_more_than_reading_everything_once_more() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(300)]
    account_harness = harness.Harness(harness.state_of({VANS: []}, others=drivers))
    plan_result = await account_harness.new_plan_builder(doubles.Source({VANS: drivers})).build()
    before = len(account_harness.sandbox.requests)
    await account_harness.reconcile({VANS: drivers})
    assert len(account_harness.sandbox.requests) - before - 300 <= 2 * plan_result.actual.requests


@pytest.mark.parametrize("name", ["503", "reset_before"])
async def test_what_cannot_be_read_back_is_said(name: str) -> None:
    written: set[str] = set()

    def script(request: http_types.Request) -> str | None:
        if request.route in http_types.WRITES:
            written.add(request.subject)
        return name if request.route == "driver" and request.subject in written else None

    account_harness = harness.Harness(accounts.account(), faults=faults.Faults(script=script), policy=QUICK)
    finished = await account_harness.reconcile(accounts.WANTED)
    # The detach of the driver who moves has no proof, because the driver cannot be read.
    assert (finished.counts["applied"], finished.counts["deferred"]) == (2, 1)
    assert [problem.where for problem in finished.problems] == ["verification"]
    assert "could not be read back" in finished.problems[0].message


async def test_a_write_that_cannot_be_read_back_is_no_success() -> None:
    """The attach is answered 200 and not kept, and no driver can be retrieved: the reply alone must not be believed."""
    held = accounts.account()

    def script(request: http_types.Request) -> str | None:
        return "503" if request.route == "driver" else "not_kept" if request.route in http_types.WRITES else None

    account_harness = harness.Harness(held, faults=faults.Faults(script=script), policy=QUICK)
    finished = await account_harness.reconcile({VANS: [A, B, D]})
    assert (D in held.members(VANS), finished.result) == (False, "partial")


async def test_what_is_shown_is_what_is_judged_and_made() -> None:
    shown: list[plan_builder.PlanResult] = []
    account_harness = harness.Harness(
        accounts.account(), limits=dataclasses.replace(harness.LENIENT, max_detach_fraction=0.0, always_allow=0)
    )
    finished = await account_harness.new_reconciler(doubles.Source(accounts.WANTED), show=shown.append).reconcile(
        trigger="test"
    )
    (plan_result,) = shown
    assert plan_result.guarded is finished.guarded is account_harness.memory.plans[finished.run]
    assert {result.change for result in finished.results} == set(plan_result.guarded.changes)
    assert set(account_harness.memory.intents.values()) == set(plan_result.guarded.changes)
    assert (A, VANS) in account_harness.state.memberships()


@pytest.mark.integration
async def test_quiet_runs_are_forgotten_too_and_once_a_day_is_enough() -> None:
    """They have no results, and there are the most of them."""
    account_harness = harness.Harness(harness.state_of({VANS: [A]}), keep=datetime.timedelta(days=1))
    forgetting = 0
    for _ in range(6 * 24):
        before = len(account_harness.memory.reports)
        assert (await account_harness.reconcile({VANS: [A]})).result is RunResult.IN_SYNC
        forgetting += len(account_harness.memory.reports) <= before
        assert len(account_harness.memory.reports) <= 2 * 24
        await anyio.sleep(3600)
    assert 4 <= forgetting <= 5
