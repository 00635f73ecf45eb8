"""What every journal does with intents, outcomes and writers, whichever: in memory, in SQLite, in PostgreSQL.

Neighbours: test_run_history.py has what it tells of past runs, test_remembered.py what later runs need.
"""

import dataclasses
import datetime

import pytest

from tests.journal import journal_factories
from tests.journal.conftest import Office
from worker.core.model.desired import Origin
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import Already, Applied, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent

pytestmark = pytest.mark.anyio


# --- Intents and outcomes ---------------------------------------------------------------------------------


async def test_intents_survive_a_crash_with_all_that_is_needed_to_settle_them(office: Office) -> None:
    journal = await office.writer()
    changes = [journal_factories.change("bob"), journal_factories.change("ann", action="detach", line=12)]
    await journal_factories.begin(journal, changes)
    left = await office.crash(journal).open()
    assert [each.intent for each in left] == journal_factories.intents(changes)
    assert [each.intent.change.row for each in left] == ["abc", "abc"]
    assert {(each.run, each.recorded) for each in left} == {(journal_factories.RUN, journal_factories.NOON)}


@pytest.mark.parametrize(
    "origin",
    [
        Origin("people.xlsx:C2", 0, 0),
        Origin("a:1:b.xlsx:C2", 0, 0),
        Origin("people.yaml [sources.fleets]", 0, 0),
        Origin("teams/a:b.yaml", 4, 9),
    ],
    ids=str,
)
async def test_the_place_of_a_row_is_known_however_its_source_names_it(office: Office, origin: Origin) -> None:
    journal = await office.writer()
    change = dataclasses.replace(journal_factories.change("bob"), origin=origin)
    await journal_factories.begin(journal, [change])
    later = office.crash(journal)
    assert [each.intent.change.origin for each in await later.open()] == [origin]
    assert [each.change.origin for each in await later.changes(driver=change.driver)] == [origin]


async def test_outcomes_survive_a_crash_and_only_the_rest_stays_open(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(3))
    await journal.record([(journal_factories.key(1), journal_factories.DONE)])
    left = await office.crash(journal).open()
    assert [each.intent.key for each in left] == [journal_factories.key(0), journal_factories.key(2)]


async def test_a_later_life_closes_what_an_earlier_one_left(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2))
    later = office.crash(journal)
    await later.open()
    await later.record(
        [
            (journal_factories.key(0), journal_factories.DONE),
            (journal_factories.key(1), Stale("seen not to have been made")),
        ]
    )
    assert await later.open() == ()
    assert await office.crash(later).open() == ()


async def test_to_open_again_gives_what_is_open_still(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2))
    assert len(await journal.open()) == 2
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    assert [each.intent.key for each in await journal.open()] == [journal_factories.key(1)]


async def test_a_key_is_never_recorded_for_a_second_intent_and_nothing_of_that_run_is(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2))
    changes = [journal_factories.change("zoe"), journal_factories.change("yan")]
    reused = [
        *journal_factories.intents(changes[:1], run=journal_factories.MAY),
        *journal_factories.intents(changes[1:]),
    ]
    with pytest.raises(JournalError, match="already"):
        await journal.begin(
            journal_factories.MAY, trigger="start", guarded=journal_factories.guarded(changes), intents=reused
        )
    assert [run.run for run in await journal.runs()] == [journal_factories.RUN]
    assert await journal.changes(driver=changes[0].driver) == ()


async def test_a_key_that_stands_twice_in_one_run_is_refused(office: Office) -> None:
    journal = await office.writer()
    twice = journal_factories.intents(journal_factories.many(1)) * 2
    with pytest.raises(JournalError, match="already"):
        await journal.begin(journal_factories.RUN, trigger="start", guarded=journal_factories.guarded(), intents=twice)
    assert await journal.runs() == ()


async def test_the_same_outcome_twice_is_harmless(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2))
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    await journal.record(
        [(journal_factories.key(0), journal_factories.DONE), (journal_factories.key(1), journal_factories.DONE)]
    )
    assert await journal.open() == ()


async def test_another_outcome_for_a_settled_intent_is_refused_with_its_whole_group(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(2))
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    with pytest.raises(JournalError, match="cannot end as stale"):
        await journal.record(
            [(journal_factories.key(1), journal_factories.DONE), (journal_factories.key(0), Stale("no"))]
        )
    assert [each.outcome for each in await journal.changes(run=journal_factories.RUN)] == ["applied", None]


async def test_an_unknown_outcome_may_become_known(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(1))
    await journal.record([(journal_factories.key(), Unknown(2, "charge_unreachable", "no answer"))])
    await journal.record([(journal_factories.key(), journal_factories.DONE)])
    assert await journal.open() == ()
    (change,) = await journal.changes(run=journal_factories.RUN)
    assert (change.outcome, change.attempts, change.code) == ("applied", 1, None)


async def test_an_intent_stays_open_while_its_outcome_is_unknown(office: Office) -> None:
    """With what is known of the attempts: the write may still take effect."""
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(3))
    office.clock.moment = journal_factories.minutes(2)
    await journal.record(
        [
            (journal_factories.key(0), Unknown(3, "charge_unreachable", "no reply", "req_1")),
            (journal_factories.key(1), journal_factories.DONE),
        ]
    )
    first, last = await office.crash(journal).open()
    assert first.intent.key == journal_factories.key(0)
    assert (first.attempts, first.last_attempt, first.code) == (3, journal_factories.minutes(2), "charge_unreachable")
    assert first.recorded == journal_factories.NOON
    assert last.intent.key == journal_factories.key(2)
    assert (last.attempts, last.last_attempt, last.code) == (0, None, None)


async def test_an_intent_that_a_later_run_sends_again_is_open_as_resent(office: Office) -> None:
    journal = await office.writer()
    changes = journal_factories.many(2)
    await journal_factories.begin(journal, changes)
    plan = journal_factories.guarded(changes[:1])
    await journal.begin(
        journal_factories.MAY, trigger="start", guarded=plan, intents=[], resent=[journal_factories.key(0)]
    )
    assert [each.resent for each in await journal.open()] == [True, False]
    shown, _ = await journal.documents(journal_factories.MAY)
    assert shown is not None
    assert [each["driver"] for each in shown["changes"]] == [changes[0].driver]


async def test_an_open_intent_says_whether_an_approval_allowed_it(office: Office) -> None:
    journal = await office.writer()
    plain, approved = journal_factories.intents(journal_factories.many(2))
    intents = [plain, dataclasses.replace(approved, approved=True)]
    await journal.begin(journal_factories.RUN, trigger="start", guarded=journal_factories.guarded(), intents=intents)
    assert [each.intent for each in await office.crash(journal).open()] == intents


async def test_a_run_that_has_begun_takes_further_intents_that_are_not_in_its_plan(office: Office) -> None:
    journal = await office.writer()
    changes = journal_factories.many(3)
    await journal_factories.begin(journal, changes[:2])
    repair = Intent(journal_factories.key(2), changes[2])
    await journal.add_intents(journal_factories.RUN, [repair])
    later = office.crash(journal)
    assert [each.intent for each in await later.open()][2:] == [repair]
    plan, _ = await later.documents(journal_factories.RUN)
    assert plan is not None
    assert len(plan["changes"]) == 2
    for run, intents in ((journal_factories.MAY, [repair]), (journal_factories.RUN, [repair])):
        with pytest.raises(JournalError):
            await later.add_intents(run, intents)


async def test_a_run_ends_once(office: Office) -> None:
    journal = await office.writer()
    await journal.finish(journal_factories.ended(), trigger="once")
    with pytest.raises(JournalError, match="already"):
        await journal.finish(journal_factories.ended(), trigger="once")


async def test_an_outcome_of_no_intent_is_refused(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(1))
    with pytest.raises(JournalError, match="no intent"):
        await journal.record(
            [(journal_factories.key(), journal_factories.DONE), (journal_factories.key(7), journal_factories.DONE)]
        )
    assert len(await journal.open()) == 1


async def test_nothing_to_record_is_nothing(office: Office) -> None:
    journal = await office.writer()
    await journal.record([])
    await journal.remember({})
    await journal.prune(before=journal_factories.NOON)
    assert (await journal.runs(), await journal.changes(), await journal.resolutions()) == ((), (), {})


async def test_every_outcome_reads_back_as_it_was(office: Office) -> None:
    journal = await office.writer()
    kinds: list[Outcome] = [
        Applied(1, "req_a"),
        Already(2, None),
        Refused(1, "driver_not_found", "no such driver", "req_c"),
        Stale("gone"),
        Deferred(0, "stopped", "for the next run"),
        Unknown(6, "charge_fault", "no answer", "req_f"),
    ]
    await journal_factories.begin(journal, journal_factories.many(len(kinds)))
    await journal.record([(journal_factories.key(index), outcome) for index, outcome in enumerate(kinds)])
    found = await journal.changes(run=journal_factories.RUN)
    assert [(each.outcome, each.attempts, each.request_id, each.code, each.message) for each in found] == [
        ("applied", 1, "req_a", None, None),
        ("already", 2, None, None, None),
        ("refused", 1, "req_c", "driver_not_found", "no such driver"),
        ("stale", 0, None, None, "gone"),
        ("deferred", 0, None, "stopped", "for the next run"),
        ("unknown", 6, "req_f", "charge_fault", "no answer"),
    ]


async def test_whatever_charge_says_can_be_recorded(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(1))
    text = f"before\0\ud800{'x' * 100_000}after 🚚"
    await journal.record([(journal_factories.key(), Refused(1, text, text, text))])
    (change,) = await journal.changes(run=journal_factories.RUN)
    for written in (change.message, change.code, change.request_id):
        assert written is not None
        assert written.startswith("before")
        assert written.endswith("after 🚚")


async def test_a_change_without_an_origin_keeps_none(office: Office) -> None:
    journal = await office.writer()
    change = Change(Action.DETACH, DriverId("drv_a"), FleetId("flt_a"))
    await journal_factories.begin(journal, [change])
    assert [each.intent.change for each in await journal.open()] == [change]


# --- One writer -------------------------------------------------------------------------------------------


async def test_a_second_process_is_refused_while_the_first_one_writes(office: Office) -> None:
    first, second = await office.writer(), office.journal()
    with pytest.raises(JournalBusy, match="another fleet-sync writes to this journal"):
        await second.open()
    with pytest.raises(JournalBusy):
        await journal_factories.begin(second, journal_factories.many(1))
    with pytest.raises(JournalError):
        await second.check()
    await first.check()
    assert await first.runs() == ()


async def test_a_second_process_takes_over_when_the_first_one_closes(office: Office) -> None:
    first, second = await office.writer(), office.journal()
    await journal_factories.begin(first, journal_factories.many(1))
    await first.aclose()
    assert len(await second.open()) == 1
    await second.check()


async def test_a_second_process_takes_over_when_the_first_one_dies(office: Office) -> None:
    first = await office.writer()
    await journal_factories.begin(first, journal_factories.many(1))
    second = office.crash(first)
    assert len(await second.open()) == 1
    await second.check()


async def test_people_look_things_up_while_another_process_writes(office: Office) -> None:
    journal, reader = await office.writer(), office.journal()
    await journal_factories.begin(journal, journal_factories.many(2))
    assert len(await reader.runs()) == 1
    assert len(await reader.changes(run=journal_factories.RUN)) == 2
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    assert [each.outcome for each in await reader.changes(run=journal_factories.RUN)] == ["applied", None]
    await journal.check()


async def test_nothing_is_found_where_there_is_no_journal_yet(office: Office) -> None:
    reader = office.journal()
    assert await reader.runs() == ()
    assert await reader.changes() == ()
    assert await reader.documents(journal_factories.APRIL) == (None, None)


async def test_whoever_writes_without_having_opened_becomes_the_writer(office: Office) -> None:
    journal = office.journal()
    await journal_factories.begin(journal, journal_factories.many(1))
    await journal.check()
    with pytest.raises(JournalBusy):
        await office.journal().open()


async def test_a_closed_journal_may_be_closed_again_and_opened_again(office: Office) -> None:
    journal = office.journal()
    await journal.aclose()
    await journal.open()
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError):
        await journal.check()
    await journal.open()
    await journal.check()


async def test_moments_are_kept_in_utc_whatever_zone_they_came_in(office: Office) -> None:
    journal = await office.writer()
    eastward = datetime.timezone(datetime.timedelta(hours=9))
    await journal_factories.whole(
        journal, journal_factories.many(1), run="run_1", at=journal_factories.NOON.astimezone(eastward)
    )
    await journal_factories.whole(journal, run="run_2", at=journal_factories.minutes(5))
    assert [run.run for run in await journal.runs()] == ["run_2", "run_1"]
    assert [run.started for run in await journal.runs()] == [journal_factories.minutes(5), journal_factories.NOON]
