"""An account that is to end: its writes get their time, and what hangs then is cancelled. On virtual time."""

import anyio
import pytest
import structlog

from tests.support import clocks
from worker.core.model.errors import Stopped
from worker.service import account_runner, shutdown

pytestmark = pytest.mark.anyio


class Ending:
    """Implements account_runner.Draining."""

    drain_seconds = 25.0

    def __init__(self) -> None:
        self.shutdown = shutdown.Shutdown()


async def test_writes_get_their_time_are_aborted_and_what_hangs_then_is_cancelled(
    log: list[structlog.typing.EventDict],
) -> None:
    account, began = Ending(), anyio.current_time()
    run = account.shutdown.new_cancellation(wake=lambda: None, clock=clocks.Still())
    aborted = list[float]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(account_runner.drain, account, tasks.cancel_scope)

        async def hang() -> None:
            with run.writing():
                await anyio.sleep_forever()
            aborted.append(anyio.current_time() - began)
            await anyio.sleep_forever()

        tasks.start_soon(hang)
        await anyio.sleep(100)
        account.shutdown.request_stop(Stopped("the account was removed", exit_code=0))
        await anyio.sleep_forever()
    assert aborted == [pytest.approx(125)]
    assert anyio.current_time() - began == pytest.approx(130)
    assert [(line["event"], line["after_seconds"]) for line in log] == [("account_cancelled", 30.0)]


async def test_without_a_reason_to_end_nothing_is_cancelled() -> None:
    account = Ending()
    with anyio.move_on_after(3600) as waiting:
        await account_runner.drain(account, anyio.CancelScope())
    assert waiting.cancelled_caught
