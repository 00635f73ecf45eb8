"""What fleet-sync may touch: fleets that vanish from the sources, and an account that is only observed."""

import json
import signal

from tests.e2e import conftest
from tests.support import command


def test_a_document_cut_short_between_two_fleets_is_noticed_in_every_run(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    *_, last = members
    workspace.folder.let_sources_shrink()  # another guard notices the rows that are missing
    workspace.write(members)
    assert workspace.run("once").code == 0
    rest = {fleet: drivers for fleet, drivers in members.items() if fleet != last}
    workspace.write(rest)
    for arguments in (["plan", "--json"], ["once", "--json"], ["once", "--json"]):
        ended = workspace.run(*arguments)
        plan = ended.document.get("plan", ended.document)
        assert ended.code == 4
        assert [(each["code"], each["where"]) for each in plan["problems"]] == [("scope_shrank", last)]
    assert workspace.posts() == []
    shown = workspace.run("plan")
    assert f'fleet "{workspace.people.fleets[last].name}" was managed in an earlier run' in shown.stdout

    settings = workspace.folder.settings
    text = settings.read_text()
    settings.write_text(f'{text}\n[guard]\nunmanaged = ["{workspace.people.fleets[last].name}"]\n')
    assert workspace.run("once").code == 0
    settings.write_text(text)
    assert workspace.run("once").code == 0


def test_what_is_no_fleet_is_refused_in_unmanaged(workspace: conftest.Workspace) -> None:
    ended = workspace.run("check", FLEET_SYNC_GUARD__UNMANAGED='["flt_short"]')
    assert ended.code == 1
    assert "flt_short" in ended.stderr + ended.stdout


def test_an_account_that_is_only_observed_gets_no_write(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    first, *_ = members
    workspace.write({**members, first: members[first][1:]})
    observe = {"FLEET_SYNC_SYNC__APPLY": "false"}
    ended = workspace.run("once", "--json", **observe)
    assert (ended.code, ended.document["result"], ended.document["exit_code"]) == (0, "observed", 0)
    assert len(ended.document["plan"]["changes"]) == 1
    assert ended.document["changes"] == []
    shown = workspace.run("once", **observe)
    assert "Nothing was changed: `[sync] apply` is false." in shown.stdout
    assert "observed" in workspace.run("history").stdout

    assert workspace.run("plan", "--out", "plan.json", **observe).code == 0
    refused = workspace.run("apply", "plan.json", "--json", **observe)
    assert (refused.code, refused.document["exit_code"]) == (3, 3)
    assert refused.document["error"]["code"] == "observe_only"
    assert workspace.posts() == []
    assert workspace.run("apply", "plan.json").code == 0


def test_a_service_that_only_observes_shows_the_drift_and_writes_nothing(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    first, *_ = members
    workspace.write({**members, first: members[first][1:]})
    environ = {"FLEET_SYNC_SYNC__APPLY": "false", "FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.2"}
    with workspace.folder.started("run", **environ) as running:
        command.until(lambda: len(_results(workspace)) > 2, what="three runs")
        assert set(_results(workspace)) == {"observed"}
        running.signal(signal.SIGTERM)  # may interrupt a run, which has failed then
        assert running.end().code == 143
    assert workspace.posts() == []


def _results(workspace: conftest.Workspace) -> list[str]:
    runs = json.loads(workspace.run("history", "--json").stdout)["runs"]
    return [each["result"] for each in runs if each["result"]]
