"""Answers that arrive late: a 429 to a request from before the last slow-down still says how long to wait."""

import anyio
import pytest

from worker.engine import cancellation, rate_limiter

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("first_pause", [None, 1.0])
async def test_the_retry_after_of_a_late_429_is_obeyed(first_pause: float | None, adaptive: bool) -> None:
    """The estimator learns nothing from it, but the server has asked for a pause all the same."""
    limiter = rate_limiter.RateLimiter(requests_per_second=100, burst=10, adaptive=adaptive)
    run_cancellation = cancellation.Cancellation(wake=limiter.wake)
    earlier, later = [await limiter.acquire(run_cancellation) for _ in range(2)]
    await anyio.sleep(0.1)
    limiter.limited(later, first_pause)
    await anyio.sleep(0.1)
    limiter.limited(earlier, 7.0)
    answered = anyio.current_time()
    assert await limiter.acquire(run_cancellation) >= answered + 7.0
