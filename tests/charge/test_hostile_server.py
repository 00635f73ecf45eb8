"""Whatever a server does ends in a reply or an error of ours within the deadline, and memory stays flat."""

import tracemalloc
from collections.abc import Iterator

import anyio
import pytest

from tests.charge import conftest
from tests.charge.hostile_server import Connection, HostileServer, Script, answering
from worker.charge import transport
from worker.core.model.errors import NotSent, Unreachable

pytestmark = pytest.mark.anyio

FRESH = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{fresh}"
STALE = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{stale}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio, as the program does: httpcore leaves generators behind that Trio warns about."""
    return "asyncio"


PATIENT = 60.0
"""A deadline that no test reaches, however slow the machine."""

SHORT = 0.05
"""A deadline for servers that never end."""


async def ask(
    server: HostileServer, *, deadline: float = PATIENT, method: str = "POST", times: int = 1
) -> list[transport.Reply | Unreachable]:
    """Send requests, one after the other; return each reply or error."""
    results: list[transport.Reply | Unreachable] = []
    async with server.serving() as origin:
        exchange = conftest.exchange(base_url=f"{origin}/v1", network=conftest.DIRECT, timeout=deadline)
        with anyio.fail_after(PATIENT):
            for _ in range(times):
                try:
                    results.append(await exchange.exchange(method, "/drivers/x/attach", content=b"{}"))
                except Unreachable as error:
                    results.append(error)
            await exchange.aclose()
    return results


async def ask_until_late(script: Script) -> transport.Reply | Unreachable:
    """Send a request that the server gets, and that a deadline ends: a slow machine needs a longer one for that."""
    for deadline in (SHORT, 10 * SHORT, 100 * SHORT):
        (found,) = await ask(HostileServer(script), deadline=deadline)
        if not isinstance(found, NotSent):
            return found
    raise AssertionError(f"the request was not sent within {deadline} s")


# --- Odd, but an answer


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + FRESH, 200, b"{fresh}"),
        (CHUNKED + b"2;name=value\r\n{}\r\n0\r\nx-trailer: a\r\n\r\n", 200, b"{}"),
        (CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n", 304, b""),
        (b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 307, b""),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\n{}", 599, b"{}"),
    ],
    ids=[
        "http-1.0",
        "http-1.0-to-the-end",
        "to-the-end",
        "no-reason",
        "length-twice",
        "interim",
        "trailers",
        "chunks",
        "204",
        "304",
        "redirect",
        "http-2.0",
        "599",
    ],
)
async def test_an_unusual_answer_is_an_answer(answer: bytes, status: int, body: bytes) -> None:
    server = HostileServer(answering(answer))
    (result,) = await ask(server)
    assert isinstance(result, transport.Reply)
    assert (result.status, result.body) == (status, body)
    assert len(server.requests) == 1


# --- Not an answer

BROKEN = {
    "nothing": b"",
    "http-0.9": b"{}",
    "not-http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half-a-head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "status-text": b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\n{}",
    "status-long": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}",
    "header-without-colon": b"HTTP/1.1 200 OK\r\nnonsense\r\ncontent-length: 2\r\n\r\n{}",
    "header-nul": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "length-too-long": b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}",
    "length-negative": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
    "length-text": b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
    "length-enormous": b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 60 + b"\r\n\r\n{}",
    "lengths-differ": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    "chunk-size-text": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk-size-negative": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk-size-enormous": CHUNKED + b"f" * 40 + b"\r\n{}\r\n",
    "chunk-too-short": CHUNKED + b"9\r\n{}",
    "chunk-without-end": CHUNKED + b"2\r\n{}\r\n",
    "chunk-ends-wrong": CHUNKED + b"2\r\n{}XX0\r\n\r\n",
    "trailer-nonsense": CHUNKED + b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n",
    "encoding-unknown": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "head-too-large": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello",
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_leaves_the_outcome_open(answer: bytes, reset: bool) -> None:
    """It is never taken for a connection that was not made: the request may have taken effect."""
    server = HostileServer(answering(answer, reset=reset))
    (error,) = await ask(server)
    assert isinstance(error, Unreachable), error
    assert not isinstance(error, NotSent)
    assert error.remedy
    assert len(server.requests) == 1
    assert not any(conftest.KEY in words for words in conftest.texts_of(error))


# --- Without end

FLOODS = {
    "head": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    "line": (b"HTTP/1.1 200 OK\r\nx: ", b"y"),
    "status-line": (b"HTTP/1.1 200 ", b"y"),
    "body": (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b" "),
    "body-to-the-end": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "chunks": (CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "chunk-extension": (CHUNKED + b"2;", b"x"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n"),
    "gzip-bomb": (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
        b"8\r\n\x1f\x8b\x08\0\0\0\0\0\r\n",
    ),
}
MOST_SENT = 64 * 1024 * 1024
MOST_MEMORY = 40 * 1024 * 1024


@pytest.fixture
def traced() -> Iterator[None]:
    """Trace what is allocated."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("head", "endless"), FLOODS.values(), ids=FLOODS)
async def test_an_answer_without_end_is_cut_by_its_size(head: bytes, endless: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head)
        await connection.flood(endless, most=MOST_SENT)

    server = HostileServer(script)
    (error,) = await ask(server)
    assert isinstance(error, Unreachable)
    assert not isinstance(error, NotSent)
    assert error.code != "timeout"
    assert server.bytes_sent < MOST_SENT
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY


@pytest.mark.usefixtures("traced")
async def test_a_flood_of_interim_answers_ends_at_the_deadline() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.flood(b"HTTP/1.1 100 Continue\r\n\r\n", most=10 * MOST_SENT)

    error = await ask_until_late(script)
    assert isinstance(error, Unreachable)
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY


# --- Slow

SLOW = {
    "silent": (b"", b""),
    "head": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" "),
    "body-to-the-end": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n"),
}


@pytest.mark.parametrize(("head", "part"), SLOW.values(), ids=SLOW)
async def test_a_trickle_meets_the_deadline(head: bytes, part: bytes) -> None:
    """No single wait is long: only a deadline of the whole exchange strikes."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head)
        while True:
            await anyio.sleep(SHORT / 10)
            if part:
                await connection.send(part)

    error = await ask_until_late(script)
    assert isinstance(error, Unreachable)
    assert error.code == "timeout"


# --- One connection, several requests


@pytest.mark.parametrize(
    "first",
    [
        FRESH + STALE,
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n{stale}",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n{stale}",
        b"HTTP/1.1 204 No Content\r\n\r\n" + STALE,
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + STALE,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + STALE,
    ],
    ids=[
        "two-answers",
        "longer-than-said",
        "204-with-body",
        "304-with-body",
        "204-and-more",
        "chunked-and-more",
        "101",
    ],
)
async def test_what_follows_an_answer_is_never_taken_for_the_next_one(first: bytes) -> None:
    """Else a write would be judged by an answer that was made before it was sent."""
    server = HostileServer(_first_then_fresh(first))
    _, second, third = await ask(server, times=3)
    for result in (second, third):
        assert isinstance(result, transport.Reply)
        assert (result.status, result.body) == (200, b"{fresh}")


@pytest.mark.parametrize("size", [2**14, 2**15, 2**16, 2**17])
async def test_what_follows_an_answer_of_any_size_is_never_taken_for_the_next_one(size: int) -> None:
    """Whoever reads the socket in pieces, and keeps what is left, could end with the first answer."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %6d\r\n\r\n"
    first = head % (size - len(head % size)) + b" " * (size - len(head % size))
    server = HostileServer(_first_then_fresh(first + STALE))
    first_result, *others = await ask(server, times=3)
    assert isinstance(first_result, transport.Reply)
    for result in others:
        assert isinstance(result, transport.Reply)
        assert (result.status, result.body) == (200, b"{fresh}")


async def test_the_beginning_of_another_answer_ends_the_connection() -> None:
    """The rest of it may arrive after the next request was sent."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(FRESH + STALE[:20])
        await connection.request()
        await connection.send(STALE[20:] + FRESH)

    server = HostileServer(script)
    for result in await ask(server, times=3):
        assert isinstance(result, transport.Reply)
        assert result.body == b"{fresh}"


def _first_then_fresh(first: bytes) -> Script:
    answers = [first]

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answers.pop() if answers else FRESH)

    return script


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_breaks_at_its_second_request_leaves_the_outcome_open(method: str, reset: bool) -> None:
    """Nothing below the retry policy repeats a request."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(FRESH)
        await connection.request()
        if reset:
            connection.reset()

    server = HostileServer(script)
    first, second, third = await ask(server, method=method, times=3)
    assert isinstance(first, transport.Reply)
    assert isinstance(second, Unreachable)
    assert not isinstance(second, NotSent)
    assert isinstance(third, transport.Reply)
    assert len(server.requests) == 3


async def test_a_connection_that_was_closed_after_its_answer_is_not_used_again() -> None:
    server = HostileServer(answering(FRESH))
    async with server.serving() as origin:
        exchange = conftest.exchange(base_url=f"{origin}/v1", network=conftest.DIRECT, timeout=PATIENT)
        for _ in range(4):
            server.hung_up = anyio.Event()
            assert (await exchange.exchange("POST", "/drivers")).body == b"{fresh}"
            await server.hung_up.wait()
            await anyio.wait_all_tasks_blocked()
        await exchange.aclose()
    assert server.connections == 4


@pytest.mark.parametrize(
    "closing",
    [
        FRESH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        FRESH.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nconnection: keep-alive\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["close", "http-1.0", "two-lengths"],
)
async def test_an_answer_that_no_other_may_follow_ends_the_connection(closing: bytes) -> None:
    """A gateway that believes the other of two lengths may still have a part of the answer to send."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(closing)

    server = HostileServer(script)
    results = await ask(server, times=3)
    assert all(isinstance(result, transport.Reply) for result in results)
    assert server.connections == 3
