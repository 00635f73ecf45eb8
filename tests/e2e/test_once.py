"""`fleet-sync once` and the rules that always hold, over a real connection."""

from tests.e2e import conftest
from worker.sandbox import app, faults, http_types

REPORT_KEYS = [
    "format",
    "run",
    "result",
    "exit_code",
    "started",
    "finished",
    "plan",
    "outcomes",
    "changes",
    "problems",
    "requests",
    "error",
    "names",
]
CHANGE_KEYS = ["action", "driver", "fleet", "outcome", "attempts", "request_id", "code", "message"]


def _ask_for_a_mover(workspace: conftest.Workspace) -> tuple[str, str, str]:
    """Move one driver in the document. Return the driver, the old fleet and the new fleet."""
    members = workspace.members()
    here, there, *_ = members
    mover = next(driver for driver in members[here] if driver not in members[there])
    members[here].remove(mover)
    members[there].append(mover)
    workspace.write(members)
    return mover, here, there


def test_it_converges_and_reports_and_the_second_run_writes_nothing(workspace: conftest.Workspace) -> None:
    mover, here, there = _ask_for_a_mover(workspace)
    digest = workspace.run("plan", "--json").document["digest"]
    ended = workspace.run("once", "--json")
    report = ended.document
    assert ended.code == 0
    assert list(report) == REPORT_KEYS
    assert (report["format"], report["result"], report["exit_code"]) == ("fleet-sync/report@1", "converged", 0)
    assert report["run"].startswith("run_")
    assert report["started"] < report["finished"]
    assert report["plan"]["digest"] == digest
    assert all(list(change) == CHANGE_KEYS for change in report["changes"])
    assert {change["outcome"] for change in report["changes"]} == {"applied"}
    assert all(change["request_id"].startswith("req_") for change in report["changes"])
    assert report["outcomes"]["applied"] == 2
    assert report["requests"]["writes"] == len(workspace.posts()) == 2
    assert report["error"] is None
    assert workspace.changed() == [("attach", mover, there), ("detach", mover, here)]

    again = workspace.run("once", "--json").document
    assert (again["result"], again["exit_code"]) == ("in_sync", 0)
    assert again["requests"]["writes"] == 0
    assert len(workspace.posts()) == 2


def test_results_go_to_stdout_and_logs_to_stderr(workspace: conftest.Workspace) -> None:
    _ask_for_a_mover(workspace)
    ended = workspace.run("--log-level", "debug", "once")
    assert ended.code == 0
    assert "Converged: 2 applied" in ended.stdout
    assert "{" not in ended.stdout
    assert {event["event"] for event in ended.events} == {"membership_attach", "membership_detach"}


def test_a_fleet_that_does_not_appear_is_never_touched(workspace: conftest.Workspace) -> None:
    fleet, *others = workspace.members()
    workspace.write({fleet: workspace.members()[fleet]})
    before = {other: workspace.people.members(other) for other in others}
    assert workspace.run("once").code == 0
    assert {other: workspace.people.members(other) for other in others} == before
    assert workspace.posts() == []


def test_additive_fleets_and_accounts_lose_nobody(workspace: conftest.Workspace) -> None:
    fleet, other, *_ = workspace.members()
    newcomer = next(driver for driver in workspace.people.drivers if driver not in workspace.people.members(fleet))
    workspace.write(f"fleets:\n  {fleet}:\n    mode: additive\n    drivers: [{newcomer}]\n")
    assert workspace.run("once").code == 0
    workspace.write({fleet: [], other: [newcomer]})
    assert workspace.run("once", FLEET_SYNC_SYNC__MODE="additive").code == 0
    assert {action for action, _, _ in workspace.changed()} == {"attach"}


def test_a_member_whom_any_source_names_stays(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    text = workspace.folder.settings.read_text().replace(
        "[rate_limit]", '[[sources]]\npath = "more.csv"\n\n[rate_limit]'
    )
    workspace.folder.settings.write_text(text)
    workspace.write({fleet: members[fleet][2:]})
    workspace.write("driver,fleet\n" + "".join(f"{driver},{fleet}\n" for driver in members[fleet][:2]), "more.csv")
    ended = workspace.run("once", "--json")
    assert ended.document["result"] == "in_sync"
    assert [source["name"] for source in ended.document["plan"]["sources"]] == ["membership.yaml", "more.csv"]


def test_a_driver_whose_attach_is_refused_keeps_the_old_fleet(workspace: conftest.Workspace) -> None:
    mover, here, _ = _ask_for_a_mover(workspace)
    workspace.charge.faults = faults.Faults(script=lambda request: "refused" if request.route == "attach" else None)
    ended = workspace.run("once", "--json")
    attach, detach = sorted(ended.document["changes"], key=lambda change: change["action"])
    assert (ended.code, ended.document["result"]) == (4, "partial")
    assert (attach["outcome"], attach["code"]) == ("refused", "policy_blocked")
    assert detach["outcome"] == "deferred"
    assert mover in workspace.people.members(here)
    assert [post.path for post in workspace.posts()] == [f"/v1/drivers/{mover}/attach"]


def test_every_write_is_in_the_journal_before_it_is_sent_and_with_its_outcome_after(
    workspace: conftest.Workspace,
) -> None:
    _ask_for_a_mover(workspace)
    seen: list[tuple[object, ...]] = []

    def look(request: http_types.Request) -> str | None:
        if request.route in http_types.WRITES:
            seen.extend(workspace.folder.journal(f"select outcome from intents where key = '{request.key}'"))  # noqa: S608
        return None

    workspace.charge.faults = faults.Faults(script=look)
    assert workspace.run("once").code == 0
    assert seen == [(None,), (None,)]
    rows = workspace.folder.journal("select outcome, request_id is not null, attempts from intents")
    assert rows == [("applied", 1, 1)] * 2
    assert workspace.folder.journal("select result, exit_code from runs") == [("converged", 0)]


def test_a_retry_carries_its_key_and_no_two_writes_share_one(workspace: conftest.Workspace) -> None:
    """Six new drivers, and a different fault for the first write of each."""
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]][:6]
    workspace.write({fleet: members[fleet] + newcomers})
    accidents = ["500_after", "reset_after", "truncated", "wrong_types", "html_200", "reset_before"]
    coming = dict(zip(newcomers, accidents, strict=True))
    workspace.charge.faults = faults.Faults(
        script=lambda request: coming.pop(request.subject, None) if request.route == "attach" else None
    )
    report = workspace.run("once", "--json").document
    assert report["outcomes"]["applied"] == report["requests"]["retries"] == 6
    assert report["requests"]["writes"] == len(workspace.posts()) == 12
    keys = {driver: {post.key for post in workspace.posts() if driver in post.path} for driver in newcomers}
    assert all(len(own) == 1 for own in keys.values())
    assert len(set.union(*keys.values())) == 6
    assert len(workspace.changed()) == 6


def test_without_a_journal_nothing_is_sent(workspace: conftest.Workspace) -> None:
    _ask_for_a_mover(workspace)
    workspace.write("this is no database\n" * 100, "junk.csv")
    for name, path in {"missing": "no/such/folder/journal.db", "junk": "junk.csv"}.items():
        workspace.write(
            f'{workspace.folder.settings.read_text()}\n[journal]\nurl = "sqlite:///{path}"\n', f"{name}.toml"
        )
    calls = (["--config", f"{name}.toml", "once", "--json"] for name in ("missing", "junk"))
    for ended in workspace.together(*calls):
        assert ended.code == 1
        assert ended.document["error"]["code"] == "journal_unwritable"
        assert ended.document["error"]["remedy"]
    assert workspace.posts() == []


def test_a_rejected_key_ends_the_run_at_once(workspace: conftest.Workspace) -> None:
    ended = workspace.run("once", "--json", CHARGE_API_KEY=f"{app.KEY}_revoked")
    assert ended.code == 1
    assert ended.document["requests"] == {"reads": 1, "writes": 0, "retries": 0, "rate_limited": 0}
    assert "CHARGE_API_KEY" in ended.document["error"]["remedy"]
    assert ended.document["plan"] is None
