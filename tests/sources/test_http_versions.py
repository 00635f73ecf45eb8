"""Versions of a document over HTTP: an unchanged one is not sent again, and no change is missed."""

import anyio
import httpx
import pytest

from tests.charge.hostile_server import Connection, HostileServer
from tests.sources import http_documents

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


class TestAVersionThatIsKnown:
    @pytest.mark.parametrize(
        ("sent", "asked"),
        [
            ({"etag": '"v1"', "last-modified": "x"}, {"if-none-match": '"v1"'}),
            (
                {"last-modified": "Sat, 28 Nov 2026 10:00:00 GMT", "date": "Sat, 28 Nov 2026 10:00:01 GMT"},
                {"if-modified-since": "Sat, 28 Nov 2026 10:00:00 GMT"},
            ),
        ],
    )
    async def test_it_is_not_sent_again(self, sent: dict[str, str], asked: dict[str, str]) -> None:
        seen: list[dict[str, str]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            conditions = {name: value for name, value in request.headers.items() if name.startswith("if-")}
            seen.append(conditions)
            return httpx.Response(304) if conditions else httpx.Response(200, headers=sent, content=http_documents.CSV)

        reading = http_documents.mocked(answer)
        first, peeked = await reading.read(), await reading.peek()
        assert await reading.read() == first
        assert peeked == await reading.peek() != None  # noqa: E711
        assert seen == [{}, asked, asked, asked]

    async def test_a_change_within_the_second_of_the_reply_could_be_missed(self) -> None:
        """The time of the last change has seconds, so it says nothing of a second that is not over."""

        def answer(request: httpx.Request) -> httpx.Response:
            assert "if-modified-since" not in request.headers
            now = "Sat, 28 Nov 2026 10:00:00 GMT"
            return httpx.Response(200, headers={"last-modified": now, "date": now}, content=http_documents.CSV)

        reading = http_documents.mocked(answer)
        await reading.read()
        assert await reading.peek() is None
        await reading.read()

    async def test_another_version_is_read_and_changes_the_revision(self) -> None:
        etag, content = '"v1"', http_documents.CSV

        def answer(request: httpx.Request) -> httpx.Response:
            if request.headers.get("if-none-match") == etag:
                return httpx.Response(304)
            return httpx.Response(200, headers={"etag": etag}, content=content)

        reading = http_documents.mocked(answer)
        peeked = await reading.peek()
        assert len((await reading.read()).rows) == 400
        assert await reading.peek() == peeked
        etag, content = '"v2"', b"driver,fleet\na@b,Lyon\n"
        assert await reading.peek() != peeked
        assert len((await reading.read()).rows) == 1

    async def test_a_304_that_was_not_asked_for_is_an_error(self) -> None:
        await http_documents.failure(http_documents.mocked(lambda request: httpx.Response(304)), "source_incomplete")

    async def test_a_server_without_versions_has_no_cheap_revision_and_is_not_asked(self) -> None:
        count = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal count
            count += 1
            return httpx.Response(200, content=http_documents.CSV)

        reading = http_documents.mocked(answer)
        assert await reading.peek() is None
        await reading.read()
        assert [await reading.peek() for _ in range(3)] == [None] * 3
        assert count == 2

    async def test_peeking_reads_no_body(self) -> None:
        head, _ = http_documents.framed(http_documents.CSV, 'ETag: "v1"')

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head)
            await anyio.sleep_forever()

        async with HostileServer(script).serving() as origin:
            with anyio.fail_after(http_documents.PATIENT / 2):
                assert await http_documents.source(f"{origin}/people.csv").peek()
