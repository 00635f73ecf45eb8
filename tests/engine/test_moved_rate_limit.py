"""The rate limit of an account that moves from one process to another: the server sees one client."""

import itertools

import anyio
import pytest

from worker.core.model.errors import RateLimited
from worker.engine import cancellation, rate_limiter

pytestmark = pytest.mark.anyio

RATE, BURST, STAY, MOVES = 20.0, 10, 5.0, 24
"""The account moves every 5 seconds for 2 minutes."""


def _taken_over(before: rate_limiter.RateLimiter | None, *, adaptive: bool) -> rate_limiter.RateLimiter:
    limiter = rate_limiter.RateLimiter(requests_per_second=RATE, burst=BURST, adaptive=adaptive)
    if before is not None and before.learned is not None:
        limiter.start_at(before.learned)
    limiter.take_over(closed_for=before.closed_for if before else 0.0)
    return limiter


async def _stay(limiter: rate_limiter.RateLimiter, moments: list[float]) -> None:
    """Send as much as the limiter lets pass, until the account moves on."""
    run_cancellation = cancellation.Cancellation(wake=limiter.wake)
    with anyio.move_on_after(STAY):
        while True:
            moments.append(await limiter.acquire(run_cancellation))
            limiter.accepted(moments[-1])


@pytest.mark.integration
@pytest.mark.parametrize("adaptive", [True, False])
async def test_an_account_that_moves_every_five_seconds_sends_no_more_than_one_that_stays(adaptive: bool) -> None:
    moments: list[float] = []
    limiter = None
    for _ in range(MOVES):
        limiter = _taken_over(limiter, adaptive=adaptive)
        await _stay(limiter, moments)
    assert len(moments) <= RATE * STAY * MOVES + BURST
    assert len(moments) >= 0.8 * RATE * STAY * MOVES
    for first, last in itertools.pairwise(moments[:: round(RATE)]):
        assert last - first >= 1 - BURST / RATE


async def test_a_pause_that_charge_wants_moves_with_the_account() -> None:
    limiter = _taken_over(None, adaptive=True)
    limiter.limited(await limiter.acquire(cancellation.Cancellation()), retry_after=60.0)
    closed = anyio.current_time() + 60
    for _ in range(3):
        await anyio.sleep(STAY)
        limiter = _taken_over(limiter, adaptive=True)
    assert await limiter.acquire(cancellation.Cancellation()) >= closed
    assert limiter.closed_for == 0


async def test_a_pause_that_is_too_long_ends_the_next_run_too_without_a_request() -> None:
    limiter = _taken_over(None, adaptive=True)
    limiter.limited(await limiter.acquire(cancellation.Cancellation()), retry_after=3600.0)
    limiter = _taken_over(limiter, adaptive=True)
    with pytest.raises(RateLimited):
        await limiter.acquire(cancellation.Cancellation())
