"""The transport on virtual time: where the key goes, the deadline of an exchange, and the limit of a body."""

import json
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import hypothesis
import pytest
import trio.testing
from hypothesis import strategies as st

from tests.charge import conftest
from tests.support import laws
from worker.charge import transport
from worker.core.model.errors import ForeignOrigin, KeyRejected, NotSent, Unreachable

pytestmark = pytest.mark.anyio

FOREIGN = [
    "https://evil.test/v1/drivers?page=2",
    "https://charge.test@evil.test/v1/drivers",
    "https://charge.test:443@evil.test/",
    "https://own@charge.test/v1/drivers",
    "https://:@evil.test/",
    "https://evil.test\\@charge.test/v1/drivers",
    "https://charge.test\\@evil.test/v1/drivers",
    "http://charge.test/v1/drivers",
    "HTTP://charge.test/v1/drivers",
    "ftp://charge.test/v1/drivers",
    "https://charge.test:444/v1/drivers",
    "https://charge.test:80/v1/drivers",
    "https://charge.test./v1/drivers",
    "https://charge.test.evil.test/v1/drivers",
    "https://evil.test/https://charge.test/v1",
    "https://evil.test#https://charge.test/",
    "https://evil.test?https://charge.test/",
    "//evil.test/v1/drivers",
    "//own@charge.test/v1",
    "https://charge.test%2eevil.test/",
    "https://xn--a/v1/drivers",
    "https://\u0441harge.test/v1/drivers",
    "https://[::1]/v1",
    "https://[charge.test]/",
    "https://charge.test:99999/",
    "https://charge.test\n.evil.test/",
    "javascript://charge.test/%0a",
    "file:///etc/passwd",
    "data:text/html,x://",
]

OWN = [
    f"{conftest.BASE}/drivers?page=2",
    "https://charge.test:443/v1/drivers",
    "HTTPS://CHARGE.TEST/v1/drivers",
    "/v1/drivers?page=2",
    "/v1/drivers?page=a://b",
    "//charge.test/v1/drivers",
    "?page=2",
    "https:///evil.test://v1",
    "///evil.test://v1",
    "https:evil.test/v1://",
    "https:/\\evil.test/://",
    "\\\\evil.test/v1",
    "  https://evil.test/",
]
"""Addresses that lead home, some against their looks: what is sent there is a 404's business, not the key's."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Body(httpx.AsyncByteStream):
    """A body in parts, with a pause before each."""

    def __init__(self, part: bytes, *, times: int, pause: float = 0.0) -> None:
        self._part, self._times, self._pause = part, times, pause
        self.sent = 0
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._times == 0:
            raise StopAsyncIteration
        await anyio.sleep(self._pause)
        self._times -= 1
        self.sent += len(self._part)
        return self._part

    async def aclose(self) -> None:
        self.closed = True


# --- Where the key goes -----------------------------------------------------------------------------------


async def test_every_request_has_the_required_headers() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}")

    exchange = conftest.exchange(handler)
    await exchange.exchange("GET", "/drivers?limit=1")
    await exchange.exchange("POST", "/drivers/x/attach", content=b"{}", headers={"Idempotency-Key": "k"})
    await exchange.exchange("POST", "/drivers/x/attach")
    assert [str(request.url) for request in seen] == [
        f"{conftest.BASE}/drivers?limit=1",
        f"{conftest.BASE}/drivers/x/attach",
        f"{conftest.BASE}/drivers/x/attach",
    ]
    assert [request.headers.get("content-length") for request in seen] == [None, "2", "0"]
    assert [request.content for request in seen] == [b"", b"{}", b""]
    for request in seen:
        assert request.headers["authorization"] == f"Bearer {conftest.KEY}"
        assert request.headers["charge-version"] == "2026-03-01"
        assert request.headers["user-agent"] == "fleet-sync/test"
        assert request.headers["host"] == "charge.test"
        assert request.headers["accept-encoding"] == "identity"
    assert seen[1].headers["idempotency-key"] == "k"


@pytest.mark.parametrize("address", FOREIGN)
async def test_the_key_is_sent_to_the_own_origin_only(address: str) -> None:
    seen: list[httpx.URL] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200)

    exchange = conftest.exchange(handler)
    with pytest.raises(ForeignOrigin) as caught:
        exchange.trusted(address)
    assert "evil" not in caught.value.message
    if "://" in address:
        with pytest.raises(ForeignOrigin):
            await exchange.exchange("GET", address)
    assert seen == []


@pytest.mark.parametrize("address", OWN)
async def test_an_address_on_the_own_origin_is_followed_there(address: str) -> None:
    seen: list[httpx.URL] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200)

    exchange = conftest.exchange(handler)
    await exchange.exchange("GET", exchange.trusted(address))
    assert [(url.scheme, url.host, url.port) for url in seen] == [("https", "charge.test", None)]


_PIECES = [
    "https:",
    "http:",
    "/",
    "//",
    "\\",
    "@",
    ":",
    "?",
    "#",
    "charge.test",
    "evil.test",
    ":443",
    "own",
    "%2e",
    " ",
]


@laws.examples(300)
@hypothesis.given(st.lists(st.sampled_from(_PIECES), max_size=7).map("".join) | st.text(max_size=20))
def test_any_address_leads_to_the_own_origin_or_is_refused(address: str) -> None:
    exchange = conftest.exchange()
    try:
        trusted = exchange.trusted(address)
    except ForeignOrigin:
        return
    url = httpx.Request("GET", trusted).url
    assert (url.scheme, url.host, url.port, url.userinfo) == ("https", "charge.test", None, b"")


# --- When, and how much -----------------------------------------------------------------------------------


async def test_a_trickling_body_is_cut_by_the_deadline() -> None:
    """No single wait is long; a time-out of each read would never strike."""
    body = Body(b" ", times=1_000_000, pause=0.9)
    exchange = conftest.exchange(lambda request: httpx.Response(200, stream=body), timeout=5)
    start = anyio.current_time()
    with pytest.raises(Unreachable) as caught:
        await exchange.exchange("GET", "/drivers")
    assert anyio.current_time() - start == pytest.approx(5)
    assert caught.value.code == "timeout"
    assert body.closed


async def test_a_silent_server_is_cut_by_the_deadline() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    start = anyio.current_time()
    with pytest.raises(Unreachable, match="no complete reply within 1 s"):
        await conftest.exchange(handler, timeout=1).exchange("POST", "/drivers/x/attach")
    assert anyio.current_time() - start == pytest.approx(1)


async def test_waiting_for_a_connection_does_not_count_against_the_deadline() -> None:
    """The deadline is one request's, from connection to last byte: a queue of our own making is no time-out."""

    async def handler(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(3)
        return httpx.Response(200)

    exchange = conftest.exchange(handler, timeout=5, connections=1)
    answers: list[transport.Reply] = []

    async def ask() -> None:
        answers.append(await exchange.exchange("GET", "/drivers"))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(ask)
    assert [answer.status for answer in answers] == [200] * 4


async def test_a_body_larger_than_the_limit_is_cut() -> None:
    body = Body(b"x" * 65536, times=1_000_000)
    exchange = conftest.exchange(lambda request: httpx.Response(200, stream=body))
    with pytest.raises(Unreachable) as caught:
        await exchange.exchange("GET", "/drivers")
    assert caught.value.code == "answer_too_large"
    assert body.sent <= transport.MAX_BODY_BYTES + 65536
    assert body.closed


async def test_a_body_of_the_largest_size_is_read() -> None:
    body = Body(b"x" * (transport.MAX_BODY_BYTES // 8), times=8)
    answer = await conftest.exchange(lambda request: httpx.Response(200, stream=body)).exchange("GET", "/drivers")
    assert len(answer.body) == transport.MAX_BODY_BYTES


@pytest.mark.integration
async def test_a_body_in_tiny_parts_takes_no_more_memory_than_its_size() -> None:
    """h11 returns each chunk of a reply as an object of its own, and a chunk may be one byte."""

    async def parts() -> AsyncIterator[bytes]:
        for number in range(50_000):
            yield number.to_bytes(2, "big")

    exchange = conftest.exchange(lambda request: httpx.Response(200, content=parts()))
    tracemalloc.start()
    try:
        answer = await exchange.exchange("GET", "/drivers")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(answer.body) == 100_000
    assert peak < 1_000_000


@pytest.mark.parametrize("encoding", ["gzip", "br, identity", "GZIP"])
async def test_a_compressed_reply_is_refused_unread_and_says_so(encoding: str) -> None:
    """Story: a gateway compressed replies, and the message was "the answer is no JSON"."""
    body = Body(b"\x1f\x8b", times=1)
    exchange = conftest.exchange(
        lambda request: httpx.Response(200, headers={"content-encoding": encoding}, stream=body)
    )
    with pytest.raises(Unreachable, match="compressed") as caught:
        await exchange.exchange("GET", "/drivers")
    assert (caught.value.code, body.sent, body.closed) == ("answer_encoded", 0, True)
    assert "gateway" in caught.value.remedy


async def test_a_reply_that_says_it_is_not_encoded_is_read() -> None:
    headers = {"content-encoding": "identity"}
    reply = await conftest.exchange(lambda request: httpx.Response(200, headers=headers, content=b"{}")).exchange(
        "GET", "/drivers"
    )
    assert reply.body == b"{}"


# --- What goes wrong --------------------------------------------------------------------------------------

_FAILURES: dict[str, Callable[[httpx.Request], Exception]] = {
    "connect": lambda request: httpx.ConnectError("all attempts failed", request=request),
    "connect-slow": lambda request: httpx.ConnectTimeout(f"to {request.headers['authorization']}", request=request),
    "read-slow": lambda request: httpx.ReadTimeout("", request=request),
    "write": lambda request: httpx.WriteError(f"could not send {request.headers['authorization']}", request=request),
    "read": lambda request: httpx.ReadError("reset", request=request),
    "protocol": lambda request: httpx.RemoteProtocolError(f"bad {request.headers['authorization']}", request=request),
    "local": lambda request: httpx.LocalProtocolError(f"bad {request.headers['authorization']}", request=request),
    "proxy": lambda request: httpx.ProxyError("", request=request),
    "tls": lambda request: ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"),
    "reset": lambda request: ConnectionResetError(104, "Connection reset by peer"),
}


@pytest.mark.parametrize("failure", _FAILURES.values(), ids=_FAILURES)
async def test_a_failed_exchange_is_our_error_without_the_key(
    failure: Callable[[httpx.Request], Exception],
) -> None:
    """Also what httpcore lets through unmapped: an alert of TLS that comes after the handshake, say."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure(request)

    with pytest.raises(Unreachable) as caught:
        await conftest.exchange(handler).exchange("POST", "/drivers/x/attach")
    assert isinstance(caught.value, NotSent) is (failure in (_FAILURES["connect"], _FAILURES["connect-slow"]))
    assert caught.value.remedy
    assert conftest.KEY not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_a_key_in_a_body_is_removed(status: int) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=f"the key {request.headers['authorization']} is wrong".encode())

    answer = await conftest.exchange(handler).exchange("GET", "/drivers")
    assert answer.body == b"the key Bearer [the key] is wrong"


@pytest.mark.parametrize("escaped", ["c", "\\u0063"])
async def test_a_key_in_an_error_is_removed(escaped: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        shown = {"message": f"Invalid key: {conftest.KEY}.", "code": conftest.KEY, "request": conftest.KEY}
        # JSON may write any letter in another way.
        body = json.dumps(shown).replace(conftest.KEY, conftest.KEY.replace("c", escaped))
        return httpx.Response(401, content=body.encode(), headers={"request-id": conftest.KEY})

    with pytest.raises(KeyRejected) as caught:
        await conftest.client_of(handler).drivers_page(None)
    assert caught.value.message.startswith("401: Invalid key: ")
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))


async def test_the_repr_of_a_transport_has_no_key() -> None:
    assert conftest.KEY not in repr(conftest.exchange())
