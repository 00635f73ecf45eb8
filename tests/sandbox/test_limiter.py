"""The rate limit on virtual time: three algorithms, and the headers of a 429."""

import datetime
import email.utils
from typing import Literal

import anyio
import httpx
import pytest
import trio.testing

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import app, quirks

pytestmark = pytest.mark.anyio

Algorithm = Literal["bucket", "fixed", "sliding"]
NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC).timestamp()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next event."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


async def _burst(sandbox: app.Sandbox, count: int) -> list[httpx.Response]:
    async with support.client(sandbox) as api:
        return [await api.get("fleets") for _ in range(count)]


def _passed(replies: list[httpx.Response]) -> int:
    return [reply.status_code for reply in replies].count(200)


@pytest.mark.integration
async def test_without_a_rate_nobody_is_turned_away(account: conftest.Account) -> None:
    assert _passed(await _burst(account.sandbox, 300)) == 300


async def test_a_bucket_gives_its_burst_and_refills_at_its_rate(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=10, burst=5)
    assert _passed(await _burst(account.sandbox, 20)) == 5
    await anyio.sleep(0.3)
    assert _passed(await _burst(account.sandbox, 20)) == 3
    await anyio.sleep(60)
    assert _passed(await _burst(account.sandbox, 20)) == 5


async def test_a_bucket_holds_one_second_unless_told(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=7)
    assert _passed(await _burst(account.sandbox, 20)) == 7


async def test_a_fixed_window_starts_anew_at_its_boundary(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=5, limit="fixed", window_seconds=2)
    await anyio.sleep_until(anyio.current_time() // 2 * 2 + 3.9)
    assert _passed(await _burst(account.sandbox, 20)) == 10
    await anyio.sleep(0.2)
    assert _passed(await _burst(account.sandbox, 20)) == 10


async def test_a_sliding_window_never_admits_more_than_its_size(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=10, limit="sliding")
    assert _passed(await _burst(account.sandbox, 4)) == 4
    await anyio.sleep(0.9)
    assert _passed(await _burst(account.sandbox, 20)) == 6
    await anyio.sleep(0.1)
    assert _passed(await _burst(account.sandbox, 20)) == 4


@pytest.mark.parametrize("algorithm", ["bucket", "fixed", "sliding"])
async def test_who_waits_as_long_as_told_passes(account: conftest.Account, algorithm: Algorithm) -> None:
    """In the steady state, a client that obeys gets the full rate."""
    account.sandbox.quirks = quirks.Quirks(rate=0.7, burst=1, limit=algorithm, window_seconds=3, retry_after="seconds")
    for _ in range(20):
        reply, again = (await _burst(account.sandbox, 1))[0], 0
        while reply.status_code == 429:
            await anyio.sleep(int(reply.headers["retry-after"]))
            reply, again = (await _burst(account.sandbox, 1))[0], again + 1
        assert again <= 1


async def test_a_limit_may_be_lowered_while_it_holds(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=1, limit="sliding", window_seconds=10)
    for _ in range(10):
        await _burst(account.sandbox, 1)
        await anyio.sleep(0.8)
    account.sandbox.quirks = quirks.Quirks(rate=0.2, limit="sliding", window_seconds=10, retry_after="seconds")
    reply = (await _burst(account.sandbox, 1))[0]
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "9")
    await anyio.sleep(9)
    assert _passed(await _burst(account.sandbox, 3)) == 1


async def test_a_429_may_say_nothing_or_seconds_or_a_date(account: conftest.Account) -> None:
    sandbox = app.Sandbox(account.state, clock=lambda: NOON + 0.25)
    for form in ("none", "seconds", "date"):
        sandbox.quirks = quirks.Quirks(rate=0.25, burst=1, retry_after=form)
        await anyio.sleep(60)
        passed, turned_away = await _burst(sandbox, 2)
        assert "retry-after" not in passed.headers
        assert (turned_away.status_code, turned_away.json()["code"]) == (429, "rate_limit_exceeded")
        expected = {"none": None, "seconds": "4", "date": email.utils.formatdate(NOON + 5, usegmt=True)}
        assert turned_away.headers.get("retry-after") == expected[form]


@pytest.mark.parametrize("algorithm", ["bucket", "fixed", "sliding"])
async def test_every_reply_may_show_what_is_left(account: conftest.Account, algorithm: Algorithm) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=3, limit=algorithm)
    assert "ratelimit-limit" not in (await _burst(account.sandbox, 1))[0].headers
    await anyio.sleep(10)
    account.sandbox.quirks = quirks.Quirks(rate=3, limit=algorithm, rate_limit_headers=True)
    replies = await _burst(account.sandbox, 4)
    assert [reply.headers["ratelimit-limit"] for reply in replies] == ["3"] * 4
    assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert all(reply.headers["ratelimit-reset"] == "1" for reply in replies)


async def test_who_has_no_key_uses_nothing_up(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(rate=1)
    async with support.client(account.sandbox, key="wrong") as api:
        assert [(await api.get("fleets")).status_code for _ in range(3)] == [401] * 3
    assert _passed(await _burst(account.sandbox, 1)) == 1
