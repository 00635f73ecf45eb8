"""`undo`: the inverse of a run, shown, saved, and checked like any other plan."""

import json

from tests.e2e import conftest


def test_an_undo_is_shown_then_saved_and_applied_only_when_asked(moved: conftest.Workspace) -> None:
    before = moved.changed()
    shown, saved = moved.together(["undo", moved.newest_run()], ["undo", moved.newest_run(), "--out", "undo.json"])
    assert (shown.code, saved.code) == (0, 0)
    assert shown.stdout == saved.stdout
    assert shown.stdout.count("drv_") == 3
    assert "fleet-sync apply undo.json" in saved.stderr
    assert moved.changed() == before

    report = moved.run("apply", "undo.json", "--json").document
    assert (report["result"], report["outcomes"]["applied"]) == ("converged", 3)
    opposite = {"attach": "detach", "detach": "attach"}
    assert set(moved.changed()[3:]) == {(opposite[action], driver, fleet) for action, driver, fleet in before}


def test_an_undo_leaves_out_what_changed_since_and_says_so(moved: conftest.Workspace) -> None:
    """A change by hand or by a later run counts, even if it restored what the run had left."""
    _, second, *_ = moved.members()
    attached = [driver for action, driver, _ in moved.changed() if action == "attach"]
    run = moved.newest_run()
    moved.people.detach(attached[0], second)
    members = moved.members()
    moved.write({**members, second: [driver for driver in members[second] if driver != attached[1]]})
    assert moved.run("once").code == 0
    moved.write({**moved.members(), second: [*moved.members()[second], attached[1]]})
    assert moved.run("once").code == 0
    ended = moved.run("undo", run, "--out", "undo.json")
    plan = json.loads((moved.folder.path / "undo.json").read_text())
    assert ended.code == 0
    assert {change["driver"] for change in plan["changes"]}.isdisjoint(attached[:2])
    assert [change["action"] for change in plan["changes"]] == ["attach"]
    told = {problem["where"]: problem["message"] for problem in plan["problems"]}
    assert set(told) == {f"{driver}/{second}" for driver in attached[:2]}
    assert "another client has changed this membership since" in told[f"{attached[0]}/{second}"]
    assert "changed this membership later" in told[f"{attached[1]}/{second}"]


def test_a_large_undo_is_held_by_the_guard_until_it_is_approved(workspace: conftest.Workspace) -> None:
    """An inverse plan passes the same guard as any other, and is approved in the same way."""
    fleet, *_ = members = workspace.members()
    outsiders = [driver for driver in workspace.people.drivers if driver not in members[fleet]][:10]
    workspace.write({fleet: [*members[fleet], *outsiders]})
    assert workspace.run("once").code == 0
    run = workspace.newest_run()
    ended = workspace.run("undo", run, "--out", "undo.json")
    held = json.loads((workspace.folder.path / "undo.json").read_text())
    assert (ended.code, held["changes"], len(held["held"])) == (3, [], 10)
    assert f"  fleet-sync approve {held['held_digest']}\n  fleet-sync undo {run} --out undo.json\n" in ended.stdout
    assert "once --approve" not in ended.stdout
    assert workspace.run("approve", held["held_digest"]).code == 0
    assert workspace.run("undo", run, "--out", "undo.json").code == 0
    allowed = json.loads((workspace.folder.path / "undo.json").read_text())
    assert (len(allowed["changes"]), allowed["held"]) == (10, [])
    text = (workspace.folder.path / "undo.json").read_text()
    (workspace.folder.path / "edited.json").write_text(text.replace(outsiders[0], sorted(members[fleet])[0]))
    edited = workspace.run("apply", "edited.json")
    assert edited.code == 1 and "its signature does not match" in edited.stderr
    assert workspace.run("apply", "undo.json", FLEET_SYNC_PLAN_KEY="another-long-enough-key").code == 1
    assert workspace.run("apply", "undo.json").code == 0
    used = "select digest, trigger from approvals join runs on run = used_by"
    assert workspace.folder.journal(used) == [(held["held_digest"], "apply")]
    assert workspace.members() == members
