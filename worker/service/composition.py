"""The composition root: makes an account's parts of its settings, and runs them until told to stop.

Invariant: the only module that names concrete classes. Neighbours: `cli` calls this, `settings` gives the values,
`engine.cycle` is what is run.
"""

import contextlib
import datetime
import logging
import random
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import anyio
import structlog

import worker
from worker.charge import client, http
from worker.core import errors, guard, ports, references, report, retry, secret, values
from worker.engine import apply, cycle, pacing, reading, sending
from worker.engine import halt as halt_
from worker.journal import sql
from worker.settings import model
from worker.sources import files

log = structlog.get_logger()

_STAND_BY_SECONDS = 5.0
"""Between two attempts to become the one writer of a journal."""

Result = TypeVar("Result")


class SystemClock:
    """The machine's time of day."""

    def now(self) -> datetime.datetime:
        """Give the present moment in UTC."""
        return datetime.datetime.now(datetime.UTC)


class Unwatched:
    """A progress that nobody watches."""

    def stage(self, name: str, total: int | None) -> None:
        """Say nothing."""

    def step(self, count: int = 1) -> None:
        """Say nothing."""


class Account:
    """One account with everything that outlives a run: connections, pace, journal, sources."""

    def __init__(
        self, *, settings: model.Settings, key: secret.Secret, journal: sql.SqlJournal, progress: ports.Progress
    ) -> None:
        """Make the parts; to be called inside the event loop."""
        self.settings = settings
        self._journal = journal
        self._progress = progress
        self._clock = SystemClock()
        self._http = http.Http(
            base_url=settings.charge.base_url,
            key=key,
            api_version=settings.charge.api_version,
            user_agent=f"fleet-sync/{worker.__version__}",
            timeout=settings.charge.timeout_seconds,
            connections=settings.pace.concurrency,
        )
        self._client = client.Client(http=self._http, clock=self._clock, page_size=settings.charge.page_size)
        self._pace = pacing.Pace(
            requests_per_second=settings.pace.requests_per_second,
            burst=settings.pace.burst,
            adaptive=settings.pace.adaptive,
        )
        self._sources = sources(settings)
        self._halt: halt_.Halt | None = None
        self.rules = _rules(settings, key)
        self.record = journal
        self.stopped: errors.Stopped | None = None
        self.ended = anyio.Event()

    def cycle(self, *, show: Callable[[cycle.Survey], None] = lambda survey: None) -> cycle.Cycle:
        """Make the parts of one run. `show` gets the judged plan before anything of it is applied."""
        halt = self._halt = halt_.Halt(wake=self._pace.wake)
        if self.stopped is not None:
            halt.stop(self.stopped)
        sender = sending.Sender(pace=self._pace, halt=halt, policy=_policy(self.settings), jitter=random.random)
        return cycle.Cycle(
            run=values.RunId(f"run_{uuid.uuid4().hex}"),
            rules=self.rules,
            sources=self._sources,
            reader=reading.Reader(
                charge=self._client,
                sender=sender,
                progress=self._progress,
                page_size=self.settings.charge.page_size,
                concurrency=self.settings.pace.concurrency,
                must_see={fleet for _, fleet in self.rules.limits.must_see},
            ),
            applier=apply.Applier(
                charge=self._client,
                sender=sender,
                journal=self._journal,
                progress=self._progress,
                concurrency=self.settings.pace.concurrency,
                new_key=lambda: values.IntentKey(f"fleet-sync-{uuid.uuid4().hex}"),
            ),
            journal=self._journal,
            sender=sender,
            clock=self._clock,
            show=show,
        )

    def stop(self, reason: errors.Stopped) -> None:
        """End the present run, and let none begin: nothing new is sent, what is in flight may finish."""
        self.stopped = self.stopped or reason
        self.ended.set()
        if self._halt is not None:
            self._halt.stop(reason)

    def cut(self) -> None:
        """Drop what is still in flight after `stop`."""
        if self._halt is not None:
            self._halt.cut()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


@contextlib.asynccontextmanager
async def account(
    settings: model.Settings, key: secret.Secret, *, progress: ports.Progress | None = None
) -> AsyncIterator[Account]:
    """Open an account, and close its connections and its journal in the end."""
    journal = _journal(settings)
    opened = Account(settings=settings, key=key, journal=journal, progress=progress or Unwatched())
    try:
        yield opened
    finally:
        with anyio.CancelScope(shield=True):
            await opened.aclose()
            await journal.aclose()


def sources(settings: model.Settings) -> list[ports.Source]:
    """Make the sources that the settings name."""
    return [files.FileSource(settings.located(source.path), source.path) for source in settings.sources]


@contextlib.asynccontextmanager
async def record(settings: model.Settings) -> AsyncIterator[ports.Record]:
    """Open an account's journal to look things up in it."""
    journal = _journal(settings)
    try:
        yield journal
    finally:
        with anyio.CancelScope(shield=True):
            await journal.aclose()


async def supervised(account: Account, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work; the first SIGINT or SIGTERM drains it, a second one or `drain_seconds` end it."""
    failure: errors.FleetSyncError | OSError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signals, account)
        try:
            result = await work()
        except (errors.FleetSyncError, OSError) as error:  # raised below, out of the task group's wrapping
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def run(account: Account) -> int:
    """Reconcile now and at every interval, until stopped; give the exit code. No failure of one run ends it."""
    await _stand_by(account)
    trigger = "start"
    while account.stopped is None:
        await _run_once(account, trigger)
        trigger = "interval"
        if account.stopped is None:
            sync = account.settings.sync
            jitter = sync.interval_jitter * random.uniform(-1, 1)  # noqa: S311 - spreads load, no secret
            await _sleep(account, sync.interval_seconds * (1 + jitter))
    return account.stopped.exit_code


async def _stand_by(account: Account) -> None:
    """Wait until no other process writes to the journal."""
    told = False
    while account.stopped is None:
        try:
            await account.record.open()
            return
        except errors.JournalBusy as error:
            if not told:
                log.warning("standing_by", error=error.message)
            told = True
            await _sleep(account, _STAND_BY_SECONDS)
        except errors.JournalError:
            return  # the first run tells


async def _run_once(account: Account, trigger: str) -> None:
    try:
        finished = await account.cycle().reconcile(trigger=trigger)
    except Exception:
        log.exception("run_crashed", trigger=trigger)
        return
    _log_finished(finished, trigger)


def _log_finished(finished: report.Report, trigger: str) -> None:
    """Log one line a run, with its figures; what needs somebody's attention is a warning or an error."""
    for problem in (*(finished.judged.problems if finished.judged else ()), *finished.problems):
        log.warning("problem", where=problem.where, message=problem.message)
    fields: dict[str, object] = {name: count for name, count in finished.counts.items() if count}
    if finished.judged is not None:
        fields |= {"in_sync": finished.judged.in_sync, "held": len(finished.judged.held)}
        if finished.judged.held:
            fields["digest"] = finished.judged.digest
    if finished.error is not None:
        fields |= {"error": finished.error.message, "remedy": finished.error.remedy}
    level = {report.Verdict.FAILED: "error", report.Verdict.PARTIAL: "warning", report.Verdict.HELD: "warning"}
    log.log(
        logging.getLevelNamesMapping()[level.get(finished.verdict, "info").upper()],
        "run_finished",
        run=finished.run,
        trigger=trigger,
        result=finished.verdict.value,
        seconds=round((finished.finished - finished.started).total_seconds(), 3),
        reads=finished.traffic.reads,
        writes=finished.traffic.writes,
        **fields,
    )


async def _stop_on_signals(account: Account) -> None:
    drain = account.settings.sync.drain_seconds
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            name = signal.Signals(number).name
            log.warning("stopping", signal=name, drain_seconds=drain)
            account.stop(errors.Stopped(f"ended by {name}", exit_code=128 + number))
            with anyio.move_on_after(drain):
                async for _ in signals:
                    break
            account.cut()
            return


async def _sleep(account: Account, seconds: float) -> None:
    """Sleep until the next run is due, or somebody stops the account."""
    with anyio.move_on_after(seconds):
        await account.ended.wait()


def _journal(settings: model.Settings) -> "sql.SqlJournal":
    return sql.SqlJournal(settings.journal_url)


def _rules(settings: model.Settings, key: secret.Secret) -> cycle.Rules:
    limits = settings.guard
    return cycle.Rules(
        account=values.Account(settings.charge.base_url, key.mode),
        mode=settings.sync.mode,
        limits=guard.Limits(
            max_detach_fraction_per_fleet=limits.max_detach_fraction_per_fleet,
            max_detach_fraction=limits.max_detach_fraction,
            always_allow=limits.always_allow,
            allow_emptying_fleets=limits.allow_emptying_fleets,
            must_see=frozenset(references.membership(text) for text in limits.must_see),
            max_unresolved_fraction=limits.max_unresolved_fraction,
        ),
        requests_per_second=settings.pace.requests_per_second,
        keep=datetime.timedelta(days=settings.journal.keep_days) if settings.journal.keep_days else None,
    )


def _policy(settings: model.Settings) -> retry.Policy:
    return retry.Policy(settings.retry.max_attempts, settings.retry.base_seconds, settings.retry.max_seconds)
