"""SIGTERM, SIGINT and SIGKILL in the middle of the work."""

import collections
import signal
import time

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import behaviour, faults, roster

DRIVERS = 300


@pytest.fixture
def slow(open_desk: conftest.Open) -> conftest.Desk:
    """Sit down before 300 drivers who all want to join a fleet, and a Charge that takes 50 ms for each."""
    people = roster.Roster()
    fleet = people.add_fleet(name="Vans")
    drivers = [people.add_driver() for _ in range(DRIVERS)]
    desk = open_desk(people, behaves=behaviour.Behaviour(latency_seconds=0.05))
    desk.write({fleet: drivers})
    return desk


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_the_run(slow: conftest.Desk, number: signal.Signals, code: int) -> None:
    with slow.folder.started("once", "--json") as running:
        command.until(lambda: len(slow.changed()) >= 60, what="60 changes")
        signalled = time.monotonic()
        running.signal(number)
        ended = running.end()
    assert time.monotonic() - signalled < 3
    report = ended.document
    assert (ended.code, report["exit_code"], report["error"]["code"]) == (code, code, "stopped")
    assert "Traceback" not in ended.stderr
    # What was in flight has finished, each write of it, and nothing was begun afterwards.
    done = len(slow.changed())
    assert 60 <= done < DRIVERS
    assert max(post.time for post in slow.posts()) < signalled + 0.5
    assert len(slow.posts()) == done == report["outcomes"]["applied"]
    assert report["outcomes"]["deferred"] == DRIVERS - done
    counted = dict(slow.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert counted == {"applied": done, "deferred": DRIVERS - done}
    assert slow.folder.journal("select result, exit_code from runs") == [("failed", code)]


def test_sigkill_loses_nothing_and_nothing_happens_twice(slow: conftest.Desk) -> None:
    with slow.folder.started("once", "--json") as running:
        command.until(lambda: len(slow.changed()) >= 60, what="60 changes")
        running.signal(signal.SIGKILL)
        assert running.end().code == 137
    assert slow.folder.journal("select count(*) from intents") == [(DRIVERS,)]
    keys = {key for (key,) in slow.folder.journal("select key from intents")}
    assert {post.key for post in slow.posts()} <= keys
    ended = slow.run("once", "--json")
    assert (ended.code, ended.document["result"]) == (0, "converged")
    assert len(slow.changed()) == DRIVERS
    assert max(collections.Counter(slow.changed()).values()) == 1


def test_a_second_signal_ends_it_hard(slow: conftest.Desk) -> None:
    slow.charge.faults = faults.Faults(script=lambda request: "hang_after" if request.key else None)
    with slow.folder.started("once", "--json", FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="60") as running:
        command.until(lambda: len(slow.changed()) >= 16, what="16 writes in flight")
        running.signal(signal.SIGTERM)
        command.until(lambda: "stopping" in _stderr_so_far(running), what="the first signal noticed")
        signalled = time.monotonic()
        running.signal(signal.SIGTERM)
        ended = running.end()
    assert time.monotonic() - signalled < 3
    assert ended.code == 143
    assert ended.document["outcomes"]["unknown"] == 16
    assert len(slow.posts()) == 16
    assert dict(slow.folder.journal("select outcome, count(*) from intents group by outcome"))["unknown"] == 16


def _stderr_so_far(running: command.Running) -> str:
    """Wait for the next log line."""
    assert running.process.stderr is not None
    return running.process.stderr.readline()


def test_a_signal_while_reading_ends_it_at_once(desk: conftest.Desk) -> None:
    desk.charge.faults = faults.Faults({"hang": 1.0})
    for arguments in (["plan", "--json"], ["export"]):
        desk.charge.requests.clear()
        with desk.folder.started(*arguments, FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="60") as running:
            command.until(lambda: bool(desk.charge.requests), what="a request")
            running.signal(signal.SIGTERM)
            ended = running.end()
        assert ended.code == 143
        assert "Traceback" not in ended.stderr
