"""Fetches a document from an http or https address.

Invariants: nothing is sent to another origin, redirects to one are not followed, and every exchange ends by its
deadline. Neighbours: `http_body` reads replies, `http_login` the secrets; `service.source_factory` makes the transport.
"""

import contextlib
import dataclasses
import datetime
import email.utils
import functools
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from urllib import parse

import anyio
import httpx

from worker.core.model.errors import SourceError
from worker.sources import fetching, http_body, http_login

_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """What is fetched, and how.

    `timeout` is the deadline of one request in seconds. `manifest` is the address of a file beside the document:
    `{path}` in it is replaced by the document's path. `transport` makes what requests are sent with, see `connecting`.
    """

    url: str = dataclasses.field(repr=False)
    transport: Callable[[], httpx.AsyncBaseTransport]
    user_agent: str
    timeout: float = 60.0
    login: http_login.Login = dataclasses.field(default_factory=http_login.Login)
    manifest: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Version:
    """One version of a resource: its content, and the headers that ask whether it is still current.

    These are valid only for `url`, where the last redirect led: at another address the same ETag may mean anything.
    """

    conditions: Mapping[str, str]
    url: httpx.URL
    document: fetching.Document


def connecting(ssl_context: ssl.SSLContext | None, *, proxy: str = "") -> Callable[[], httpx.AsyncBaseTransport]:
    """Return a function that makes transports. The context is needed for https only, the proxy is one for CONNECT.

    Proxy variables in the environment are ignored.
    """
    # Without a context, httpx would load all authorities for each transport.
    verify = ssl_context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return functools.partial(httpx.AsyncHTTPTransport, verify=verify, proxy=proxy or None, trust_env=False)


class HttpFetcher:
    """Implements fetching.Fetcher for one address, and for its manifest."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        """Connect nothing yet. Places begin with `name`."""
        self.endpoint = endpoint
        self._document = _Resource(endpoint, endpoint.url, name)
        self._manifest: _Resource | None = None
        if endpoint.manifest:
            beside = endpoint.manifest.replace("{path}", parse.urlsplit(endpoint.url).path)
            self._manifest = _Resource(endpoint, parse.urljoin(endpoint.url, beside), f"{name} (its manifest)")

    async def fetch(self) -> fetching.Fetched:
        """Fetch the document, unless the server says that it is still the version that was fetched before."""
        document = await self._document.fetch()
        if self._manifest:
            manifest = await self._manifest.fetch()
            document = dataclasses.replace(document, manifest=manifest.data)
        return fetching.Fetched((document,), proof="length")

    async def peek(self) -> str | None:
        """Return what identifies the current version, or None if the server sends neither ETag nor Last-Modified."""
        revisions = [await resource.peek() for resource in (self._document, self._manifest) if resource]
        return None if None in revisions else "\n".join(map(str, revisions))


class _Resource:
    """One address, and the version of it that was fetched last."""

    def __init__(self, endpoint: Endpoint, url: str, name: str) -> None:
        self._endpoint = endpoint
        self._url = httpx.URL(url)
        self._name = name
        self._last: _Version | None = None

    async def fetch(self) -> fetching.Document:
        while True:
            async with self._answered() as (response, url):
                if self._last is None or response.status_code != 304:
                    self._last = await self._version(response, url)
                    return self._last.document
                if _is_about(self._last, response.headers):
                    self._last = _confirmed(self._last, response.headers)
                    return self._last.document
            self._last = None  # the 304 is about another version: ask without conditions, which cannot end in a 304

    async def peek(self) -> str | None:
        """Return the revision. Only the head of a reply is read, and no request is made if the server sends none.

        The target of a redirect is not part of it, because some servers generate a new address for each request.
        """
        if self._last and not self._last.conditions:
            return None
        async with self._answered() as (response, _):
            is_known = self._last and response.status_code == 304 and _is_about(self._last, response.headers)
            conditions = self._last.conditions if self._last and is_known else _conditions(response.headers)
        return repr(sorted(conditions.items())) if conditions else None

    async def _version(self, response: httpx.Response, url: httpx.URL) -> _Version:
        document = fetching.Document(
            self._name,
            await http_body.read(response, self._name),
            suffix=pathlib.PurePosixPath(self._url.path).suffix.lower(),
            media_type=response.headers.get("content-type", ""),
            modified=_time(response.headers.get("last-modified", "")),
        )
        return _Version(_conditions(response.headers), url, document)

    @contextlib.asynccontextmanager
    async def _answered(self) -> AsyncIterator[tuple[httpx.Response, httpx.URL]]:
        """Send a request; yield a 200 or 304 reply and its address. Raises errors.SourceError for anything else."""
        headers = await self._endpoint.login.headers(self._name)
        transport = self._endpoint.transport()
        begun = False
        try:
            with anyio.fail_after(self._endpoint.timeout):
                response, url = await self._send(transport, headers)
                async with contextlib.aclosing(response):
                    begun = True
                    yield response, url
        except TimeoutError:
            message = f"no complete reply within timeout_seconds = {self._endpoint.timeout:g}"
            raise fetching.failure(self._name, message, code="source_timeout") from None
        except (httpx.HTTPError, OSError) as error:
            if begun:
                raise fetching.failure(self._name, http_body.CUT_SHORT, code="source_incomplete") from None
            raise self._unreachable(_reason(error)) from None
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await transport.aclose()

    async def _send(
        self, transport: httpx.AsyncBaseTransport, login: Mapping[str, str]
    ) -> tuple[httpx.Response, httpx.URL]:
        """Send the request, and follow redirects within the origin."""
        headers = {"user-agent": self._endpoint.user_agent, "accept": "*/*", **login, "accept-encoding": "gzip"}
        url = self._url
        for _ in range(_MAX_REDIRECTS):
            conditions = self._last.conditions if self._last and self._last.url == url else {}
            request = httpx.Request("GET", url, headers={**headers, **conditions})
            response = await transport.handle_async_request(request)
            if response.status_code not in _REDIRECTS:
                self._check(response, may_be_unchanged=bool(conditions))
                return response, url
            await response.aclose()
            url = self._redirected(url, response.headers.get("location", ""))
        raise self._unreachable("the address redirects again and again")

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        if not location:
            raise self._unreachable("the server redirects, but does not say where to")
        try:
            target = url.join(location)
            ours = _origin(target) == _origin(self._url) and not target.userinfo
        except (httpx.InvalidURL, ValueError):
            raise self._unreachable("the server redirects to an address that is not valid") from None
        if not ours:
            origin = f"{target.scheme}://{target.host}{'' if target.port is None else f':{target.port}'}"
            message = f"the server redirects to {origin}, which was not followed: it may be "
            raise self._unreachable(f"{message}a login page; otherwise write that address in the settings")
        return target

    def _check(self, response: httpx.Response, *, may_be_unchanged: bool) -> None:
        """Raise errors.SourceError unless the status is 200, or a 304 that may be, and the reply is not a web page."""
        status = response.status_code
        if status == 304 and may_be_unchanged:
            return
        if status in (401, 403, 407):
            message = f"the server refused access ({status}): check user, password, token or headers"
            raise fetching.failure(self._name, message, code="source_unauthorized")
        if status in (404, 410):
            raise self._unreachable(f"the server has no such document ({status}): correct the address")
        if status == 200 and "content-range" in response.headers:  # as a cache answers that holds only this part
            message = "the server sent only a part of the document: its reply has a Content-Range"
            raise fetching.failure(self._name, message, code="source_incomplete")
        if status != 200 and 200 <= status < 400:
            message = f"the server answered {status} instead of 200 and the whole document"
            raise fetching.failure(self._name, message, code="source_incomplete")
        if status != 200:
            raise self._unreachable(f"the server answered {status}: try again later, or correct the address")
        http_body.check_type(response.headers, self._name)

    def _unreachable(self, message: str) -> SourceError:
        return fetching.failure(self._name, message, code="source_unreachable")


def _conditions(headers: httpx.Headers) -> dict[str, str]:
    """Return the headers that ask for a document only if it differs from the version of this reply.

    Last-Modified is used only if it is before the reply's Date: within the same second, the document may change again
    (RFC 9110, section 8.8.2.2).
    """
    if etag := headers.get("etag"):
        return {"If-None-Match": etag}
    modified, sent = _time(headers.get("last-modified", "")), _time(headers.get("date", ""))
    if modified is not None and sent is not None and modified < sent:
        return {"If-Modified-Since": headers["last-modified"]}
    return {}


def _is_about(version: _Version, headers: httpx.Headers) -> bool:
    """Return whether a 304 is about this version: one from a cache may be about another (RFC 9111, section 4.3.4)."""
    etag, modified = version.conditions.get("If-None-Match"), version.conditions.get("If-Modified-Since")
    if etag:
        return str(headers.get("etag", etag)).removeprefix("W/") == etag.removeprefix("W/")
    return modified is None or _time(headers.get("last-modified", modified)) == _time(modified)


def _confirmed(version: _Version, headers: httpx.Headers) -> _Version:
    """Return the version with the Last-Modified of a 304: a new export may have the same content."""
    if (modified := _time(headers.get("last-modified", ""))) is None:
        return version
    return dataclasses.replace(version, document=dataclasses.replace(version.document, modified=modified))


def _time(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None if it is invalid. Without a time zone it is GMT."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _reason(error: Exception) -> str:
    """Return why there was no reply. The words are those of the operating system, OpenSSL or the proxy's status."""
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refused the connection ({error}): check proxy_url"
    if isinstance(error, httpx.ConnectError):
        return f"no connection could be made ({error}): check the address, and ca_file if the authority is your own"
    return "the server closed the connection without a reply, or its reply is not HTTP"
