"""`fleet-sync apply`: applies exactly a saved plan, for its account, as far as it still fits."""

import json
import pathlib

import pytest

from tests.e2e import conftest
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.plan import Action, Change
from worker.core.model.plan_digest import plan_digest


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


def test_what_was_held_in_the_plan_stays_held(workspace: conftest.Workspace) -> None:
    workspace.write({fleet: drivers[len(drivers) // 2 :] for fleet, drivers in workspace.members().items()})
    assert workspace.run("plan", "--out", "plan.json").code == 3
    ended = workspace.run("apply", "plan.json", "--json")
    assert ended.code == 3
    assert ended.document["result"] == "held"
    assert workspace.posts() == []
