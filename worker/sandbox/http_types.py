"""The requests and answers of the sandbox, and their conversion from ASGI.

Invariant: no value contains the secret key, only whether it was correct, so that a recording cannot leak it.
Neighbours: `app` builds and sends them, `endpoints` turns a `Request` into an `Answer`, and scripts of `faults` receive
a `Request`.
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
    """A request as it arrived. `time` is the value of `anyio.current_time()` at its arrival.

    `route` is `drivers`, `driver`, `attach`, `detach`, `fleets` or `fleet`, and empty for an unknown path. `subject` is
    the id in the path. `base` is the address that links start with, up to and including `/v1`.
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
    """What tests can see of a request. `status` is None if no reply was started; `fault` is the injected fault."""

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
    """A complete, encoded reply."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()


async def body(receive: Receive) -> bytes | None:
    """Return the body of the request, or None if the client disconnected first."""
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
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


def request(scope: Scope, content: bytes, *, number: int, key: str, now: float) -> Request:
    """Return the request of an ASGI scope. `key` is the secret key that it must carry."""
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
    """Return the part of a request that tests can see."""
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
