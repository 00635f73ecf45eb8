"""Live updates on virtual time: only changed fragments, at a bounded rate, up to the last change."""

import contextlib
import json
from collections.abc import AsyncIterator

import anyio
import pytest
import structlog.testing
import trio.testing
from starlette import requests, types

from tests.web import doubles
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.ports import PastRun
from worker.core.monitoring import status
from worker.web import app, fragments, live_updates, metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Trio with a clock that jumps to the next deadline."""
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class Reader:
    """A browser's end of a stream."""

    def __init__(self, made: types.ASGIApp, method: str = "GET") -> None:
        self._app = made
        self.scope = {"type": "http", "method": method, "path": "/events", "headers": [], "query_string": b""}
        self._gone = anyio.Event()
        self._sent: list[types.Message] = []
        self._more = anyio.Event()
        self.ended = anyio.Event()
        self.start: types.Message = {}

    async def run(self) -> None:
        """Request the stream and read it until it ends."""
        await self._app(self.scope, self._receive, self._send)
        self.ended.set()

    def leave(self) -> None:
        """Close the page."""
        self._gone.set()

    async def next(self) -> bytes:
        """Return the next chunk of the body."""
        while not self._sent:
            await self._more.wait()
        message = self._sent.pop(0)
        if message["type"] == "http.response.start":
            self.start = message
            return await self.next()
        body: bytes = message["body"]
        return body

    async def fragments(self) -> dict[str, str]:
        """Return the fragments of the next event that is not a comment."""
        while (event := await self.next()).startswith(b":"):
            pass
        name, data = event.decode().removesuffix("\n\n").split("\n")
        assert name == "event: fragments"
        rendered: dict[str, str] = json.loads(data.removeprefix("data: "))
        return rendered

    async def _send(self, message: types.Message) -> None:
        self._sent.append(message)
        self._more.set()
        self._more = anyio.Event()

    async def _receive(self) -> types.Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}


@contextlib.asynccontextmanager
async def watching(
    service: doubles.Service, count: int = 1
) -> AsyncIterator[tuple[live_updates.LiveUpdates, list[Reader]]]:
    """Open streams, and close them at the end of the block."""
    made = app.create(service, metrics.Metrics())
    readers = [Reader(made) for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(reader.run)
        yield made.state.live_updates, readers
        tasks.cancel_scope.cancel()


async def test_a_stream_begins_with_the_whole_page() -> None:
    async with watching(doubles.Service()) as (_, [reader]):
        assert tuple(await reader.fragments()) == fragments.NAMES
    headers = dict(reader.start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    assert b"content-length" not in headers
    assert b"content-security-policy" in headers


async def test_only_changed_fragments_are_sent_within_a_tick() -> None:
    service = doubles.Service()
    async with watching(service) as (_, [reader]):
        await reader.fragments()
        service.show(doubles.drifting())
        began = anyio.current_time()
        changed = await reader.fragments()
    assert {"banner", "fleets"} <= changed.keys()
    assert "facts" not in changed
    assert anyio.current_time() - began <= fragments.TICK_SECONDS


async def test_a_flood_of_changes_becomes_few_events_and_ends_with_the_last_change() -> None:
    service = doubles.Service(doubles.working(0))
    async with watching(service) as (_, [reader]):
        await reader.fragments()
        began, events = anyio.current_time(), 0
        for done in range(1, 101):
            service.show(doubles.working(done))
            await anyio.sleep(0.02)
        while True:
            changed = await reader.fragments()
            events += 1
            if "100 of 3,000" in changed["banner"]:
                break
        lasted = anyio.current_time() - began
    assert events <= lasted / fragments.TICK_SECONDS + 1
    assert lasted <= 2 + 2 * fragments.TICK_SECONDS


@pytest.mark.integration
async def test_many_streams_share_one_rendering_a_tick_and_all_receive_the_last_change() -> None:
    service, drawn = doubles.Service(doubles.working(0)), list[float]()

    class Slow(doubles.Record):
        async def runs(
            self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
        ) -> tuple[PastRun, ...]:
            drawn.append(anyio.current_time())
            await anyio.sleep(0.03)  # changes arrive while the journal is read
            return ()

    service.record = Slow()
    shared = live_updates.LiveUpdates(service, fragments.Fragments(service, approvable=False))
    readers = [Reader(await shared.events(_request(_asking()))) for _ in range(live_updates.MAX_STREAMS)]
    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(reader.run)
            await anyio.sleep(0.013)
        for done in range(1, 101):
            service.show(doubles.working(done))
            await anyio.sleep(0.02)
        for reader in readers:
            while "100 of 3,000" not in (await reader.fragments()).get("banner", ""):
                pass
        await anyio.sleep(6 * live_updates.REFRESH_SECONDS)
        lasted = anyio.current_time() - drawn[0]
        tasks.cancel_scope.cancel()
    quiet = sum(moment > drawn[0] + lasted - 5 * live_updates.REFRESH_SECONDS for moment in drawn)
    assert quiet <= 6
    assert len(drawn) - quiet <= (lasted - 5 * live_updates.REFRESH_SECONDS) / fragments.TICK_SECONDS + 2


async def test_a_stream_opened_just_after_a_rendering_misses_no_change() -> None:
    service = doubles.Service(doubles.working(1))
    async with watching(service) as (shared, [reader]), anyio.create_task_group() as tasks:
        await reader.fragments()
        await anyio.sleep(0.1)
        service.show(doubles.working(2))  # the page of this tick has been rendered
        late = Reader(await shared.events(_request(reader)))
        tasks.start_soon(late.run)
        banner = ""
        with anyio.move_on_after(2 * fragments.TICK_SECONDS):
            while "2 of 3,000" not in banner:
                banner = (await late.fragments()).get("banner", "")
        assert "2 of 3,000" in banner
        late.leave()


async def test_a_rendering_that_fails_ends_the_stream_and_is_logged() -> None:
    """Uvicorn's own log is off."""

    class Broken(doubles.Service):
        def snapshot(self) -> status.Status:
            raise ZeroDivisionError

    with structlog.testing.capture_logs() as logs, contextlib.suppress(ExceptionGroup):
        async with watching(Broken()) as (_, [reader]):
            await reader.ended.wait()
    assert [(log["event"], log["path"]) for log in logs] == [("page_crashed", "/events")]


async def test_a_stream_without_changes_sends_keepalives() -> None:
    async with watching(doubles.Service()) as (_, [reader]):
        await reader.fragments()
        began = anyio.current_time()
        assert (await reader.next()).startswith(b":")
        assert anyio.current_time() - began <= fragments.TICK_SECONDS + live_updates.REFRESH_SECONDS


async def test_hostile_text_cannot_forge_an_event() -> None:
    service = doubles.Service(doubles.calm(version="1\n\nevent: fragments\ndata: {}\n\n"))
    async with watching(service) as (_, [reader]):
        changed = await reader.fragments()
    assert "data: {}" in changed["facts"]


async def test_a_disconnected_stream_is_removed() -> None:
    async with watching(doubles.Service()) as (open_, [reader]):
        await reader.fragments()
        assert len(open_.scopes) == 1
        reader.leave()
        await reader.ended.wait()
        assert open_.scopes == set()


async def test_the_end_of_the_service_ends_every_stream() -> None:
    async with watching(doubles.Service(), 3) as (open_, readers):
        for reader in readers:
            await reader.fragments()
        open_.close()
        for reader in readers:
            await reader.ended.wait()
            assert await reader.next() == b""
        late = Reader(app.create(doubles.Service(), metrics.Metrics()))
        answer = await open_.events(_request(late))
    assert answer.status_code == 503


async def test_streams_beyond_the_limit_are_refused_with_retry_after() -> None:
    service = doubles.Service()
    async with watching(service, live_updates.MAX_STREAMS) as (open_, readers):
        for reader in readers:
            await reader.fragments()
        answer = await open_.events(_request(readers[0]))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        readers[0].leave()
        await readers[0].ended.wait()
        assert (await open_.events(_request(readers[0]))).status_code == 200


async def test_an_unavailable_journal_does_not_end_a_stream() -> None:
    service = doubles.Service()
    service.record.fails = JournalError("disk I/O error")
    async with watching(service) as (_, [reader]):
        assert "disk I/O error" in (await reader.fragments())["history"]


async def test_a_head_request_opens_no_stream() -> None:
    made = app.create(doubles.Service(), metrics.Metrics())
    reader = Reader(made, "HEAD")
    await reader.run()
    assert made.state.live_updates.scopes == set()


def _asking() -> Reader:
    return Reader(app.create(doubles.Service(), metrics.Metrics()))


def _request(reader: Reader) -> requests.Request:
    return requests.Request(reader.scope)
