"""Keeps the journal open: as a glance while that is enough, as a database from the first write on; as its one writer.

Invariants: nothing is written but by the process that holds the writer's lock (an approval excepted, which anybody may
give); a lost lock is never taken again in passing, only by `open`. Blocks, and is called by one thread at a time;
`sure` alone is for the event loop's. Neighbours: `sql` is the face of it.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import structlog

from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Resolutions
from worker.core.model.ports import Clock, OpenIntent
from worker.journal import address as addresses
from worker.journal import glance as glances
from worker.journal import lock, lookups

if TYPE_CHECKING:
    from worker.journal import database

log = structlog.get_logger()

Result = TypeVar("Result")

_UPGRADE_ATTEMPTS = 50
_UPGRADE_PAUSE = 0.1
"""How often, and every how many seconds, who may not write looks whether the writer has made the tables."""

_FRESH_FILE = 0.25
_FRESH_SESSION = 1.0
"""Seconds for which having held the lock is taken for holding it."""


class Keeper:
    """A journal's files or connection, and whether this process is its writer."""

    def __init__(self, address: addresses.Address, *, clock: Clock, wait: Callable[[float], None] = time.sleep) -> None:
        """Take the address, the clock and how to wait for seconds; nothing is opened yet."""
        self._address = address
        self._clock = clock
        self._wait = wait
        self._lock: lock.Lock | None = None
        self._glance: glances.Glance | None = None
        self._database: database.Database | None = None
        self._file: tuple[int, int] | None = None
        self._outdated = True
        self._writer = False
        self._lost = False
        self._seen = 0.0

    # --- Being the one writer -----------------------------------------------------------------------------

    def open(self) -> None:
        """Become the one writer, or stay it. Raises errors.JournalBusy."""
        self._lost = False
        if self._writer:
            try:
                self.check()
            except JournalError as error:
                # What it remembered may be gone with it: approvals, and what speaks against a change.
                log.warning("journal_lost", error=error.message, remedy=error.remedy)
                self._lost = False
        if not self._writer:
            self._become_writer()

    def sure(self) -> bool:
        """Tell at once whether this process was the writer a moment ago."""
        fresh = _FRESH_SESSION if self._address.path is None else _FRESH_FILE
        return self._writer and self._clock.uptime() - self._seen < fresh

    def check(self) -> None:
        """See that this process still is the writer. Raises errors.JournalError."""
        if not self._writer:
            raise self._not_writer()
        if self._lock is None:
            self.use(lambda database: database.ping())
        elif not self._lock.held() or self._file != _identity(self._address.path):
            self._drop(lost=True)
            raise self._not_writer()
        self._seen = self._clock.uptime()

    def close(self) -> None:
        """Close everything, and let go of the lock. Harmless at any time."""
        self._drop(lost=False)

    # --- Using it -----------------------------------------------------------------------------------------

    def look(self) -> lookups.Lookups:
        """Give the journal to be asked, by whichever way is quicker; who only asks makes none."""
        path = self._address.path
        if path is not None and not self._writer and path.parent.is_dir() and not path.exists():
            return lookups.Nothing()
        if path is not None and self._database is None and self._glance is None:
            self._glance = glances.look(self._address, path, make=self._writer)
        return self._glance or self._ready()

    def write(self, work: "Callable[[database.Database], Result]") -> Result:
        """Do this as the one writer. Raises errors.JournalError, also where this process is the writer no more."""
        self._hold()
        done = self.use(work)
        self._seen = self._clock.uptime()
        return done

    def glance(self) -> glances.Glance | None:
        """Give the quick way to write the end of a run that never began, where there is one."""
        self._hold()
        return self._glance

    def read(self, work: "Callable[[database.Database], Result]", nothing: Result) -> Result:
        """Do this as a reader; where there is no journal yet this gives `nothing`, and makes none."""
        path = self._address.path
        if path is not None and path.parent.is_dir() and not path.exists():
            return nothing
        return self.use(work)

    def use(self, work: "Callable[[database.Database], Result]") -> Result:
        """Do this with the database. A connection that broke takes the writer's lock with it."""
        database = self._ready()
        try:
            return work(database)
        finally:
            if database.broken:
                self._drop(lost=self._writer)

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Give what is open; nothing is, where a glance was enough."""
        return () if self._glance is not None else self._ready().open_intents()

    def remember(self, resolutions: Resolutions) -> None:
        """Record whom these references lead to, where that is new."""
        known = self.look().resolutions()
        fresh = {reference: driver for reference, driver in resolutions.items() if known.get(reference) != driver}
        if fresh:
            self.write(lambda database: database.remember(fresh, now=self._clock.now()))

    # --- Inside -------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        if self._lost:
            raise self._not_writer()
        if not self._writer:
            self._become_writer()
        elif self._lock is not None:
            self.check()

    def _become_writer(self) -> None:
        try:
            if self._address.path is not None:
                self._lock = lock.Lock.acquire(_lock_path(self._address.path), now=self._clock.now())
                self._writer = True
                self._drop_glance()  # an earlier one may have missed what another writer left open
                self.look().probe()
                self._file = _identity(self._address.path)
            else:
                self._connected().lock()
                self._writer = True
                self._ready().probe()
        except BaseException:
            self._drop(lost=False)
            raise
        self._seen = self._clock.uptime()

    def _connected(self) -> "database.Database":
        from worker.journal import database

        if self._database is None:
            self._drop_glance()
            self._database = database.Database(self._address)
            self._outdated = True
        return self._database

    def _ready(self) -> "database.Database":
        """Give the database, made or brought up to date where it has to be."""
        database = self._connected()
        if self._outdated and database.outdated():
            self._upgrade(database)
        self._outdated = False
        return database

    def _upgrade(self, database: "database.Database") -> None:
        """Make the tables, or wait a little for another process that is about to. Raises errors.JournalBusy."""
        for attempt in range(1, _UPGRADE_ATTEMPTS + 1):
            try:
                with self._writing(database):
                    database.upgrade()
                return
            except JournalBusy:
                if attempt == _UPGRADE_ATTEMPTS:
                    raise
            self._wait(_UPGRADE_PAUSE)
            if not database.outdated():
                return

    @contextlib.contextmanager
    def _writing(self, database: "database.Database") -> Iterator[None]:
        """Be the writer for a moment, where this process is not."""
        if self._writer:
            yield
        elif self._address.path is not None:
            held = lock.Lock.acquire(_lock_path(self._address.path), now=self._clock.now())
            try:
                yield
            finally:
                held.release()
        else:
            database.lock()
            try:
                yield
            finally:
                with contextlib.suppress(JournalError):
                    database.unlock()

    def _drop_glance(self) -> None:
        if self._glance is not None:
            self._glance.close()
            self._glance = None

    def _drop(self, *, lost: bool) -> None:
        self._writer, self._lost = False, lost
        parts = (self._glance, self._database)
        self._glance = self._database = None
        held, self._lock = self._lock, None
        for part in parts:
            if part is not None:
                part.close()
        if held is not None:
            held.release()

    def _not_writer(self) -> JournalError:
        return JournalError(
            f"this process is not the one that may write to the journal {self._address.shown} any more: its lock, its"
            " connection or the file itself is gone",
            code="journal_lost",
            remedy="Look for another fleet-sync that writes to it, and at the disk or the server; then run again.",
        )


def _lock_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.lock")


def _identity(path: pathlib.Path | None) -> tuple[int, int] | None:
    """Tell one file of a name from another."""
    try:
        there = path.stat() if path else None
    except OSError:
        return None
    return (there.st_dev, there.st_ino) if there else None
