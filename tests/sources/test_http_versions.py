"""Versions of a document over HTTP: an unchanged one is not sent again, and no change is missed."""

import datetime
import itertools
import time

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

    @pytest.mark.parametrize("weak", [False, True])
    async def test_a_304_that_names_another_version_is_not_believed(self, weak: bool) -> None:
        """A cache on the way may confirm what it has itself, and not what was asked."""
        etag, content, confused = '"v1"', http_documents.CSV, False

        def answer(request: httpx.Request) -> httpx.Response:
            if "if-none-match" in request.headers and (confused or request.headers["if-none-match"] == etag):
                return httpx.Response(304, headers={"etag": f"W/{etag}" if weak else etag})
            return httpx.Response(200, headers={"etag": etag}, content=content)

        reading = http_documents.mocked(answer)
        first, peeked = await reading.read(), await reading.peek()
        assert await reading.read() == first
        assert await reading.peek() == peeked
        etag, content, confused = '"v2"', b"driver,fleet\na@b,Lyon\n", True
        assert await reading.peek() != peeked
        assert len((await reading.read()).rows) == 1

    async def test_a_304_of_another_time_than_was_asked_for_is_not_believed(self) -> None:
        """A restored file may be older than the one that was read, and has not changed since then."""
        modified, content = "Sat, 28 Nov 2026 10:00:00 GMT", http_documents.CSV

        def answer(request: httpx.Request) -> httpx.Response:
            headers = {"last-modified": modified, "date": "Sun, 29 Nov 2026 10:00:00 GMT"}
            if "if-modified-since" in request.headers:
                return httpx.Response(304, headers=headers)
            return httpx.Response(200, headers=headers, content=content)

        reading = http_documents.mocked(answer)
        first, peeked = await reading.read(), await reading.peek()
        assert await reading.read() == first
        modified, content = "Fri, 27 Nov 2026 10:00:00 GMT", b"driver,fleet\na@b,Lyon\n"
        assert await reading.peek() != peeked
        assert len((await reading.read()).rows) == 1

    async def test_the_same_etag_at_another_address_is_another_version(self) -> None:
        """A redirect to the newest document of a folder, each of which is the first version of its own."""
        newest = "/28.csv"
        contents = {"/28.csv": http_documents.CSV, "/29.csv": b"driver,fleet\na@b,Lyon\n"}
        asked: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/people.csv":
                assert "if-none-match" not in request.headers
                return httpx.Response(302, headers={"location": newest})
            if request.headers.get("if-none-match") == '"1"':
                asked.append(request.url.path)
                return httpx.Response(304, headers={"etag": '"1"'})
            return httpx.Response(200, headers={"etag": '"1"'}, content=contents[request.url.path])

        reading = http_documents.mocked(answer)
        peeked, first = await reading.peek(), await reading.read()
        assert (await reading.read(), await reading.peek()) == (first, peeked)
        assert asked == ["/28.csv", "/28.csv"]
        newest = "/29.csv"
        assert len((await reading.read()).rows) == 1

    async def test_a_redirect_that_leads_elsewhere_each_time_is_no_change(self) -> None:
        """Otherwise two sources, one of which is such a server, would never be read at one moment."""
        numbers = itertools.count()

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/people.csv":
                return httpx.Response(302, headers={"location": f"/results/{next(numbers)}"})
            return httpx.Response(200, headers={"etag": '"hash"'}, content=http_documents.CSV)

        reading = http_documents.mocked(answer)
        peeked, first = await reading.peek(), await reading.read()
        assert (await reading.peek(), await reading.read()) == (peeked, first)

    async def test_a_document_that_was_written_anew_and_is_the_same_has_its_new_age(self) -> None:
        """Otherwise a nightly export in which nothing changes would be too old on the second day."""
        modified = "Sat, 28 Nov 2026 10:00:00 GMT"

        def answer(request: httpx.Request) -> httpx.Response:
            headers = {"etag": '"hash"', "last-modified": modified}
            status = 304 if "if-none-match" in request.headers else 200
            return httpx.Response(status, headers=headers, content=http_documents.CSV)

        reading = http_documents.mocked(answer)
        before = (await reading.read()).source.modified
        modified = "Sun, 29 Nov 2026 10:00:00 GMT"
        after = (await reading.read()).source.modified
        assert before is not None and after == before + datetime.timedelta(days=1)

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


@pytest.mark.parametrize(
    "written", ["Sat, 28 Nov 2026 10:00:00 GMT", "Saturday, 28-Nov-26 10:00:00 GMT", "Sat Nov 28 10:00:00 2026"]
)
async def test_a_time_is_gmt_in_every_form_that_http_has(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110, section 5.6.7."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        reply = httpx.Response(200, headers={"last-modified": written}, content=http_documents.CSV)
        reading = await http_documents.mocked(lambda request: reply).read()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert reading.source.modified == datetime.datetime(2026, 11, 28, 10, tzinfo=datetime.UTC)
