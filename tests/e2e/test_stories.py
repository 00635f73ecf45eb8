"""Failure stories of similar tools, played with the real command.

More of them are in `test_guard`, and those over several runs in `test_memory`.
"""

from tests.e2e import conftest
from worker.sandbox import faults, http_types, quirks


def _ask_for_a_leaver(workspace: conftest.Workspace) -> tuple[str, str]:
    fleet, *_ = members = workspace.members()
    leaver = members[fleet].pop()
    workspace.write(members)
    return leaver, fleet


def test_ssosync_a_page_that_fails_voids_the_listing(workspace: conftest.Workspace) -> None:
    """503s: some groups were fetched, the others deleted."""
    _, fleet = _ask_for_a_leaver(workspace)
    other = list(workspace.members())[1]

    def fail(request: http_types.Request) -> str | None:
        broken = request.route == "drivers" and request.query.get("fleet") in (None, fleet, other)
        return "503" if broken else None

    workspace.charge.faults = faults.Faults(script=fail)
    ended = workspace.run("once", "--json", FLEET_SYNC_RETRY__MAX_ATTEMPTS="2")
    assert ended.code == 4
    assert {problem["where"] for problem in ended.document["plan"]["problems"]} >= {fleet, other}
    assert workspace.posts() == []


def test_ssosync_a_driver_that_cannot_be_looked_up_is_not_gone(workspace: conftest.Workspace) -> None:
    """A 503 on one lookup deleted that user."""
    _, fleet = _ask_for_a_leaver(workspace)
    lost = next(driver for driver in workspace.people.drivers if not workspace.people.fleets_of(driver))
    workspace.write({fleet: [*workspace.members()[fleet][1:], lost]})
    workspace.charge.faults = faults.Faults(
        script=lambda request: (
            "503"
            if request.subject == lost or (request.route == "drivers" and not request.query.get("fleet"))
            else None
        )
    )
    ended = workspace.run("once", "--json", FLEET_SYNC_RETRY__MAX_ATTEMPTS="2")
    assert ended.code == 4
    assert "could not be read" in ended.document["plan"]["problems"][0]["message"]
    assert workspace.posts() == []


def test_cf_mgmt_a_source_that_is_gone_ends_the_run(workspace: conftest.Workspace) -> None:
    (workspace.folder.path / "membership.yaml").unlink()
    ended = workspace.run("once", "--json")
    assert ended.code == 1
    assert ended.document["error"]["code"] == "source_unreachable"
    assert workspace.charge.requests == []


def test_firezone_a_listing_that_lacks_members_takes_nobody_out(open_workspace: conftest.Open) -> None:
    """The upstream answered 200 with data missing, as silently capped listings do."""
    workspace = open_workspace(behaves=quirks.Quirks(page_cap=10))
    _, fleet = _ask_for_a_leaver(workspace)
    ended = workspace.run("once", "--json")
    assert ended.code == 4
    assert fleet in {problem["where"] for problem in ended.document["plan"]["problems"]}
    assert "total_drivers" in ended.document["plan"]["problems"][0]["message"]
    assert workspace.posts() == []


def test_fleetdm_pages_that_go_in_circles_end(workspace: conftest.Workspace) -> None:
    _ask_for_a_leaver(workspace)
    workspace.charge.faults = faults.Faults({"loop": 1.0})
    ended = workspace.run("once", "--json", FLEET_SYNC_CHARGE__PAGE_SIZE="3")
    assert ended.code == 1
    assert "circles" in ended.document["error"]["message"]
    assert len(workspace.charge.requests) < 20


def test_ssosync_one_renamed_address_keeps_nobody_else_waiting(workspace: conftest.Workspace) -> None:
    """It aborted every run for two and a half days."""
    fleet, other, *_ = members = workspace.members()
    members[other] = members[other][1:]
    newcomer = next(driver for driver in workspace.people.drivers if driver not in members[fleet])
    workspace.write({**members, fleet: [*members[fleet][1:], "renamed@example.com", newcomer]})
    ended = workspace.run("once", "--json")
    problem, new = ended.document["plan"]["problems"]
    assert new["code"] == "journal_new"
    assert ended.code == 4
    assert "renamed@example.com" in problem["message"] and problem["where"].startswith("membership.yaml:")
    assert sorted((action, where) for action, _, where in workspace.changed()) == [("attach", fleet), ("detach", other)]
