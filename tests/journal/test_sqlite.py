"""The journal in a file: what is in it and when, how much room it takes, and how it is lost."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import sqlite3
from collections.abc import Callable

import anyio
import pytest

from tests.journal import files, journal_factories, processes
from worker.core.model.desired import Origin
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, ChangeResult
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.core.model.serialization import report_document
from worker.journal import address, connection

pytestmark = pytest.mark.anyio


# --- What is written, and when ----------------------------------------------------------------------------


async def test_everything_is_in_the_file_when_the_call_returns(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(2))
    ((plan,),) = files.rows(path, "SELECT plan FROM runs")
    assert isinstance(plan, str)
    assert [each["revision"] for each in json.loads(plan)["sources"]] == ["sha256:1", "sha256:2"]
    assert files.rows(path, "SELECT position, driver FROM intents ORDER BY position") == [
        (0, "drv_00000"),
        (1, "drv_00001"),
    ]
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    assert files.rows(path, "SELECT outcome, settled FROM intents ORDER BY position") == [
        ("applied", "2026-12-01T12:00:00.000Z"),
        (None, None),
    ]
    await journal.finish(journal_factories.ended(journal_factories.many(2)), trigger="once")
    assert files.rows(path, "SELECT result FROM runs") == [("converged",)]
    await journal.aclose()


def test_every_commit_is_on_disk_and_readers_do_not_block(path: pathlib.Path) -> None:
    """WAL is a property of the file, `synchronous` of the connection: 2 is FULL."""
    with contextlib.closing(connection.connect(address.parse(f"sqlite:///{path}"))) as database:
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 10_000),
        ):
            assert next(iter(tuple(database.query(f"PRAGMA {pragma}")[0]))) == value


async def test_calls_side_by_side_are_written_one_after_the_other(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(50))
    async with anyio.create_task_group() as tasks:
        for index in range(50):
            tasks.start_soon(journal.record, [(journal_factories.key(index), journal_factories.DONE)])
    assert await journal.open() == ()
    await journal.aclose()


async def test_a_commit_that_was_begun_is_finished_though_its_caller_is_cancelled(path: pathlib.Path) -> None:
    journal = files.opened(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal_factories.begin, journal, journal_factories.many(2000))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert files.rows(path, "SELECT count(*) FROM intents") == [(2000,)]
    await journal.aclose()


async def test_to_close_waits_for_the_commit_that_is_under_way(path: pathlib.Path) -> None:
    journal = files.opened(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal_factories.begin, journal, journal_factories.many(2000))
        await anyio.wait_all_tasks_blocked()
        await journal.aclose()
        assert files.rows(path, "SELECT count(*) FROM intents") == [(2000,)]
    await files.opened(path).aclose()


async def test_a_journal_that_is_never_used_makes_no_file(path: pathlib.Path) -> None:
    journal = files.opened(path)
    assert await journal.runs() == ()
    await journal.aclose()
    assert list(path.parent.iterdir()) == []


async def test_what_is_held_in_every_run_is_stored_once(path: pathlib.Path) -> None:
    """Else a day of runs that hold a thousand changes takes 84 MB."""
    await files.made(path)
    journal = files.opened(path)
    for number in range(20):
        at = journal_factories.minutes(number)
        await journal.finish(
            journal_factories.held(journal_factories.many(1000), run=RunId(f"run_h{number}"), at=at), trigger="interval"
        )
        (sizes,) = files.rows(path, "SELECT total(length(plan) + length(report)), max(length(plan)) FROM runs")
    await journal.aclose()
    assert max(map(float, sizes)) < 21 * 2000  # type: ignore[arg-type]
    assert files.rows(path, "SELECT count(*) FROM lists WHERE length(content) > 100000") == [(1,)]
    later = files.opened(path)
    await later.prune(before=journal_factories.minutes(60))
    await later.aclose()
    assert files.rows(path, "SELECT count(*) FROM lists") == [(0,)]


async def test_a_change_takes_at_most_600_bytes(path: pathlib.Path) -> None:
    """Plan and report are stored without what the intents say."""
    numbers = random.Random(1)
    changes = sorted(
        (_real_change(numbers, line) for line in range(5000)),
        key=lambda change: change.order,
    )
    journal = files.opened(path)
    run = RunId("run_0123456789abcdef0123456789abcdef")
    intents = [Intent(IntentKey(f"fleet-sync-{numbers.randbytes(16).hex()}"), change) for change in changes]
    results = tuple(ChangeResult(change, Applied(1, f"req_{numbers.randbytes(16).hex()}")) for change in changes)
    await journal.begin(run, trigger="interval", guarded=journal_factories.guarded(changes), intents=intents)
    await journal.record([(intent.key, each.outcome) for intent, each in zip(intents, results, strict=True)])
    report = dataclasses.replace(journal_factories.ended(changes, run=run), results=results)
    await journal.finish(report, trigger="interval")
    assert (await journal.documents(run))[1] == report_document(report)
    await journal.aclose()
    assert (await anyio.Path(path).stat()).st_size / len(changes) <= 600


def _real_change(numbers: random.Random, line: int) -> Change:
    """Make a change with ids and a fingerprint as long as real ones."""
    return Change(
        Action.ATTACH,
        DriverId(f"drv_{numbers.randbytes(16).hex()}"),
        FleetId(f"flt_{'0123456789abcdef' * 2}"),
        Origin("membership.yaml", line, 7),
        numbers.randbytes(8).hex(),
    )


async def test_a_run_sees_what_another_process_left_open_since_it_first_looked(path: pathlib.Path) -> None:
    await files.made(path)
    journal, other = files.opened(path), files.opened(path)
    assert await journal.resolutions() == {}
    await journal_factories.begin(other, journal_factories.many(1))
    await other.aclose()
    assert len(await journal.open()) == 1
    await journal.aclose()


async def test_a_run_that_is_recorded_already_is_not_recorded_again(path: pathlib.Path) -> None:
    await files.made(path)
    journal = files.opened(path)
    with pytest.raises(JournalError, match="already"):
        await journal.finish(journal_factories.ended(run=RunId("run_0")), trigger="once")
    await journal.finish(journal_factories.ended(), trigger="once")
    await journal.aclose()


# --- Losing it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["journal.db", "journal.db.lock"])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_writer_whose_files_are_gone_writes_nothing_until_it_opens_again(
    path: pathlib.Path, lost: str, begun: bool
) -> None:
    await files.made(path)
    journal = files.opened(path)
    await journal.open()
    if begun:
        await journal_factories.begin(journal, journal_factories.many(1))
    path.with_name(lost).unlink()
    with pytest.raises(JournalError, match="may no longer write") as caught:
        await journal.finish(journal_factories.ended(), trigger="once")
    assert caught.value.remedy
    with pytest.raises(JournalError):
        await journal.check()
    with pytest.raises(JournalError):
        await journal.record([(journal_factories.key(), journal_factories.DONE)])
    await journal.open()
    await journal.check()
    await journal.aclose()


async def test_a_check_notices_within_a_moment_that_the_lock_file_is_gone(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal.open()
    await anyio.Path(f"{path}.lock").unlink()
    with pytest.raises(JournalError):
        while True:
            await journal.check()
    await journal.aclose()


def _truncate(file: pathlib.Path) -> None:
    os.truncate(file, 0)


def _lose_the_end(file: pathlib.Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _replace(file: pathlib.Path) -> None:
    file.with_name("other").write_bytes(file.read_bytes())
    file.with_name("other").replace(file)


def _overwrite(file: pathlib.Path) -> None:
    """Copy another journal over this one, which keeps the inode."""
    with contextlib.closing(sqlite3.connect(f"{file}.other")) as other:
        other.execute("CREATE TABLE something (number INTEGER)")
    file.write_bytes(file.with_name(f"{file.name}.other").read_bytes())


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("journal.db", _truncate),
        ("journal.db", _lose_the_end),
        ("journal.db", _replace),
        ("journal.db", _overwrite),
        ("journal.db-wal", _truncate),
        ("journal.db-wal", _lose_the_end),
        ("journal.db-wal", _replace),
        ("journal.db-wal", pathlib.Path.unlink),
    ],
)
async def test_a_journal_that_is_truncated_or_replaced_during_a_run_is_noticed_before_the_next_write(
    path: pathlib.Path, name: str, spoil: Callable[[pathlib.Path], None]
) -> None:
    await files.made(path)
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(500))
    spoil(path.with_name(name))
    with pytest.raises(JournalError, match="replaced or truncated") as caught:
        await journal.record([(journal_factories.key(), journal_factories.DONE)])
    assert caught.value.code == "journal_lost"
    with pytest.raises(JournalError):
        await journal.check()
    await journal.aclose()


def _move_the_head_only(path: pathlib.Path) -> None:
    """Do what is left of a move of the log into the file where the disk is full, or the process is killed."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    size = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log) - size - 23, 24 + size)
    heads = [log[place + 24 : place + 24 + size] for place in frames if log[place : place + 4] == b"\0\0\0\1"]
    with path.open("r+b") as file:
        file.write(heads[-1])


async def test_a_log_that_was_moved_in_part_is_no_loss(path: pathlib.Path) -> None:
    await files.made(path)
    killed, crashed = files.opened(path), path.with_name("crashed.db")
    await journal_factories.begin(killed, journal_factories.many(5000))
    for suffix in ("", "-wal"):
        await anyio.Path(f"{crashed}{suffix}").write_bytes(await anyio.Path(f"{path}{suffix}").read_bytes())
    await killed.aclose()
    before = crashed.stat().st_size
    _move_the_head_only(crashed)
    journal = files.opened(crashed)
    assert len(await journal.open()) == 5000
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    assert crashed.stat().st_size == before
    os.truncate(crashed, before - 1)
    with pytest.raises(JournalError, match="truncated"):
        await journal.record([(journal_factories.key(1), journal_factories.DONE)])
    await journal.aclose()


async def test_other_processes_that_come_and_go_are_no_reason_to_stop(path: pathlib.Path) -> None:
    """To close a file that SQLite has open releases SQLite's locks, and lets others delete the log in use."""
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(5000))
    for index in range(3):
        processes.run("print(await journal.runs())", f"sqlite:///{path}")
        processes.run("await journal.approve('x', now=NOON, until=NOON)".replace("NOON", _NOON), f"sqlite:///{path}")
        await journal.record([(journal_factories.key(index), journal_factories.DONE)])
        assert len(await journal.runs()) == 1
    await journal.aclose()
    assert files.rows(path, "SELECT count(*) FROM intents WHERE outcome = 'applied'") == [(3,)]


_NOON = "journal_factories.NOON"


async def test_to_open_again_is_to_look_whether_the_lock_is_held_still(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(1))
    await anyio.Path(f"{path}.lock").unlink()
    assert len(await journal.open()) == 1
    await journal.check()
    await journal.aclose()
