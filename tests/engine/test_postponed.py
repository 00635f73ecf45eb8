"""Changes that a run does not send, because Charge refused them lately."""

import datetime
from collections.abc import Mapping, Sequence

import anyio
import pytest

from tests.support import doubles
from tests.support import rig as rigs
from tests.support.rig import DEPOT, VANS, A, B, C
from worker.core import values
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard, refusal_backoff

pytestmark = pytest.mark.anyio

WANTED: rigs.Wanted = {VANS: [A, B], DEPOT: [C]}


class Service:
    """What the service does around runs: it keeps its patience."""

    def __init__(self, rig: rigs.Rig) -> None:
        self.rig = rig
        self.patience = refusal_backoff.RefusalBackoff()

    async def reconcile(self, wanted: rigs.Wanted = WANTED) -> Report:
        cycle = self.rig.cycle(doubles.Source(wanted), postpone=self.patience.postponed)
        finished = await cycle.reconcile(trigger="test")
        self.patience.note(finished.results, self.rig.wall.now())
        return finished


def _service(limits: guard.Limits = rigs.LENIENT) -> Service:
    """A service that is to move C out of an archived fleet, and A into one."""
    held = rigs.roster_of({VANS: [C], DEPOT: [A]}, others=[B])
    held.change_fleet(VANS, status="archived")
    return Service(rigs.Rig(held, limits=limits))


async def test_what_was_refused_is_tried_again_with_growing_pauses_and_others_go_on() -> None:
    service = _service()
    first = await service.reconcile()
    assert {result.outcome.name for result in first.results if result.change.fleet == VANS} >= {"refused"}
    assert rigs.outcome(first, C, DEPOT) == "applied"
    tries = len(service.rig.requests(f"{B}/attach"))
    await anyio.sleep(30)
    second = await service.reconcile()
    assert len(service.rig.requests(f"{B}/attach")) == tries == 1
    (waits,) = (result.outcome for result in second.results if result.change.driver == B)
    assert isinstance(waits, Deferred)
    assert (waits.code, waits.attempts, second.exit_code) == ("refused_before", 0, 4)
    assert "fleet" in waits.message
    await anyio.sleep(31)
    assert rigs.outcome(await service.reconcile(), B, VANS) == "refused"
    await anyio.sleep(61)
    assert rigs.outcome(await service.reconcile(), B, VANS) == "deferred"
    service.rig.roster.change_fleet(VANS, status="active")
    await anyio.sleep(60)
    assert rigs.outcome(await service.reconcile(), B, VANS) == "applied"


async def test_the_driver_of_a_postponed_attach_keeps_his_fleets() -> None:
    service = _service()
    assert rigs.outcome(await service.reconcile(), A, DEPOT) == "deferred"
    finished = await service.reconcile()
    codes = {
        result.change.action: result.outcome.code
        for result in finished.results
        if result.change.driver == A and isinstance(result.outcome, Deferred)
    }
    assert codes == {values.Action.ATTACH: "refused_before", values.Action.DETACH: "attach_first"}
    assert A in service.rig.roster.members(DEPOT)


async def test_an_edited_row_is_tried_at_once() -> None:
    service = _service()
    await service.reconcile()
    tries = len(service.rig.writes)
    await service.reconcile({**WANTED, VANS: [A, f"{B[4:].lower()}@example.com"]})
    assert service.rig.writes[tries:] == [f"POST /drivers/{B}/attach"]


async def test_what_is_postponed_is_no_intent_and_a_run_of_nothing_else_begins_nothing() -> None:
    service = _service()
    await service.reconcile()
    intents = dict(service.rig.memory.intents)
    finished = await service.reconcile()
    assert service.rig.memory.intents == intents
    assert finished.guarded is not None
    assert [result.change for result in finished.results] == list(finished.guarded.changes)
    assert finished.result is RunResult.PARTIAL
    assert finished.run not in service.rig.memory.plans
    assert service.rig.memory.reports[finished.run] is finished


async def test_all_that_is_planned_is_asked_about_and_what_is_held_stays_held() -> None:
    asked: list[Sequence[values.Change]] = []

    def postpone(changes: Sequence[values.Change], now: datetime.datetime) -> Mapping[values.Change, Outcome]:
        asked.append(changes)
        return {change: Deferred(0, "refused_before", "later") for change in changes}

    rig = _service(limits=guard.Limits(always_allow=0)).rig
    finished = await rig.cycle(doubles.Source(WANTED), postpone=postpone).reconcile(trigger="test")
    assert finished.guarded is not None
    assert len(finished.guarded.held) > 0
    assert {*asked[0]} == {*finished.guarded.changes, *(held.change for held in finished.guarded.held)}
    assert [result.change for result in finished.results] == list(finished.guarded.changes)
    assert rig.writes == []
