"""Security headers, the check of host names, and the check of the token.

Invariant: a browser loads, frames and sends content of this origin only, and stores nothing. Neighbours: `app` wraps
every response in `SecurityMiddleware`; `actions` checks the token.
"""

import dataclasses
import hmac
import re
from collections.abc import Collection, Mapping
from typing import Final

from starlette import datastructures, requests, responses, types

from worker.core.model.secret import Secret

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Readers of pages, and the token that people sign in with; without one, nothing can be changed.

    `hosts` are the only host names that are answered; empty: any. `locked` hides the pages from everybody, and without
    `anonymous_read` they are shown to those only who signed in or send the token.
    """

    token: Secret | None = None
    hosts: frozenset[str] = frozenset()
    locked: bool = False
    anonymous_read: bool = True


OPEN: Final = Access()
"""Everyone may read, and nothing can be changed."""


_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)
"""A host name or address, and perhaps a port. Anything else, such as `localhost:80@evil.com`, is refused."""


class SecurityMiddleware:
    """Adds the headers; with `hosts`, refuses requests for other host names, which stops DNS rebinding."""

    def __init__(self, app: types.ASGIApp, hosts: Collection[str] = ()) -> None:
        """Wrap the app. `hosts` are lower-case names without a port; empty: every name is accepted."""
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Answer as the app does, and add the headers that it did not set."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: types.Message) -> None:
            if message["type"] == "http.response.start":
                headers = datastructures.MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if self._hosts and _host_name(datastructures.Headers(scope=scope)) not in self._hosts:
            refusal = responses.PlainTextResponse("This host name is not served here.\n", 421)
            await refusal(scope, receive, send_secured)
            return
        await self._app(scope, receive, send_secured)


def is_cross_site(request: requests.Request) -> bool:
    """Return whether the browser says that another site's page made the request.

    `Origin: null` proves nothing: our own forms send it too, because of `Referrer-Policy: no-referrer`.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin", "null")
    return origin != "null" and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()


def bearer_token(request: requests.Request) -> str | None:
    """Return the bearer token of the request, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def token_matches(token: str | None, expected: Secret) -> bool:
    """Return whether it is the expected token, in constant time."""
    return token is not None and hmac.compare_digest(token.encode(errors="replace"), expected.reveal().encode())


def _host_name(headers: datastructures.Headers) -> str | None:
    """Return the name in the `Host` header, in lower case, or None unless the whole header is a name and a port."""
    found = _HOST.fullmatch(headers.get("host", "").lower())
    return (found["ipv6"] or found["name"]) if found else None
