"""A journal has one writer, and every write is in the journal."""

import contextlib
import pathlib
import shutil
import signal
import socket
import sqlite3
from collections.abc import Callable

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults, http_types

PATIENT = {"FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "600", "FLEET_SYNC_SYNC__DRAIN_SECONDS": "0"}
SLOWLY = {"FLEET_SYNC_CHARGE__TIMEOUT_SECONDS": "600", "FLEET_SYNC_RATE_LIMIT__CONCURRENCY": "4"}
"""Makes the other 200 writes of `crowd` last seconds: long enough for what must stop them, on a slow machine too."""


def _hang(workspace: conftest.Workspace) -> None:
    """Make every write hang."""
    workspace.charge.faults = faults.Faults(
        script=lambda request: "hang" if request.route in http_types.WRITES else None
    )


def _newcomer(workspace: conftest.Workspace) -> tuple[str, str]:
    fleet, *_ = members = workspace.members()
    driver = next(driver for driver in workspace.people.drivers if driver not in members[fleet])
    workspace.write({**members, fleet: [*members[fleet], driver]})
    return driver, fleet


# --- One writer -------------------------------------------------------------------------------------------


def test_a_second_once_sends_nothing_and_says_who_writes(workspace: conftest.Workspace) -> None:
    _newcomer(workspace)
    _hang(workspace)
    with workspace.folder.started("once", **PATIENT) as first:
        command.until(lambda: bool(workspace.posts()), what="the first one's write")
        requests = len(workspace.charge.requests)
        by_name, by_page, planned = workspace.together(["once", "--json"], ["once"], ["plan", "--json"])
        error = by_name.document["error"]
        assert (by_name.code, by_name.document["result"], error["code"]) == (1, "failed", "journal_busy")
        assert f"process {first.process.pid} on {socket.gethostname()}, since 20" in error["message"]
        assert "`fleet-sync approve DIGEST`" in error["remedy"]
        assert by_page.code == 1
        assert f"process {first.process.pid} on" in by_page.stderr and "Traceback" not in by_page.stderr
        # Commands that only read do not conflict.
        assert (planned.code, planned.document["summary"]["attach"]) == (0, 1)
        assert {request.method for request in workspace.charge.requests[requests:]} == {"GET"}
        assert len(workspace.posts()) == 1
        first.signal(signal.SIGTERM)
        assert first.end().code == 143
    assert workspace.folder.journal("select count(*) from runs") == [(1,)]


def test_two_at_once_never_do_anything_twice(workspace: conftest.Workspace) -> None:
    driver, fleet = _newcomer(workspace)
    ended = workspace.together(*[["once", "--json"]] * 3)
    assert {each.code for each in ended} <= {0, 1}
    assert 0 in {each.code for each in ended}
    assert all(each.code == 0 or each.document["error"]["code"] == "journal_busy" for each in ended)
    assert workspace.changed() == [("attach", driver, fleet)]
    assert len(workspace.posts()) == 1


def test_run_stands_by_and_takes_over_when_the_first_one_ends(workspace: conftest.Workspace) -> None:
    driver, fleet = _newcomer(workspace)
    _hang(workspace)
    with workspace.folder.started("run", **PATIENT) as first:
        command.until(lambda: len(workspace.posts()) == 1, what="the first one's write")
        requests = len(workspace.charge.requests)
        with workspace.folder.started("run") as second:
            assert second.process.stderr is not None
            standing = second.process.stderr.readline()
            assert "standing_by" in standing and f"process {first.process.pid} on" in standing
            assert len(workspace.charge.requests) == requests
            workspace.charge.faults = faults.NONE
            first.signal(signal.SIGKILL)
            assert first.end().code == 137
            outcomes = "select outcome from intents order by recorded"
            command.until(
                # The reply to a resent write proves nothing: before the reading after it, a signal leaves it unknown.
                lambda: workspace.folder.journal(outcomes) == [("applied",)],
                what="the second one at work",
            )
            second.signal(signal.SIGTERM)
            ended = second.end()
    assert ended.code == 143
    events = [event["event"] for event in ended.events]
    assert events.index("recovered") < events.index("membership_attach")
    assert workspace.changed() == [("attach", driver, fleet)]


def test_one_that_stands_by_ends_at_the_first_signal(workspace: conftest.Workspace) -> None:
    _newcomer(workspace)
    _hang(workspace)
    with workspace.folder.started("once", **PATIENT):
        command.until(lambda: bool(workspace.posts()), what="the first one's write")
        with workspace.folder.started("run") as second:
            assert second.process.stderr is not None
            assert "standing_by" in second.process.stderr.readline()
            second.signal(signal.SIGTERM)
            assert second.end().code == 143
    assert len(workspace.posts()) == 1


# --- A journal that is lost during a run --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fleet-sync.db.lock", "fleet-sync.db"])
def test_after_the_lock_or_the_journal_was_removed_nothing_more_is_sent(
    crowd: conftest.Workspace, gate: conftest.Gate, name: str
) -> None:
    gate.free = 60
    with crowd.folder.started("once", "--json", **SLOWLY) as running:
        command.until(lambda: len(crowd.posts()) == 64, what="60 changes, and 4 in flight")
        shutil.copy(crowd.folder.path / name, crowd.folder.path / "aside")
        (crowd.folder.path / name).unlink()
        gate.open()
        ended = running.end()
    report = ended.document
    assert (ended.code, report["error"]["code"]) == (1, "journal_lost")
    assert "Traceback" not in ended.stderr
    done = len(crowd.changed())
    assert 64 <= done < 200
    assert len(crowd.posts()) == done == report["outcomes"]["applied"]
    if name.endswith(".lock"):
        again = crowd.run("once", "--json")
        assert (again.code, again.document["result"]) == (0, "converged")
        assert len(crowd.changed()) == 300
        assert crowd.folder.journal("select count(*) from intents where outcome = 'applied'") == [(300,)]


def test_another_writer_that_took_over_a_removed_lock_is_left_alone(
    crowd: conftest.Workspace, gate: conftest.Gate
) -> None:
    """The first process notices before its next write and leaves the records of the second alone."""
    gate.free = 30
    with crowd.folder.started("once", "--json", **SLOWLY) as first:
        command.until(lambda: len(crowd.posts()) == 34, what="30 changes, and 4 in flight")
        (crowd.folder.path / "fleet-sync.db.lock").unlink()
        gate.open()
        second = crowd.run("once", "--json")
        ended = first.end()
    assert (ended.code, ended.document["error"]["code"]) == (1, "journal_lost")
    assert second.code == 0, second
    assert len(crowd.changed()) == 300
    assert {effect.changed for effect in crowd.people.effects} == {True}


# --- A journal that cannot be used ------------------------------------------------------------------------


def _no_folder(folder: pathlib.Path) -> str:
    return f"sqlite:///{folder}/missing/fleet-sync.db"


def _a_folder(folder: pathlib.Path) -> str:
    (folder / "fleet-sync.db").mkdir()
    return f"sqlite:///{folder}/fleet-sync.db"


def _no_database(folder: pathlib.Path) -> str:
    (folder / "fleet-sync.db").write_bytes(b"fleets: {}\n" * 1000)
    return f"sqlite:///{folder}/fleet-sync.db"


def _a_newer_one(folder: pathlib.Path) -> str:
    with sqlite3.connect(folder / "fleet-sync.db") as database:
        database.execute("create table schema_version (version integer)")
        database.execute("insert into schema_version values (9999)")
    database.close()
    return f"sqlite:///{folder}/fleet-sync.db"


def _a_device(_: pathlib.Path) -> str:
    return "sqlite:////dev/full"


@pytest.mark.parametrize("spoil", [_no_folder, _a_folder, _no_database, _a_newer_one, _a_device])
def test_without_a_usable_journal_nothing_is_sent(
    workspace: conftest.Workspace, spoil: Callable[[pathlib.Path], str]
) -> None:
    _newcomer(workspace)
    url = {"FLEET_SYNC_JOURNAL__URL": spoil(workspace.folder.path)}
    once, history = workspace.together(["once", "--json"], ["history", "--json"], **url)
    report = once.document
    assert (once.code, report["result"], report["plan"]) == (1, "failed", None)
    assert report["error"]["code"].startswith("journal_")
    assert report["error"]["message"] and report["error"]["remedy"]
    assert "Traceback" not in once.stderr
    assert workspace.charge.requests == []
    assert history.code == 1 and history.document["error"]["remedy"]


def _fail(workspace: conftest.Workspace, trigger: str) -> None:
    """Make certain writes of the journal fail from now on."""
    with contextlib.closing(sqlite3.connect(workspace.folder.path / "fleet-sync.db")) as database:
        database.execute(f"create trigger disk {trigger} begin select raise(abort, 'the disk is full'); end")


def test_where_intents_cannot_be_written_no_write_is_sent(workspace: conftest.Workspace) -> None:
    assert workspace.run("once").code == 0
    _newcomer(workspace)
    _fail(workspace, "before insert on intents")
    ended = workspace.run("once", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, "journal_unwritable")
    assert workspace.posts() == []
    assert workspace.folder.journal("select count(*) from intents") == [(0,)]


def test_where_outcomes_cannot_be_written_the_run_ends_and_the_next_one_finds_them(
    crowd: conftest.Workspace, gate: conftest.Gate
) -> None:
    """The disk is full after 50 outcomes."""
    gate.free = 50
    with crowd.folder.started("once", "--json", **SLOWLY) as running:
        command.until(lambda: len(crowd.posts()) == 54, what="50 changes, and 4 in flight")
        _fail(crowd, "before update on intents")
        gate.open()
        ended = running.end()
    report = ended.document
    assert (ended.code, report["error"]["code"]) == (1, "journal_unwritable")
    assert "Traceback" not in ended.stderr
    done = len(crowd.changed())
    assert 54 <= done < conftest.CROWD
    assert (len(crowd.posts()), report["outcomes"]["applied"]) == (done, done)
    with contextlib.closing(sqlite3.connect(crowd.folder.path / "fleet-sync.db")) as database:
        database.execute("drop trigger disk")
    again = crowd.run("once", "--json")
    assert (again.code, again.document["result"], len(crowd.changed())) == (0, "converged", 300)
    outcomes = dict(crowd.folder.journal("select outcome, count(*) from intents group by outcome"))
    assert outcomes == {"applied": 300}  # the others were sent again under their keys


def test_reading_commands_at_the_same_time_are_in_nobodys_way(workspace: conftest.Workspace) -> None:
    """This also holds before the first journal exists."""
    _newcomer(workspace)
    ended = workspace.together(*[["plan", "--json"]] * 3)
    assert [each.code for each in ended] == [0] * 3
    assert workspace.posts() == []


def test_a_journal_of_another_account_is_left_alone_until_the_operator_adopts_it(
    workspace: conftest.Workspace,
) -> None:
    assert workspace.run("once").code == 0
    _newcomer(workspace)
    _give_away(workspace)
    once, plan = workspace.together(["once", "--json"], ["plan", "--json"])
    for ended in (once, plan):
        assert (ended.code, ended.document["error"]["code"]) == (1, "journal_of_another_account")
    assert "--adopt-journal" in once.document["error"]["remedy"]
    assert workspace.posts() == []
    applied = workspace.run("plan", "--out", "saved.json", "--adopt-journal")
    assert applied.code == 0
    assert workspace.run("apply", "saved.json", "--json").document["error"]["code"] == "journal_of_another_account"
    assert workspace.posts() == []
    adopted = workspace.run("once", "--json", "--adopt-journal")
    assert (adopted.code, adopted.document["result"]) == (0, "converged")
    assert workspace.run("once", "--json").document["result"] == "in_sync"


def test_apply_and_run_adopt_a_journal_too(workspace: conftest.Workspace) -> None:
    assert workspace.run("once").code == 0
    _give_away(workspace)
    _newcomer(workspace)
    assert workspace.run("plan", "--out", "saved.json", "--adopt-journal").code == 0
    applied = workspace.run("apply", "saved.json", "--json", "--adopt-journal")
    assert (applied.code, applied.document["result"]) == (0, "converged")
    _give_away(workspace)
    with workspace.folder.started("run", "--adopt-journal") as service:
        command.until(lambda: _owner(workspace) == workspace.url, what="a run that adopts the journal")
        service.signal(signal.SIGTERM)
        assert service.end().code == 143
    assert workspace.run("once", "--json").document["result"] == "in_sync"


def _give_away(workspace: conftest.Workspace) -> None:
    """Let the journal belong to another account."""
    with contextlib.closing(sqlite3.connect(workspace.folder.path / "fleet-sync.db")) as database, database:
        database.execute("update accounts set base_url = 'https://elsewhere.example'")


def _owner(workspace: conftest.Workspace) -> str:
    [(url,)] = workspace.folder.journal("select base_url from accounts")
    return str(url)
