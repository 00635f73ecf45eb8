"""`fleet-sync run`: the service, until a signal ends it."""

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
    """This covers an unreachable Charge, a missing source and a rejected key."""
    quick = {**OFTEN, "FLEET_SYNC_RETRY__MAX_ATTEMPTS": "1"}
    workspace.charge.faults = faults.Faults({"500": 1.0})
    with workspace.folder.started("run", **quick) as running:
        command.until(lambda: _readings(workspace) >= 6, what="failing readings")
        (workspace.folder.path / "membership.yaml").rename(workspace.folder.path / "away")
        assert running.process.poll() is None
        workspace.charge.faults = faults.NONE
        (workspace.folder.path / "away").rename(workspace.folder.path / "membership.yaml")
        seen = _readings(workspace)
        command.until(lambda: _readings(workspace) > seen + 1, what="readings again")
        running.signal(signal.SIGINT)
        ended = running.end()
    assert ended.code == 130
    finished = [event for event in ended.events if event["event"] == "run_finished"]
    failed = [event for event in finished if event["result"] == "failed"]
    assert failed and all(event["error"] and event["remedy"] for event in failed)
    assert {event["level"] for event in failed} >= {"error"}
    assert "in_sync" in {event["result"] for event in finished}
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_two_runs_ends_it_at_once(workspace: conftest.Workspace, number: signal.Signals) -> None:
    with workspace.folder.started("run", FLEET_SYNC_SYNC__INTERVAL_SECONDS="3600") as running:
        assert running.process.stderr is not None
        assert "run_finished" in running.process.stderr.readline()
        running.signal(number)
        assert running.end(timeout=5).code == 128 + number
