"""Fixtures for the client: a transport over fake connections, and every text of an exception."""

import ssl
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx

from tests.support import clocks
from worker.charge import client, transport
from worker.core.model.secret import Secret

KEY = "ch_sk_test_51secretsecretsecret"
BASE = "https://charge.test/v1"
DIRECT = transport.Network(connections=4, ssl_context=ssl.create_default_context())
"""Real connections."""

Handler = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[Any, Any, httpx.Response]]


def exchange(
    handler: Handler | None = None,
    *,
    make: Callable[[], httpx.AsyncBaseTransport] | None = None,
    base_url: str = BASE,
    timeout: float = 5.0,
    connections: int = 4,
    network: transport.Network | None = None,
) -> transport.Transport:
    """Make an exchange whose connections are answered by `handler`, or made by `make`, or real with `network`."""

    def answered() -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(handler or (lambda request: httpx.Response(200, json={})))

    return transport.Transport(
        transport.Endpoint(base_url, "2026-03-01", "fleet-sync/test", timeout),
        key=Secret(KEY),
        network=network or transport.Network(connections),
        make=None if network else make or answered,
    )


def client_of(handler: Handler, *, page_size: int = 100) -> client.Client:
    """Make a client whose requests are answered by `handler`."""
    return client.Client(http=exchange(handler), clock=clocks.Still(), page_size=page_size)


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Yield every text of an exception, its causes, its contexts and their attributes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        error = error.__cause__ or error.__context__
