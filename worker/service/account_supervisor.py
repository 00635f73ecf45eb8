"""Runs every account of a folder in one process: follows its files, and serves one page and one set of metrics.

Invariants: whatever is wrong with one account ends, delays or changes no other; no two accounts share a key or a
journal; a folder that cannot be read changes nothing. Neighbours: `account_runner` runs one account, `account_reader`
reads the files, `core.model.account_files` says what changed, `web.accounts_page` shows all.
"""

import contextlib
import random
import resource
import secrets
import signal
import threading
from collections.abc import Iterable
from typing import Protocol

import anyio
import structlog
from anyio import abc, to_thread

import worker
from worker.core.model.account_files import Claims, FileChanges, Scan, compare
from worker.core.model.errors import FleetSyncError, SettingsError, Stopped
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring.account_overview import AccountsStatus
from worker.core.pacing import spread
from worker.engine import concurrency
from worker.service import account_claims, account_runner, account_service, composition, page_server, shutdown
from worker.settings import account_folder, model
from worker.web import accounts_page, metrics, service_protocol

log = structlog.get_logger()

SCAN_SECONDS = 1.5
"""Between two scans of the folder. A change counts once two scans agree, and is spread over `CHANGE_SPREAD_SECONDS`:
together less than the 10 s in which it must take effect."""

CHANGE_SPREAD_SECONDS = 5.0
START_SPREAD_SECONDS = 300.0
"""The longest times over which accounts that change, or start with the process, are spread."""

_THREADS = 40
_THREADS_PER_ACCOUNT = 2
"""Threads that sources and settings may use at once: an account that hangs blocks only its own."""


class Reader(Protocol):
    """Reads the folder. Every method blocks, and raises errors.SettingsError for what cannot be used."""

    def scan(self) -> Scan:
        """Return the files of the folder."""
        ...

    def read_defaults(self) -> model.Status:
        """Read what is beneath every account, and return how the page is served."""
        ...

    def token(self) -> Secret | None:
        """Return the token of the page, or None."""
        ...

    def read(self, name: str) -> account_service.Operator:
        """Return what is configured for an account."""
        ...


async def run(reader: Reader) -> int:
    """Run the accounts until a signal ends them; return the exit code.

    Raises errors.FleetSyncError if that cannot start: the folder, its defaults, or the page's address cannot be used.
    """
    _raise_file_limit()
    status, token, gauges = reader.read_defaults(), reader.token(), metrics.Metrics()
    supervisor = AccountSupervisor(reader, status, gauges)
    await supervisor.scan()

    async def work() -> int:
        async with concurrency.background_tasks() as background:
            await background.start(supervisor.reload_on_hangup)
            if status.listen:
                made = accounts_page.create(supervisor, gauges, page_server.access(status, token))
                await background.start(page_server.serve, made, status.listen)
            return await supervisor.run()

    return await shutdown.run_until_signal(supervisor, work, drain_seconds=lambda: supervisor.drain_seconds)


class AccountSupervisor:
    """All accounts of a folder. Implements `accounts_page.AccountsProtocol` and `account_runner.Folder`."""

    def __init__(self, reader: Reader, status: model.Status, gauges: metrics.Metrics) -> None:
        """Take what reads the folder, how the page is served, and the metrics. Create it inside the event loop."""
        clock = composition.SystemClock()
        self._reader = reader
        self._page = status
        self._clock = clock
        self._common = account_runner.Common(self, clock, gauges)
        self._started = clock.now()
        self._runners: dict[str, account_runner.AccountRunner] = {}
        self._stopping: dict[str, account_runner.AccountRunner] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        self._before: Scan = {}
        self._present: Scan = {}
        self._claims, self._claiming = Claims(), threading.Lock()
        self._secret = secrets.token_bytes(32)
        self._errors: dict[str, SettingsError] = {}
        self._stopped: Stopped | None = None
        self._wakened = anyio.Event()
        self._reload = False

    # --- For the signals ----------------------------------------------------------------------------------

    def request_stop(self, reason: Stopped) -> None:
        """End all accounts: nothing new is sent, and writes in flight may finish."""
        self._stopped = self._stopped or reason
        self._wakened.set()
        for runner in self._all():
            runner.request_stop(reason)

    def abort_writes(self) -> None:
        """Abort writes that are still in flight."""
        for runner in self._all():
            runner.abort_writes()

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish: the longest of all accounts."""
        return max((runner.drain_seconds for runner in self._all()), default=0.0)

    async def reload_on_hangup(self, *, task_status: abc.TaskStatus[None]) -> None:
        """On SIGHUP, read every file again."""
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self._reload = True
                self._wakened.set()

    # --- For the page -------------------------------------------------------------------------------------

    def status(self) -> AccountsStatus:
        """Return the present state of all accounts."""
        accounts = tuple(runner.status() for runner in self._runners.values())
        return AccountsStatus(self._clock.now(), self._started, worker.__version__, accounts, self._broken())

    def has(self, name: str) -> bool:
        """Return whether the folder has this account."""
        return name in self._runners

    def service(self, name: str) -> service_protocol.ServiceProtocol | None:
        """Return the service of an account, or None if it does not run."""
        return self._runners[name].service if name in self._runners else None

    def controls(self, name: str) -> service_protocol.Controls | None:
        """Return None: an account that does not run here runs nowhere."""
        return None

    def error(self, name: str) -> FleetSyncError | None:
        """Return why an account does not run, if that is known."""
        return self._runners[name].error if name in self._runners else None

    def unready_reason(self) -> str:
        """Return why the process is not ready, or an empty text: one account that works is enough."""
        if broken := self._broken():
            return broken
        runners = self._runners.values()
        return "" if not runners or any(runner.is_ready() for runner in runners) else "no account is ready"

    # --- For the accounts ---------------------------------------------------------------------------------

    def read(self, name: str) -> account_service.Operator:
        """Return what is configured for an account. Raises errors.SettingsError if that is invalid."""
        return self._reader.read(name)

    def claim(self, name: str, settings: model.Settings, key: Secret) -> None:
        """Raise errors.SettingsError if another account has the same key or journal; from now on they are `name`'s.

        The account that has them already keeps them, whatever its name is.
        """
        wanted = [*account_claims.of_settings(settings), account_claims.of_key(settings, key, secret=self._secret)]
        with self._claiming:  # a key that is read again is claimed by the thread that read it
            account_claims.require_own(self._claims, name, wanted)

    def release(self, name: str) -> None:
        """Leave the key and the journal of an account to others."""
        with self._claiming:
            self._claims.release(name)

    # --- The folder ---------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Keep all accounts until a stop is requested; return the exit code."""
        async with anyio.create_task_group() as tasks:
            self.start(tasks)
            while self._stopped is None:
                with anyio.move_on_after(SCAN_SECONDS):
                    await self._wakened.wait()
                self._wakened = anyio.Event()
                if self._stopped is None:
                    await self.follow(tasks)
        return self._stopped.exit_code if self._stopped else 0

    async def scan(self) -> None:
        """Scan the folder. Raises errors.SettingsError if it cannot be read."""
        found = await to_thread.run_sync(self._reader.scan)
        self._before, self._present = self._present, found

    def start(self, tasks: abc.TaskGroup) -> None:
        """Start the accounts that the first scan found."""
        self._apply(compare({}, self._present, self._present), tasks, longest=START_SPREAD_SECONDS)

    async def follow(self, tasks: abc.TaskGroup) -> None:
        """Scan the folder, and act on what changed."""
        try:
            await self.scan()
        except SettingsError as error:
            self._report("folder", error)
            return
        self._errors.pop("folder", None)
        changes = compare(self._known, self._before, self._present)
        touched = {*changes.added, *changes.changed, *changes.removed}
        if account_folder.DEFAULTS in touched or self._reload:
            self._reload = False
            if account_folder.DEFAULTS in changes.removed:
                # Without it, every account would have other limits, and perhaps detach where it must not.
                problem = Problem(account_folder.DEFAULTS, "the file is gone: its last valid content stays in use")
                self._report("defaults", SettingsError([problem], remedy="Restore it, or restart without it."))
            elif await self._read_defaults():
                # The defaults stay among what changed: otherwise they would count as changed in every scan from now on.
                again = {*self._runners, *changes.changed} - {*changes.removed}
                changes = FileChanges(changes.added, tuple(sorted(again)), changes.removed)
        self._apply(changes, tasks, longest=CHANGE_SPREAD_SECONDS)

    async def _read_defaults(self) -> bool:
        """Read the defaults; return whether they can be used. If not, the last valid ones stay in use."""
        try:
            status = await to_thread.run_sync(self._reader.read_defaults)
        except SettingsError as error:
            self._report("defaults", error)
            return False
        self._errors.pop("defaults", None)
        if status != self._page:
            problem = Problem("status", "it has changed, but is read only at the start")
            self._report("defaults", SettingsError([problem], remedy="Restart the service, or undo this change."))
        return True

    def _report(self, what: str, error: SettingsError) -> None:
        """Log and keep what is wrong with the folder or its defaults."""
        if what not in self._errors or self._errors[what].message != error.message:
            log.error("settings_broken", error=error.message, remedy=error.remedy)
        self._errors[what] = error

    def _broken(self) -> str:
        return "\n".join(self._errors[what].message for what in sorted(self._errors))

    def _apply(self, changes: FileChanges, tasks: abc.TaskGroup, *, longest: float) -> None:
        """Start, read again and end accounts, spread over some time."""
        for name in changes.removed:
            self._known.pop(name)
            if (runner := self._runners.pop(name, None)) is not None:
                self._stopping[name] = runner
                runner.remove()
                log.info("account_removed", account=name)
        added = [name for name in changes.added if name != account_folder.DEFAULTS]
        changed = [name for name in changes.changed if name in self._runners]
        together = len(added) + len(changed)
        for name in (*changes.added, *changes.changed):
            self._known[name] = self._present.get(name, ())
        for name in added:
            log.info("account_added", account=name)
            self._start(name, tasks, delay=_delay(together, longest))
        for name in changed:
            self._runners[name].file_changed(delay=_delay(together, longest))
        to_thread.current_default_thread_limiter().total_tokens = _THREADS + _THREADS_PER_ACCOUNT * len(self._runners)

    def _start(self, name: str, tasks: abc.TaskGroup, *, delay: float) -> None:
        runner = account_runner.AccountRunner(name, self._common)
        predecessor = self._stopping.get(name)
        self._runners[name] = runner

        async def keep() -> None:
            try:
                await runner.run(delay=delay, after=predecessor.ended if predecessor else None)
            finally:
                if self._stopping.get(name) is runner:
                    self._stopping.pop(name)
                for other in self._runners.values():
                    if other.error is not None:
                        other.file_changed(delay=0)  # its key or journal may be free by now

        tasks.start_soon(keep, name=f"account {name}")

    def _all(self) -> Iterable[account_runner.AccountRunner]:
        return [*self._runners.values(), *self._stopping.values()]


def _delay(accounts: int, longest: float) -> float:
    return spread.delay(random.random(), accounts=accounts, longest=longest)  # noqa: S311 - spreads load, no secret


def _raise_file_limit() -> None:
    """Let the process open as many files as it may: an account has about ten open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a system may refuse "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
