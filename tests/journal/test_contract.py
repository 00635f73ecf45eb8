"""What every journal does, whichever: in memory, in SQLite, in PostgreSQL."""

import dataclasses
import datetime

import pytest

from tests.journal import journal_factories
from tests.journal.conftest import Office
from worker.core.model.errors import JournalBusy, JournalError, KeyRejected
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import OUTCOME_NAMES, Already, Applied, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent

pytestmark = pytest.mark.anyio

APRIL = RunId("run_april")
MAY = RunId("run_may")


# --- Intents and outcomes ---------------------------------------------------------------------------------


async def test_intents_survive_a_crash_with_all_that_is_needed_to_settle_them(office: Office) -> None:
    journal = await office.writer()
    changes = [journal_factories.change("bob"), journal_factories.change("ann", action="detach", line=12)]
    await journal_factories.begin(journal, changes)
    left = await office.crash(journal).open()
    assert [each.intent for each in left] == journal_factories.intents(changes)
    assert [each.intent.change.row for each in left] == ["abc", "abc"]
    assert {(each.run, each.recorded) for each in left} == {(journal_factories.RUN, journal_factories.NOON)}


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
    reused = [*journal_factories.intents(changes[:1], run=MAY), *journal_factories.intents(changes[1:])]
    with pytest.raises(JournalError, match="already"):
        await journal.begin(MAY, trigger="start", guarded=journal_factories.guarded(changes), intents=reused)
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
    await journal.begin(MAY, trigger="start", guarded=plan, intents=[], resent=[journal_factories.key(0)])
    assert [each.resent for each in await journal.open()] == [True, False]
    shown, _ = await journal.documents(MAY)
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
    for run, intents in ((MAY, [repair]), (journal_factories.RUN, [repair])):
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


# --- Runs -------------------------------------------------------------------------------------------------


async def test_a_run_that_has_begun_is_found_with_its_plan_before_it_ends(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.begin(journal, journal_factories.many(3))
    await journal.record([(journal_factories.key(0), journal_factories.DONE)])
    (run,) = await journal.runs()
    assert (run.run, run.trigger, run.started, run.finished, run.result, run.exit_code) == (
        journal_factories.RUN,
        "start",
        journal_factories.NOON,
        None,
        None,
        None,
    )
    assert run.outcomes == {name: int(name == "applied") for name in OUTCOME_NAMES}
    plan, report = await journal.documents(journal_factories.RUN)
    assert plan is not None
    assert plan["digest"] == "sha256:plan"
    assert report is None


async def test_the_end_of_a_run_is_found_with_its_report(office: Office) -> None:
    journal = await office.writer()
    changes = journal_factories.many(2)
    await journal_factories.whole(journal, changes, run="run_april", at=journal_factories.minutes(5))
    (run,) = await journal.runs()
    assert (run.started, run.finished) == (journal_factories.minutes(5), journal_factories.minutes(6))
    assert (run.result, run.exit_code, run.outcomes["applied"]) == ("converged", 0, 2)
    plan, report = await journal.documents(APRIL)
    assert plan is not None
    assert report is not None
    assert report["plan"] == plan
    assert list(report)[:2] == ["format", "run"]
    assert [each["outcome"] for each in report["changes"]] == ["applied", "applied"]


async def test_a_run_with_nothing_to_write_is_recorded_too(office: Office) -> None:
    journal = await office.writer()
    await journal.finish(journal_factories.ended(), trigger="interval")
    later = office.crash(journal)
    (run,) = await later.runs()
    assert (run.run, run.trigger, run.result) == (journal_factories.RUN, "interval", "in_sync")
    plan, report = await later.documents(journal_factories.RUN)
    assert plan is not None
    assert [each["name"] for each in plan["sources"]] == ["teams", "guests.csv"]
    assert report is not None


async def test_a_run_that_failed_before_there_was_a_plan_is_recorded_with_its_error(office: Office) -> None:
    journal = await office.writer()
    await journal.finish(journal_factories.ended(error=KeyRejected("401")), trigger="once")
    plan, report = await journal.documents(journal_factories.RUN)
    assert plan is None
    assert report is not None
    assert (report["plan"], report["error"]["code"]) == (None, "key_rejected")


async def test_runs_come_newest_first_and_no_more_than_asked_for(office: Office) -> None:
    journal = await office.writer()
    for number in (2, 1, 3):
        await journal_factories.whole(journal, run=f"run_{number}", at=journal_factories.minutes(number))
    assert [run.run for run in await journal.runs()] == ["run_3", "run_2", "run_1"]
    assert [run.run for run in await journal.runs(limit=2)] == ["run_3", "run_2"]


async def test_older_runs_follow_one_that_is_known_and_may_be_of_one_result_only(office: Office) -> None:
    journal = await office.writer()
    for number in (1, 2, 3, 4):
        await journal_factories.whole(journal, run=f"run_{number}", at=journal_factories.minutes(number // 2))
    await journal.finish(journal_factories.ended(run=RunId("run_5"), error=KeyRejected("401")), trigger="once")
    everything = [past.run for past in await journal.runs()]
    assert sorted(everything) == ["run_1", "run_2", "run_3", "run_4", "run_5"]
    for at, run in enumerate(everything):
        assert [past.run for past in await journal.runs(before=run)] == everything[at + 1 :], "also within one moment"
    assert [past.run for past in await journal.runs(result="failed")] == ["run_5"]
    assert await journal.runs(before=RunId("run_0")) == ()


async def test_changes_are_counted_by_day_and_outcome(office: Office) -> None:
    journal = await office.writer()
    day = datetime.timedelta(days=1)
    for number in range(3):
        await journal_factories.whole(
            journal, journal_factories.many(number + 1), run=f"run_{number}", at=journal_factories.NOON + number * day
        )
    first = journal_factories.NOON.date()
    done = journal_factories.DONE.name
    expected = {first + day: {done: 2}, first + 2 * day: {done: 3}}
    assert await journal.changes_a_day(since=journal_factories.NOON + day) == expected


async def test_runs_can_be_followed_in_the_order_of_recording_whatever_the_clock_says(office: Office) -> None:
    journal = await office.writer()
    for number in (2, 1, 3):
        await journal_factories.whole(journal, run=f"run_{number}", at=journal_factories.minutes(number))
    assert [run.run for run in await journal.runs_after(None, limit=2)] == ["run_2", "run_1"]
    assert [run.run for run in await journal.runs_after(RunId("run_1"), limit=9)] == ["run_3"]
    assert await journal.runs_after(RunId("run_3"), limit=9) == ()


async def test_one_run_is_found_by_its_id_as_the_list_has_it(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.whole(journal, journal_factories.many(2), run="run_april", at=journal_factories.NOON)
    await journal_factories.begin(journal, journal_factories.many(3), run=MAY, at=journal_factories.minutes(9))
    await journal.record([(journal_factories.key(1, run=MAY), journal_factories.DONE)])
    assert [await journal.run(MAY), await journal.run(APRIL)] == [*await journal.runs()]
    assert await journal.run(RunId("run_ap")) is None


async def test_runs_are_found_by_the_beginning_of_their_ids(office: Office) -> None:
    """Letter by letter: no letter stands for another, and a capital is not a small one."""
    journal = await office.writer()
    for run in ("run_ab", "run_a", "runxab", "run_b"):
        await journal_factories.whole(journal, run=run, at=journal_factories.NOON)
    assert await journal.run_ids("run_a", limit=5) == ("run_a", "run_ab")
    assert await journal.run_ids("run", limit=2) == ("run_a", "run_ab")
    for nowhere in ("RUN_", "run_abc", "un_", "%", "run_\udcff", "run_\0"):
        assert await journal.run_ids(nowhere, limit=5) == ()
        assert await journal.run(RunId(nowhere)) is None


async def test_a_run_that_never_was_has_no_documents(office: Office) -> None:
    journal = await office.writer()
    assert await journal.documents(APRIL) == (None, None)


async def test_changes_are_found_by_run_driver_and_fleet_the_oldest_first(office: Office) -> None:
    journal = await office.writer()
    ann, bob, trucks = (
        journal_factories.change("ann"),
        journal_factories.change("bob"),
        journal_factories.change("ann", "trucks"),
    )
    await journal_factories.whole(journal, [bob, ann, trucks], run="run_april", at=journal_factories.NOON)
    office.clock.moment = journal_factories.minutes(9)
    await journal_factories.whole(
        journal, [journal_factories.change("ann", action="detach")], run="run_may", at=journal_factories.minutes(9)
    )
    assert [each.change for each in await journal.changes(run=APRIL)] == [bob, ann, trucks]
    found = await journal.changes(driver=ann.driver, fleet=ann.fleet)
    assert [(each.run, each.trigger, each.change.action, each.recorded) for each in found] == [
        (APRIL, "start", "attach", journal_factories.NOON),
        (MAY, "start", "detach", journal_factories.minutes(9)),
    ]
    assert found[0].change.origin == ann.origin
    assert [each.change for each in await journal.changes(fleet=trucks.fleet)] == [trucks]
    assert len(await journal.changes()) == 4


async def test_only_the_newest_changes_that_fit_are_kept_in_the_same_order(office: Office) -> None:
    journal = await office.writer()
    await journal_factories.whole(journal, journal_factories.many(3), run="run_april", at=journal_factories.NOON)
    office.clock.moment = journal_factories.minutes(9)
    await journal_factories.whole(journal, journal_factories.many(2), run="run_may", at=journal_factories.minutes(9))
    every = await journal.changes()
    assert [(each.run, each.key) for each in every[:3]] == [
        (APRIL, journal_factories.key(n, run=APRIL)) for n in range(3)
    ]
    for limit in (1, 3, 5, 9):
        assert await journal.changes(limit=limit) == every[-limit:]
    assert await journal.changes(run=APRIL, limit=2) == every[1:3]
    driver = journal_factories.many(1)[0].driver
    assert await journal.changes(driver=driver, limit=1) == (every[3],)


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
    second = office.crash(first)
    await second.open()
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
    assert await reader.documents(APRIL) == (None, None)


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
