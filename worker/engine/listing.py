"""Follows one listing from page to page, and says whether it came to its end.

Invariants: a cursor is never followed twice, and never more of them than the cap; a page that cannot be had voids the
listing. Neighbours: `reading` decides what to list; `core.census` takes what the pages show.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from worker.core import errors, ports
from worker.engine import sending

MOST_PAGES = 100_000
"""No account has ten million drivers; a listing that goes on for longer goes nowhere."""


class _Page(Protocol):
    @property
    def next(self) -> ports.Cursor | None: ...


Page = TypeVar("Page", bound=_Page)
Fetch = Callable[[ports.Cursor | None], Awaitable[Page]]


MOST_BARREN_PAGES = 10
"""So many pages in a row that show nothing new: ever new cursors lead through the same old things."""


async def walk(
    sender: sending.Sender,
    fetch: Fetch[Page],
    take: Callable[[Page], bool | None],
    *,
    seen: Callable[[], int],
    cap: int = MOST_PAGES,
) -> str | None:
    """Give every page to `take`, until the end or until it returns False; give the reason why that failed, or None.

    `seen` tells how many different things were taken so far. Raises errors.ChargeError only where no other listing
    could succeed either: a rejected key, a missing permission.
    """
    cursor: ports.Cursor | None = None
    followed: set[ports.Cursor] = set()
    barren = 0
    for _ in range(cap):
        before = seen()
        page = await _page(sender, fetch, cursor)
        if isinstance(page, str):
            return page
        if take(page) is False or page.next is None:
            return None
        barren = 0 if seen() > before else barren + 1
        if barren == MOST_BARREN_PAGES:
            return f"{barren} of its pages in a row show nothing new"
        if page.next in followed:
            return "its pages go in circles"
        followed.add(page.next)
        cursor = page.next
    return f"it has more than {cap} pages"


async def _page(sender: sending.Sender, fetch: Fetch[Page], cursor: ports.Cursor | None) -> Page | str:
    """Fetch one page, with a second round of attempts: giving a listing up for one page is dear."""
    failure = ""
    for _ in range(2):
        try:
            return await sender.send(lambda: fetch(cursor))
        except (errors.Unreachable, errors.RateLimited) as error:
            failure = f"a page could not be read: {error.message}"
        except (errors.Refused, errors.Distrusted) as error:
            if error.status == 403:
                raise
            return f"a page was refused: {error.message}"
    return failure
