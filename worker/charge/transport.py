"""Sends one request to Charge and returns the reply. With `connection` the only module that talks HTTP with Charge.

Invariants: the key goes to the origin of `base_url` and nowhere else: an address on another origin is refused before
anything is sent, redirects are not followed, and the environment's proxies are not used. Every exchange ends by its
deadline, and no body is larger than the limit. Neighbours: `client` decides what to send, `codec` reads the replies.
"""

import dataclasses
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import anyio
import httpx

from worker.charge import connection
from worker.core.model.errors import ForeignOrigin, NotSent, Unreachable
from worker.core.model.secret import Secret

MAX_BODY_BYTES = 8 * 1024 * 1024
"""The largest body that is read. A page of 100 drivers takes about 90 KB."""

_LONGEST_PLAIN_URL = 2_000

_ENCODED_REMEDY = (
    "Charge was asked for a reply without compression. Check that no proxy or gateway on the way compresses replies."
)

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send requests, and as what: `timeout` is the deadline of a whole exchange, in seconds."""

    base_url: str
    api_version: str
    user_agent: str
    timeout: float


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """How connections are made, whichever the origin.

    `ssl_context` is needed for https only. `ignored_proxies` are the proxy variables that the environment sets: they
    are not used, but errors mention them.
    """

    connections: int
    ssl_context: ssl.SSLContext | None = None
    proxy: connection.Proxy | None = None
    ignored_proxies: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers (names compare without case) and the whole body of a reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionPool:
    """At most `size` connections, the one that was used last first, so that the others grow old and are dropped.

    httpcore's own pool scans all its connections at every request, and does not recover from a request that is
    cancelled while it waits there.
    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], *, size: int) -> None:
        """Start without connections; `make` returns a transport of one connection."""
        self._make = make
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._limiter = anyio.CapacityLimiter(size)

    async def use(self, work: Callable[[httpx.AsyncBaseTransport], Awaitable[Result]]) -> Result:
        """Do some work on a connection. It is kept only if that ends without an exception, cancellation included."""
        try:
            self._limiter.acquire_nowait()  # a free turn is taken at once, without a turn of the event loop
        except anyio.WouldBlock:
            await self._limiter.acquire()
        try:
            lent = self._idle.pop() if self._idle else self._make()
            try:
                result = await work(lent)
            except BaseException:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await lent.aclose()
                raise
            self._idle.append(lent)
            return result
        finally:
            self._limiter.release()

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().aclose()


class Transport:
    """Exchanges requests and replies with one origin, under one key."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        key: Secret,
        network: Network,
        make: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        """Connect nothing yet. `make` returns a transport of one connection to use in place of the network's."""
        self._base = httpx.URL(endpoint.base_url)
        self._host = self._base.raw_host.decode("ascii")
        self._prefix = f"{self._base.scheme}://{self._base.netloc.decode('ascii')}/"
        self._endpoint = endpoint
        self._network = network
        self._pool = ConnectionPool(make or self._connection, size=network.connections)
        self._headers = {
            b"Host": self._base.netloc,
            b"Charge-Version": endpoint.api_version.encode("ascii"),
            b"User-Agent": endpoint.user_agent.encode("ascii"),
            b"Accept": b"application/json",
            b"Accept-Encoding": b"identity",
        }
        self.use_key(key)

    def use_key(self, key: Secret) -> None:
        """Authorize further requests with this key."""
        self.key = key
        self._headers[b"Authorization"] = b"Bearer " + key.reveal().encode("ascii")

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> Reply:
        """Send one request once, and return its whole reply, whatever its status.

        `url` is a path below `base_url`, or an absolute address on its origin. `may_send` is asked once there is a
        connection. Raises errors.ForeignOrigin for any other address, and errors.NotSent if `may_send` says no, before
        anything is sent; errors.Unreachable if no complete reply came in time.
        """
        # Our own paths cannot leave the origin; what Charge named can.
        address = self._endpoint.base_url + url if url.startswith("/") else self.trusted(url)
        request = self._request(method, address, content, headers or {})
        if may_send is not None:
            request.extensions[connection.MAY_SEND] = may_send
        key, timeout = self.key, self._endpoint.timeout

        async def ask(lent: httpx.AsyncBaseTransport) -> Reply:
            with anyio.fail_after(timeout):  # waiting for a connection does not count
                return await self._read(await lent.handle_async_request(request), key)

        try:
            return await self._pool.use(ask)
        except TimeoutError:
            if connection.CONNECTING in request.extensions:
                raise self._not_connected(f"it took longer than {timeout:g} s") from None
            raise Unreachable(
                f"no complete reply within {timeout:g} s", code="timeout", remedy=self._remedy()
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = f"{error}" if isinstance(error, httpx.ConnectError) else "it took too long"
            raise self._not_connected(reason) from None
        except (httpx.HTTPError, OSError) as error:  # OSError: some errors of TLS pass through the layers below
            raise Unreachable(_description(error), code="connection_failed") from None

    def trusted(self, url: str) -> str:
        """Return an address that Charge named, in full. Raises errors.ForeignOrigin if it is on another origin."""
        if url.startswith(self._prefix) and url.isascii() and url.isprintable() and len(url) <= _LONGEST_PLAIN_URL:
            return url  # the authority ends at the slash, so there is no need to parse the address
        try:
            address = httpx.URL(url)
            absolute = address.is_absolute_url
            address = address if absolute else self._base.join(url)
            ours = _origin(address) == _origin(self._base) and not address.userinfo
        except (httpx.InvalidURL, ValueError):  # also a host that is not a valid name in any alphabet
            raise ForeignOrigin("Charge named an address that is not valid; it was not followed") from None
        if not ours:
            raise ForeignOrigin("Charge named an address on another origin; it was not followed")
        return url if absolute else str(address)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    def _request(self, method: str, address: str, content: bytes, headers: Mapping[str, str]) -> httpx.Request:
        """Return a request with all its headers: to have httpx find out the rest takes half as long again."""
        own = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        if content or method == "POST":
            own.append((b"Content-Length", b"%d" % len(content)))
        every = [*self._headers.items(), *own]
        request = httpx.Request(method, address, headers=every, stream=httpx.ByteStream(content))
        request.read()  # from the stream into `content`
        return request

    async def _read(self, response: httpx.Response, key: Secret) -> Reply:
        """Read the body up to the limit. A key that the server quotes is removed."""
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise Unreachable("the reply cannot be read", code="answer_unreadable")
        body = bytearray()  # not a list of the parts: a server may send millions of them
        try:
            if (encoding := response.headers.get("content-encoding", "identity").strip().lower()) != "identity":
                message = f"the reply is compressed ({encoding[:20]!r}), although that was not asked for"
                raise Unreachable(message, code="answer_encoded", remedy=_ENCODED_REMEDY)
            async for part in stream:
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise Unreachable(f"the reply is larger than {MAX_BODY_BYTES} bytes", code="answer_too_large")
        finally:
            await response.aclose()
        shown = bytes(body).replace(key.reveal().encode("ascii"), b"[the key]")
        return Reply(response.status_code, response.headers, shown)

    def _connection(self) -> connection.Connection:
        secure = self._base.scheme == "https"
        port = self._base.port or (443 if secure else 80)
        context = self._network.ssl_context if secure else None
        if secure and context is None:
            raise ValueError("an https address needs an SSL context")
        return connection.Connection(connection.Route(self._host, port, context, self._network.proxy))

    def _not_connected(self, reason: str) -> NotSent:
        return NotSent(f"no connection to {self._host} could be made ({reason})", remedy=self._remedy())

    def _remedy(self) -> str:
        """Return the remedy for a connection that fails: the default one, unless the environment names a proxy."""
        if not self._network.ignored_proxies or self._network.proxy:
            return ""
        names = ", ".join(self._network.ignored_proxies)
        return (
            f"{Unreachable.remedy} fleet-sync ignores {names} in the environment: to reach Charge through a proxy, set "
            "`charge.proxy_url`."
        )


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _description(error: httpx.HTTPError | OSError) -> str:
    """Describe a failure in our own words: a library's message may quote what was sent."""
    match error:
        case httpx.TimeoutException():
            return "the connection went silent"
        case httpx.RemoteProtocolError():
            return "the reply broke off, or was not HTTP"
        case _:
            return f"the connection failed ({type(error).__name__})"
