"""The page's live updates, as server-sent events: the parts that changed, at most two a second.

Invariant: a stream ends when its reader leaves or the service stops, and no change that came while one was drawn is
missed. Neighbours: `board` draws the parts, `static/live.js` puts them in place, `server` closes the feed.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
from starlette import requests, responses, types

from worker.status import views

MOST_STREAMS: Final = 24
"""Readers at once. Each costs a drawing a change; whoever comes later sees the page, and tries again."""
GAP_SECONDS: Final = 0.5
PERIOD_SECONDS: Final = 5.0
"""Also without a change the page is drawn again: ages grow. Says to proxies that the stream lives, too."""

Draw = Callable[[], Awaitable[Mapping[str, str]]]


class Feed:
    """All streams that are open."""

    def __init__(self, service: views.Service, draw: Draw) -> None:
        """Draw whenever the service changed."""
        self.service = service
        self.draw = draw
        self.closed = False
        self.scopes: set[anyio.CancelScope] = set()

    async def events(self, request: requests.Request) -> responses.Response:
        """Answer `GET /events`."""
        if request.method == "HEAD":
            return responses.Response(media_type="text/event-stream")
        if self.closed or len(self.scopes) >= MOST_STREAMS:
            return responses.PlainTextResponse("Too many pages watch already.\n", 503, {"Retry-After": "30"})
        return _Stream(self)

    def close(self) -> None:
        """End every stream, and open no more."""
        self.closed = True
        for scope in self.scopes:
            scope.cancel()


class _Stream(responses.Response):
    """One reader's stream."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
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
        while True:
            self._dirty = dirty = anyio.Event()  # before drawing: what changes meanwhile is drawn next time
            parts = await self._feed.draw()
            news = {name: html for name, html in parts.items() if known.get(name) != html}
            known = parts
            await send({"type": "http.response.body", "body": _event(news), "more_body": True})
            await anyio.sleep(GAP_SECONDS)
            with anyio.move_on_after(PERIOD_SECONDS):
                await dirty.wait()


def _event(news: Mapping[str, str]) -> bytes:
    """Write an event; JSON keeps it in one line. Without news it is a comment."""
    return f"event: parts\ndata: {json.dumps(news)}\n\n".encode() if news else b": alive\n\n"
