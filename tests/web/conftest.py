"""An app in process, and a client that speaks ASGI to it."""

import contextlib
import html
import re
from collections.abc import AsyncIterator

import httpx

from tests.web import doubles
from worker.core.model.secret import Secret
from worker.web import app, metrics, security

BASE = "http://127.0.0.1:8080"


@contextlib.asynccontextmanager
async def asking(
    service: doubles.Service,
    *,
    token: str | None = doubles.TOKEN,
    hosts: tuple[str, ...] = (),
    locked: bool = False,
    anonymous_read: bool = True,
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service's app."""
    secret = Secret(token) if token else None
    made = app.create(service, metrics.Metrics(), security.Access(secret, frozenset(hosts), locked, anonymous_read))
    transport = httpx.ASGITransport(made, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


BEARER = {"Authorization": f"Bearer {doubles.TOKEN}"}


def plain(page: str) -> str:
    """Return the text of a page as a reader sees it."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|head|header).*?</\1>", " ", page, flags=re.DOTALL))
    return " ".join(html.unescape(text).split())


async def read(service: doubles.Service, path: str = "/", *, expect: int = 200) -> str:
    """Return a page of the service."""
    async with asking(service) as client:
        answer = await client.get(path)
    assert answer.status_code == expect
    return answer.text
