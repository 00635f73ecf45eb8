"""Failure stories over several runs: what is remembered, and what is no longer tried."""

import json

from tests.e2e import conftest

ADDRESS = "sam@example.com"


def test_ssosync_a_recycled_address_inherits_no_access_until_somebody_allows_it(workspace: conftest.Workspace) -> None:
    """358: after the approval the new driver is remembered, so that moving back is held again."""
    fleet, *_ = members = workspace.members()
    old, new = [driver for driver in workspace.people.drivers if driver not in members[fleet]][:2]
    workspace.people.change_driver(old, email=ADDRESS)
    workspace.write({fleet: [*members[fleet], ADDRESS]})
    assert workspace.run("once").code == 0
    assert workspace.changed() == [("attach", old, fleet)]
    workspace.people.change_driver(old, email="sam.old@example.com")
    workspace.people.change_driver(new, email=ADDRESS)

    ended = workspace.run("once", "--json")
    plan = ended.document["plan"]
    assert (ended.code, ended.document["result"], plan["changes"]) == (3, "held", [])
    assert {(each["action"], each["driver"], each["guard"]) for each in plan["held"]} == {
        ("attach", new, "reference_moved"),
        ("detach", old, "reference_moved"),
    }
    assert f"{ADDRESS} resolved to {old} before and resolves to {new} now" in plan["held"][0]["message"]
    assert len(workspace.posts()) == 1

    assert workspace.run("approve", plan["held_digest"]).code == 0
    assert workspace.run("once").code == 0
    assert workspace.changed()[1:] == [("attach", new, fleet), ("detach", old, fleet)]

    workspace.people.change_driver(new, email="sam.new@example.com")
    workspace.people.change_driver(old, email=ADDRESS)
    assert workspace.run("once").code == 3


def _member_of_another_fleet(workspace: conftest.Workspace, fleet: str) -> str:
    """Return a driver who is in some fleet, and not in this one: the attach of a driver in no fleet is never held."""
    people = workspace.people
    return next(driver for driver in people.drivers if people.fleets_of(driver) and driver not in people.members(fleet))


def test_two_controllers_that_fight_are_noticed_frozen_and_both_sides_reported(workspace: conftest.Workspace) -> None:
    """argo-cd 18417, external-dns 1771: until control planes ran out of memory.

    Reverted changes are reapplied under new keys; after the third reversal they are frozen.
    """
    fleet, *_ = members = workspace.members()
    driver = _member_of_another_fleet(workspace, fleet)
    workspace.write({fleet: [*members[fleet], driver]})
    for number in range(3):
        assert workspace.run("once", "--json").document["outcomes"]["applied"] == 1, number
        workspace.people.detach(driver, fleet)
    assert len({post.key for post in workspace.posts()}) == 3
    plan, ended = workspace.run("plan", "--json"), workspace.run("once", "--json")
    assert (plan.code, ended.code, len(workspace.posts())) == (3, 3, 3)
    [held] = ended.document["plan"]["held"]
    assert plan.document["held"] == [held]
    assert (held["driver"], held["fleet"], held["guard"]) == (driver, fleet, "flapping")
    made = [at for (at,) in workspace.folder.journal("select recorded from intents order by recorded")]
    runs = workspace.folder.journal("select distinct started from runs join intents on number = run_number order by 1")
    assert all(str(at) in held["message"] for at in (*made, *(began for (began,) in runs[1:])))
    assert "each time another client reverted it" in held["message"]
    # Moving the row changes nothing; editing it restarts the count.
    workspace.write({fleet: [driver, *members[fleet]]})
    assert workspace.run("once").code == 3
    rows = [*members[fleet], {"driver": driver, "note": "agreed with the other side"}]
    workspace.write(json.dumps({"fleets": {fleet: rows}}))
    assert workspace.run("once").code == 0
    assert driver in workspace.people.members(fleet)


def test_a_detach_waits_out_its_grace(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    leaver, *rest = members[fleet]
    workspace.write({**members, fleet: rest})
    ended = workspace.run("once", "--json", FLEET_SYNC_SYNC__DETACH_GRACE_SECONDS="86400")
    assert (ended.code, ended.document["result"], workspace.posts()) == (0, "in_sync", [])
    problem, new = ended.document["plan"]["problems"]
    assert (problem["where"], new["code"]) == (f"{leaver}/{fleet}", "journal_new")
    assert "it is detached after" in problem["message"]
    [(driver, where, since)] = workspace.folder.journal("select driver, fleet, since from absences")
    assert (driver, where) == (leaver, fleet)
    assert str(since) in problem["message"]
    again = workspace.run("plan", "--json", FLEET_SYNC_SYNC__DETACH_GRACE_SECONDS="86400")
    assert again.document["problems"] == [problem]
    # This also holds a day later and with other settings.
    ended = workspace.run("once", "--json", FLEET_SYNC_SYNC__DETACH_GRACE_SECONDS="0.001")
    assert (ended.code, workspace.changed()) == (0, [("detach", leaver, fleet)])
