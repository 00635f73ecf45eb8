"""Reads the body of an HTTP reply whole, or not at all.

Invariant: a body is whole only if its framing says where it ends and it ends there, and if it is compressed, its gzip
stream ends with its trailer. httpx accepts less: a body that the server ends by closing the connection, and half of a
gzip stream. Neighbours: `http_source` sends the requests.
"""

import zlib

import httpx
from anyio import to_thread

from worker.sources import fetching, positions

CUT_SHORT = "the reply was cut short: the connection ended before the document did"
_NO_END = (
    "the reply does not say where it ends (neither Content-Length nor chunked), so it may be cut short: have the "
    "server send one of the two"
)
_GZIP_CUT = "the reply was cut short: its gzip stream does not end"
_GZIP_BROKEN = "the reply is not valid gzip, although it says so"
_LOGIN_PAGE = (
    "the server sent a web page (HTML) instead of a document, usually a login page: check the address, and whether "
    "the source needs a user, a token or headers"
)
_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 4096


def check_type(headers: httpx.Headers, name: str) -> None:
    """Raise errors.SourceError if the reply is a web page."""
    if headers.get("content-type", "").strip().lower().startswith(("text/html", "application/xhtml+xml")):
        raise fetching.failure(name, _LOGIN_PAGE, code="source_unauthorized")


async def read(response: httpx.Response, name: str) -> bytes:
    """Return the whole body, decompressed. Raises errors.SourceError, and the transport's errors if it is cut short."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise fetching.failure(name, f"the reply is compressed with {encoding[:20]!r}, which was not asked for")
    body = await _raw(response, name)
    if encoding != "identity":
        body = await to_thread.run_sync(_unzipped, body, name, abandon_on_cancel=True)
    if body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise fetching.failure(name, _LOGIN_PAGE, code="source_unauthorized")
    return body


async def _raw(response: httpx.Response, name: str) -> bytes:
    """Return the body as it was sent. Below, h11 raises an error if the framing that is there does not end."""
    is_chunked = "transfer-encoding" in response.headers
    length = response.headers.get("content-length", "")
    if not is_chunked and not length:
        raise fetching.failure(name, _NO_END, code="source_incomplete")
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("a reply to an asynchronous request has an asynchronous body")
    parts, size = list[bytes](), 0
    async for part in stream:
        size += len(part)
        if size > positions.MAX_BYTES:
            raise fetching.too_large(name)
        parts.append(part)
    if not is_chunked and int(length) != size:
        raise fetching.failure(name, CUT_SHORT, code="source_incomplete")
    return b"".join(parts)


def _unzipped(body: bytes, name: str) -> bytes:
    """Decompress all members of a gzip stream, none of which may lack its trailer.

    The stream is cut into small pieces, because zlib copies whatever follows a member: many members would take hours.
    """
    parts, size = list[bytes](), 0
    member = zlib.decompressobj(wbits=_GZIP)
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        while piece:
            if member.eof:
                member = zlib.decompressobj(wbits=_GZIP)
            try:
                part = member.decompress(piece, positions.MAX_BYTES + 1 - size)
            except zlib.error:
                raise fetching.failure(name, _GZIP_BROKEN, code="source_incomplete") from None
            parts.append(part)
            size += len(part)
            if size > positions.MAX_BYTES:
                raise fetching.too_large(name)
            piece = member.unused_data
    if not member.eof:
        raise fetching.failure(name, _GZIP_CUT, code="source_incomplete")
    return b"".join(parts)
