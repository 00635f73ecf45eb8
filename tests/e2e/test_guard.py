"""Held changes: which guard holds them, and which approval allows them."""

import json

import pytest

from tests.e2e import conftest


def test_peribolos_a_skewed_document_removes_nobody_until_exactly_that_plan_is_approved(
    workspace: conftest.Workspace,
) -> None:
    """Held detaches are listed with the digest that approves them; another digest approves nothing."""
    newcomer = next(driver for driver in workspace.people.drivers if not workspace.people.fleets_of(driver))
    halved = workspace.halved()
    first = next(iter(halved))
    workspace.write({**halved, first: [*halved[first], newcomer]})
    ended = workspace.run("once", "--json")
    plan = ended.document["plan"]
    assert (ended.code, ended.document["result"]) == (3, "held")
    assert workspace.changed() == [("attach", newcomer, first)]
    assert {held["guard"] for held in plan["held"]} == {"max_detach_fraction_per_fleet"}
    assert all(held["message"] and held["action"] == "detach" for held in plan["held"])

    # What is approved are the held changes, whatever else the plan contains.
    ended = workspace.run("once", "--approve", plan["digest"])
    assert ended.code == 3
    assert "not that of the held changes: none was allowed" in ended.stderr
    assert len(workspace.changed()) == 1
    digest = ended.stdout.partition("--approve ")[2].split()[0]
    assert digest == plan["held_digest"] != plan["digest"]

    ended = workspace.run("once", "--approve", digest)
    assert ended.code == 0
    assert "allowed" not in ended.stderr
    assert {("detach", held["driver"], held["fleet"]) for held in plan["held"]} == set(workspace.changed()[1:])


def test_ssosync_an_empty_source_never_detaches_anyone(workspace: conftest.Workspace) -> None:
    empty = {"a.yaml": "", "b.yaml": "fleets: {}\n", "c.csv": "driver,fleet\n", "d.json": "{}"}
    for name, text in empty.items():
        workspace.write(text, name)
        workspace.another(f"{name}.toml", source=name)
    runs = workspace.together(*(["--config", f"{name}.toml", "once", "--json"] for name in empty))
    for name, ended in zip(empty, runs, strict=True):
        assert ended.code == 1
        assert ended.document["error"]["code"] == "source_empty"
        assert f"{name}:" in ended.document["error"]["message"]
    assert workspace.charge.requests == []


def test_defguard_the_first_run_of_all_empties_no_fleet(workspace: conftest.Workspace) -> None:
    """The document of an operator who turns the sync on before filling it in."""
    workspace.write({fleet: [] for fleet in workspace.members()})
    ended = workspace.run("once", "--json")
    assert ended.code == 3
    assert {held["guard"] for held in ended.document["plan"]["held"]} == {"allow_emptying_fleets"}
    assert workspace.posts() == []


def test_gam_where_a_sentinel_is_not_seen_nothing_is_detached_and_no_approval_helps(
    workspace: conftest.Workspace,
) -> None:
    fleet, other, *_ = members = workspace.members()
    outsider = next(driver for driver in workspace.people.drivers if driver not in workspace.people.members(other))
    workspace.write({**members, fleet: members[fleet][1:]})
    sentinels = json.dumps([f"{members[fleet][1]}/{fleet}", f"{outsider}/{other}"])
    ended = workspace.run("once", "--json", FLEET_SYNC_GUARD__MUST_SEE=sentinels)
    [held] = ended.document["plan"]["held"]
    assert (ended.code, held["guard"]) == (3, "must_see")
    digest = ended.document["plan"]["held_digest"]
    assert workspace.run("once", "--approve", digest, FLEET_SYNC_GUARD__MUST_SEE=sentinels).code == 3
    assert workspace.posts() == []
    seen = json.dumps([f"{members[fleet][1]}/{fleet}"])
    assert workspace.run("once", FLEET_SYNC_GUARD__MUST_SEE=seen).code == 0


@pytest.mark.parametrize(("strangers", "code"), [(2, 4), (3, 1)])
def test_gamadv_many_references_that_lead_nowhere_end_the_run(
    workspace: conftest.Workspace, strangers: int, code: int
) -> None:
    """A spreadsheet turned employee numbers into 1.16E+20. A few such rows do not hold the others."""
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]][: 22 - strangers]
    rows = [*newcomers, *(f"employee_id=1.16E+2{number}" for number in range(strangers))]
    workspace.write({fleet: rows})
    ended = workspace.run("once", "--json")
    assert ended.code == code
    assert len(workspace.changed()) == (0 if code == 1 else len(newcomers))
    assert all(action == "attach" for action, _, _ in workspace.changed())
    if code == 1:
        assert ended.document["error"]["code"] == "too_many_unresolved"
        assert "1.16E+2" in ended.document["error"]["message"]
        assert workspace.posts() == []


def test_a_source_that_was_cut_short_is_approved_before_anything_is_held(workspace: conftest.Workspace) -> None:
    """The rows that are missing are of drivers who were no members: there is nothing to detach, and yet exit code 3."""
    members = workspace.members()
    assert workspace.run("once").code == 0
    gone = [(driver, fleet) for fleet, drivers in members.items() for driver in drivers[:3]]
    for driver, fleet in gone:
        workspace.people.detach(driver, fleet)
    workspace.write(workspace.members())
    held = workspace.run("once", "--json")
    assert (held.code, held.document["result"], held.document["plan"]["held"]) == (3, "held", [])
    assert [each["source"] for each in held.document["plan"]["shrunk"]] == ["membership.yaml"]
    planned = workspace.run("plan")
    assert planned.code == 3
    digest = held.document["plan"]["held_digest"]
    assert "source membership.yaml has" in planned.stdout
    assert f"fleet-sync approve {digest}" in planned.stdout
    assert "It accepts that 1 source lost rows" in workspace.run("approve", digest).stdout
    assert [workspace.run("once").code for _ in range(2)] == [0, 0]
    workspace.write({fleet: drivers[3:] for fleet, drivers in workspace.members().items()})
    assert workspace.run("once").code == 3


def test_an_ignored_driver_is_never_changed_and_the_plan_says_so(workspace: conftest.Workspace) -> None:
    fleet, drivers = next(iter(workspace.members().items()))
    email = workspace.people.drivers[drivers[0]].email
    workspace.write({**workspace.members(), fleet: drivers[2:]})
    environ = {"FLEET_SYNC_GUARD__IGNORE_DRIVERS": json.dumps([email])}
    assert f"{email} is listed in guard.ignore_drivers" in workspace.run("plan", **environ).stdout
    ended = workspace.run("once", "--json", **environ)
    assert workspace.changed() == [("detach", drivers[1], fleet)]
    assert ended.code == 0
    unclear = {"FLEET_SYNC_GUARD__IGNORE_DRIVERS": json.dumps(["nobody@example.com"])}
    assert workspace.run("once", **unclear).code == 4
    assert len(workspace.changed()) == 1
