"""Detaches that wait until their memberships were absent for a while, returned several runs."""

import datetime

import anyio
import pytest

from tests.support import clocks, doubles, harness, memory_journal
from tests.support.harness import DEPOT, VANS, A, B, C, D
from worker.core.model.desired import Row, SourceReading
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

HOUR = datetime.timedelta(hours=1)
ALL = {VANS: [A, B, C, D]}
LESS = {VANS: [B, C, D]}


def _rig(**options: object) -> harness.Harness:
    everything = {"grace": HOUR, "limits": guard.Limits()} | options
    return harness.Harness(harness.state_of({VANS: [A, B, C, D], DEPOT: [A]}), **everything)  # type: ignore[arg-type]


def _waiting(finished: Report) -> list[str]:
    assert finished.guarded is not None
    return [problem.message for problem in finished.guarded.problems if "it is detached after" in problem.message]


async def test_a_detach_is_made_when_its_membership_was_absent_for_the_grace() -> None:
    account_harness = _rig()
    for minute in range(0, 60, 20):
        finished = await account_harness.reconcile(LESS)
        assert (finished.exit_code, finished.result, account_harness.writes) == (0, RunResult.IN_SYNC, []), minute
        assert "since 2026-12-01T12:00:00" in _waiting(finished)[0]
        await anyio.sleep(20 * 60)
    finished = await account_harness.reconcile(LESS)
    assert (harness.outcome(finished, A, VANS), _waiting(finished)) == ("applied", [])
    assert await account_harness.memory.absences() != {}
    assert (await account_harness.reconcile(LESS)).result is RunResult.IN_SYNC
    assert await account_harness.memory.absences() == {}


async def test_who_is_back_in_time_loses_nothing_and_begins_anew_the_next_time() -> None:
    account_harness = _rig()
    for wanted in (LESS, ALL, LESS, ALL, LESS):
        await account_harness.reconcile(wanted)
        await anyio.sleep(40 * 60)
    assert account_harness.writes == []
    await anyio.sleep(20 * 60)
    assert (await account_harness.reconcile(LESS)).counts["applied"] == 1


async def test_somebody_who_moves_is_attached_at_once_and_detached_later() -> None:
    account_harness = _rig()
    moved = {VANS: [A, B, C, D], DEPOT: [B]}
    assert harness.outcome(await account_harness.reconcile(moved), B, DEPOT) == "applied"
    assert account_harness.state.members(DEPOT) == {A, B}
    await anyio.sleep(3600)
    assert harness.outcome(await account_harness.reconcile(moved), A, DEPOT) == "applied"


async def test_a_grace_goes_on_while_a_fleet_cannot_be_judged() -> None:
    account_harness = _rig()
    await account_harness.reconcile(LESS)
    await anyio.sleep(30 * 60)
    unclear = {VANS: [B, C, D, "nobody@example.com"]}
    assert (await account_harness.reconcile(unclear)).exit_code == 4
    await anyio.sleep(30 * 60)
    assert harness.outcome(await account_harness.reconcile(LESS), A, VANS) == "applied"


async def test_a_plan_shows_who_waits_and_notes_nothing() -> None:
    account_harness = _rig()
    plan_result = await account_harness.new_plan_builder(doubles.Source(LESS)).build()
    assert plan_result.guarded.changes == ()
    assert "after 2026-12-01T13:00:00" in plan_result.guarded.problems[0].message
    assert await account_harness.memory.absences() == {}


async def test_a_grace_survives_the_process() -> None:
    account_harness = _rig()
    await account_harness.reconcile(LESS)
    account_harness.memory = account_harness.journal = account_harness.memory.crash()
    await anyio.sleep(3600)
    assert harness.outcome(await account_harness.reconcile(LESS), A, VANS) == "applied"


class Counting(memory_journal.MemoryJournal):
    """A journal that counts what it is asked and told about absences."""

    def __init__(self) -> None:
        super().__init__()
        self.read = self.noted = 0

    async def absences(self):  # type: ignore[no-untyped-def]
        self.read += 1
        return await super().absences()

    async def note_absences(self, *, newly_absent, since, returned):  # type: ignore[no-untyped-def]
        self.noted += 1
        await super().note_absences(newly_absent=newly_absent, since=since, returned=returned)


async def test_without_a_grace_nothing_is_noted() -> None:
    account_harness = _rig(grace=datetime.timedelta(), journal=(journal := Counting()))
    assert harness.outcome(await account_harness.reconcile(LESS), A, VANS) == "applied"
    assert (journal.read, journal.noted) == (1, 0)


@pytest.mark.parametrize("meanwhile", [ALL, LESS])
async def test_what_was_absent_is_forgotten_while_there_is_no_grace(meanwhile: harness.Wanted) -> None:
    """Else a time of long ago would make the detach of somebody who is absent since now due at once."""
    account_harness = _rig()
    await account_harness.reconcile(LESS)
    account_harness.grace = datetime.timedelta()
    await account_harness.reconcile(meanwhile)
    assert await account_harness.memory.absences() == {}
    await account_harness.reconcile(ALL)
    account_harness.grace = HOUR
    await anyio.sleep(24 * 3600)
    finished = await account_harness.reconcile(LESS)
    assert (finished.results, len(_waiting(finished))) == ((), 1)


async def test_absences_are_noted_only_where_they_changed() -> None:
    account_harness = _rig(journal=(journal := Counting()))
    for wanted, noted in ((ALL, 0), (LESS, 1), (LESS, 1), (ALL, 2), (ALL, 2)):
        await account_harness.reconcile(wanted)
        assert journal.noted == noted


async def test_what_is_due_together_is_judged_together() -> None:
    account_harness = _rig()
    few = {VANS: [D]}
    assert (await account_harness.reconcile(few)).exit_code == 0
    await anyio.sleep(3600)
    finished = await account_harness.reconcile(few)
    assert finished.guarded is not None
    assert [held.guard for held in finished.guarded.held] == [guard.PER_FLEET] * 3
    assert account_harness.writes == []


async def test_the_next_boundary_is_the_end_of_the_first_grace_or_of_a_row() -> None:
    account_harness = _rig()
    await account_harness.reconcile(LESS)
    await anyio.sleep(600)
    plan_result = await account_harness.new_plan_builder(doubles.Source({VANS: [C, D]})).build()
    assert plan_result.next_boundary is not None
    assert plan_result.next_boundary - clocks.NOON == pytest.approx(HOUR, abs=datetime.timedelta(seconds=5))
    assert plan_result.members == {VANS: 4}
    assert (await account_harness.new_plan_builder(doubles.Source(ALL)).build()).next_boundary is None
    ends = clocks.NOON + HOUR / 2

    class Seasonal(doubles.Source):
        async def read(self) -> SourceReading:
            reading = await super().read()
            rows = tuple(Row(row.fleet, row.driver, row.origin, ends=ends) for row in reading.rows)
            return SourceReading(reading.source, reading.fleets, rows)

    assert (await account_harness.new_plan_builder(Seasonal(LESS)).build()).next_boundary == ends
