"""Follows one listing from page to page until its end.

Invariants: a cursor is never followed twice, and never more of them than `max_pages`; a page that cannot be read makes
the listing incomplete. Neighbours: `reader` and `driver_reader` decide what is listed, `core.planning.inventory`
collects what the pages show.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

from worker.core.model.errors import ChargeError, ForeignOrigin, RateLimited, RequestRefused, Unreachable
from worker.core.model.replies import Cursor
from worker.engine import request_executor

MAX_PAGES = 100_000
"""No account has ten million drivers; a longer listing has no end."""

MAX_REPEATED_PAGES = 10
"""Pages in a row that show nothing new. A server may lead through the same objects with ever new cursors."""


class _Page(Protocol):
    @property
    def next(self) -> Cursor | None: ...


Page = TypeVar("Page", bound=_Page)
Fetch = Callable[[Cursor | None], Awaitable[Page]]


class IncompleteListing(Exception):
    """A listing did not come to its end. `cause` is the error of the page that could not be read, if there is one."""

    def __init__(self, reason: str, cause: ChargeError | None = None) -> None:
        """Keep the reason as a clause that follows the listing's name."""
        super().__init__(reason)
        self.reason = reason
        self.cause = cause

    @property
    def forbidden(self) -> bool:
        """Return whether the key lacks the permission to read this listing."""
        return self.cause is not None and self.cause.status == 403


async def paginate(
    executor: request_executor.RequestExecutor,
    fetch: Fetch[Page],
    *,
    collected: Callable[[], int],
    max_pages: int = MAX_PAGES,
) -> AsyncGenerator[Page, None]:
    """Yield the pages of one listing until its end.

    `collected` returns how many distinct objects the caller has taken from the pages so far. Raises IncompleteListing
    if a page cannot be read, if the pages go in circles or show nothing new for `MAX_REPEATED_PAGES`, or if there are
    more than `max_pages`: the caller must treat everything yielded before as incomplete.
    """
    cursor: Cursor | None = None
    followed: set[Cursor] = set()
    repeated = 0
    for _ in range(max_pages):
        before = collected()
        page = await _fetch_page(executor, fetch, cursor)
        yield page
        if page.next is None:
            return
        repeated = 0 if collected() > before else repeated + 1
        if repeated == MAX_REPEATED_PAGES:
            raise IncompleteListing(f"{repeated} of its pages in a row show nothing new")
        if page.next in followed:
            raise IncompleteListing("its pages go in circles")
        followed.add(page.next)
        cursor = page.next
    raise IncompleteListing(f"it has more than {max_pages} pages")


async def _fetch_page(executor: request_executor.RequestExecutor, fetch: Fetch[Page], cursor: Cursor | None) -> Page:
    """Fetch one page. If it fails in different ways, try a second round: a whole listing depends on it.

    A page that fails in the same way each time is more than bad luck, and is given up after one round.
    """
    attempts = request_executor.Attempts()
    last_round = False
    while True:
        try:
            return await executor.execute(lambda: fetch(cursor), attempts)
        except (Unreachable, RateLimited) as error:
            if last_round or len(attempts.failures) < 2:
                raise IncompleteListing(f"a page could not be read: {error.message}", error) from None
            last_round = True
        except (RequestRefused, ForeignOrigin) as error:
            raise IncompleteListing(f"a page was refused: {error.message}", error) from None
