"""The composition root: makes an account's parts from its settings.

Invariant: only this package names concrete classes, and only this module those of an account. Neighbours: `cli` and
`account_service` call this, `settings` gives the values, `engine.wiring` builds a run, `scheduler` starts one run after
another.
"""

import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import anyio
from anyio import to_thread

import worker
from worker import logs
from worker.charge import client, key_renewal, transport
from worker.core.model.identifiers import Account, IntentKey, RunId
from worker.core.model.ports import Clock, Progress, RunHistory, Source
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.core.planning import references
from worker.core.safety import guard
from worker.engine import concurrency, plan_builder, rate_limiter, reconciler, request_executor, run_context, wiring
from worker.journal import address as addresses
from worker.journal import sql_journal
from worker.service import network, shutdown, source_factory
from worker.settings import model, secrets, time_zones

USER_AGENT = f"fleet-sync/{worker.__version__}"


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime.datetime:
        """Return the present moment in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def uptime(self) -> float:
        """Return seconds since the machine started, including sleep where the system measures it."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def cpu_time(self) -> float:
        """Return the CPU seconds of this process."""
        return time.process_time()


class AccountRuntime:
    """One account with all that outlives a run: connections, rate limiter, sources, and the journal that it is lent."""

    def __init__(
        self,
        *,
        settings: model.Settings,
        credentials: secrets.Credentials,
        journal: sql_journal.SqlJournal,
        process_shutdown: shutdown.Shutdown,
        progress: Progress,
        observe: client.Observe = client.ignore,
        before: "AccountRuntime | None" = None,
    ) -> None:
        """Make the parts. Call this inside the event loop. `observe` is called after every request.

        `before` is the same account under earlier settings: what was learned of Charge's limit is taken over.
        """
        self.settings = settings
        self.process_shutdown = process_shutdown
        self._journal = journal
        self._progress = progress
        self._clock = SystemClock()
        self._http = _transport(settings, credentials)
        self._key_renewal = key_renewal.KeyRenewal(self._http, read_key=functools.partial(_read_key, credentials))
        self._client = client.Client(
            http=self._http,
            clock=self._clock,
            page_size=settings.charge.page_size,
            observe=observe,
            renew_key=self._key_renewal.renew,
            may_write=journal.may_send,
        )
        self._limiter: rate_limiter.RateLimiter = (
            before._limiter if before and before._paced_as(settings) else _limiter(settings)
        )
        self.sources: Sequence[Source] = source_factory.create(settings)
        self.rules = _rules(settings, credentials.key)
        self.adopt_journal(allowed=before is not None and before.rules.adopt_journal)
        self.plan_key = credentials.plan_key or credentials.key
        self.record = journal

    def adopt_journal(self, *, allowed: bool) -> None:
        """Let the runs from now on take over a journal that belongs to another account, or forbid it again."""
        self.rules = dataclasses.replace(self.rules, adopt_journal=allowed)

    def select_fleets(self, only: Iterable[str]) -> None:
        """Plan only the changes of these fleets, given by id or name. Raises ValueError if one is malformed."""
        self.rules = dataclasses.replace(self.rules, only=frozenset(references.parse_fleet(text) for text in only))

    @property
    def rate(self) -> float:
        """Return the present rate limit in requests per second."""
        return self._limiter.rate()

    @property
    def closed_for(self) -> float:
        """Return the seconds for which Charge wants no request."""
        return self._limiter.closed_for

    def take_over_rate_limit(self, *, closed_for: float) -> None:
        """Send no faster than one process would that had gone on, `closed_for` seconds from now."""
        self._limiter.take_over(closed_for=closed_for)

    def new_plan_builder(self) -> plan_builder.PlanBuilder:
        """Return what reads, plans and evaluates, and changes nothing."""
        return wiring.new_plan_builder(self._context(new_run()), rules=self.rules, sources=self.sources)

    def new_reconciler(
        self,
        *,
        run: RunId | None = None,
        show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
    ) -> reconciler.Reconciler:
        """Return one run. `show` receives the plan before anything of it is applied."""
        return wiring.new_reconciler(self._context(run or new_run()), rules=self.rules, sources=self.sources, show=show)

    def _context(self, run: RunId) -> run_context.RunContext:
        self._key_renewal.begin_run()
        run_cancellation = self.process_shutdown.new_cancellation(wake=self._limiter.wake, clock=self._clock)
        executor = request_executor.RequestExecutor(
            limiter=self._limiter,
            run_cancellation=run_cancellation,
            policy=_policy(self.settings),
            jitter=random.random,
        )
        return run_context.RunContext(
            run=run,
            charge=self._client,
            journal=self._journal,
            executor=executor,
            clock=self._clock,
            progress=self._progress,
            new_key=lambda: IntentKey(f"fleet-sync-{uuid.uuid4().hex}"),
            options=_options(self.settings, self.rules.limits),
            # Probes, the page, heartbeats and other accounts must not wait for the plan of a large account.
            compute=concurrency.in_thread,
        )

    def _paced_as(self, settings: model.Settings) -> bool:
        return (self.settings.rate_limit, self.settings.charge.base_url) == (
            settings.rate_limit,
            settings.charge.base_url,
        )

    async def journal_bytes(self) -> int | None:
        """Return the size of the journal's files, or `None` if there are none."""
        path = addresses.parse(self.settings.journal_url).path
        return None if path is None else await to_thread.run_sync(_size, path)

    async def close_idle_connections(self) -> None:
        """Close the connections that nothing uses now; the next run makes its own."""
        await self._http.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def journal(settings: model.Settings, *, clock: Clock) -> sql_journal.SqlJournal:
    """Return the journal of an account; it is opened when it is first used. Raises errors.JournalError."""
    return sql_journal.SqlJournal(settings.journal_url, clock=clock, account=settings.journal_account)


@contextlib.asynccontextmanager
async def account(
    settings: model.Settings,
    credentials: secrets.Credentials,
    *,
    progress: Progress,
    lent: sql_journal.SqlJournal | None = None,
) -> AsyncIterator[AccountRuntime]:
    """Open an account, and close its connections and its journal in the end. Its journal may be `lent`."""
    opened_journal = lent or journal(settings, clock=SystemClock())
    opened = AccountRuntime(
        settings=settings,
        credentials=credentials,
        journal=opened_journal,
        process_shutdown=shutdown.Shutdown(),
        progress=progress,
    )
    try:
        yield opened
    finally:
        with anyio.CancelScope(shield=True):
            await opened.aclose()
            await opened_journal.aclose()


@contextlib.asynccontextmanager
async def record(settings: model.Settings, *, lent: sql_journal.SqlJournal | None = None) -> AsyncIterator[RunHistory]:
    """Open an account's journal to look things up in it. It may be `lent`."""
    found = lent or journal(settings, clock=SystemClock())
    try:
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            await found.aclose()


def _size(path: pathlib.Path) -> int | None:
    sizes = []
    for name in (path.name, f"{path.name}-wal"):
        with contextlib.suppress(OSError):
            sizes.append(path.with_name(name).stat().st_size)
    return sum(sizes) if sizes else None


def _read_key(credentials: secrets.Credentials) -> Secret:
    """Read the key again, and keep it out of the logs."""
    key = credentials.read_key()
    logs.hide(key)
    return key


def new_run() -> RunId:
    """Make the id of a run that begins."""
    return RunId(f"run_{uuid.uuid4().hex}")


def _transport(settings: model.Settings, credentials: secrets.Credentials) -> transport.Transport:
    charge = settings.charge
    return transport.Transport(
        transport.Endpoint(charge.base_url, charge.api_version, USER_AGENT, charge.timeout_seconds),
        key=credentials.key,
        network=network.network(settings, proxy=credentials.proxy, environ=os.environ),
    )


def _rules(settings: model.Settings, key: Secret) -> plan_builder.Rules:
    limits = settings.guard
    return plan_builder.Rules(
        account=Account(settings.charge.base_url, key.mode),
        mode=settings.sync.mode,
        limits=guard.Limits(
            max_detach_fraction_per_fleet=limits.max_detach_fraction_per_fleet,
            max_detach_fraction=limits.max_detach_fraction,
            always_allow=limits.always_allow,
            allow_emptying_fleets=limits.allow_emptying_fleets,
            must_see=frozenset(references.parse_membership(text) for text in limits.must_see),
            max_unresolved_fraction=limits.max_unresolved_fraction,
            max_attach_fraction_per_fleet=limits.max_attach_fraction_per_fleet,
            window_length=datetime.timedelta(hours=limits.window_hours),
            max_shrink_fractions={
                source.title: source.completeness.max_shrink_fraction
                for source in settings.sources
                if source.completeness
            },
        ),
        requests_per_second=settings.rate_limit.requests_per_second,
        grace=datetime.timedelta(seconds=settings.sync.detach_grace_seconds),
        find_zone=time_zones.find,
        ignored=frozenset(map(references.parse_driver, limits.ignore_drivers)),
        unmanaged=frozenset(references.parse_fleet(text) for text in limits.unmanaged),
        apply=settings.sync.apply,
    )


def _limiter(settings: model.Settings) -> rate_limiter.RateLimiter:
    rate_limit = settings.rate_limit
    return rate_limiter.RateLimiter(
        requests_per_second=rate_limit.requests_per_second, burst=rate_limit.burst, adaptive=rate_limit.adaptive
    )


def _options(settings: model.Settings, limits: guard.Limits) -> run_context.RunOptions:
    days = settings.journal.keep_days
    return run_context.RunOptions(
        page_size=settings.charge.page_size,
        concurrency=settings.rate_limit.concurrency,
        must_see=frozenset(fleet for _, fleet in limits.must_see),
        keep=datetime.timedelta(days=days) if days else None,
        late_effects=datetime.timedelta(seconds=settings.retry.late_effect_seconds),
    )


def _policy(settings: model.Settings) -> retry_policy.RetryPolicy:
    return retry_policy.RetryPolicy(
        settings.retry.max_attempts, settings.retry.base_seconds, settings.retry.max_seconds
    )
