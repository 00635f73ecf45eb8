"""Changes that a run does not send, because Charge refused them lately."""

import datetime
from collections.abc import Mapping, Sequence

import anyio
import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A, B, C
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard, refusal_backoff

pytestmark = pytest.mark.anyio

WANTED: harness.Wanted = {VANS: [A, B], DEPOT: [C]}


class Service:
    """What the service does around runs: it keeps its patience."""

    def __init__(self, account_harness: harness.Harness) -> None:
        self.account_harness = account_harness
        self.patience = refusal_backoff.RefusalBackoff()

    async def reconcile(self, wanted: harness.Wanted = WANTED) -> Report:
        cycle = self.account_harness.cycle(doubles.Source(wanted), postpone=self.patience.postponed)
        finished = await cycle.reconcile(trigger="test")
        self.patience.note(finished.results, self.account_harness.wall.now())
        return finished


def _service(limits: guard.Limits = harness.LENIENT) -> Service:
    """Return a service that is to move C out of an archived fleet, and A into one."""
    held = harness.state_of({VANS: [C], DEPOT: [A]}, others=[B])
    held.change_fleet(VANS, status="archived")
    return Service(harness.Harness(held, limits=limits))


async def test_what_was_refused_is_tried_again_with_growing_pauses_and_others_go_on() -> None:
    service = _service()
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


async def test_all_that_is_planned_is_asked_about_and_what_is_held_stays_held() -> None:
    asked: list[Sequence[Change]] = []

    def postpone(changes: Sequence[Change], now: datetime.datetime) -> Mapping[Change, Outcome]:
        asked.append(changes)
        return {change: Deferred(0, "refused_before", "later") for change in changes}

    account_harness = _service(limits=guard.Limits(always_allow=0)).account_harness
    finished = await account_harness.cycle(doubles.Source(WANTED), postpone=postpone).reconcile(trigger="test")
    assert finished.guarded is not None
    assert len(finished.guarded.held) > 0
    assert {*asked[0]} == {*finished.guarded.changes, *(held.change for held in finished.guarded.held)}
    assert [result.change for result in finished.results] == list(finished.guarded.changes)
    assert account_harness.writes == []
