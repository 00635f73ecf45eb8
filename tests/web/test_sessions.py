"""Signing in: what a session may do, and that nobody gets one without the token."""

import dataclasses
import datetime
import re
from typing import Any

import httpx
import pytest
import structlog.testing

from tests.web import conftest, doubles
from worker.core.model.pauses import Pause

pytestmark = pytest.mark.anyio

SIGN_IN = {"name": "Emma Bakker", "token": doubles.TOKEN, "next": "/runs/run_0001?x=1"}
HOURS = datetime.timedelta(hours=1)


async def form_token(client: httpx.AsyncClient) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', (await client.get("/")).text)
    assert found
    return found[1]


async def test_whoever_signs_in_may_act_and_is_recorded() -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/login", data=SIGN_IN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs/run_0001?x=1")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=43200" in cookie
        assert "Signed in as <bdi>Emma Bakker</bdi>" in (await client.get("/")).text
        token = {"form_token": await form_token(client)}
        asked = [
            await client.post("/approve", data={**token, "digest": doubles.DIGEST}),
            await client.post("/sync", data=token),
            await client.post("/pause", data={**token, "for": "2h", "reason": "new\nlists"}),
            await client.post("/resume", data=token),
        ]
    assert [answer.status_code for answer in asked] == [303] * 4
    assert [answer.headers["location"] for answer in asked] == ["/?approved", "/?requested", "/?paused", "/?resumed"]
    assert service.by == ["Emma Bakker"] * 3
    assert service.synced == 1


async def test_a_pause_has_an_end_a_reason_and_a_fleet() -> None:
    service = doubles.Service(doubles.calm())
    async with conftest.asking(service) as client:
        fields = {"for": "2h", "reason": "migration", "fleet": doubles.fleet(1), "by": "ops"}
        assert (await client.post("/pause", data=fields, headers=conftest.BEARER)).status_code == 202
        assert (await client.post("/pause", headers=conftest.BEARER)).status_code == 202
        for wrong in ({"for": "2 h"}, {"for": "0m"}, {"fleet": "Paris vans"}):
            assert (await client.post("/pause", data=wrong, headers=conftest.BEARER)).status_code == 400
        assert await service.record.pauses(now=doubles.NOW) == (
            Pause(doubles.NOW, doubles.NOW + 2 * HOURS, "ops", "migration", doubles.fleet(1)),
            Pause(doubles.NOW, None, "the token", ""),
        )
        await client.post("/resume", data={"fleet": doubles.fleet(1)}, headers=conftest.BEARER)
    assert len(await service.record.pauses(now=doubles.NOW)) == 1


@pytest.mark.parametrize("sent", [{}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": "\u20ac"}])
async def test_a_session_alone_does_nothing(sent: dict[str, str]) -> None:
    """Another site can make a browser send the cookie, but does not know the form token."""
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        await client.post("/login", data=SIGN_IN)
        for path in ("/approve", "/sync", "/pause", "/resume", "/logout"):
            assert (await client.post(path, data={**sent, "digest": doubles.DIGEST})).status_code == 403
    assert (service.approved, service.synced, service.by) == ([], 0, [])


async def test_the_form_token_of_another_session_does_nothing() -> None:
    service = doubles.Service(doubles.calm())
    async with conftest.asking(service) as client:
        await client.post("/login", data=SIGN_IN)
        other = await form_token(client)
        await client.post("/login", data={**SIGN_IN, "name": "Liam"})
        assert (await client.post("/sync", data={"form_token": other})).status_code == 403


async def test_a_session_lasts_twelve_hours_and_survives_a_restart() -> None:
    service = doubles.Service(doubles.calm())
    async with conftest.asking(service) as client:
        await client.post("/login", data=SIGN_IN)
        cookies = dict(client.cookies)
    async with conftest.asking(service) as restarted:
        restarted.cookies.update(cookies)
        assert "Signed in as" in (await restarted.get("/")).text
        for later, valid in ((datetime.timedelta(hours=12, seconds=-1), True), (12 * HOURS, False)):
            service.present = dataclasses.replace(doubles.calm(), now=doubles.NOW + later)
            assert ("Signed in as" in (await restarted.get("/drivers")).text) is valid
    service.present = doubles.calm()
    async with conftest.asking(service, token="another-token-of-the-tests") as changed:
        changed.cookies.update(cookies)
        assert "Signed in as" not in (await changed.get("/")).text


@pytest.mark.parametrize("cookie", ["", ".", "e30=.00", "x", "\xff.\xff"])
async def test_a_forged_cookie_is_no_session(cookie: str) -> None:
    service = doubles.Service(doubles.calm())
    async with conftest.asking(service, anonymous_read=False) as client:
        headers: Any = {"Cookie": b"fleet_sync_session=" + cookie.encode("latin-1")}
        assert (await client.get("/", headers=headers)).status_code == 401
        assert (await client.post("/sync", headers=headers)).status_code == 401


@pytest.mark.parametrize("field", [{"token": "wrong"}, {"name": " "}, {"token": ""}])
async def test_a_wrong_token_or_no_name_is_no_session(field: dict[str, str]) -> None:
    service = doubles.Service(doubles.calm())
    with structlog.testing.capture_logs() as logs:
        async with conftest.asking(service) as client:
            answer = await client.post("/login", data={**SIGN_IN, **field})
            assert answer.status_code == 401
            assert not client.cookies
    assert 'role="alert"' in answer.text
    assert doubles.TOKEN not in answer.text + str(logs)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "x", "/a b", ""])
async def test_signing_in_leads_only_to_our_own_pages(target: str) -> None:
    async with conftest.asking(doubles.Service(doubles.calm())) as client:
        answer = await client.post("/login", data={**SIGN_IN, "next": target})
    assert answer.headers["location"] == "/"


async def test_a_name_is_harmless() -> None:
    async with conftest.asking(doubles.Service(doubles.calm())) as client:
        await client.post("/login", data={**SIGN_IN, "name": "<b>\u202eEmma" + "x" * 500})
        page = (await client.get("/")).text
    assert "&lt;b&gt;\ufffdEmmax" in page
    assert "x" * 81 not in page


async def test_signing_out_ends_the_session() -> None:
    async with conftest.asking(doubles.Service(doubles.calm())) as client:
        await client.post("/login", data=SIGN_IN)
        assert (await client.post("/logout", data={"form_token": await form_token(client)})).status_code == 303
        assert not client.cookies


PAGES = ("/", "/events", "/drivers", f"/fleets/{doubles.fleet(0)}", "/runs/run_0001")


@pytest.mark.parametrize("path", PAGES)
async def test_pages_may_be_closed_to_those_who_did_not_sign_in(path: str) -> None:
    service = doubles.Service(doubles.calm())
    await doubles.remember(service, doubles.run())
    async with conftest.asking(service, anonymous_read=False) as client:
        answer = await client.get(path)
        assert answer.status_code == 401
        assert 'action="/login"' in answer.text
        assert "Paris vans" not in answer.text
        for opened in ("/healthz", "/metrics", "/static/style.css", "/login"):
            assert (await client.get(opened)).status_code == 200
        if path != "/events":
            assert (await client.get(path, headers=conftest.BEARER)).status_code == 200
            await client.post("/login", data=SIGN_IN)
            assert (await client.get(path)).status_code == 200


async def test_closed_pages_without_a_token_say_what_to_do() -> None:
    async with conftest.asking(doubles.Service(doubles.calm()), token=None, anonymous_read=False) as client:
        answer = await client.get("/")
    assert answer.status_code == 403
    assert "FLEET_SYNC_STATUS_TOKEN" in answer.text
