"""`fleet-sync apply`: exactly what a saved plan says, for the account that it was made for, as far as it still fits."""

import json
import pathlib

import pytest

from tests.e2e import conftest
from worker.core import values
from worker.core.model.plan_digest import plan_digest


@pytest.fixture
def saved(desk: conftest.Desk) -> pathlib.Path:
    """Save a plan of two attaches and one detach."""
    members = desk.members()
    first, second, *_ = members
    members[first] = members[first][1:]
    members[second] += [driver for driver in desk.people.drivers if driver not in members[second]][:2]
    desk.write(members)
    assert desk.run("plan", "--out", "plan.json").code == 0
    return desk.folder.path / "plan.json"


def test_it_does_what_the_plan_says_and_nothing_else(desk: conftest.Desk, saved: pathlib.Path) -> None:
    """The document says something else by now: it is not even read."""
    desk.write("this: is no membership document\n")
    plan = json.loads(saved.read_text())
    ended = desk.run("apply", "plan.json", "--json")
    assert ended.code == 0
    assert ended.document["result"] == "converged"
    assert ended.document["plan"] == plan
    assert set(desk.changed()) == {(c["action"], c["driver"], c["fleet"]) for c in plan["changes"]}
    assert len(desk.changed()) == 3


def test_what_no_longer_fits_is_stale_and_not_sent(desk: conftest.Desk, saved: pathlib.Path) -> None:
    plan = json.loads(saved.read_text())
    one, *others = plan["changes"]
    (desk.people.attach if one["action"] == "attach" else desk.people.detach)(one["driver"], one["fleet"])
    ended = desk.run("apply", "plan.json", "--json")
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
    assert len(desk.posts()) == len(others)

    again = desk.run("apply", "plan.json")
    assert again.code == 4
    assert "stale: the driver is in the fleet already; nothing was sent" in again.stdout
    assert len(desk.posts()) == len(others)


def test_what_the_settings_or_the_digest_do_not_vouch_for_is_refused(desk: conftest.Desk, saved: pathlib.Path) -> None:
    """A plan of another server, of another key, and one that was edited."""
    plan = json.loads(saved.read_text())
    plan["changes"].pop()
    desk.write(json.dumps(plan), "edited.json")
    desk.write(desk.folder.settings.read_text().replace(desk.url, "http://127.0.0.1:9/v1"), "other.toml")
    requests = len(desk.charge.requests)
    edited, foreign = desk.together(
        ["apply", "edited.json", "--json"], ["--config", "other.toml", "apply", "plan.json", "--json"]
    )
    live = desk.run("apply", "plan.json", "--json", CHARGE_API_KEY="ch_sk_live_another")
    for ended, said in ((edited, "digest"), (foreign, "was made for"), (live, "was made for")):
        assert ended.code == 1
        assert ended.document["error"]["code"] == "plan_invalid"
        assert said in ended.document["error"]["message"]
    assert len(desk.charge.requests) == requests


def test_a_plan_with_an_id_that_leads_elsewhere_sends_nothing(desk: conftest.Desk, saved: pathlib.Path) -> None:
    """Its digest fits: who writes such a file can compute one."""
    plan = json.loads(saved.read_text())
    plan["changes"][0]["driver"] = "drv_x/../../fleets?a=#"
    account, changes = values.Account(**plan["account"]), [_named(each) for each in plan["changes"]]
    desk.write(json.dumps({**plan, "digest": plan_digest(account, changes, [])}), "edited.json")
    requests = len(desk.charge.requests)
    ended = desk.run("apply", "edited.json", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "plan_invalid")
    assert "is no drv_ id" in ended.document["error"]["message"]
    assert len(desk.charge.requests) == requests


def _named(change: dict[str, str]) -> values.Change:
    driver, fleet = values.DriverId(change["driver"]), values.FleetId(change["fleet"])
    return values.Change(values.Action(change["action"]), driver, fleet)


def test_what_was_held_in_the_plan_stays_held(desk: conftest.Desk) -> None:
    desk.write({fleet: drivers[len(drivers) // 2 :] for fleet, drivers in desk.members().items()})
    assert desk.run("plan", "--out", "plan.json").code == 3
    ended = desk.run("apply", "plan.json", "--json")
    assert ended.code == 3
    assert ended.document["result"] == "held"
    assert desk.posts() == []
