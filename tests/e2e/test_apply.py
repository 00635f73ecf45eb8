"""`fleet-sync apply`: applies exactly a saved plan, for its account, as far as it still fits."""

import json
import pathlib

import pytest

from tests.e2e import conftest
from worker.core.model import plan_signature
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.plan import Action, Change
from worker.core.model.plan_digest import plan_digest
from worker.core.model.secret import Secret


@pytest.fixture
def saved(workspace: conftest.Workspace) -> pathlib.Path:
    """Save a plan of two attaches and one detach."""
    members = workspace.members()
    first, second, *_ = members
    members[first] = members[first][1:]
    members[second] += [driver for driver in workspace.people.drivers if driver not in members[second]][:2]
    workspace.write(members)
    assert workspace.run("plan", "--out", "plan.json").code == 0
    return workspace.folder.path / "plan.json"


def test_it_does_what_the_plan_says_and_nothing_else(workspace: conftest.Workspace, saved: pathlib.Path) -> None:
    """The document has changed since, and is not read."""
    workspace.write("this: is no membership document\n")
    plan = json.loads(saved.read_text())
    ended = workspace.run("apply", "plan.json", "--json")
    assert ended.code == 0
    assert ended.document["result"] == "converged"
    assert ended.document["plan"] == {name: plan[name] for name in ended.document["plan"]}
    assert set(workspace.changed()) == {(c["action"], c["driver"], c["fleet"]) for c in plan["changes"]}
    assert len(workspace.changed()) == 3


def test_a_plan_that_may_lack_changes_is_not_converged_once_it_is_applied(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    absent = next(driver for driver in workspace.people.drivers if driver not in next(iter(members.values())))
    next(iter(members.values())).append(absent)
    workspace.write({**members, "No such fleet": []})
    assert workspace.run("plan", "--out", "plan.json").code == 4
    ended = workspace.run("apply", "plan.json", "--json")
    assert (ended.code, ended.document["result"]) == (4, "partial")
    assert ended.document["outcomes"]["applied"] == len(workspace.changed()) == 1


def test_what_no_longer_fits_is_stale_and_not_sent(workspace: conftest.Workspace, saved: pathlib.Path) -> None:
    plan = json.loads(saved.read_text())
    one, *others = plan["changes"]
    (workspace.people.attach if one["action"] == "attach" else workspace.people.detach)(one["driver"], one["fleet"])
    ended = workspace.run("apply", "plan.json", "--json")
    assert ended.code == 4
    assert ended.document["outcomes"] == {
        "applied": 2,
        "already": 0,
        "refused": 0,
        "stale": 1,
        "deferred": 0,
        "unknown": 0,
    }
    [stale] = [change for change in ended.document["changes"] if change["outcome"] == "stale"]
    assert (stale["driver"], stale["attempts"], stale["request_id"]) == (one["driver"], 0, None)
    assert len(workspace.posts()) == len(others)

    again = workspace.run("apply", "plan.json")
    assert again.code == 4
    assert "stale: the driver is already in the fleet; nothing was sent" in again.stdout
    assert len(workspace.posts()) == len(others)


def test_what_the_settings_or_the_key_do_not_vouch_for_is_refused(
    workspace: conftest.Workspace, saved: pathlib.Path
) -> None:
    """The plan of another server, of another key, an edited and an old plan."""
    plan = json.loads(saved.read_text())
    plan["changes"].pop()
    workspace.write(json.dumps(plan), "edited.json")
    workspace.write(workspace.folder.settings.read_text().replace(workspace.url, "http://127.0.0.1:9/v1"), "other.toml")
    requests = len(workspace.charge.requests)
    edited, foreign = workspace.together(
        ["apply", "edited.json", "--json"], ["--config", "other.toml", "apply", "plan.json", "--json"]
    )
    live = workspace.run("apply", "plan.json", "--json", CHARGE_API_KEY="ch_sk_live_another")
    old = workspace.run("apply", "plan.json", "--json", "--max-age", "0m")
    refused = ((edited, "signature"), (foreign, "was made for"), (live, "was made for"), (old, "too old"))
    for ended, said in refused:
        assert ended.code == 1
        assert ended.document["error"]["code"] == "plan_invalid"
        assert said in ended.document["error"]["message"]
    assert len(workspace.charge.requests) == requests


def test_a_plan_with_an_id_that_leads_elsewhere_sends_nothing(
    workspace: conftest.Workspace, saved: pathlib.Path
) -> None:
    """The digest matches: the author of such a file can compute it."""
    plan = json.loads(saved.read_text())
    plan["changes"][0]["driver"] = "drv_x/../../fleets?a=#"
    account, changes = Account(**plan["account"]), [_named(each) for each in plan["changes"]]
    workspace.write(json.dumps({**plan, "digest": plan_digest(account, changes, [])}), "edited.json")
    requests = len(workspace.charge.requests)
    ended = workspace.run("apply", "edited.json", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "plan_invalid")
    assert "is not a valid drv_ id" in ended.document["error"]["message"]
    assert len(workspace.charge.requests) == requests


def _named(change: dict[str, str]) -> Change:
    driver, fleet = DriverId(change["driver"]), FleetId(change["fleet"])
    return Change(Action(change["action"]), driver, fleet)


def test_what_was_held_in_the_plan_is_made_once_it_is_approved_and_only_once(workspace: conftest.Workspace) -> None:
    before = workspace.members()
    workspace.write({fleet: drivers[len(drivers) // 2 :] for fleet, drivers in workspace.members().items()})
    assert workspace.run("plan", "--out", "plan.json").code == 3
    ended = workspace.run("apply", "plan.json", "--json")
    assert (ended.code, ended.document["result"], workspace.posts()) == (3, "held", [])
    shown = workspace.run("apply", "plan.json")
    digest = ended.document["plan"]["held_digest"]
    assert "Held back: " in shown.stdout
    assert f"  fleet-sync approve {digest}\n  fleet-sync apply plan.json\n" in shown.stdout
    assert "It allows the " in workspace.run("approve", digest).stdout
    assert workspace.run("apply", "plan.json").code == 0
    made = len(workspace.changed())
    assert made == len(ended.document["plan"]["held"])

    for fleet, drivers in before.items():  # the mistake is undone, and made again
        for driver in drivers:
            workspace.people.attach(driver, fleet)
    assert workspace.run("apply", "plan.json").code == 3
    assert len(workspace.posts()) == made


def test_each_plan_counts_what_was_done_since(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    names = []
    for number in range(4):
        name = f"plan-{number}.json"
        left = [each for each in members[fleet] if each != members[fleet][number]]
        workspace.write({**members, fleet: left})
        assert workspace.run("plan", "--out", name).code == 0
        names.append(name)
    limits = {"FLEET_SYNC_GUARD__MAX_DETACH_FRACTION_PER_FLEET": "0", "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION": "1"}
    assert [workspace.run("apply", name, **limits).code for name in names] == [0, 0, 3, 3]
    held = workspace.run("apply", names[3], "--json", **limits).document["plan"]
    assert held["summary"]["window"]["detached"] == 2
    assert "after 2 detached and 0 attached since" in held["held"][0]["message"]
    assert "allowed without an approval after" in held["held"][0]["message"]


def test_a_saved_plan_names_its_fleets_with_their_modes(workspace: conftest.Workspace) -> None:
    first, *_ = members = workspace.members()
    lines = [f"fleets:\n  {first}:\n    mode: additive\n    drivers: {json.dumps(members[first])}\n"]
    lines += [f"  {fleet}: {json.dumps(drivers[1:])}\n" for fleet, drivers in members.items() if fleet != first]
    workspace.write("".join(lines))
    workspace.run("plan", "--out", "plan.json")
    saved = json.loads((workspace.folder.path / "plan.json").read_text())
    assert saved["fleets"] == {each: {"mode": "additive" if each == first else "exact"} for each in members}


def test_a_key_holder_who_writes_a_plan_by_hand_reaches_no_other_fleet(workspace: conftest.Workspace) -> None:
    """It detached forty drivers past every guard once, also from a fleet that no source named."""
    first, second, *_ = members = workspace.members()
    workspace.write({first: members[first][1:]})
    assert workspace.run("plan", "--out", "plan.json").code == 0
    path, key = workspace.folder.path / "plan.json", Secret(workspace.folder.environ["CHARGE_API_KEY"])
    plan = json.loads(path.read_text())
    for driver in members[second]:
        plan["changes"].append({"action": "detach", "driver": driver, "fleet": second, "origin": None})
        plan["drivers"][driver] = {"seen": [second], "wanted": []}
    path.write_text(json.dumps({**plan, "signature": plan_signature.sign(plan, key)}))
    ended = workspace.run("apply", "plan.json", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "plan_invalid")
    plan["fleets"][second] = {"mode": "exact"}
    path.write_text(json.dumps({**plan, "signature": plan_signature.sign(plan, key)}))
    ended = workspace.run("apply", "plan.json", "--json")
    assert (ended.code, workspace.posts()) == (3, [])
    assert {each["guard"] for each in ended.document["plan"]["held"]} >= {"allow_emptying_fleets"}
