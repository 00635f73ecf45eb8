"""The token bucket: never faster than allowed, and all that is allowed is used."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from worker.core.pacing import token_bucket

_TINY = 1e-6


def sent(bucket: token_bucket.TokenBucket, *, at: float, until: float, rate: float) -> list[float]:
    """Send as fast as is allowed from `at` to `until`."""
    times = []
    while (at := at + bucket.wait(at, rate)) <= until:
        bucket.take()
        times.append(at)
    return times


@worlds.LAW
@given(st.floats(0.5, 500), st.integers(1, 50), st.lists(st.floats(0, 2), min_size=1, max_size=8))
def test_no_window_of_time_ever_sees_more_than_the_rate_and_the_burst(
    rate: float, burst: int, pauses: list[float]
) -> None:
    """Pauses alternate with times of sending as fast as allowed."""
    bucket, now, times = token_bucket.TokenBucket(burst=burst, now=0.0), 0.0, list[float]()
    for pause in pauses:
        times += sent(bucket, at=now + pause, until=now + pause + 20 / rate, rate=rate)
        now += pause + 20 / rate
    for first, last in itertools.combinations_with_replacement(range(len(times)), 2):
        assert last - first + 1 <= rate * (times[last] - times[first]) + max(1, burst - 1 - burst // 10) + _TINY


@worlds.LAW
@given(st.floats(0.5, 500), st.integers(1, 50), st.floats(0.1, 5))
def test_who_always_has_something_to_send_uses_all_of_the_rate(rate: float, burst: int, seconds: float) -> None:
    times = sent(token_bucket.TokenBucket(burst=burst, now=0.0), at=0.0, until=seconds, rate=rate)
    assert len(times) >= rate * seconds - 1


@worlds.LAW
@given(st.integers(1, 50), st.lists(st.tuples(st.floats(1, 500), st.floats(0.01, 1)), min_size=1, max_size=6))
def test_a_rate_that_changes_never_gives_more_than_its_sum_and_the_burst(
    burst: int, stretches: list[tuple[float, float]]
) -> None:
    bucket, now, count, allowed = (
        token_bucket.TokenBucket(burst=burst, now=0.0),
        0.0,
        0,
        float(max(1, burst - 1 - burst // 10)),
    )
    for rate, seconds in stretches:
        count += len(sent(bucket, at=now, until=now + seconds, rate=rate))
        now += seconds
        bucket.wait(now, rate)
        allowed += rate * seconds
        assert count <= allowed + _TINY


def test_a_burst_is_a_tenth_and_one_less_than_allowed_and_never_less_than_one() -> None:
    for burst, at_once in ((100, 89), (10, 8), (2, 1), (1, 1)):
        bucket = token_bucket.TokenBucket(burst=burst, now=5.0)
        assert len(sent(bucket, at=5.0, until=5.0, rate=1.0)) == at_once
        assert bucket.wait(5.0, 4.0) == pytest.approx(0.25)


def test_a_drained_burst_is_given_up_and_no_debt_is_forgiven() -> None:
    full, owing = token_bucket.TokenBucket(burst=10, now=0.0), token_bucket.TokenBucket(burst=1, now=0.0)
    full.drain()
    assert full.wait(0.0, 10.0) == pytest.approx(0.1)
    for _ in range(3):
        owing.take()
    owing.drain()
    assert owing.wait(0.0, 1.0) == pytest.approx(3.0)
