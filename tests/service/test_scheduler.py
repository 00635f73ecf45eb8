"""The service's loop: when the next run begins, and that no failure ends the loop."""

import dataclasses
import datetime
import itertools

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.service.scripted import CHANGE, RUN, Account, crashed, cut_off, failed, in_sync, refused, served, unrecorded
from tests.support import doubles
from worker.core.model.errors import JournalBusy
from worker.core.model.outcomes import ChangeResult, Deferred
from worker.core.model.pauses import Pause
from worker.core.model.plan import HeldChange
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import scheduler

pytestmark = pytest.mark.anyio


async def test_it_runs_at_the_start_and_an_interval_after_each_run() -> None:
    runs = await served(Account([in_sync]), 1000)
    assert runs == [(0, "start"), (301, "interval"), (602, "interval"), (903, "interval")]


async def test_a_source_that_does_not_answer_at_the_start_delays_no_shutdown() -> None:
    """A signal would otherwise wait for the deadline of the source, which may be an hour."""

    class Silent(doubles.Source):
        async def peek(self) -> str | None:
            await anyio.sleep(3600)
            return None

    assert await served(Account([in_sync], sources=[Silent({})]), 200) == []


async def test_failed_runs_are_retried_with_growing_delays_until_one_succeeds() -> None:
    runs = await served(Account([failed] * 6 + [in_sync]), 1000)
    assert runs == [
        (0, "start"),
        (11, "retry"),
        (32, "retry"),
        (73, "retry"),
        (154, "retry"),
        (315, "retry"),
        (616, "retry"),
        (917, "interval"),
    ]


async def test_a_journal_that_cannot_be_reached_is_tried_again_every_ten_seconds() -> None:
    """Trying costs Charge nothing, and a network that was cut may be healed at any moment."""
    runs = await served(Account([failed, failed, *[cut_off] * 5, in_sync]), 150)
    assert [start for start, _ in runs] == [0, 11, 32, 43, 54, 65, 76, 87]


async def test_a_journal_that_fails_after_charge_was_read_is_retried_with_growing_delays() -> None:
    runs = await served(Account([cut_off, unrecorded, unrecorded, in_sync]), 150)
    assert [start for start, _ in runs] == [0, 11, 32, 73]


async def test_a_journal_is_adopted_once_by_the_first_run_that_gets_so_far() -> None:
    """Later runs check again whose it is: the settings may be reloaded."""
    account = Account([failed])
    await served(account, 100)
    assert account.adopting == [True]
    account = Account([failed, failed, in_sync])
    await served(account, 100)
    assert account.adopting == [True, False]


async def test_a_defect_in_one_run_does_not_end_the_service() -> None:
    account, ended = Account([crashed, in_sync]), list[Report]()
    runs = await served(account, 400, ended=ended)
    assert runs == [(0, "start"), (11, "retry"), (312, "interval")]
    assert [each.result.value for each in ended] == ["failed", "in_sync", "in_sync"]


async def test_it_runs_when_a_row_begins_or_ends() -> None:
    account = Account([in_sync])
    account.boundary = account.clock.now() + datetime.timedelta(seconds=42)
    runs = await served(account, 100)
    assert runs[:2] == [(0, "start"), (42, "boundary")]


async def test_a_refused_change_is_retried_after_one_minute_then_two() -> None:
    account = Account([refused, refused, in_sync])
    runs = await served(account, 400)
    assert runs == [(0, "start"), (61, "retry"), (182, "retry")]


async def test_a_run_that_a_changed_source_superseded_is_followed_by_another_at_once() -> None:
    def superseded(account: Account) -> Report:
        now = account.clock.now()
        result = ChangeResult(CHANGE, Deferred(0, "superseded", "a source changed during the run"))
        return Report(RUN, now, now, doubles.guarded([CHANGE]), results=(result,))

    runs = await served(Account([superseded, in_sync]), 100)
    assert runs == [(0, "start"), (1, "source")]


async def test_a_burst_of_requests_leads_to_one_immediate_run() -> None:
    def burst(service: scheduler.Service) -> None:
        for _ in range(50):
            service.wake(status.Trigger.REQUEST)

    runs = await served(Account([in_sync]), 350, meanwhile=burst)
    assert runs == [(0, "start"), (100, "request")]


async def test_it_stands_by_while_another_process_is_the_writer_and_takes_over() -> None:
    busy = JournalBusy("process 7 writes to it")
    runs = await served(Account([in_sync], open_fails=[busy] * 3), 100)
    assert runs == [(15, "start")]


async def test_it_waits_for_a_journal_that_another_process_has_taken_over() -> None:
    def lost(account: Account) -> Report:
        account.open_fails = [JournalBusy("process 7 writes to it")] * 4
        now = account.clock.now()
        return Report(RUN, now, now, None, error=JournalBusy("process 7 writes to it"))

    runs = await served(Account([lost, in_sync]), 100)
    assert runs == [(0, "start"), (21, "start")]


async def test_a_service_that_stands_by_shows_no_run_in_progress_and_warns_once() -> None:
    """A run that seems to go on for hours would hide that another process does the work."""
    busy = JournalBusy("process 7 writes to it")

    def lost(account: Account) -> Report:
        account.open_fails = [busy] * 60
        now = account.clock.now()
        return Report(RUN, now, now, None, error=busy)

    shown = []

    def look(service: scheduler.Service) -> None:
        seen = service.service_state
        shown.append((seen.running, seen.last, seen.standing_by, seen.unready_reason()))

    ended = list[Report]()
    with structlog.testing.capture_logs() as lines:
        await served(Account([lost]), 150, meanwhile=look, ended=ended)
    assert shown == [(None, None, "process 7 writes to it", "")]
    assert [line["event"] for line in lines] == ["standing_by"]
    assert ended == []


async def test_an_approval_leads_to_one_run_within_seconds() -> None:
    """Also if the approval has no effect, as with `must_see`."""

    def held(account: Account) -> Report:
        now = account.clock.now()
        guarded = dataclasses.replace(doubles.guarded([]), held=(HeldChange(CHANGE, "must_see", "not seen"),))
        return Report(RUN, now, now, guarded)

    account = Account([held])
    digest = held(account).held_digest
    runs = await served(account, 290, meanwhile=lambda service: account.approved.add(digest))
    assert [trigger for _, trigger in runs] == ["start", "request"]
    assert 100 <= runs[1][0] <= 105


async def test_a_pause_that_another_process_begins_or_ends_leads_to_one_run_within_seconds() -> None:
    account = Account([in_sync])

    def pause(service: scheduler.Service) -> None:
        account.in_force = (Pause(account.clock.now()),)

    runs = await served(account, 290, meanwhile=pause)
    assert [trigger for _, trigger in runs] == ["start", "request"]
    assert 100 <= runs[1][0] <= 106


async def test_a_plan_that_is_held_again_can_be_approved_again() -> None:
    """An approval of a flapping change is used up by the run that applies it."""

    def held(account: Account) -> Report:
        now = account.clock.now()
        guarded = dataclasses.replace(doubles.guarded([]), held=(HeldChange(CHANGE, "flapping", "reversed"),))
        account.approved.add(guarded.held_digest)
        return Report(RUN, now, now, guarded)

    def made(account: Account) -> Report:
        account.approved.clear()
        return in_sync(account)

    account = Account([held, made, held, made])
    runs = await served(account, 390)
    assert [trigger for _, trigger in runs] == ["start", "request", "interval", "request"]


async def test_without_held_changes_the_journal_is_not_asked_for_approvals() -> None:
    account = Account([in_sync])
    await served(account, 290)
    assert account.asked == 0


async def test_a_changed_source_starts_a_run() -> None:
    class Edited(doubles.Source):
        async def peek(self) -> str:
            return "before" if anyio.current_time() - account.began < 100 else "after"

    account = Account([in_sync], sources=[Edited({})])
    runs = await served(account, 350)
    assert [trigger for _, trigger in runs] == ["start", "source"]
    assert 100 <= runs[1][0] <= 103


async def test_idle_connections_are_closed_in_a_long_pause_and_kept_in_a_short_one() -> None:
    account = Account([cut_off, in_sync])
    await served(account, 200)
    assert account.runs == [(0, "start"), (11, "retry")]
    assert account.disconnected == [12]


async def test_pauses_after_failed_runs_are_shorter_by_chance_where_many_accounts_share_an_outage() -> None:
    account = Account([cut_off])
    await served(account, 200, retry_spread=0.5)
    pauses = [later - earlier - 1 for (earlier, _), (later, _) in itertools.pairwise(account.runs)]
    assert all(5 <= pause <= 10 for pause in pauses)
    assert len(set(pauses)) > 1


async def test_a_reload_replaces_the_account_closes_the_previous_one_and_runs() -> None:
    account = Account([in_sync])
    runs = await served(account, 290, meanwhile=lambda service: service.request_reload())
    assert runs == [(0, "start"), (100, "signal")]
    assert account.closed == 1
