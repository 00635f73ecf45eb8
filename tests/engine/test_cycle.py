"""One run from reading to report, on the real engine before a sandbox."""

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any

import anyio
import httpx
import pytest

from tests.engine import accounts
from tests.support import doubles
from tests.support import rig as rigs
from tests.support import sandbox as support
from tests.support.rig import DEPOT, VANS, A, B, C, D
from worker.core import values
from worker.core.model.errors import JournalError, KeyRejected, RequestRefused, Stopped
from worker.core.model.outcomes import OUTCOME_NAMES
from worker.core.model.report import Report, RunResult
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import survey as survey_
from worker.sandbox import behaviour, faults, messages

pytestmark = pytest.mark.anyio

QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


# --- A run ------------------------------------------------------------------------------------------------


async def test_a_run_makes_what_is_wanted_so_and_says_what_it_did() -> None:
    rig = rigs.Rig(accounts.account(), behaviour=behaviour.Behaviour(latency_seconds=0.1))
    finished = await rig.reconcile(accounts.WANTED)
    assert rig.roster.memberships() == accounts.AFTER
    assert (finished.result, finished.exit_code, finished.error) == (RunResult.CONVERGED, 0, None)
    assert [(result.change.action.value, result.change.driver, result.change.fleet) for result in finished.results] == [
        ("attach", D, VANS),
        ("detach", A, VANS),
        ("attach", A, DEPOT),
    ]
    assert finished.counts == {name: 3 if name == "applied" else 0 for name in OUTCOME_NAMES}
    assert finished.finished > finished.started
    assert rig.memory.reports[finished.run] is finished
    assert rig.memory.plans[finished.run] is finished.guarded


async def test_a_second_run_makes_no_writes() -> None:
    rig = rigs.Rig(accounts.account())
    await rig.reconcile(accounts.WANTED)
    writes = rig.writes
    finished = await rig.reconcile(accounts.WANTED)
    assert rig.writes == writes
    assert (finished.result, finished.exit_code, finished.results) == (RunResult.IN_SYNC, 0, ())
    assert finished.traffic.writes == 0
    assert finished.run not in rig.memory.plans


@pytest.mark.parametrize("conduct", [behaviour.Behaviour(null_lists=True, unknown_values=True), behaviour.PLAUSIBLE])
async def test_the_figures_are_those_of_the_wire(conduct: behaviour.Behaviour) -> None:
    rig = rigs.Rig(accounts.account(), behaviour=conduct, timeout=1)
    rig.sandbox.faults = faults.Faults(
        dict.fromkeys(("rate_limited_seconds", "500", "503", "reset_after", "truncated", "hang"), 0.15), seed=5
    )
    finished = await rig.reconcile(accounts.WANTED)
    requests = rig.sandbox.requests
    assert finished.traffic.writes == len(rig.writes)
    assert finished.traffic.reads == len(requests) - len(rig.writes)
    assert finished.traffic.rate_limited == sum(request.status == 429 for request in requests) > 0
    assert finished.traffic.retries > finished.traffic.rate_limited


async def test_the_cost_of_a_plan_is_what_carrying_it_out_takes() -> None:
    rig = rigs.Rig(accounts.account(), requests_per_second=10)
    survey = await rig.surveyor(doubles.Source(accounts.WANTED)).survey()
    before = len(rig.sandbox.requests)
    assert survey.actual.requests == before
    await rig.reconcile(accounts.WANTED)
    carried_out = len(rig.sandbox.requests) - 2 * before
    assert survey.guarded.cost == values.Cost(carried_out, round(carried_out / 10, 1))


async def test_the_same_inputs_give_the_same_plan() -> None:
    surveys = [await rigs.Rig(accounts.account()).surveyor(doubles.Source(accounts.WANTED)).survey() for _ in range(2)]
    surveys.append(
        await rigs.Rig(accounts.account()).surveyor(doubles.Source(dict(reversed(accounts.WANTED.items())))).survey()
    )
    assert len({survey.guarded.digest for survey in surveys}) == 1
    assert surveys[0].guarded.changes == surveys[1].guarded.changes


async def test_several_sources_add_up() -> None:
    rig = rigs.Rig(accounts.account())
    sources = [doubles.Source({fleet: drivers}) for fleet, drivers in accounts.WANTED.items()]
    await rig.cycle(*sources).reconcile(trigger="test")
    assert rig.roster.memberships() == accounts.AFTER


@pytest.mark.parametrize("of_fleet", [False, True])
async def test_an_additive_fleet_loses_nobody(of_fleet: bool) -> None:
    rig = rigs.Rig(accounts.account(), mode=values.Mode.EXACT if of_fleet else values.Mode.ADDITIVE)
    modes = dict.fromkeys(accounts.WANTED, values.Mode.ADDITIVE) if of_fleet else {}
    await rig.cycle(doubles.Source(accounts.WANTED, modes=modes)).reconcile(trigger="test")
    assert rig.roster.memberships() == accounts.AFTER | {(A, VANS)}


async def test_fleets_by_name_and_drivers_by_address_mean_the_same() -> None:
    rig = rigs.Rig(accounts.account())
    await rig.reconcile(
        {"Fleet V": ["B" * 32 + "@EXAMPLE.com", D], "Fleet W": ["a" * 32 + "@example.com", "c" * 32 + "@Example.COM"]}
    )
    assert rig.roster.memberships() == accounts.AFTER


async def test_a_rehearsal_and_a_survey_change_nothing() -> None:
    rig = rigs.Rig(accounts.account())
    await rig.surveyor(doubles.Source(accounts.WANTED)).rehearse()
    await rig.surveyor(doubles.Source(accounts.WANTED)).survey()
    assert rig.writes == []
    assert rig.memory.plans == {}


# --- The guard --------------------------------------------------------------------------------------------


async def test_what_the_guard_holds_is_made_once_its_digest_is_approved() -> None:
    rig = rigs.Rig(accounts.account(), limits=guard.Limits(always_allow=0))
    finished = await rig.reconcile({VANS: [B]})
    assert finished.guarded is not None
    assert (finished.exit_code, finished.result, len(finished.guarded.held)) == (3, RunResult.HELD, 1)
    assert rig.writes == []
    digest = finished.guarded.digest
    assert (await rig.reconcile({VANS: [B]}, approved="sha256:" + "0" * 64)).exit_code == 3
    assert (await rig.reconcile({VANS: [B], DEPOT: []}, approved=digest)).exit_code == 3
    assert rig.writes == []
    assert (await rig.reconcile({VANS: [B]}, approved=digest)).exit_code == 0
    assert rig.roster.members(VANS) == {B}


async def test_a_refusal_outranks_a_hold() -> None:
    held = accounts.account()
    held.change_fleet(DEPOT, status="archived")
    rig = rigs.Rig(held, limits=guard.Limits(always_allow=0))
    finished = await rig.reconcile({VANS: [B], DEPOT: [A, C]})
    assert finished.guarded is not None
    assert (len(finished.guarded.held), finished.counts["refused"], finished.exit_code) == (1, 1, 4)


# --- What ends a run --------------------------------------------------------------------------------------


async def test_a_rejected_key_costs_one_request() -> None:
    rig = rigs.Rig(accounts.account(), key="ch_sk_test_wrong")
    finished = await rig.reconcile(accounts.WANTED)
    assert isinstance(finished.error, KeyRejected)
    assert (finished.exit_code, finished.guarded, len(rig.sandbox.requests)) == (1, None, 1)
    assert "ch_sk_test_wrong" not in str(vars(finished.error))


@pytest.mark.parametrize("left", range(7))
async def test_a_key_revoked_at_any_moment_stops_all_requests_at_once(left: int) -> None:
    requests = [left]
    rig = rigs.Rig(
        accounts.account(), concurrency=1, transport=lambda: doubles.Revoking(support.transport(rig.sandbox), requests)
    )
    finished = await rig.reconcile(accounts.WANTED)
    assert requests == [-1]
    assert isinstance(finished.error, KeyRejected)
    assert finished.exit_code == 1
    assert finished.counts["applied"] == len(rig.roster.effects)


async def test_a_stop_while_reading_ends_the_run_at_once() -> None:
    rig = rigs.Rig(accounts.account(), behaviour=behaviour.Behaviour(latency_seconds=20))
    run = rig.cycle(doubles.Source(accounts.WANTED))
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await run.reconcile(trigger="test"))

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconcile)
        await anyio.sleep(25)
        rig.halt.stop(Stopped("ended by SIGTERM", exit_code=143))
    assert anyio.current_time() - start == pytest.approx(25)
    assert (reports[0].exit_code, reports[0].guarded, rig.writes) == (143, None, [])


async def test_a_stop_while_writing_reports_what_was_made_and_what_was_not() -> None:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(20)]
    held = rigs.roster_of({VANS: []}, others=drivers)
    rig = rigs.Rig(held, requests_per_second=10, burst=1, behaviour=behaviour.Behaviour(latency_seconds=0.5))
    run = rig.cycle(doubles.Source({VANS: drivers}))
    reports: list[Report] = []

    async def reconcile() -> None:
        reports.append(await run.reconcile(trigger="test"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconcile)
        await anyio.sleep(2)
        rig.halt.stop(Stopped("ended by SIGTERM", exit_code=143))
    (finished,) = reports
    assert finished.exit_code == 143
    made = len(rig.roster.effects)
    assert 5 < made < 20
    assert (finished.counts["applied"], finished.counts["deferred"]) == (made, 20 - made)
    assert rig.memory.reports[finished.run] is finished
    assert (await rig.reconcile({VANS: drivers})).exit_code == 0
    assert rig.roster.members(VANS) == set(drivers)


async def test_a_key_without_permission_to_read_says_so() -> None:
    rig = rigs.Rig(
        accounts.account(),
        transport=lambda: httpx.MockTransport(lambda request: httpx.Response(403, json={"message": "Not yours."})),
    )
    finished = await rig.reconcile(accounts.WANTED)
    assert isinstance(finished.error, RequestRefused)
    assert (finished.error.message, finished.exit_code) == ("403: Not yours.", 1)


# --- The journal ------------------------------------------------------------------------------------------


async def test_without_a_journal_nothing_is_sent() -> None:
    rig = rigs.Rig(accounts.account(), journal=doubles.FailingJournal("begin"))
    finished = await rig.reconcile(accounts.WANTED)
    assert rig.writes == []
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, finished.results, finished.result) == (1, (), RunResult.FAILED)
    assert finished.error.remedy


async def test_a_run_with_nothing_to_write_needs_no_journal() -> None:
    rig = rigs.Rig(accounts.account(), journal=doubles.FailingJournal("begin"))
    assert (await rig.reconcile({VANS: [A, B]})).exit_code == 0


async def test_a_journal_that_fails_in_mid_run_stops_further_writes() -> None:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(40)]
    rig = rigs.Rig(
        rigs.roster_of({VANS: []}, others=drivers),
        journal=doubles.FailingJournal("record", after=2),
        requests_per_second=50,
        burst=1,
    )
    finished = await rig.reconcile({VANS: drivers})
    assert isinstance(finished.error, JournalError)
    assert (finished.exit_code, len(rig.writes) < 20) == (1, True)
    assert finished.counts["applied"] == len(rig.roster.effects)
    assert finished.counts["applied"] + finished.counts["deferred"] == 40


async def test_a_journal_that_cannot_take_the_end_is_an_error_beside_what_was_done() -> None:
    rig = rigs.Rig(accounts.account(), journal=doubles.FailingJournal("finish"))
    finished = await rig.reconcile(accounts.WANTED)
    assert rig.roster.memberships() == accounts.AFTER
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
    driver: values.DriverId, fleets: list[str], wanted: list[values.DriverId], crowd: int, log: list[dict[str, Any]]
) -> None:
    """By the changed drivers, or by everything where that is cheaper."""
    others = [values.DriverId(f"drv_{number:032d}") for number in range(crowd)]
    held = rigs.roster_of({VANS: [A, B]}, others=[D, *others])
    rig = rigs.Rig(held, transport=lambda: Replaying(support.transport(rig.sandbox), driver, fleets))
    finished = await rig.reconcile({VANS: [*wanted, *others]})
    assert rigs.outcome(finished, driver, VANS) == "unknown"
    assert (finished.exit_code, finished.counts["unknown"], finished.counts["applied"]) == (4, 1, crowd)
    assert [problem.where for problem in finished.problems] == ["verification"]
    assert ("not_converging", "error") in [(line["event"], line["log_level"]) for line in log]


async def test_verification_costs_no_more_than_reading_everything_once_more() -> None:
    drivers = [values.DriverId(f"drv_{number:032d}") for number in range(300)]
    rig = rigs.Rig(rigs.roster_of({VANS: []}, others=drivers))
    survey = await rig.surveyor(doubles.Source({VANS: drivers})).survey()
    before = len(rig.sandbox.requests)
    await rig.reconcile({VANS: drivers})
    assert len(rig.sandbox.requests) - before - 300 <= 2 * survey.actual.requests


@pytest.mark.parametrize("name", ["503", "reset_before"])
async def test_what_cannot_be_read_back_is_said(name: str) -> None:
    written: set[str] = set()

    def script(request: messages.Request) -> str | None:
        if request.route in messages.WRITES:
            written.add(request.subject)
        return name if request.route == "driver" and request.subject in written else None

    rig = rigs.Rig(accounts.account(), faults=faults.Faults(script=script), policy=QUICK)
    finished = await rig.reconcile(accounts.WANTED)
    assert finished.counts["applied"] == 3
    assert [problem.where for problem in finished.problems] == ["verification"]
    assert "could not be read back" in finished.problems[0].message


async def test_what_is_shown_is_what_is_judged_and_made() -> None:
    shown: list[survey_.Survey] = []
    rig = rigs.Rig(
        accounts.account(), limits=dataclasses.replace(rigs.LENIENT, max_detach_fraction=0.0, always_allow=0)
    )
    finished = await rig.cycle(doubles.Source(accounts.WANTED), show=shown.append).reconcile(trigger="test")
    (survey,) = shown
    assert survey.guarded is finished.guarded is rig.memory.plans[finished.run]
    assert {result.change for result in finished.results} == set(survey.guarded.changes)
    assert set(rig.memory.intents.values()) == set(survey.guarded.changes)
    assert (A, VANS) in rig.roster.memberships()


async def test_quiet_runs_are_forgotten_too_and_once_a_day_is_enough() -> None:
    """They have no results, and there are the most of them."""
    rig = rigs.Rig(rigs.roster_of({VANS: [A]}), keep=datetime.timedelta(days=1))
    forgetting = 0
    for _ in range(6 * 24):
        before = len(rig.memory.reports)
        assert (await rig.reconcile({VANS: [A]})).result is RunResult.IN_SYNC
        forgetting += len(rig.memory.reports) <= before
        assert len(rig.memory.reports) <= 2 * 24
        await anyio.sleep(3600)
    assert 4 <= forgetting <= 5
