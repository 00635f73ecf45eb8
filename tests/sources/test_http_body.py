"""Bodies of replies: which are whole, and which are no document."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from worker.core.model.errors import SourceError
from worker.sources import http_body

pytestmark = pytest.mark.anyio

CSV = b"driver,fleet\n" + b"x@y,a\n" * 2000
PACKED = gzip.compress(CSV, mtime=0)
IN_TWO_PARTS = gzip.compress(CSV[:5000], mtime=0) + gzip.compress(CSV[5000:], mtime=0)


class Stream(httpx.AsyncByteStream):
    """A body in parts of a thousand bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]


async def read(body: bytes, **headers: str) -> bytes:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await http_body.read(httpx.Response(200, headers=named, stream=Stream(body)), "hr")


async def failure(body: bytes, **headers: str) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        await read(body, **headers)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("framing", [{"content_length": "{}"}, {"transfer_encoding": "chunked"}])
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (CSV, ""),
        (CSV, "identity"),
        (PACKED, "gzip"),
        (PACKED, " X-GZIP "),
        (IN_TWO_PARTS, "gzip"),
    ],
    ids=["no encoding", "identity", "gzip", "another spelling of gzip", "gzip in two parts"],
)
async def test_a_whole_body_is_returned_as_it_was_before_packing(
    body: bytes, encoding: str, framing: dict[str, str]
) -> None:
    headers = {name: text.format(len(body)) for name, text in framing.items()}
    assert await read(body, **headers, **({"content_encoding": encoding} if encoding else {})) == CSV


async def test_a_body_that_does_not_say_where_it_ends_is_none() -> None:
    code, message = await failure(CSV)
    assert code == "source_incomplete" and "does not say where it ends" in message


@pytest.mark.parametrize("off", [-1, 1])
async def test_a_body_of_another_length_than_promised_is_none(off: int) -> None:
    assert await failure(CSV, content_length=str(len(CSV) + off)) == ("source_incomplete", f"hr: {http_body.CUT_SHORT}")


@pytest.mark.parametrize("cut", [1, 8, len(PACKED) // 2, len(PACKED) - 5])
async def test_a_gzip_stream_without_its_end_is_none(cut: int) -> None:
    body = PACKED[:-cut]
    code, _ = await failure(body, content_length=str(len(body)), content_encoding="gzip")
    assert code == "source_incomplete"


async def test_what_is_not_gzip_although_it_says_so_is_none() -> None:
    code, message = await failure(CSV, content_length=str(len(CSV)), content_encoding="gzip")
    assert code == "source_incomplete" and "not valid gzip" in message


async def test_another_compression_is_named() -> None:
    code, message = await failure(CSV, content_length=str(len(CSV)), content_encoding="br")
    assert code == "source_invalid" and "compressed with 'br'" in message


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\r\n <HTML lang=en>"])
async def test_a_web_page_is_no_document(page: bytes) -> None:
    code, message = await failure(page, content_length=str(len(page)))
    assert code == "source_unauthorized" and "usually a login page" in message


@pytest.mark.parametrize(
    ("media_type", "is_page"),
    [
        ("text/html; charset=utf-8", True),
        (" Text/HTML", True),
        ("application/xhtml+xml", True),
        ("text/csv", False),
        ("application/html", False),
        ("", False),
    ],
)
def test_the_type_of_a_reply_may_show_that_it_is_a_web_page(media_type: str, is_page: bool) -> None:
    headers = httpx.Headers({"content-type": media_type} if media_type else {})
    if is_page:
        with pytest.raises(SourceError, match="a web page"):
            http_body.check_type(headers, "hr")
    else:
        http_body.check_type(headers, "hr")
