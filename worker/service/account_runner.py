"""Runs one account of a folder: reads its file, reads it again when it changes, and ends when it is removed.

Invariants: a file that cannot be used leaves the last valid settings in force, or the account not running, and is tried
again; after a defect, the account's loop starts again. Neighbours: `account_supervisor` has one for each file,
`account_service` is what runs.
"""

import dataclasses
import datetime
import functools
import math
from collections.abc import Callable
from typing import Protocol

import anyio
import structlog
from anyio import to_thread

from worker.core.model.errors import Crashed, FleetSyncError, SettingsError, Stopped
from worker.core.model.ports import Clock
from worker.core.model.secret import Secret
from worker.core.monitoring import status, summary
from worker.core.monitoring.account_overview import AccountStatus
from worker.engine import concurrency
from worker.service import account_service, shutdown
from worker.settings import model
from worker.web import metrics, service_protocol

log = structlog.get_logger()

RETRY_SPREAD = 0.5
"""By how much pauses after failed runs may be shorter: after an outage not all accounts begin again at once."""

CANCEL_SECONDS = 5.0
"""How long an account may take to end once its writes were aborted; then it is cancelled, wherever it hangs."""

_FIRST_RETRY_SECONDS = 3.0
_LONGEST_RETRY_SECONDS = 30.0
"""Pauses before what failed is tried again although the file is the same: its key may be there by then."""

_REMOVED = Stopped("the account was removed", exit_code=0)
_RESTARTED = Stopped("the account starts again with other settings", exit_code=0)


class Folder(Protocol):
    """What an account needs of its folder."""

    def read(self, name: str) -> account_service.Operator:
        """Return what is configured for an account. Blocks. Raises errors.SettingsError if that is invalid."""
        ...

    def claim(self, name: str, settings: model.Settings, key: Secret) -> None:
        """Raise errors.SettingsError if another account has the same key or journal; from now on they are `name`'s."""
        ...

    def release(self, name: str) -> None:
        """Leave the key and the journal of an account to others."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Common:
    """What all accounts share."""

    folder: Folder
    clock: Clock
    gauges: metrics.Metrics


class AccountRunner:
    """One account of the folder. Create it inside the event loop."""

    def __init__(self, name: str, common: Common) -> None:
        """Start with nothing read."""
        self.name = name
        self.ended = anyio.Event()
        self.error: FleetSyncError | None = None
        """Why the account does not run, if that is known."""
        self._common = common
        self._stopped: Stopped | None = None
        self._changed = anyio.Event()
        self._delay = 0.0
        self._failures = 0
        self._account: account_service.AccountService | None = None
        self._last_success: datetime.datetime | None = None

    # --- As the supervisor sees it ------------------------------------------------------------------------

    def file_changed(self, *, delay: float) -> None:
        """Read the file again after `delay` seconds, or at once if nothing runs."""
        self._delay = delay
        self._changed.set()

    def remove(self) -> None:
        """End the account, because its file is gone."""
        self.request_stop(_REMOVED)

    def request_stop(self, reason: Stopped) -> None:
        """End the account: nothing new is sent, and writes in flight may finish. The first reason is kept."""
        self._stopped = self._stopped or reason
        self._changed.set()
        if self._account is not None:
            self._account.shutdown.request_stop(reason)

    def abort_writes(self) -> None:
        """Abort writes that are still in flight."""
        if self._account is not None:
            self._account.shutdown.abort_writes()

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish."""
        return self._account.drain_seconds if self._account is not None else 0.0

    @property
    def service(self) -> service_protocol.ServiceProtocol | None:
        """Return the running service, or None while there is none."""
        return self._account.facade if self._account is not None else None

    def is_ready(self) -> bool:
        """Return whether the account runs, and can work."""
        return self._account is not None and not self._account.facade.unready_reason()

    def status(self) -> AccountStatus:
        """Return the account in one line."""
        if self._account is None:
            condition = summary.Condition.BROKEN if self.error else summary.Condition.STARTING
            gist = self.error.message.partition("\n")[0] if self.error else "Waiting to start"
            parts = frozenset({status.Part.SETTINGS} if isinstance(self.error, SettingsError) else ())
            return AccountStatus(self.name, condition, gist, self._last_success, parts)
        present = self._account.facade.snapshot()
        summarized = summary.summarize(present)
        return AccountStatus(
            self.name,
            summarized.condition,
            summarized.gist,
            present.last_success or self._last_success,
            frozenset(each.part for each in present.broken),
        )

    # --- The task -----------------------------------------------------------------------------------------

    async def run(self, *, delay: float, after: anyio.Event | None) -> None:
        """Keep the account until it is stopped. It begins after `delay` seconds, and once `after` is set."""
        structlog.contextvars.bind_contextvars(account=self.name)
        try:
            if delay:
                with anyio.move_on_after(delay):
                    await self._wait_for_stop()
            if after is not None:
                await after.wait()  # the account that had this name before may still hold the journal
            while self._stopped is None:
                await self._keep()
        finally:
            self._common.folder.release(self.name)
            self.ended.set()

    async def _keep(self) -> None:
        """Read the file and run the account until it ends. After a failure, wait for a change or the next try."""
        self._changed = anyio.Event()
        try:
            await self._serve(_Latest(await self._read()))
        except FleetSyncError as error:
            if self.error is None or self.error.message != error.message:
                log.error("account_broken", error=error.message, remedy=error.remedy)
            self.error = error
        except Exception:  # a defect in one account must not end the others
            log.exception("account_crashed")
            self.error = Crashed("the account ended because of a defect in fleet-sync")
        else:
            self._failures = 0
            return
        self._failures += 1
        with anyio.move_on_after(retry_seconds(self._failures)):
            await self._changed.wait()

    async def _serve(self, latest: "_Latest") -> None:
        account = account_service.AccountService(
            latest.operator,
            read_operator=lambda: latest.operator,
            clock=self._common.clock,
            gauges=self._common.gauges,
            retry_spread=RETRY_SPREAD,
        )
        self._account, self.error = account, None
        if self._stopped is not None:
            account.shutdown.request_stop(self._stopped)
        try:
            with anyio.CancelScope() as scope:
                async with concurrency.background_tasks() as background:
                    background.start_soon(self._follow_file, account, latest)
                    background.start_soon(drain, account, scope)
                    await account.run()
        finally:
            self._last_success = account.state.last_success or self._last_success
            self._account = None
            await account.aclose()

    async def _follow_file(self, account: account_service.AccountService, latest: "_Latest") -> None:
        """Read the file again whenever it changes, and let the account use what it says."""
        failures = 0
        while True:
            with anyio.move_on_after(retry_seconds(failures)):
                await self._changed.wait()
            self._changed = anyio.Event()
            await anyio.sleep(self._delay)
            try:
                fresh = await self._read()
            except SettingsError as error:
                if not failures:
                    log.error("settings_broken", error=error.message, remedy=error.remedy)
                account.state.mark_failed(status.Part.SETTINGS, error)
                failures += 1
                continue
            failures, latest.operator = 0, fresh
            if account_service.needs_restart(account.operator, fresh):
                account.shutdown.request_stop(_RESTARTED)
            else:
                account.service.request_reload()

    async def _read(self) -> account_service.Operator:
        """Read the file and the key, and make sure that no other account has them. Raises errors.SettingsError."""
        found = await to_thread.run_sync(self._common.folder.read, self.name)
        self._common.folder.claim(self.name, found.settings, found.credentials.key)
        read_key = functools.partial(self._read_key, found.settings, found.credentials.read_key)
        return dataclasses.replace(found, credentials=dataclasses.replace(found.credentials, read_key=read_key))

    def _read_key(self, settings: model.Settings, read_key: Callable[[], Secret]) -> Secret:
        key = read_key()
        self._common.folder.claim(self.name, settings, key)
        return key

    async def _wait_for_stop(self) -> None:
        while self._stopped is None:
            await self._changed.wait()
            if self._stopped is None:
                self._changed = anyio.Event()


@dataclasses.dataclass(slots=True)
class _Latest:
    """What was configured when the file was last read, for the reload that follows."""

    operator: account_service.Operator


def retry_seconds(failures: int) -> float:
    """Return the seconds until what failed so often in a row is tried again; without a failure, never."""
    return min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** (failures - 1)) if failures else math.inf


class Draining(Protocol):
    """What is to end once it is stopped."""

    @property
    def shutdown(self) -> shutdown.Shutdown:
        """Return what stops it."""
        ...

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish."""
        ...


async def drain(account: Draining, scope: anyio.CancelScope) -> None:
    """Once the account is to end, give writes in flight their time, abort them, and at last cancel what hangs."""
    await account.shutdown.wait()
    await anyio.sleep(account.drain_seconds)
    account.shutdown.abort_writes()
    await anyio.sleep(CANCEL_SECONDS)
    log.error("account_cancelled", after_seconds=account.drain_seconds + CANCEL_SECONDS)
    scope.cancel()
