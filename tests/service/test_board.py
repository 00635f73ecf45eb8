"""What the service knows of itself: which part is broken since when, and whether it is ready."""

import datetime

import anyio
import pytest

from tests.support import doubles
from worker.core import values
from worker.core.model.errors import (
    DesiredError,
    FleetSyncError,
    JournalError,
    KeyRejected,
    ProcessSuspended,
    ReadingError,
    SettingsError,
    SourceError,
    Stopped,
    Unreachable,
)
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import board as board_

pytestmark = pytest.mark.anyio

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
Part = status.Part


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime.datetime:
        self.time += datetime.timedelta(seconds=1)
        return self.time

    def uptime(self) -> float:
        return self.time.timestamp()

    cpu_time = uptime


def ended(board: board_.Board, error: FleetSyncError | None = None) -> None:
    """Have a run begin and end, with an error or in sync."""
    guarded = None if error else doubles.guarded([])
    board.begin(values.RunId("run_1"), trigger="interval")
    finished = Report(values.RunId("run_1"), NOON, NOON, guarded, error=error)
    board.end(finished, trigger="interval")


def broken(board: board_.Board) -> set[Part]:
    return {each.part for each in board.broken}


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (SourceError([values.Problem("membership.yaml:1:1", "it is empty")]), Part.SOURCE),
        (DesiredError([values.Problem("membership.yaml:1:1", "two modes")]), Part.SOURCE),
        (JournalError("the disk is full"), Part.JOURNAL),
        (KeyRejected("401"), Part.KEY),
        (Unreachable("no answer"), Part.CHARGE),
        (ReadingError("many references", code="too_many_unresolved"), Part.SOURCE),
        (ReadingError("the list of fleets breaks off"), Part.CHARGE),
    ],
)
async def test_a_run_that_fails_says_which_part_is_broken_and_one_that_does_not_mends_it(
    error: FleetSyncError, part: Part
) -> None:
    board = board_.Board(clock=Clock())
    ended(board, error)
    assert broken(board) == {part}
    (first,) = board.broken
    ended(board, error)
    assert board.broken[0].since == first.since
    ended(board)
    assert broken(board) == set()


async def test_a_run_that_gets_further_than_the_one_before_mends_what_it_passed() -> None:
    board = board_.Board(clock=Clock())
    for error, part in (
        (JournalError("the disk is full"), Part.JOURNAL),
        (SourceError([values.Problem("membership.yaml", "gone")]), Part.SOURCE),
        (Unreachable("no answer"), Part.CHARGE),
        (KeyRejected("401"), Part.KEY),
    ):
        ended(board, error)
        assert broken(board) >= {part}
    assert broken(board) == {Part.CHARGE, Part.KEY}


async def test_a_charge_that_does_not_answer_says_nothing_of_the_key() -> None:
    board = board_.Board(clock=Clock())
    ended(board, KeyRejected("401"))
    ended(board, Unreachable("no answer"))
    assert broken(board) == {Part.CHARGE, Part.KEY}


async def test_a_journal_that_somebody_else_writes_is_not_broken() -> None:
    board = board_.Board(clock=Clock())
    ended(board, JournalError("the disk is full"))
    board.stand_by("process 7 writes")
    assert broken(board) == set()
    assert board.unready() == ""


async def test_settings_are_mended_by_settings_only() -> None:
    board = board_.Board(clock=Clock())
    board.broke(Part.SETTINGS, SettingsError([values.Problem("sync.mode", "wrong")]))
    ended(board)
    assert broken(board) == {Part.SETTINGS}
    assert board.unready().startswith("settings: ")
    board.mended([Part.SETTINGS])
    assert board.unready() == ""


async def test_it_is_ready_after_a_run_that_did_not_fail_or_when_it_stands_by() -> None:
    first, second = board_.Board(clock=Clock()), board_.Board(clock=Clock())
    assert first.unready()
    ended(first, Unreachable("no answer"))
    assert first.unready()
    ended(first)
    assert first.unready() == ""
    ended(first, Unreachable("no answer"))
    assert first.unready() == ""
    ended(first, JournalError("the disk is full"))
    assert "disk is full" in first.unready()
    second.stand_by("process 7 writes")
    assert second.unready() == ""


async def test_an_end_that_the_operator_wanted_breaks_nothing() -> None:
    board = board_.Board(clock=Clock())
    ended(board, Stopped("SIGTERM", exit_code=143))
    ended(board, ProcessSuspended("stood still"))
    assert broken(board) == set()


async def test_whoever_waits_for_a_change_sees_each_and_for_a_turn_only_what_matters() -> None:
    board, seen = board_.Board(clock=Clock()), list[str]()

    async def watch(name: str) -> None:
        while True:
            await (board.changed() if name == "changed" else board.turned())
            seen.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, "changed")
        tasks.start_soon(watch, "turned")
        await anyio.sleep(1)
        board.begin(values.RunId("run_1"), trigger="interval")
        await anyio.sleep(1)
        board.stage("Reading fleets", None)
        await anyio.sleep(1)
        board.step()
        await anyio.sleep(1)
        assert seen == ["changed"] * 3
        board.end(None, trigger="interval")
        await anyio.sleep(1)
        assert sorted(seen) == ["changed"] * 4 + ["turned"]
        tasks.cancel_scope.cancel()
    assert board.running is None
