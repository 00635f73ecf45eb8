"""A journal in a file that cannot be had: each reason is said, with a remedy, and nothing is done half."""

import contextlib
import os
import pathlib
import pwd
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator

import anyio
import pytest

from tests.journal import backends, files, journal_factories, processes
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import Stale
from worker.journal import session

pytestmark = pytest.mark.anyio


# --- What cannot be used ----------------------------------------------------------------------------------


async def assert_refused(path: pathlib.Path, *, says: str | None = None) -> JournalError:
    """Check that the journal takes no run, says why and what to do."""
    journal = files.opened(path)
    with pytest.raises(JournalError, match=says) as caught:
        await journal.open()
    with pytest.raises(JournalError):
        await journal_factories.begin(journal, journal_factories.many(1))
    await journal.aclose()
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 1
    return caught.value


async def test_a_folder_that_does_not_exist_is_said(path: pathlib.Path) -> None:
    await assert_refused(path.parent / "nowhere" / "journal.db", says="No such file")
    journal = files.opened(path.parent / "nowhere" / "journal.db")
    with pytest.raises(JournalError):
        await journal.runs()
    await journal.aclose()


async def test_a_file_in_place_of_the_folder_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).write_bytes(b"")
    await assert_refused(path / "journal.db")


async def test_a_folder_in_place_of_the_file_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    await assert_refused(path, says="not a regular file")


async def test_a_pipe_in_place_of_the_file_is_said_and_nothing_is_put_beside_it(path: pathlib.Path) -> None:
    os.mkfifo(path)
    await assert_refused(path, says="not a regular file")
    assert [each.name async for each in anyio.Path(path.parent).iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"fleets:\n" * 1000, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_said_and_left_alone(path: pathlib.Path, content: bytes) -> None:
    await anyio.Path(path).write_bytes(content)
    await assert_refused(path, says="not a database")
    assert await anyio.Path(path).read_bytes() == content


async def test_a_damaged_journal_is_said(path: pathlib.Path) -> None:
    await files.made(path)
    content = bytearray(await anyio.Path(path).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    await anyio.Path(path).write_bytes(content)
    assert "backup" in (await assert_refused(path, says="malformed")).remedy


async def test_anothers_tables_of_the_same_name_are_said(path: pathlib.Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (something INTEGER)")
    await assert_refused(path, says="tables that fleet-sync did not make")


async def test_a_journal_of_a_newer_version_is_said_and_left_alone(path: pathlib.Path) -> None:
    await files.made(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 9999")
    before = await anyio.Path(path).read_bytes()
    error = await assert_refused(path, says="newer version")
    assert "Upgrade fleet-sync" in error.remedy
    journal = files.opened(path)
    with pytest.raises(JournalError, match="newer version"):
        await journal.runs()
    await journal.aclose()
    assert await anyio.Path(path).read_bytes() == before


async def test_a_journal_that_does_not_say_its_form_is_said(path: pathlib.Path) -> None:
    await files.made(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM schema_version")
    await assert_refused(path, says="already exists")


async def test_tables_that_vanished_meanwhile_are_said(path: pathlib.Path) -> None:
    journal = files.opened(path)
    await journal_factories.begin(journal, journal_factories.many(1))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE intents")
    with pytest.raises(JournalError, match="no such table"):
        await journal.record([(journal_factories.key(), journal_factories.DONE)])
    await journal.aclose()


async def test_after_a_failure_the_journal_may_be_tried_again(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    journal = files.opened(path)
    with pytest.raises(JournalError):
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
        await assert_refused(foreign, says="Permission denied")
    foreign.parent.chmod(0o755)
    assert list(foreign.parent.iterdir()) == []


async def test_a_file_that_cannot_be_written_is_said(foreign: pathlib.Path) -> None:
    await files.made(foreign)
    foreign.parent.chmod(0o777)
    foreign.with_name("journal.db.lock").chmod(0o666)
    await anyio.Path(foreign).chmod(0o444)
    with somebody():
        error = await assert_refused(foreign, says="readonly")
    assert "writable" in error.remedy
    assert len(files.rows(foreign, "SELECT * FROM runs")) == 1


FULL = """
import resource
from tests.journal import journal_factories
await journal.open()
await journal_factories.begin(journal, journal_factories.many(1), run="run_1")
limit = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    await journal_factories.begin(journal, journal_factories.many(5000), run="run_2")
except errors.JournalError as error:
    print(error.remedy)
await journal.record([(journal_factories.key(0), journal_factories.DONE)])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
await journal_factories.begin(journal, journal_factories.many(5000), run="run_3")
await journal.aclose()
"""


def test_a_disk_that_becomes_full_takes_nothing_half_and_goes_on_when_it_has_room(path: pathlib.Path) -> None:
    assert "has room" in processes.run(FULL, f"sqlite:///{path}")
    counts = "SELECT run, count(*) FROM runs JOIN intents ON run_number = number GROUP BY run"
    assert files.rows(path, counts) == [("run_1", 1), ("run_3", 5000)]
    assert files.rows(path, "SELECT run FROM runs ORDER BY run") == [("run_1",), ("run_3",)]


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
        await files.made(path)
    assert "room" in processes.run(NO_ROOM, f"sqlite:///{path}")


async def test_a_database_without_room_is_said(sqlite_backend: backends.SqliteBackend) -> None:
    journal = sqlite_backend.journal()
    await journal_factories.begin(journal, journal_factories.many(1))
    assert isinstance(journal._writer, session.WriterSession)
    journal._writer._opened().execute("PRAGMA max_page_count=1")
    with pytest.raises(JournalError, match="full") as caught:
        await journal_factories.begin(journal, journal_factories.many(500), run=RunId("run_2"))
    assert "room" in caught.value.remedy
    await journal.record([(journal_factories.key(), Stale("still"))])
    assert [run.run for run in await journal.runs()] == [journal_factories.RUN]
    await journal.aclose()
