"""The durable journal: what stands in the file and when, and the ways in which a file cannot be had."""

import json
import pathlib
import sqlite3
import stat
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.journal import conftest
from worker.core import errors, outcomes, ports, values
from worker.journal import database, sql

pytestmark = pytest.mark.anyio

EVERY_OUTCOME: list[outcomes.Outcome] = [
    outcomes.Applied(1, "req_1"),
    outcomes.Already(2, None, "somebody else had made it"),
    outcomes.Refused(1, "policy_blocked", "Not allowed: \u00e9\u2028\x00 'quotes'; DROP TABLE intents", "req_2"),
    outcomes.Deferred(0, "stopped", "not sent"),
    outcomes.Unknown(6, "timeout", "no answer"),
]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name the journal's file, in a folder whose name needs care."""
    folder = tmp_path / "a folder with spaces & more"
    folder.mkdir()
    return folder / "journal.db"


@pytest.fixture
def unwritable(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Take the right to write from the folder."""
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield path
    path.parent.chmod(stat.S_IRWXU)


def _url(path: pathlib.Path) -> str:
    return f"sqlite:///{path}"


def _rows(path: pathlib.Path, query: str) -> list[dict[str, Any]]:
    """Read the file beside the journal, as a crash would leave it: from another connection."""
    connection = sqlite3.connect(path)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()


async def _begin(journal: sql.SqlJournal, run: values.RunId = conftest.RUN) -> None:
    plan = conftest.judged(conftest.ATTACH, conftest.DETACH)
    await journal.begin(run, trigger="interval", judged=plan, intents=conftest.INTENTS)


# --- What is written, and when ----------------------------------------------------------------------------


async def test_every_intent_is_in_the_file_when_begin_returns(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    (run,) = _rows(path, "SELECT * FROM runs")
    assert (run["run"], run["trigger"], run["started"]) == ("run_1", "interval", "2026-12-01T12:00:00.000Z")
    assert (run["finished"], run["result"], run["exit_code"], run["report"]) == (None, None, None, None)
    plan = json.loads(run["plan"])
    assert (plan["format"], plan["digest"], len(plan["changes"])) == ("fleet-sync/plan@1", "sha256:1", 2)
    shown = [
        (row["key"], row["run"], row["action"], row["driver"], row["fleet"], row["origin"], row["outcome"])
        for row in _rows(path, "SELECT * FROM intents ORDER BY key")
    ]
    assert shown == [
        (conftest.key(1), "run_1", "attach", conftest.ALICE, conftest.VANS, "membership.yaml:4:9", None),
        (conftest.key(2), "run_1", "detach", conftest.BOB, conftest.VANS, None, None),
    ]
    await journal.aclose()


async def test_every_outcome_is_in_the_file_when_record_returns(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    for number, outcome in enumerate(EVERY_OUTCOME):
        run, key = values.RunId(f"run_{number}"), conftest.key(number)
        intents = [ports.Intent(key, conftest.ATTACH)]
        await journal.begin(run, trigger="test", judged=conftest.judged(conftest.ATTACH), intents=intents)
        await journal.record(run, [(key, outcome)])
        (row,) = _rows(path, f"SELECT * FROM intents WHERE key = '{key}'")  # noqa: S608 - our own key
        assert (row["outcome"], row["attempts"]) == (outcome.name, getattr(outcome, "attempts", 0))
        assert row["message"] == (outcome.message or None)
        assert row["code"] == getattr(outcome, "code", None)
        assert row["request_id"] == getattr(outcome, "request_id", None)
    await journal.aclose()


async def test_the_end_of_a_run_is_in_the_file_with_its_report(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    await journal.finish(conftest.RUN, conftest.finished())
    (run,) = _rows(path, "SELECT * FROM runs")
    assert (run["finished"], run["result"], run["exit_code"]) == ("2026-12-01T12:00:05.000Z", "partial", 4)
    report = json.loads(run["report"])
    assert (report["format"], report["run"], report["outcomes"]["applied"]) == ("fleet-sync/report@1", "run_1", 1)
    await journal.aclose()


async def test_a_group_is_written_whole_or_not_at_all(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    with pytest.raises(errors.JournalError):
        await _begin(journal, values.RunId("run_2"))
    assert [row["run"] for row in _rows(path, "SELECT run FROM runs")] == ["run_1"]
    await journal.aclose()


async def test_a_journal_is_found_again(path: pathlib.Path) -> None:
    for number in range(3):
        journal = sql.SqlJournal(_url(path))
        intents = [ports.Intent(conftest.key(number), conftest.ATTACH)]
        run = values.RunId(f"run_{number}")
        await journal.begin(run, trigger="test", judged=conftest.judged(conftest.ATTACH), intents=intents)
        await journal.aclose()
    assert len(_rows(path, "SELECT * FROM intents")) == 3


async def test_calls_side_by_side_are_written_one_after_the_other(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    intents = [ports.Intent(conftest.key(number), conftest.ATTACH) for number in range(50)]
    await journal.begin(conftest.RUN, trigger="test", judged=conftest.judged(conftest.ATTACH), intents=intents)
    async with anyio.create_task_group() as tasks:
        for intent in intents:
            tasks.start_soon(journal.record, conftest.RUN, [(intent.key, outcomes.Applied(1))])
    assert len(_rows(path, "SELECT * FROM intents WHERE outcome = 'applied'")) == 50
    await journal.aclose()


async def test_what_is_being_written_is_written_though_the_writer_is_cancelled(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.record, conftest.RUN, [(conftest.key(1), outcomes.Applied(1))])
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [row["outcome"] for row in _rows(path, "SELECT outcome FROM intents ORDER BY key")] == ["applied", None]
    await journal.aclose()


async def test_a_journal_that_is_never_used_makes_no_file(path: pathlib.Path) -> None:
    await sql.SqlJournal(_url(path)).aclose()
    assert not await anyio.Path(path).exists()


def test_every_commit_is_on_disk_and_readers_do_not_block(path: pathlib.Path) -> None:
    """WAL is a property of the file, `synchronous` of the connection: 2 is FULL."""
    opened = database.Database(_url(path))
    with opened._engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]
    opened.close()
    assert _rows(path, "PRAGMA journal_mode") == [{"journal_mode": "wal"}]


# --- What cannot be written -------------------------------------------------------------------------------


async def _fails(path: pathlib.Path) -> errors.JournalError:
    journal = sql.SqlJournal(_url(path))
    with pytest.raises(errors.JournalError) as caught:
        await _begin(journal)
    await journal.aclose()
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 1
    return caught.value


async def test_a_folder_that_does_not_exist_is_said(path: pathlib.Path) -> None:
    await _fails(path.parent / "nowhere" / "journal.db")


async def test_a_file_in_place_of_the_folder_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).write_bytes(b"")
    await _fails(path / "journal.db")


async def test_a_folder_in_place_of_the_file_is_said(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    await _fails(path)


async def test_a_folder_that_cannot_be_written_is_said(unwritable: pathlib.Path) -> None:
    if _writable_all_the_same(unwritable.parent):
        pytest.skip("whoever runs this may write everywhere")
    await _fails(unwritable)


async def test_a_file_that_cannot_be_written_is_said(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    await journal.aclose()
    await anyio.Path(path).chmod(stat.S_IRUSR)
    if _writable_all_the_same(path):
        pytest.skip("whoever runs this may write everywhere")
    await _fails(path)


@pytest.mark.parametrize("content", [b"fleets:\n" * 1000, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_said_and_left_alone(path: pathlib.Path, content: bytes) -> None:
    await anyio.Path(path).write_bytes(content)
    await _fails(path)
    assert await anyio.Path(path).read_bytes() == content


async def test_another_tables_of_the_same_name_are_said(path: pathlib.Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (something INTEGER)")
    connection.commit()
    connection.close()
    await _fails(path)


async def test_a_database_that_vanished_meanwhile_is_said(path: pathlib.Path) -> None:
    journal = sql.SqlJournal(_url(path))
    await _begin(journal)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE intents")
    connection.commit()
    connection.close()
    with pytest.raises(errors.JournalError):
        await journal.record(conftest.RUN, [(conftest.key(1), outcomes.Applied(1))])
    await journal.aclose()


async def test_after_a_failure_the_journal_may_be_tried_again(path: pathlib.Path) -> None:
    await anyio.Path(path).mkdir()
    journal = sql.SqlJournal(_url(path))
    with pytest.raises(errors.JournalError):
        await _begin(journal)
    await anyio.Path(path).rmdir()
    await _begin(journal)
    await journal.aclose()


async def test_a_name_that_no_text_column_can_hold_is_said(path: pathlib.Path) -> None:
    """A file's name need not be text: Python writes its odd bytes as lone surrogates."""
    journal = sql.SqlJournal(_url(path))
    change = values.Change(
        values.Action.ATTACH, conftest.ALICE, conftest.VANS, values.Origin("member\udcff.yaml", 1, 1)
    )
    with pytest.raises(errors.JournalError):
        await journal.begin(
            conftest.RUN,
            trigger="test",
            judged=conftest.judged(change),
            intents=[ports.Intent(conftest.key(1), change)],
        )
    await journal.aclose()


def _writable_all_the_same(path: pathlib.Path) -> bool:
    probe = path / "probe" if path.is_dir() else path
    try:
        with probe.open("ab"):
            pass
    except OSError:
        return False
    if probe != path:
        probe.unlink()
    return True
