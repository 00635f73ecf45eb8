"""What the engine needs of the world, as protocols; the edges implement them and the tests fake them.

Invariant: one call of `Charge` is one request and one attempt; pace, retries and paging belong to the engine.
Neighbours: `charge.client`, `sources.files`, `journal.memory` and `journal.sql` implement these; `service` chooses.
"""

import dataclasses
import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NewType, Protocol

from worker.core.model.actual import Driver, Fleet
from worker.core.model.desired import SourceReading
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, Membership, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.report import Report

Cursor = NewType("Cursor", str)
"""Where the next page of a listing is: opaque, given back exactly as it came."""


@dataclasses.dataclass(frozen=True, slots=True)
class DriverPage:
    """One page of drivers; `next` is `None` at the end of the listing."""

    drivers: tuple[Driver, ...]
    next: Cursor | None


@dataclasses.dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of fleets; `next` is `None` at the end of the listing."""

    fleets: tuple[Fleet, ...]
    next: Cursor | None


@dataclasses.dataclass(frozen=True, slots=True)
class WriteReply:
    """The driver as the answer to a write shows it, and the request id where the answer bore one."""

    driver: Driver
    request_id: str | None = None


class Charge(Protocol):
    """The remote API. Every method sends one request once, and raises `errors.ChargeError` where that fails."""

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        """List fleets: the first page, or the one at `cursor`."""
        ...

    async def drivers_page(self, cursor: Cursor | None, *, fleet: FleetId | None = None) -> DriverPage:
        """List drivers, of one fleet or all: the first page, or the one at `cursor`."""
        ...

    async def fleet(self, fleet: FleetId) -> Fleet:
        """Retrieve one fleet."""
        ...

    async def driver(self, driver: DriverId) -> Driver:
        """Retrieve one driver."""
        ...

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        """Attach or detach, under the idempotency key of its intent."""
        ...


class Source(Protocol):
    """Where the desired membership is kept."""

    async def read(self) -> SourceReading:
        """Read everything the source says, or raise `errors.SourceError`: never a part."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """A write that is about to be made, under its idempotency key."""

    key: IntentKey
    change: Change


@dataclasses.dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent that an earlier life recorded, and of which it recorded no outcome."""

    intent: Intent
    run: RunId
    recorded: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class OwnWrite:
    """A write of ours that took effect: for which row, when it was made, and when its run had begun to look."""

    action: Action
    row: str
    made: datetime.datetime
    run_started: datetime.datetime


class Journal(Protocol):
    """The durable record, as a run writes it.

    Every method returns when what it was given is on disk, or raises `errors.JournalError`.
    """

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the one writer, and give what earlier lives left open. To open it again gives what is open still.

        Raises errors.JournalBusy where another process is the writer.
        """
        ...

    async def check(self) -> None:
        """Raise errors.JournalError unless this process still is the one writer. Quick: asked before every write."""
        ...

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        spent: str | None = None,
    ) -> None:
        """Record the run with its judged plan and every intent, before the first write is sent.

        With it goes the approval of the plan whose digest is `spent`: it allows no further run.
        """
        ...

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record what came of some intents, of this run or an earlier one, in one group."""
        ...

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the end of a run with its report, also of a run that was never begun: it had nothing to write."""
        ...

    async def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether the held changes of this plan were approved, and still are at `now`."""
        ...

    async def resolutions(self) -> Mapping[str, DriverId]:
        """Give whom each e-mail or metadata reference led to when it was last used."""
        ...

    async def remember(self, resolutions: Mapping[str, DriverId]) -> None:
        """Record whom these references lead to from now on."""
        ...

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[tuple[Action, DriverId, FleetId], int]:
        """Count, for each change, how often in a row since then its write was answered as done and yet not seen."""
        ...

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Give our newest writes to each membership of these drivers that took effect, the newest first, `most` each.

        What was found done already was not ours, and what was only answered as done did not take effect.
        """
        ...

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Give since when each membership is known to be absent from the sources."""
        ...

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record the memberships that are absent from the sources since then, and forget those that are not any more.

        One that is known to be absent already is not among the newly_absent ones.
        """
        ...

    async def prune(self, *, before: datetime.datetime) -> None:
        """Forget runs that finished before then, with their intents; what is open stays."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class PastRun:
    """A run as the journal has it; `finished` and what follows is `None` while it runs, or where it was cut off."""

    run: RunId
    trigger: str
    started: datetime.datetime
    finished: datetime.datetime | None
    result: str | None
    exit_code: int | None
    outcomes: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class PastChange:
    """A write as the journal has it; `outcome` is `None` while nobody knows it."""

    run: RunId
    trigger: str
    recorded: datetime.datetime
    key: IntentKey
    change: Change
    outcome: str | None
    attempts: int
    request_id: str | None
    code: str | None
    message: str | None


class RunHistory(Protocol):
    """The durable record, as people look things up in it. Needs not be the writer."""

    async def runs(self, *, limit: int | None = None) -> tuple[PastRun, ...]:
        """Give past runs, the newest first."""
        ...

    async def run(self, run: RunId) -> PastRun | None:
        """Give one past run, `None` where there is none of this id. Costs the same however many there are."""
        ...

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Give the ids that begin so, in their own order; no more of them than `limit`."""
        ...

    async def documents(self, run: RunId) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Give a run's plan and report as JSON documents, each `None` where there is none."""
        ...

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Give past writes that fit all that is given, the oldest first, in their run's order.

        `limit` keeps that many of them, the newest: the last ones of that order.
        """
        ...

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime) -> None:
        """Allow the held changes of exactly this plan until then."""
        ...


class Clock(Protocol):
    """The time of day, which may be set, and the time that passes, which may not."""

    def now(self) -> datetime.datetime:
        """Give the present moment, aware, in UTC."""
        ...

    def uptime(self) -> float:
        """Give seconds since some moment; they pass while the machine sleeps, too."""
        ...

    def cpu_time(self) -> float:
        """Give the seconds that processors worked for this process."""
        ...


class Progress(Protocol):
    """Somebody who watches a run."""

    def stage(self, name: str, total: int | None) -> None:
        """Say what begins now, and of how many steps it consists where that is known."""
        ...

    def step(self, count: int = 1) -> None:
        """Say that so many steps of the present stage are done."""
        ...
