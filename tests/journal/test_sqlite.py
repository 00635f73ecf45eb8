"""The journal in a file: what stands in it and when, how quickly it is looked at, and when it cannot be had."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator

import anyio
import pytest

from tests.journal import deeds, desks, processes
from worker.core import errors, outcomes, values
from worker.journal import sql, sqlite

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name the journal's file, in a folder whose name needs care."""
    folder = tmp_path / "a folder with spaces & 100 % more?"
    folder.mkdir()
    return folder / "journal.db"


def opened(path: pathlib.Path) -> sql.SqlJournal:
    return sql.SqlJournal(f"sqlite:///{path}", clock=deeds.Clock())


async def made(path: pathlib.Path) -> None:
    """Make a journal with one whole run in it."""
    journal = opened(path)
    await deeds.whole(journal, deeds.many(2), run="run_0", at=deeds.NOON)
    await journal.aclose()


def rows(path: pathlib.Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, from another connection."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# --- What is written, and when ----------------------------------------------------------------------------


async def test_everything_is_in_the_file_when_the_call_returns(path: pathlib.Path) -> None:
    journal = opened(path)
    await deeds.begin(journal, deeds.many(2))
    ((plan,),) = rows(path, "SELECT content FROM runs JOIN lists ON name = plan_lists")
    assert isinstance(plan, str)
    assert len(json.loads(plan)["changes"]) == 2
    assert rows(path, "SELECT position, kind, name, revision FROM sources ORDER BY position") == [
        (0, "file", "teams", "sha256:1"),
        (1, "file", "guests.csv", "sha256:2"),
    ]
    await journal.record([(deeds.key(0), deeds.DONE)])
    assert rows(path, "SELECT outcome, settled FROM intents ORDER BY position") == [
        ("applied", "2026-12-01T12:00:00.000Z"),
        (None, None),
    ]
    await journal.finish(deeds.ended(deeds.many(2)), trigger="once")
    assert rows(path, "SELECT result FROM runs") == [("converged",)]
    await journal.aclose()


def test_every_commit_is_on_disk_and_readers_do_not_block(path: pathlib.Path) -> None:
    """WAL is a property of the file, `synchronous` of the connection: 2 is FULL."""
    with contextlib.closing(sqlite.connect(path)) as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == ["wal", 2, 1, 10_000]


async def test_calls_side_by_side_are_written_one_after_the_other(path: pathlib.Path) -> None:
    journal = opened(path)
    await deeds.begin(journal, deeds.many(50))
    async with anyio.create_task_group() as tasks:
        for index in range(50):
            tasks.start_soon(journal.record, [(deeds.key(index), deeds.DONE)])
    assert await journal.open() == ()
    await journal.aclose()


async def test_a_commit_that_was_begun_is_finished_though_its_caller_is_cancelled(path: pathlib.Path) -> None:
    journal = opened(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deeds.begin, journal, deeds.many(2000))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert rows(path, "SELECT count(*) FROM intents") == [(2000,)]
    await journal.aclose()


async def test_to_close_waits_for_the_commit_that_is_under_way(path: pathlib.Path) -> None:
    journal = opened(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deeds.begin, journal, deeds.many(2000))
        await anyio.wait_all_tasks_blocked()
        await journal.aclose()
        assert rows(path, "SELECT count(*) FROM intents") == [(2000,)]
    await opened(path).aclose()


async def test_a_journal_that_is_never_used_makes_no_file(path: pathlib.Path) -> None:
    journal = opened(path)
    assert await journal.runs() == ()
    await journal.aclose()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("quick", [True, False])
async def test_what_is_held_in_every_run_is_stored_once(path: pathlib.Path, quick: bool) -> None:
    """Else a day of runs that hold a thousand changes takes 84 MB."""
    await made(path)
    journal = opened(path)
    if not quick:
        await journal.remember({"ann@example.com": values.DriverId("drv_ann")})
    for number in range(20):
        at = deeds.minutes(number)
        await journal.finish(
            deeds.held(deeds.many(1000), run=values.RunId(f"run_h{number}"), at=at), trigger="interval"
        )
        (sizes,) = rows(path, "SELECT total(length(plan) + length(report)), max(length(plan)) FROM runs")
    await journal.aclose()
    assert max(map(float, sizes)) < 21 * 2000  # type: ignore[arg-type]
    assert rows(path, "SELECT count(*) FROM lists WHERE length(content) > 100000") == [(1,)]
    later = opened(path)
    await later.prune(before=deeds.minutes(60))
    await later.aclose()
    assert rows(path, "SELECT count(*) FROM lists") == [(0,)]


# --- The quick look ---------------------------------------------------------------------------------------

QUIET = """
import datetime
from tests.journal import deeds
since = deeds.minutes(-60)
loaded = lambda: sorted({"sqlalchemy", "alembic"} & sys.modules.keys())
assert await journal.open() == ()
await journal.check()
await journal.fruitless(since=since)
known = await journal.resolutions()
await journal.remember(known)
assert not await journal.approved("sha256:plan", now=deeds.NOON)
await journal.prune(before=since)
await journal.finish(deeds.ended(), trigger="once")
print(loaded())
await journal.open()
await deeds.begin(journal, deeds.many(1), run="run_b")
print(loaded())
await journal.aclose()
"""


async def test_a_run_with_nothing_to_write_does_not_load_sqlalchemy(path: pathlib.Path) -> None:
    await made(path)
    journal = opened(path)
    await journal.remember({"ann@example.com": values.DriverId("drv_ann")})
    await journal.aclose()
    assert processes.run(QUIET, f"sqlite:///{path}") == "[]\n['sqlalchemy']\n"
    assert rows(path, "SELECT run, result FROM runs ORDER BY run") == [
        ("run_0", "converged"),
        ("run_1", "in_sync"),
        ("run_b", None),
    ]
    assert rows(path, "SELECT count(*) FROM sources") == [(6,)]


async def test_a_quick_look_sees_what_another_process_left_open_since(path: pathlib.Path) -> None:
    await made(path)
    journal, other = opened(path), opened(path)
    assert await journal.resolutions() == {}
    await deeds.begin(other, deeds.many(1))
    await other.aclose()
    assert len(await journal.open()) == 1
    await journal.aclose()


async def test_a_run_that_is_recorded_already_is_not_recorded_again(path: pathlib.Path) -> None:
    await made(path)
    journal = opened(path)
    with pytest.raises(errors.JournalError, match="UNIQUE"):
        await journal.finish(deeds.ended(run=values.RunId("run_0")), trigger="once")
    await journal.finish(deeds.ended(), trigger="once")
    await journal.aclose()


# --- Losing it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["journal.db", "journal.db.lock"])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_writer_whose_files_are_gone_writes_nothing_until_it_opens_again(
    path: pathlib.Path, lost: str, begun: bool
) -> None:
    await made(path)
    journal = opened(path)
    await journal.open()
    if begun:
        await deeds.begin(journal, deeds.many(1))
    path.with_name(lost).unlink()
    with pytest.raises(errors.JournalError, match="not the one that may write") as caught:
        await journal.finish(deeds.ended(), trigger="once")
    assert caught.value.remedy
    with pytest.raises(errors.JournalError):
        await journal.check()
    with pytest.raises(errors.JournalError):
        await journal.record([(deeds.key(), deeds.DONE)])
    await journal.open()
    await journal.check()
    await journal.aclose()


async def test_a_check_notices_within_a_moment_that_the_lock_file_is_gone(path: pathlib.Path) -> None:
    journal = opened(path)
    await journal.open()
    await anyio.Path(f"{path}.lock").unlink()
    with pytest.raises(errors.JournalError):
        while True:
            await journal.check()
    await journal.aclose()


async def test_to_open_again_is_to_look_whether_the_lock_is_held_still(path: pathlib.Path) -> None:
    journal = opened(path)
    await deeds.begin(journal, deeds.many(1))
    await anyio.Path(f"{path}.lock").unlink()
    assert len(await journal.open()) == 1
    await journal.check()
    await journal.aclose()


# --- What cannot be used ----------------------------------------------------------------------------------


async def refused(path: pathlib.Path, *, says: str | None = None) -> errors.JournalError:
    """See that the journal takes no run, says why and what to do."""
    journal = opened(path)
    with pytest.raises(errors.JournalError, match=says) as caught:
        await journal.open()
    with pytest.raises(errors.JournalError):
        await deeds.begin(journal, deeds.many(1))
    await journal.aclose()
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 1
    return caught.value


async def test_a_folder_that_does_not_exist_is_said(path: pathlib.Path) -> None:
    await refused(path.parent / "nowhere" / "journal.db", says="No such file")
    journal = opened(path.parent / "nowhere" / "journal.db")
    with pytest.raises(errors.JournalError):
        await journal.runs()
    await journal.aclose()


async def test_a_file_in_place_of_the_folder_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).write_bytes(b"")
    await refused(path / "journal.db")


async def test_a_folder_in_place_of_the_file_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    await refused(path, says="unable to open")


@pytest.mark.parametrize("content", [b"fleets:\n" * 1000, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_said_and_left_alone(path: pathlib.Path, content: bytes) -> None:
    await anyio.Path(path).write_bytes(content)
    await refused(path, says="not a database")
    assert await anyio.Path(path).read_bytes() == content


async def test_a_damaged_journal_is_said(path: pathlib.Path) -> None:
    await made(path)
    content = bytearray(await anyio.Path(path).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    await anyio.Path(path).write_bytes(content)
    assert "backup" in (await refused(path, says="malformed")).remedy


async def test_anothers_tables_of_the_same_name_are_said(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (something INTEGER)")
    await refused(path, says="tables that fleet-sync did not make")


async def test_a_journal_of_a_newer_version_is_said_and_left_alone(path: pathlib.Path) -> None:
    await made(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = await anyio.Path(path).read_bytes()
    error = await refused(path, says="newer version")
    assert "Upgrade fleet-sync" in error.remedy
    journal = opened(path)
    with pytest.raises(errors.JournalError, match="newer version"):
        await journal.runs()
    await journal.aclose()
    assert await anyio.Path(path).read_bytes() == before


async def test_a_journal_that_does_not_say_its_form_is_said(path: pathlib.Path) -> None:
    await made(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
    await refused(path, says="already exists")


async def test_tables_that_vanished_meanwhile_are_said(path: pathlib.Path) -> None:
    journal = opened(path)
    await deeds.begin(journal, deeds.many(1))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE intents")
    with pytest.raises(errors.JournalError, match="no such table"):
        await journal.record([(deeds.key(), deeds.DONE)])
    await journal.aclose()


async def test_after_a_failure_the_journal_may_be_tried_again(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    journal = opened(path)
    with pytest.raises(errors.JournalError):
        await journal.open()
    await anyio.Path(path).rmdir()
    await journal.open()
    await journal.aclose()


# --- Disks that do not take it ----------------------------------------------------------------------------


@pytest.fixture
def foreign() -> Iterator[pathlib.Path]:
    """Name a journal in a folder that everybody may read, and only its owner write."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fleet-sync-journal-"))
    yield folder / "journal.db"
    shutil.rmtree(folder)


@contextlib.contextmanager
def somebody() -> Iterator[int]:
    """Be an ordinary user for a while: root may write everywhere."""
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    own = os.geteuid()
    os.seteuid(user)
    try:
        yield user
    finally:
        os.seteuid(own)


async def test_a_folder_that_cannot_be_written_is_said(foreign: pathlib.Path) -> None:
    foreign.parent.chmod(0o555)
    with somebody():
        await refused(foreign, says="Permission denied")
    foreign.parent.chmod(0o755)
    assert list(foreign.parent.iterdir()) == []


async def test_a_file_that_cannot_be_written_is_said(foreign: pathlib.Path) -> None:
    await made(foreign)
    foreign.parent.chmod(0o777)
    foreign.with_name("journal.db.lock").chmod(0o666)
    await anyio.Path(foreign).chmod(0o444)
    with somebody():
        error = await refused(foreign, says="readonly")
    assert "writable" in error.remedy
    assert len(rows(foreign, "SELECT * FROM runs")) == 1


FULL = """
import resource
from tests.journal import deeds
await journal.open()
await deeds.begin(journal, deeds.many(1), run="run_1")
limit = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    await deeds.begin(journal, deeds.many(5000), run="run_2")
except errors.JournalError as error:
    print(error.remedy)
await journal.record([(deeds.key(0), deeds.DONE)])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
await deeds.begin(journal, deeds.many(5000), run="run_3")
await journal.aclose()
"""


def test_a_disk_that_becomes_full_takes_nothing_half_and_goes_on_when_it_has_room(path: pathlib.Path) -> None:
    assert "has room" in processes.run(FULL, f"sqlite:///{path}")
    assert rows(path, "SELECT run, count(*) FROM intents GROUP BY run") == [("run_1", 1), ("run_3", 5000)]
    assert rows(path, "SELECT run FROM runs ORDER BY run") == [("run_1",), ("run_3",)]


NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    await journal.open()
except errors.JournalError as error:
    print(error.remedy)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
await journal.aclose()
"""


@pytest.mark.parametrize("exists", [False, True])
async def test_a_disk_that_is_full_from_the_start_takes_no_journal(path: pathlib.Path, exists: bool) -> None:
    if exists:
        await made(path)
    assert "room" in processes.run(NO_ROOM, f"sqlite:///{path}")


async def test_a_database_without_room_is_said(sqlite_desk: desks.SqliteDesk) -> None:
    journal = sqlite_desk.journal()
    await deeds.begin(journal, deeds.many(1))
    database = journal._keeper._ready()
    with database._reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")
    with pytest.raises(errors.JournalError, match="full") as caught:
        await deeds.begin(journal, deeds.many(500), run=values.RunId("run_2"))
    assert "room" in caught.value.remedy
    await journal.record([(deeds.key(), outcomes.Stale("still"))])
    assert [run.run for run in await journal.runs()] == [deeds.RUN]
    await journal.aclose()
