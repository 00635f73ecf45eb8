"""What every journal tells of past runs and their changes, whichever: in memory, in SQLite, in PostgreSQL."""

import datetime

import pytest

from tests.journal import journal_factories
from tests.journal.conftest import Office
from worker.core.model.errors import KeyRejected
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import OUTCOME_NAMES

pytestmark = pytest.mark.anyio


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
    plan, report = await journal.documents(journal_factories.APRIL)
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
    await journal_factories.begin(
        journal, journal_factories.many(3), run=journal_factories.MAY, at=journal_factories.minutes(9)
    )
    await journal.record([(journal_factories.key(1, run=journal_factories.MAY), journal_factories.DONE)])
    assert [await journal.run(journal_factories.MAY), await journal.run(journal_factories.APRIL)] == [
        *await journal.runs()
    ]
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
    assert await journal.documents(journal_factories.APRIL) == (None, None)


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
    assert [each.change for each in await journal.changes(run=journal_factories.APRIL)] == [bob, ann, trucks]
    found = await journal.changes(driver=ann.driver, fleet=ann.fleet)
    assert [(each.run, each.trigger, each.change.action, each.recorded) for each in found] == [
        (journal_factories.APRIL, "start", "attach", journal_factories.NOON),
        (journal_factories.MAY, "start", "detach", journal_factories.minutes(9)),
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
        (journal_factories.APRIL, journal_factories.key(n, run=journal_factories.APRIL)) for n in range(3)
    ]
    for limit in (1, 3, 5, 9):
        assert await journal.changes(limit=limit) == every[-limit:]
    assert await journal.changes(run=journal_factories.APRIL, limit=2) == every[1:3]
    driver = journal_factories.many(1)[0].driver
    assert await journal.changes(driver=driver, limit=1) == (every[3],)
