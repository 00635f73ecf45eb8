"""Documents over HTTP: whole or an error, however the server or the way to it breaks."""

import base64
import gzip
import pathlib
import random
import re
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from tests.charge.hostile_server import Connection, HostileServer, Script
from worker.core.model.errors import SourceError
from worker.sources import document_source, http_login, http_source, positions

pytestmark = pytest.mark.anyio

CSV = b"driver,fleet\n" + b"".join(b"driver-%d@example.com,Paris\n" % number for number in range(400))
PATIENT = 60.0
SECRET = "s3cr3t-of-the-source"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Use both event loops."""
    return str(request.param)


def source(url: str, *, timeout: float = PATIENT, **endpoint: Any) -> document_source.DocumentSource:
    transport = endpoint.pop("transport", http_source.connecting(None))
    fetcher = http_source.HttpFetcher(http_source.Endpoint(url, transport, "fleet-sync/0", timeout, **endpoint), "hr")
    return document_source.DocumentSource("http", "hr", fetcher)


def mocked(handler: Callable[[httpx.Request], httpx.Response], **endpoint: Any) -> document_source.DocumentSource:
    return source("https://hr.test/people.csv", transport=lambda: httpx.MockTransport(handler), **endpoint)


async def failure(reading: document_source.DocumentSource, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        await reading.read()
    assert caught.value.code == code
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r} {reading!r}"
    return caught.value.message


def framed(body: bytes, *headers: str, framing: str = "length") -> tuple[bytes, bytes]:
    """Return the head and the framed body of a reply."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/csv", *headers]
    match framing:
        case "length":
            lines.append(f"Content-Length: {len(body)}")
        case "chunked":
            lines.append("Transfer-Encoding: chunked")
            parts = [body[start : start + 1000] for start in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        case _:
            lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode(), body


def serving(head: bytes, body: bytes) -> Script:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head + body)

    return script


class TestABodyThatIsCut:
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    async def test_it_is_incomplete_wherever_it_is_cut(self, framing: str, packed: bool) -> None:
        content = gzip.compress(CSV) if packed else CSV
        head, body = framed(content, *(["Content-Encoding: gzip"] if packed else []), framing=framing)
        cuts = random.Random(f"{framing}{packed}").sample(range(len(body)), 100)

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head + body[: cuts.pop()])

        async with HostileServer(script).serving() as origin:
            while cuts:
                await failure(source(f"{origin}/people.csv"), "source_incomplete")

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_half_of_a_gzip_stream_is_incomplete_although_its_framing_is_whole(self, framing: str) -> None:
        packed = gzip.compress(CSV)
        for cut in (0, 1, 9, 10, 11, len(packed) // 2, *range(len(packed) - 9, len(packed))):
            head, body = framed(packed[:cut], "Content-Encoding: gzip", framing=framing)
            async with HostileServer(serving(head, body)).serving() as origin:
                await failure(source(f"{origin}/people.csv"), "source_incomplete")

    async def test_a_body_that_ends_with_the_connection_is_incomplete_even_if_it_is_whole(self) -> None:
        async with HostileServer(serving(*framed(CSV, framing="close"))).serving() as origin:
            message = await failure(source(f"{origin}/people.csv"), "source_incomplete")
        assert "neither Content-Length nor chunked" in message

    async def test_a_reset_connection_is_incomplete(self) -> None:
        head, body = framed(CSV)

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head + body[:100])
            connection.reset()

        async with HostileServer(script).serving() as origin:
            await failure(source(f"{origin}/people.csv"), "source_incomplete")

    async def test_a_damaged_gzip_stream_is_incomplete(self) -> None:
        packed = bytearray(gzip.compress(CSV))
        packed[-6] ^= 1  # in the checksum
        async with HostileServer(serving(*framed(bytes(packed), "Content-Encoding: gzip"))).serving() as origin:
            await failure(source(f"{origin}/people.csv"), "source_incomplete")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_whole_body_is_read(framing: str, packed: bool) -> None:
    content = gzip.compress(CSV[:1000]) + gzip.compress(CSV[1000:]) if packed else CSV
    head, body = framed(content, *(["Content-Encoding: gzip"] if packed else []), framing=framing)
    async with HostileServer(serving(head, body)).serving() as origin:
        reading = await source(f"{origin}/people.csv").read()
    assert (len(reading.rows), reading.source.rows, reading.source.proof) == (400, 400, "length")
    assert str(reading.rows[0].origin) == "hr:2:1"


async def test_the_media_type_decides_the_format_of_an_address_without_ending() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/csv; charset=utf-8"}, content=CSV)

    fetcher = http_source.HttpFetcher(
        http_source.Endpoint("https://hr.test/report", lambda: httpx.MockTransport(answer), ""), "hr"
    )
    assert len((await document_source.DocumentSource("http", "hr", fetcher).read()).rows) == 400


async def test_an_unknown_format_is_an_error_that_says_so() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/octet-stream"}, content=CSV)

    fetcher = http_source.HttpFetcher(
        http_source.Endpoint("https://hr.test/report", lambda: httpx.MockTransport(answer), ""), "hr"
    )
    message = await failure(document_source.DocumentSource("http", "hr", fetcher), "source_invalid")
    assert message == (
        "hr:1:1: neither its name nor its Content-Type says which format this is: set the source's format"
    )


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
            return httpx.Response(304) if conditions else httpx.Response(200, headers=sent, content=CSV)

        reading = mocked(answer)
        first, peeked = await reading.read(), await reading.peek()
        assert await reading.read() == first
        assert peeked == await reading.peek() != None  # noqa: E711
        assert seen == [{}, asked, asked, asked]

    async def test_a_change_within_the_second_of_the_reply_could_be_missed(self) -> None:
        """The time of the last change has seconds, so it says nothing of a second that is not over."""

        def answer(request: httpx.Request) -> httpx.Response:
            assert "if-modified-since" not in request.headers
            now = "Sat, 28 Nov 2026 10:00:00 GMT"
            return httpx.Response(200, headers={"last-modified": now, "date": now}, content=CSV)

        reading = mocked(answer)
        await reading.read()
        assert await reading.peek() is None
        await reading.read()

    async def test_another_version_is_read_and_changes_the_revision(self) -> None:
        etag, content = '"v1"', CSV

        def answer(request: httpx.Request) -> httpx.Response:
            if request.headers.get("if-none-match") == etag:
                return httpx.Response(304)
            return httpx.Response(200, headers={"etag": etag}, content=content)

        reading = mocked(answer)
        peeked = await reading.peek()
        assert len((await reading.read()).rows) == 400
        assert await reading.peek() == peeked
        etag, content = '"v2"', b"driver,fleet\na@b,Lyon\n"
        assert await reading.peek() != peeked
        assert len((await reading.read()).rows) == 1

    async def test_a_304_that_was_not_asked_for_is_an_error(self) -> None:
        await failure(mocked(lambda request: httpx.Response(304)), "source_incomplete")

    async def test_a_server_without_versions_has_no_cheap_revision_and_is_not_asked(self) -> None:
        count = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal count
            count += 1
            return httpx.Response(200, content=CSV)

        reading = mocked(answer)
        assert await reading.peek() is None
        await reading.read()
        assert [await reading.peek() for _ in range(3)] == [None] * 3
        assert count == 2

    async def test_peeking_reads_no_body(self) -> None:
        head, _ = framed(CSV, 'ETag: "v1"')

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.send(head)
            await anyio.sleep_forever()

        async with HostileServer(script).serving() as origin:
            with anyio.fail_after(PATIENT / 2):
                assert await source(f"{origin}/people.csv").peek()


class TestRedirects:
    async def test_one_to_another_origin_is_not_followed_and_receives_nothing(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "password").write_text(SECRET)
        login = http_login.Login("hr", tmp_path / "password")
        async with HostileServer(serving(*framed(CSV))).serving() as other:
            answer = f"HTTP/1.1 302 Found\r\nLocation: {other}/people.csv?q={SECRET}\r\nContent-Length: 0\r\n\r\n"
            server, elsewhere = HostileServer(serving(answer.encode(), b"")), HostileServer(serving(*framed(CSV)))
            async with server.serving() as origin, elsewhere.serving():
                message = await failure(source(f"{origin}/people.csv", login=login), "source_unreachable")
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

        await failure(mocked(answer), "source_unreachable")

    async def test_one_within_the_origin_is_followed(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/people.csv":
                return httpx.Response(307, headers={"location": "https://hr.test:443/current"})
            return httpx.Response(200, content=CSV)

        assert len((await mocked(answer).read()).rows) == 400

    async def test_a_circle_ends(self) -> None:
        message = await failure(
            mocked(lambda request: httpx.Response(302, headers={"location": "/people.csv"})), "source_unreachable"
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
        reading = mocked(lambda request: httpx.Response(status, content=CSV))
        assert str(status) in await failure(reading, code)
        with pytest.raises(SourceError):
            await reading.peek()

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
        assert "usually a page to log in" in await failure(mocked(lambda request: reply), "source_unauthorized")

    async def test_an_empty_body_is_an_error(self) -> None:
        reply = httpx.Response(200, headers={"content-length": "0"})
        await failure(mocked(lambda request: reply), "source_empty")

    async def test_another_compression_is_an_error(self) -> None:
        async with HostileServer(serving(*framed(CSV, "Content-Encoding: br"))).serving() as origin:
            await failure(source(f"{origin}/people.csv"), "source_invalid")

    async def test_no_server_is_unreachable(self) -> None:
        async with HostileServer(serving(b"", b"")).serving() as origin:
            assert "closed the connection" in await failure(source(f"{origin}/a.csv"), "source_unreachable")
        assert "no connection could be made" in await failure(source(f"{origin}/a.csv"), "source_unreachable")


class TestLimits:
    async def test_a_slow_body_ends_at_the_deadline(self) -> None:
        head, body = framed(CSV)

        async def drip(connection: Connection) -> None:
            await connection.request()
            await connection.send(head)
            for byte in body:
                await connection.send(bytes([byte]))
                await anyio.sleep(0.05)

        async with HostileServer(drip).serving() as origin:
            message = await failure(source(f"{origin}/people.csv", timeout=0.2), "source_timeout")
        assert "timeout_seconds = 0.2" in message

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])  # Trio warns of the generators that httpcore leaves behind
    async def test_a_body_without_end_is_too_large(self) -> None:
        async def endless(connection: Connection) -> None:
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            await connection.flood(b"a@b,c\n", most=2 * positions.MAX_BYTES)

        async with HostileServer(endless).serving() as origin:
            assert "larger than 64 MiB" in await failure(source(f"{origin}/people.csv"), "source_too_large")

    async def test_a_body_that_unpacks_to_more_is_too_large(self) -> None:
        packed = gzip.compress(b"\n" * (positions.MAX_BYTES + 1), compresslevel=1)
        async with HostileServer(serving(*framed(packed, "Content-Encoding: gzip"))).serving() as origin:
            await failure(source(f"{origin}/people.csv"), "source_too_large")

    async def test_a_cancelled_reading_ends_at_once(self) -> None:
        async def silent(connection: Connection) -> None:
            await connection.request()
            await anyio.sleep_forever()

        async with HostileServer(silent).serving() as origin:
            with anyio.fail_after(PATIENT / 2), anyio.move_on_after(0.05) as scope:
                await source(f"{origin}/people.csv").read()
        assert scope.cancelled_caught


class TestLogin:
    async def sent(self, login: http_login.Login) -> httpx.Headers:
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(200, content=CSV)

        await mocked(answer, login=login).read()
        return requests[0].headers

    async def test_user_and_password_are_basic_authentication(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "password").write_text("pässword\n")
        expected = base64.b64encode("hr:pässword".encode()).decode()
        headers = await self.sent(http_login.Login("hr", tmp_path / "password"))
        assert headers["authorization"] == f"Basic {expected}"

    async def test_a_token_is_a_bearer_token(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "token").write_text(f"{SECRET}\n")
        headers = await self.sent(http_login.Login(token_file=tmp_path / "token"))
        assert headers["authorization"] == f"Bearer {SECRET}"

    async def test_further_headers_come_from_a_file(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "headers").write_text("# of HR\nX-Api-Key: a b\n\nX-Tenant:acme \nUSER-Agent: hr\n")
        headers = await self.sent(http_login.Login(headers_file=tmp_path / "headers"))
        assert (headers["x-api-key"], headers["x-tenant"]) == ("a b", "acme")
        assert headers.get_list("user-agent") == ["hr"]

    async def test_a_new_secret_is_used_at_the_next_reading(self, tmp_path: pathlib.Path) -> None:
        login = http_login.Login(token_file=tmp_path / "token")
        for token in ("one", "two"):
            (tmp_path / "token").write_text(token)
            assert (await self.sent(login))["authorization"] == f"Bearer {token}"

    @pytest.mark.parametrize(
        ("setting", "content", "problem"),
        [
            ("password_file", None, "cannot be read (No such file or directory)"),
            ("password_file", b"", "is empty"),
            ("password_file", b"\xff", "not valid UTF-8"),
            ("password_file", b"x" * 20_000, "contains more than a secret"),
            ("password_file", f"ch_sk_test_{SECRET}".encode(), "a Charge key must never be sent"),
            ("token_file", f"{SECRET} x".encode(), "a space or a character that no header may have"),
            ("headers_file", f"{SECRET}".encode(), "line 1 is not a header like Name: value"),
            ("headers_file", f"A: {SECRET}\n B: {SECRET}".encode(), "line 2 is not a header"),
            ("headers_file", f"Host: {SECRET}".encode(), "line 1 sets a header that fleet-sync sets itself"),
            ("headers_file", f"Range: {SECRET}".encode(), "line 1 sets a header that fleet-sync sets itself"),
            ("headers_file", f"If-None-Match: {SECRET}".encode(), "sets a header that fleet-sync sets itself"),
        ],
    )
    async def test_a_secret_that_cannot_be_used_is_an_error_without_it(
        self, setting: str, content: bytes | None, problem: str, tmp_path: pathlib.Path
    ) -> None:
        if content is not None:
            (tmp_path / "secret").write_bytes(content)
        login = http_login.Login("hr", **{setting: tmp_path / "secret"})
        with pytest.raises(SourceError, match=re.escape(problem)) as caught:
            await self.sent(login)
        assert SECRET not in str(caught.value)

    async def test_a_folder_is_no_secret(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(SourceError, match="is not a regular file"):
            await self.sent(http_login.Login(token_file=tmp_path))


class TestManifest:
    async def test_it_is_fetched_from_beside_the_document(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            assert request.url.path in ("/out/people.csv", "/out/people.csv.json")
            rows = b'{"rows": 400}' if request.url.path.endswith(".json") else CSV
            return httpx.Response(200, headers={"etag": request.url.path}, content=rows)

        endpoint = http_source.Endpoint(
            "https://hr.test/out/people.csv?v=1", lambda: httpx.MockTransport(answer), "", manifest="{path}.json"
        )
        fetcher = http_source.HttpFetcher(endpoint, "hr")
        (document,) = (await fetcher.fetch()).documents
        assert document.manifest == b'{"rows": 400}'
        assert "people.csv.json" in str(await fetcher.peek())
