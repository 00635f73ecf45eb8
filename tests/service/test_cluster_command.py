"""How a command gets an account that a worker has, and how it leaves it. Without a database."""

import datetime
from typing import cast

import anyio
import pytest
import structlog

from worker.core.model.errors import JournalBusy, JournalError
from worker.journal import claims
from worker.service import cluster_command

pytestmark = pytest.mark.anyio

DUE = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)


class Claims:
    """Takes the place of claims.Claims: the account is free at the try `free_at`."""

    def __init__(self, *, free_at: int = 1, fails: bool = False) -> None:
        self.calls: list[str] = []
        self.released: list[claims.Release] = []
        self._free_at = free_at
        self._fails = fails

    def request_run(self, name: str) -> None:
        self.calls.append("request")

    def claim(self, name: str) -> claims.Claim | None:
        self.calls.append("claim")
        return claim(self) if self.calls.count("claim") == self._free_at else None

    def release(self, claim: claims.Claim, release: claims.Release) -> bool:
        self.released.append(release)
        if self._fails:
            raise JournalError("connection timed out")
        return True


def claim(held: Claims) -> claims.Claim:
    permit = claims.Permit(5, 0.0, cast("claims.Claims", held))
    return claims.Claim("acme", permit, "", DUE, unsettled_for=0.0, failures=2, closed_for=4.0)


async def claimed(held: Claims, *, tries: int) -> claims.Claim:
    return await cluster_command._claimed(cast("claims.Claims", held), "acme", tries=tries)


@pytest.mark.parametrize(("free_at", "warnings"), [(1, []), (2, [2.0]), (3, [2.0])])
async def test_an_account_is_asked_for_each_second_until_it_is_free_and_due_each_time(
    free_at: int, warnings: list[float]
) -> None:
    held, began = Claims(free_at=free_at), anyio.current_time()
    with structlog.testing.capture_logs() as lines:
        assert (await claimed(held, tries=3)).name == "acme"
    assert held.calls == ["request", "claim"] * free_at
    assert anyio.current_time() - began == pytest.approx(free_at - 1)
    assert [line["waits_seconds"] for line in lines if line["event"] == "account_busy"] == warnings


async def test_an_account_that_stays_taken_is_busy_and_nobody_waits_after_the_last_try() -> None:
    held, began = Claims(free_at=9), anyio.current_time()
    with pytest.raises(JournalBusy, match="a worker of the cluster has the account acme") as caught:
        await claimed(held, tries=3)
    assert "Nothing was changed" in caught.value.remedy
    assert held.calls.count("claim") == 3
    assert anyio.current_time() - began == pytest.approx(2)


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(("fails", "events"), [(False, []), (True, ["account_not_released"])])
async def test_an_account_is_left_due_at_once_as_it_was_found(settled: bool, fails: bool, events: list[str]) -> None:
    held = Claims(fails=fails)
    with structlog.testing.capture_logs() as lines:
        await cluster_command._left(cast("claims.Claims", held), claim(held), settled=settled)
    assert held.released == [claims.Release(delay=0.0, failures=2, closed_for=4.0, settled=settled)]
    assert [line["event"] for line in lines] == events


async def test_an_account_is_released_also_by_a_command_that_is_cancelled() -> None:
    held = Claims()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await cluster_command._left(cast("claims.Claims", held), claim(held), settled=True)
    assert len(held.released) == 1
