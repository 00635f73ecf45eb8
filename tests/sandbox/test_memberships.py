"""Attach and detach, and every answer that the reference leaves open."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import quirks, state

pytestmark = pytest.mark.anyio


async def _post(account: conftest.Account, action: str, fleet: str, driver: str | None = None) -> httpx.Response:
    async with support.client(account.sandbox) as api:
        return await api.post(f"drivers/{driver or account.alice}/{action}", json={"fleet": fleet})


def _refusal(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["code"]


async def test_an_attach_adds_the_fleet_to_the_driver(account: conftest.Account) -> None:
    reply = await _post(account, "attach", account.depot)
    assert reply.status_code == 200
    assert reply.json()["fleets"] == [account.vans, account.depot]
    assert account.state.members(account.depot) == {account.alice}
    assert account.state.effects == [state.Effect("attach", account.alice, account.depot, None, changed=True)]


async def test_a_detach_takes_the_fleet_away_and_leaves_the_driver(account: conftest.Account) -> None:
    reply = await _post(account, "detach", account.vans)
    assert (reply.status_code, reply.json()["fleets"]) == (200, [])
    assert (await _post(account, "attach", account.vans)).json()["fleets"] == [account.vans]
    assert [effect.action for effect in account.state.effects] == ["detach", "attach"]


async def test_a_write_moves_the_time_of_the_last_update(account: conftest.Account) -> None:
    driver = (await _post(account, "attach", account.depot)).json()
    assert driver["updated"] > driver["created"]


@pytest.mark.parametrize(("action", "fleet"), [("attach", "vans"), ("detach", "depot")])
async def test_a_repeated_write_is_fine_or_a_conflict(account: conftest.Account, action: str, fleet: str) -> None:
    target = getattr(account, fleet)
    assert (await _post(account, action, target)).status_code == 200
    assert [effect.changed for effect in account.state.effects] == [False]
    account.sandbox.quirks = quirks.Quirks(already_attached="conflict", not_attached="conflict")
    assert _refusal(await _post(account, action, target)) == (409, "driver_fleet_conflict")
    assert len(account.state.effects) == 1


@pytest.mark.parametrize("status", ["suspended", "archived"])
@pytest.mark.parametrize("kind", ["driver", "fleet"])
@pytest.mark.parametrize(
    ("admission", "status_code", "code"),
    [("accept", 200, None), ("conflict", 409, "driver_fleet_conflict"), ("policy_blocked", 409, "policy_blocked")],
)
async def test_who_is_not_active_is_accepted_or_refused(
    account: conftest.Account, status: state.Status, kind: str, admission: str, status_code: int, code: str | None
) -> None:
    account.sandbox.quirks = quirks.Quirks(**{f"{status}_{kind}": admission})  # type: ignore[arg-type]
    if kind == "driver":
        account.state.change_driver(account.alice, status=status)
    else:
        account.state.change_fleet(account.depot, status=status)
    reply = await _post(account, "attach", account.depot)
    assert (reply.status_code, reply.json().get("code")) == (status_code, code)
    assert (account.alice in account.state.members(account.depot)) == (status_code == 200)


async def test_a_detach_is_accepted_whatever_the_status(account: conftest.Account) -> None:
    account.state.change_driver(account.alice, status="archived")
    account.state.change_fleet(account.vans, status="archived")
    assert (await _post(account, "detach", account.vans)).status_code == 200


async def test_what_is_missing_is_named_or_not(account: conftest.Account) -> None:
    assert _refusal(await _post(account, "attach", "flt_nothing")) == (404, "fleet_not_found")
    assert _refusal(await _post(account, "attach", account.vans, "drv_nobody")) == (404, "driver_not_found")
    account.sandbox.quirks = quirks.Quirks(not_found="combined")
    assert _refusal(await _post(account, "attach", "flt_nothing")) == (404, "driver_or_fleet_not_found")
    assert _refusal(await _post(account, "detach", account.vans, "drv_nobody")) == (404, "driver_or_fleet_not_found")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"fleet": 7}', b"\xff"])
async def test_a_body_that_names_no_fleet_is_a_bad_request(account: conftest.Account, body: bytes) -> None:
    async with support.client(account.sandbox) as api:
        reply = await api.post(f"drivers/{account.alice}/attach", content=body)
    assert (reply.status_code, reply.json()["param"]) == (400, "fleet")


async def test_a_body_may_come_in_parts(account: conftest.Account) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"fleet": '
        yield f'"{account.depot}"}}'.encode()

    async with support.client(account.sandbox) as api:
        reply = await api.post(f"drivers/{account.alice}/attach", content=parts())
    assert reply.json()["fleets"] == [account.vans, account.depot]


async def test_a_restricted_key_may_read_only(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(read_only=True)
    assert (await _post(account, "attach", account.depot)).status_code == 403
    async with support.client(account.sandbox) as api:
        assert (await api.get("fleets")).status_code == 200
    assert account.state.effects == []
