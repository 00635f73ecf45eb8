"""The requests that change something: what they do with the token, and that they do nothing without it."""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx
import pytest
import structlog.testing
import trio.testing
from starlette import types

from tests.web import conftest, doubles
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.ports import Stage
from worker.core.model.secret import Secret
from worker.core.monitoring import status
from worker.core.safety import guard
from worker.web import app, metrics, security

pytestmark = pytest.mark.anyio

FORM = {"digest": doubles.DIGEST, "token": doubles.TOKEN}


async def test_a_sync_is_accepted_with_the_token() -> None:
    service = doubles.Service()
    async with conftest.asking(service) as client:
        answer = await client.post("/sync", headers=conftest.BEARER)
    assert (answer.status_code, answer.json()) == (202, {"accepted": True})
    assert service.synced == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {doubles.TOKEN}"},
        {"Authorization": doubles.TOKEN},
        {"Authorization": f"Bearer {doubles.TOKEN}x"},
        {"Authorization": "Bearer f\xfcr".encode("latin-1")},
        {"Cookie": f"token={doubles.TOKEN}"},
    ],
)
async def test_without_the_token_nothing_happens(headers: Any) -> None:
    service = doubles.Service(doubles.holding())
    with structlog.testing.capture_logs() as logs:
        async with conftest.asking(service) as client:
            sync = await client.post("/sync", headers=headers)
            approve = await client.post("/approve", headers=headers, data={"digest": doubles.DIGEST})
            query = await client.post(f"/sync?token={doubles.TOKEN}", headers=headers)
    for answer in (sync, approve, query):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (service.synced, service.approved) == (0, [])
    assert [log["event"] for log in logs] == ["token_rejected"] * 3
    assert doubles.TOKEN not in str(logs)


@pytest.mark.parametrize("path", ["/sync", "/approve", "/pause", "/resume", "/login", "/logout"])
async def test_without_a_configured_token_the_actions_do_not_exist(path: str) -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service, token=None) as client:
        for headers in ({}, conftest.BEARER, {"Authorization": "Bearer "}):
            assert (await client.post(path, headers=headers, data=FORM)).status_code == 404
        assert (await client.get("/login")).status_code == 404
        assert "<form" not in (await client.get("/")).text.replace('<form class="search"', "")
    assert (service.synced, service.approved) == (0, [])


async def test_the_form_approves_and_returns_to_the_overview() -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data=FORM, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/?approved")
        assert "Approved." in (await client.get("/?approved")).text
    assert service.approved == [doubles.DIGEST]


async def test_a_program_approves_with_a_bearer_token() -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data={"digest": doubles.DIGEST}, headers=conftest.BEARER)
    assert (answer.status_code, answer.json()) == (202, {"accepted": True})
    assert service.approved == [doubles.DIGEST]


async def test_a_wrong_bearer_token_is_not_overridden_by_the_form() -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data=FORM, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert service.approved == []


@pytest.mark.parametrize("digest", ["", "sha256:" + "0" * 64, doubles.DIGEST[:-1], doubles.DIGEST.upper()])
async def test_only_the_plan_that_is_held_now_is_approved(digest: str) -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data={**FORM, "digest": digest})
    assert answer.status_code == 409
    assert "Nothing was approved" in answer.text
    assert service.approved == []


async def test_a_second_click_while_the_approved_run_writes_leaves_no_other_approval() -> None:
    """The run that begins uses the approval up; another one would let the same mistake pass unasked later."""
    running = status.Running(RunId("run_2"), "request", doubles.NOW, Stage.CHANGING_MEMBERSHIPS)
    service = doubles.Service(dataclasses.replace(doubles.holding(), running=running))
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data=FORM)
    assert (answer.status_code, service.approved) == (409, [])
    assert "changing memberships" in answer.text
    service.present = dataclasses.replace(service.present, running=dataclasses.replace(running, stage=None))
    async with conftest.asking(service) as client:
        assert (await client.post("/approve", data=FORM)).status_code == 303


async def test_a_digest_approves_nothing_when_nothing_can_be_approved() -> None:
    waiting = [doubles.held("detach", 1, 1, by=guard.MUST_SEE)]
    for present in (doubles.calm(), doubles.calm(last=doubles.run(plan=doubles.guarded(held=waiting)))):
        service = doubles.Service(present)
        async with conftest.asking(service) as client:
            assert (await client.post("/approve", data=FORM)).status_code == 409
            assert "/approve" not in (await client.get("/")).text
        assert service.approved == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_sites_page_is_refused_even_with_the_token(headers: dict[str, str]) -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        assert (await client.post("/approve", data=FORM, headers=headers)).status_code == 403
        assert (await client.post("/sync", headers={**conftest.BEARER, **headers})).status_code == 403
    assert (service.synced, service.approved) == (0, [])


@pytest.mark.parametrize("headers", [{"Origin": conftest.BASE}, {"Sec-Fetch-Site": "none"}, {"Origin": "null"}])
async def test_our_own_page_may_ask(headers: dict[str, str]) -> None:
    """Browsers without Sec-Fetch-Site send `Origin: null` from our page because of its referrer policy."""
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        assert (await client.post("/approve", data=FORM, headers=headers)).status_code == 303


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # httpx, whose body is not read to its end
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 20_000, 413),
        (b"\xff\xfe", 400),
        (b"&".join([b"a=b"] * 20), 400),
        (b"no form", 400),
        (b"", 401),
        (b"digest=1&digest=2&token=", 401),
    ],
)
async def test_a_malformed_form_is_refused(body: bytes, status: int) -> None:
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", content=body)
    assert answer.status_code == status
    assert service.approved == []


ONE_FLEET = {"fleet": doubles.fleet(1)}


@pytest.mark.parametrize("path", ["/pause", "/resume"])
@pytest.mark.parametrize(
    "asked",
    [
        {"data": {"flet": doubles.fleet(1)}},
        {"data": {"Fleet": doubles.fleet(1)}},
        {"data": {"fleet": ""}},
        {"params": ONE_FLEET},
        {"files": {"fleet": (None, doubles.fleet(1))}},
        {"json": ONE_FLEET},
        {"content": f"fleet={doubles.fleet(1)}&fleet={doubles.fleet(1)}"},
    ],
)
async def test_what_is_asked_for_one_fleet_is_never_done_to_all(path: str, asked: Any) -> None:
    """A field that is not understood would leave no fleet, which means all of them."""
    service = doubles.Service(doubles.holding())
    async with conftest.asking(service) as client:
        answer = await client.post(path, headers=conftest.BEARER, **asked)
    assert answer.status_code == 400
    assert service.by == []


class TestTimeout:
    """On virtual time."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})

    async def test_a_form_that_never_arrives_times_out(self) -> None:
        async def never() -> AsyncGenerator[bytes, None]:
            yield b"digest="
            await anyio.sleep_forever()

        service = doubles.Service(doubles.holding())
        async with contextlib.aclosing(never()) as body, conftest.asking(service) as client:
            answer = await client.post("/approve", content=body)
        assert answer.status_code == 408
        assert service.approved == []


async def test_an_approval_that_cannot_be_recorded_is_an_error() -> None:
    service = doubles.Service(doubles.holding())
    service.fails = JournalError("no space left on device")
    async with conftest.asking(service) as client:
        answer = await client.post("/approve", data=FORM)
    assert answer.status_code == 503
    assert "no space left on device" in answer.text
    assert "Make the journal of" in answer.text


async def test_a_form_that_is_cut_off_is_no_defect() -> None:
    """The client may disconnect at any moment: that is its right, and no reason to report a bug."""
    service, sent = doubles.Service(doubles.holding()), list[types.Message]()
    incoming: list[types.Message] = [
        {"type": "http.request", "body": b"digest=sha256", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> types.Message:
        return incoming.pop(0)

    async def send(message: types.Message) -> None:
        sent.append(message)

    made = app.create(service, metrics.Metrics(), security.Access(Secret(doubles.TOKEN)))
    scope = {"type": "http", "method": "POST", "path": "/approve", "headers": [], "query_string": b""}
    with structlog.testing.capture_logs() as logs:
        await made(scope, receive, send)
    assert logs == []
    assert sent[0]["status"] == 400
    assert service.approved == []


async def test_the_token_is_in_no_answer() -> None:
    service = doubles.Service(doubles.holding())
    answers: list[httpx.Response] = []
    async with conftest.asking(service) as client:
        for path in ("/", "/metrics", "/readyz", f"/drivers?q={doubles.driver(1)}", "/nowhere"):
            answers.append(await client.get(path, headers=conftest.BEARER))
        answers.append(await client.post("/sync", headers=conftest.BEARER))
        answers.append(await client.post("/approve", data=FORM))
        answers.append(await client.post("/approve", data={**FORM, "digest": "other"}))
        answers.append(await client.post("/approve", data={**FORM, "token": doubles.TOKEN + "x"}))
    for answer in answers:
        assert doubles.TOKEN not in answer.text
        assert doubles.TOKEN not in str(answer.headers)
