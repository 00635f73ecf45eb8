"""Another client of the account, at work between our requests.

Invariant: it acts right before a request is answered, or right after. Neighbours: `harness` is the account.
"""

from collections.abc import Callable

import httpx

Hook = Callable[[httpx.Request], None]


class Hooked(httpx.AsyncBaseTransport):
    """A connection on which another client acts right before a request, or right after its reply."""

    def __init__(
        self, server: httpx.AsyncBaseTransport, *, before: Hook | None = None, after: Hook | None = None
    ) -> None:
        """Take the connection, and what the other client does."""
        self._server = server
        self._before = before
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        if self._before is not None:
            self._before(request)
        response = await self._server.handle_async_request(request)
        if self._after is not None:
            await response.aread()
            self._after(request)
        return response


def once(route: str, action: Callable[[], object]) -> Hook:
    """Return a hook that acts at the first request whose method and path contain this text."""
    done: list[str] = []

    def hook(request: httpx.Request) -> None:
        if not done and route in f"{request.method} {request.url.path}":
            done.append(route)
            action()

    return hook
