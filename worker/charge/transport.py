"""Moves one request to Charge and its answer back. The only module that talks HTTP with Charge.

Invariants: the key goes to the origin of `base_url` and nowhere else: foreign addresses are refused before anything is
sent, redirects are never followed, the environment's proxies never asked; every exchange ends by its deadline, and no
body is larger than the bound. Neighbours: `client` says what to send, `wire` reads what comes back;
`notices.webhook` is the only other module that imports httpx, and has no key.

The pool is our own: httpcore 1.0.9 looks through its whole pool at every request, which with 32 connections costs
three times the CPU of one, and a request that is cancelled while it queues there spoils the pool for good. So every
connection is a transport of its own, kept on a stack behind a limiter; a broken one is thrown away.
"""

import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import certifi
import httpx

from worker.core.model.errors import ForeignOrigin, NotSent, Unreachable
from worker.core.model.secret import Secret

MOST_BYTES = 8 * 1024 * 1024
"""The largest body that is read. A page of 100 drivers takes some 90 KB."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionPool(httpx.AsyncBaseTransport):
    """At most `size` connections to one origin, the one used last first."""

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], *, size: int) -> None:
        """Take a way to make a transport of one connection."""
        self._make = make
        self._idle: list[httpx.AsyncBaseTransport] = []
        self._limiter = anyio.CapacityLimiter(size)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        """Lend a connection; it comes back only if nothing went wrong with it."""
        async with self._limiter:
            transport = self._idle.pop() if self._idle else self._make()
            try:
                yield transport
            except BaseException:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await transport.aclose()
                raise
            self._idle.append(transport)

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().aclose()


class Transport:
    """Exchanges with one origin, under one key."""

    def __init__(
        self,
        *,
        base_url: str,
        key: Secret,
        api_version: str,
        user_agent: str,
        timeout: float,
        connections: int,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        """Take where to send and as whom. `timeout` is the deadline of a whole exchange, in seconds.

        `transport` makes the transport of one connection, in place of the network's.
        """
        self._base = httpx.URL(base_url)
        self._base_text = base_url
        self._timeout = timeout
        self._phases = httpx.Timeout(timeout).as_dict()
        self._pool = ConnectionPool(transport or _network(self._base), size=connections)
        self._key = key.reveal().encode("ascii")
        self._headers = {
            "Host": self._base.netloc.decode("ascii"),
            "Authorization": f"Bearer {key.reveal()}",
            "Charge-Version": api_version,
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }

    async def exchange(
        self, method: str, url: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        `url` is a path below `base_url`, or an absolute address on its origin. Raises errors.Distrusted for any other
        address (nothing is sent), errors.Unreachable where no whole answer came in time.
        """
        request = httpx.Request(
            method,
            # A path of ours cannot leave the origin; what Charge named may.
            self._base_text + url if url.startswith("/") else self.trusted(url),
            headers={**self._headers, **(headers or {})},
            content=content,
            extensions={"timeout": self._phases},
        )
        try:
            async with self._pool.connection() as connection:  # the wait for one is not part of the exchange
                with anyio.fail_after(self._timeout):
                    return await self._answer(await connection.handle_async_request(request))
        except TimeoutError:
            raise Unreachable(f"no whole answer within {self._timeout:g} s", code="timeout") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = f"{error}" if isinstance(error, httpx.ConnectError) else "it took too long"
            raise NotSent(f"no connection to {self._base.host} could be made ({reason})") from None
        except (httpx.HTTPError, OSError) as error:  # httpcore lets some of TLS's errors through as they are
            raise Unreachable(_described(error), code="connection_failed") from None

    def trusted(self, url: str) -> str:
        """Give an address that Charge named in full. Raises errors.Distrusted where it leads to another origin."""
        try:
            address = httpx.URL(url)
            absolute = address.is_absolute_url
            address = address if absolute else self._base.join(url)
            ours = _origin(address) == _origin(self._base) and not address.userinfo
        except (httpx.InvalidURL, ValueError):  # also where a host is no name in any alphabet
            raise ForeignOrigin("Charge named an address that is none; it was not followed") from None
        if not ours:
            raise ForeignOrigin("Charge named an address on a foreign origin; it was not followed")
        return url if absolute else str(address)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _answer(self, response: httpx.Response) -> Answer:
        """Read the whole body as it came, up to the bound. A server that quotes the key is not quoted further."""
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise Unreachable("the answer cannot be read", code="answer_unreadable")
        chunks, size = [], 0
        try:
            async for chunk in stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise Unreachable(f"the answer is larger than {MOST_BYTES} bytes", code="answer_too_large")
                chunks.append(chunk)
        finally:
            await response.aclose()
        body = b"".join(chunks).replace(self._key, b"[the key]")
        return Answer(response.status_code, response.headers, body)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _network(base: httpx.URL) -> Callable[[], httpx.AsyncBaseTransport]:
    """Give a maker of real connections, which share one TLS context: to load the certificates takes 20 ms."""
    if base.scheme == "https":
        context = ssl.create_default_context(cafile=certifi.where())
        context.load_default_certs()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30)
    return lambda: httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, retries=0)


def _described(error: httpx.HTTPError | OSError) -> str:
    """Describe a failure in our own words where we can: what a library says may quote what was sent."""
    match error:
        case httpx.TimeoutException():
            return "the connection went silent"
        case httpx.RemoteProtocolError():
            return "the answer broke off, or was no HTTP"
        case _:
            return f"the connection failed ({type(error).__name__})"
