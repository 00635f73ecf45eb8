"""What every journal remembers from run to run: approvals, references, writes of ours, absences, and for how long."""

import datetime

import pytest

from tests.journal import deeds, desks
from tests.journal.conftest import Office
from worker.core import values
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.outcomes import Already, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.ports import OwnWrite
from worker.core.model.serialization import report_document

pytestmark = pytest.mark.anyio

APRIL = values.RunId("run_april")
MAY = values.RunId("run_may")


async def test_a_run_that_uses_an_approval_up_leaves_the_others(office: Office) -> None:
    journal = await office.writer()
    for digest in ("sha256:plan", "sha256:other"):
        await journal.approve(digest, now=deeds.NOON, until=deeds.minutes(10))
    await journal.begin(deeds.RUN, trigger="start", guarded=deeds.guarded(), intents=[], spent="sha256:plan")
    assert not await journal.approved("sha256:plan", now=deeds.NOON)
    assert await journal.approved("sha256:other", now=deeds.NOON)


async def test_a_run_that_cannot_begin_uses_no_approval_up(office: Office) -> None:
    journal = await office.writer()
    await journal.approve("sha256:plan", now=deeds.NOON, until=deeds.minutes(10))
    await deeds.begin(journal, deeds.many(1))
    with pytest.raises(JournalError):
        await journal.begin(deeds.RUN, trigger="start", guarded=deeds.guarded(), intents=[], spent="sha256:plan")
    assert await journal.approved("sha256:plan", now=deeds.NOON)


async def test_an_approval_holds_for_that_plan_until_its_time(office: Office) -> None:
    journal = await office.writer()
    await journal.approve("sha256:plan", now=deeds.NOON, until=deeds.minutes(10))
    assert await journal.approved("sha256:plan", now=deeds.minutes(9))
    assert not await journal.approved("sha256:plan", now=deeds.minutes(10))
    assert not await journal.approved("sha256:other", now=deeds.minutes(9))
    await journal.approve("sha256:plan", now=deeds.minutes(5), until=deeds.minutes(15))
    assert await journal.approved("sha256:plan", now=deeds.minutes(10))


async def test_anybody_approves_while_another_process_writes(office: Office) -> None:
    journal, operator = await office.writer(), office.journal()
    await operator.approve("sha256:plan", now=deeds.NOON, until=deeds.minutes(10))
    assert await journal.approved("sha256:plan", now=deeds.NOON)
    await deeds.begin(journal, deeds.many(1))
    await operator.approve("sha256:more", now=deeds.NOON, until=deeds.minutes(10))
    assert await journal.approved("sha256:more", now=deeds.NOON)


async def test_an_approval_may_be_the_first_thing_in_a_journal(office: Office) -> None:
    await office.journal().approve("sha256:plan", now=deeds.NOON, until=deeds.minutes(10))
    assert await (await office.writer()).approved("sha256:plan", now=deeds.NOON)


async def test_whom_a_reference_led_to_is_remembered_and_replaced(office: Office) -> None:
    journal = await office.writer()
    ann, bob = values.DriverId("drv_ann"), values.DriverId("drv_bob")
    await journal.remember({"ann@example.com": ann, "id=7": bob})
    await journal.remember({"ann@example.com": ann})
    await journal.remember({"id=7": ann})
    later = office.crash(journal)
    assert await later.resolutions() == {"ann@example.com": ann, "id=7": ann}


async def test_a_write_that_is_answered_as_done_and_never_seen_is_counted(office: Office) -> None:
    journal = await office.writer()
    ann, bob = deeds.change("ann"), deeds.change("bob")
    for number in range(3):
        office.clock.moment = deeds.minutes(number)
        changes = [ann, bob] if number == 0 else [ann]
        await deeds.whole(journal, changes, UNSEEN, run=f"run_{number}", at=deeds.minutes(number))
    assert await journal.unconfirmed_writes(since=deeds.NOON) == {_write(ann): 3, _write(bob): 1}
    assert await journal.unconfirmed_writes(since=deeds.minutes(2)) == {_write(ann): 1}


async def test_a_write_that_is_seen_at_last_counts_no_more(office: Office) -> None:
    journal = await office.writer()
    ann = deeds.change("ann")
    answers: list[Outcome] = [UNSEEN, UNSEEN, deeds.DONE]
    for number, outcome in enumerate(answers):
        office.clock.moment = deeds.minutes(number)
        await deeds.whole(journal, [ann], outcome, run=f"run_{number}", at=deeds.minutes(number))
    assert await journal.unconfirmed_writes(since=deeds.NOON) == {}


async def test_doubt_takes_the_place_of_an_outcome_that_reading_back_contradicts(office: Office) -> None:
    journal = await office.writer()
    await deeds.begin(journal, deeds.many(1))
    await journal.record([(deeds.key(0), deeds.DONE)])
    await journal.record([(deeds.key(0), UNSEEN)])
    (past,) = await journal.changes()
    assert (past.outcome, past.code) == ("unknown", "not_converging")


async def _attempt(
    journal: desks.Journal, office: Office, change: values.Change, number: int, outcome: Outcome = deeds.DONE
) -> None:
    """Make one change in a run that begins after so many minutes, and writes a second later."""
    office.clock.moment = deeds.minutes(number) + datetime.timedelta(seconds=1)
    await deeds.whole(journal, [change], outcome, run=f"run_{number}", at=deeds.minutes(number))


def _own(number: int, action: str = "attach", row: str = "abc") -> OwnWrite:
    began = deeds.minutes(number)
    return OwnWrite(values.Action(action), row, began + datetime.timedelta(seconds=1), began)


async def test_the_newest_writes_that_took_effect_are_known_with_their_rows_and_times(office: Office) -> None:
    journal = await office.writer()
    ann, bob, gone = deeds.change("ann"), deeds.change("bob"), deeds.change("ann", action="detach", row="")
    for number, change in enumerate([ann, bob, gone, deeds.change("ann", row="xyz"), deeds.change("ann", "trucks")]):
        await _attempt(journal, office, change, number)
    later = office.crash(journal)
    assert await later.latest({ann.driver}, most=2) == {
        (ann.driver, ann.fleet): (_own(3, row="xyz"), _own(2, "detach", "")),
        (ann.driver, values.FleetId("flt_trucks")): (_own(4),),
    }
    assert await later.latest({values.DriverId("drv_nobody")}, most=2) == {}
    assert await later.latest(set(), most=2) == {}


async def test_a_write_counts_as_ours_only_where_it_took_effect(office: Office) -> None:
    journal = await office.writer()
    ann = deeds.change("ann")
    await _attempt(journal, office, ann, 0)
    others: list[Outcome] = [
        UNSEEN,
        Already(1),
        Refused(1, "no", "no"),
        Deferred(0, "stopped", "no"),
        Stale("no"),
    ]
    for number, outcome in enumerate(others, 1):
        await _attempt(journal, office, ann, number, outcome)
    await deeds.begin(journal, [ann], run=MAY)
    assert await journal.latest({ann.driver}, most=3) == {(ann.driver, ann.fleet): (_own(0),)}


async def test_any_number_of_drivers_can_be_asked_for_at_once(office: Office) -> None:
    journal = await office.writer()
    changes = deeds.many(700)
    await deeds.whole(journal, changes, run="run_april", at=deeds.NOON)
    latest = await journal.latest({change.driver for change in changes}, most=3)
    assert {membership: len(writes) for membership, writes in latest.items()} == {
        (change.driver, change.fleet): 1 for change in changes
    }


async def test_who_only_looks_knows_the_writes_and_absences_too(office: Office) -> None:
    """As `plan` does, beside a service and before there is a journal."""
    reader = office.journal()
    ann = deeds.change("ann")
    membership = (ann.driver, ann.fleet)
    assert (await reader.latest({ann.driver}, most=3), await reader.absences()) == ({}, {})
    journal = await office.writer()
    await _attempt(journal, office, ann, 0)
    await journal.note_absences(fresh={membership}, since=deeds.NOON, over=())
    assert await reader.latest({ann.driver}, most=3) == {membership: (_own(0),)}
    assert await reader.absences() == {membership: deeds.NOON}


async def test_since_when_somebody_is_absent_is_remembered_until_he_is_back(office: Office) -> None:
    journal = await office.writer()
    ann, bob, cem = ((each.driver, each.fleet) for each in map(deeds.change, ("ann", "bob", "cem")))
    await journal.note_absences(fresh={ann, bob}, since=deeds.NOON, over=())
    await journal.note_absences(fresh={cem}, since=deeds.minutes(5), over={bob})
    later = office.crash(journal)
    assert await later.absences() == {ann: deeds.NOON, cem: deeds.minutes(5)}
    await later.note_absences(fresh={bob}, since=deeds.minutes(9), over={ann, bob})
    await later.note_absences(fresh=(), since=deeds.minutes(9), over={cem})
    assert await later.absences() == {bob: deeds.minutes(9)}


async def test_only_the_writer_notes_absences(office: Office) -> None:
    await office.writer()
    with pytest.raises(JournalBusy):
        await office.journal().note_absences(
            fresh={(values.DriverId("drv_ann"), values.FleetId("flt_vans"))}, since=deeds.NOON, over=()
        )


UNSEEN = Unknown(1, "not_converging", "answered as done, but not seen")


def _write(change: values.Change) -> tuple[values.Action, values.DriverId, values.FleetId]:
    return (change.action, change.driver, change.fleet)


async def test_old_runs_are_forgotten_with_their_changes_but_not_what_is_open(office: Office) -> None:
    journal = await office.writer()
    await deeds.begin(journal, deeds.many(2), run=APRIL)
    await deeds.whole(journal, deeds.many(2), run="run_may", at=deeds.NOON)
    office.clock.moment = deeds.minutes(60)
    await deeds.whole(journal, deeds.many(1), run="run_june", at=deeds.minutes(60))
    await journal.prune(before=deeds.minutes(30))
    assert [run.run for run in await journal.runs()] == ["run_june", APRIL]
    assert await journal.changes(run=MAY) == ()
    assert len(await journal.open()) == 2
    await journal.record([(deeds.key(index, run=APRIL), deeds.DONE) for index in range(2)])
    await journal.prune(before=deeds.minutes(30))
    assert [run.run for run in await journal.runs()] == ["run_june"]


async def test_the_plan_of_every_run_reads_back_as_it_was_also_when_those_with_the_same_are_forgotten(
    office: Office,
) -> None:
    journal, told = await office.writer(), dict[values.RunId, object]()
    for number, held in enumerate((deeds.many(3), deeds.many(3), deeds.many(2), deeds.many(3), ())):
        run, at = values.RunId(f"run_{number}"), deeds.minutes(10 * number)
        office.clock.moment = at
        ended = deeds.held(held, run=run, at=at)
        told[run] = report_document(ended)
        await journal.finish(ended, trigger="interval")
    for forgotten in (0, 1, 3):
        await journal.prune(before=deeds.minutes(10 * forgotten))
        runs = [past.run for past in await journal.runs()]
        assert len(runs) == 5 - forgotten
        for run in runs:
            plan, report = await journal.documents(run)
            assert report == told[run]
            assert plan == told[run]["plan"]  # type: ignore[index]
