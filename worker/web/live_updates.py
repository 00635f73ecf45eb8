"""The overview's live updates, as server-sent events: the fragments that changed, at most one event a tick.

Invariant: a stream ends when its reader disconnects or the service stops, and misses no change. Neighbours:
`fragments` renders once a tick for all readers, `static/live.js` replaces the fragments in the browser, `server`
closes the streams.
"""

import json
from collections.abc import Mapping
from typing import Final

import anyio
from starlette import requests, responses, types

from worker.web import fragments, service_protocol

MAX_STREAMS: Final = 24
"""Most open streams; a further reader gets the page without live updates, and tries again."""

REFRESH_SECONDS: Final = 5.0
"""Interval of events without a change: ages on the page grow, and proxies keep the connection open."""


class LiveUpdates:
    """All open streams."""

    def __init__(self, service: service_protocol.ServiceProtocol, overview: fragments.Fragments) -> None:
        """Take the service, and the renderer of its overview."""
        self.service = service
        self.overview = overview
        self.closed = False
        self.scopes: set[anyio.CancelScope] = set()

    async def events(self, request: requests.Request) -> responses.Response:
        """Answer `GET /events`."""
        if request.method == "HEAD":
            return responses.Response(media_type="text/event-stream")
        if self.closed or len(self.scopes) >= MAX_STREAMS:
            return responses.PlainTextResponse("Too many live pages are open.\n", 503, {"Retry-After": "30"})
        return _Stream(self)

    def close(self) -> None:
        """End every stream, and refuse new ones."""
        self.closed = True
        for scope in self.scopes:
            scope.cancel()


class _Stream(responses.Response):
    """One reader's stream."""

    media_type = "text/event-stream"

    def __init__(self, updates: LiveUpdates) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._updates = updates
        self._changed = anyio.Event()

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Send until the reader disconnects or the streams are closed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            self._updates.scopes.add(tasks.cancel_scope)
            try:
                tasks.start_soon(self._watch)
                tasks.start_soon(self._send, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()
            finally:
                self._updates.scopes.discard(tasks.cancel_scope)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self) -> None:
        while True:
            await self._updates.service.changed()
            self._changed.set()

    async def _send(self, send: types.Send) -> None:
        sent: Mapping[str, str] = {}
        tick = fragments.current_tick()
        self._changed.set()  # this tick may have been rendered before the last change: check again in the next one
        while True:
            rendered = (await self._updates.overview.at(tick)).fragments
            changed = {name: html for name, html in rendered.items() if sent.get(name) != html}
            sent = rendered
            await send({"type": "http.response.body", "body": _event(changed), "more_body": True})
            tick = await self._next_tick(tick)

    async def _next_tick(self, tick: int) -> int:
        """Wait for a change or the next refresh, and then for the next tick; return it."""
        refresh = (anyio.current_time() // REFRESH_SECONDS + 1) * REFRESH_SECONDS
        with anyio.CancelScope(deadline=refresh):
            await self._changed.wait()
        self._changed = anyio.Event()  # renewed before the tick, so that a change during rendering leads to another one
        tick = max(tick, fragments.current_tick()) + 1  # a timer may fire slightly early
        await anyio.sleep_until(tick * fragments.TICK_SECONDS)
        return tick


def _event(changed: Mapping[str, str]) -> bytes:
    """Return an event, kept on one line by JSON; without changes, a comment."""
    return f"event: fragments\ndata: {json.dumps(changed)}\n\n".encode() if changed else b": alive\n\n"
