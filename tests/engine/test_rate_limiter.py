"""The turnstile on virtual time: the ceiling, the search for a limit nobody tells, pauses, and the end of a run."""

import collections
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import anyio
import pytest

from tests.support import harness, laws
from worker.core.model.errors import FleetSyncError, RateLimited, Stopped
from worker.core.model.identifiers import DriverId
from worker.core.pacing import retry_policy
from worker.engine import cancellation, rate_limiter, request_executor
from worker.sandbox import limiter, quirks, state

pytestmark = pytest.mark.anyio

KEPT = [quirks.Quirks(rate=150, limit="bucket"), quirks.Quirks(rate=150, limit="bucket", burst=10)]
KEPT += [quirks.Quirks(rate=150, limit="fixed"), quirks.Quirks(rate=150, limit="sliding")]


def _limiter(
    *, rate: float = 50.0, burst: int = 10, adaptive: bool = False
) -> tuple[rate_limiter.RateLimiter, cancellation.Cancellation]:
    limiter = rate_limiter.RateLimiter(requests_per_second=rate, burst=burst, adaptive=adaptive)
    return limiter, cancellation.Cancellation(wake=limiter.wake)


def _most_in_a_second(moments: Sequence[float]) -> int:
    """Return the most moments that fall into any one second."""
    most, window = 0, collections.deque[float]()
    for moment in sorted(moments):
        window.append(moment)
        while window[0] <= moment - 1:
            window.popleft()
        most = max(most, len(window))
    return most


async def _passing(
    limiter: rate_limiter.RateLimiter, run_cancellation: cancellation.Cancellation, *, lanes: int, each: int
) -> list[float]:
    """Return the moments at which so many lanes with so many requests each may pass."""
    moments = []

    async def lane() -> None:
        for _ in range(each):
            moments.append(await limiter.acquire(run_cancellation))

    async with anyio.create_task_group() as tasks:
        for _ in range(lanes):
            tasks.start_soon(lane)
    return moments


# --- The ceiling ------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize(("rate", "burst"), [(50.0, 10), (50.0, 1), (25.0, 25), laws.slow(2000.0, 100), (0.5, 3)])
async def test_never_more_than_the_ceiling_and_the_burst_in_any_second(rate: float, burst: int) -> None:
    limiter, run_cancellation = _limiter(rate=rate, burst=burst)
    each = max(2, round(rate))
    moments = await _passing(limiter, run_cancellation, lanes=10, each=each)
    assert _most_in_a_second(moments) <= rate + burst
    assert 10 * each / (moments[-1] - moments[0]) >= 0.85 * rate


async def test_after_a_rest_there_is_one_burst_and_no_more() -> None:
    limiter, run_cancellation = _limiter(rate=50, burst=10)
    moments = await _passing(limiter, run_cancellation, lanes=4, each=50)
    await anyio.sleep(3600)
    moments += await _passing(limiter, run_cancellation, lanes=4, each=50)
    assert _most_in_a_second(moments) <= 60


@pytest.mark.integration
async def test_an_adaptive_rate_keeps_the_ceiling_too() -> None:
    limiter, run_cancellation = _limiter(rate=50, burst=10, adaptive=True)
    moments = []
    for _ in range(1000):
        moments.append(await limiter.acquire(run_cancellation))
        limiter.accepted(moments[-1])
    assert _most_in_a_second(moments) <= 60
    assert 1000 / (moments[-1] - moments[0]) >= 0.85 * 50


# --- A limit that nobody tells ----------------------------------------------------------------------------


class Server:
    """Answers after a while, by the sandbox's own limiter; counts what it let pass."""

    def __init__(self, conduct: quirks.Quirks, *, latency: float) -> None:
        self._conduct, self._latency, self._limiter = conduct, latency, limiter.Limiter()
        self.arrivals: list[float] = []
        self.refused = 0

    async def __call__(self) -> None:
        await anyio.sleep(self._latency / 2)
        now = anyio.current_time()
        self.arrivals.append(now)
        result = self._limiter.admit(self._conduct, now)
        await anyio.sleep(self._latency / 2)
        if result is not None and result.wait:
            self.refused += 1
            raise RateLimited("429")


@pytest.mark.integration
@pytest.mark.parametrize("latency", [laws.slow(0.01), 0.08])
@pytest.mark.parametrize("conduct", KEPT, ids=["bucket", "small-bucket", "fixed", "sliding"])
async def test_an_unknown_limit_is_found_used_and_not_run_into(conduct: quirks.Quirks, latency: float) -> None:
    server = Server(conduct, latency=latency)
    limiter, run_cancellation = _limiter(rate=2000, burst=10, adaptive=True)
    executor = request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=run_cancellation, policy=retry_policy.RetryPolicy(), jitter=lambda: 0.5
    )

    async def lane() -> None:
        for _ in range(150):
            await executor.execute(server)

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(lane)
    elapsed = anyio.current_time() - start
    assert 32 * 150 / elapsed >= 0.85 * 150
    assert server.refused / len(server.arrivals) <= 0.03
    assert executor.traffic.rate_limited == server.refused == executor.traffic.retries


# --- Pauses -----------------------------------------------------------------------------------------------


async def test_everybody_who_waits_obeys_a_pause() -> None:
    limiter, run_cancellation = _limiter(rate=100, burst=5)
    moments: list[float] = []

    async def lane() -> None:
        for _ in range(10):
            moments.append(await limiter.acquire(run_cancellation))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lane)
        await anyio.sleep(0.2)
        paused = anyio.current_time()
        limiter.limited(moments[-1], 7.0)
    after = [moment for moment in moments if moment > paused]
    assert len(after) > 50
    assert min(after) >= paused + 7.0


async def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    limiter, run_cancellation = _limiter()
    sent = await limiter.acquire(run_cancellation)
    start = anyio.current_time()
    limiter.limited(sent, 20.0)
    limiter.limited(sent, 1.0)
    assert await limiter.acquire(run_cancellation) >= start + 20.0


async def test_the_429s_that_were_on_their_way_ask_for_one_pause() -> None:
    limiter, run_cancellation = _limiter()
    earlier, later = [await limiter.acquire(run_cancellation) for _ in range(2)]
    start = anyio.current_time()
    limiter.limited(later, 1.0)
    await anyio.sleep(0.5)
    limiter.limited(earlier, 1.0)
    assert await limiter.acquire(run_cancellation) == pytest.approx(start + 1.0, abs=0.1)


async def test_no_burst_goes_before_the_limit_is_known() -> None:
    limiter, run_cancellation = _limiter(rate=2000, burst=50, adaptive=True)
    moments = [await limiter.acquire(run_cancellation) for _ in range(5)]
    assert min(after - before for before, after in itertools.pairwise(moments)) > 0.03


async def test_a_pause_that_is_too_long_is_told_to_all_who_wait() -> None:
    limiter, run_cancellation = _limiter(rate=1, burst=1)
    told = []

    async def wait() -> None:
        with pytest.raises(RateLimited) as caught:
            await limiter.acquire(run_cancellation)
        told.append(caught.value.retry_after)

    sent = await limiter.acquire(run_cancellation)
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(wait)
        await anyio.sleep(0.1)
        limiter.limited(sent, 3600.0)
    assert len(told) == 5
    assert anyio.current_time() - start < 1
    await anyio.sleep(3600 - retry_policy.LONGEST_WAIT + 1)
    await limiter.acquire(run_cancellation)
    assert anyio.current_time() - start >= 3600


# --- Changes act at once ----------------------------------------------------------------------------------


async def test_a_cut_acts_at_once_on_the_one_who_sleeps() -> None:
    limiter, run_cancellation = _limiter(rate=10, burst=1, adaptive=True)
    sent = await limiter.acquire(run_cancellation)
    passed: list[float] = []

    async def wait() -> None:
        passed.append(await limiter.acquire(run_cancellation))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.05)
        slower = anyio.current_time()
        limiter.limited(sent, None)
    assert passed[0] - slower >= 1 / limiter.rate() - 0.001


async def test_the_end_of_a_refusal_acts_at_once_on_the_one_who_sleeps() -> None:
    """After minutes of 429 only a request in many seconds goes; the first that is accepted ends that for all."""
    limiter, run_cancellation = _limiter(rate=50, burst=10)
    started = anyio.current_time()
    while anyio.current_time() - started < 300:
        limiter.limited(await limiter.acquire(run_cancellation), None)
    probe = await limiter.acquire(run_cancellation)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limiter.acquire, run_cancellation)
        await anyio.sleep(0.1)
        limiter.accepted(probe)
        accepted = anyio.current_time()
    assert anyio.current_time() - accepted <= 1 / 50 + 0.001


async def test_only_the_head_of_the_queue_sleeps() -> None:
    """Those behind it wait for their turn, in order, and look at nothing."""
    limiter, run_cancellation = _limiter(rate=1, burst=1)
    order: list[int] = []

    async def wait(number: int) -> None:
        await limiter.acquire(run_cancellation)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
    assert order == sorted(order)


@pytest.mark.parametrize("why", ["the spacing", "a pause"])
async def test_a_halt_wakes_everybody_who_waits(why: str) -> None:
    limiter, run_cancellation = _limiter(rate=0.001, burst=1)
    sent = await limiter.acquire(run_cancellation)
    if why == "a pause":
        limiter.limited(sent, 250.0)
    raised: list[FleetSyncError] = []

    async def wait() -> None:
        with pytest.raises(Stopped) as caught:
            await limiter.acquire(run_cancellation)
        raised.append(caught.value)

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(wait)
        await anyio.sleep(0.5)
        run_cancellation.request_stop(Stopped("enough", exit_code=143))
    assert anyio.current_time() - start == pytest.approx(0.5)
    assert len(raised) == 4


async def test_after_a_halt_nobody_passes_even_where_nothing_is_in_the_way() -> None:
    limiter, run_cancellation = _limiter()
    run_cancellation.request_stop(Stopped("enough", exit_code=143))
    with pytest.raises(Stopped):
        await limiter.acquire(run_cancellation)


async def test_a_waiter_who_is_cancelled_takes_no_turn() -> None:
    limiter, run_cancellation = _limiter(rate=1, burst=1)
    await limiter.acquire(run_cancellation)
    start = anyio.current_time()
    for _ in range(3):
        with anyio.move_on_after(0.1):
            await limiter.acquire(run_cancellation)
    assert await limiter.acquire(run_cancellation) == pytest.approx(start + 1)


async def test_what_was_learned_outlives_a_run() -> None:
    limiter, run_cancellation = _limiter(rate=1000, burst=10, adaptive=True)
    limiter.limited(await limiter.acquire(run_cancellation), None)
    slowed = limiter.rate()
    run_cancellation.request_stop(Stopped("enough", exit_code=143))
    await limiter.acquire(cancellation.Cancellation(wake=limiter.wake))
    assert limiter.rate() == slowed < 1000


_ORDERS: list[Callable[[rate_limiter.RateLimiter, float], None]] = [
    lambda limiter, sent: limiter.accepted(sent),
    lambda limiter, sent: limiter.limited(sent, None),
    lambda limiter, sent: limiter.limited(sent, 0.0),
    lambda limiter, sent: limiter.wake(),
]


@pytest.mark.integration
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=lambda order: "".join(map(str, order)))
async def test_nothing_that_happens_lets_more_pass_than_the_ceiling(order: tuple[int, ...]) -> None:
    limiter, run_cancellation = _limiter(rate=20, burst=5, adaptive=True)
    moments = []
    for step in range(200):
        moments.append(await limiter.acquire(run_cancellation))
        _ORDERS[order[step % 4]](limiter, moments[-1])
        if step % 50 == 0:
            await anyio.sleep(step / 25)
    assert _most_in_a_second(moments) <= 25


# --- The whole engine -------------------------------------------------------------------------------------


def _many(count: int) -> tuple[state.SandboxState, dict[str, list[DriverId]]]:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(count)]
    fleet = harness.fleet_id("V")
    return harness.state_of({fleet: []}, others=drivers), {fleet: drivers}


@pytest.mark.integration
async def test_a_run_uses_its_rate_and_never_more() -> None:
    held, wanted = _many(1000)
    slow = quirks.Quirks(latency_seconds=0.2)
    account_harness = harness.Harness(
        held, requests_per_second=50, burst=10, adaptive=True, concurrency=16, quirks=slow
    )
    finished = await account_harness.reconcile(wanted)
    times = [request.time for request in account_harness.sandbox.requests]
    assert finished.counts["applied"] == 1000
    assert _most_in_a_second(times) <= 60
    writes = [request.time for request in account_harness.sandbox.requests if request.method == "POST"]
    assert len(writes) / (writes[-1] - writes[0]) >= 0.85 * 50


@pytest.mark.slow
async def test_a_run_finds_an_unknown_limit() -> None:
    held, wanted = _many(2500)
    conduct = quirks.Quirks(rate=150, latency_seconds=0.05)
    account_harness = harness.Harness(
        held, requests_per_second=2000, burst=10, adaptive=True, concurrency=32, quirks=conduct
    )
    finished = await account_harness.reconcile(wanted)
    requests = account_harness.sandbox.requests
    assert finished.counts["applied"] == 2500
    assert len(requests) - finished.traffic.rate_limited >= 0.85 * 150 * (requests[-1].time - requests[0].time)
    assert finished.traffic.rate_limited / len(requests) <= 0.03


@pytest.mark.integration
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_all_requests_of_a_run_wait_out_what_charge_asks_for(form: Literal["seconds", "date"]) -> None:
    held, wanted = _many(120)
    conduct = quirks.Quirks(rate=5, limit="fixed", window_seconds=10, retry_after=form, latency_seconds=0.02)
    account_harness = harness.Harness(
        held, requests_per_second=100, burst=10, adaptive=True, concurrency=8, quirks=conduct
    )
    finished = await account_harness.reconcile(wanted)
    assert finished.counts["applied"] == 120
    limited = [request.time for request in account_harness.sandbox.requests if request.status == 429]
    assert 0 < len(limited) <= 8 * (1 + len(account_harness.sandbox.requests) // 50)
    for moment in limited:
        window = (moment // 10 + 1) * 10
        # What was on its way when the 429 came may still arrive; nothing sets out after it.
        late = [request.time for request in account_harness.sandbox.requests if moment + 0.03 < request.time < window]
        assert late == []
