"""A server on a real socket that answers as a script says, however wrong that is.

Invariant: it serves in the test's own event loop, and everything ends with the `serving` block. Neighbours:
`test_hostile_server` has the scripts, `test_network` the proxies.
"""

import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc
from anyio.streams import tls

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")


class Connection:
    """One connection of a client, as a script sees it."""

    def __init__(self, stream: anyio.abc.ByteStream, server: "HostileServer") -> None:
        """Take the stream, and the server that counts what happens."""
        self.stream = stream
        self._server = server
        self._unread = b""

    async def request(self) -> bytes:
        """Read one request, head and body. Raises anyio.EndOfStream when the client closed the connection."""
        while b"\r\n\r\n" not in self._unread:
            self._unread += await self.stream.receive()
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head + b"\r\n")) else 0
        while len(rest) < length:
            rest += await self.stream.receive()
        self._unread = rest[length:]
        self._server.requests.append(head + b"\r\n\r\n" + rest[:length])
        return self._server.requests[-1]

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send(data)
        self._server.bytes_sent += len(data)

    async def flood(self, data: bytes, *, most: int) -> None:
        """Send the same bytes again and again, until the client hangs up or `most` bytes are sent."""
        data = data * max(1, 65536 // len(data))
        while self._server.bytes_sent < most:
            await self.send(data)
            await anyio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Make the end of this connection a TCP reset."""
        raw = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Script = Callable[[Connection], Awaitable[None]]


class HostileServer:
    """Plays a script with every client that connects."""

    def __init__(self, script: Script, *, context: ssl.SSLContext | None = None) -> None:
        """Take the script, and the TLS context if the server speaks TLS."""
        self.requests: list[bytes] = []
        self.connections = 0
        self.bytes_sent = 0
        self.hung_up = anyio.Event()
        self._script = script
        self._context = context

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of 127.0.0.1, and yield the origin."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, self._serve)
                yield f"{'https' if self._context else 'http'}://127.0.0.1:{port}"
                tasks.cancel_scope.cancel()

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        gone = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError, OSError)
        async with stream:
            with contextlib.suppress(*gone):
                wrapped: anyio.abc.ByteStream = stream
                if self._context:
                    wrapped = await tls.TLSStream.wrap(
                        stream, server_side=True, ssl_context=self._context, standard_compatible=False
                    )
                await self._script(Connection(wrapped, self))
        self.hung_up.set()


def answering(*answers: bytes, reset: bool = False) -> Script:
    """Return a script that answers the requests of a connection in turn, and then hangs up."""

    async def script(connection: Connection) -> None:
        for answer in answers:
            await connection.request()
            await connection.send(answer)
        if reset:
            connection.reset()

    return script
