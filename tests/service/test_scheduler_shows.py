"""What the service's loop shows and logs, and what keeps it from nothing."""

import dataclasses
import datetime

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.service.scripted import CHANGE, RUN, Account, cut_off, in_sync, refused, served
from tests.support import doubles
from worker.core.model.errors import JournalBusy, JournalError, SettingsError
from worker.core.model.pauses import Pause
from worker.core.model.plan import HeldChange
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import scheduler

pytestmark = pytest.mark.anyio


async def test_a_reload_is_done_once_for_each_request() -> None:
    account = Account([in_sync])
    await served(account, 1000, meanwhile=lambda service: service.request_reload())
    assert (len(account.runs), account.closed) == (4, 1)


async def test_invalid_settings_leave_the_present_account_running_and_are_shown_until_they_are_valid() -> None:
    account, seen = Account([in_sync]), list[set[status.Part]]()
    invalid = SettingsError([Problem("sync.mode", "wrong")])

    def reload_three_times(service: scheduler.Service) -> None:
        async def later() -> None:
            for _ in range(3):
                service.request_reload()
                await anyio.sleep(10)
                seen.append({each.part for each in service.service_state.broken})

        spawned.start_soon(later)

    with structlog.testing.capture_logs() as lines:
        async with anyio.create_task_group() as spawned:
            runs = await served(account, 200, meanwhile=reload_three_times, reload_fails=[invalid, invalid])
    assert runs == [(0, "start"), (100, "signal"), (110, "signal"), (120, "signal")]
    assert seen == [{status.Part.SETTINGS}, {status.Part.SETTINGS}, set()]
    assert account.closed == 1
    events = [line["event"] for line in lines if line["event"].startswith("settings")]
    assert events == ["settings_broken", "settings_broken", "settings_reloaded"]


async def test_a_run_is_shown_while_it_goes_on_and_what_came_of_it_while_the_service_waits() -> None:
    account, seen = Account([in_sync]), list[object]()

    def look(service: scheduler.Service) -> None:
        shown = service.service_state
        assert shown.next_run is not None
        seen.extend([shown.running, (shown.next_run - account.clock.now()).total_seconds(), shown.journal_bytes])
        service.wake(status.Trigger.REQUEST)

        async def during_the_run() -> None:
            await anyio.sleep(0.5)
            assert shown.running is not None
            seen.extend([shown.running.trigger, shown.next_run])

        spawned.start_soon(during_the_run)

    async with anyio.create_task_group() as spawned:
        await served(account, 200, meanwhile=look)
    assert seen == [None, pytest.approx(201), 4096, "request", None]


@pytest.mark.parametrize(("apply", "events"), [(True, ["run_started", "run_finished"]), (False, ["run_finished"])])
async def test_a_run_that_only_watches_logs_no_start_of_changes(apply: bool, events: list[str]) -> None:
    def with_a_change(account: Account) -> Report:
        now = account.clock.now()
        return Report(RUN, now, now, doubles.guarded([CHANGE]))

    account = Account([with_a_change])
    sync = account.settings.sync.model_copy(update={"apply": apply})
    account.settings = account.settings.model_copy(update={"sync": sync})
    with structlog.testing.capture_logs() as lines:
        await served(account, 150)
    assert [line["event"] for line in lines] == events


async def test_a_journal_that_cannot_be_opened_is_left_to_the_first_run_to_report() -> None:
    account = Account([cut_off, in_sync], open_fails=[JournalError("the disk is full")])
    runs = await served(account, 150)
    assert runs == [(0, "start"), (11, "retry")]


async def test_once_it_is_the_writer_it_names_no_other() -> None:
    account, seen = (
        Account([in_sync], open_fails=[JournalBusy("process 7 writes to it")]),
        list[str](),
    )
    await served(account, 150, meanwhile=lambda service: seen.append(service.service_state.standing_by))
    assert (account.runs, seen) == ([(5, "start")], [""])


async def test_a_signal_ends_the_wait_for_another_writer_at_once() -> None:
    account = Account([in_sync], open_fails=[JournalBusy("process 7 writes to it")] * 100)
    began = anyio.current_time()
    assert await served(account, 102) == []
    assert anyio.current_time() - began == pytest.approx(102)


async def test_a_journal_that_cannot_say_what_was_approved_or_paused_ends_nothing() -> None:
    """The next run meets the same error, and reports it."""

    class Silent(Account):
        async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
            raise JournalError("connection timed out")

        async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
            self.asked += 1
            raise JournalError("connection timed out")

    def held(account: Account) -> Report:
        now = account.clock.now()
        guarded = dataclasses.replace(doubles.guarded([]), held=(HeldChange(CHANGE, "flapping", "reversed"),))
        return Report(RUN, now, now, guarded)

    account = Silent([held])
    assert await served(account, 400) == [(0, "start"), (301, "interval")]
    assert account.asked > 50


async def test_a_boundary_of_an_earlier_plan_is_forgotten_by_the_next_one() -> None:
    """It has passed: it would be due again and again."""

    def without(account: Account) -> Report:
        account.boundary = None
        return in_sync(account)

    account = Account([in_sync, without])
    account.boundary = account.clock.now() + datetime.timedelta(seconds=42)
    assert await served(account, 300) == [(0, "start"), (42, "boundary")]


async def test_a_change_that_was_refused_is_no_reason_to_run_once_nothing_is_planned_for_it() -> None:
    account = Account([refused, in_sync])
    assert await served(account, 350) == [(0, "start"), (61, "retry")]
