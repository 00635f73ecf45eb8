"""The journal in a file: what stands in it and when, how quickly it is looked at, and when it cannot be had."""

import contextlib
import json
import pathlib

import anyio
import pytest

from tests.journal import files, journal_factories, processes
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import DriverId, RunId
from worker.journal import sqlite

pytestmark = pytest.mark.anyio


# --- What is written, and when ----------------------------------------------------------------------------


async def test_everything_is_in_the_file_when_the_call_returns(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(2))
    ((plan,),) = files.rows(path, "SELECT content FROM runs JOIN lists ON name = plan_lists")
    assert isinstance(plan, str)
    assert len(json.loads(plan)["changes"]) == 2
    assert files.rows(path, "SELECT position, kind, name, revision FROM sources ORDER BY position") == [
        (0, "file", "teams", "sha256:1"),
        (1, "file", "guests.csv", "sha256:2"),
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
    with contextlib.closing(sqlite.connect(path)) as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == ["wal", 2, 1, 10_000]


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


@pytest.mark.parametrize("quick", [True, False])
async def test_what_is_held_in_every_run_is_stored_once(path: pathlib.Path, quick: bool) -> None:
    """Else a day of runs that hold a thousand changes takes 84 MB."""
    await files.made(path)
    journal = files.opened(path)
    if not quick:
        await journal.remember({"ann@example.com": DriverId("drv_ann")})
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


# --- The quick look ---------------------------------------------------------------------------------------

QUIET = """
import datetime
from tests.journal import journal_factories
since = journal_factories.minutes(-60)
loaded = lambda: sorted({"sqlalchemy", "alembic"} & sys.modules.keys())
assert await journal.open() == ()
await journal.check()
await journal.unconfirmed_writes(since=since)
known = await journal.resolutions()
await journal.remember(known)
assert not await journal.approved("sha256:plan", now=journal_factories.NOON)
await journal.prune(before=since)
await journal.finish(journal_factories.ended(), trigger="once")
print(loaded())
await journal.open()
await journal_factories.begin(journal, journal_factories.many(1), run="run_b")
print(loaded())
await journal.aclose()
"""


async def test_a_run_with_nothing_to_write_does_not_load_sqlalchemy(path: pathlib.Path) -> None:
    await files.made(path)
    journal = files.opened(path)
    await journal.remember({"ann@example.com": DriverId("drv_ann")})
    await journal.aclose()
    assert processes.run(QUIET, f"sqlite:///{path}") == "[]\n['sqlalchemy']\n"
    assert files.rows(path, "SELECT run, result FROM runs ORDER BY run") == [
        ("run_0", "converged"),
        ("run_1", "in_sync"),
        ("run_b", None),
    ]
    assert files.rows(path, "SELECT count(*) FROM sources") == [(6,)]


async def test_a_quick_look_sees_what_another_process_left_open_since(path: pathlib.Path) -> None:
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
    with pytest.raises(JournalError, match="UNIQUE"):
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
    with pytest.raises(JournalError, match="not the one that may write") as caught:
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


async def test_to_open_again_is_to_look_whether_the_lock_is_held_still(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(1))
    await anyio.Path(f"{path}.lock").unlink()
    assert len(await journal.open()) == 1
    await journal.check()
    await journal.aclose()
