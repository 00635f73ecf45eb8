"""Every fault: what a client sees, and its effect."""

import email.utils

import anyio
import httpx
import pytest

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import app, faults, http_types, state

pytestmark = pytest.mark.anyio

BEFORE = ["rate_limited", "rate_limited_seconds", "rate_limited_date", "500", "503", "html", "html_200", "refused"]
AFTER = ["500_after", "gateway_timeout", "wrong_types"]


async def _attach(account: conftest.Account, fault: str | None) -> httpx.Response:
    account.sandbox.faults = faults.Faults(script=[fault])
    async with support.client(account.sandbox) as api:
        return await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})


@pytest.mark.parametrize("fault", [*BEFORE, "not_found"])
async def test_a_fault_before_the_effect_changes_nothing(account: conftest.Account, fault: str) -> None:
    await _attach(account, fault)
    assert account.state.effects == []


@pytest.mark.parametrize("fault", AFTER)
async def test_a_fault_after_the_effect_hides_it(account: conftest.Account, fault: str) -> None:
    await _attach(account, fault)
    assert [effect.changed for effect in account.state.effects] == [True]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate_limited", 429, "rate_limit_exceeded"),
        ("rate_limited_seconds", 429, "rate_limit_exceeded"),
        ("rate_limited_date", 429, "rate_limit_exceeded"),
        ("500", 500, None),
        ("500_after", 500, None),
        ("503", 503, None),
        ("refused", 409, "policy_blocked"),
        ("not_found", 404, "driver_not_found"),
    ],
)
async def test_a_fault_of_charge_is_an_error_object(
    account: conftest.Account, fault: str, status: int, code: str | None
) -> None:
    reply = await _attach(account, fault)
    assert (reply.status_code, reply.json()["object"], reply.json()["code"]) == (status, "error", code)
    assert account.sandbox.requests[0].fault == fault


async def test_a_scripted_429_may_say_when_to_come_back(account: conftest.Account) -> None:
    assert "retry-after" not in (await _attach(account, "rate_limited")).headers
    assert (await _attach(account, "rate_limited_seconds")).headers["retry-after"] == "1"
    reply = await _attach(account, "rate_limited_date")
    now, then = (email.utils.parsedate_to_datetime(reply.headers[name]) for name in ("date", "retry-after"))
    assert 1 <= (then - now).total_seconds() <= 2


@pytest.mark.parametrize(("fault", "status"), [("html", 502), ("html_200", 200), ("gateway_timeout", 504)])
async def test_a_gateway_answers_with_a_page(account: conftest.Account, fault: str, status: int) -> None:
    reply = await _attach(account, fault)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "text/html")
    assert reply.text.startswith("<!doctype html>")
    assert "request-id" not in reply.headers


async def test_wrong_types_are_json_that_fits_nothing(account: conftest.Account) -> None:
    reply = await _attach(account, "wrong_types")
    assert (reply.status_code, reply.json()["fleets"]) == (200, "none")
    account.sandbox.faults = faults.Faults(script=["wrong_types"])
    async with support.client(account.sandbox) as api:
        page = (await api.get("fleets")).json()
    assert (page["data"][0]["id"], page["next_page_url"]) == (17, 0)


@pytest.mark.parametrize(("fault", "effects"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_is_a_read_error(account: conftest.Account, fault: str, effects: int) -> None:
    with pytest.raises(httpx.ReadError):
        await _attach(account, fault)
    assert len(account.state.effects) == effects
    assert account.sandbox.requests[0].status is None


async def test_a_truncated_reply_ends_inside_its_body(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["truncated"])
    got = b""
    async with support.client(account.sandbox) as api, api.stream("GET", "fleets") as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            async for part in reply.aiter_raw():
                got += part
    assert 0 < len(got) < int(reply.headers["content-length"])


@pytest.mark.parametrize(("fault", "effects"), [("hang", 0), ("hang_after", 1)])
async def test_a_hanging_request_can_only_be_given_up(account: conftest.Account, fault: str, effects: int) -> None:
    async def attempt() -> None:
        await _attach(account, fault)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        await anyio.wait_all_tasks_blocked()
        assert account.sandbox.requests[0].status is None
        tasks.cancel_scope.cancel()
    assert len(account.state.effects) == effects


@pytest.mark.parametrize("path", ["drivers/{alice}", "fleets/{vans}"])
async def test_an_unlucky_object_is_not_found(account: conftest.Account, path: str) -> None:
    account.sandbox.faults = faults.Faults({"not_found": 1})
    async with support.client(account.sandbox) as api:
        assert (await api.get(path.format(alice=account.alice, vans=account.vans))).status_code == 404
        assert (await api.get("fleets")).status_code == 200


async def test_an_unlucky_driver_is_refused_every_time_and_the_others_never() -> None:
    held = state.SandboxState.populate(drivers=40, fleets=1)
    fleet = next(iter(held.fleets))
    sandbox = app.Sandbox(held, faults=faults.parse(["refused=0.25"]))
    async with support.client(sandbox) as api:
        rounds = [
            [(await api.post(f"drivers/{driver}/detach", json={"fleet": fleet})).status_code for driver in held.drivers]
            for _ in range(3)
        ]
    assert rounds[0] == rounds[1] == rounds[2]
    assert 4 <= rounds[0].count(409) <= 16


async def test_the_same_seed_gives_the_same_accidents() -> None:
    histories = []
    for seed in (1, 1, 2):
        sandbox = app.Sandbox(
            state.SandboxState.populate(drivers=5, fleets=2), faults=faults.parse(["500=0.3", "html=0.3"], seed=seed)
        )
        async with support.client(sandbox) as api:
            histories.append([(await api.get("fleets")).status_code for _ in range(50)])
    assert histories[0] == histories[1] != histories[2]
    assert set(histories[0]) == {200, 500, 502}


async def test_a_script_may_be_a_function_of_the_request(account: conftest.Account) -> None:
    def writes_fail(request: http_types.Request) -> str | None:
        return "503" if request.route == "attach" and request.subject == account.alice else None

    account.sandbox.faults = faults.Faults(script=writes_fail)
    async with support.client(account.sandbox) as api:
        write = await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
        assert (write.status_code, (await api.get("fleets")).status_code) == (503, 200)


async def test_after_the_script_comes_chance(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults({"500": 1}, script=["503"])
    async with support.client(account.sandbox) as api:
        assert [(await api.get("fleets")).status_code for _ in range(3)] == [503, 500, 500]


async def test_a_function_with_an_unknown_name_is_a_mistake(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=lambda request: "no_such")
    async with support.client(account.sandbox) as api:
        with pytest.raises(ValueError, match="no_such"):
            await api.get("fleets")


async def test_a_500_on_a_path_that_does_not_exist_stays_a_404(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults({"500": 1})
    async with support.client(account.sandbox) as api:
        assert (await api.get("nowhere")).status_code == 404


@pytest.mark.parametrize("name", faults.NAMES)
async def test_every_fault_has_a_name_on_the_command_line(name: str) -> None:
    assert faults.parse([f"{name}=0.5"]).rates == {name: 0.5}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("504=0.1", "there is no fault '504'; the faults are: rate_limited, "),
        ("500", "is not NAME=P"),
        ("500=often", "'often' is not a probability"),
        ("500=1.5", "'1.5' is not a probability"),
        ("500=nan", "'nan' is not a probability"),
    ],
)
async def test_a_wrong_fault_says_what_is_right(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        faults.parse([spec])


async def test_a_script_with_an_unknown_name_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no_such"):
        faults.Faults(script=[None, "no_such"])
