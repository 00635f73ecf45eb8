"""SIGTERM, SIGINT and SIGHUP during a run. `test_crashes` tests SIGKILL."""

import contextlib
import os
import pty
import signal

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults

PATIENT = {"FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "600", "FLEET_SYNC_SYNC__DRAIN_SECONDS": "600"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_drains_the_run(
    crowd: conftest.Workspace, gate: conftest.Gate, number: signal.Signals, code: int
) -> None:
    """Every write in flight is finished and recorded, and none is started; then a drain of ten minutes ends at once."""
    gate.free = 60
    with crowd.folder.started("once", "--json", FLEET_SYNC_RATE_LIMIT__CONCURRENCY="4", **PATIENT) as running:
        command.until(lambda: len(crowd.posts()) == 64, what="4 writes in flight")
        running.signal(number)
        command.until(lambda: "stopping" in _stderr_so_far(running), what="the signal noticed")
        gate.open()
        ended = running.end()
    report = ended.document
    assert (ended.code, report["exit_code"], report["error"]["code"]) == (code, code, "stopped")
    assert "Traceback" not in ended.stderr
    assert (len(crowd.posts()), len(crowd.changed())) == (64, 64)
    assert (report["outcomes"]["applied"], report["outcomes"]["deferred"]) == (64, conftest.CROWD - 64)
    counted = dict(crowd.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"applied": 64, "deferred": conftest.CROWD - 64}
    assert crowd.run("show", report["run"], "--json").document == report


def test_a_run_whose_terminal_is_closed_is_drained(crowd: conftest.Workspace, gate: conftest.Gate) -> None:
    """Nothing can be printed any more; the record is complete all the same."""
    gate.free = 60
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environ, folder = {**crowd.folder.environ, "TERM": "xterm", **PATIENT}, crowd.folder.path
    running = command.start("once", environ=environ, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)

    def is_writing() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(ours, 65536)  # else what is printed would wait for a reader
        return len(crowd.posts()) >= 64

    try:
        command.until(is_writing, what="writes in flight")
        os.close(ours)
        running.signal(signal.SIGHUP)
        gate.open()
        assert running.end().code in (1, 129)
    finally:
        running.reap()
    counted = dict(crowd.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"applied": len(crowd.changed()), "deferred": conftest.CROWD - len(crowd.changed())}
    assert crowd.folder.journal("select exit_code from runs") == [(129,)]


def _hang_in_writes(workspace: conftest.Workspace) -> None:
    """Let every write take effect and answer none."""
    workspace.charge.faults = faults.Faults(script=lambda request: "hang_after" if request.key else None)


def _assert_all_unknown(workspace: conftest.Workspace, ended: command.Ended) -> None:
    """Check that the run reports 16 writes in flight and that the next run repeats none of them."""
    report = ended.document
    assert (ended.code, report["exit_code"], report["error"]["code"]) == (143, 143, "stopped")
    assert (report["outcomes"]["unknown"], report["outcomes"]["deferred"]) == (16, conftest.CROWD - 16)
    assert {change["code"] for change in report["changes"]} == {"stopped"}
    assert "Traceback" not in ended.stderr
    assert len(workspace.posts()) == 16
    # Unknown outcomes stay open in the journal: the next run settles them.
    counted = dict(workspace.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"unknown": 16, "deferred": conftest.CROWD - 16}


def test_a_second_signal_ends_it_at_once(crowd: conftest.Workspace) -> None:
    """The second signal ends the drain at once."""
    _hang_in_writes(crowd)
    with crowd.folder.started("once", "--json", **PATIENT) as running:
        command.until(lambda: len(crowd.changed()) >= 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        command.until(lambda: "stopping" in _stderr_so_far(running), what="the first signal noticed")
        running.signal(signal.SIGTERM)
        ended = running.end()
    _assert_all_unknown(crowd, ended)


def test_writes_that_hang_are_dropped_after_drain_seconds(crowd: conftest.Workspace) -> None:
    _hang_in_writes(crowd)
    brief = {**PATIENT, "FLEET_SYNC_SYNC__DRAIN_SECONDS": "0.3"}
    with crowd.folder.started("once", "--json", **brief) as running:
        command.until(lambda: len(crowd.changed()) >= 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        ended = running.end()
    _assert_all_unknown(crowd, ended)
    crowd.charge.faults = faults.NONE
    assert crowd.run("once").code == 0
    assert len(crowd.changed()) == conftest.CROWD
    assert {effect.changed for effect in crowd.people.effects} == {True}
    applied = crowd.folder.journal("select count(*) from intents where outcome = 'applied'")
    assert applied == [(conftest.CROWD,)]


def _stderr_so_far(running: command.Running) -> str:
    """Wait for the next log line."""
    assert running.process.stderr is not None
    return running.process.stderr.readline()


def test_a_signal_while_reading_ends_it_at_once(workspace: conftest.Workspace) -> None:
    workspace.charge.faults = faults.Faults({"hang": 1.0})
    for arguments in (["plan", "--json"], ["export"]):
        workspace.charge.requests.clear()
        with workspace.folder.started(*arguments, **PATIENT) as running:
            command.until(lambda: bool(workspace.charge.requests), what="a request")
            running.signal(signal.SIGTERM)
            ended = running.end()
        assert ended.code == 143
        assert "Traceback" not in ended.stderr
