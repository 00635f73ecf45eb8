"""Detaches that wait until their memberships were absent for a while, over several runs."""

import datetime

import anyio
import pytest

from tests.support import clocks, doubles
from tests.support import rig as rigs
from tests.support.rig import DEPOT, VANS, A, B, C, D
from worker.core import values
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard
from worker.journal import memory

pytestmark = pytest.mark.anyio

HOUR = datetime.timedelta(hours=1)
ALL = {VANS: [A, B, C, D]}
LESS = {VANS: [B, C, D]}


def _rig(**options: object) -> rigs.Rig:
    everything = {"grace": HOUR, "limits": guard.Limits()} | options
    return rigs.Rig(rigs.roster_of({VANS: [A, B, C, D], DEPOT: [A]}), **everything)  # type: ignore[arg-type]


def _waiting(finished: Report) -> list[str]:
    assert finished.guarded is not None
    return [problem.message for problem in finished.guarded.problems if "detach waits until" in problem.message]


async def test_a_detach_is_made_when_its_membership_was_absent_for_the_grace() -> None:
    rig = _rig()
    for minute in range(0, 60, 20):
        finished = await rig.reconcile(LESS)
        assert (finished.exit_code, finished.result, rig.writes) == (0, RunResult.IN_SYNC, []), minute
        assert "since 2026-12-01T12:00:00" in _waiting(finished)[0]
        await anyio.sleep(20 * 60)
    finished = await rig.reconcile(LESS)
    assert (rigs.outcome(finished, A, VANS), _waiting(finished)) == ("applied", [])
    assert await rig.memory.absences() != {}
    assert (await rig.reconcile(LESS)).result is RunResult.IN_SYNC
    assert await rig.memory.absences() == {}


async def test_who_is_back_in_time_loses_nothing_and_begins_anew_the_next_time() -> None:
    rig = _rig()
    for wanted in (LESS, ALL, LESS, ALL, LESS):
        await rig.reconcile(wanted)
        await anyio.sleep(40 * 60)
    assert rig.writes == []
    await anyio.sleep(20 * 60)
    assert (await rig.reconcile(LESS)).counts["applied"] == 1


async def test_somebody_who_moves_is_attached_at_once_and_detached_later() -> None:
    rig = _rig()
    moved = {VANS: [A, B, C, D], DEPOT: [B]}
    assert rigs.outcome(await rig.reconcile(moved), B, DEPOT) == "applied"
    assert rig.roster.members(DEPOT) == {A, B}
    await anyio.sleep(3600)
    assert rigs.outcome(await rig.reconcile(moved), A, DEPOT) == "applied"


async def test_a_grace_goes_on_while_a_fleet_cannot_be_judged() -> None:
    rig = _rig()
    await rig.reconcile(LESS)
    await anyio.sleep(30 * 60)
    unclear = {VANS: [B, C, D, "nobody@example.com"]}
    assert (await rig.reconcile(unclear)).exit_code == 4
    await anyio.sleep(30 * 60)
    assert rigs.outcome(await rig.reconcile(LESS), A, VANS) == "applied"


async def test_a_plan_shows_who_waits_and_notes_nothing() -> None:
    rig = _rig()
    survey = await rig.surveyor(doubles.Source(LESS)).survey()
    assert survey.guarded.changes == ()
    assert "until 2026-12-01T13:00:00" in survey.guarded.problems[0].message
    assert await rig.memory.absences() == {}


async def test_a_grace_survives_the_process() -> None:
    rig = _rig()
    await rig.reconcile(LESS)
    rig.memory = rig.journal = rig.memory.crash()
    await anyio.sleep(3600)
    assert rigs.outcome(await rig.reconcile(LESS), A, VANS) == "applied"


class Counting(memory.MemoryJournal):
    """A journal that counts what it is asked and told about absences."""

    def __init__(self) -> None:
        super().__init__()
        self.read = self.noted = 0

    async def absences(self):  # type: ignore[no-untyped-def]
        self.read += 1
        return await super().absences()

    async def note_absences(self, *, fresh, since, over):  # type: ignore[no-untyped-def]
        self.noted += 1
        await super().note_absences(fresh=fresh, since=since, over=over)


async def test_without_a_grace_nothing_is_noted() -> None:
    rig = _rig(grace=datetime.timedelta(), journal=(journal := Counting()))
    assert rigs.outcome(await rig.reconcile(LESS), A, VANS) == "applied"
    assert (journal.read, journal.noted) == (1, 0)


@pytest.mark.parametrize("meanwhile", [ALL, LESS])
async def test_what_was_absent_is_forgotten_while_there_is_no_grace(meanwhile: rigs.Wanted) -> None:
    """Else a time of long ago would make the detach of somebody who is absent since now due at once."""
    rig = _rig()
    await rig.reconcile(LESS)
    rig.grace = datetime.timedelta()
    await rig.reconcile(meanwhile)
    assert await rig.memory.absences() == {}
    await rig.reconcile(ALL)
    rig.grace = HOUR
    await anyio.sleep(24 * 3600)
    finished = await rig.reconcile(LESS)
    assert (finished.results, len(_waiting(finished))) == ((), 1)


async def test_absences_are_noted_only_where_they_changed() -> None:
    rig = _rig(journal=(journal := Counting()))
    for wanted, noted in ((ALL, 0), (LESS, 1), (LESS, 1), (ALL, 2), (ALL, 2)):
        await rig.reconcile(wanted)
        assert journal.noted == noted


async def test_what_is_due_together_is_judged_together() -> None:
    rig = _rig()
    few = {VANS: [D]}
    assert (await rig.reconcile(few)).exit_code == 0
    await anyio.sleep(3600)
    finished = await rig.reconcile(few)
    assert finished.guarded is not None
    assert [held.guard for held in finished.guarded.held] == [guard.PER_FLEET] * 3
    assert rig.writes == []


async def test_the_next_boundary_is_the_end_of_the_first_grace_or_of_a_row() -> None:
    rig = _rig()
    await rig.reconcile(LESS)
    await anyio.sleep(600)
    survey = await rig.surveyor(doubles.Source({VANS: [C, D]})).survey()
    assert survey.next_boundary is not None
    assert survey.next_boundary - clocks.NOON == pytest.approx(HOUR, abs=datetime.timedelta(seconds=5))
    assert survey.members == {VANS: 4}
    assert (await rig.surveyor(doubles.Source(ALL)).survey()).next_boundary is None
    ends = clocks.NOON + HOUR / 2

    class Seasonal(doubles.Source):
        async def read(self) -> values.SourceReading:
            reading = await super().read()
            rows = tuple(values.Row(row.fleet, row.driver, row.origin, ends=ends) for row in reading.rows)
            return values.SourceReading(reading.source, reading.fleets, rows)

    assert (await rig.surveyor(Seasonal(LESS)).survey()).next_boundary == ends
