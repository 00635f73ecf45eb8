"""Sources that read documents over HTTP, for their tests: before a server or a function that answers."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from worker.core.model.errors import SourceError
from worker.sources import document_source, http_source

CSV = b"driver,fleet\n" + b"".join(b"driver-%d@example.com,Paris\n" % number for number in range(400))
PATIENT = 60.0
SECRET = "s3cr3t-of-the-source"


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
