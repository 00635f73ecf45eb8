"""Rate limiting: never faster than allowed, all that is allowed is used, and an unknown limit is found.

The servers are simulated (`rate_model`), so that minutes pass in no time. Neighbours: test_token_bucket.py,
test_rate_of_jobs.py.
"""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import rate_model, worlds
from tests.support import laws
from worker.core.pacing import rate_estimator

LIMIT = 150.0


# --- A known limit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [16, laws.slow(32)])
@pytest.mark.parametrize(
    "server",
    [
        lambda: rate_model.TokenBucket(60, 10),
        lambda: rate_model.FixedWindow(60),
        lambda: rate_model.SlidingWindow(60),
        lambda: rate_model.TokenBucket(50, 10),
    ],
    ids=["bucket", "fixed", "sliding", "just_so"],
)
def test_a_ceiling_below_the_limit_is_used_and_never_sees_a_429(
    server: Callable[[], rate_model.Server], concurrency: int
) -> None:
    client = rate_model.Client(ceiling=50, burst=10, concurrency=concurrency)
    traffic = rate_model.simulate(server(), client, requests=2000)
    assert traffic.refused == 0
    assert traffic.per_second >= 0.95 * 50
    assert traffic.busiest() <= 50 + 10


def test_a_rate_that_does_not_adapt_stays_at_the_ceiling_from_the_first_request_on() -> None:
    client = rate_model.Client(ceiling=300, adaptive=False)
    traffic = rate_model.simulate(rate_model.TokenBucket(1000, 100), client, requests=3000)
    assert traffic.refused == 0
    assert traffic.per_second == pytest.approx(300, rel=0.02)


def test_a_rate_that_does_not_adapt_only_trickles_while_the_server_refuses() -> None:
    """It goes on at the ceiling as soon as the server does."""
    server = rate_model.Scripted(lambda now, _: not 2 <= now < 6)
    client = rate_model.Client(ceiling=200, adaptive=False, concurrency=200)
    traffic = rate_model.simulate(server, client, requests=2000)
    refused = [at for at in traffic.sent if 2.01 <= at < 5.99]
    afterwards = [at for at in traffic.sent if 7 <= at < 8]
    assert 0 < len(refused) <= 20 * 4
    assert len(afterwards) == pytest.approx(200, rel=0.05)


# --- An unknown limit -------------------------------------------------------------------------------------

SERVERS: dict[str, Callable[[], rate_model.Server]] = {
    "bucket_10": lambda: rate_model.TokenBucket(LIMIT, 10),
    "bucket_150": lambda: rate_model.TokenBucket(LIMIT, 150),
    "fixed": lambda: rate_model.FixedWindow(LIMIT),
    "fixed_late": lambda: rate_model.FixedWindow(LIMIT, ahead=0.9),
    "sliding": lambda: rate_model.SlidingWindow(LIMIT),
}


@pytest.mark.integration
@pytest.mark.parametrize("seed", [1, laws.slow(2)])
@pytest.mark.parametrize("concurrency", [16, laws.slow(32)])
@pytest.mark.parametrize("server", SERVERS)
def test_an_unknown_limit_is_used_to_85_percent_with_at_most_3_percent_of_429(
    server: str, concurrency: int, seed: int
) -> None:
    client = rate_model.Client(ceiling=2000, concurrency=concurrency, seed=seed)
    traffic = rate_model.simulate(SERVERS[server](), client, requests=3000)
    assert traffic.per_second >= 0.85 * LIMIT
    assert traffic.refused_share <= 0.03


@pytest.mark.parametrize("limit", [40.0, 80.0, 300.0, laws.slow(800.0)])
def test_other_limits_are_found_too(limit: float) -> None:
    client = rate_model.Client(ceiling=2000)
    traffic = rate_model.simulate(rate_model.TokenBucket(limit, 10), client, requests=int(20 * limit))
    assert traffic.per_second >= 0.85 * limit
    assert traffic.refused_share <= 0.03


def test_the_ceiling_holds_whatever_the_server_would_take() -> None:
    traffic = rate_model.simulate(rate_model.Scripted(lambda *_: True), rate_model.Client(ceiling=400), requests=4000)
    assert traffic.refused == 0
    assert 390 <= traffic.busiest() <= 400 + 10


@pytest.mark.integration
def test_a_limit_that_rises_later_is_found_again() -> None:
    server = rate_model.TokenBucket(100, 10)

    def script(now: float, _: int) -> bool:
        if now >= 20:
            server.limit = 300
        return server.accepts(now)

    traffic = rate_model.simulate(rate_model.Scripted(script), requests=18000)
    late = [at for at in traffic.accepted if 65 <= at < 70]
    assert traffic.accepted[-1] > 70
    assert len(late) / 5 >= 0.85 * 300


@pytest.mark.integration
def test_a_limit_that_falls_later_is_kept_within_seconds() -> None:
    server = rate_model.TokenBucket(300, 10)

    def script(now: float, _: int) -> bool:
        if now >= 20:
            server.limit = 60
        return server.accepts(now)

    traffic = rate_model.simulate(rate_model.Scripted(script), requests=8500)
    assert traffic.refused_share <= 0.03
    assert len([at for at in traffic.accepted if 30 <= at < 40]) / 10 >= 0.85 * 60


def test_one_stray_429_at_the_start_does_not_slow_a_run_down_for_minutes() -> None:
    """There is no earlier 429, so the hold is as short as possible."""
    server = rate_model.TokenBucket(500, 50)
    traffic = rate_model.simulate(
        rate_model.Scripted(lambda now, number: number != 5 and server.accepts(now)), requests=5000
    )
    assert traffic.refused_share <= 0.03
    assert traffic.accepted[-1] < 30


# --- 429s that mean no limit ------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("seed", [1, laws.slow(2), laws.slow(3)])
@pytest.mark.parametrize(
    ("ceiling", "share", "seconds", "used"),
    [(25, 0.01, 60, 0.8), (25, 0.1, 60, 0.7), (25, 0.2, 60, 0.5), (500, 0.1, 20, 0.4), laws.slow(500, 0.01, 120, 0.8)],
)
def test_429s_at_random_are_told_from_a_limit_and_do_not_slow_a_run_down(
    ceiling: float, share: float, seconds: int, used: float, seed: int
) -> None:
    """Slowing down does not make them rarer."""
    client = rate_model.Client(ceiling=ceiling, seed=seed)
    traffic = rate_model.simulate(rate_model.Noisy(share, seed=seed + 7), client, requests=int(ceiling * seconds))
    assert traffic.per_second >= used * ceiling


@pytest.mark.integration
@pytest.mark.parametrize("before", [0.0, 0.1], ids=["clean", "noisy"])
@pytest.mark.parametrize("part", [1 / 3, 1 / 10])
@pytest.mark.parametrize("limit", [150.0, laws.slow(400.0)])
def test_a_limit_that_falls_steeply_is_found_without_a_storm_of_429s(limit: float, part: float, before: float) -> None:
    """Also if 429s were classified as spurious until then."""
    server, noise = rate_model.TokenBucket(limit, 10), rate_model.Noisy(before)

    def script(now: float, _: int) -> bool:
        if now >= 20:
            server.limit = limit * part
        return (now >= 20 or noise.accepts(now)) and server.accepts(now)

    requests = int(limit * (15 if before else 19) + 60 * limit * part)
    traffic = rate_model.simulate(rate_model.Scripted(script), rate_model.Client(ceiling=limit), requests=requests)
    sent, accepted = (sum(20 <= at < 80 for at in times) for times in (traffic.sent, traffic.accepted))
    assert 1 - accepted / sent <= 0.1
    assert sum(30 <= at < 50 for at in traffic.accepted) / 20 >= 0.75 * limit * part


@pytest.mark.integration
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_noise_over_a_limit_neither_stops_a_run_nor_makes_a_storm(share: float) -> None:
    server = rate_model.Noisy(share, rate_model.TokenBucket(LIMIT, LIMIT))
    traffic = rate_model.simulate(server, requests=6000)
    assert traffic.per_second >= 0.4 * LIMIT
    assert traffic.refused_share <= 0.3


@pytest.mark.integration
def test_what_is_taken_for_noise_ends_as_everything_is_refused_also_during_a_look_at_a_slower_rate() -> None:
    for until in range(20, 20 + laws.tries(20)):
        noise = rate_model.Noisy(0.1)

        def script(now: float, _: int, until: int = until, noise: rate_model.Noisy = noise) -> bool:
            return not until <= now < until + 10 and noise.accepts(now)

        traffic = rate_model.simulate(rate_model.Scripted(script), rate_model.Client(ceiling=100), requests=3000)
        assert sum(until <= at < until + 10 for at in traffic.sent) <= 60


def test_a_server_that_refuses_everything_is_asked_ever_more_rarely_but_not_never() -> None:
    """Until it accepts again."""
    server = rate_model.Scripted(lambda now, _: now >= 600)
    traffic = rate_model.simulate(server, rate_model.Client(concurrency=200), requests=200)
    assert sum(at < 10 for at in traffic.sent) <= 60
    assert 3 <= sum(300 <= at < 600 for at in traffic.sent) <= 20
    assert traffic.accepted[0] < 650


def test_only_a_ceiling_that_is_reached_without_a_429_is_taken_for_the_limit() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=100, adaptive=True)
    assert rate_estimator.RateEstimator(ceiling=100, adaptive=False).knows_limit
    assert not estimate.knows_limit
    now, known = 0.0, []
    for number in range(3000):
        now += 1 / estimate.rate(now)
        if number == 1000:
            known.append(estimate.knows_limit)
            estimate.limited(sent=now, now=now)
        else:
            estimate.accepted(sent=now, now=now)
    assert known == [True]
    assert not estimate.knows_limit


# --- Idle time --------------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("server", SERVERS)
def test_a_run_after_an_idle_time_goes_on_with_what_was_learned(server: str) -> None:
    first, *later = rate_model.simulate_runs(SERVERS[server](), requests=3000, runs=4, idle=300)
    assert first.per_second >= 0.85 * LIMIT
    for traffic in later:
        assert traffic.per_second >= 0.85 * LIMIT
        assert traffic.refused_share <= 0.03


def test_one_stray_429_in_each_run_slows_none_of_them_down_for_minutes() -> None:
    server = rate_model.TokenBucket(LIMIT, 10)
    strays = {number * 1500 + 5 for number in range(5)}
    runs = rate_model.simulate_runs(
        rate_model.Scripted(lambda now, number: number not in strays and server.accepts(now)),
        requests=1500,
        runs=5,
        idle=300,
    )
    for traffic in runs:
        assert traffic.per_second >= 0.6 * LIMIT


def test_idle_time_neither_raises_the_rate_nor_ends_a_hold() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=1000)
    for number in range(20):
        estimate.accepted(sent=number / 20, now=number / 20)
    estimate.limited(sent=1.0, now=1.0)
    estimate.accepted(sent=1.1, now=1.1)
    before = estimate.rate(1.1)
    assert estimate.rate(301.0) == before
    estimate.accepted(sent=301.0, now=301.0)
    estimate.accepted(sent=301.1, now=301.1)
    assert estimate.rate(301.1) == before


def test_the_first_answer_after_an_idle_time_may_be_a_429() -> None:
    """The rate in use is the one from before, not none."""
    estimate = rate_estimator.RateEstimator(ceiling=100)
    for number in range(100):
        estimate.accepted(sent=number / 50, now=number / 50)
    before = estimate.rate(2.0)
    estimate.limited(sent=302.0, now=302.0)
    estimate.accepted(sent=302.1, now=302.1)
    assert estimate.rate(302.1) >= 0.7 * min(before, 75)


@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_the_pause_that_a_server_asks_for_is_idle_time(seconds: float) -> None:
    """A client that waits half a minute after each 429 still finds the limit."""
    client = rate_model.Client(retry_after=seconds)
    traffic = rate_model.simulate(rate_model.TokenBucket(LIMIT, 10), client, requests=6000)
    late = traffic.accepted[-2000:]
    pauses = sum(after - before for before, after in itertools.pairwise(late) if after - before > seconds / 2)
    assert len(late) / (late[-1] - late[0] - pauses) >= 0.75 * LIMIT
    assert traffic.refused_share <= 0.03


# --- The estimator alone ----------------------------------------------------------------------------------


def test_a_429_to_a_request_from_before_the_last_one_says_nothing_new() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=100)
    assert estimate.limited(sent=1.0, now=1.1)
    before = estimate.rate(1.1)
    assert not estimate.limited(sent=1.05, now=1.2)
    assert estimate.rate(1.2) == before


def test_two_429_in_the_same_instant_are_one() -> None:
    """A virtual clock may not advance between two replies; nothing is divided by zero."""
    estimate = rate_estimator.RateEstimator(ceiling=100, adaptive=False)
    assert estimate.limited(sent=1.0, now=1.0)
    assert not estimate.limited(sent=1.0, now=1.0)


def test_a_429_never_lifts_a_very_slow_rate_above_its_ceiling() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=0.5)
    estimate.limited(sent=1.0, now=1.1)
    estimate.accepted(sent=2.0, now=2.1)
    assert 0 < estimate.rate(2.1) <= 0.5


@pytest.mark.parametrize("ceiling", [100.0, 0.2])
def test_429s_that_ask_for_a_pause_do_not_slow_a_run_down_for_ever(ceiling: float) -> None:
    """A gateway that answers every few requests so would otherwise leave a run with a request a minute."""
    estimator, now = rate_estimator.RateEstimator(ceiling=ceiling), 0.0
    for _ in range(200):
        for accepted in (False, True, True):
            now += 1 / estimator.rate(now)
            if accepted:
                estimator.accepted(sent=now, now=now)
            else:
                estimator.limited(sent=now, now=now, pause=1.0)
    assert estimator.rate(now) == pytest.approx(min(ceiling, 0.5), rel=0.2)


def test_the_longer_a_server_refuses_the_rarer_it_is_asked() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=100, adaptive=False)
    rates = []
    for second in range(10):
        assert estimate.limited(sent=float(second), now=second + 0.01)
        rates.append(estimate.rate(second + 0.02))
    assert rates[0] == 20.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(3 / 9, rel=0.01)
    estimate.accepted(sent=9.5, now=9.6)
    assert estimate.rate(9.6) == 100.0


def test_an_answer_to_a_request_from_before_the_429_ends_no_trickle() -> None:
    estimate = rate_estimator.RateEstimator(ceiling=100, adaptive=False)
    estimate.limited(sent=1.0, now=1.1)
    estimate.accepted(sent=1.05, now=1.2)
    assert estimate.rate(1.2) == 20.0


@worlds.LAW
@given(
    st.floats(1, 3000),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0, 3)), max_size=60),
)
def test_the_rate_is_never_above_the_ceiling_never_zero_and_no_429_raises_it(
    ceiling: float, adaptive: bool, answers: list[tuple[bool, float, float]]
) -> None:
    """Whatever the replies, in any order, to requests sent at any time before."""
    estimate, now = rate_estimator.RateEstimator(ceiling=ceiling, adaptive=adaptive), 10.0
    for accepted, pause, ago in answers:
        now += pause
        before = estimate.rate(now)
        if accepted:
            estimate.accepted(sent=now - ago, now=now)
        else:
            estimate.limited(sent=now - ago, now=now)
            assert estimate.rate(now) <= before
        assert 0 < estimate.rate(now) <= ceiling
