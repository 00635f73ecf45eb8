"""Which failures are retried, after how long, and when the budget for retries is used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from worker.core.model.errors import (
    Conflict,
    ForeignOrigin,
    JournalError,
    KeyChanged,
    KeyRejected,
    NotFound,
    OtherVersion,
    RateLimited,
    RequestRefused,
    ServerFault,
    Unreachable,
)
from worker.core.pacing import retry_policy

POLICY = retry_policy.RetryPolicy()
UNREACHABLE, FAULT = Unreachable("reset"), ServerFault("503")


def asked(seconds: float | None) -> RateLimited:
    return RateLimited(f"Retry-After: {seconds}", retry_after=seconds)


@pytest.mark.parametrize(
    ("error", "attempt", "jitter", "expected"),
    [
        (UNREACHABLE, 1, 1.0, 0.5),
        (UNREACHABLE, 1, 0.0, 0.25),
        (UNREACHABLE, 2, 1.0, 1.0),
        (UNREACHABLE, 5, 0.5, 6.0),
        (FAULT, 1, 1.0, 0.5),
        (FAULT, 5, 1.0, 8.0),
        (FAULT, 6, 1.0, None),
        (asked(None), 3, 1.0, 2.0),
        (asked(0.0), 1, 1.0, 0.0),
        (asked(300.0), 1, 1.0, 0.0),
        (asked(300.1), 1, 1.0, None),
        (asked(1.0), 6, 1.0, None),
        (KeyRejected("401"), 1, 1.0, None),
        (OtherVersion("has_more"), 1, 1.0, None),
        (KeyChanged("401"), 1, 1.0, 0.0),
        (KeyChanged("401"), 6, 1.0, 0.0),
        (RequestRefused("403"), 1, 1.0, None),
        (NotFound("404"), 1, 1.0, None),
        (Conflict("409"), 1, 1.0, None),
        (ForeignOrigin("302"), 1, 1.0, None),
        (JournalError("full"), 1, 1.0, None),
        (ValueError("a bug"), 1, 1.0, None),
    ],
    ids=str,
)
def test_the_table_of_delays(error: Exception, attempt: int, jitter: float, expected: float | None) -> None:
    assert retry_policy.delay(error, attempt=attempt, jitter=jitter, policy=POLICY) == expected


@worlds.LAW
@given(
    st.integers(1, 2000),
    st.floats(0, 1),
    st.floats(0.001, 10),
    st.floats(0.001, 1000),
    st.integers(2, 3000),
)
def test_every_step_lies_in_the_upper_half_of_a_doubling_that_never_passes_the_longest(
    attempt: int, jitter: float, base: float, longest: float, attempts: int
) -> None:
    policy = retry_policy.RetryPolicy(max_attempts=attempts, base_seconds=base, max_seconds=longest)
    wait = retry_policy.delay(UNREACHABLE, attempt=attempt, jitter=jitter, policy=policy)
    if attempt >= attempts:
        assert wait is None
    else:
        step = longest if attempt > 40 else min(longest, base * 2.0 ** (attempt - 1))
        assert wait is not None
        assert step / 2 <= wait <= step


def test_a_budget_ends_retries_after_a_hundred_when_nothing_succeeds() -> None:
    budget = retry_policy.RetryBudget()
    assert [budget.retry() for _ in range(102)] == [True] * 100 + [False] * 2


def test_a_success_pays_for_three_retries_and_never_fills_more_than_the_reserve() -> None:
    budget = retry_policy.RetryBudget()
    budget.succeeded()
    assert sum(budget.retry() for _ in range(200)) == 100
    budget.succeeded()
    assert sum(budget.retry() for _ in range(200)) == 3


def test_retries_never_stop_while_a_quarter_of_the_attempts_succeed() -> None:
    budget = retry_policy.RetryBudget()
    for _ in range(1000):
        assert all(budget.retry() for _ in range(3))
        budget.succeeded()


def test_retries_end_where_less_than_a_quarter_succeeds() -> None:
    budget = retry_policy.RetryBudget()
    granted = []
    for _ in range(1000):
        granted += [budget.retry() for _ in range(4)]
        budget.succeeded()
    assert not all(granted)
    assert sum(granted) <= 100 + 3 * 1000


@pytest.mark.parametrize(
    ("interval", "pauses"),
    [
        (300.0, [10, 20, 40, 80, 160, 300, 300]),
        (1.0, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        (3600.0, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]),
    ],
)
def test_a_service_whose_runs_fail_waits_ever_longer_up_to_its_interval_or_five_minutes(
    interval: float, pauses: list[float]
) -> None:
    assert [
        retry_policy.delay_after_failed_run(count, interval=interval) for count in range(1, len(pauses) + 1)
    ] == pauses
    assert retry_policy.delay_after_failed_run(10_000, interval=interval) == pauses[-1]
