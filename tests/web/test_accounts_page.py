"""The pages and metrics of many accounts: one overview, each account's pages below its prefix, and no growth."""

import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog.testing
from prometheus_client import parser

from tests.web import conftest, doubles
from worker.core.model.errors import FleetSyncError
from worker.core.model.secret import Secret
from worker.core.monitoring import status
from worker.core.monitoring.account_overview import AccountsStatus, AccountStatus, Condition
from worker.web import accounts_page, metrics, security, service_protocol

pytestmark = pytest.mark.anyio

LINK = re.compile(r'(?:href|action|formaction|src|data-events)="([^"#][^"]*)"')


@dataclasses.dataclass
class Accounts:
    """Implements accounts_page.AccountsProtocol."""

    shown: list[AccountStatus]
    services: dict[str, doubles.Service] = dataclasses.field(default_factory=dict)
    errors: dict[str, FleetSyncError] = dataclasses.field(default_factory=dict)
    broken: str = ""
    elsewhere: dict[str, doubles.Service] = dataclasses.field(default_factory=dict)

    def status(self) -> AccountsStatus:
        return AccountsStatus(doubles.NOW, doubles.NOW, "1.0", tuple(self.shown), self.broken)

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.shown)

    def service(self, name: str) -> service_protocol.ServiceProtocol | None:
        return self.services.get(name)

    def controls(self, name: str) -> service_protocol.Controls | None:
        return self.elsewhere.get(name)

    def error(self, name: str) -> FleetSyncError | None:
        return self.errors.get(name)

    def unready_reason(self) -> str:
        return self.broken


def well(name: str) -> AccountStatus:
    return AccountStatus(name, Condition.IN_SYNC, "In sync: 2 fleets, 6 memberships", doubles.NOW)


@pytest.fixture
def accounts() -> Accounts:
    """Return two accounts that run, one of which holds changes, and one whose file is broken."""
    held = AccountStatus("bolt", Condition.ATTENTION, "5 detaches are held and wait for your approval", doubles.NOW)
    refused = AccountStatus("clef", Condition.BROKEN, "clef.toml:2:1: <b>", None, frozenset({status.Part.SETTINGS}))
    error = FleetSyncError("clef.toml:2:1: <b>", remedy="Correct it.")
    services = {"acme": doubles.Service(), "bolt": doubles.Service(doubles.MOODS["held"]())}
    return Accounts([well("acme"), held, refused], services, {"clef": error})


@contextlib.asynccontextmanager
async def asking(accounts: Accounts, access: security.Access = security.OPEN) -> AsyncIterator[httpx.AsyncClient]:
    made = accounts_page.create(accounts, metrics.Metrics(), access)
    transport = httpx.ASGITransport(made, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=conftest.BASE) as client:
        yield client


async def test_the_overview_lists_the_accounts_the_worst_first(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        page = (await client.get("/")).text
    assert re.findall(r'href="/accounts/(\w+)/"', page) == ["clef", "bolt", "acme"]
    assert "1 broken" in page and "1 attention" in page and "1 in sync" in page
    assert "5 detaches are held and wait for your approval" in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [("q=OL", ["bolt"]), ("condition=in_sync", ["acme"]), ("q=acme&condition=broken", []), ("condition=nonsense", [])],
)
async def test_accounts_are_found_by_name_and_condition(accounts: Accounts, query: str, found: list[str]) -> None:
    async with asking(accounts) as client:
        answer = await client.get(f"/?{query}")
    assert answer.status_code == 200
    assert re.findall(r'href="/accounts/(\w+)/"', answer.text) == found


@pytest.mark.integration
async def test_every_link_of_an_account_stays_with_the_account(accounts: Accounts) -> None:
    service = accounts.services["bolt"]
    await doubles.past(service, 3)
    own = [
        "",
        "runs",
        "fleets",
        "runs/run_0001",
        f"fleets/{doubles.fleet(0)}",
        f"drivers?q={doubles.driver(1)}",
        "nowhere",
        "login",
    ]
    async with asking(accounts, security.Access(Secret(doubles.TOKEN))) as client:
        await sign_in(client, "/accounts/bolt/")
        for path in own:
            page = (await client.get(f"/accounts/bolt/{path}")).text
            elsewhere = [link for link in LINK.findall(page) if not link.startswith("/accounts/bolt/")]
            assert [link for link in elsewhere if not link.startswith("/static/")] == ["/"], path
            assert ">bolt</b>" in page


async def test_every_command_of_an_account_names_the_account(accounts: Accounts) -> None:
    waiting = [doubles.held("detach", 100 + number, 1) for number in range(200)]
    last = doubles.run(plan=doubles.guarded(held=waiting))
    accounts.services["bolt"] = doubles.Service(dataclasses.replace(doubles.paused(), last=last))
    await doubles.remember(accounts.services["bolt"], last)
    async with asking(accounts, security.Access(Secret(doubles.TOKEN), anonymous_read=True)) as client:
        pages = [
            (await client.get(f"/accounts/bolt/{path}")).text
            for path in ("", f"runs/{last.run}", f"fleets/{doubles.fleet(1)}")
        ]
    commands = re.findall(r"<code>(fleet-sync [^<]+)</code>", "".join(pages))
    named = [each.removeprefix("fleet-sync --account bolt ").split()[0] for each in commands]
    assert set(named) == {"approve", "show", "plan", "resume"}


@pytest.mark.parametrize("path", ["/", "/nowhere", "/login", "/accounts/clef/", "/accounts/echo/"])
async def test_pages_above_the_accounts_search_accounts(accounts: Accounts, path: str) -> None:
    """There is no driver to be found there."""
    async with asking(accounts, security.Access(Secret(doubles.TOKEN), anonymous_read=True)) as client:
        page = (await client.get(path)).text
    assert "Find an account" in page and "/drivers" not in page


async def test_an_account_does_not_say_its_state_twice(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        page = conftest.plain((await client.get("/?q=acme")).text)
    assert "In sync 2 fleets, 6 memberships" in page and "In sync: " not in page


async def sign_in(client: httpx.AsyncClient, target: str) -> httpx.Response:
    form = {"name": "Emma Bakker", "token": doubles.TOKEN, "next": target}
    answer = await client.post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, target)
    return answer


async def test_what_is_asked_of_an_account_is_done_by_that_account_only(accounts: Accounts) -> None:
    with structlog.testing.capture_logs() as logs:
        async with asking(accounts, security.Access(Secret(doubles.TOKEN))) as client:
            for action in ("sync", "approve", "pause", "resume"):
                form = {"digest": doubles.DIGEST}
                answer = await client.post(f"/accounts/bolt/{action}", headers=conftest.BEARER, data=form)
                assert answer.status_code == 202, action
    said = [(each["event"], each["account"]) for each in logs]
    assert said == [(event, "bolt") for event in ("sync_requested", "plan_approved", "paused", "resumed")]
    async with asking(accounts, security.Access(Secret(doubles.TOKEN))) as client:
        assert (await client.post("/sync", headers=conftest.BEARER)).status_code == 404
    assert [accounts.services[name].synced for name in ("acme", "bolt")] == [0, 1]
    assert [accounts.services[name].approved for name in ("acme", "bolt")] == [[], [doubles.DIGEST]]


async def test_an_account_that_runs_elsewhere_can_be_run_paused_and_resumed_here(accounts: Accounts) -> None:
    """Any worker of a cluster may get the request: a pause is an emergency stop."""
    service = accounts.elsewhere["clef"] = doubles.Service()
    async with asking(accounts, security.Access(Secret(doubles.TOKEN))) as client:
        for action in ("sync", "pause", "resume"):
            answer = await client.post(f"/accounts/clef/{action}", headers=conftest.BEARER, data={"by": "Emma"})
            assert (answer.status_code, answer.json()) == (202, {"accepted": True}), action
        assert (service.synced, service.by) == (1, ["Emma", "Emma"])
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await client.post("/accounts/clef/sync", headers=headers)).status_code == 401
        bad = await client.post("/accounts/clef/pause", headers=conftest.BEARER, data={"for": "long"})
        assert bad.status_code == 400
        approved = await client.post("/accounts/clef/approve", headers=conftest.BEARER, data={"digest": doubles.DIGEST})
        assert (approved.status_code, "Correct it." in approved.text) == (503, True)
        assert (await client.get("/accounts/clef/", headers=conftest.BEARER)).status_code == 503
    assert service.synced == 1
    async with asking(accounts) as client:
        assert (await client.post("/accounts/clef/sync", headers=conftest.BEARER)).status_code == 503
    assert service.synced == 1


async def test_a_session_is_valid_for_every_account_and_leads_back_to_its_page(accounts: Accounts) -> None:
    async with asking(accounts, security.Access(Secret(doubles.TOKEN))) as client:
        await sign_in(client, "/")
        for name in ("acme", "bolt"):
            page = (await client.get(f"/accounts/{name}/")).text
            token = re.search(r'name="form_token" value="([^"]+)"', page)
            assert token
            answer = await client.post(f"/accounts/{name}/sync", data={"form_token": token[1]})
            assert answer.headers["location"] == f"/accounts/{name}/?requested"


async def test_an_account_that_does_not_run_says_why(accounts: Accounts) -> None:
    accounts.shown.append(AccountStatus("dent", Condition.STARTING, "Waiting to start"))
    async with asking(accounts) as client:
        broken, waiting, unknown = [await client.get(f"/accounts/{name}/") for name in ("clef", "dent", "echo")]
    assert (broken.status_code, waiting.status_code, unknown.status_code) == (503, 503, 404)
    assert "clef.toml:2:1: &lt;b&gt;" in broken.text and "Correct it." in broken.text
    assert "clef does not run" in broken.text and "dent waits to start" in waiting.text


async def test_an_account_without_a_slash_leads_to_its_overview(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        answer = await client.get("/accounts/acme")
    assert (answer.status_code, answer.headers["location"]) == (308, "/accounts/acme/")


async def test_an_account_that_was_started_again_is_shown_as_it_is_now(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        assert "In sync" in (await client.get("/accounts/acme/")).text
        accounts.services["acme"] = doubles.Service(doubles.MOODS["held"]())
        assert "held" in (await client.get("/accounts/acme/")).text


@pytest.mark.parametrize("path", ["/", "/accounts/acme/", "/accounts/clef/", "/accounts/acme/events"])
async def test_pages_are_hidden_like_those_of_a_single_account(accounts: Accounts, path: str) -> None:
    async with asking(accounts, security.Access(locked=True)) as client:
        assert (await client.get(path)).status_code == 403
        assert (await client.get("/metrics")).status_code == 200
    async with asking(accounts, security.Access(Secret(doubles.TOKEN), anonymous_read=False)) as client:
        answer = await client.get(path)
        assert answer.status_code == 401
        assert f'name="next" value="{path}"' in answer.text


async def test_a_page_of_another_host_is_not_served(accounts: Accounts) -> None:
    async with asking(accounts, security.Access(hosts=frozenset({"127.0.0.1"}))) as client:
        for path in ("/", "/accounts/acme/"):
            assert (await client.get(path, headers={"Host": "evil.example"})).status_code == 421


async def test_every_response_has_the_security_headers(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        for path in ("/", "/accounts/acme/", "/accounts/clef/", "/accounts/echo/", "/nowhere", "/metrics"):
            answer = await client.get(path)
            assert {name: answer.headers.get(name) for name in security.HEADERS} == dict(security.HEADERS), path


async def test_readiness_says_what_is_wrong_with_the_folder(accounts: Accounts) -> None:
    async with asking(accounts) as client:
        assert (await client.get("/readyz")).status_code == 200
        accounts.broken = "_defaults.toml:3:1: unknown key `listn`"
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "_defaults.toml:3:1: unknown key `listn`\n")
        page = (await client.get("/")).text
    assert "_defaults.toml:3:1: unknown key <code>listn</code>" in page
    assert "the last valid ones stay in use" in page


class TestMetrics:
    def series(self, accounts: Accounts) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        gauges = metrics.Metrics()
        for operation in metrics.OPERATIONS:
            for code in (200, 401, 403, 404, 409, 429, 500, 502, 503, 504, None):
                gauges.observe_request(operation, code, seconds=0.1)
        rendered = gauges.render(accounts.status())[0].decode()
        samples = [sample for family in parser.text_string_to_metric_families(rendered) for sample in family.samples]
        found = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
        assert len(found) == len(samples)
        return found

    def test_they_count_accounts_by_condition_and_name_the_worst(self, accounts: Accounts) -> None:
        found = self.series(accounts)
        assert found["fleet_sync_accounts", frozenset({("condition", "in_sync")})] == 1
        assert found["fleet_sync_accounts", frozenset({("condition", "paused")})] == 0
        assert found["fleet_sync_accounts_broken", frozenset({("part", "settings")})] == 1
        assert found["fleet_sync_accounts_oldest_success_timestamp_seconds", frozenset()] == 0
        named = {dict(labels)["name"] for name, labels in found if name == "fleet_sync_worst_account_info"}
        assert named == {"bolt", "clef"}
        accounts.shown.pop()
        oldest = self.series(accounts)["fleet_sync_accounts_oldest_success_timestamp_seconds", frozenset()]
        assert oldest == doubles.NOW.timestamp()

    def test_they_say_since_when_the_worst_do_not_work_and_whether_the_folder_is_broken(
        self, accounts: Accounts
    ) -> None:
        found = self.series(accounts)
        succeeded = {
            dict(labels)["name"]: seconds
            for (name, labels), seconds in found.items()
            if name == "fleet_sync_worst_account_last_success_timestamp_seconds"
        }
        assert succeeded == {"clef": 0, "bolt": doubles.NOW.timestamp()}
        assert {seconds for (name, _), seconds in found.items() if name == "fleet_sync_worst_account_info"} == {1}
        assert found["fleet_sync_accounts_broken", frozenset({("part", "journal")})] == 0
        assert found["fleet_sync_accounts_settings_broken", frozenset()] == 0
        accounts.broken = "_defaults.toml:3:1: unknown key `listn`"
        assert self.series(accounts)["fleet_sync_accounts_settings_broken", frozenset()] == 1

    def test_they_count_processes_only_in_a_cluster(self, accounts: Accounts) -> None:
        def workers(number: int) -> str:
            present = dataclasses.replace(accounts.status(), workers=number)
            return metrics.Metrics().render(present)[0].decode()

        assert "fleet_sync_workers 3.0" in workers(3)
        assert "fleet_sync_workers" not in workers(0)

    def test_they_stay_few_however_many_accounts_there_are(self, accounts: Accounts) -> None:
        accounts.shown = [AccountStatus(f"account-{number}", Condition.BROKEN, "") for number in range(5000)]
        assert len(self.series(accounts)) <= 500

    def test_no_series_has_a_label_for_the_account_but_those_of_the_worst(self, accounts: Accounts) -> None:
        for name, labels in self.series(accounts):
            assert "account" not in dict(labels)
            assert "name" not in dict(labels) or name.startswith("fleet_sync_worst_account_")
