"""The estimated rate, reply by reply: what each may change. `test_rate_estimator` has whole servers."""

import pytest

from worker.core.pacing import rate_estimator

LIMIT = 150.0


# --- Single replies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ceiling", "adaptive", "before", "after"),
    [(20.0, True, True, False), (100.0, True, False, False), (100.0, False, True, True)],
)
def test_whether_the_limit_is_known_until_and_after_the_first_refusal(
    ceiling: float, adaptive: bool, before: bool, after: bool
) -> None:
    estimator = rate_estimator.RateEstimator(ceiling=ceiling, adaptive=adaptive)
    found = [estimator.knows_limit]
    assert estimator.limited(sent=0.0, now=0.1)
    estimator.accepted(sent=0.5, now=0.6)
    assert [*found, estimator.knows_limit] == [before, after]
    assert (estimator.learned is not None) is adaptive


def test_a_429_to_a_request_that_was_sent_before_the_last_one_says_nothing() -> None:
    estimator = rate_estimator.RateEstimator(ceiling=100.0)
    assert estimator.limited(sent=1.0, now=2.0)
    slowed = estimator.rate(2.0)
    assert not estimator.limited(sent=1.5, now=2.1)
    assert not estimator.limited(sent=2.0, now=2.2)
    assert estimator.rate(2.2) == slowed
    assert estimator.limited(sent=2.1, now=2.3)


@pytest.mark.parametrize(
    ("learned", "adaptive", "rate"), [(40.0, True, 40.0), (400.0, True, 100.0), (0.01, True, 0.5), (40.0, False, 100.0)]
)
def test_a_rate_that_was_learned_is_kept_between_the_lowest_and_the_ceiling(
    learned: float, adaptive: bool, rate: float
) -> None:
    estimator = rate_estimator.RateEstimator(ceiling=100.0, adaptive=adaptive)
    assert estimator.learned is None
    estimator.start_at(learned)
    assert (estimator.rate(0.0), estimator.learned) == (rate, rate if adaptive else None)


def test_a_rate_that_was_learned_is_held_for_a_second_before_it_rises() -> None:
    estimator = rate_estimator.RateEstimator(ceiling=100.0)
    estimator.start_at(40.0)
    for number in range(1, 10):
        estimator.accepted(sent=number / 10, now=number / 10)
    assert estimator.rate(0.9) == 40.0
    for number in range(10, 30):
        estimator.accepted(sent=number / 10, now=number / 10)
    assert estimator.rate(3.0) > 40.0


def test_what_nobody_waits_for_does_not_raise_the_rate() -> None:
    estimator = rate_estimator.RateEstimator(ceiling=100.0)
    first = estimator.rate(0.0)
    estimator.accepted(sent=0.1, now=0.2, waited=False)
    assert estimator.rate(0.2) == first
    estimator.accepted(sent=0.2, now=0.3, waited=True)
    assert estimator.rate(0.3) > first
