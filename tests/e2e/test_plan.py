"""`fleet-sync plan`: its output, cost, saved file and exit codes."""

import html
import json
import random
import shlex

import pytest

from tests.e2e import conftest
from worker.sandbox import state

PLAN_KEYS = [
    "format",
    "digest",
    "held_digest",
    "account",
    "created",
    "sources",
    "changes",
    "held",
    "shrunk",
    "problems",
    "summary",
    "cost",
    "names",
]
SAVED_KEYS = {"approval", "approved", "dated", "fleets", "drivers", "rows", "unsettled", "signature"}


def _move(workspace: conftest.Workspace) -> dict[str, list[str]]:
    """Ask for three attaches and one detach, all within the guard."""
    members = workspace.members()
    first, second, *_ = members
    members[first] = members[first][1:]
    members[second] += [driver for driver in workspace.people.drivers if driver not in members[second]][:3]
    return members


def test_in_sync_is_said_in_one_line_and_exit_0(workspace: conftest.Workspace) -> None:
    ended = workspace.run("plan", "--detailed-exitcode")
    count = len(workspace.people.memberships())
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == f"In sync: {count} memberships in 4 fleets.\n"


def test_the_document_is_the_one_that_the_contract_describes(workspace: conftest.Workspace) -> None:
    workspace.write(_move(workspace))
    ended = workspace.run("plan", "--json", "--detailed-exitcode")
    plan = ended.document
    assert ended.code == 2
    assert list(plan) == PLAN_KEYS
    assert plan["format"] == "fleet-sync/plan@1"
    assert plan["digest"].startswith("sha256:") and len(plan["digest"]) == len("sha256:") + 64
    assert plan["account"] == {"base_url": workspace.url, "mode": "test"}
    assert [(source["kind"], source["name"]) for source in plan["sources"]] == [("file", "membership.yaml")]
    assert all(list(change) == ["action", "driver", "fleet", "origin"] for change in plan["changes"])
    recent = {"hours": 24.0, "since": None, "detached": 0, "attached": 0, "approved": 0}
    assert plan["summary"] == {
        "window": recent,
        "attach": 3,
        "detach": 1,
        "held": 0,
        "in_sync": len(workspace.people.memberships()) - 1,
        "fleets": 4,
        "drivers": len(
            {driver for driver, _ in workspace.people.memberships()} | {c["driver"] for c in plan["changes"]}
        ),
    }
    assert set(plan["cost"]) == {"requests", "seconds"} and plan["cost"]["requests"] >= 4
    assert workspace.posts() == []


def test_an_origin_is_the_place_of_the_row(workspace: conftest.Workspace) -> None:
    lines = workspace.write(_move(workspace)).read_text().splitlines()
    for change in workspace.run("plan", "--json").document["changes"]:
        if change["action"] == "detach":
            assert change["origin"] is None
            continue
        name, line, column = change["origin"].split(":")
        assert name == "membership.yaml"
        assert lines[int(line) - 1][int(column) - 1 :] == f'"{change["driver"]}"'


def test_the_same_inputs_give_the_same_document_but_for_its_time(workspace: conftest.Workspace) -> None:
    workspace.write(_move(workspace))
    one, other = (ended.document for ended in workspace.together(*[["plan", "--json"]] * 2))
    assert one.pop("created") and other.pop("created")
    assert json.dumps(one) == json.dumps(other)


def test_a_shuffled_document_has_the_same_digest(workspace: conftest.Workspace) -> None:
    members = _move(workspace)
    workspace.write(members)
    digest = workspace.run("plan", "--json").document["digest"]
    shuffled = {fleet: random.Random(fleet).sample(drivers, len(drivers)) for fleet, drivers in members.items()}
    workspace.write(dict(reversed(shuffled.items())))
    assert workspace.run("plan", "--json").document["digest"] == digest


def test_where_the_plan_cannot_be_saved_only_that_is_reported(workspace: conftest.Workspace) -> None:
    workspace.write(_move(workspace))
    ended = workspace.run("plan", "--json", "--out", "no/such/folder/plan.json")
    assert ended.code == 1
    assert ended.document["format"] == "fleet-sync/error@1"
    assert ended.document["error"]["code"] == "plan_invalid"
    assert ended.document["exit_code"] == 1


def test_what_is_saved_is_what_is_shown(workspace: conftest.Workspace) -> None:
    workspace.write(_move(workspace))
    ended = workspace.run("plan", "--json", "--out", "plan.json")
    assert ended.code == 0
    saved = json.loads((workspace.folder.path / "plan.json").read_text())
    drivers = saved["drivers"]
    assert {name: saved[name] for name in ended.document} == ended.document
    assert saved.keys() - ended.document.keys() == SAVED_KEYS
    assert {change["driver"] for change in saved["changes"]} == drivers.keys()
    assert "plan.json" in ended.stderr


def test_held_detaches_are_exit_3_whatever_else_is_asked(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    workspace.write({fleet: drivers[len(drivers) // 2 :] for fleet, drivers in members.items()})
    assert workspace.run("plan", "--detailed-exitcode").code == 3


def test_unresolved_wins_over_held(workspace: conftest.Workspace) -> None:
    halved = {fleet: drivers[len(drivers) // 2 :] for fleet, drivers in workspace.members().items()}
    workspace.write({**halved, "No such fleet": []})
    ended = workspace.run("plan", "--json")
    assert ended.code == 4
    assert ended.document["summary"]["held"] > 0
    assert "No such fleet" in ended.document["problems"][0]["message"]


def test_with_fleets_the_changes_of_others_are_left_out_of_plan_and_run(open_workspace: conftest.Open) -> None:
    people = state.SandboxState()
    vans, taxis = people.add_fleet(name="Paris vans"), people.add_fleet(name="Lyon taxis")
    drivers = [people.add_driver(fleets=[vans]) for _ in range(4)]
    workspace = open_workspace(people)
    workspace.write({vans: drivers[1:], taxis: drivers[2:]})
    plan = workspace.run("plan", "--json", "--fleet", "Lyon taxis").document
    assert {change["fleet"] for change in plan["changes"]} == {taxis}
    assert [problem["code"] for problem in plan["problems"]] == ["fleets_left_out", "journal_new"]
    both = workspace.run("plan", "--json", "--fleet", "Lyon taxis", "--fleet", vans).document
    assert len(both["changes"]) == 3 and [problem["code"] for problem in both["problems"]] == ["journal_new"]
    ended = workspace.run("once", "--fleet", "Lyon taxis")
    assert ended.code == 0 and "  --fleet: 1 change of another fleet is left out\n" in ended.stdout
    assert {(action, fleet) for action, _, fleet in workspace.changed()} == {("attach", taxis)}
    assert workspace.run("plan", "--fleet", taxis).stdout.endswith(
        "Nothing to do: 5 memberships in 2 fleets already in sync.\n"
    )
    ended = workspace.run("plan", "--fleet", "Lion taxis")
    assert (ended.code, ended.stdout) == (1, "")
    assert 'no source lists this fleet (did you mean "Lyon taxis"?)' in ended.stderr
    assert workspace.run("plan", "--fleet", "flt_short").code == 64


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_command_that_is_shown_approves_what_is_held_in_these_fleets(
    open_workspace: conftest.Open, form: str
) -> None:
    people = state.SandboxState()
    vans, taxis = people.add_fleet(name="Paris vans"), people.add_fleet(name="Lyon taxis")
    drivers = [people.add_driver(fleets=[vans, taxis]) for _ in range(40)]
    workspace = open_workspace(people)
    workspace.write({vans: drivers[3:], taxis: drivers[3:]})
    strict = {"FLEET_SYNC_GUARD__ALWAYS_ALLOW": "0", "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION": "0.01"}
    shown = workspace.run("plan", "--format", form, "--fleet", "Paris vans", **strict).stdout
    (line,) = [line.strip() for line in shown.splitlines() if "--approve" in line]
    assert "fleet-sync approve" not in shown  # a service knows no single fleets
    assert workspace.run(*shlex.split(line)[1:], **strict).code == 0
    assert {(action, fleet) for action, _, fleet in workspace.changed()} == {("detach", vans)}
    workspace.write({vans: drivers[3:], taxis: drivers[20:]})
    shown = workspace.run("plan", "--format", form, "--fleet", "Lyon taxis").stdout
    assert "--approve" not in shown and "leave --fleet out" in html.unescape(shown)
