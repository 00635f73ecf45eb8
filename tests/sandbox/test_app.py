"""The API: keys, objects and errors."""

import re
from typing import Any

import pytest

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import app, faults, quirks, state

pytestmark = pytest.mark.anyio

DRIVER_FIELDS = {
    "id", "object", "created", "email", "fleets", "license_number", "metadata", "name", "phone", "policy_ids",
    "preferences", "status", "updated", "vehicles", "wallet_balance",
}  # fmt: skip
FLEET_FIELDS = {
    "id", "object", "address", "created", "description", "email", "metadata", "metric_system", "name", "phone",
    "policy_ids", "preferences", "status", "timezone", "total_drivers", "total_energy_consumed_kwh", "total_sessions",
    "total_vehicles", "updated", "wallet_balance",
}  # fmt: skip
ERROR_FIELDS = {"object", "type", "code", "message", "param", "request", "status", "doc_url"}


async def _get(sandbox: app.Sandbox, path: str) -> Any:
    async with support.client(sandbox) as api:
        return (await api.get(path)).json()


async def test_a_driver_has_every_field_of_the_reference(account: conftest.Account) -> None:
    driver = await _get(account.sandbox, f"drivers/{account.alice}")
    assert set(driver) == DRIVER_FIELDS
    assert driver["fleets"] == [account.vans]
    assert driver["metadata"] == {"employee_id": "10042"}
    assert (driver["id"], driver["email"], driver["status"]) == (account.alice, "alice@example.com", "active")
    assert re.fullmatch(r"veh_[A-Za-z0-9]{32}", driver["vehicles"][0])


async def test_a_fleet_has_every_field_of_the_reference(account: conftest.Account) -> None:
    fleet = await _get(account.sandbox, f"fleets/{account.vans}")
    assert set(fleet) == FLEET_FIELDS
    assert (fleet["id"], fleet["name"], fleet["total_drivers"]) == (account.vans, "Paris vans", 1)


async def test_total_drivers_follows_the_memberships(account: conftest.Account) -> None:
    account.state.detach(account.alice, account.vans)
    assert (await _get(account.sandbox, f"fleets/{account.vans}"))["total_drivers"] == 0


@pytest.mark.parametrize(("offset", "shown"), [(3, 4), (-1, 0), (-9, 0)])
async def test_total_drivers_may_lie(account: conftest.Account, offset: int, shown: int) -> None:
    account.sandbox.quirks = quirks.Quirks(total_drivers_offset=offset)
    assert (await _get(account.sandbox, f"fleets/{account.vans}"))["total_drivers"] == shown


@pytest.mark.parametrize("key", ["", "ch_sk_test_other", "ch_sk_live_sandbox"])
async def test_a_wrong_key_is_turned_away(account: conftest.Account, key: str) -> None:
    async with support.client(account.sandbox, key=key) as api:
        reply = await api.post(f"drivers/{account.alice}/detach", json={"fleet": account.vans})
    assert (reply.status_code, reply.json()["type"]) == (401, "authentication_error")
    assert account.state.effects == []
    assert [(record.authorized, record.status) for record in account.sandbox.requests] == [(False, 401)]


async def test_an_error_has_every_field_of_the_reference(account: conftest.Account) -> None:
    error = await _get(account.sandbox, "drivers/drv_nobody")
    assert set(error) == ERROR_FIELDS
    assert (error["object"], error["code"], error["status"]) == ("error", "driver_not_found", 404)
    assert re.fullmatch(r"req_[A-Za-z0-9]{32}", error["request"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "fleets/flt_nothing", 404, "fleet_not_found"),
        ("GET", "vehicles", 404, None),
        ("GET", "/v2/drivers", 404, None),
        ("POST", "drivers", 405, None),
        ("GET", "drivers/drv_x/attach", 405, None),
    ],
)
async def test_what_does_not_exist_is_said_to_be_missing(
    account: conftest.Account, method: str, path: str, status: int, code: str | None
) -> None:
    async with support.client(account.sandbox) as api:
        reply = await api.request(method, f"http://charge.test{path}" if path.startswith("/") else path)
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_empty_lists_may_be_null(account: conftest.Account) -> None:
    account.sandbox.quirks = quirks.Quirks(null_lists=True)
    account.state.detach(account.alice, account.vans)
    driver = await _get(account.sandbox, f"drivers/{account.alice}")
    assert (driver["fleets"], driver["policy_ids"]) == (None, None)
    assert driver["vehicles"]
    assert (await _get(account.sandbox, f"drivers?fleet={account.vans}"))["data"] is None


async def test_unknown_fields_and_values_may_appear() -> None:
    held = state.SandboxState.populate(drivers=9, fleets=3)
    sandbox = app.Sandbox(held, quirks=quirks.Quirks(unknown_values=True))
    drivers, fleets = await _get(sandbox, "drivers?limit=100"), await _get(sandbox, "fleets?limit=100")
    assert set(drivers) > {"data", "next_page_url", "previous_page_url"}
    assert {driver["status"] for driver in drivers["data"]} == {"active", "in_review"}
    assert all(set(driver) > DRIVER_FIELDS for driver in drivers["data"])
    assert {fleet["status"] for fleet in fleets["data"]} == {"active", "in_review"}


async def test_every_third_object_has_an_unknown_status_unless_it_is_not_active() -> None:
    held = state.SandboxState()
    drivers = [held.add_driver(status="archived" if number == 3 else "active") for number in range(7)]
    sandbox = app.Sandbox(held, quirks=quirks.Quirks(unknown_values=True))
    shown = {driver["id"]: driver["status"] for driver in (await _get(sandbox, "drivers"))["data"]}
    others = ["active", "active"]
    assert [shown[driver] for driver in drivers] == ["in_review", *others, "archived", *others, "in_review"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("drivers/drv_x", "invalid_request_error"), ("drivers?limit=0", "invalid_request_error")],
)
async def test_the_type_of_an_error_says_whose_it_is(account: conftest.Account, path: str, kind: str) -> None:
    assert (await _get(account.sandbox, path))["type"] == kind
    account.sandbox.faults = faults.Faults(script=["500", "503"])
    assert [(await _get(account.sandbox, "fleets"))["type"] for _ in range(2)] == ["api_error", "api_error"]


async def test_the_request_id_stands_in_a_header_unless_switched_off(account: conftest.Account) -> None:
    async with support.client(account.sandbox) as api:
        assert (await api.get("fleets")).headers["request-id"].startswith("req_")
        account.sandbox.quirks = quirks.Quirks(request_id_header=False)
        assert "request-id" not in (await api.get("fleets")).headers


async def test_requests_are_recorded_without_the_key(account: conftest.Account) -> None:
    async with support.client(account.sandbox) as api:
        await api.get(f"drivers?fleet={account.vans}", headers={"Charge-Version": "2026-03-01"})
        await api.post(
            f"drivers/{account.alice}/attach", json={"fleet": account.depot}, headers={"Idempotency-Key": "k1"}
        )
    read, write = account.sandbox.requests
    assert (read.method, read.path, read.query) == ("GET", "/v1/drivers", {"fleet": account.vans})
    assert (read.authorized, read.version, read.key, read.status) == (True, "2026-03-01", None, 200)
    assert (write.method, write.path, write.key) == ("POST", f"/v1/drivers/{account.alice}/attach", "k1")
    assert write.time >= read.time
    assert app.KEY not in repr(account.sandbox.requests)


async def test_a_benchmark_may_do_without_records(account: conftest.Account) -> None:
    sandbox = app.Sandbox(account.state, record=False)
    await _get(sandbox, "fleets")
    assert sandbox.requests == []


async def test_only_http_is_answered(account: conftest.Account) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="websocket"):
        await account.sandbox({"type": "websocket"}, never, never)


async def test_a_client_that_leaves_inside_its_request_changes_nothing(account: conftest.Account) -> None:
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(_: Any) -> None:
        raise AssertionError

    await account.sandbox({"type": "http"}, receive, send)
    assert account.sandbox.requests == []
