"""Sending: attempts, backoff, the budget, and what ends it all."""

import functools
import itertools
from collections.abc import Callable, Sequence

import anyio
import pytest
import structlog

from worker.core.model.errors import (
    ChangeWithheld,
    ChargeError,
    Conflict,
    ForeignOrigin,
    KeyChanged,
    KeyRejected,
    NotFound,
    NotSent,
    RateLimited,
    RequestRefused,
    ServerFault,
    Stopped,
    Unreachable,
)
from worker.core.pacing import listing_choice, retry_policy
from worker.engine import cancellation, rate_limiter, request_executor

pytestmark = pytest.mark.anyio

SECONDS = retry_policy.RetryPolicy(max_attempts=4, base_seconds=1.0, max_seconds=3.0)

RETRIED: dict[str, Callable[[], ChargeError]] = {
    "unreachable": lambda: Unreachable("no answer"),
    "fault": lambda: ServerFault("503", status=503),
    "limited": lambda: RateLimited("429"),
    "limited-for": lambda: RateLimited("429", retry_after=2.0),
}
FINAL: dict[str, Callable[[], ChargeError]] = {
    "400": lambda: RequestRefused("400", status=400),
    "401": lambda: KeyRejected("401", status=401),
    "403": lambda: RequestRefused("403", status=403),
    "404": lambda: NotFound("404", status=404),
    "409": lambda: Conflict("409", status=409),
    "redirect": lambda: ForeignOrigin("302", status=302),
    "too-long": lambda: RateLimited("429", retry_after=retry_policy.LONGEST_WAIT + 1),
}


class Endpoint:
    """Raises the given errors, then answers."""

    def __init__(self, *failures: ChargeError) -> None:
        self._failures = list(failures)
        self.moments: list[float] = []

    async def __call__(self) -> str:
        self.moments.append(anyio.current_time())
        if self._failures:
            raise self._failures.pop(0)
        return "answer"


def _executor(
    *, policy: retry_policy.RetryPolicy = SECONDS, rate: float = 1000.0, burst: int = 100
) -> request_executor.RequestExecutor:
    limiter = rate_limiter.RateLimiter(requests_per_second=rate, burst=burst, adaptive=False)
    return request_executor.RequestExecutor(
        limiter=limiter,
        run_cancellation=cancellation.Cancellation(wake=limiter.wake),
        policy=policy,
        jitter=lambda: 1.0,
    )


def _pauses(moments: Sequence[float]) -> list[float]:
    return [round(after - before, 2) for before, after in itertools.pairwise(moments)]


async def test_a_request_under_a_key_that_changed_is_sent_again_at_once_and_the_run_goes_on() -> None:
    """Also with a single attempt allowed: the first one could not succeed."""
    executor, endpoint = _executor(policy=retry_policy.RetryPolicy(max_attempts=1)), Endpoint(KeyChanged("401"))
    attempts, checks = request_executor.Attempts(write=True), []

    async def ready() -> None:
        checks.append(1)

    assert await executor.execute(endpoint, attempts, ready=ready) == "answer"
    assert (attempts.count, attempts.maybe_applied, len(checks)) == (2, False, 2)
    executor.cancellation.check()


async def test_what_succeeds_is_sent_once() -> None:
    executor, endpoint = _executor(), Endpoint()
    assert await executor.execute(endpoint) == "answer"
    assert (executor.traffic.reads, executor.traffic.writes, executor.traffic.retries) == (1, 0, 0)


@pytest.mark.parametrize("failure", RETRIED.values(), ids=RETRIED)
async def test_what_may_pass_is_tried_again(failure: Callable[[], ChargeError]) -> None:
    executor, endpoint, attempts = _executor(), Endpoint(failure(), failure()), request_executor.Attempts(write=True)
    assert await executor.execute(endpoint, attempts) == "answer"
    assert attempts.count == 3
    assert (executor.traffic.reads, executor.traffic.writes, executor.traffic.retries) == (0, 3, 2)
    assert executor.requests == 1


async def test_what_never_left_is_not_counted_and_certainly_not_done() -> None:
    executor, attempts = _executor(), request_executor.Attempts(write=True)
    with pytest.raises(NotSent):
        await executor.execute(Endpoint(*(NotSent("no connection") for _ in range(9))), attempts)
    assert (attempts.count, attempts.maybe_applied) == (0, False)
    assert (executor.traffic.writes, executor.traffic.retries) == (0, 0)
    assert await executor.execute(Endpoint(NotSent("no connection")), attempts) == "answer"
    assert (attempts.count, executor.traffic.writes, executor.traffic.retries) == (1, 1, 0)


@pytest.mark.parametrize(
    ("failure", "maybe_applied"),
    [
        (Unreachable("408", status=408), True),
        (ForeignOrigin("303", status=303), True),
        (RequestRefused("400", status=400), False),
    ],
)
async def test_what_a_failure_says_of_the_effect(failure: ChargeError, maybe_applied: bool) -> None:
    """A redirect may come from a gateway that did not look what Charge did."""
    attempts = request_executor.Attempts(write=True)
    with pytest.raises(ChargeError):
        await _executor().execute(Endpoint(*[failure] * 9), attempts)
    assert attempts.maybe_applied is maybe_applied


async def test_while_nothing_succeeds_people_are_told_every_few_seconds(log: list[structlog.typing.EventDict]) -> None:
    policy = retry_policy.RetryPolicy(max_attempts=9, base_seconds=2, max_seconds=2)
    executor = _executor(policy=policy)
    await executor.execute(Endpoint())
    await anyio.sleep(100)
    await executor.execute(Endpoint(Unreachable("no answer")))
    assert [line["event"] for line in log] == ["request_retried", "charge_unanswered"]
    log.clear()
    await executor.execute(Endpoint(*(Unreachable("no answer") for _ in range(7))))
    told = [line for line in log if line["event"] == "charge_unanswered"]
    assert [(line["log_level"], line["attempt"], line["error"]) for line in told] == [
        ("warning", 4, "no answer"),
        ("warning", 7, "no answer"),
    ]


async def test_a_host_that_cannot_be_reached_is_reported_after_the_first_attempt_and_once(
    log: list[structlog.typing.EventDict],
) -> None:
    executor = _executor()
    await executor.execute(Endpoint(NotSent("no connection"), NotSent("no connection")))
    told = [line for line in log if line["log_level"] == "warning"]
    assert [(line["event"], line["attempt"], line["error"]) for line in told] == [
        ("charge_unreachable", 1, "no connection")
    ]
    log.clear()
    await executor.execute(Endpoint(NotSent("no connection")))
    assert [line["event"] for line in log] == ["request_retried"], "one lost connection among many is not worth a line"


@pytest.mark.parametrize("failure", FINAL.values(), ids=FINAL)
async def test_what_cannot_get_better_is_sent_once(failure: Callable[[], ChargeError]) -> None:
    executor, error, attempts = _executor(), failure(), request_executor.Attempts()
    with pytest.raises(ChargeError) as caught:
        await executor.execute(Endpoint(error), attempts)
    assert caught.value is error
    assert (attempts.count, executor.traffic.retries) == (1, 0)


async def test_the_last_attempt_raises_what_it_met() -> None:
    failures = [Unreachable(str(number)) for number in range(5)]
    executor, endpoint = _executor(), Endpoint(*failures)
    with pytest.raises(Unreachable, match="3"):
        await executor.execute(endpoint)
    assert len(endpoint.moments) == SECONDS.max_attempts


async def test_pauses_grow_up_to_the_longest() -> None:
    executor, endpoint = _executor(), Endpoint(*(Unreachable("") for _ in range(3)))
    await executor.execute(endpoint)
    assert _pauses(endpoint.moments) == [1.0, 2.0, 3.0]


async def test_a_refusal_among_failures_ends_it() -> None:
    executor, endpoint = _executor(), Endpoint(Unreachable(""), NotFound("404"))
    with pytest.raises(NotFound):
        await executor.execute(endpoint)
    assert len(endpoint.moments) == 2


async def test_a_pause_that_charge_asks_for_is_kept_by_all() -> None:
    executor = _executor()
    limited, other = Endpoint(RateLimited("429", retry_after=9.0)), Endpoint()
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(executor.execute, limited)
        await anyio.sleep(0.1)
        tasks.start_soon(executor.execute, other)
    assert min(limited.moments[1], other.moments[0]) >= start + 9.0
    assert executor.traffic.rate_limited == 1


@pytest.mark.parametrize(
    ("failures", "maybe_applied"),
    [
        ([], False),
        ([RateLimited("429")], False),
        ([NotFound("404")], False),
        ([Conflict("409")], False),
        ([Unreachable(""), NotFound("404")], True),
        ([ServerFault("500"), RateLimited("429"), RequestRefused("400")], True),
        ([Unreachable("")] * 4, True),
    ],
)
async def test_only_an_unclear_answer_makes_a_write_maybe_applied(
    failures: list[ChargeError], maybe_applied: bool
) -> None:
    attempts = request_executor.Attempts(write=True)
    try:
        await _executor().execute(Endpoint(*failures), attempts)
    except ChargeError:
        assert attempts.maybe_applied is maybe_applied
    else:
        assert not attempts.maybe_applied


async def test_a_write_that_was_given_up_in_flight_is_maybe_applied() -> None:
    attempts = request_executor.Attempts(write=True)
    with anyio.move_on_after(1):
        await _executor().execute(anyio.sleep_forever, attempts)
    assert (attempts.count, attempts.maybe_applied) == (1, True)


async def test_a_rejected_key_halts_the_run_and_nothing_more_is_sent() -> None:
    executor = _executor(rate=10, burst=1)
    rejected, others = Endpoint(KeyRejected("401", status=401)), [Endpoint() for _ in range(5)]
    stopped = 0

    async def other(endpoint: Endpoint) -> None:
        nonlocal stopped
        with pytest.raises(KeyRejected):
            await executor.execute(endpoint)
        stopped += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other, rejected)
        await anyio.wait_all_tasks_blocked()
        for endpoint in others:
            tasks.start_soon(other, endpoint)
    assert stopped == 6
    assert sum(len(endpoint.moments) for endpoint in others) == 0
    assert isinstance(executor.cancellation.reason, KeyRejected)
    assert executor.requests == 1


async def test_a_halt_ends_a_backoff_at_once() -> None:
    executor = _executor(policy=retry_policy.RetryPolicy(max_attempts=9, base_seconds=100, max_seconds=100))
    endpoint, attempts = Endpoint(Unreachable("")), request_executor.Attempts(write=True)

    async def send() -> None:
        with pytest.raises(Stopped):
            await executor.execute(endpoint, attempts)

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.sleep(3)
        executor.cancellation.request_stop(Stopped("enough", exit_code=143))
    assert anyio.current_time() - start == pytest.approx(3)
    assert (attempts.count, attempts.maybe_applied, len(endpoint.moments)) == (1, True, 1)


async def test_retries_are_counted_when_they_are_sent() -> None:
    """One that the end of the run overtook while it waited for its turn never went over the wire."""
    executor = _executor(rate=0.01, burst=2, policy=retry_policy.RetryPolicy(max_attempts=3, base_seconds=0.1))

    async def send() -> None:
        with pytest.raises(Stopped):
            await executor.execute(Endpoint(Unreachable("")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.sleep(5)
        executor.cancellation.request_stop(Stopped("enough", exit_code=143))
    assert (executor.traffic.reads, executor.traffic.retries) == (1, 0)


async def test_retries_never_become_the_load() -> None:
    """Where nothing succeeds they end after a hundred, however many requests there are."""
    executor = _executor(policy=retry_policy.RetryPolicy(max_attempts=10, base_seconds=0.01, max_seconds=0.1))
    endpoint = Endpoint(*(Unreachable("") for _ in range(10_000)))
    for _ in range(50):
        with pytest.raises(Unreachable):
            await executor.execute(endpoint)
    assert executor.traffic.retries == 100
    assert len(endpoint.moments) == 150


async def test_successes_earn_retries() -> None:
    executor = _executor(policy=retry_policy.RetryPolicy(max_attempts=10, base_seconds=0.01, max_seconds=0.1))
    for _ in range(200):
        await executor.execute(Endpoint(Unreachable(""), Unreachable("")))
    assert executor.traffic.retries == 400


# --- Turns and timing ----------------------------------------------------------------------------------------


async def test_a_request_that_must_not_be_sent_after_all_gives_its_turn_back() -> None:
    executor, endpoint, attempts = _executor(rate=0.1, burst=1), Endpoint(), request_executor.Attempts(write=True)

    async def refuse() -> None:
        raise ChangeWithheld("a source changed")

    start = anyio.current_time()
    with pytest.raises(ChangeWithheld):
        await executor.execute(endpoint, attempts, ready=refuse)
    assert (attempts.count, attempts.maybe_applied, executor.requests, endpoint.moments) == (0, False, 0, [])
    await executor.execute(endpoint)
    assert endpoint.moments == [start]


async def test_an_urgent_request_is_sent_before_those_that_wait_already() -> None:
    executor, ordinary, urgent = _executor(rate=1, burst=1), Endpoint(), Endpoint()
    await executor.execute(Endpoint())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(executor.execute, ordinary)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(functools.partial(executor.execute, urgent, urgent=True))
    assert urgent.moments < ordinary.moments


async def test_the_timing_is_that_of_the_turns_and_of_the_replies_so_far() -> None:
    executor = _executor(rate=10)
    assert executor.timing(8) == listing_choice.RequestTiming(0.1, 0.0, 8)
    for seconds in (1.0, 3.0):
        await executor.execute(functools.partial(anyio.sleep, seconds))
    with pytest.raises(NotFound):
        await executor.execute(Endpoint(NotFound("404")))
    assert executor.timing(8) == listing_choice.RequestTiming(0.1, 2.0, 8)


async def test_a_run_begins_at_the_rate_that_an_earlier_one_learned_if_any() -> None:
    limiter = rate_limiter.RateLimiter(requests_per_second=1000, burst=10, adaptive=True)
    executor = request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=cancellation.Cancellation(), policy=SECONDS, jitter=lambda: 1.0
    )
    found = []
    for rate in (None, 40.0):
        executor.start_at(rate)
        found.append((executor.learned_rate, executor.seconds_between_turns))
    assert found == [(None, 1 / 25), (40.0, 1 / 40)]


async def test_each_failure_of_a_request_is_noted_by_its_code() -> None:
    attempts = request_executor.Attempts()
    await _executor().execute(Endpoint(Unreachable(""), ServerFault("503"), Unreachable("")), attempts)
    assert attempts.failures == {Unreachable.code, ServerFault.code}


async def test_a_refusal_shows_that_requests_are_accepted_and_an_answer_that_never_came_shows_nothing() -> None:
    limiter = rate_limiter.RateLimiter(requests_per_second=1000, burst=10, adaptive=True)
    once = retry_policy.RetryPolicy(max_attempts=1)
    executor = request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=cancellation.Cancellation(), policy=once, jitter=lambda: 1.0
    )
    first = limiter.rate()
    with pytest.raises(Unreachable):
        await executor.execute(Endpoint(Unreachable("no answer")))
    assert limiter.rate() == first
    with pytest.raises(NotFound):
        await executor.execute(Endpoint(NotFound("404")))
    assert limiter.rate() > first
