"""Idempotency keys: the first request decides, and what the reference leaves open."""

import contextlib
from typing import Literal

import anyio
import httpx
import pytest
import trio.testing

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import faults, quirks

pytestmark = pytest.mark.anyio


async def _post(account: conftest.Account, action: str, fleet: str, key: str = "k1") -> httpx.Response:
    async with support.client(account.sandbox) as api:
        return await api.post(
            f"drivers/{account.alice}/{action}", json={"fleet": fleet}, headers={"Idempotency-Key": key}
        )


async def test_a_retry_with_the_same_key_gets_the_first_answer(account: conftest.Account) -> None:
    first = await _post(account, "attach", account.depot)
    account.state.detach(account.alice, account.depot)
    again = await _post(account, "attach", account.depot)
    assert again.json() == first.json()
    assert account.depot in again.json()["fleets"]
    assert account.alice not in account.state.members(account.depot)
    assert len(account.state.effects) == 1


async def test_another_key_is_another_write(account: conftest.Account) -> None:
    for key in ("k1", "k2"):
        await _post(account, "attach", account.depot, key)
    assert [(effect.key, effect.changed) for effect in account.state.effects] == [("k1", True), ("k2", False)]


async def test_a_refusal_is_remembered_too(account: conftest.Account) -> None:
    account.state.change_driver(account.alice, status="archived")
    assert (await _post(account, "attach", account.depot)).status_code == 409
    account.state.change_driver(account.alice, status="active")
    assert (await _post(account, "attach", account.depot)).status_code == 409
    assert (await _post(account, "attach", account.depot, "k2")).status_code == 200


@pytest.mark.parametrize(("mode", "status"), [("first_answer", 200), ("bad_request", 400), ("conflict", 409)])
async def test_a_key_that_comes_back_for_another_write_never_does_it(
    account: conftest.Account, mode: Literal["first_answer", "bad_request", "conflict"], status: int
) -> None:
    account.sandbox.quirks = quirks.Quirks(reused_key=mode)
    await _post(account, "attach", account.depot)
    assert (await _post(account, "detach", account.depot)).status_code == status
    assert (await _post(account, "attach", account.vans)).status_code == status
    assert (await _post(account, "attach", account.depot)).status_code == 200
    assert len(account.state.effects) == 1


@pytest.mark.parametrize(("length", "status"), [(255, 200), (256, 400)])
async def test_a_key_has_at_most_255_characters(account: conftest.Account, length: int, status: int) -> None:
    assert (await _post(account, "attach", account.depot, "k" * length)).status_code == status


@pytest.mark.parametrize(
    ("mode", "statuses", "effects"),
    [("replay", [500, 500], []), ("rerun", [500, 200], [True]), ("outcome", [500, 200], [True])],
)
async def test_a_stored_500_before_the_effect(
    account: conftest.Account,
    mode: Literal["replay", "rerun", "outcome"],
    statuses: list[int],
    effects: list[bool],
) -> None:
    account.sandbox.quirks = quirks.Quirks(stored_5xx=mode)
    account.sandbox.faults = faults.Faults(script=["500"])
    assert [(await _post(account, "attach", account.depot)).status_code for _ in statuses] == statuses
    assert [effect.changed for effect in account.state.effects] == effects


@pytest.mark.parametrize(
    ("mode", "statuses", "effects"),
    [("replay", [500, 500], [True]), ("rerun", [500, 409], [True]), ("outcome", [500, 200], [True])],
)
async def test_a_stored_500_after_the_effect(
    account: conftest.Account,
    mode: Literal["replay", "rerun", "outcome"],
    statuses: list[int],
    effects: list[bool],
) -> None:
    account.sandbox.quirks = quirks.Quirks(stored_5xx=mode, already_attached="conflict")
    account.sandbox.faults = faults.Faults(script=["500_after"])
    assert [(await _post(account, "attach", account.depot)).status_code for _ in statuses] == statuses
    assert [effect.changed for effect in account.state.effects] == effects


@pytest.mark.parametrize("fault", ["reset_after", "truncated", "gateway_timeout", "wrong_types"])
async def test_a_reply_that_was_lost_comes_again_with_the_retry(account: conftest.Account, fault: str) -> None:
    account.sandbox.faults = faults.Faults(script=[fault])
    with contextlib.suppress(httpx.TransportError):
        await _post(account, "attach", account.depot)
    again = await _post(account, "attach", account.depot)
    assert (again.status_code, again.json()["fleets"]) == (200, [account.vans, account.depot])
    assert len(account.state.effects) == 1


class TestOnVirtualTime:
    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}

    async def test_a_key_is_forgotten_after_its_lifetime(self, account: conftest.Account) -> None:
        await _post(account, "attach", account.depot)
        await anyio.sleep(24 * 3600 - 1)
        await _post(account, "attach", account.depot)
        assert len(account.state.effects) == 1
        await anyio.sleep(1)
        await _post(account, "attach", account.depot)
        assert [effect.changed for effect in account.state.effects] == [True, False]

    async def test_two_requests_with_one_key_at_once_take_effect_once(self, account: conftest.Account) -> None:
        account.sandbox.quirks = quirks.Quirks(latency_seconds=2)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(_post, account, "attach", account.depot)
        assert len(account.state.effects) == 1

    async def test_latency_is_half_before_the_effect_and_half_after(self, account: conftest.Account) -> None:
        account.sandbox.quirks = quirks.Quirks(latency_seconds=10)
        started = anyio.current_time()
        for deadline, effects in ((4, 0), (6, 1)):
            with anyio.move_on_after(deadline) as scope:
                await _post(account, "attach", account.depot, "k" * deadline)
            assert scope.cancelled_caught
            assert len(account.state.effects) == effects
        await _post(account, "attach", account.depot)
        assert anyio.current_time() - started == pytest.approx(20)
