"""The service in operation: triggers, failures, recovery, and its messages."""

import contextlib
import itertools
import json
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e import conftest
from tests.support import command, served
from worker.sandbox import faults, http_types, state

TOKEN = "a-token-of-the-tests"
SELDOM = {"FLEET_SYNC_SYNC__INTERVAL_SECONDS": "3600"}
SERVED = {"FLEET_SYNC_STATUS__LISTEN": "127.0.0.1:0", "FLEET_SYNC_STATUS_TOKEN": TOKEN}


class Service:
    """A service that runs beside the test, with its log lines."""

    def __init__(self, running: command.Running, workspace: conftest.Workspace, log: pathlib.Path) -> None:
        """Store a running command whose stderr goes to a file."""
        self.running = running
        self.workspace = workspace
        self.log = log

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines with this event so far."""
        return [line for line in self.lines() if line["event"] == name]

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines that are written whole."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def runs(self, trigger: str = "") -> list[dict[str, Any]]:
        """Return the finished runs of one trigger or all."""
        return [run for run in self.events("run_finished") if run["trigger"] == trigger or not trigger]

    def after(self, what: str, happened: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        command.until(happened, what=f"{what}\n{self.log.read_text()}")

    def ran(self, trigger: str, count: int = 1) -> dict[str, Any]:
        """Wait for this many finished runs of a trigger and return the last."""
        self.after(f"{count} runs by {trigger}", lambda: len(self.runs(trigger)) >= count)
        return self.runs(trigger)[count - 1]

    def ask(self, method: str, path: str, token: str = "", **more: Any) -> httpx.Response:
        """Send a request to the page."""
        self.after("the page", lambda: bool(self.events("serving")))
        url = self.events("serving")[0]["url"].rstrip("/") + path
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.request(method, url, headers=headers, trust_env=False, timeout=60, **more)

    def metric(self, line: str) -> float:
        """Return the value of a metric, or 0 if it is missing."""
        found = [text for text in self.ask("GET", "/metrics").text.splitlines() if text.startswith(f"{line} ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


Start = Callable[..., contextlib.AbstractContextManager[Service]]


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Start:
    """Return a function that starts services."""

    @contextlib.contextmanager
    def starting(workspace: conftest.Workspace, **environ: str) -> Iterator[Service]:
        log = tmp_path / "log"
        log.write_text("")
        with log.open("a") as stream:
            running = command.start(
                "run", environ={**workspace.folder.environ, **SELDOM, **environ}, stderr=stream.fileno()
            )
            try:
                service = Service(running, workspace, log)
                yield service
                running.signal(signal.SIGTERM)
                assert running.end().code == 143
                assert "Traceback" not in log.read_text()
            finally:
                running.reap()

    return starting


def _in_place(path: pathlib.Path, text: str) -> None:
    path.write_text(text)


def _by_replacement(path: pathlib.Path, text: str) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


@pytest.mark.parametrize("edit", [_in_place, _by_replacement])
def test_an_edited_source_is_carried_out_at_once(
    workspace: conftest.Workspace, start: Start, edit: Callable[[pathlib.Path, str], None]
) -> None:
    fleet, *_ = members = workspace.members()
    left = members[fleet].pop()
    with start(workspace) as service:
        service.ran("start")
        edit(workspace.folder.path / "membership.yaml", command.document(members))
        # A run may begin while the file in place is empty; the next one carries the edit out.
        service.after("a run that carries it out", lambda: "converged" in [run["result"] for run in service.runs()])
    assert workspace.changed() == [("detach", left, fleet)]


def test_a_config_map_that_is_swapped_is_seen(
    open_workspace: conftest.Open, start: Start, tmp_path: pathlib.Path
) -> None:
    """Kubernetes writes a new folder and swaps the link `..data`, through which the document's link leads."""
    folder = tmp_path / "mounted"
    workspace = open_workspace(source="mounted/membership.yaml")
    fleet, *_ = members = workspace.members()

    def mount(name: str, text: str) -> None:
        (folder / name).mkdir(parents=True)
        (folder / name / "membership.yaml").write_text(text)
        (folder / "..fresh").symlink_to(name)
        (folder / "..fresh").replace(folder / "..data")

    mount("..2026_11_23", command.document(members))
    (folder / "membership.yaml").symlink_to("..data/membership.yaml")
    left = members[fleet].pop()
    with start(workspace) as service:
        service.ran("start")
        mount("..2026_11_24", command.document(members))
        service.ran("source")
    assert workspace.changed() == [("detach", left, fleet)]


def test_a_broken_source_changes_nothing_is_reported_and_recovers_by_itself(
    workspace: conftest.Workspace, start: Start
) -> None:
    source = workspace.folder.path / "membership.yaml"
    sound = source.read_text()
    with start(workspace, **SERVED) as service:
        service.ran("start")
        workspace.write(sound[: len(sound) // 2] + "\n  - [")
        broken = service.ran("source")
        assert (broken["result"], broken["level"]) == ("failed", "error")
        assert "membership.yaml:" in broken["error"]
        assert service.metric('fleet_sync_broken{part="source"}') == 1
        assert "membership.yaml" in service.ask("GET", "/", token=TOKEN).text
        workspace.write(sound)
        assert service.ran("source", 2)["result"] == "in_sync"
        assert service.metric('fleet_sync_broken{part="source"}') == 0
    assert workspace.posts() == []


def test_a_hangup_reads_the_settings_anew_and_broken_ones_leave_the_last_good_ones(
    workspace: conftest.Workspace, start: Start
) -> None:
    fleet, *_ = members = workspace.members()
    sound = workspace.folder.settings.read_text()
    with start(workspace, **SERVED) as service:
        service.ran("start")
        workspace.folder.settings.write_text(f"{sound}\n[sync]\nmode = 'wrong'\n")
        service.running.signal(signal.SIGHUP)
        assert service.ran("signal")["result"] == "in_sync"
        (told,) = service.events("settings_broken")
        assert "sync.mode" in told["error"] and service.ask("GET", "/readyz").status_code == 503
        workspace.folder.settings.write_text(f"{sound}\n[sync]\nmode = 'additive'\n")
        service.running.signal(signal.SIGHUP)
        service.ran("signal", 2)
        assert service.events("settings_reloaded") and service.ask("GET", "/readyz").status_code == 200
        members[fleet].pop()
        workspace.write(members)
        assert service.ran("source")["result"] == "in_sync"
    assert workspace.posts() == []


def test_what_cannot_change_while_it_runs_is_refused_whole(workspace: conftest.Workspace, start: Start) -> None:
    settings = workspace.folder.settings
    with start(workspace) as service:
        service.ran("start")
        settings.write_text(f'{settings.read_text()}\n[journal]\nurl = "sqlite:///other.db"\n')
        service.running.signal(signal.SIGHUP)
        service.ran("signal")
        (told,) = service.events("settings_broken")
        assert "journal.url" in told["error"] and "Restart" in told["remedy"]
    assert not (settings.parent / "other.db").exists()


def test_requests_to_reconcile_need_the_token_and_share_a_run(workspace: conftest.Workspace, start: Start) -> None:
    """Requests that arrive during a run lead to one more run, however many they are and however fast the machine is."""
    reached, released = threading.Event(), threading.Event()

    def hold_the_run(request: http_types.Request) -> None:
        reached.set()
        released.wait()

    with start(workspace, **SERVED) as service:
        service.ran("start")
        assert service.ask("POST", "/sync").status_code == 401
        assert service.ask("POST", "/sync", token="another-token-of-the-tests").status_code == 401
        workspace.people.detach(*_first(workspace))
        workspace.charge.faults = faults.Faults(script=hold_the_run)
        try:
            assert service.ask("POST", "/sync", token=TOKEN).status_code == 202
            service.after("a run begins", reached.is_set)
            assert {service.ask("POST", "/sync", token=TOKEN).status_code for _ in range(30)} == {202}
        finally:
            released.set()
        assert service.ran("request", 2)["result"] == "in_sync"
        service.running.signal(signal.SIGHUP)
        service.ran("signal")
        assert [run["trigger"] for run in service.runs()] == ["start", "request", "request", "signal"]
    assert len(workspace.posts()) == 1


def _first(workspace: conftest.Workspace) -> tuple[str, str]:
    fleet, drivers = next(iter(workspace.members().items()))
    return drivers[0], fleet


def test_without_a_token_there_is_nothing_to_ask(workspace: conftest.Workspace, start: Start) -> None:
    with start(workspace, FLEET_SYNC_STATUS__LISTEN="127.0.0.1:0") as service:
        service.ran("start")
        assert service.ask("POST", "/sync").status_code == 404
        assert service.ask("POST", "/sync", token=TOKEN).status_code == 404


def test_it_lives_whatever_charge_does_and_is_ready_when_a_run_has_ended_well(
    workspace: conftest.Workspace, start: Start
) -> None:
    workspace.charge.faults = faults.Faults({"500": 1.0})
    once = {"FLEET_SYNC_RETRY__MAX_ATTEMPTS": "1", "FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.2"}
    with start(workspace, **{**SERVED, **once}) as service:
        service.ran("start")
        assert service.ask("GET", "/healthz").status_code == 200
        assert service.ask("GET", "/readyz").status_code == 503
        assert service.metric('fleet_sync_broken{part="charge"}') == 1
        assert service.metric("fleet_sync_last_success_timestamp_seconds") == 0
        workspace.charge.faults = faults.NONE
        service.after("a run that ends well", lambda: any(run["result"] == "in_sync" for run in service.runs()))
        assert service.ask("GET", "/readyz").status_code == 200
        assert service.metric('fleet_sync_broken{part="charge"}') == 0
        assert service.metric("fleet_sync_last_success_timestamp_seconds") > 1e9


def test_a_refused_change_waits_and_goes_at_once_when_its_row_changes(
    workspace: conftest.Workspace, start: Start
) -> None:
    driver, fleet = _first(workspace)
    workspace.people.detach(driver, fleet)
    workspace.charge.faults = faults.Faults(script=lambda request: "refused" if request.key else None)
    source = workspace.folder.path / "membership.yaml"
    with start(workspace, FLEET_SYNC_SYNC__INTERVAL_SECONDS="0.1") as service:
        assert service.ran("start")["refused"] == 1
        later = service.ran("interval", 3)
        assert (later["result"], later["deferred"], "refused" in later) == ("partial", 1, False)
        assert len(workspace.posts()) == 1
        workspace.charge.faults = faults.NONE
        edited = source.read_text().replace(f'- "{driver}"', f'- {{driver: "{driver}", note: "has a contract now"}}', 1)
        workspace.write(edited)
        service.after("the row tried again", lambda: len(workspace.posts()) == 2)
        service.after("it is done", lambda: service.runs()[-1]["result"] == "in_sync")
    assert driver in workspace.members()[fleet]


def test_a_run_with_nothing_to_do_is_one_line(workspace: conftest.Workspace, start: Start) -> None:
    with start(workspace, FLEET_SYNC_SYNC__INTERVAL_SECONDS="0.1") as service:
        service.ran("interval", 5)
        assert {line["event"] for line in service.lines()} == {"run_finished"}


def test_held_detaches_are_let_through_from_the_page_with_the_token_only(
    workspace: conftest.Workspace, start: Start
) -> None:
    members = workspace.members()
    fleet, drivers = next(iter(members.items()))
    workspace.write({**members, fleet: drivers[:1]})
    with start(workspace, **SERVED) as service:
        held = service.ran("start")
        digest = held["digest"]
        assert (held["result"], held["held"]) == ("held", len(drivers) - 1)
        assert digest in service.ask("GET", "/", token=TOKEN).text
        assert service.ask("POST", "/approve", data={"digest": digest}).status_code == 401
        assert workspace.posts() == []
        answer = service.ask("POST", "/approve", data={"digest": digest, "token": TOKEN})
        assert answer.status_code in (200, 303)
        assert service.ran("request")["result"] == "converged"
    assert len(workspace.posts()) == len(drivers) - 1


def test_repaired_drift_that_comes_back_is_repaired_again_and_the_third_reversal_freezes_it(
    open_workspace: conftest.Open, start: Start
) -> None:
    """argo-cd 18417, external-dns 1771: two controllers that fight over the same objects are detected."""
    people = state.SandboxState.populate(drivers=10, fleets=2)
    for each, one in itertools.product(people.fleets, people.drivers):
        people.attach(one, each)  # the attach of a driver in no fleet is never frozen
    workspace = open_workspace(people)
    driver, fleet = _first(workspace)
    with start(workspace, **SERVED) as service:
        service.ran("start")
        for count in (1, 2, 3):
            workspace.people.detach(driver, fleet)
            service.ask("POST", "/sync", token=TOKEN)
            service.after("the drift made good", lambda: len(workspace.changed()) == count)  # noqa: B023
            service.ran("request", count)
        assert len({post.key for post in workspace.posts()}) == 3
        workspace.people.detach(driver, fleet)
        service.ask("POST", "/sync", token=TOKEN)
        frozen = service.ran("request", 4)
        assert (frozen["result"], frozen["held"]) == ("held", 1)
        assert "frozen" in service.ask("GET", "/", token=TOKEN).text
        assert service.metric(f'fleet_sync_memberships{{fleet="{fleet}",state="frozen"}}') == 1
    assert len(workspace.posts()) == 3


def test_a_webhook_gets_what_is_broken_once_and_that_it_is_over(workspace: conftest.Workspace, start: Start) -> None:
    told: list[dict[str, Any]] = []

    async def hook(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        told.append(json.loads((await receive())["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    source = workspace.folder.path / "membership.yaml"
    sound = source.read_text()
    with (
        served.over_http(hook) as url,
        start(workspace, FLEET_SYNC_NOTIFY__URL=f"{url}/a-secret", FLEET_SYNC_SYNC__INTERVAL_SECONDS="0.2") as service,
    ):
        service.ran("start")
        workspace.write("fleets: {}\n")
        service.after("the notice", lambda: len(told) == 1)
        service.after("more failures", lambda: [run["result"] for run in service.runs()].count("failed") >= 3)
        workspace.write(sound)
        service.after("the end of it", lambda: len(told) == 2)
        assert "a-secret" not in service.log.read_text()
    assert [each["kind"] for each in told] == ["broken", "recovered"]
    assert "source" in told[0]["text"].lower()
