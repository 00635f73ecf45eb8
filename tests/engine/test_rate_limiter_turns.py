"""Whose turn it is at the turnstile, on virtual time: turns given back, urgent ones, and who takes over."""

import functools

import anyio
import pytest

from worker.engine import cancellation, rate_limiter

pytestmark = pytest.mark.anyio


def _limiter(
    *, rate: float = 50.0, burst: int = 10, adaptive: bool = False
) -> tuple[rate_limiter.RateLimiter, cancellation.Cancellation]:
    limiter = rate_limiter.RateLimiter(requests_per_second=rate, burst=burst, adaptive=adaptive)
    return limiter, cancellation.Cancellation(wake=limiter.wake)


async def test_a_turn_that_is_given_back_goes_to_the_next_at_once() -> None:
    limiter, run_cancellation = _limiter(rate=0.1, burst=1)
    start = await limiter.acquire(run_cancellation)
    limiter.give_back()
    assert await limiter.acquire(run_cancellation) == start
    passed: list[float] = []

    async def wait() -> None:
        passed.append(await limiter.acquire(run_cancellation))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(3)
        limiter.give_back()
    assert passed == [pytest.approx(start + 3)]


async def test_an_urgent_request_takes_the_next_turn_and_the_others_go_on_after_it() -> None:
    limiter, run_cancellation = _limiter(rate=1, burst=1)
    start = await limiter.acquire(run_cancellation)
    passed: list[tuple[str, float]] = []

    async def wait(name: str, *, urgent: bool) -> None:
        passed.append((name, round(await limiter.acquire(run_cancellation, urgent=urgent) - start, 3)))

    async with anyio.create_task_group() as tasks:
        for name, urgent in (("first", False), ("second", False), ("urgent", True)):
            tasks.start_soon(functools.partial(wait, name, urgent=urgent))
            await anyio.wait_all_tasks_blocked()
    assert passed == [("urgent", 1), ("first", 2), ("second", 3)]


async def test_an_urgent_request_that_is_given_up_holds_up_nobody() -> None:
    limiter, run_cancellation = _limiter(rate=1, burst=1)
    start = await limiter.acquire(run_cancellation)
    passed: list[float] = []

    async def wait() -> None:
        passed.append(await limiter.acquire(run_cancellation))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        with anyio.move_on_after(0.5):
            await limiter.acquire(run_cancellation, urgent=True)
    assert passed == [pytest.approx(start + 1)]


async def test_how_long_charge_wants_no_request_counts_down() -> None:
    limiter, run_cancellation = _limiter()
    found = [limiter.closed_for]
    limiter.limited(await limiter.acquire(run_cancellation), 20.0)
    for seconds in (0, 5, 30):
        await anyio.sleep(seconds)
        found.append(limiter.closed_for)
    assert found == [0.0, 20.0, 15.0, 0.0]


async def test_a_longer_pause_takes_the_place_of_a_shorter_one() -> None:
    limiter, run_cancellation = _limiter()
    sent = [await limiter.acquire(run_cancellation) for _ in range(2)]
    limiter.limited(sent[0], 2.0)
    limiter.limited(sent[1], 5.0)
    assert limiter.closed_for == 5.0


@pytest.mark.parametrize(("closed_for", "first"), [(0.0, 0.1), (7.0, 7.0)])
async def test_who_takes_over_begins_without_a_burst_and_after_the_pause_that_was_asked_for(
    closed_for: float, first: float
) -> None:
    limiter, run_cancellation = _limiter(rate=10, burst=10)
    start = anyio.current_time()
    limiter.take_over(closed_for=closed_for)
    assert limiter.closed_for == closed_for
    assert await limiter.acquire(run_cancellation) - start == pytest.approx(first)


async def test_a_rate_that_was_learned_earlier_counts_until_there_are_replies() -> None:
    limiter, run_cancellation = _limiter(rate=1000, adaptive=True)
    before = limiter.learned
    limiter.start_at(40.0)
    assert (before, limiter.learned, limiter.rate()) == (None, 40.0, 40.0)
    limiter.accepted(await limiter.acquire(run_cancellation))
    limiter.start_at(80.0)
    assert limiter.rate() == pytest.approx(40.0, abs=1)
