"""The throttle on virtual time: how many requests get through, and that probes always do."""

from typing import Any

import anyio
import pytest
import trio.testing
from starlette import types

from tests.docs import pages
from worker.web import server, throttle

pytestmark = pytest.mark.anyio

FLOOD, PROBE, MINUTE = "192.0.2.2", "192.0.2.1", 60.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Trio with a clock that jumps to the next deadline."""
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class App:
    """An app behind the throttle; records when which path was answered."""

    def __init__(self) -> None:
        self.answered: list[tuple[float, str, str]] = []
        self._throttled = throttle.ThrottleMiddleware(self._answer)

    async def _answer(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        self.answered.append((anyio.current_time(), scope["path"], scope["client"][0]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def get(self, path: str, address: str = FLOOD) -> types.Message:
        """Send a request; return the start of its response."""
        sent: list[types.Message] = []

        async def send(message: types.Message) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "path": path, "client": (address, 1), "headers": []}
        await self._throttled(scope, _nothing, send)
        return sent[0]

    def count(self, path: str, address: str = FLOOD) -> int:
        return sum(each[1:] == (path, address) for each in self.answered)


async def _nothing() -> types.Message:
    raise AssertionError("the throttle reads no body")


async def _flood(app: App, path: str, *, connections: int = 100, address: str = FLOOD, seconds: float = MINUTE) -> None:
    """Keep so many connections busy: each sends its next request when the last one is answered."""

    async def keep_asking() -> None:
        while True:
            await app.get(path, address)

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for _ in range(connections):
                tasks.start_soon(keep_asking)


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/sync", "/healthz", "/runs/run_1", "/nowhere"])
async def test_a_flood_from_one_address_gets_its_burst_and_its_rate(path: str) -> None:
    app, limits = App(), throttle.BY_PATH.get(path, throttle.DEFAULT)
    await _flood(app, path)
    expected = limits.address.burst + limits.address.per_second * MINUTE
    assert app.count(path) == pytest.approx(expected, abs=2)


async def test_a_flood_from_many_addresses_gets_no_more_than_the_total() -> None:
    app = App()
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(lambda address=f"198.51.100.{number}": _flood(app, "/", connections=2, address=address))  # type: ignore[misc]
    total = throttle.BY_PATH["/"].total
    assert len(app.answered) == pytest.approx(total.burst + total.per_second * MINUTE, abs=2)


@pytest.mark.parametrize("probe", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("flooded", ["/", "/events", "/static/style.css", "/sync", "/runs/run_1"])
async def test_probes_are_answered_at_once_while_pages_are_flooded(probe: str, flooded: str) -> None:
    """Even from the same address, as behind a proxy."""
    app = App()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_flood, app, flooded)
        for _ in range(10):
            await anyio.sleep(5)
            asked = anyio.current_time()
            assert (await app.get(probe))["status"] == 200
            assert anyio.current_time() == asked
        tasks.cancel_scope.cancel()


async def test_one_addresss_flood_does_not_delay_another_address() -> None:
    app = App()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_flood, app, "/healthz")
        tasks.start_soon(_flood, app, "/")
        await anyio.sleep(30)
        for path in ("/healthz", "/"):
            asked = anyio.current_time()
            await app.get(path, PROBE)
            assert anyio.current_time() - asked < 0.1
        tasks.cancel_scope.cancel()


async def test_a_request_that_would_wait_too_long_is_refused_slowly_and_closes_its_connection() -> None:
    app, responses = App(), list[types.Message]()

    async def ask() -> None:
        responses.append(await app.get("/runs/run_1"))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)
    refused = [response for response in responses if response["status"] == 503]
    assert len(refused) == 100 - len(app.answered) > 50
    headers = dict(refused[0]["headers"])
    assert headers[b"connection"] == b"close"
    assert headers[b"retry-after"] == b"15"
    assert b"content-security-policy" in headers
    assert max(moment for moment, *_ in app.answered) - min(moment for moment, *_ in app.answered) <= 15
    asked = anyio.current_time()
    await app.get("/runs/run_1")
    assert anyio.current_time() == pytest.approx(asked, abs=1)


async def test_an_ipv6_client_has_one_limit_for_its_whole_network() -> None:
    app = App()
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(lambda address=f"2001:db8::{number:x}": _flood(app, "/", connections=5, address=address))  # type: ignore[misc]
    limits = throttle.BY_PATH["/"].address
    assert len(app.answered) == pytest.approx(limits.burst + limits.per_second * MINUTE, abs=2)


async def test_an_address_with_a_zone_or_none_at_all_is_answered() -> None:
    app = App()
    for address in ("fe80::1%eth0", ""):
        assert (await app.get("/", address))["status"] == 200


async def test_the_documented_limits_are_the_real_ones() -> None:
    text = " ".join(pages.page("docs/operations.md").text.split())
    overview, other = throttle.BY_PATH["/"].address, throttle.DEFAULT.address
    assert f"gets {overview.per_second:g} overviews a second ({overview.burst} at once)" in text
    assert other.per_second == 1
    assert f"driver a second ({other.burst} at once)" in text
    assert f"503 after {throttle.MAX_WAIT_SECONDS:g} seconds" in text
    assert f"Of more than {server.LIMITS.connections} connections" in text


async def test_addresses_that_are_idle_again_are_forgotten() -> None:
    limits = throttle.Throttle(throttle.Limits(address=throttle.Rate(1, 1), total=throttle.Rate(1e6, 1)))
    for number in range(3000):
        assert await limits.admit(f"address-{number}")
        await anyio.sleep(0.01)
    assert len(limits._by_address) <= 2 * 256
