"""The service: reconciles whenever there is a reason to, until it is told to end.

Invariants: no failure of one run ends it, and nothing broken replaces what worked: settings that cannot be read leave
the last good ones in force. Reasons that come during a run lead to one more. Neighbours: `wakeups` has the reasons,
`board` what is known, `composition` makes the account, `outside` is what listens.
"""

import contextlib
import datetime
import functools
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import anyio
import structlog
from anyio import abc

from worker.core.model.errors import FleetSyncError, JournalBusy, JournalError, SettingsError
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import Change
from worker.core.model.ports import Clock
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import status
from worker.core.pacing import retry_policy
from worker.core.safety import refusal_backoff
from worker.engine import plan_builder
from worker.service import composition, run_log, state, triggers
from worker.sources import file_watcher

log = structlog.get_logger()

_APPROVAL_SECONDS = 5.0
"""Between two looks whether what is held was approved."""

_STAND_BY_SECONDS = 5.0
"""Between two attempts to become the one writer of a journal."""


class Service:
    """One account, kept in order for as long as the process lives. To be made inside the event loop."""

    def __init__(
        self,
        account: composition.AccountRuntime,
        *,
        renew: Callable[[], Awaitable[composition.AccountRuntime]],
        service_state: state.ServiceState,
        clock: Clock,
        ended: Callable[[Report, str], None] = lambda finished, trigger: None,
        watch: Callable[..., Coroutine[Any, Any, None]] = file_watcher.watch,
    ) -> None:
        """Take the account, and `renew`, which makes it anew of the settings as they are now.

        `renew` raises errors.SettingsError where they cannot be read, or cannot be taken over while this runs.
        `ended` is told of every run with its trigger, `watch` tells of changed sources.
        """
        self.account = account
        self.service_state = service_state
        self._renew = renew
        self._clock = clock
        self._ended = ended
        self._watch = watch
        self._shutdown = account.process_shutdown
        self._triggers = triggers.PendingTriggers()
        self._backoff = refusal_backoff.RefusalBackoff()
        self._run_log = run_log.RunLog()
        self._watching = anyio.CancelScope()
        self._failures = 0
        self._boundary: datetime.datetime | None = None
        self._reload = False

    async def run(self) -> int:
        """Work until stopped; give the exit code."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._reload_on_hangup)
            await tasks.start(self._watch_sources)
            tasks.start_soon(self._wake_at_the_end)
            tasks.start_soon(self._take_approvals_up)
            await self._stand_by()
            trigger = status.Trigger.START
            while self._shutdown.reason is None:
                trigger = await self._run_once(trigger)
            tasks.cancel_scope.cancel()
        return self._shutdown.reason.exit_code if self._shutdown.reason else 0

    def wake(self, reason: status.Trigger) -> None:
        """Ask for a run, the sooner the better."""
        self._triggers.wake(reason)

    # --- One run after the other --------------------------------------------------------------------------

    async def _run_once(self, trigger: status.Trigger) -> status.Trigger:
        """Reconcile, wait until there is a reason to do it again, and give that."""
        if self._reload:
            await self._renewed()
        writer = await self._reconcile(trigger)
        if self._shutdown.reason is not None:
            return trigger
        if not writer:
            await self._stand_by()
            return status.Trigger.START
        seconds, otherwise = self._pause()
        self.service_state.wait(seconds)
        return await self._triggers.next(seconds=seconds, otherwise=otherwise)

    async def _reconcile(self, trigger: status.Trigger) -> bool:
        """Do one run; tell whether this process still is the journal's writer. What goes wrong ends nothing else."""
        run, began, self._boundary = composition.new_run(), self._clock.now(), None

        def show(plan_result: plan_builder.PlanResult) -> None:
            self._boundary = plan_result.next_boundary
            self.service_state.planned(plan_result)
            self._run_log.began(plan_result, run=run, trigger=trigger)

        self.service_state.begin(run, trigger=trigger)
        try:
            finished = await self.account.cycle(run=run, show=show, postpone=self._postponed).reconcile(trigger=trigger)
            if isinstance(finished.error, JournalBusy):
                self.service_state.end(None, trigger=trigger)
                return False
            self.service_state.journal_bytes = await self.account.journal_bytes()
            self._note(finished, trigger)
        except Exception:
            log.exception("run_crashed", run=run, trigger=trigger)
            self._failures += 1
            crash = FleetSyncError("a run crashed", code="crashed", remedy="The log says why: please report it.")
            finished = Report(run, began, self._clock.now(), None, error=crash)
            self.service_state.end(finished, trigger=trigger)
            self._ended(finished, trigger)
        return True

    def _note(self, finished: Report, trigger: status.Trigger) -> None:
        """Take note of how a run ended, and tell everybody."""
        self._failures = self._failures + 1 if finished.result is RunResult.FAILED else 0
        self._backoff.note(finished.results, self._clock.now())
        self.service_state.end(finished, trigger=trigger)
        self._run_log.ended(finished, trigger=trigger)
        self._ended(finished, trigger)

    def _postponed(self, changes: Sequence[Change], now: datetime.datetime) -> Mapping[Change, Outcome]:
        return self._backoff.postponed(changes, now)

    def _pause(self) -> tuple[float, status.Trigger]:
        """Give the seconds until the next run is due, and what would start it."""
        sync, now = self.account.settings.sync, self._clock.now()
        if self._failures:
            return retry_policy.delay_after_failed_run(
                self._failures, interval=sync.interval_seconds
            ), status.Trigger.RETRY
        jitter = sync.interval_jitter * random.uniform(-1, 1)  # noqa: S311 - spreads load, no secret
        due = [(sync.interval_seconds * (1 + jitter), status.Trigger.INTERVAL)]
        moments = (
            (self._boundary, status.Trigger.BOUNDARY),
            (self._backoff.next_due(now), status.Trigger.RETRY),
        )
        due += [((moment - now).total_seconds(), trigger) for moment, trigger in moments if moment is not None]
        return min(due, key=lambda each: each[0])

    async def _sleep(self, seconds: float) -> None:
        """Sleep, no longer than until everything is to end."""
        with anyio.move_on_after(seconds):
            await self._shutdown.wait()

    async def _stand_by(self) -> None:
        """Wait until no other process writes to the journal."""
        while self._shutdown.reason is None:
            try:
                await self.account.record.open()
            except JournalBusy as error:
                if not self.service_state.standing_by:
                    log.warning("standing_by", error=error.message)
                self.service_state.stand_by(error.message)
                await self._sleep(_STAND_BY_SECONDS)
            except JournalError:
                break  # the run that follows tells
            else:
                break
        self.service_state.stand_by("")

    async def _take_approvals_up(self) -> None:
        """Ask for a run where somebody approved what the last one held; once for each plan."""
        taken = ""
        while True:
            await anyio.sleep(_APPROVAL_SECONDS)
            last = self.service_state.last if self.service_state.running is None else None
            if last is None or last.guarded is None or (last.guarded.held and last.remaining_digest == taken):
                continue
            taken = ""  # what is held again later may be approved again
            if not last.guarded.held:
                continue
            with contextlib.suppress(JournalError):  # the next run tells
                if await self.account.record.approved(last.remaining_digest, now=self._clock.now()):
                    taken = last.remaining_digest
                    self.wake(status.Trigger.REQUEST)

    # --- Reasons from outside -----------------------------------------------------------------------------

    async def _wake_at_the_end(self) -> None:
        """End the pause between two runs where everything is to end."""
        await self._shutdown.wait()
        self.wake(status.Trigger.SIGNAL)

    async def _watch_sources(self, *, task_status: abc.TaskStatus[None]) -> None:
        """Ask for a run whenever a source says something else than before."""
        started = task_status.started
        while True:
            with anyio.CancelScope() as self._watching:  # left where the settings name other sources
                async with anyio.create_task_group() as tasks:
                    changed = functools.partial(self.wake, status.Trigger.SOURCE)
                    await tasks.start(functools.partial(self._watch, self.account.source_paths, changed=changed))
                    started()
            started = functools.partial(self.wake, status.Trigger.SOURCE)  # they may have been read before

    async def _reload_on_hangup(self, *, task_status: abc.TaskStatus[None]) -> None:
        """Take SIGHUP for the wish to read the settings anew, and to reconcile."""
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self._reload = True
                self.wake(status.Trigger.SIGNAL)

    async def _renewed(self) -> None:
        """Put the settings as they are now in force; where they are broken, keep those that are."""
        self._reload = False
        try:
            account = await self._renew()
        except SettingsError as error:
            log.error("settings_broken", error=error.message, remedy=error.remedy)
            self.service_state.mark_failed(status.Part.SETTINGS, error)
            return
        before, self.account = self.account, account
        with contextlib.suppress(OSError):
            await before.aclose()
        if before.source_paths != account.source_paths:
            self._watching.cancel()
        self.service_state.mark_ok((status.Part.SETTINGS,))
        log.info("settings_reloaded")
