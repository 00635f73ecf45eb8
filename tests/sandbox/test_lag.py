"""Reads that lag behind writes, and writes that take effect late, on virtual time."""

import anyio
import httpx
import pytest
import trio.testing

from tests.sandbox import conftest
from tests.support import clocks
from tests.support import sandbox as support
from worker.sandbox import app, faults, quirks

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run on a clock that jumps to the next event."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
async def lagging(account: conftest.Account) -> app.Sandbox:
    """Return a sandbox on virtual time whose lists are 3 s behind and whose single reads are 1 s behind."""
    await anyio.sleep(100)
    return app.Sandbox(
        account.state,
        quirks=quirks.Quirks(list_lag_seconds=3, read_lag_seconds=1),
        clock=clocks.Wall().seconds,
    )


async def _members(api: httpx.AsyncClient, fleet: str) -> list[str]:
    return [item["id"] for item in (await api.get(f"drivers?fleet={fleet}")).json()["data"]]


async def _fleets(api: httpx.AsyncClient, driver: str) -> list[str]:
    fleets: list[str] = (await api.get(f"drivers/{driver}")).json()["fleets"]
    return fleets


async def test_lists_and_single_reads_lag_behind_writes(account: conftest.Account, lagging: app.Sandbox) -> None:
    async with support.client(lagging) as api:
        reply = await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
        assert reply.json()["fleets"] == [account.vans, account.depot]
        assert await _fleets(api, account.alice) == [account.vans]
        await anyio.sleep(1.5)
        assert await _fleets(api, account.alice) == [account.vans, account.depot]
        assert await _members(api, account.depot) == []
        await anyio.sleep(2)
        assert await _members(api, account.depot) == [account.alice]


async def test_a_lagging_list_shows_who_has_left(account: conftest.Account, lagging: app.Sandbox) -> None:
    async with support.client(lagging) as api:
        account.state.detach(account.alice, account.vans)
        assert await _members(api, account.vans) == [account.alice]
        assert (await api.get("fleets")).json()["data"][1]["total_drivers"] == 1
        await anyio.sleep(3.5)
        assert await _members(api, account.vans) == []


async def test_a_lag_ends_when_it_is_switched_off(account: conftest.Account, lagging: app.Sandbox) -> None:
    async with support.client(lagging) as api:
        await api.post(f"drivers/{account.alice}/detach", json={"fleet": account.vans})
        lagging.quirks = quirks.Quirks()
        assert await _members(api, account.vans) == []


async def test_a_driver_who_was_deleted_does_not_come_back(account: conftest.Account, lagging: app.Sandbox) -> None:
    account.state.remove_driver(account.alice)
    async with support.client(lagging) as api:
        assert await _members(api, account.vans) == []
        assert (await api.get(f"drivers/{account.alice}")).status_code == 404


async def _attach(api: httpx.AsyncClient, account: conftest.Account, key: str = "k1") -> int | None:
    with anyio.move_on_after(0.5):
        path, headers = f"drivers/{account.alice}/attach", {"Idempotency-Key": key}
        return (await api.post(path, json={"fleet": account.depot}, headers=headers)).status_code
    return None


@pytest.mark.parametrize(("fault", "status"), [("late", None), ("late_504", 504)])
async def test_a_late_write_takes_effect_after_its_client_gave_up(
    account: conftest.Account, fault: str, status: int | None
) -> None:
    account.sandbox.faults = faults.Faults(script=[fault])
    async with support.client(account.sandbox) as api:
        assert await _attach(api, account) == status
        assert account.depot not in await _fleets(api, account.alice)
        await anyio.sleep(31)
        assert account.depot in await _fleets(api, account.alice)
    assert [(effect.action, effect.key) for effect in account.state.effects] == [("attach", "k1")]


async def test_a_late_write_that_was_retried_takes_effect_once(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["late"])
    async with support.client(account.sandbox) as api:
        await _attach(api, account)
        assert await _attach(api, account) == 200
        await anyio.sleep(31)
        await api.get("fleets")
    assert [effect.changed for effect in account.state.effects] == [True]


async def test_late_writes_take_effect_within_their_bounds_and_can_be_delivered_by_hand(
    account: conftest.Account,
) -> None:
    account.sandbox.quirks = quirks.Quirks(late_seconds=(12, 12))
    account.sandbox.faults = faults.Faults(script=["late_504"])
    async with support.client(account.sandbox) as api:
        await _attach(api, account)
    for seconds, delivered in ((11.9, 0), (0.1, 1)):
        await anyio.sleep(seconds)
        account.sandbox.deliver_late()
        assert len(account.state.effects) == delivered
