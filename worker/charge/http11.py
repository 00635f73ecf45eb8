"""One request and its reply over a stream, as HTTP/1.1; h11 writes and parses both.

Invariant: an exchange has a parser of its own, which sees nothing of what came before; `ended` is true only if the
reply is whole and nothing followed it. Neighbours: `connection` opens the stream, and has an exchange for each request.
"""

from collections.abc import Iterable

import anyio
import anyio.abc
import h11
import httpx

MAX_HEAD_BYTES = 100 * 1024
"""The largest head of a reply that is read."""

_TWO_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


class Exchange(httpx.AsyncByteStream):
    """A request and its reply, whose body is iterated over."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        """Send nothing yet. The stream carries nothing else until the exchange has ended."""
        self._stream = stream
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._is_last = False

    async def send(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], content: bytes = b""
    ) -> h11.Response:
        """Send a request in one piece, and return the head of its reply. Raises httpx.NetworkError, ProtocolError."""
        try:
            head = h11.Request(method=method, target=target, headers=list(headers))
            events = (head, h11.Data(data=content), h11.EndOfMessage()) if content else (head, h11.EndOfMessage())
            request = b"".join(self._parser.send(event) or b"" for event in events)
        except h11.LocalProtocolError:
            raise httpx.LocalProtocolError("the request cannot be sent as HTTP") from None
        try:
            await self._stream.send(request)
        except (anyio.BrokenResourceError, anyio.EndOfStream):  # TLS may read while it sends, and meet the end there
            self._is_last = True  # a server may reply, and close the connection, before it has read everything
        while not isinstance(event := await self._next_event(), h11.Response):
            pass  # an interim reply
        # Where a reply states two lengths, the rest of the longer one may be on its way (RFC 9112, section 6.3).
        self._is_last |= {name for name, _ in event.headers} >= _TWO_LENGTHS
        return event

    async def __anext__(self) -> bytes:
        """Return the next part of the body. Raises httpx.NetworkError, ProtocolError."""
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return event.data
        raise StopAsyncIteration

    def __aiter__(self) -> "Exchange":
        """Return the body."""
        return self

    @property
    def ended(self) -> bool:
        """Return whether the stream may carry another exchange: both sides are done, and nothing followed the reply."""
        parser = self._parser
        are_done = parser.our_state is h11.DONE and parser.their_state is h11.DONE
        return are_done and not self._is_last and not parser.trailing_data[0]

    async def _next_event(self) -> object:
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(await self._receive())
        except h11.RemoteProtocolError:
            raise httpx.RemoteProtocolError("not HTTP, or cut short") from None
        return event

    async def _receive(self) -> bytes:
        """Return what has arrived, or nothing at the end."""
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise httpx.ReadError("the connection broke") from None
