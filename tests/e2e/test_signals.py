"""SIGTERM and SIGINT during a run. `test_crashes` tests SIGKILL."""

import signal
import threading
import time

import anyio.to_thread
import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults, http_types, quirks, state

DRIVERS = 300


@pytest.fixture
def slow(open_workspace: conftest.Open) -> conftest.Workspace:
    """Return a workspace in which 300 drivers are to join a fleet and each request takes 50 ms."""
    people = state.SandboxState()
    fleet = people.add_fleet(name="Vans")
    drivers = [people.add_driver() for _ in range(DRIVERS)]
    workspace = open_workspace(people, behaves=quirks.Quirks(latency_seconds=0.05))
    workspace.write({fleet: drivers})
    return workspace


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_the_run(slow: conftest.Workspace, number: signal.Signals, code: int) -> None:
    with slow.folder.started("once", "--json", FLEET_SYNC_RATE_LIMIT__CONCURRENCY="4") as running:
        command.until(lambda: len(slow.changed()) >= 60, what="60 changes")
        signalled = time.monotonic()
        running.signal(number)
        ended = running.end()
    assert time.monotonic() - signalled < 5
    report = ended.document
    assert (ended.code, report["exit_code"], report["error"]["code"]) == (code, code, "stopped")
    assert "Traceback" not in ended.stderr
    # Every write in flight has finished, and none was started afterwards.
    done = len(slow.changed())
    assert 60 <= done < DRIVERS
    assert max(post.time for post in slow.posts()) < signalled + 2
    assert len(slow.posts()) == done == report["outcomes"]["applied"]
    assert report["outcomes"]["deferred"] == DRIVERS - done
    counted = dict(slow.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"applied": done, "deferred": DRIVERS - done}
    assert slow.run("show", report["run"], "--json").document == report


def _hang_in_writes(workspace: conftest.Workspace) -> None:
    """Let every write take effect and answer none."""
    workspace.charge.faults = faults.Faults(script=lambda request: "hang_after" if request.key else None)


def _assert_all_unknown(workspace: conftest.Workspace, ended: command.Ended) -> None:
    """Check that the run reports 16 writes in flight and that the next run repeats none of them."""
    report = ended.document
    assert (ended.code, report["exit_code"], report["error"]["code"]) == (143, 143, "stopped")
    assert (report["outcomes"]["unknown"], report["outcomes"]["deferred"]) == (16, DRIVERS - 16)
    assert {change["code"] for change in report["changes"]} == {"stopped"}
    assert "Traceback" not in ended.stderr
    assert len(workspace.posts()) == 16
    # Unknown outcomes stay open in the journal: the next run settles them.
    counted = dict(workspace.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"unknown": 16, "deferred": DRIVERS - 16}


def test_a_second_signal_ends_it_at_once(slow: conftest.Workspace) -> None:
    """The second signal ends the drain at once."""
    _hang_in_writes(slow)
    patient = {"FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "600", "FLEET_SYNC_SYNC__DRAIN_SECONDS": "600"}
    with slow.folder.started("once", "--json", **patient) as running:
        command.until(lambda: len(slow.changed()) >= 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        command.until(lambda: "stopping" in _stderr_so_far(running), what="the first signal noticed")
        running.signal(signal.SIGTERM)
        ended = running.end(timeout=5)
    _assert_all_unknown(slow, ended)


def test_writes_that_hang_are_dropped_after_drain_seconds(slow: conftest.Workspace) -> None:
    _hang_in_writes(slow)
    patient = {"FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "600", "FLEET_SYNC_SYNC__DRAIN_SECONDS": "0.3"}
    with slow.folder.started("once", "--json", **patient) as running:
        command.until(lambda: len(slow.changed()) >= 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        ended = running.end(timeout=5)
    _assert_all_unknown(slow, ended)
    slow.charge.faults = faults.NONE
    assert slow.run("once").code == 0
    assert len(slow.changed()) == DRIVERS
    assert {effect.changed for effect in slow.people.effects} == {True}
    applied = slow.folder.journal("select count(*) from intents where outcome = 'applied'")
    assert applied == [(DRIVERS,)]


class Gate:
    """Delays every answer to a write until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def around(self, inner: http_types.App) -> http_types.App:
        async def app(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
            async def late(message: http_types.Message) -> None:
                if scope.get("method") == "POST":
                    await anyio.to_thread.run_sync(self.opened.wait, command.LONGEST)
                await send(message)

            await inner(scope, receive, late)

        return app


def test_a_write_that_ends_while_draining_is_finished_and_recorded(open_workspace: conftest.Open) -> None:
    """A drain of ten minutes ends at once if no request is in flight."""
    people, gate = state.SandboxState(), Gate()
    fleet = people.add_fleet(name="Vans")
    drivers = [people.add_driver() for _ in range(DRIVERS)]
    workspace = open_workspace(people, around=gate.around)
    workspace.write({fleet: drivers})
    with workspace.folder.started("once", "--json", FLEET_SYNC_SYNC__DRAIN_SECONDS="600") as running:
        command.until(lambda: len(workspace.posts()) == 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        command.until(lambda: "stopping" in _stderr_so_far(running), what="the signal noticed")
        gate.opened.set()
        ended = running.end()
    report = ended.document
    assert (ended.code, len(workspace.posts())) == (143, 16)
    assert (report["outcomes"]["applied"], report["outcomes"]["unknown"]) == (16, 0)


def _stderr_so_far(running: command.Running) -> str:
    """Wait for the next log line."""
    assert running.process.stderr is not None
    return running.process.stderr.readline()


def test_a_signal_while_reading_ends_it_at_once(workspace: conftest.Workspace) -> None:
    workspace.charge.faults = faults.Faults({"hang": 1.0})
    for arguments in (["plan", "--json"], ["export"]):
        workspace.charge.requests.clear()
        with workspace.folder.started(*arguments, FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="60") as running:
            command.until(lambda: bool(workspace.charge.requests), what="a request")
            running.signal(signal.SIGTERM)
            ended = running.end()
        assert ended.code == 143
        assert "Traceback" not in ended.stderr
