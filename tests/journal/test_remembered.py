"""What every journal remembers from run to run: references, writes of ours, absences, and for how long."""

import dataclasses
import datetime

import pytest

from tests.journal import backends, journal_factories
from tests.journal.conftest import Office
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Already, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent, JournalOwner, OwnWrite, PastRefusals, RecentChanges
from worker.core.model.report import LearnedRate
from worker.core.model.serialization import report_document
from worker.core.model.source_history import RowCount, SourceRecord

pytestmark = pytest.mark.anyio


async def test_whom_a_reference_led_to_is_remembered_and_replaced(office: Office) -> None:
    journal = await office.writer()
    ann, bob = DriverId("drv_ann"), DriverId("drv_bob")
    await journal.remember({"ann@example.com": ann, "id=7": bob})
    await journal.remember({"ann@example.com": ann})
    await journal.remember({"id=7": ann})
    later = office.crash(journal)
    assert await later.resolutions() == {"ann@example.com": ann, "id=7": ann}


async def test_a_write_that_is_answered_as_done_and_never_seen_is_counted(office: Office) -> None:
    journal = await office.writer()
    ann, bob = journal_factories.change("ann"), journal_factories.change("bob")
    for number in range(3):
        office.clock.moment = journal_factories.minutes(number)
        changes = [ann, bob] if number == 0 else [ann]
        await journal_factories.whole(
            journal, changes, UNSEEN, run=f"run_{number}", at=journal_factories.minutes(number)
        )
    assert await journal.unconfirmed_writes(since=journal_factories.NOON) == {_write(ann): 3, _write(bob): 1}
    assert await journal.unconfirmed_writes(since=journal_factories.minutes(2)) == {_write(ann): 1}


async def test_a_write_that_is_seen_at_last_counts_no_more(office: Office) -> None:
    journal = await office.writer()
    ann = journal_factories.change("ann")
    answers: list[Outcome] = [UNSEEN, UNSEEN, journal_factories.DONE]
    for number, outcome in enumerate(answers):
        office.clock.moment = journal_factories.minutes(number)
        await journal_factories.whole(
            journal, [ann], outcome, run=f"run_{number}", at=journal_factories.minutes(number)
        )
    assert await journal.unconfirmed_writes(since=journal_factories.NOON) == {}


async def test_doubt_takes_the_place_of_an_outcome_that_reading_back_contradicts(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(1))
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    await journal.record([(journal_factories.key(0), UNSEEN)])
    (past,) = await journal.changes()
    assert (past.outcome, past.code) == ("unknown", "not_converging")


async def test_refusals_of_a_change_are_counted_until_it_is_done_or_its_row_changes(office: Office) -> None:
    journal = await office.writer()
    ann, bob = journal_factories.change("ann"), journal_factories.change("bob")
    refused = Refused(1, "driver_blocked", "no", "req_2")
    writes: list[tuple[Change, Outcome]] = [
        (ann, refused),
        (bob, refused),
        (ann, UNSEEN),
        (bob, journal_factories.DONE),
        (ann, Deferred(0, "stopped", "no")),
    ]
    for number, (change, outcome) in enumerate(writes):
        await _attempt(journal, office, change, number, outcome)
    last = journal_factories.minutes(2) + datetime.timedelta(seconds=1)
    assert await office.crash(journal).refusals({ann.driver, bob.driver}) == {
        _write(ann): PastRefusals(ann.row, 2, last, "not_converging", "answered as done, but not seen")
    }
    assert await office.journal().refusals(set()) == {}


async def test_recent_writes_are_counted_by_run_fleet_and_action_if_they_took_effect_or_may_have(
    office: Office,
) -> None:
    journal = await office.writer()
    ann, bob, cem = map(journal_factories.change, ("ann", "bob", "cem"))
    await journal_factories.whole(journal, [ann], run="run_0", at=journal_factories.NOON)
    office.clock.moment = journal_factories.minutes(5)
    away = journal_factories.change("dan", action="detach")
    intents = journal_factories.intents([ann, bob, cem, away], run=journal_factories.MAY)
    intents[1] = dataclasses.replace(intents[1], approved=True)
    await journal.begin(journal_factories.MAY, trigger="start", guarded=journal_factories.guarded(), intents=intents)
    outcomes: list[Outcome] = [journal_factories.DONE, UNSEEN, Refused(1, "no", "no"), Unknown(1, "charge_fault", "")]
    await journal.record([(intent.key, outcome) for intent, outcome in zip(intents, outcomes, strict=True)])
    at = journal_factories.minutes(5)
    assert await office.journal().recent_changes(since=journal_factories.minutes(1)) == (
        RecentChanges(ann.fleet, Action.ATTACH, at, 1, approved=False),
        RecentChanges(ann.fleet, Action.ATTACH, at, 1, approved=True),
        RecentChanges(ann.fleet, Action.DETACH, at, 1, approved=False),
    )
    recent = await journal.recent_changes(since=journal_factories.NOON)
    assert len(recent) == 4
    await journal.add_intents(journal_factories.MAY, [Intent(IntentKey("a-repair"), journal_factories.change("eve"))])
    await journal.record([(IntentKey("a-repair"), journal_factories.DONE)])
    assert await journal.recent_changes(since=journal_factories.NOON) == recent


async def test_the_newest_entry_is_that_of_the_run_that_began_last(office: Office) -> None:
    journal = await office.writer()
    assert await journal.newest_entry() is None
    await journal_factories.begin(journal, journal_factories.many(2))
    assert await journal.newest_entry() == journal_factories.NOON
    office.clock.moment = journal_factories.minutes(3)
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    assert await office.journal().newest_entry() == journal_factories.minutes(3)
    office.clock.moment = journal_factories.minutes(-60)  # the clock was set back: that makes nothing newer
    await journal_factories.whole(journal, journal_factories.many(1), run="run_later", at=office.clock.moment)
    assert await journal.newest_entry() == journal_factories.minutes(3)
    office.clock.moment = journal_factories.minutes(10)
    await journal_factories.whole(journal, journal_factories.many(1), run="run_last", at=office.clock.moment)
    assert await office.crash(journal).newest_entry() == journal_factories.minutes(11)  # its end


async def test_whose_journal_it_is_and_which_fleets_it_knows_is_remembered(office: Office) -> None:
    journal, account = await office.writer(), Account("https://charge.test/v1", "live")
    vans, trucks = FleetId("flt_vans"), FleetId("flt_trucks")
    assert await journal.owner() == JournalOwner(None, {})
    await journal.claim(account, fleets={vans: "Vans"}, managed={vans})
    await journal.claim(account, fleets={vans: "Lyon vans", trucks: "Trucks"}, managed={trucks})
    await journal.claim(account, fleets={}, managed={vans, trucks})
    later = office.crash(journal)
    assert await later.owner() == JournalOwner(
        account, {vans: "Lyon vans", trucks: "Trucks"}, frozenset({vans, trucks})
    )
    other = Account("https://charge.test/v1", "test")
    await later.claim(other, fleets={trucks: "Trucks"}, managed=())
    assert await later.owner() == JournalOwner(other, {trucks: "Trucks"})


async def test_the_rate_limit_that_a_run_found_is_remembered_for_this_account(
    office: Office,
) -> None:
    journal, account = await office.writer(), Account("https://charge.test/v1", "live")
    await journal.claim(account, fleets={}, managed=())
    for number, rate in enumerate((100.0, 47.5, None)):
        ended = journal_factories.ended(run=RunId(f"run_{number}"), at=journal_factories.minutes(10 * number))
        await journal.finish(dataclasses.replace(ended, learned_rate=rate), trigger="interval")
    failed = journal_factories.ended(run=RunId("run_failed"), error=JournalError("of another account"))
    await journal.finish(dataclasses.replace(failed, learned_rate=3.0), trigger="interval")
    later = office.crash(journal)
    assert (await later.owner()).learned == LearnedRate(47.5, journal_factories.minutes(11))
    await later.claim(account, fleets={FleetId("flt_vans"): "Vans"}, managed=())
    assert (await later.owner()).learned == LearnedRate(47.5, journal_factories.minutes(11))
    await later.claim(Account("https://charge.test/v1", "test"), fleets={}, managed=())
    assert (await later.owner()).learned is None


async def _attempt(
    journal: backends.DurableJournal,
    office: Office,
    change: Change,
    number: int,
    outcome: Outcome = journal_factories.DONE,
) -> None:
    """Make one change in a run that begins after so many minutes, and writes a second later."""
    office.clock.moment = journal_factories.minutes(number) + datetime.timedelta(seconds=1)
    await journal_factories.whole(journal, [change], outcome, run=f"run_{number}", at=journal_factories.minutes(number))


def _own(number: int, action: str = "attach", row: str = "abc") -> OwnWrite:
    began = journal_factories.minutes(number)
    return OwnWrite(Action(action), row, began + datetime.timedelta(seconds=1), began)


async def test_the_newest_writes_that_took_effect_are_known_with_their_rows_and_times(office: Office) -> None:
    journal = await office.writer()
    ann, bob, gone = (
        journal_factories.change("ann"),
        journal_factories.change("bob"),
        journal_factories.change("ann", action="detach", row=""),
    )
    for number, change in enumerate(
        [ann, bob, gone, journal_factories.change("ann", row="xyz"), journal_factories.change("ann", "trucks")]
    ):
        await _attempt(journal, office, change, number)
    later = office.crash(journal)
    assert await later.latest({ann.driver}, most=2) == {
        (ann.driver, ann.fleet): (_own(3, row="xyz"), _own(2, "detach", "")),
        (ann.driver, FleetId("flt_trucks")): (_own(4),),
    }
    assert await later.latest({DriverId("drv_nobody")}, most=2) == {}
    assert await later.latest(set(), most=2) == {}


async def test_a_write_counts_as_ours_only_where_it_took_effect(office: Office) -> None:
    journal = await office.writer()
    ann = journal_factories.change("ann")
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
    await journal_factories.begin(journal, [ann], run=journal_factories.MAY)
    assert await journal.latest({ann.driver}, most=3) == {(ann.driver, ann.fleet): (_own(0),)}


@pytest.mark.integration
async def test_any_number_of_drivers_can_be_asked_for_at_once(office: Office) -> None:
    journal = await office.writer()
    changes = journal_factories.many(700)
    await journal_factories.whole(journal, changes, run="run_april", at=journal_factories.NOON)
    latest = await journal.latest({change.driver for change in changes}, most=3)
    assert {membership: len(writes) for membership, writes in latest.items()} == {
        (change.driver, change.fleet): 1 for change in changes
    }


async def test_who_only_looks_knows_the_writes_and_absences_too(office: Office) -> None:
    """As `plan` does, beside a service and before there is a journal."""
    reader = office.journal()
    ann = journal_factories.change("ann")
    membership = (ann.driver, ann.fleet)
    assert (await reader.latest({ann.driver}, most=3), await reader.absences()) == ({}, {})
    journal = await office.writer()
    await _attempt(journal, office, ann, 0)
    await journal.note_absences(newly_absent={membership}, since=journal_factories.NOON, returned=())
    assert await reader.latest({ann.driver}, most=3) == {membership: (_own(0),)}
    assert await reader.absences() == {membership: journal_factories.NOON}


async def test_since_when_somebody_is_absent_is_remembered_until_he_is_back(office: Office) -> None:
    journal = await office.writer()
    ann, bob, cem = ((each.driver, each.fleet) for each in map(journal_factories.change, ("ann", "bob", "cem")))
    await journal.note_absences(newly_absent={ann, bob}, since=journal_factories.NOON, returned=())
    await journal.note_absences(newly_absent={cem}, since=journal_factories.minutes(5), returned={bob})
    later = office.crash(journal)
    assert await later.absences() == {ann: journal_factories.NOON, cem: journal_factories.minutes(5)}
    await later.note_absences(newly_absent={bob}, since=journal_factories.minutes(9), returned={ann, bob})
    await later.note_absences(newly_absent=(), since=journal_factories.minutes(9), returned={cem})
    assert await later.absences() == {bob: journal_factories.minutes(9)}


async def test_only_the_writer_notes_absences(office: Office) -> None:
    await office.writer()
    with pytest.raises(JournalBusy):
        await office.journal().note_absences(
            newly_absent={(DriverId("drv_ann"), FleetId("flt_vans"))}, since=journal_factories.NOON, returned=()
        )


UNSEEN = Unknown(1, "not_converging", "answered as done, but not seen")


def _write(change: Change) -> tuple[Action, DriverId, FleetId]:
    return (change.action, change.driver, change.fleet)


async def test_old_runs_are_forgotten_with_their_changes_but_not_what_is_open(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2), run=journal_factories.APRIL)
    await journal_factories.whole(journal, journal_factories.many(2), run="run_may", at=journal_factories.NOON)
    office.clock.moment = journal_factories.minutes(60)
    await journal_factories.whole(journal, journal_factories.many(1), run="run_june", at=journal_factories.minutes(60))
    await journal.prune(before=journal_factories.minutes(30))
    assert [run.run for run in await journal.runs()] == ["run_june", journal_factories.APRIL]
    assert await journal.changes(run=journal_factories.MAY) == ()
    assert len(await journal.open()) == 2
    await journal.record(
        [(journal_factories.key(index, run=journal_factories.APRIL), journal_factories.DONE) for index in range(2)]
    )
    await journal.prune(before=journal_factories.minutes(30))
    assert [run.run for run in await journal.runs()] == ["run_june"]


async def test_the_plan_of_every_run_reads_back_as_it_was_also_when_those_with_the_same_are_forgotten(
    office: Office,
) -> None:
    journal, told = await office.writer(), dict[RunId, object]()
    for number, held in enumerate(
        (journal_factories.many(3), journal_factories.many(3), journal_factories.many(2), journal_factories.many(3), ())
    ):
        run, at = RunId(f"run_{number}"), journal_factories.minutes(10 * number)
        office.clock.moment = at
        ended = journal_factories.held(held, run=run, at=at)
        told[run] = report_document(ended)
        await journal.finish(ended, trigger="interval")
    for forgotten in (0, 1, 3):
        await journal.prune(before=journal_factories.minutes(10 * forgotten))
        runs = [past.run for past in await journal.runs()]
        assert len(runs) == 5 - forgotten
        for run in runs:
            plan, report = await journal.documents(run)
            assert report == told[run]
            assert plan == told[run]["plan"]  # type: ignore[index]


async def test_how_much_sources_said_is_remembered_and_replaced(office: Office) -> None:
    journal = await office.writer()
    counts = (RowCount(12, journal_factories.NOON), RowCount(9, journal_factories.minutes(1)))
    record = SourceRecord(counts, frozenset({FleetId("flt_vans"), FleetId("flt_depot")}), "1f0c3d2a")
    later = SourceRecord((RowCount(0, journal_factories.minutes(2)),))
    await journal.remember_sources({"hr": record, "Zoë's; list": record}, run=journal_factories.APRIL)
    assert await journal.source_records() == {"hr": record, "Zoë's; list": record}
    await journal.remember_sources({"hr": later}, run=journal_factories.MAY)
    assert await journal.source_records() == {"hr": later, "Zoë's; list": record}
