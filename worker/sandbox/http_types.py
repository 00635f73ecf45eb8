"""What goes in and out: the values of one HTTP exchange, and their reading from ASGI.

Invariant: no value holds the secret key, only whether the right one came; so nothing recorded can leak it.
Neighbours: `app` makes and sends them, `endpoints` turns a `Request` into an `Answer`, `faults` scripts by `Request`.
"""

import dataclasses
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

PREFIX = "/v1/"
JSON = b"application/json"

LISTS = frozenset({"drivers", "fleets"})
WRITES = frozenset({"attach", "detach"})
ROUTES = {
    ("drivers", 1, ""): "drivers",
    ("drivers", 2, ""): "driver",
    ("drivers", 3, "attach"): "attach",
    ("drivers", 3, "detach"): "detach",
    ("fleets", 1, ""): "fleets",
    ("fleets", 2, ""): "fleet",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it arrived. `time` is `anyio.current_time()` then.

    `route` is `drivers`, `driver`, `attach`, `detach`, `fleets`, `fleet`, or empty for a path that does not exist;
    `subject` the id in the path; `base` the address to build links on, up to and with `/v1`.
    """

    id: str
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    authorized: bool
    key: str | None
    version: str | None
    base: str
    route: str
    subject: str
    time: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a test may know of a request: `status` is `None` where no reply was begun, `fault` what was done to it."""

    method: str
    path: str
    query: Mapping[str, str]
    authorized: bool
    key: str | None
    version: str | None
    time: float
    status: int | None
    fault: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A reply, whole and encoded."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()


async def body(receive: Receive) -> bytes | None:
    """Read the request's body; `None` if the client left meanwhile."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return bytes(message.get("body", b""))
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    return None


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def request(scope: Scope, content: bytes, *, number: int, key: str, now: float) -> Request:
    """Read a request from its ASGI scope; `key` is the secret key that it ought to carry."""
    headers = dict(scope["headers"])
    path: str = scope["path"]
    route, subject = _route(path)
    query = scope["query_string"].decode("latin-1")
    idempotency_key = headers.get(b"idempotency-key", b"").decode("latin-1")
    version = headers.get(b"charge-version")
    return Request(
        id=f"req_{number:032d}",
        method=scope["method"],
        path=path,
        query=dict(urllib.parse.parse_qsl(query, keep_blank_values=True)) if query else {},
        body=content,
        authorized=headers.get(b"authorization") == f"Bearer {key}".encode("latin-1"),
        key=idempotency_key or None,
        version=None if version is None else version.decode("latin-1"),
        base=f"{scope['scheme']}://{headers.get(b'host', b'127.0.0.1').decode('latin-1')}/v1",
        route=route,
        subject=subject,
        time=now,
    )


def record(arrived: Request, *, status: int | None, fault: str | None) -> Record:
    """Keep what a test may know of a request."""
    return Record(
        method=arrived.method,
        path=arrived.path,
        query=arrived.query,
        authorized=arrived.authorized,
        key=arrived.key,
        version=arrived.version,
        time=arrived.time,
        status=status,
        fault=fault,
    )


def _route(path: str) -> tuple[str, str]:
    if not path.startswith(PREFIX):
        return "", ""
    parts = path[len(PREFIX) :].split("/")
    route = ROUTES.get((parts[0], len(parts), parts[2] if len(parts) > 2 else ""), "")
    return route, parts[1] if len(parts) > 1 else ""
