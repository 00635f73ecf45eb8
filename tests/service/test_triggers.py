"""Triggers: those that arrive together lead to one run, and none is lost."""

import anyio
import pytest

from worker.core.monitoring import status
from worker.service import triggers

pytestmark = pytest.mark.anyio

Trigger = status.Trigger


async def test_without_a_trigger_the_interval_is_one() -> None:
    began = anyio.current_time()
    assert await triggers.PendingTriggers().next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.INTERVAL
    assert anyio.current_time() - began == pytest.approx(300)


async def test_a_trigger_ends_the_wait_at_once() -> None:
    pending = triggers.PendingTriggers()
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def edit() -> None:
            await anyio.sleep(7)
            pending.wake(Trigger.SOURCE)

        tasks.start_soon(edit)
        assert await pending.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.SOURCE
    assert anyio.current_time() - began == pytest.approx(7)


async def test_triggers_that_arrive_during_a_run_lead_to_one_more_run() -> None:
    pending = triggers.PendingTriggers()
    for _ in range(100):
        pending.wake(Trigger.SOURCE)
        pending.wake(Trigger.REQUEST)
    assert await pending.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.REQUEST
    began = anyio.current_time()
    assert await pending.next(seconds=300, otherwise=Trigger.INTERVAL) is Trigger.INTERVAL
    assert anyio.current_time() - began == pytest.approx(300)


async def test_an_overdue_run_is_due_now() -> None:
    began = anyio.current_time()
    assert await triggers.PendingTriggers().next(seconds=-5, otherwise=Trigger.BOUNDARY) is Trigger.BOUNDARY
    assert anyio.current_time() == pytest.approx(began)
