"""A membership that another client adds to a driver while the run writes: the run has not converged, and says so."""

import datetime
from typing import Any

import pytest

from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C
from tests.support.meddling import Hooked, once
from worker.core.model.desired import FleetById, Mode
from worker.core.model.pauses import Pause
from worker.core.model.report import Report, RunResult

pytestmark = pytest.mark.anyio

WANTED: harness.Wanted = {VANS: [A, B], DEPOT: [C]}
SAID = f"the driver is in fleet {DEPOT} now, although the sources do not want it: another client did that"


def _meddled(*, before: str = "/attach", after: str = "", **rest: Any) -> harness.Harness:
    """Return an account in which another client attaches A to DEPOT before or after the first such request."""
    held = harness.state_of({VANS: [B], DEPOT: [C], NORTH: [C]}, others=[A])

    def meddle() -> None:
        held.attach(A, DEPOT)

    hooks = {"after": once(after, meddle)} if after else {"before": once(before, meddle)}
    account = harness.Harness(held, new_transport=lambda: Hooked(support.transport(account.sandbox), **hooks), **rest)
    return account


def _said(finished: Report) -> list[tuple[str, str]]:
    return [(problem.where, problem.message) for problem in finished.problems]


async def test_a_driver_that_another_client_puts_into_a_fleet_before_our_attach_is_not_as_wanted() -> None:
    account = _meddled()
    finished = await account.reconcile(WANTED)
    assert (finished.result, finished.exit_code, _said(finished)) == (RunResult.PARTIAL, 4, [(A, SAID)])
    assert finished.counts["applied"] == 1
    assert account.fleets_of(A) == {VANS, DEPOT}, "its detach is not in the plan"
    assert (await account.reconcile(WANTED)).result is RunResult.CONVERGED
    assert account.fleets_of(A) == {VANS}


async def test_a_driver_that_another_client_puts_into_a_fleet_after_our_detach_is_not_as_wanted() -> None:
    account = _meddled(after="/detach")
    account.state.attach(A, VANS)
    finished = await account.reconcile({VANS: [B], DEPOT: [C]})
    assert (finished.exit_code, _said(finished)) == (4, [(A, SAID)])


async def test_a_membership_that_the_last_reading_no_longer_shows_is_no_problem() -> None:
    """The other client takes it back, or the first reading lagged behind."""
    held = harness.state_of({VANS: [B], DEPOT: [C]}, others=[A])
    come, go = once("/attach", lambda: held.attach(A, DEPOT)), once("GET /v1/drivers/", lambda: held.detach(A, DEPOT))
    account = harness.Harness(
        held,
        new_transport=lambda: Hooked(support.transport(account.sandbox), before=come, after=go),
    )
    finished = await account.reconcile(WANTED)
    assert (finished.result, _said(finished)) == (RunResult.CONVERGED, [])


@pytest.mark.parametrize("case", ["additive", "unmanaged", "grace", "paused", "other fleet", "wanted"])
async def test_a_membership_that_the_next_run_would_leave_alone_is_no_problem(case: str) -> None:
    account = _meddled(
        mode=Mode.ADDITIVE if case == "additive" else Mode.EXACT,
        grace=datetime.timedelta(hours=case == "grace"),
    )
    if case == "paused":
        await account.memory.pause(Pause(account.wall.now(), fleet=DEPOT))
    if case == "other fleet":
        account.only = frozenset({FleetById(VANS)})
    wanted = {VANS: [A, B]} if case == "unmanaged" else {VANS: [A, B], DEPOT: [C, A] if case == "wanted" else [C]}
    finished = await account.reconcile(wanted)
    assert (finished.result, _said(finished)) == (RunResult.CONVERGED, [])
    assert (await account.reconcile(wanted)).exit_code == 0
    assert account.fleets_of(A) == {VANS, DEPOT}


async def test_a_saved_plan_has_its_own_modes() -> None:
    account = _meddled()
    saved = (await account.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    finished = await account.new_reconciler().apply(saved)
    assert (finished.exit_code, _said(finished)) == (4, [(A, SAID)])
