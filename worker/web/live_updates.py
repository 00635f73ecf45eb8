"""The page's live updates, as server-sent events: the parts that changed, at most two a second.

Invariant: a stream ends when its reader leaves or the service stops, and no change that came while one was drawn is
missed. However many watch, the page is drawn once a tick: time is cut into ticks, and streams look at their beginnings.
Neighbours: `parts` draws the parts, `static/live.js` puts them in place, `server` closes the feed.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
from starlette import requests, responses, types

from worker.web import service_protocol

MOST_STREAMS: Final = 24
"""Readers at once; whoever comes later sees the page, and tries again."""
GAP_SECONDS: Final = 0.5
"""How long a tick is."""
PERIOD_SECONDS: Final = 5.0
"""Also without a change the page is drawn again: ages grow. Says to proxies that the stream lives, too."""

Draw = Callable[[], Awaitable[Mapping[str, str]]]


class LiveUpdates:
    """All streams that are open."""

    def __init__(self, service: service_protocol.ServiceProtocol, draw: Draw) -> None:
        """Draw whenever the service changed."""
        self.service = service
        self.closed = False
        self.scopes: set[anyio.CancelScope] = set()
        self._draw = draw
        self._drawing = anyio.Lock()
        self._drawn: tuple[int, Mapping[str, str]] | None = None

    async def events(self, request: requests.Request) -> responses.Response:
        """Answer `GET /events`."""
        if request.method == "HEAD":
            return responses.Response(media_type="text/event-stream")
        if self.closed or len(self.scopes) >= MOST_STREAMS:
            return responses.PlainTextResponse("Too many pages watch already.\n", 503, {"Retry-After": "30"})
        return _Stream(self)

    async def at(self, tick: int) -> Mapping[str, str]:
        """Give the page as it was drawn in this tick, by whoever came first, or in a later one."""
        async with self._drawing:
            if self._drawn is None or self._drawn[0] < tick:
                self._drawn = (tick, await self._draw())
            return self._drawn[1]

    def close(self) -> None:
        """End every stream, and open no more."""
        self.closed = True
        for scope in self.scopes:
            scope.cancel()


class _Stream(responses.Response):
    """One reader's stream."""

    media_type = "text/event-stream"

    def __init__(self, feed: LiveUpdates) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._dirty = anyio.Event()

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Send until the reader leaves, or the feed is closed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            self._feed.scopes.add(tasks.cancel_scope)
            try:
                tasks.start_soon(self._watch)
                tasks.start_soon(self._send, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
            finally:
                self._feed.scopes.discard(tasks.cancel_scope)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self) -> None:
        while True:
            await self._feed.service.changed()
            self._dirty.set()

    async def _send(self, send: types.Send) -> None:
        known: Mapping[str, str] = {}
        tick = _tick()
        self._dirty.set()  # another stream may have drawn this tick long ago: look again in the next one
        while True:
            parts = await self._feed.at(tick)
            news = {name: html for name, html in parts.items() if known.get(name) != html}
            known = parts
            await send({"type": "http.response.body", "body": _event(news), "more_body": True})
            tick = await self._next(tick)

    async def _next(self, tick: int) -> int:
        """Wait for a change, or until all streams look anyhow, and then for the next tick."""
        period = (anyio.current_time() // PERIOD_SECONDS + 1) * PERIOD_SECONDS
        with anyio.CancelScope(deadline=period):
            await self._dirty.wait()
        self._dirty = anyio.Event()  # before the tick: what has changed by then is drawn in it, the rest in the next
        tick = max(tick, _tick()) + 1  # a timer may end a moment before its time
        await anyio.sleep_until(tick * GAP_SECONDS)
        return tick


def _tick() -> int:
    return int(anyio.current_time() // GAP_SECONDS)


def _event(news: Mapping[str, str]) -> bytes:
    """Write an event; JSON keeps it in one line. Without news it is a comment."""
    return f"event: parts\ndata: {json.dumps(news)}\n\n".encode() if news else b": alive\n\n"
