"""The commands on the journal: `history`, `show`, `why`, `forget`, `pause` and `resume`."""

import contextlib
import json
import re
import signal
import sqlite3

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults, http_types

# --- history, show, why, forget ---------------------------------------------------------------------------


def test_history_lists_runs_the_newest_first_and_show_gives_the_very_report(workspace: conftest.Workspace) -> None:
    """A run with changes, one without, one with held changes and one that failed."""
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]][:2]
    workspace.write({**members, fleet: [*members[fleet], *newcomers]})
    reports = [workspace.run("once", "--json").document, workspace.run("once", "--json").document]
    workspace.write(workspace.halved())
    reports.append(workspace.run("once", "--json").document)
    workspace.write("fleets: {}\n")
    reports.append(workspace.run("once", "--json").document)
    assert [report["result"] for report in reports] == ["converged", "in_sync", "held", "failed"]

    shows = [["show", report["run"], "--json"] for report in reports]
    history, newest, *shown = workspace.together(["history", "--json"], ["history", "--json", "--limit", "2"], *shows)
    assert [ended.document for ended in shown] == reports
    assert set(history.document) == {"runs"}
    runs = history.document["runs"]
    listed = ("run", "started", "finished", "result", "exit_code", "outcomes")
    assert [{name: run[name] for name in listed} for run in runs] == [
        {name: report[name] for name in listed} for report in reversed(reports)
    ]
    assert {(*run,) for run in runs} == {("run", "trigger", *listed[1:], "approval", "names")}
    assert {run["trigger"] for run in runs} == {"once"}
    assert newest.document == {"runs": runs[:2]}


def test_the_record_needs_neither_key_nor_network_nor_sources(moved: conftest.Workspace) -> None:
    requests = len(moved.charge.requests)
    (moved.folder.path / "membership.yaml").unlink()
    _, driver, _ = moved.changed()[0]
    ways = (["history"], ["show", moved.newest_run()], ["why", driver], ["approve", f"sha256:{'0' * 64}"])
    for ended, said in zip(
        moved.together(*ways, **conftest.NO_KEY), [*[moved.newest_run()] * 3, "Approved until"], strict=True
    ):
        assert (ended.code, ended.stderr.startswith("warning: No recent run")) == (0, said == "Approved until")
        assert said in ended.stdout
    assert len(moved.charge.requests) == requests


def test_why_shows_when_in_which_run_and_from_which_line_of_the_source(moved: conftest.Workspace) -> None:
    """This works for one fleet or all."""
    rows = (moved.folder.path / "membership.yaml").read_text().splitlines()
    first, second, *_ = members = moved.members()
    (_, leaver, _), (_, joiner, _) = sorted(moved.changed(), reverse=True)[:2]
    moved.write({**members, second: [*members[second], leaver]})
    assert moved.run("once").code == 0
    [(oldest,), (newest,)] = moved.folder.journal("select run from runs order by started")
    left, both, joined = moved.together(["why", leaver, first], ["why", leaver], ["why", joiner, second])
    name = moved.people.drivers[leaver].name
    head, line = left.stdout.splitlines()
    assert head == f"{name} {leaver}"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  - detached from ", line)
    assert f"{oldest} (once)" in line and "applied, 1 attempt, req_" in line and "membership.yaml" not in line
    assert re.findall(r"run_\w+", both.stdout) == [oldest, newest]
    found = re.search(r"membership\.yaml:(\d+):(\d+)", joined.stdout)
    assert found and rows[int(found[1]) - 1][int(found[2]) - 1 :] == f'"{joiner}"'


def test_show_has_for_each_change_what_support_asks_for(workspace: conftest.Workspace) -> None:
    """A refused change, one with several attempts, and one deferred for another."""
    first, second, *_ = members = workspace.members()
    refused, slow = [driver for driver in workspace.people.drivers if driver not in members[second]][:2]
    if refused not in members[first]:
        workspace.people.attach(refused, first)
        members = workspace.members()
    workspace.write(
        {
            **members,
            first: [driver for driver in members[first] if driver != refused],
            second: [*members[second], refused, slow],
        }
    )
    tried: set[str] = set()

    def script(request: http_types.Request) -> str | None:
        if request.route not in http_types.WRITES:
            return None
        first_time = request.subject not in tried
        tried.add(request.subject)
        return "refused" if request.subject == refused else "503" if first_time else None

    workspace.charge.faults = faults.Faults(script=script)
    report = workspace.run("once", "--json").document
    shown, page = (
        ended.stdout for ended in workspace.together(["show", report["run"], "--json"], ["show", report["run"]])
    )
    assert json.loads(shown) == report
    found = {(c["action"], c["driver"]): (c["outcome"], c["attempts"], c["code"]) for c in report["changes"]}
    assert found[("attach", refused)] == ("refused", 1, "policy_blocked")
    assert found[("detach", refused)] == ("deferred", 0, "attach_first")
    assert found[("attach", slow)] == ("applied", 2, None)
    assert re.search(r"\n  refused: 409: .+ \(policy_blocked\)\n    .+\n      \+ .+  1 attempt, req_\w+", page)
    assert re.search(r"\n  deferred: .+ \(attach_first\)\n    .+\n      - .+  0 attempts", page)
    assert "2 attempts" in page


def test_a_saved_plan_of_which_a_part_was_stale_is_shown_as_it_was_reported(moved: conftest.Workspace) -> None:
    """The order of changes is the same, including changes that were never sent."""
    first, second, *_ = members = moved.members()
    members[second] = members[second][:-2]
    members[first] += [driver for driver in moved.people.drivers if driver not in members[first]][:2]
    moved.write(members)
    assert moved.run("plan", "--out", "plan.json").code == 0
    changes = json.loads((moved.folder.path / "plan.json").read_text())["changes"]
    moved.people.detach(members[first][0], first)
    one = changes[0]
    (moved.people.attach if one["action"] == "attach" else moved.people.detach)(one["driver"], one["fleet"])
    report = moved.run("apply", "plan.json", "--json").document
    assert report["outcomes"]["stale"] == 1
    assert moved.run("show", report["run"], "--json").document == report


def test_a_run_may_be_named_by_the_beginning_of_its_id(moved: conftest.Workspace) -> None:
    oldest = moved.newest_run()
    moved.run("once")
    short, several, none, undone = moved.together(
        ["show", oldest[:16], "--json"], ["show", "run_", "--json"], ["show", "run_nothing"], ["undo", "run_nothing"]
    )
    assert short.document["run"] == oldest
    assert (several.code, several.document["error"]["code"]) == (1, "run_unknown")
    assert "several runs begin with 'run_'" in several.document["error"]["message"]
    for ended in (none, undone):
        assert (ended.code, ended.stdout) == (1, "")
        assert "no run in the journal begins with 'run_nothing'" in ended.stderr
        assert "fleet-sync history" in ended.stderr


def test_before_the_first_run_there_is_nothing_to_tell_and_no_journal_is_made(workspace: conftest.Workspace) -> None:
    driver = next(iter(workspace.people.drivers))
    listed, page, why, show = workspace.together(["history", "--json"], ["history"], ["why", driver], ["show", "run_1"])
    assert (listed.code, listed.document) == (0, {"runs": []})
    assert (page.code, page.stdout) == (0, "The journal has no runs yet.\n")
    assert (why.code, why.stdout) == (0, f"{driver}\nThe journal has no such change.\n")
    assert show.code == 1
    assert not (workspace.folder.path / "fleet-sync.db").exists()


def test_what_the_journal_cannot_be_asked_is_wrong_usage(workspace: conftest.Workspace) -> None:
    driver = f"drv_{'A' * 32}"
    asked: list[list[str]] = [["alice@example.com"], ["drv_short"], [driver, "Paris vans"], []]
    wrong = [*(["why", *each] for each in asked), ["approve", "sha256:0"], ["history", "--limit", "0"], ["show"]]
    for arguments, ended in zip(wrong, workspace.together(*wrong), strict=True):
        assert (ended.code, ended.stdout) == (64, ""), arguments
        assert "Traceback" not in ended.stderr


def test_history_takes_any_number_for_its_limit(workspace: conftest.Workspace) -> None:
    workspace.run("once")
    every = workspace.run("history", "--json", "--limit", str(10**30))
    assert (every.code, len(every.document["runs"])) == (0, 1)


def test_the_beginning_of_a_run_has_a_letter_at_least(workspace: conftest.Workspace) -> None:
    """An empty variable of a script is not the only run of a journal."""
    workspace.run("once")
    for ended in workspace.together(["show", ""], ["undo", ""], ["audit", "--since", ""]):
        assert ended.code in (1, 64)
        assert ended.stdout == ""


def test_why_takes_names_and_addresses(moved: conftest.Workspace) -> None:
    """What the journal does not know, or knows twice, is wrong usage, with what to write instead."""
    _, driver, fleet = moved.changed()[0]
    known = moved.people.drivers[driver]
    ways = [known.email.upper(), known.name.lower()]
    name = moved.people.fleets[fleet].name
    byte_for_byte, *others = moved.together(["why", driver, fleet], *(["why", way, name] for way in ways))
    assert [(ended.code, ended.stdout) for ended in others] == [(0, byte_for_byte.stdout)] * 2
    document = moved.run("why", driver, "--json").document
    assert {driver, fleet} <= document["names"].keys()
    assert [each["driver"] for each in document["changes"]] == [driver]
    wrong = [["Nobody Atall"], ["drv_short"], [driver, "No such fleet"], ["example.com"]]
    said = ["Write the id (drv_", "exactly 32 letters", f"{name} ({fleet})", "several drivers match"]
    for ended, part in zip(moved.together(*(["why", *each] for each in wrong)), said, strict=True):
        assert ended.code == 64
        assert part in " ".join(ended.stderr.split())


def test_whoever_is_forgotten_is_in_no_file_and_does_not_come_back(moved: conftest.Workspace) -> None:
    _, driver, _ = moved.changed()[0]
    name = moved.people.drivers[driver].name
    assert name in moved.run("why", driver).stdout
    ended = moved.run("forget", moved.people.drivers[driver].email)
    assert ended.code == 0
    assert "saved plans, exports and backups are out of reach" in ended.stdout
    moved.write({fleet: [] for fleet in moved.members()})
    assert moved.run("once").code == 3
    for shown in moved.together(["why", driver], ["show", moved.newest_run()]):
        assert name not in shown.stdout
    stored = b"".join(path.read_bytes() for path in moved.folder.path.glob("fleet-sync.db*"))
    assert name.encode() not in stored
    assert moved.people.drivers[driver].email.encode() not in stored


def test_the_record_can_be_read_while_a_run_is_writing(workspace: conftest.Workspace) -> None:
    """Started writes are shown, with or without an outcome."""
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]][:6]
    workspace.write({fleet: [*members[fleet], *newcomers]})
    stuck = newcomers[3:]
    workspace.charge.faults = faults.Faults(
        script=lambda request: "hang" if request.subject in stuck and request.route in http_types.WRITES else None
    )
    with workspace.folder.started(
        "once", FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="600", FLEET_SYNC_SYNC__DRAIN_SECONDS="0"
    ) as running:
        recorded = "select count(*) from intents where outcome = 'applied'"
        command.until(
            lambda: len(workspace.posts()) == 6 and workspace.folder.journal(recorded) == [(3,)], what="3 outcomes"
        )
        history, show = workspace.together(["history", "--json"], ["show", workspace.newest_run(), "--json"])
        [run] = history.document["runs"]
        assert (run["result"], run["finished"], run["exit_code"]) == (None, None, None)
        shown = show.document
        assert running.process.poll() is None
        running.signal(signal.SIGTERM)
        assert running.end().code == 143
    assert shown["result"] is None
    assert {change["driver"]: change["outcome"] for change in shown["changes"]} == {
        driver: None if driver in stuck else "applied" for driver in newcomers
    }


def test_runs_older_than_keep_days_are_forgotten_with_their_changes(moved: conftest.Workspace) -> None:
    oldest = moved.newest_run()
    _, driver, fleet = moved.changed()[0]
    with contextlib.closing(sqlite3.connect(moved.folder.path / "fleet-sync.db")) as database, database:
        database.execute("update runs set started = '2020-01-01T00:00:00.000Z', finished = '2020-01-01T00:00:01.000Z'")
    moved.people.detach(moved.members()[fleet][-1], fleet)
    assert moved.run("once", FLEET_SYNC_JOURNAL__KEEP_DAYS="30").code == 0
    assert oldest != moved.newest_run()
    assert oldest not in moved.run("why", driver, fleet).stdout


# --- pause and resume -------------------------------------------------------------------------------------


def test_a_pause_stops_writes_until_it_is_ended(workspace: conftest.Workspace) -> None:
    """It needs neither key nor network, and says who paused and why wherever somebody may wonder."""
    members = workspace.members()
    fleet = next(iter(members))
    workspace.write({**members, fleet: members[fleet][1:]})
    assert workspace.run("plan", "--out", "plan.json").code == 0
    for nothing in ("0m", "00h"):
        refused = workspace.run("pause", "--for", nothing, **conftest.NO_KEY)
        assert (refused.code, refused.stdout) == (64, ""), "it would be over already, and say that all is paused"
    paused = workspace.run("pause", "--for", "2h", "--reason", "migration of the HR system", **conftest.NO_KEY)
    assert (paused.code, paused.stderr) == (0, "")
    assert "All fleets: paused since " in paused.stdout
    ways = (["plan"], ["once"], ["apply", "plan.json"])
    for ended, code in zip([workspace.run(*way) for way in ways], (0, 0, 3), strict=True):
        assert ended.code == code
        assert ": migration of the HR system" in ended.stdout + ended.stderr
    assert workspace.run("once", "--json").document["result"] == "paused"
    assert workspace.posts() == []
    assert "migration of the HR system" in workspace.run("show", workspace.newest_run(), "--json").stdout
    assert workspace.run("resume", **conftest.NO_KEY).stdout.startswith("Resumed: all fleets, paused since ")
    assert workspace.run("resume").stdout == "Nothing was paused.\n"
    assert workspace.run("pause", "--fleet", fleet).code == 0
    assert workspace.run("once", "--json").document["result"] == "paused"
    assert workspace.run("apply", "plan.json", "--during-pause").code == 0
    assert len(workspace.posts()) == 1
