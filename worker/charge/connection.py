"""One connection to Charge: TCP, the tunnel of a proxy if there is one, and TLS; the HTTP in it is httpcore's.

Invariants: bytes that follow a reply are never taken for the next reply; a proxy sees host and port of Charge, and
nothing of what is sent there. A failure before the request is sent is an httpx.ConnectError or errors.NotSent; a later
failure is neither. Whether a request may still be sent is asked once there is a connection, right before its bytes go
out. Neighbours: `transport` keeps a stack of these.
"""

import base64
import contextlib
import dataclasses
import select
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import httpcore
import httpx

from worker.core.model.errors import NotSent

KEEPALIVE_SECONDS = 30.0
"""How long an idle connection may be used again."""

MAY_SEND = "may_send"
"""Extension of a request: a callable that says whether it may be sent. Making a connection may have taken long."""

_BACKEND = httpcore.AnyIOBackend()
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
        return cls(parsed.host, parsed.port or 80, authorization)

    def __str__(self) -> str:
        """Return host and port."""
        return _authority(self.host, self.port)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """The way to one origin: `ssl_context` is None for plain http, `proxy` for a direct connection."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    proxy: Proxy | None = None


class Connection(httpx.AsyncBaseTransport):
    """Sends one request at a time to one origin, and reconnects if the connection cannot be used again."""

    def __init__(self, route: Route) -> None:
        """Connect nothing yet."""
        self._route = route
        scheme = b"https" if route.ssl_context else b"http"
        self._origin = httpcore.Origin(scheme, route.host.encode("ascii"), route.port)
        self._stream: httpcore.AsyncNetworkStream | None = None
        self._http: httpcore.AsyncHTTP11Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the reply's body must be read or closed before the next one."""
        stream = await self._usable_stream()
        # A parser of its own for each request: httpcore's parser keeps what follows a reply, and would take it for
        # the reply to the next request, which may be a write.
        self._http = httpcore.AsyncHTTP11Connection(self._origin, stream, keepalive_expiry=KEEPALIVE_SECONDS)
        with _translated():
            content = _content(request)
            reply = await self._http.handle_async_request(
                httpcore.Request(request.method, _url(request.url), headers=request.headers.raw, content=content)
            )
        if reply.status == 101:
            raise httpx.RemoteProtocolError("the server switched to another protocol")
        return httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply))

    async def aclose(self) -> None:
        """Close the connection."""
        self._http = None
        if stream := self._stream:
            self._stream = None
            await stream.aclose()

    async def _usable_stream(self) -> httpcore.AsyncNetworkStream:
        if self._stream is not None:
            if self._http and self._http.is_idle() and not self._http.has_expired() and not _has_unread(self._stream):
                return self._stream
            await self.aclose()
        self._stream = await self._connect()
        return self._stream

    async def _connect(self) -> httpcore.AsyncNetworkStream:
        route = self._route
        stream = await self._connect_through(route.proxy) if route.proxy else await _tcp(route.host, route.port)
        if not route.ssl_context:
            return stream
        try:
            return await stream.start_tls(route.ssl_context, server_hostname=route.host)
        except (httpcore.ConnectError, OSError) as error:
            await stream.aclose()
            raise NotSent(
                f"no secure connection to {route.host} could be made ({_tls_reason(error)})",
                code="tls_failed",
                remedy=_TLS_REMEDY,
            ) from None

    async def _connect_through(self, proxy: Proxy) -> httpcore.AsyncNetworkStream:
        try:
            stream = await _tcp(proxy.host, proxy.port)
        except httpx.ConnectError as error:
            raise _proxy_error(f"the proxy {proxy} cannot be reached ({error})") from None
        try:
            return await self._tunnel(stream, proxy)
        except BaseException:
            await stream.aclose()
            raise

    async def _tunnel(self, stream: httpcore.AsyncNetworkStream, proxy: Proxy) -> httpcore.AsyncNetworkStream:
        """Have the proxy connect to the origin. What is sent here is all that the proxy can read."""
        target = _authority(self._route.host, self._route.port).encode("ascii")
        headers = [(b"Host", target)]
        if proxy.authorization:
            headers.append((b"Proxy-Authorization", proxy.authorization))
        url = httpcore.URL(scheme=b"http", host=proxy.host.encode("ascii"), port=proxy.port, target=target)
        tunnel = httpcore.AsyncHTTP11Connection(url.origin, stream)
        try:
            with _translated():
                reply = await tunnel.handle_async_request(httpcore.Request("CONNECT", url, headers=headers))
        except (httpx.HTTPError, OSError):
            raise _proxy_error(f"the proxy {proxy} closed the connection, or its reply was not HTTP") from None
        if reply.status == 407:
            raise _proxy_error(f"the proxy {proxy} requires a valid user and password (407)", _PROXY_LOGIN_REMEDY)
        if not 200 <= reply.status < 300:
            raise _proxy_error(f"the proxy {proxy} refused to connect to {self._route.host} ({reply.status})")
        return cast("httpcore.AsyncNetworkStream", reply.extensions["network_stream"])


class _Stream(httpcore.AsyncNetworkStream):
    """A stream that sends a request in one piece, when its reply is read: each write costs a system call.

    The deadline of the exchange is the only timeout.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unsent = b""
        self._ssl_object = stream.get_extra_info("ssl_object")
        self._readable = select.poll()
        self._readable.register(stream.get_extra_info("socket").fileno(), select.POLLIN)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        self._unsent += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        if unsent := self._unsent:
            self._unsent = b""
            # As httpcore does: a server may reply, and close the connection, before it has read everything.
            with contextlib.suppress(httpcore.WriteError):
                await self._stream.write(unsent)
        return await self._stream.read(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname))

    def get_extra_info(self, info: str) -> object:
        if info == "is_readable":
            return bool(self._readable.poll(0))
        return self._ssl_object if info == "ssl_object" else None


class _Body(httpx.AsyncByteStream):
    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._reply.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._reply.aclose()


def _content(request: httpx.Request) -> bytes | AsyncIterator[bytes]:
    may_send: Callable[[], bool] | None = request.extensions.get(MAY_SEND)
    return request.content if may_send is None else _unless_too_late(request.content, may_send)


async def _unless_too_late(content: bytes, may_send: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the content, for which httpcore asks before a byte of the request is written: `_Stream` keeps its head."""
    if not may_send():
        raise NotSent("the permit to send ended while the connection was made", code="permit_ended")
    yield content


async def _tcp(host: str, port: int) -> httpcore.AsyncNetworkStream:
    try:
        return _Stream(await _BACKEND.connect_tcp(host, port))
    except (httpcore.ConnectError, OSError) as error:
        raise httpx.ConnectError(str(error)) from None


def _has_unread(stream: httpcore.AsyncNetworkStream) -> bool:
    """Return whether bytes, or the end, came after the last reply. httpcore looks at the socket, not into TLS."""
    ssl_object = stream.get_extra_info("ssl_object")
    if ssl_object is None:
        return False
    try:
        ssl_object.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise httpcore's errors as httpx's."""
    try:
        yield
    except httpcore.NetworkError:
        raise httpx.ReadError("the connection broke") from None
    except httpcore.ProtocolError:
        raise httpx.RemoteProtocolError("not HTTP, or cut short") from None


def _url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


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
