"""`fleet-sync once` and the rules that hold always, on a real connection."""

from tests.e2e import conftest
from worker.sandbox import app, faults, messages

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
]
CHANGE_KEYS = ["action", "driver", "fleet", "outcome", "attempts", "request_id", "code", "message"]


def _ask_for_a_mover(desk: conftest.Desk) -> tuple[str, str, str]:
    """Move one driver; give the driver, the fleet to leave, and the fleet to join."""
    members = desk.members()
    here, there, *_ = members
    mover = next(driver for driver in members[here] if driver not in members[there])
    members[here].remove(mover)
    members[there].append(mover)
    desk.write(members)
    return mover, here, there


def test_it_converges_and_reports_and_the_second_run_writes_nothing(desk: conftest.Desk) -> None:
    mover, here, there = _ask_for_a_mover(desk)
    digest = desk.run("plan", "--json").document["digest"]
    ended = desk.run("once", "--json")
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
    assert report["requests"]["writes"] == len(desk.posts()) == 2
    assert report["error"] is None
    assert desk.changed() == [("attach", mover, there), ("detach", mover, here)]

    again = desk.run("once", "--json").document
    assert (again["result"], again["exit_code"]) == ("in_sync", 0)
    assert again["requests"]["writes"] == 0
    assert len(desk.posts()) == 2


def test_results_go_to_stdout_and_logs_to_stderr(desk: conftest.Desk) -> None:
    _ask_for_a_mover(desk)
    ended = desk.run("--log-level", "debug", "once")
    assert ended.code == 0
    assert "Converged: 2 applied" in ended.stdout
    assert "{" not in ended.stdout
    assert {event["event"] for event in ended.events} == {"membership_attach", "membership_detach"}


def test_a_fleet_that_does_not_appear_is_never_touched(desk: conftest.Desk) -> None:
    fleet, *others = desk.members()
    desk.write({fleet: desk.members()[fleet]})
    before = {other: desk.people.members(other) for other in others}
    assert desk.run("once").code == 0
    assert {other: desk.people.members(other) for other in others} == before
    assert desk.posts() == []


def test_additive_fleets_and_accounts_lose_nobody(desk: conftest.Desk) -> None:
    fleet, other, *_ = desk.members()
    newcomer = next(driver for driver in desk.people.drivers if driver not in desk.people.members(fleet))
    desk.write(f"fleets:\n  {fleet}:\n    mode: additive\n    drivers: [{newcomer}]\n")
    assert desk.run("once").code == 0
    desk.write({other: [newcomer]})
    assert desk.run("once", FLEET_SYNC_SYNC__MODE="additive").code == 0
    assert {action for action, _, _ in desk.changed()} == {"attach"}


def test_a_member_whom_any_source_names_stays(desk: conftest.Desk) -> None:
    fleet, *_ = members = desk.members()
    text = desk.folder.settings.read_text().replace("[pace]", '[[sources]]\npath = "more.csv"\n\n[pace]')
    desk.folder.settings.write_text(text)
    desk.write({fleet: members[fleet][2:]})
    desk.write("driver,fleet\n" + "".join(f"{driver},{fleet}\n" for driver in members[fleet][:2]), "more.csv")
    ended = desk.run("once", "--json")
    assert ended.document["result"] == "in_sync"
    assert [source["name"] for source in ended.document["plan"]["sources"]] == ["membership.yaml", "more.csv"]


def test_a_driver_whose_attach_is_refused_keeps_the_old_fleet(desk: conftest.Desk) -> None:
    mover, here, _ = _ask_for_a_mover(desk)
    desk.charge.faults = faults.Faults(script=lambda request: "refused" if request.route == "attach" else None)
    ended = desk.run("once", "--json")
    attach, detach = sorted(ended.document["changes"], key=lambda change: change["action"])
    assert (ended.code, ended.document["result"]) == (4, "partial")
    assert (attach["outcome"], attach["code"]) == ("refused", "policy_blocked")
    assert detach["outcome"] == "deferred"
    assert mover in desk.people.members(here)
    assert [post.path for post in desk.posts()] == [f"/v1/drivers/{mover}/attach"]


def test_every_write_is_in_the_journal_before_it_is_sent_and_with_its_outcome_after(desk: conftest.Desk) -> None:
    _ask_for_a_mover(desk)
    seen: list[tuple[object, ...]] = []

    def look(request: messages.Request) -> str | None:
        if request.route in messages.WRITES:
            seen.extend(desk.folder.journal(f"select outcome from intents where key = '{request.key}'"))  # noqa: S608
        return None

    desk.charge.faults = faults.Faults(script=look)
    assert desk.run("once").code == 0
    assert seen == [(None,), (None,)]
    rows = desk.folder.journal("select outcome, request_id is not null, attempts from intents")
    assert rows == [("applied", 1, 1)] * 2
    assert desk.folder.journal("select result, exit_code from runs") == [("converged", 0)]


def test_a_retry_carries_its_key_and_no_two_writes_share_one(desk: conftest.Desk) -> None:
    """Six newcomers, and to each one's first write something else happens."""
    fleet, *_ = members = desk.members()
    newcomers = [driver for driver in desk.people.drivers if driver not in members[fleet]][:6]
    desk.write({fleet: members[fleet] + newcomers})
    accidents = ["500_after", "reset_after", "truncated", "wrong_types", "html_200", "reset_before"]
    coming = dict(zip(newcomers, accidents, strict=True))
    desk.charge.faults = faults.Faults(
        script=lambda request: coming.pop(request.subject, None) if request.route == "attach" else None
    )
    report = desk.run("once", "--json").document
    assert report["outcomes"]["applied"] == report["requests"]["retries"] == 6
    assert report["requests"]["writes"] == len(desk.posts()) == 12
    keys = {driver: {post.key for post in desk.posts() if driver in post.path} for driver in newcomers}
    assert all(len(own) == 1 for own in keys.values())
    assert len(set.union(*keys.values())) == 6
    assert len(desk.changed()) == 6


def test_without_a_journal_nothing_is_sent(desk: conftest.Desk) -> None:
    _ask_for_a_mover(desk)
    desk.write("this is no database\n" * 100, "junk.csv")
    for name, path in {"missing": "no/such/folder/journal.db", "junk": "junk.csv"}.items():
        desk.write(f'{desk.folder.settings.read_text()}\n[journal]\nurl = "sqlite:///{path}"\n', f"{name}.toml")
    calls = (["--config", f"{name}.toml", "once", "--json"] for name in ("missing", "junk"))
    for ended in desk.together(*calls):
        assert ended.code == 1
        assert ended.document["error"]["code"] == "journal_unwritable"
        assert ended.document["error"]["remedy"]
    assert desk.posts() == []


def test_a_rejected_key_ends_the_run_at_once(desk: conftest.Desk) -> None:
    ended = desk.run("once", "--json", CHARGE_API_KEY=f"{app.KEY}_revoked")
    assert ended.code == 1
    assert ended.document["requests"] == {"reads": 1, "writes": 0, "retries": 0, "rate_limited": 0}
    assert "CHARGE_API_KEY" in ended.document["error"]["remedy"]
    assert ended.document["plan"] is None
