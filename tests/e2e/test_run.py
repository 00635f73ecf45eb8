"""`fleet-sync run`: the service, until a signal ends it."""

import json
import signal

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults

OFTEN = {"FLEET_SYNC_SYNC__INTERVAL_SECONDS": "0.05"}


def _readings(workspace: conftest.Workspace) -> int:
    return sum(request.path == "/v1/fleets" for request in workspace.charge.requests)


def test_it_reconciles_at_start_and_at_every_interval_until_sigterm(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    with workspace.folder.started("run", **OFTEN) as running:
        command.until(lambda: _readings(workspace) >= 2, what="two readings")
        workspace.people.detach(members[fleet][0], fleet)
        command.until(lambda: bool(workspace.changed()), what="the drift made good")
        seen = _readings(workspace)
        command.until(lambda: _readings(workspace) > seen + 1, what="another reading")
        running.signal(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stdout) == (143, "")
    assert workspace.changed() == [("attach", members[fleet][0], fleet)]
    finished = [event for event in ended.events if event["event"] == "run_finished"]
    assert [event["trigger"] for event in finished][:2] == ["start", "interval"]
    assert {event["result"] for event in finished} >= {"in_sync", "converged"}
    assert ended.events[-1]["event"] in ("stopping", "run_finished")


def test_no_failure_ends_it(workspace: conftest.Workspace) -> None:
    """This covers an unreachable Charge, a missing source and a source that is wrong."""
    source = workspace.folder.path / "membership.yaml"
    sound = source.read_text()
    assert workspace.run("once").code == 0
    workspace.charge.faults = faults.Faults({"500": 1.0})
    with workspace.folder.started("run", **OFTEN, FLEET_SYNC_RETRY__MAX_ATTEMPTS="1") as running:
        command.until(lambda: "api_error" in _errors(workspace), what="a run without Charge")
        workspace.charge.faults = faults.NONE
        source.rename(workspace.folder.path / "away")
        command.until(lambda: "source_unreachable" in _errors(workspace), what="a run without its source")
        workspace.write("fleets: [")
        command.until(lambda: "source_invalid" in _errors(workspace), what="a run with a wrong source")
        workspace.write(sound)
        newest = "select result from runs where result is not null order by number desc limit 1"
        command.until(lambda: workspace.folder.journal(newest) == [("in_sync",)], what="a run that ends well")
        running.signal(signal.SIGINT)
        ended = running.end()
    assert ended.code == 130
    failed = [event for event in ended.events if event["event"] == "run_finished" and event["result"] == "failed"]
    assert failed and all(event["error"] and event["remedy"] for event in failed)
    assert {event["level"] for event in failed} >= {"error"}
    assert "Traceback" not in ended.stderr


def _errors(workspace: conftest.Workspace) -> set[str]:
    """Return the codes of the errors with which runs have ended."""
    reports = workspace.folder.journal("select report from runs where result = 'failed'")
    return {json.loads(report)["error"]["code"] for (report,) in reports}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_two_runs_ends_it_at_once(workspace: conftest.Workspace, number: signal.Signals) -> None:
    with workspace.folder.started("run", FLEET_SYNC_SYNC__INTERVAL_SECONDS="3600") as running:
        assert running.process.stderr is not None
        assert "run_finished" in running.process.stderr.readline()
        running.signal(number)
        assert running.end().code == 128 + number
