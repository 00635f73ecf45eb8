"""What every answer carries so that a browser does nothing with it that we did not mean, and whom we answer at all.

Invariant: nothing is loaded, framed or sent anywhere but from and to this very origin, and nothing is kept. Neighbours:
`app` puts this around everything; `orders` asks for the token.
"""

import hmac
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


class SecurityMiddleware:
    """Middleware that adds the headers; with `hosts` it answers no request under another name (DNS rebinding)."""

    def __init__(self, app: types.ASGIApp, hosts: Collection[str] = ()) -> None:
        """Wrap the app. `hosts` are names without a port, in lower case; none at all means: any."""
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Answer as the app does, and add what is missing."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def armoured(message: types.Message) -> None:
            if message["type"] == "http.response.start":
                headers = datastructures.MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = datastructures.Headers(scope=scope).get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            refusal = responses.PlainTextResponse("This is not served under that name.\n", 421)
            await refusal(scope, receive, armoured)
            return
        await self._app(scope, receive, armoured)


def is_foreign_host(request: requests.Request) -> bool:
    """Tell whether the browser says that another site made the request.

    `Origin: null` says nothing: so do our own forms, because of `Referrer-Policy: no-referrer`.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin", "null")
    return origin != "null" and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()


def bearer_token(request: requests.Request) -> str | None:
    """Give the bearer token of the request, or None where it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def token_matches(token: str | None, wanted: Secret) -> bool:
    """Tell whether it is the token, in a time that says nothing of how much of it fits."""
    return token is not None and hmac.compare_digest(token.encode(errors="replace"), wanted.reveal().encode())


def _name(host: str) -> str:
    return host.lower().rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.lower().partition(":")[0]
