"""The choice between listing fleet by fleet and listing all drivers at once."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.pacing import listing_choice
from worker.core.pacing.listing_choice import Pages, RequestTiming

AT_ONCE = RequestTiming(seconds_between_turns=0.001, latency=0.1, concurrency=32)


def test_many_short_chains_are_quicker_than_a_long_one() -> None:
    """90 fleets of 222 drivers: 201 pages one after the other take 20 s, 270 side by side less than one."""
    assert listing_choice.seconds(Pages(201, 201), AT_ONCE) > 20
    assert listing_choice.seconds(Pages(270, 3), AT_ONCE) < 1
    assert listing_choice.by_fleet(Pages(270, 3), Pages(201, 201), AT_ONCE)


def test_a_quicker_reading_may_not_take_far_more_requests() -> None:
    assert listing_choice.by_fleet(Pages(300, 1), Pages(200, 200), AT_ONCE)
    assert not listing_choice.by_fleet(Pages(301, 1), Pages(200, 200), AT_ONCE)


def test_where_the_rate_limit_decides_the_fewest_requests_are_the_quickest() -> None:
    slow = RequestTiming(seconds_between_turns=2.0, latency=0.1, concurrency=32)
    assert not listing_choice.by_fleet(Pages(270, 3), Pages(201, 201), slow)


def test_connections_limit_how_many_listings_run_side_by_side() -> None:
    assert listing_choice.seconds(Pages(270, 3), RequestTiming(0.001, 0.1, concurrency=1)) == 27.0


@given(
    *(st.integers(0, 10_000),) * 4,
    st.builds(RequestTiming, st.floats(0, 10), st.floats(0, 10), st.integers(1, 1000)),
)
def test_the_cheaper_reading_is_never_given_up_for_a_slower_one(
    requests: int, chain: int, all_requests: int, all_chain: int, timing: RequestTiming
) -> None:
    fleets, everyone = Pages(requests, min(chain, requests)), Pages(all_requests, min(all_chain, all_requests))
    if listing_choice.by_fleet(fleets, everyone, timing) and fleets.requests > everyone.requests:
        assert listing_choice.seconds(fleets, timing) < listing_choice.seconds(everyone, timing)
        assert fleets.requests <= listing_choice.MAX_EXTRA_REQUESTS * everyone.requests
    elif fleets.requests < everyone.requests:
        assert listing_choice.by_fleet(fleets, everyone, timing)
