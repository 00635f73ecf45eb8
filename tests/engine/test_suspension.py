"""A process that was suspended: it sends nothing more, because what it read may no longer be true. On virtual time."""

from typing import Any

import httpx
import pytest
import trio.testing

from tests.engine import moving_account
from tests.support import harness
from tests.support import sandbox as support
from worker.core.model.errors import ProcessSuspended
from worker.core.model.outcomes import Deferred
from worker.engine import cancellation
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio


def _pause(seconds: float) -> None:
    """Let time pass in which nothing of this process runs."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


class Pausing(httpx.AsyncBaseTransport):
    """A connection to a server: once it has answered so many writes, the process stands still for a while."""

    def __init__(self, server: httpx.AsyncBaseTransport, *, writes: int, seconds: float) -> None:
        self._server, self._left, self._seconds = server, writes, seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._server.handle_async_request(request)
        if request.method == "POST":
            self._left -= 1
            if self._left == 0:
                _pause(self._seconds)
        return response


def _stopped_at(writes: int, seconds: float, **options: Any) -> harness.Harness:
    account_harness: harness.Harness
    account_harness = harness.Harness(
        moving_account.account(),
        new_transport=lambda: Pausing(support.transport(account_harness.sandbox), writes=writes, seconds=seconds),
        **{"concurrency": 1, "timeout": 600, **options},
    )
    return account_harness


@pytest.mark.parametrize("writes", [1, 7, 79])
async def test_a_process_that_was_stopped_and_resumed_sends_nothing_more(writes: int) -> None:
    """SIGSTOP, SIGCONT: what it read may be true no more. Nothing that was not sent is in doubt."""
    account_harness = _stopped_at(writes, cancellation.MAX_SILENCE + 1)
    finished = await account_harness.reconcile(moving_account.WANTED)
    assert isinstance(finished.error, ProcessSuspended)
    assert (finished.exit_code, finished.error.code) == (1, "paused")
    assert (finished.counts["applied"], finished.counts["deferred"], finished.counts["unknown"]) == (
        writes,
        80 - writes,
        0,
    )
    reasons = {each.outcome.code for each in finished.results if isinstance(each.outcome, Deferred)}
    assert {"paused"} <= reasons <= {"paused", "attach_first"}
    assert len(account_harness.writes) == writes
    assert account_harness.memory.reports[finished.run] is finished
    assert set(account_harness.memory.outcomes) == set(account_harness.memory.intents)
    assert (await account_harness.reconcile(moving_account.WANTED)).exit_code == 0


async def test_a_short_pause_harms_nobody() -> None:
    account_harness = _stopped_at(7, cancellation.MAX_SILENCE - 1)
    finished = await account_harness.reconcile(moving_account.WANTED)
    assert (finished.exit_code, finished.counts["applied"]) == (0, 80)


@pytest.mark.integration
@pytest.mark.parametrize("conduct", [quirks.Quirks(latency_seconds=50), quirks.Quirks(rate=0.02, burst=9)])
async def test_waiting_for_charge_is_no_standing_still(conduct: quirks.Quirks) -> None:
    """However slow the answers are, or long the pauses that Charge asks for."""
    account_harness = harness.Harness(
        harness.state_of({moving_account.VANS: []}, others=moving_account.DRIVERS[:6]),
        quirks=conduct,
        concurrency=1,
        timeout=600,
        adaptive=True,
    )
    assert (await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[:6]})).counts["applied"] == 6
