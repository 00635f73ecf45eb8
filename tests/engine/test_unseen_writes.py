"""Writes that are accepted and never seen: they are not repeated forever."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from tests.engine import moving_account
from tests.support import doubles, harness
from tests.support import sandbox as support
from worker.core.model.outcomes import NOT_CONVERGING, Refused, Unknown

pytestmark = pytest.mark.anyio


def _forgetful(account_harness: Callable[[], harness.Harness], driver: str) -> Callable[[], httpx.AsyncBaseTransport]:
    """Make connections to a server that shows one driver in no fleet, but in the answer to a write."""

    def forget(request: httpx.Request, shown: Any) -> object | None:
        if request.method == "POST":
            return None
        rows = shown.get("data", [shown])
        for row in rows:
            if row["id"] == driver:
                row["fleets"] = [fleet for fleet in row["fleets"] if fleet != moving_account.VANS]
        return dict(shown)

    return lambda: doubles.ResponseTamper(support.transport(account_harness().sandbox), forget)


async def test_what_is_written_and_never_read_back_is_held_after_three_runs_and_tried_again_a_month_later() -> None:
    """Ssosync 329: every object was rewritten in every run."""
    lost = moving_account.DRIVERS[0]
    held = harness.state_of({moving_account.VANS: [], moving_account.DEPOT: [lost]}, others=moving_account.DRIVERS[:2])
    held.change_fleet(moving_account.VANS, name="Vans")
    account_harness: harness.Harness
    account_harness = harness.Harness(held, new_transport=_forgetful(lambda: account_harness, lost))
    for number in range(3):
        finished = await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[:2]})
        assert harness.outcome(finished, lost, moving_account.VANS) == "unknown", number
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
        finished = await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[:2]})
        assert finished.guarded is not None
        assert [(each.change.driver, each.guard) for each in finished.guarded.held] == [(lost, NOT_CONVERGING)]
        await anyio.sleep(300)
    assert len(account_harness.requests(f"{lost}/attach")) == 3
    assert finished.guarded is not None
    assert (
        await account_harness.reconcile(
            {moving_account.VANS: moving_account.DRIVERS[:2]}, approved=finished.guarded.held_digest
        )
    ).counts["unknown"] == 1
    assert len(account_harness.requests(f"{lost}/attach")) == 4
    for days, tries in ((1, 4), (30, 5)):
        await anyio.sleep(days * 24 * 3600)
        await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[:2]})
        assert len(account_harness.requests(f"{lost}/attach")) == tries


async def test_a_job_that_runs_once_a_day_gives_up_after_three_runs_too() -> None:
    lost = moving_account.DRIVERS[0]
    account_harness: harness.Harness
    account_harness = harness.Harness(
        harness.state_of({moving_account.VANS: [], moving_account.DEPOT: [lost]}, others=moving_account.DRIVERS[:2]),
        new_transport=_forgetful(lambda: account_harness, lost),
    )
    for day in range(6):
        finished = await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[:2]})
        assert finished.guarded is not None
        assert [each.guard for each in finished.guarded.held] == [NOT_CONVERGING] * (day >= 3), day
        await anyio.sleep(24 * 3600)
    assert len(account_harness.requests(f"{lost}/attach")) == 3
