"""Changes that a run does not send, because Charge refused them lately."""

import anyio
import httpx
import pytest

from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, VANS, A, B, C
from worker.core.model.desired import FleetById
from worker.core.model.outcomes import Deferred, Unknown
from worker.core.model.plan import Action
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

WANTED: harness.Wanted = {VANS: [A, B], DEPOT: [C]}


class Service:
    """One run after the other over the same account."""

    def __init__(self, account_harness: harness.Harness) -> None:
        self.account_harness = account_harness

    async def reconcile(self, wanted: harness.Wanted = WANTED) -> Report:
        return await self.account_harness.reconcile(wanted)


def _service(limits: guard.Limits = harness.LENIENT) -> Service:
    """Return a service that is to move C out of an archived fleet, and A into one."""
    held = harness.state_of({VANS: [C], DEPOT: [A]}, others=[B])
    held.change_fleet(VANS, status="archived")
    return Service(harness.Harness(held, limits=limits))


@pytest.mark.parametrize("only", [[], [FleetById(VANS), FleetById(DEPOT)]], ids=["all fleets", "each fleet named"])
async def test_what_was_refused_is_tried_again_with_growing_pauses_and_others_go_on(only: list[FleetById]) -> None:
    service = _service()
    service.account_harness.only = frozenset(only)
    first = await service.reconcile()
    assert {result.outcome.name for result in first.results if result.change.fleet == VANS} >= {"refused"}
    assert harness.outcome(first, C, DEPOT) == "applied"
    tries = len(service.account_harness.requests(f"{B}/attach"))
    await anyio.sleep(30)
    second = await service.reconcile()
    assert len(service.account_harness.requests(f"{B}/attach")) == tries == 1
    (waits,) = (result.outcome for result in second.results if result.change.driver == B)
    assert isinstance(waits, Deferred)
    assert (waits.code, waits.attempts, second.exit_code) == ("refused_before", 0, 4)
    assert "fleet" in waits.message
    await anyio.sleep(31)
    assert harness.outcome(await service.reconcile(), B, VANS) == "refused"
    await anyio.sleep(61)
    assert harness.outcome(await service.reconcile(), B, VANS) == "deferred"
    service.account_harness.state.change_fleet(VANS, status="active")
    await anyio.sleep(60)
    assert harness.outcome(await service.reconcile(), B, VANS) == "applied"


async def test_the_driver_of_a_postponed_attach_keeps_his_fleets() -> None:
    service = _service()
    assert harness.outcome(await service.reconcile(), A, DEPOT) == "deferred"
    finished = await service.reconcile()
    codes = {
        result.change.action: result.outcome.code
        for result in finished.results
        if result.change.driver == A and isinstance(result.outcome, Deferred)
    }
    assert codes == {Action.ATTACH: "refused_before", Action.DETACH: "attach_first"}
    assert A in service.account_harness.state.members(DEPOT)


async def test_an_edited_row_is_tried_at_once() -> None:
    service = _service()
    await service.reconcile()
    tries = len(service.account_harness.writes)
    await service.reconcile({**WANTED, VANS: [A, f"{B[4:].lower()}@example.com"]})
    assert service.account_harness.writes[tries:] == [f"POST /drivers/{B}/attach"]


async def test_what_is_postponed_is_no_intent_and_a_run_of_nothing_else_begins_nothing() -> None:
    service = _service()
    await service.reconcile()
    intents = dict(service.account_harness.memory.intents)
    finished = await service.reconcile()
    assert service.account_harness.memory.intents == intents
    assert finished.guarded is not None
    assert [result.change for result in finished.results] == list(finished.guarded.changes)
    assert finished.result is RunResult.PARTIAL
    assert finished.run not in service.account_harness.memory.plans
    assert service.account_harness.memory.reports[finished.run] is finished


async def test_a_change_that_a_guard_holds_stays_held_while_it_is_postponed() -> None:
    service = _service()
    await service.reconcile()
    service.account_harness.limits = guard.Limits(always_allow=0)
    finished = await service.reconcile()
    assert finished.guarded is not None
    assert len(finished.guarded.held) > 0
    assert [result.change for result in finished.results] == list(finished.guarded.changes)


async def test_a_restart_forgets_no_refusal() -> None:
    service = _service()
    await service.reconcile()
    tries = len(service.account_harness.writes)
    service.account_harness.journal = service.account_harness.memory.crash()
    await service.reconcile()
    assert len(service.account_harness.writes) == tries


async def test_an_attach_that_is_accepted_and_ignored_backs_off_and_names_the_drivers_status() -> None:
    """Story: a suspended user was "added" on every run (terraform-provider-github 978)."""
    held = harness.state_of({VANS: [], DEPOT: [C]}, others=[A])
    held.change_driver(A, status="suspended")
    account_harness = harness.Harness(
        held, new_transport=lambda: doubles.ResponseTamper(_Ignoring(account_harness, A), lambda request, shown: None)
    )
    first = await account_harness.reconcile({VANS: [A]})
    (result,) = first.results
    assert isinstance(result.outcome, Unknown)
    assert (result.outcome.code, first.exit_code) == ("not_converging", 4)
    assert "suspended" in result.outcome.message
    tries = len(account_harness.writes)
    for _ in range(15):
        await account_harness.reconcile({VANS: [A]})
    assert len(account_harness.writes) == tries == 1


class _Ignoring(httpx.AsyncBaseTransport):
    """A connection to a server that answers the attach of one driver with 200, and ignores it."""

    def __init__(self, account_harness: harness.Harness, driver: str) -> None:
        self._account_harness = account_harness
        self._driver = driver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        server = support.transport(self._account_harness.sandbox)
        if request.method == "POST" and self._driver in request.url.path:
            await server.handle_async_request(request)
            shown = httpx.Request(
                "GET", request.url.copy_with(path=f"/v1/drivers/{self._driver}"), headers=request.headers
            )
            self._account_harness.state.detach(self._driver, VANS)
            return await server.handle_async_request(shown)
        return await server.handle_async_request(request)
