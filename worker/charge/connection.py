"""One connection to Charge: TCP, the tunnel of a proxy if there is one, and TLS; anyio makes them.

Invariants: bytes that follow a reply are never taken for the next reply; a proxy sees host and port of Charge, and
nothing of what is sent there. A failure before the request is sent is an httpx.ConnectError or errors.NotSent; a later
failure is neither. A request that is given up has the extension `CONNECTING` if it was not sent. Whether a request may
still be sent is asked once there is a connection, right before its bytes go out. Neighbours: `transport` keeps a stack
of these, `http11` exchanges a request and its reply.
"""

import base64
import dataclasses
import select
import ssl
from collections.abc import Callable

import anyio
import anyio.abc
import httpx
from anyio.streams import tls

from worker.charge import http11
from worker.core.model.errors import NotSent

KEEPALIVE_SECONDS = 30.0
"""How long a connection may be idle and still be used again."""

MAY_SEND = "may_send"
"""Extension of a request: a callable that says whether it may be sent. Making a connection may have taken long."""

CONNECTING = "connecting"
"""Extension of a request, which it has while a connection is made for it: nothing of it was sent yet."""

_MORE_THAN_ARRIVES = 1024 * 1024
"""Bytes that no event loop takes from a socket at once."""

_TLS_REMEDY = (
    "Check that `charge.base_url` is correct. If its certificate is signed by an authority of your own, or a proxy "
    "inspects TLS, name a file with that authority's certificate in `charge.ca_file`. Check the clock of this machine."
)
_PROXY_REMEDY = "Check `charge.proxy_url`, and that the proxy allows CONNECT to Charge."
_PROXY_LOGIN_REMEDY = (
    "Write the proxy's address with user and password to a file, and set `charge.proxy_url_file` to its path."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that tunnels with CONNECT; `authorization` is the value of its own header, empty for none."""

    host: str
    port: int
    authorization: bytes = dataclasses.field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Return the proxy at an address like http://user:password@proxy.example:3128."""
        parsed = httpx.URL(url)
        login = parsed.userinfo and f"{parsed.username}:{parsed.password}".encode()
        authorization = b"Basic " + base64.b64encode(login) if login else b""
        return cls(parsed.raw_host.decode("ascii"), parsed.port or 80, authorization)

    def __str__(self) -> str:
        """Return host and port."""
        return _authority(self.host, self.port)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """The way to one origin: `ssl_context` is None for plain http, `proxy` for a direct connection.

    A host is written in ASCII, as in a URL, also that of a proxy.
    """

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    proxy: Proxy | None = None


class Connection(httpx.AsyncBaseTransport):
    """Sends one request at a time to one origin, and reconnects if the connection cannot be used again."""

    def __init__(self, route: Route) -> None:
        """Connect nothing yet."""
        self._route = route
        self._link: _Link | None = None
        self._exchange: http11.Exchange | None = None
        self._expires = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Only after a reply that was read to its end is the connection used for another one."""
        request.extensions[CONNECTING] = True
        link = await self._usable_link()
        del request.extensions[CONNECTING]
        may_send: Callable[[], bool] | None = request.extensions.get(MAY_SEND)
        if may_send is not None and not may_send():
            raise NotSent("the permit to send ended while the connection was made", code="permit_ended")
        # A parser of its own for each request: one that keeps what follows a reply would take it for the reply to the
        # next request, which may be a write.
        self._exchange = http11.Exchange(link.stream)
        reply = await self._exchange.send(request.method, request.url.raw_path, request.headers.raw, request.content)
        self._expires = anyio.current_time() + KEEPALIVE_SECONDS
        return httpx.Response(reply.status_code, headers=reply.headers.raw_items(), stream=self._exchange)

    async def aclose(self) -> None:
        """Close the connection."""
        link, self._link, self._exchange = self._link, None, None
        if link is not None:
            await link.socket.aclose()

    async def _usable_link(self) -> "_Link":
        if self._link is not None:
            ended = self._exchange is not None and self._exchange.ended
            if ended and anyio.current_time() < self._expires and not self._link.has_unread():
                return self._link
            await self.aclose()
        self._link = await self._connect()
        return self._link

    async def _connect(self) -> "_Link":
        route = self._route
        socket = await _tcp(route.host, route.port) if route.proxy is None else await self._reach(route.proxy)
        try:
            if route.proxy is not None:
                await self._tunnel(socket, route.proxy)
            return await self._secure(socket, route.ssl_context) if route.ssl_context else _Link(socket, socket)
        except BaseException:
            await socket.aclose()
            raise

    async def _secure(self, socket: "_Socket", context: ssl.SSLContext) -> "_Link":
        host = self._route.host
        try:
            stream = await tls.TLSStream.wrap(socket, hostname=host, ssl_context=context, standard_compatible=False)
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            raise NotSent(
                f"no secure connection to {host} could be made ({_tls_reason(error)})",
                code="tls_failed",
                remedy=_TLS_REMEDY,
            ) from None
        return _Link(socket, stream, stream.extra(tls.TLSAttribute.ssl_object))  # noqa: S610 - no Django here

    async def _reach(self, proxy: Proxy) -> "_Socket":
        try:
            return await _tcp(proxy.host, proxy.port)
        except httpx.ConnectError as error:
            raise _proxy_error(f"the proxy {proxy} cannot be reached ({error})") from None

    async def _tunnel(self, socket: "_Socket", proxy: Proxy) -> None:
        """Have the proxy connect to the origin. What is sent here is all that the proxy can read."""
        target = _authority(self._route.host, self._route.port).encode("ascii")
        headers = [(b"Host", target)]
        if proxy.authorization:
            headers.append((b"Proxy-Authorization", proxy.authorization))
        try:
            reply = await http11.Exchange(socket).send("CONNECT", target, headers)
        except (httpx.HTTPError, OSError):
            raise _proxy_error(f"the proxy {proxy} closed the connection, or its reply was not HTTP") from None
        if reply.status_code == 407:
            raise _proxy_error(f"the proxy {proxy} requires a valid user and password (407)", _PROXY_LOGIN_REMEDY)
        if not 200 <= reply.status_code < 300:
            raise _proxy_error(f"the proxy {proxy} refused to connect to {self._route.host} ({reply.status_code})")


class _Socket(anyio.abc.ByteStream):
    """A TCP connection whose `receive` returns everything that has arrived, unless the caller sets a limit.

    anyio's own stream keeps what exceeds 64 KiB in a buffer, which `is_readable` cannot see.
    """

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._readable = select.poll()
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
        self._readable.register(raw.fileno(), select.POLLIN)

    @property
    def is_readable(self) -> bool:
        return bool(self._readable.poll(0))

    async def receive(self, max_bytes: int = _MORE_THAN_ARRIVES) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@dataclasses.dataclass(frozen=True, slots=True)
class _Link:
    """An open way to the origin: `stream` is the socket itself, or TLS over it."""

    socket: _Socket
    stream: anyio.abc.ByteStream
    ssl_object: ssl.SSLObject | None = None

    def has_unread(self) -> bool:
        """Return whether bytes, or the end, came after the last reply: to the socket, or already into TLS."""
        if self.socket.is_readable:
            return True
        if self.ssl_object is None:
            return False
        try:
            self.ssl_object.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            return True
        return True


async def _tcp(host: str, port: int) -> _Socket:
    try:
        return _Socket(await anyio.connect_tcp(host, port))
    except (anyio.BrokenResourceError, OSError) as error:
        raise httpx.ConnectError(str(error)) from None


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls_reason(error: Exception) -> str:
    """Return why TLS failed, in OpenSSL's words: they contain nothing that was sent."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or "TLS error").replace("_", " ").lower()
    return "the connection was closed during the TLS handshake"


def _proxy_error(message: str, remedy: str = _PROXY_REMEDY) -> NotSent:
    return NotSent(message, code="proxy_failed", remedy=remedy)
