"""Reasons to run: those that come together are one run, and none is lost."""

import anyio
import pytest

from worker.core.monitoring import status
from worker.service import triggers

pytestmark = pytest.mark.anyio

Trigger = status.Trigger


async def test_without_a_reason_the_time_that_has_passed_is_one() -> None:
    began = anyio.current_time()
    assert await triggers.PendingTriggers().next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.INTERVAL
    assert anyio.current_time() - began == pytest.approx(300)


async def test_a_reason_ends_the_wait_at_once() -> None:
    reasons = triggers.PendingTriggers()
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def edit() -> None:
            await anyio.sleep(7)
            reasons.wake(Trigger.SOURCE)

        tasks.start_soon(edit)
        assert await reasons.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.SOURCE
    assert anyio.current_time() - began == pytest.approx(7)


async def test_reasons_that_come_during_a_run_are_one_more_run() -> None:
    reasons = triggers.PendingTriggers()
    for _ in range(100):
        reasons.wake(Trigger.SOURCE)
        reasons.wake(Trigger.REQUEST)
    assert await reasons.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.REQUEST
    began = anyio.current_time()
    assert await reasons.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.INTERVAL
    assert anyio.current_time() - began == pytest.approx(300)


async def test_what_is_overdue_is_due_now() -> None:
    began = anyio.current_time()
    assert await triggers.PendingTriggers().next(seconds=-5, otherwise=Trigger.BOUNDARY) is Trigger.BOUNDARY
    assert anyio.current_time() == pytest.approx(began)
