"""The service's loop: reconciles whenever a trigger asks for it, until the process is stopped.

Invariants: no failure of one run ends the loop; settings that cannot be read leave the last valid ones in force; a
trigger that arrives during a run leads to one more run. Neighbours: `triggers` collects the reasons to run, `state`
holds what the service reports about itself, `composition` makes the account, `app` adds the page and notifications.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Awaitable, Callable

import anyio
import structlog
from anyio import abc

from worker.core.model.errors import Crashed, JournalBusy, JournalError, SettingsError
from worker.core.model.ports import Clock
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.engine import plan_builder
from worker.service import composition, run_log, run_schedule, source_polling, state, triggers

log = structlog.get_logger()

_APPROVAL_POLL_SECONDS = 5.0
"""Interval at which the journal is asked for an approval of the held changes, and for pauses."""

_WRITER_LOCK_POLL_SECONDS = 5.0
"""Interval between attempts to become the journal's writer."""


_IDLE_SECONDS = 30.0
"""In a longer pause idle connections are closed, because many accounts have many of them."""


class Service:
    """Keeps one account in sync for the life of the process. Create it inside the event loop."""

    def __init__(
        self,
        account: composition.AccountRuntime,
        *,
        reload: Callable[[], Awaitable[composition.AccountRuntime]],
        service_state: state.ServiceState,
        clock: Clock,
        on_run_end: Callable[[Report, str], None] = lambda finished, trigger: None,
        retry_spread: float = 0.0,
    ) -> None:
        """Take the account, and `reload`, which makes it again from the current settings.

        `reload` raises errors.SettingsError if the settings are invalid or need a restart. `on_run_end` receives every
        report with its trigger. `retry_spread` is the fraction by which pauses after failed runs may be shorter.
        """
        self.account = account
        self.service_state = service_state
        self._reload = reload
        self._clock = clock
        self._on_run_end = on_run_end
        self._retry_spread = retry_spread
        self._shutdown = account.process_shutdown
        self._triggers = triggers.PendingTriggers()
        self._last = run_schedule.LastRun()
        self._run_log = run_log.RunLog()
        self._reload_requested = False

    async def run(self) -> int:
        """Run until stopped; return the exit code."""
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as starting:
                tasks.start_soon(self._wake_on_shutdown, starting)
                await tasks.start(self._poll_sources)
            tasks.start_soon(self._poll_approvals)
            tasks.start_soon(self._poll_pauses)
            await self._wait_for_writer_lock()
            trigger = status.Trigger.START
            while self._shutdown.reason is None:
                trigger = await self._run_once(trigger)
            tasks.cancel_scope.cancel()
        return self._shutdown.reason.exit_code if self._shutdown.reason else 0

    def wake(self, trigger: status.Trigger) -> None:
        """Request a run as soon as possible."""
        self._triggers.wake(trigger)

    def request_reload(self) -> None:
        """Read the settings again before the next run, and request that run."""
        self._reload_requested = True
        self.wake(status.Trigger.SIGNAL)

    # --- One run after another ----------------------------------------------------------------------------

    async def _run_once(self, trigger: status.Trigger) -> status.Trigger:
        """Reconcile, wait for the next trigger and return it."""
        if self._reload_requested:
            await self._reload_settings()
        is_writer = await self._reconcile(trigger)
        if self._shutdown.reason is not None:
            return trigger
        if not is_writer:
            await self._wait_for_writer_lock()
            return status.Trigger.START
        seconds, otherwise = self._next_due()
        self.service_state.wait(seconds)
        if seconds > _IDLE_SECONDS:
            with contextlib.suppress(OSError):
                await self.account.close_idle_connections()
        return await self._triggers.next(seconds=seconds, otherwise=otherwise)

    async def _reconcile(self, trigger: status.Trigger) -> bool:
        """Do one run; return whether this process is still the journal's writer. Catches every failure of the run."""
        run, started = composition.new_run(), self._clock.now()
        self._last = run_schedule.LastRun(self._last.failures)

        def show(plan_result: plan_builder.PlanResult) -> None:
            self._last = dataclasses.replace(self._last, boundary=plan_result.next_boundary)
            self.service_state.planned(plan_result)
            if self.account.settings.sync.apply:
                self._run_log.planned(plan_result, run=run, trigger=trigger)

        self.service_state.begin(run, trigger=trigger)
        try:
            reconciler = self.account.new_reconciler(run=run, show=show)
            finished = await reconciler.reconcile(trigger=trigger)
            if isinstance(finished.error, JournalBusy):
                self.service_state.end(None)
                return False
            self.service_state.journal_bytes = await self.account.journal_bytes()
            retry = await run_schedule.find_retry(self.account.record, finished)
            self._last = dataclasses.replace(self._last, retry=retry)
            self._record_end(finished, trigger)
        except Exception:
            log.exception("run_crashed", run=run, trigger=trigger)
            self._last = dataclasses.replace(self._last, failures=self._last.failures + 1)
            crash = Crashed("the run failed because of a defect in fleet-sync")
            finished = Report(run, started, self._clock.now(), None, error=crash)
            self.service_state.end(finished)
            self._on_run_end(finished, trigger)
        return True

    def _record_end(self, finished: Report, trigger: status.Trigger) -> None:
        self._last = dataclasses.replace(
            self._last,
            failures=run_schedule.failures_after(finished, self._last.failures),
            superseded=run_schedule.was_superseded(finished),
        )
        if finished.guarded is not None:
            self.account.adopt_journal(allowed=False)  # the journal is this account's by now
        self.service_state.end(finished)
        self._run_log.ended(finished, trigger=trigger)
        self._on_run_end(finished, trigger)

    def _next_due(self) -> tuple[float, status.Trigger]:
        """Return the seconds until the next run is due, and the trigger that it will have."""
        return run_schedule.next_due(
            self._last, self.account.settings, now=self._clock.now(), retry_spread=self._retry_spread
        )

    async def _wait_for_writer_lock(self) -> None:
        """Wait until this process is the journal's writer, or shutdown begins."""
        while self._shutdown.reason is None:
            try:
                await self.account.record.open()
            except JournalBusy as error:
                if not self.service_state.standing_by:
                    log.warning("standing_by", error=error.message)
                self.service_state.stand_by(error.message)
                with anyio.move_on_after(_WRITER_LOCK_POLL_SECONDS):
                    await self._shutdown.wait()
            except JournalError:
                break  # the next run meets the same error and reports it
            else:
                break
        self.service_state.stand_by("")

    async def _poll_approvals(self) -> None:
        """Request a run when the held changes of the last plan have been approved; once for each plan."""
        requested_for = ""
        while True:
            await anyio.sleep(_APPROVAL_POLL_SECONDS)
            last = self.service_state.last if self.service_state.running is None else None
            if last is None or last.guarded is None:
                continue
            if last.held_digest and last.held_digest == requested_for:
                continue
            requested_for = ""  # the same plan may be held and approved again later
            if not last.held_digest:
                continue
            with contextlib.suppress(JournalError):  # the next run meets the same error and reports it
                if last.held_digest in await self.account.record.approvals(now=self._clock.now()):
                    requested_for = last.held_digest
                    self.wake(status.Trigger.REQUEST)

    async def check_pauses(self) -> None:
        """Request a run if a pause began or ended."""
        with contextlib.suppress(JournalError):  # the next run meets the same error and reports it
            if self.service_state.set_pauses(await self.account.record.pauses(now=self._clock.now())):
                self.wake(status.Trigger.REQUEST)

    async def _poll_pauses(self) -> None:
        """Check for pauses that another process began or ended."""
        while True:
            await anyio.sleep(_APPROVAL_POLL_SECONDS)
            await self.check_pauses()

    # --- Triggers from outside ----------------------------------------------------------------------------

    async def _wake_on_shutdown(self, starting: anyio.CancelScope) -> None:
        """When shutdown begins, end the first peek at the sources, or the wait between two runs."""
        await self._shutdown.wait()
        starting.cancel()
        self.wake(status.Trigger.SIGNAL)

    async def _poll_sources(self, *, task_status: abc.TaskStatus[None]) -> None:
        """Request a run whenever a source may have changed, or the settings name other sources."""
        changed = functools.partial(self.wake, status.Trigger.SOURCE)
        await source_polling.poll(lambda: self.account.sources, changed=changed, task_status=task_status)

    async def _reload_settings(self) -> None:
        """Replace the account by one with the current settings; keep the present one if they are invalid."""
        self._reload_requested = False
        try:
            account = await self._reload()
        except SettingsError as error:
            log.error("settings_broken", error=error.message, remedy=error.remedy)
            self.service_state.mark_failed(status.Part.SETTINGS, error)
            return
        previous, self.account = self.account, account
        with contextlib.suppress(OSError):
            await previous.aclose()
        self.service_state.mark_ok((status.Part.SETTINGS,))
        log.info("settings_reloaded")
