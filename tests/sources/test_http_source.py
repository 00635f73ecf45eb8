"""Documents over HTTP: whole or an error, however the server or the way to it breaks."""

import gzip
import itertools
import pathlib
import random

import anyio
import httpx
import pytest

from tests.charge.hostile_server import Connection, HostileServer, Script
from tests.sources import http_documents
from tests.support import laws
from worker.core.model.errors import SourceError
from worker.sources import document_source, http_login, http_source, positions

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Use both event loops."""
    return str(request.param)


def serving(head: bytes, body: bytes) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head + body)

    return script


@pytest.mark.integration
class TestABodyThatIsCut:
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    async def test_it_is_incomplete_wherever_it_is_cut(self, framing: str, packed: bool) -> None:
        content = gzip.compress(http_documents.CSV) if packed else http_documents.CSV
        head, body = http_documents.framed(content, *(["Content-Encoding: gzip"] if packed else []), framing=framing)
        cuts = random.Random(f"{framing}{packed}").sample(range(len(body)), min(laws.tries(100), len(body)))

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head + body[: cuts.pop()])

        async with HostileServer(script).serving() as origin:
            while cuts:
                await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_half_of_a_gzip_stream_is_incomplete_although_its_framing_is_whole(self, framing: str) -> None:
        packed = gzip.compress(http_documents.CSV)
        for cut in (0, 1, 9, 10, 11, len(packed) // 2, *range(len(packed) - 9, len(packed))):
            head, body = http_documents.framed(packed[:cut], "Content-Encoding: gzip", framing=framing)
            async with HostileServer(serving(head, body)).serving() as origin:
                await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")

    async def test_a_body_that_ends_with_the_connection_is_incomplete_even_if_it_is_whole(self) -> None:
        async with HostileServer(
            serving(*http_documents.framed(http_documents.CSV, framing="close"))
        ).serving() as origin:
            message = await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")
        assert "neither Content-Length nor chunked" in message

    async def test_a_reset_connection_is_incomplete(self) -> None:
        head, body = http_documents.framed(http_documents.CSV)

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head + body[:100])
            connection.reset()

        async with HostileServer(script).serving() as origin:
            await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")

    async def test_a_damaged_gzip_stream_is_incomplete(self) -> None:
        packed = bytearray(gzip.compress(http_documents.CSV))
        packed[-6] ^= 1  # in the checksum
        async with HostileServer(
            serving(*http_documents.framed(bytes(packed), "Content-Encoding: gzip"))
        ).serving() as origin:
            await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_whole_body_is_read(framing: str, packed: bool) -> None:
    content = (
        gzip.compress(http_documents.CSV[:1000]) + gzip.compress(http_documents.CSV[1000:])
        if packed
        else http_documents.CSV
    )
    head, body = http_documents.framed(content, *(["Content-Encoding: gzip"] if packed else []), framing=framing)
    async with HostileServer(serving(head, body)).serving() as origin:
        reading = await http_documents.source(f"{origin}/people.csv").read()
    assert (len(reading.rows), reading.source.rows, reading.source.proof) == (400, 400, "length")
    assert str(reading.rows[0].origin) == "hr:2:1"


async def test_a_stream_of_many_members_is_read_and_no_cut_is_missed() -> None:
    """Members end anywhere in what is decompressed at once, also at its end."""
    content = b"driver,fleet\n" + b"".join(b"driver-%d@example.com,Paris\n" % number for number in range(2000))
    ends = [*range(3000), len(content)]
    packed = b"".join(gzip.compress(content[begin:end], 0, mtime=0) for begin, end in itertools.pairwise(ends))
    head, body = http_documents.framed(packed, "Content-Encoding: gzip")
    async with HostileServer(serving(head, body)).serving() as origin:
        assert len((await http_documents.source(f"{origin}/people.csv").read()).rows) == 2000
    head, body = http_documents.framed(packed[:-1], "Content-Encoding: gzip")
    async with HostileServer(serving(head, body)).serving() as origin:
        await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_incomplete")


async def test_the_media_type_decides_the_format_of_an_address_without_ending() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/csv; charset=utf-8"}, content=http_documents.CSV)

    fetcher = http_source.HttpFetcher(
        http_source.Endpoint("https://hr.test/report", lambda: httpx.MockTransport(answer), ""), "hr"
    )
    assert len((await document_source.DocumentSource("http", "hr", fetcher).read()).rows) == 400


async def test_an_unknown_format_is_an_error_that_says_so() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/octet-stream"}, content=http_documents.CSV)

    fetcher = http_source.HttpFetcher(
        http_source.Endpoint("https://hr.test/report", lambda: httpx.MockTransport(answer), ""), "hr"
    )
    message = await http_documents.failure(document_source.DocumentSource("http", "hr", fetcher), "source_invalid")
    assert message == (
        "hr:1:1: neither its name nor its Content-Type says which format this is: set the source's format"
    )


class TestRedirects:
    async def test_one_to_another_origin_is_not_followed_and_receives_nothing(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "password").write_text(http_documents.SECRET)
        login = http_login.Login("hr", tmp_path / "password")
        async with HostileServer(serving(*http_documents.framed(http_documents.CSV))).serving() as other:
            address = f"{other}/people.csv?q={http_documents.SECRET}"
            answer = f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n"
            server, elsewhere = (
                HostileServer(serving(answer.encode(), b"")),
                HostileServer(serving(*http_documents.framed(http_documents.CSV))),
            )
            async with server.serving() as origin, elsewhere.serving():
                message = await http_documents.failure(
                    http_documents.source(f"{origin}/people.csv", login=login), "source_unreachable"
                )
        assert "which was not followed" in message
        assert elsewhere.connections == 0 and len(server.requests) == 1

    @pytest.mark.parametrize(
        "location",
        [
            "http://hr.test/people.csv",
            "https://hr.test:8443/",
            "https://user@hr.test/",
            "//evil.test/",
            "https://HR.test.evil.test/",
            "ftp://hr.test/",
            "https://[",
        ],
    )
    async def test_every_other_origin_is_another(self, location: str) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            assert str(request.url) == "https://hr.test/people.csv"
            return httpx.Response(302, headers={"location": location})

        await http_documents.failure(http_documents.mocked(answer), "source_unreachable")

    async def test_one_within_the_origin_is_followed(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/people.csv":
                return httpx.Response(307, headers={"location": "https://hr.test:443/current"})
            return httpx.Response(200, content=http_documents.CSV)

        assert len((await http_documents.mocked(answer).read()).rows) == 400

    async def test_one_that_leads_nowhere_is_an_error_that_says_so(self) -> None:
        message = await http_documents.failure(
            http_documents.mocked(lambda request: httpx.Response(302)), "source_unreachable"
        )
        assert "does not say where to" in message

    async def test_another_port_is_named(self) -> None:
        reply = httpx.Response(302, headers={"location": "https://hr.test:8443/people.csv?a=b"})
        message = await http_documents.failure(http_documents.mocked(lambda request: reply), "source_unreachable")
        assert "redirects to https://hr.test:8443, which" in message

    async def test_a_circle_ends(self) -> None:
        message = await http_documents.failure(
            http_documents.mocked(lambda request: httpx.Response(302, headers={"location": "/people.csv"})),
            "source_unreachable",
        )
        assert "again and again" in message


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (401, "source_unauthorized"),
            (403, "source_unauthorized"),
            (404, "source_unreachable"),
            (410, "source_unreachable"),
            (429, "source_unreachable"),
            (500, "source_unreachable"),
            (503, "source_unreachable"),
            (204, "source_incomplete"),
            (206, "source_incomplete"),
        ],
    )
    async def test_a_reply_with_another_status_is_an_error(self, status: int, code: str) -> None:
        reading = http_documents.mocked(lambda request: httpx.Response(status, content=http_documents.CSV))
        assert str(status) in await http_documents.failure(reading, code)
        with pytest.raises(SourceError):
            await reading.peek()

    async def test_a_reply_that_calls_itself_a_part_is_one(self) -> None:
        reply = httpx.Response(200, headers={"content-range": "bytes 0-99/9000"}, content=http_documents.CSV)
        assert "sent only a part of the document" in await http_documents.failure(
            http_documents.mocked(lambda request: reply), "source_incomplete"
        )

    @pytest.mark.parametrize(
        ("media_type", "content"),
        [
            ("text/html; charset=utf-8", b"<p>Please sign in</p>"),
            ("application/xhtml+xml", b"<p>Please sign in</p>"),
            ("text/csv", b"\xef\xbb\xbf \r\n<!DOCTYPE HTML><title>Sign in</title>"),
            ("text/csv", b"<HTML><body>Sign in"),
        ],
    )
    async def test_a_login_page_is_an_error_that_says_so(self, media_type: str, content: bytes) -> None:
        reply = httpx.Response(200, headers={"content-type": media_type}, content=content)
        assert "usually a login page" in await http_documents.failure(
            http_documents.mocked(lambda request: reply), "source_unauthorized"
        )

    async def test_an_empty_body_is_an_error(self) -> None:
        reply = httpx.Response(200, headers={"content-length": "0"})
        await http_documents.failure(http_documents.mocked(lambda request: reply), "source_empty")

    async def test_another_compression_is_an_error(self) -> None:
        async with HostileServer(
            serving(*http_documents.framed(http_documents.CSV, "Content-Encoding: br"))
        ).serving() as origin:
            await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_invalid")

    async def test_no_server_is_unreachable(self) -> None:
        async with HostileServer(serving(b"", b"")).serving() as origin:
            assert "closed the connection" in await http_documents.failure(
                http_documents.source(f"{origin}/a.csv"), "source_unreachable"
            )
        assert "no connection could be made" in await http_documents.failure(
            http_documents.source(f"{origin}/a.csv"), "source_unreachable"
        )


@pytest.mark.integration
class TestLimits:
    async def test_a_slow_body_ends_at_the_deadline(self) -> None:
        head, body = http_documents.framed(http_documents.CSV)

        async def drip(connection: Connection) -> None:
            await connection.request()
            await connection.send(head)
            for byte in body:
                await connection.send(bytes([byte]))
                await anyio.sleep(0.05)

        async with HostileServer(drip).serving() as origin:
            message = await http_documents.failure(
                http_documents.source(f"{origin}/people.csv", timeout=0.2), "source_timeout"
            )
        assert "timeout_seconds = 0.2" in message

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])  # Trio warns of the generators that httpcore leaves behind
    async def test_a_body_without_end_is_too_large(self) -> None:
        async def endless(connection: Connection) -> None:
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            await connection.flood(b"a@b,c\n", most=2 * positions.MAX_BYTES)

        async with HostileServer(endless).serving() as origin:
            assert "larger than 64 MiB" in await http_documents.failure(
                http_documents.source(f"{origin}/people.csv"), "source_too_large"
            )

    async def test_a_body_that_unpacks_to_more_is_too_large(self) -> None:
        packed = gzip.compress(b"\n" * (positions.MAX_BYTES + 1), compresslevel=1)
        async with HostileServer(serving(*http_documents.framed(packed, "Content-Encoding: gzip"))).serving() as origin:
            await http_documents.failure(http_documents.source(f"{origin}/people.csv"), "source_too_large")

    async def test_a_cancelled_reading_ends_at_once(self) -> None:
        async def silent(connection: Connection) -> None:
            await connection.request()
            await anyio.sleep_forever()

        async with HostileServer(silent).serving() as origin:
            with anyio.fail_after(http_documents.PATIENT / 2), anyio.move_on_after(0.05) as scope:
                await http_documents.source(f"{origin}/people.csv").read()
        assert scope.cancelled_caught


class TestManifest:
    async def test_it_is_fetched_from_beside_the_document(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            assert request.url.path in ("/out/people.csv", "/out/people.csv.json")
            rows = b'{"rows": 400}' if request.url.path.endswith(".json") else http_documents.CSV
            return httpx.Response(200, headers={"etag": request.url.path}, content=rows)

        endpoint = http_source.Endpoint(
            "https://hr.test/out/people.csv?v=1", lambda: httpx.MockTransport(answer), "", manifest="{path}.json"
        )
        fetcher = http_source.HttpFetcher(endpoint, "hr")
        (document,) = (await fetcher.fetch()).documents
        assert document.manifest == b'{"rows": 400}'
        assert "people.csv.json" in str(await fetcher.peek())
