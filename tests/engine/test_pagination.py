"""Following a listing: to its end, never in circles, never forever; and a page that is missing voids it."""

import contextlib
import itertools
from collections.abc import Callable

import pytest

from worker.core.model.actual import Fleet
from worker.core.model.errors import (
    ChargeError,
    ForeignOrigin,
    KeyRejected,
    NotFound,
    RateLimited,
    RequestRefused,
    ServerFault,
    Unreachable,
)
from worker.core.model.identifiers import FleetId
from worker.core.model.replies import Cursor, FleetPage
from worker.core.pacing import retry_policy
from worker.engine import cancellation, pagination, rate_limiter, request_executor

pytestmark = pytest.mark.anyio

ONCE = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.1)


class Pages:
    """A listing: which page each cursor leads to, and what goes wrong on the way."""

    def __init__(
        self, following: Callable[[int], int | None], *, failures: dict[int, list[ChargeError]] | None = None
    ) -> None:
        self._following = following
        self._failures = failures or {}
        self.asked: list[int] = []

    async def __call__(self, cursor: Cursor | None) -> FleetPage:
        page = int(cursor or 0)
        self.asked.append(page)
        if failures := self._failures.get(page):
            raise failures.pop(0)
        following = self._following(page)
        fleet = Fleet(FleetId(f"flt_{page}"))
        return FleetPage((fleet,), None if following is None else Cursor(str(following)))


async def _walk(
    pages: Pages, *, max_pages: int = pagination.MAX_PAGES, until: int | None = None
) -> tuple[str | None, int]:
    """Follow the pages; return the reason why the listing is incomplete, or None, and the number of pages."""
    limiter = rate_limiter.RateLimiter(requests_per_second=1000, burst=10, adaptive=False)
    executor = request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=cancellation.Cancellation(), policy=ONCE, jitter=lambda: 0.5
    )
    taken: list[FleetPage] = []
    listing = pagination.paginate(
        executor, pages, collected=lambda: len({page.fleets for page in taken}), max_pages=max_pages
    )
    try:
        async with contextlib.aclosing(listing):
            async for page in listing:
                taken.append(page)
                if len(taken) == until:
                    break
    except pagination.IncompleteListing as broken:
        return broken.reason, len(taken)
    return None, len(taken)


def _to(last: int) -> Callable[[int], int | None]:
    return lambda page: None if page == last else page + 1


@pytest.mark.integration
async def test_a_listing_is_followed_to_its_end() -> None:
    """Story: lists silently capped at 30 or 300 items; the end is `null`, and nothing else."""
    pages = Pages(_to(400))
    assert await _walk(pages) == (None, 401)
    assert pages.asked == list(range(401))


async def test_who_has_seen_enough_may_stop() -> None:
    assert await _walk(Pages(_to(9)), until=3) == (None, 3)


@pytest.mark.parametrize("length", [1, 2, 7])
async def test_pages_that_go_in_circles_are_noticed(length: int) -> None:
    """Story: page tokens going in circles (fleetdm/fleet 49365)."""
    pages = Pages(lambda page: 1 + page % length)
    reason, _ = await _walk(pages)
    assert reason == "its pages go in circles"
    assert len(pages.asked) <= length + 1


async def test_a_listing_without_end_is_given_up() -> None:
    counter = itertools.count(1)
    reason, taken = await _walk(Pages(lambda page: next(counter)), max_pages=50)
    assert (reason, taken) == ("it has more than 50 pages", 50)


async def test_a_listing_of_just_as_many_pages_is_whole() -> None:
    assert await _walk(Pages(_to(49)), max_pages=50) == (None, 50)


async def test_a_page_that_fails_in_several_ways_is_tried_in_two_rounds() -> None:
    pages = Pages(_to(3), failures={2: [Unreachable(""), ServerFault(""), Unreachable("")]})
    assert await _walk(pages) == (None, 4)
    assert pages.asked == [0, 1, 2, 2, 2, 2, 3]


async def test_a_page_that_fails_in_the_same_way_each_time_is_asked_for_as_often_as_a_request_may_be() -> None:
    pages = Pages(_to(3), failures={2: [Unreachable("") for _ in range(9)]})
    assert await _walk(pages) == ("a page could not be read: ", 2)
    assert pages.asked == [0, 1] + [2] * ONCE.max_attempts


@pytest.mark.parametrize("failure", [Unreachable("no answer"), ServerFault("503", status=503), RateLimited("429")])
async def test_a_page_that_cannot_be_had_voids_the_listing(failure: ChargeError) -> None:
    """Story: 503s: some groups were fetched, the others deleted (ssosync 234)."""
    reason, taken = await _walk(Pages(_to(3), failures={2: [failure] * 9}))
    assert reason == f"a page could not be read: {failure.message}"
    assert taken == 2


@pytest.mark.parametrize(
    "failure", [NotFound("404", status=404), RequestRefused("400", status=400), ForeignOrigin("foreign")]
)
async def test_a_page_that_is_refused_voids_the_listing_at_once(failure: ChargeError) -> None:
    pages = Pages(_to(3), failures={2: [failure] * 9})
    reason, _ = await _walk(pages)
    assert reason == f"a page was refused: {failure.message}"
    assert pages.asked == [0, 1, 2]


async def test_a_rejected_key_is_raised() -> None:
    with pytest.raises(KeyRejected):
        await _walk(Pages(_to(3), failures={1: [KeyRejected("401", status=401)] * 9}))


async def test_ever_new_cursors_that_show_the_same_old_things_are_followed_no_longer() -> None:
    """Else a server that never ends its listing is asked a hundred thousand times, an hour at the default rate."""

    class Stuck(Pages):
        async def __call__(self, cursor: Cursor | None) -> FleetPage:
            page = await super().__call__(cursor)
            return page if int(cursor or 0) < 5 else FleetPage((Fleet(FleetId("flt_0")),), page.next)

    pages = Stuck(lambda page: page + 1)
    assert await _walk(pages) == ("10 of its pages in a row show nothing new", 15)
