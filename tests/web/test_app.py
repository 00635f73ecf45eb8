"""Probes, metrics and addresses, and the headers of every response."""

import pytest
import structlog.testing
from starlette import types

from tests.web import conftest, doubles
from worker.core.model.errors import JournalError
from worker.core.monitoring import status
from worker.web import app, metrics, security

pytestmark = pytest.mark.anyio

PATHS = (
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/runs/run_0001",
    f"/fleets/{doubles.fleet(0)}",
    f"/drivers?q={doubles.driver(1)}",
    "/static/style.css",
    "/static/live.js",
    "/static/icon.svg",
)


FOREIGN_HOSTS = (
    "evil.example",
    "",
    "localhost:80@evil.com",
    "127.0.0.1:8080@evil.com",
    "127.0.0.1@evil.com",
    "127.0.0.1:8080.evil.com",
    "127.0.0.1:",
    "127.0.0.1:8080/",
    "[::1]@evil.com",
    "[::1]evil.com",
    "[::1]:80@evil.com",
    "[::1",
    "::1",
    "127.0.0.1 evil.com",
    "127.0.0.1,evil.com",
)


async def test_liveness_depends_on_nothing() -> None:
    service = doubles.Service(doubles.broken())
    service.record.fails = JournalError("disk full")
    service.unready = "the journal cannot be written"
    async with conftest.asking(service) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_readiness_gives_the_reason() -> None:
    service = doubles.Service()
    async with conftest.asking(service) as client:
        assert (await client.get("/readyz")).status_code == 200
        service.unready = "the first run is not done"
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the first run is not done\n")


async def test_metrics_are_served_as_prometheus_wants_them() -> None:
    async with conftest.asking(doubles.Service()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "fleet_sync_fleets 6.0" in answer.text


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/static/../app.py", "/static/app.py", "/healthz/", "/sync"])
async def test_every_response_has_the_security_headers(path: str) -> None:
    service = doubles.Service()
    await doubles.past(service, 3)
    async with conftest.asking(service) as client:
        answer = await client.get(path)
    for name, value in security.HEADERS.items():
        if name != "Cache-Control" or not path.startswith("/static/") or answer.status_code != 200:
            assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_answers(path: str) -> None:
    service = doubles.Service()
    await doubles.past(service, 3)
    async with conftest.asking(service) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200


async def test_only_static_files_are_cached() -> None:
    async with conftest.asking(doubles.Service()) as client:
        assert (await client.get("/static/style.css")).headers["cache-control"] == "max-age=86400"
        assert (await client.get("/")).headers["cache-control"] == "no-store"
        assert (await client.get("/static/none.css")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/nowhere", "/static/..%2fapp.py", "/runs/", "/sync/"])
async def test_an_unknown_address_gets_a_small_page(path: str) -> None:
    async with conftest.asking(doubles.Service()) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert "<h1" in answer.text
    assert 'href="/"' in answer.text


async def test_an_error_that_needs_no_explanation_has_none() -> None:
    async with conftest.asking(doubles.Service()) as client:
        assert "Not Found" not in (await client.get("/nowhere")).text
        assert "Method Not Allowed" not in (await client.post("/")).text
        assert "The journal has no run with this id." in (await client.get("/runs/run_none")).text


async def test_an_error_of_the_journal_says_what_to_do() -> None:
    service = doubles.Service()
    service.record.fails = JournalError("disk I/O error", remedy="Make room for `fleet-sync.db`.")
    assert "Make room for <code>fleet-sync.db</code>." in await conftest.read(service, "/runs/run_1", expect=503)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("DELETE", "/runs/run_1"), ("GET", "/sync"), ("GET", "/approve")]
)
async def test_another_method_is_not_allowed(method: str, path: str) -> None:
    async with conftest.asking(doubles.Service()) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert "<h1" in answer.text


async def test_a_page_with_a_defect_shows_no_traceback_and_keeps_its_headers() -> None:
    class Crashing(doubles.Service):
        def snapshot(self) -> status.Status:
            raise RuntimeError("boom ch_sk_live_51secret")

    with structlog.testing.capture_logs() as logs:
        async with conftest.asking(Crashing()) as client:
            answer = await client.get("/")
    assert answer.status_code == 500
    assert "boom" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["content-security-policy"] == security.HEADERS["Content-Security-Policy"]
    assert [log["event"] for log in logs] == ["page_crashed"]


async def test_web_sockets_are_refused() -> None:
    """A handshake is closed."""
    sent: list[types.Message] = []

    async def receive() -> types.Message:
        return {"type": "websocket.connect"}

    async def send(message: types.Message) -> None:
        sent.append(message)

    made = app.create(doubles.Service(), metrics.Metrics())
    await made({"type": "websocket", "path": "/events", "headers": [], "query_string": b""}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_other_host_names_are_refused() -> None:
    """DNS rebinding: another site's name that resolves to this machine is the same origin to a browser."""
    async with conftest.asking(doubles.Service(), hosts=("127.0.0.1", "::1", "fleet.example")) as client:
        for host in ("127.0.0.1:8080", "[::1]:8080", "Fleet.Example"):
            assert (await client.get("/", headers={"Host": host})).status_code == 200
        for host in FOREIGN_HOSTS:
            answer = await client.get("/", headers={"Host": host})
            assert answer.status_code == 421, host
            assert "in sync" not in answer.text.lower()
            assert answer.headers["x-frame-options"] == "DENY"


async def test_a_locked_page_says_how_to_open_it_and_probes_stay_open() -> None:
    service = doubles.Service(doubles.holding())
    await doubles.past(service, 3)
    async with conftest.asking(service, token=None, locked=True) as client:
        for path in (
            "/",
            "/events",
            "/runs/run_0001",
            f"/fleets/{doubles.fleet(0)}",
            f"/drivers?q={doubles.driver(1)}",
        ):
            answer = await client.get(path)
            assert answer.status_code == 403, path
            assert "FLEET_SYNC_STATUS_TOKEN" in answer.text
            assert "127.0.0.1:8080" in answer.text
            for text in ("Airport shuttles", "Ada Marchand", doubles.DIGEST, "api.chargeapi.co"):
                assert text not in answer.text
        for path in ("/healthz", "/readyz", "/metrics", "/static/style.css"):
            assert (await client.get(path)).status_code == 200
