"""Follows one listing from page to page, and says whether it came to its end.

Invariants: a cursor is never followed twice, and never more of them than the cap; a page that cannot be had voids the
listing. Neighbours: `reading` decides what to list; `core.census` takes what the pages show.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from worker.core.model.errors import ChargeError, ForeignOrigin, RateLimited, RequestRefused, Unreachable
from worker.core.model.ports import Cursor
from worker.engine import request_executor

MAX_PAGES = 100_000
"""No account has ten million drivers; a listing that goes on for longer goes nowhere."""


class _Page(Protocol):
    @property
    def next(self) -> Cursor | None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class IncompleteListing:
    """Why a listing did not come to its end, and the failure of a page that it broke off at, if it did."""

    reason: str
    cause: ChargeError | None = None


Page = TypeVar("Page", bound=_Page)
Fetch = Callable[[Cursor | None], Awaitable[Page]]


MAX_REPEATED_PAGES = 10
"""So many pages in a row that show nothing new: ever new cursors lead through the same old things."""


async def paginate(
    executor: request_executor.RequestExecutor,
    fetch: Fetch[Page],
    take: Callable[[Page], bool | None],
    *,
    seen: Callable[[], int],
    cap: int = MAX_PAGES,
) -> IncompleteListing | None:
    """Give every page to `take`, until the end or until it returns False; say why that failed, or give None.

    `seen` tells how many different things were taken so far. Raises errors.ChargeError only where no other listing
    could succeed either: a rejected key, a missing permission.
    """
    cursor: Cursor | None = None
    followed: set[Cursor] = set()
    barren = 0
    for _ in range(cap):
        before = seen()
        page = await _page(executor, fetch, cursor)
        if isinstance(page, IncompleteListing):
            return page
        if take(page) is False or page.next is None:
            return None
        barren = 0 if seen() > before else barren + 1
        if barren == MAX_REPEATED_PAGES:
            return IncompleteListing(f"{barren} of its pages in a row show nothing new")
        if page.next in followed:
            return IncompleteListing("its pages go in circles")
        followed.add(page.next)
        cursor = page.next
    return IncompleteListing(f"it has more than {cap} pages")


async def _page(
    executor: request_executor.RequestExecutor, fetch: Fetch[Page], cursor: Cursor | None
) -> Page | IncompleteListing:
    """Fetch one page, with a second round of attempts where the first one failed in more ways than one.

    To give a listing up for one page is dear; but what fails in the same way each time is more than bad luck.
    """
    attempts, again = request_executor.Attempts(), False
    while True:
        try:
            return await executor.send(lambda: fetch(cursor), attempts)
        except (Unreachable, RateLimited) as error:
            if again or len(attempts.failures) < 2:
                return IncompleteListing(f"a page could not be read: {error.message}", error)
            again = True
        except (RequestRefused, ForeignOrigin) as error:
            if error.status == 403:
                raise
            return IncompleteListing(f"a page was refused: {error.message}", error)
