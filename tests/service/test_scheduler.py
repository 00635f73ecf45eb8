"""The service's loop: when the next run begins, and that no failure ends the loop."""

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import structlog

from tests.support import clocks, doubles
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired
from worker.core.model.errors import JournalBusy, JournalError, SettingsError, Stopped, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import ChangeResult, Deferred, Refused
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.model.ports import PastRefusals, Source
from worker.core.model.problem import Problem
from worker.core.model.report import Report, Traffic
from worker.core.monitoring import status
from worker.engine import plan_builder
from worker.service import composition, scheduler, shutdown, state
from worker.settings import model

pytestmark = pytest.mark.anyio

RUN = RunId("run_1")
CHANGE = Change(Action.ATTACH, DriverId("drv_A"), FleetId("flt_V"), row="first")

End = Callable[["Account"], Report]


@dataclasses.dataclass
class Account:
    """An account whose runs take a second and end as scripted; the last entry repeats."""

    script: Sequence[End]
    boundary: datetime.datetime | None = None
    open_fails: list[JournalError] = dataclasses.field(default_factory=list)
    sources: list[Source] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.process_shutdown = shutdown.Shutdown()
        self.settings = model.Settings.model_validate(
            {"sources": [{"path": "membership.yaml"}], "sync": {"interval_seconds": 300.0, "interval_jitter": 0.0}}
        )
        self.clock = clocks.Wall()
        self.record = self
        self.runs: list[tuple[float, str]] = []
        self.began = anyio.current_time()
        self.asked = 0
        self.closed = 0
        self.disconnected: list[float] = []
        self.approved: set[str] = set()
        self.in_force: tuple[Pause, ...] = ()
        self.refusal: PastRefusals | None = None
        self.adopting = [True]

    async def open(self) -> None:
        if self.open_fails:
            raise self.open_fails.pop()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed += 1

    async def close_idle_connections(self) -> None:
        self.disconnected.append(anyio.current_time() - self.began)
        await anyio.lowlevel.checkpoint()

    def adopt_journal(self, *, allowed: bool) -> None:
        self.adopting.append(allowed)

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        return self.in_force

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        self.asked += 1
        return frozenset(self.approved)

    async def journal_bytes(self) -> int:
        return 4096

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[tuple[Action, DriverId, FleetId], PastRefusals]:
        return {(CHANGE.action, CHANGE.driver, CHANGE.fleet): self.refusal} if self.refusal else {}

    def new_reconciler(self, *, run: RunId, show: Callable[[Any], None]) -> "Account":
        self._show = show
        return self

    async def reconcile(self, *, trigger: str) -> Report:
        self.runs.append((round(anyio.current_time() - self.began), trigger))
        await anyio.sleep(1)
        finished = self.script[min(len(self.runs), len(self.script)) - 1](self)
        if finished.guarded is not None:
            plan_result = plan_builder.PlanResult(
                Desired((), (), ()),
                Actual({}, {}),
                finished.guarded,
                pauses=self.in_force,
                next_boundary=self.boundary,
            )
            self._show(plan_result)
        return finished


def in_sync(account: Account) -> Report:
    now = account.clock.now()
    return Report(RUN, now, now, doubles.guarded([]))


def failed(account: Account) -> Report:
    now = account.clock.now()
    return Report(RUN, now, now, None, error=Unreachable("no answer"))


def cut_off(account: Account) -> Report:
    """End without the journal, so that Charge was asked nothing."""
    now = account.clock.now()
    return Report(RUN, now, now, None, error=JournalError("connection timed out"))


def unrecorded(account: Account) -> Report:
    """End without the journal, after Charge was read."""
    return dataclasses.replace(cut_off(account), traffic=Traffic(reads=7))


def refused(account: Account) -> Report:
    now = account.clock.now()
    count = account.refusal.count + 1 if account.refusal else 1
    account.refusal = PastRefusals(CHANGE.row, count, now, "policy_blocked", "not allowed", "req_1")
    result = ChangeResult(CHANGE, Refused(1, "policy_blocked", "not allowed", "req_1"))
    return Report(RUN, now, now, doubles.guarded([CHANGE]), results=(result,))


def crashed(account: Account) -> Report:
    account.clock.no_such_thing()  # type: ignore[attr-defined]
    return in_sync(account)


async def _served(
    account: Account,
    seconds: float,
    *,
    meanwhile: Callable[[scheduler.Service], None] = lambda service: None,
    ended: list[Report] | None = None,
    retry_spread: float = 0.0,
    reload_fails: Sequence[SettingsError] = (),
) -> list[tuple[float, str]]:
    """Run the service for so long, call `meanwhile` after 100 s, and return the start and trigger of each run."""
    shown = state.ServiceState(clock=account.clock)
    failures = iter(reload_fails)

    async def reload() -> composition.AccountRuntime:
        if (error := next(failures, None)) is not None:
            raise error
        return cast(composition.AccountRuntime, account)

    service = scheduler.Service(
        cast(composition.AccountRuntime, account),
        reload=reload,
        service_state=shown,
        clock=account.clock,
        on_run_end=lambda finished, trigger: None if ended is None else ended.append(finished),
        retry_spread=retry_spread,
    )
    account.began = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            await anyio.sleep(100)
            meanwhile(service)
            await anyio.sleep(seconds - 100)
            account.process_shutdown.request_stop(Stopped("SIGTERM", exit_code=143))

        tasks.start_soon(stop)
        assert await service.run() == 143
    assert anyio.current_time() - account.began == pytest.approx(seconds, abs=1.5)
    return account.runs


async def test_it_runs_at_the_start_and_an_interval_after_each_run() -> None:
    runs = await _served(Account([in_sync]), 1000)
    assert runs == [(0, "start"), (301, "interval"), (602, "interval"), (903, "interval")]


async def test_a_source_that_does_not_answer_at_the_start_delays_no_shutdown() -> None:
    """A signal would otherwise wait for the deadline of the source, which may be an hour."""

    class Silent(doubles.Source):
        async def peek(self) -> str | None:
            await anyio.sleep(3600)
            return None

    assert await _served(Account([in_sync], sources=[Silent({})]), 200) == []


async def test_failed_runs_are_retried_with_growing_delays_until_one_succeeds() -> None:
    runs = await _served(Account([failed] * 6 + [in_sync]), 1000)
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
    runs = await _served(Account([failed, failed, *[cut_off] * 5, in_sync]), 150)
    assert [start for start, _ in runs] == [0, 11, 32, 43, 54, 65, 76, 87]


async def test_a_journal_that_fails_after_charge_was_read_is_retried_with_growing_delays() -> None:
    runs = await _served(Account([cut_off, unrecorded, unrecorded, in_sync]), 150)
    assert [start for start, _ in runs] == [0, 11, 32, 73]


async def test_a_journal_is_adopted_once_by_the_first_run_that_gets_so_far() -> None:
    """Later runs check again whose it is: the settings may be reloaded."""
    account = Account([failed])
    await _served(account, 100)
    assert account.adopting == [True]
    account = Account([failed, failed, in_sync])
    await _served(account, 100)
    assert account.adopting == [True, False]


async def test_a_defect_in_one_run_does_not_end_the_service() -> None:
    account, ended = Account([crashed, in_sync]), list[Report]()
    runs = await _served(account, 400, ended=ended)
    assert runs == [(0, "start"), (11, "retry"), (312, "interval")]
    assert [each.result.value for each in ended] == ["failed", "in_sync", "in_sync"]


async def test_it_runs_when_a_row_begins_or_ends() -> None:
    account = Account([in_sync])
    account.boundary = account.clock.now() + datetime.timedelta(seconds=42)
    runs = await _served(account, 100)
    assert runs[:2] == [(0, "start"), (42, "boundary")]


async def test_a_refused_change_is_retried_after_one_minute_then_two() -> None:
    account = Account([refused, refused, in_sync])
    runs = await _served(account, 400)
    assert runs == [(0, "start"), (61, "retry"), (182, "retry")]


async def test_a_run_that_a_changed_source_superseded_is_followed_by_another_at_once() -> None:
    def superseded(account: Account) -> Report:
        now = account.clock.now()
        result = ChangeResult(CHANGE, Deferred(0, "superseded", "a source changed during the run"))
        return Report(RUN, now, now, doubles.guarded([CHANGE]), results=(result,))

    runs = await _served(Account([superseded, in_sync]), 100)
    assert runs == [(0, "start"), (1, "source")]


async def test_a_burst_of_requests_leads_to_one_immediate_run() -> None:
    def burst(service: scheduler.Service) -> None:
        for _ in range(50):
            service.wake(status.Trigger.REQUEST)

    runs = await _served(Account([in_sync]), 350, meanwhile=burst)
    assert runs == [(0, "start"), (100, "request")]


async def test_it_stands_by_while_another_process_is_the_writer_and_takes_over() -> None:
    busy = JournalBusy("process 7 writes to it")
    runs = await _served(Account([in_sync], open_fails=[busy] * 3), 100)
    assert runs == [(15, "start")]


async def test_it_waits_for_a_journal_that_another_process_has_taken_over() -> None:
    def lost(account: Account) -> Report:
        account.open_fails = [JournalBusy("process 7 writes to it")] * 4
        now = account.clock.now()
        return Report(RUN, now, now, None, error=JournalBusy("process 7 writes to it"))

    runs = await _served(Account([lost, in_sync]), 100)
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
        await _served(Account([lost]), 150, meanwhile=look, ended=ended)
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
    runs = await _served(account, 290, meanwhile=lambda service: account.approved.add(digest))
    assert [trigger for _, trigger in runs] == ["start", "request"]
    assert 100 <= runs[1][0] <= 105


async def test_a_pause_that_another_process_begins_or_ends_leads_to_one_run_within_seconds() -> None:
    account = Account([in_sync])

    def pause(service: scheduler.Service) -> None:
        account.in_force = (Pause(account.clock.now()),)

    runs = await _served(account, 290, meanwhile=pause)
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
    runs = await _served(account, 390)
    assert [trigger for _, trigger in runs] == ["start", "request", "interval", "request"]


async def test_without_held_changes_the_journal_is_not_asked_for_approvals() -> None:
    account = Account([in_sync])
    await _served(account, 290)
    assert account.asked == 0


async def test_a_changed_source_starts_a_run() -> None:
    class Edited(doubles.Source):
        async def peek(self) -> str:
            return "before" if anyio.current_time() - account.began < 100 else "after"

    account = Account([in_sync], sources=[Edited({})])
    runs = await _served(account, 350)
    assert [trigger for _, trigger in runs] == ["start", "source"]
    assert 100 <= runs[1][0] <= 103


async def test_idle_connections_are_closed_in_a_long_pause_and_kept_in_a_short_one() -> None:
    account = Account([cut_off, in_sync])
    await _served(account, 200)
    assert account.runs == [(0, "start"), (11, "retry")]
    assert account.disconnected == [12]


async def test_pauses_after_failed_runs_are_shorter_by_chance_where_many_accounts_share_an_outage() -> None:
    account = Account([cut_off])
    await _served(account, 200, retry_spread=0.5)
    pauses = [later - earlier - 1 for (earlier, _), (later, _) in itertools.pairwise(account.runs)]
    assert all(5 <= pause <= 10 for pause in pauses)
    assert len(set(pauses)) > 1


async def test_a_reload_replaces_the_account_closes_the_previous_one_and_runs() -> None:
    account = Account([in_sync])
    runs = await _served(account, 290, meanwhile=lambda service: service.request_reload())
    assert runs == [(0, "start"), (100, "signal")]
    assert account.closed == 1


async def test_a_reload_is_done_once_for_each_request() -> None:
    account = Account([in_sync])
    await _served(account, 1000, meanwhile=lambda service: service.request_reload())
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
            runs = await _served(account, 200, meanwhile=reload_three_times, reload_fails=[invalid, invalid])
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
        await _served(account, 200, meanwhile=look)
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
        await _served(account, 150)
    assert [line["event"] for line in lines] == events


async def test_a_journal_that_cannot_be_opened_is_left_to_the_first_run_to_report() -> None:
    account = Account([cut_off, in_sync], open_fails=[JournalError("the disk is full")])
    runs = await _served(account, 150)
    assert runs == [(0, "start"), (11, "retry")]


async def test_once_it_is_the_writer_it_names_no_other() -> None:
    account, seen = Account([in_sync], open_fails=[JournalBusy("process 7 writes to it")]), list[str]()
    await _served(account, 150, meanwhile=lambda service: seen.append(service.service_state.standing_by))
    assert (account.runs, seen) == ([(5, "start")], [""])


async def test_a_signal_ends_the_wait_for_another_writer_at_once() -> None:
    account = Account([in_sync], open_fails=[JournalBusy("process 7 writes to it")] * 100)
    began = anyio.current_time()
    assert await _served(account, 102) == []
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
    assert await _served(account, 400) == [(0, "start"), (301, "interval")]
    assert account.asked > 50


async def test_a_boundary_of_an_earlier_plan_is_forgotten_by_the_next_one() -> None:
    """It has passed: it would be due again and again."""

    def without(account: Account) -> Report:
        account.boundary = None
        return in_sync(account)

    account = Account([in_sync, without])
    account.boundary = account.clock.now() + datetime.timedelta(seconds=42)
    assert await _served(account, 300) == [(0, "start"), (42, "boundary")]


async def test_a_change_that_was_refused_is_no_reason_to_run_once_nothing_is_planned_for_it() -> None:
    account = Account([refused, in_sync])
    assert await _served(account, 350) == [(0, "start"), (61, "retry")]
