"""The overview's live updates, as server-sent events: the fragments that changed, at most two events a second.

Invariant: a stream ends when its reader disconnects or the service stops, and misses no change. Time is cut into ticks,
and the page is rendered at most once a tick, however many streams are open. Neighbours: `fragments` renders,
`static/live.js` replaces the fragments in the browser, `server` closes the streams.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
from starlette import requests, responses, types

from worker.web import service_protocol

MAX_STREAMS: Final = 24
"""Most open streams; a further reader gets the page without live updates, and tries again."""

TICK_SECONDS: Final = 0.5

REFRESH_SECONDS: Final = 5.0
"""Interval of events without a change: ages on the page grow, and proxies keep the connection open."""

Render = Callable[[], Awaitable[Mapping[str, str]]]


class LiveUpdates:
    """All open streams."""

    def __init__(self, service: service_protocol.ServiceProtocol, render: Render) -> None:
        """Take the service, and the renderer of its overview."""
        self.service = service
        self.closed = False
        self.scopes: set[anyio.CancelScope] = set()
        self._render = render
        self._rendering = anyio.Lock()
        self._rendered: tuple[int, Mapping[str, str]] | None = None

    async def events(self, request: requests.Request) -> responses.Response:
        """Answer `GET /events`."""
        if request.method == "HEAD":
            return responses.Response(media_type="text/event-stream")
        if self.closed or len(self.scopes) >= MAX_STREAMS:
            return responses.PlainTextResponse("Too many live pages are open.\n", 503, {"Retry-After": "30"})
        return _Stream(self)

    async def at(self, tick: int) -> Mapping[str, str]:
        """Return the fragments as rendered in this tick or a later one; renders them for the first caller only."""
        async with self._rendering:
            if self._rendered is None or self._rendered[0] < tick:
                self._rendered = (tick, await self._render())
            return self._rendered[1]

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
        tick = _current_tick()
        self._changed.set()  # this tick may have been rendered before the last change: check again in the next one
        while True:
            fragments = await self._updates.at(tick)
            changed = {name: html for name, html in fragments.items() if sent.get(name) != html}
            sent = fragments
            await send({"type": "http.response.body", "body": _event(changed), "more_body": True})
            tick = await self._next_tick(tick)

    async def _next_tick(self, tick: int) -> int:
        """Wait for a change or the next refresh, and then for the next tick; return it."""
        refresh = (anyio.current_time() // REFRESH_SECONDS + 1) * REFRESH_SECONDS
        with anyio.CancelScope(deadline=refresh):
            await self._changed.wait()
        self._changed = anyio.Event()  # renewed before the tick, so that a change during rendering leads to another one
        tick = max(tick, _current_tick()) + 1  # a timer may fire slightly early
        await anyio.sleep_until(tick * TICK_SECONDS)
        return tick


def _current_tick() -> int:
    return int(anyio.current_time() // TICK_SECONDS)


def _event(changed: Mapping[str, str]) -> bytes:
    """Return an event, kept on one line by JSON; without changes, a comment."""
    return f"event: fragments\ndata: {json.dumps(changed)}\n\n".encode() if changed else b": alive\n\n"
