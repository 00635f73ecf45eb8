"""The connection pool on virtual time: which connection is used, and that failures leave the pool usable."""

import itertools

import anyio
import httpx
import pytest
import trio.testing

from tests.charge import conftest
from worker.charge import transport
from worker.core.model.errors import Unreachable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Connections:
    """Makes connections that are numbered, and notes which of them were used and closed."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.fail: BaseException | None = None
        self.used: list[int] = []
        self.closed: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self.slow_to_close = 0.0
        self._numbers = itertools.count(1)

    def __call__(self) -> httpx.AsyncBaseTransport:
        return _Connection(next(self._numbers), self)


class _Connection(httpx.AsyncBaseTransport):
    def __init__(self, number: int, them: Connections) -> None:
        self._number, self._them = number, them

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        them = self._them
        them.used.append(self._number)
        them.in_flight += 1
        them.most_in_flight = max(them.most_in_flight, them.in_flight)
        try:
            await anyio.sleep(them.seconds)
            if them.fail is not None:
                raise them.fail
        finally:
            them.in_flight -= 1
        return httpx.Response(200, content=b"{}")

    async def aclose(self) -> None:
        await anyio.sleep(self._them.slow_to_close)
        self._them.closed.append(self._number)


async def _ask(exchange: transport.Transport, times: int = 1) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(exchange.exchange, "GET", "/drivers")


async def test_a_connection_is_used_again() -> None:
    connections = Connections()
    exchange = conftest.exchange(make=connections)
    for _ in range(5):
        await _ask(exchange)
    assert connections.used == [1] * 5
    assert connections.closed == []


async def test_the_connection_used_last_is_used_first() -> None:
    """So that the others grow old and are dropped, and one that a server closed meanwhile is rarely met."""
    connections = Connections(seconds=1)
    exchange = conftest.exchange(make=connections, connections=3)
    await _ask(exchange, 3)
    connections.used.clear()
    for _ in range(4):
        await _ask(exchange)
    assert len(set(connections.used)) == 1


async def test_no_more_connections_than_allowed_are_open() -> None:
    connections = Connections(seconds=1)
    exchange = conftest.exchange(make=connections, connections=3, timeout=60)
    await _ask(exchange, 10)
    assert connections.most_in_flight == 3
    assert set(connections.used) == {1, 2, 3}
    assert len(connections.used) == 10


async def test_a_broken_connection_is_thrown_away() -> None:
    connections = Connections()
    exchange = conftest.exchange(make=connections)
    connections.fail = httpx.ReadError("reset")
    for _ in range(2):
        with pytest.raises(Unreachable):
            await exchange.exchange("GET", "/drivers")
    connections.fail = None
    await _ask(exchange)
    await _ask(exchange)
    assert connections.used == [1, 2, 3, 3]
    assert connections.closed == [1, 2]


async def test_a_connection_whose_request_was_given_up_is_thrown_away() -> None:
    connections = Connections(seconds=100)
    exchange = conftest.exchange(make=connections, timeout=1)
    with pytest.raises(Unreachable):
        await exchange.exchange("GET", "/drivers")
    connections.seconds = 0
    await _ask(exchange)
    assert (connections.used, connections.closed) == ([1, 2], [1])


async def test_a_connection_that_does_not_close_delays_no_other_request() -> None:
    connections = Connections(seconds=100)
    connections.slow_to_close = 1000
    exchange = conftest.exchange(make=connections, timeout=1)
    start = anyio.current_time()
    with pytest.raises(Unreachable):
        await exchange.exchange("GET", "/drivers")
    assert anyio.current_time() - start <= 2


async def test_cancelled_requests_leave_the_pool_usable() -> None:
    """In flight or queued: httpcore's own pool never recovers from the second."""
    connections = Connections(seconds=1)
    exchange = conftest.exchange(make=connections, connections=2, timeout=60)
    for moment in (0.0, 0.3, 1.0, 1.7, 2.5):
        with anyio.move_on_after(moment):
            await _ask(exchange, 12)
    connections.used.clear()
    connections.most_in_flight = 0
    await _ask(exchange, 12)
    assert connections.in_flight == 0
    assert connections.most_in_flight == 2
    assert len(connections.used) == 12


async def test_closing_closes_every_idle_connection() -> None:
    connections = Connections(seconds=1)
    exchange = conftest.exchange(make=connections, connections=3)
    await _ask(exchange, 3)
    await exchange.aclose()
    assert sorted(connections.closed) == [1, 2, 3]
