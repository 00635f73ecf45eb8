"""One exchange over a stream that fails as streams may. `test_hostile_server` has real servers."""

import anyio
import anyio.abc
import pytest

from worker.charge import http11

pytestmark = pytest.mark.anyio

REPLY = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"


class Ending(anyio.abc.ByteStream):
    """A stream whose other side replied, and closed it, before it read anything."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return REPLY

    async def send(self, item: bytes) -> None:
        raise self._error

    async def send_eof(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("error", [anyio.BrokenResourceError(), anyio.EndOfStream()], ids=["reset", "end-of-tls"])
async def test_a_reply_counts_although_its_request_could_not_be_sent_and_no_other_follows(error: Exception) -> None:
    """TLS reads while it sends, to renegotiate: then the end of the stream is found there."""
    headers = [(b"Host", b"charge.test"), (b"Content-Length", b"2")]
    exchange = http11.Exchange(Ending(error))
    reply = await exchange.send("POST", b"/", headers, b"{}")
    assert reply.status_code == 413
    assert [part async for part in exchange] == []
    assert not exchange.ended
