"""One run of an account of a cluster: from the claim, which has been made, to the release.

Invariants: nothing is sent before a predecessor's permit has certainly run out, nor after this run's own has; whatever
goes wrong, the account is released, and is due again. Neighbours: `cluster_worker` claims and calls this, `composition`
makes the account's parts, `run_schedule` says when it runs next.
"""

import dataclasses
from typing import Protocol

import anyio
import structlog
from anyio import to_thread

from worker.core.model.errors import Crashed, FleetSyncError, JournalError, SettingsError
from worker.core.model.ports import Clock
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.core.monitoring import status, summary
from worker.engine import concurrency, plan_builder
from worker.journal import claims, connection_pool, fenced_journal
from worker.service import (
    account_runner,
    account_service,
    cluster_facade,
    composition,
    job_notifications,
    run_log,
    run_schedule,
    shutdown,
)
from worker.settings import model, secrets
from worker.web import metrics

log = structlog.get_logger()

MARGIN_SECONDS = 0.5
"""What a new owner waits beyond the length of a permit: two machines' clocks need not run at the same speed."""

_RELEASE_TRIES = 5


class ReadOperator(Protocol):
    """Reads what is configured for an account of the cluster. Blocks."""

    def __call__(self, name: str, settings: str) -> account_service.Operator:
        """Return what is configured. Raises errors.SettingsError if that is invalid."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Shared:
    """What all runs of a process share."""

    claims: claims.Claims
    pool: connection_pool.ConnectionPool
    read: ReadOperator
    clock: Clock
    gauges: metrics.Metrics


def own_key(
    held: claims.Claims, claim: claims.Claim, settings: model.Settings, credentials: secrets.Credentials
) -> secrets.Credentials:
    """Return the credentials of an account, and claim its key for it, now and whenever it is read again.

    Blocks. Raises errors.SettingsError if another account has the key, errors.JournalError.
    """

    def kept(key: Secret) -> Secret:
        other = held.keep_key(claim, key, base_url=settings.charge.base_url)
        if other is not None:
            problem = Problem(claim.name, f"the account {other} has the same key")
            raise SettingsError([problem], remedy="Give each account a key of its own.")
        return key

    def read_key() -> Secret:
        try:
            return kept(credentials.read_key())
        except JournalError as error:  # then it cannot be known whose it is
            raise SettingsError([Problem(claim.name, error.message)], remedy=error.remedy) from None

    return dataclasses.replace(credentials, key=kept(credentials.key), read_key=read_key)


class ClusterRun:
    """One run of an account that this process has claimed. Create it inside the event loop."""

    def __init__(self, claim: claims.Claim, shared: Shared, facade: cluster_facade.ClusterFacade) -> None:
        """Take the claim, and what the page shows of the account."""
        self.name = claim.name
        self.shutdown = shutdown.Shutdown()
        self.facade = facade
        self.error: FleetSyncError | None = None
        self._claim = claim
        self._is_settled = not claim.unsettled_for
        self._shared = shared
        self._account: composition.AccountRuntime | None = None
        self._operator: account_service.Operator | None = None
        self._journal = fenced_journal.FencedJournal(
            shared.pool, account=claim.name, permit=claim.permit, clock=shared.clock
        )

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish."""
        return self._operator.settings.sync.drain_seconds if self._operator else 0.0

    async def run(self) -> None:
        """Run the account, and release it. Raises no error."""
        structlog.contextvars.bind_contextvars(account=self.name)
        release = dataclasses.replace(await self._attempt(), settled=self._is_settled)
        await self._release(release)
        if self._operator is not None and self._account is not None and self._operator.targets:
            await self._notify(self._operator, self._account)

    async def _notify(self, operator: account_service.Operator, account: composition.AccountRuntime) -> None:
        """Send what has changed since the run before; a process that is ending does not wait long for receivers."""
        hooks = [job_notifications.hook(target) for target in operator.targets]
        with anyio.CancelScope() as scope:
            async with concurrency.background_tasks() as background:
                background.start_soon(account_runner.drain, self, scope)
                await job_notifications.notify(self.facade.state.snapshot(account), self._journal, hooks)

    async def _attempt(self) -> claims.Release:
        """Return what the run leaves behind, whatever becomes of it."""
        try:
            with anyio.CancelScope() as scope:
                async with concurrency.background_tasks() as background:
                    background.start_soon(account_runner.drain, self, scope)
                    return await self._reconcile()
        except FleetSyncError as error:
            log.error("account_broken", error=error.message, remedy=error.remedy)
            self.error = error
        except Exception:  # a defect in one account must not end the others
            log.exception("account_crashed")
            self.error = Crashed("the run failed because of a defect in fleet-sync")
        return self._broken()

    async def _reconcile(self) -> claims.Release:
        operator = self._operator = await to_thread.run_sync(self._read)
        if self._claim.unsettled_for:
            await self._wait_for_predecessor()
        if self.shutdown.reason is not None:
            return self._interrupted()
        self._is_settled = True
        self.facade.state.last_success = self._claim.last_success
        account = self._account = self.facade.account = composition.AccountRuntime(
            settings=operator.settings,
            credentials=operator.credentials,
            journal=self._journal,
            process_shutdown=self.shutdown,
            progress=self.facade.state,
            observe=lambda operation, code, seconds: self._shared.gauges.observe_request(
                operation, code, seconds=seconds
            ),
        )
        account.take_over_rate_limit(closed_for=self._claim.closed_for)
        try:
            return await self._run(account)
        finally:
            with anyio.CancelScope(shield=True):
                await account.aclose()

    async def _run(self, account: composition.AccountRuntime) -> claims.Release:
        run, trigger = composition.new_run(), self._trigger()
        runs, last = run_log.RunLog(), run_schedule.LastRun()

        def show(plan_result: plan_builder.PlanResult) -> None:
            nonlocal last
            last = dataclasses.replace(last, boundary=plan_result.next_boundary)
            self.facade.state.planned(plan_result)
            if account.settings.sync.apply:
                runs.planned(plan_result, run=run, trigger=trigger)

        self.facade.state.begin(run, trigger=trigger)
        finished = await account.new_reconciler(run=run, show=show).reconcile(trigger=trigger)
        last = dataclasses.replace(
            last,
            failures=run_schedule.failures_after(finished, self._claim.failures),
            superseded=run_schedule.was_superseded(finished),
            retry=await run_schedule.find_retry(account.record, finished),
        )
        self.facade.state.end(finished)
        runs.ended(finished, trigger=trigger)
        self._shared.gauges.observe_run(finished, trigger)
        return self._interrupted() if self.shutdown.reason is not None else self._left(account, finished, last)

    def _left(
        self, account: composition.AccountRuntime, finished: Report, last: run_schedule.LastRun
    ) -> claims.Release:
        """Return what a run that came to its end leaves behind."""
        settings, now = account.settings, self._shared.clock.now()
        delay, _ = run_schedule.next_due(last, settings, now=now, retry_spread=account_runner.RETRY_SPREAD)
        if self._claim.unsettled_for:
            # What the predecessor sent last may take effect until then, whatever this run has read.
            delay = min(delay, settings.retry.late_effect_seconds)
        present = self.facade.state.snapshot(account)
        summarized = summary.summarize(present)
        return claims.Release(
            delay=max(0.0, delay, account.closed_for),
            failures=last.failures,
            condition=summarized.condition.value,
            gist=summarized.gist,
            broken=" ".join(sorted(each.part.value for each in present.broken)),
            succeeded=finished.exit_code == 0,
            closed_for=account.closed_for,
        )

    def _interrupted(self) -> claims.Release:
        """Return what is left behind when this process ends: another one runs the account at once."""
        closed_for = self._account.closed_for if self._account else self._claim.closed_for
        return claims.Release(delay=0.0, failures=self._claim.failures, closed_for=closed_for)

    def _broken(self) -> claims.Release:
        """Return what is left behind where the account cannot run."""
        if self.error is None:  # it hung and was cancelled
            return self._interrupted()
        part = status.Part.JOURNAL if isinstance(self.error, JournalError) else status.Part.SETTINGS
        failures = self._claim.failures + 1
        return claims.Release(
            delay=account_runner.retry_seconds(failures),
            failures=failures,
            condition=summary.Condition.BROKEN.value,
            gist=self.error.message.partition("\n")[0],
            broken=part.value,
            closed_for=self._claim.closed_for,
        )

    def _trigger(self) -> status.Trigger:
        if self._claim.permit.epoch == 1:
            return status.Trigger.START
        return status.Trigger.RETRY if self._claim.failures else status.Trigger.INTERVAL

    def _read(self) -> account_service.Operator:
        """Read settings and key, and make sure that no other account has the key. Raises errors.FleetSyncError."""
        operator = self._shared.read(self.name, self._claim.settings)
        own = own_key(self._shared.claims, self._claim, operator.settings, operator.credentials)
        return dataclasses.replace(operator, credentials=own)

    async def _wait_for_predecessor(self) -> None:
        """Wait until the last owner, who did not release the account, may certainly send nothing more."""
        seconds = self._claim.unsettled_for + MARGIN_SECONDS
        log.warning("account_taken_over", epoch=self._claim.permit.epoch, waits_seconds=seconds)
        with anyio.move_on_after(seconds):
            await self.shutdown.wait()

    async def _release(self, release: claims.Release) -> None:
        """Release the account; where the database does not answer, try again for a few seconds."""
        for _ in range(_RELEASE_TRIES):
            try:
                if not await to_thread.run_sync(self._shared.claims.release, self._claim, release):
                    log.warning("account_lost", epoch=self._claim.permit.epoch)
                return
            except JournalError as error:
                log.warning("account_not_released", error=error.message)
                if self.shutdown.reason is not None:  # the others find out by themselves
                    return
                await anyio.sleep(1.0)
