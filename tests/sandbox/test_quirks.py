"""Quirks of single objects: attaches without effect, objects that are forbidden, gone or malformed, and clocks."""

import email.utils
import json
from typing import Literal

import pytest

from tests.sandbox import conftest
from tests.support import clocks
from tests.support import sandbox as support
from worker.sandbox import app, faults, quirks, state

pytestmark = pytest.mark.anyio


async def test_an_attach_may_be_answered_with_200_and_not_kept(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(not_kept=frozenset({account.alice}))
    async with support.client(account.sandbox) as api:
        reply = await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
        assert (reply.status_code, reply.json()["fleets"]) == (200, [account.vans, account.depot])
        assert (await api.get(f"drivers/{account.alice}")).json()["fleets"] == [account.vans]
    assert account.state.effects == []


async def test_an_attach_is_not_kept_with_a_probability(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["not_kept", None])
    async with support.client(account.sandbox) as api:
        for fleets in ([account.vans], [account.vans, account.depot]):
            await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
            assert (await api.get(f"drivers/{account.alice}")).json()["fleets"] == fleets


@pytest.mark.parametrize("status", ["suspended", "archived"])
@pytest.mark.parametrize("kind", ["driver", "fleet"])
async def test_an_attach_of_an_inactive_object_may_be_ignored(
    account: conftest.Account, status: Literal["suspended", "archived"], kind: str
) -> None:
    if kind == "driver":
        account.state.change_driver(account.alice, status=status)
    else:
        account.state.change_fleet(account.depot, status=status)
    ignoring: quirks.Admission = "ignore"
    account.sandbox.quirks = quirks.Quirks(
        suspended_driver=ignoring, archived_driver=ignoring, suspended_fleet=ignoring, archived_fleet=ignoring
    )
    async with support.client(account.sandbox) as api:
        reply = await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
    assert (reply.status_code, reply.json()["fleets"]) == (200, [account.vans])
    assert account.state.effects == []


async def test_a_key_may_be_forbidden_one_object(account: conftest.Account) -> None:
    bob = account.state.add_driver(fleets=[account.depot])
    account.sandbox.quirks = quirks.Quirks(forbidden=frozenset({account.depot}))
    async with support.client(account.sandbox) as api:
        for path in (f"fleets/{account.depot}", f"drivers?fleet={account.depot}"):
            assert (await api.get(path)).status_code == 403
        for action in ("attach", "detach"):
            assert (await api.post(f"drivers/{bob}/{action}", json={"fleet": account.depot})).status_code == 403
        assert (await api.post(f"drivers/{bob}/attach", json={"fleet": account.vans})).status_code == 200
        for path in (f"drivers/{bob}", "fleets", "drivers", f"drivers?fleet={account.vans}"):
            assert (await api.get(path)).status_code == 200


async def test_some_objects_are_forbidden_every_time_and_others_never() -> None:
    accounts = [f"drv_{number:032d}" for number in range(40)]
    sandbox = app.Sandbox(state.SandboxState(), faults=faults.parse(["forbidden=0.25"]))
    async with support.client(sandbox) as api:
        rounds = [[(await api.get(f"drivers/{driver}")).status_code for driver in accounts] for _ in range(2)]
    assert rounds[0] == rounds[1]
    assert 4 <= rounds[0].count(403) <= 16


@pytest.mark.parametrize("action", ["attach", "detach"])
async def test_a_write_to_a_driver_who_is_gone_is_not_found(account: conftest.Account, action: str) -> None:
    account.state.remove_driver(account.alice)
    async with support.client(account.sandbox) as api:
        reply = await api.post(f"drivers/{account.alice}/{action}", json={"fleet": account.vans})
    assert (reply.status_code, reply.json()["code"]) == (404, "driver_not_found")


@pytest.mark.parametrize(
    ("how", "field", "value"),
    [("surrogate", "name", "Jos\ud83d"), ("types", "fleets", "none"), ("no_id", "id", 17)],
)
async def test_one_object_may_be_malformed(
    account: conftest.Account, how: quirks.Malformation, field: str, value: object
) -> None:
    bob = account.state.add_driver(fleets=[account.vans])
    account.sandbox.quirks = quirks.Quirks(malformed={account.alice: how})
    async with support.client(account.sandbox) as api:
        page = json.loads((await api.get("drivers")).content)
        assert [item["id"] for item in page["data"]] == [bob, 17 if how == "no_id" else account.alice]
        assert page["data"][1][field] == value
        assert json.loads((await api.get(f"drivers/{account.alice}")).content)[field] == value


async def test_one_object_of_a_page_may_be_malformed(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["malformed"])
    async with support.client(account.sandbox) as api:
        assert b'"Jos\\ud83d"' in (await api.get("drivers")).content
        assert b"ud83d" not in (await api.get("drivers")).content


async def test_the_clock_of_the_server_may_be_wrong_or_missing(account: conftest.Account) -> None:
    noon = clocks.NOON.timestamp()
    sandbox = app.Sandbox(account.state, clock=lambda: noon, faults=faults.Faults(script=[None, "rate_limited_date"]))
    sandbox.quirks = quirks.Quirks(date_skew_seconds=3600, injected_retry_after_seconds=7)
    async with support.client(sandbox) as api:
        assert (await api.get("fleets")).headers["date"] == email.utils.formatdate(noon + 3600, usegmt=True)
        assert (await api.get("fleets")).headers["retry-after"] == email.utils.formatdate(noon + 3607, usegmt=True)
        sandbox.quirks = quirks.Quirks(date_header=False)
        assert "date" not in (await api.get("fleets")).headers


async def test_an_injected_429_asks_for_as_many_seconds_as_it_should(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(injected_retry_after_seconds=7)
    account.sandbox.faults = faults.Faults(script=["rate_limited_seconds"])
    async with support.client(account.sandbox) as api:
        assert (await api.get("fleets")).headers["retry-after"] == "7"
