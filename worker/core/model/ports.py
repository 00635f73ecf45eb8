"""Protocols for everything that the engine uses from outside; the edges implement them, the tests fake them.

Invariant: one call of a `Charge` method sends one request once; rate limiting, retries and pagination belong to the
engine. Neighbours: `charge.client`, `sources` and `journal` implement these; `service.composition` chooses.
"""

import dataclasses
import datetime
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from worker.core.model import registers
from worker.core.model.actual import Driver, Fleet, TimeSource
from worker.core.model.desired import SourceReading
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.replies import Cursor, DriverPage, FleetPage, WriteReply
from worker.core.model.report import LearnedRate, Report
from worker.core.model.source_history import SourceMemory


class Charge(TimeSource, Protocol):
    """The remote API. Each async method sends one request once, and raises `errors.ChargeError` if it fails."""

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        """Return the first page of fleets, or the one at `cursor`."""
        ...

    async def drivers_page(self, cursor: Cursor | None, *, fleet: FleetId | None = None) -> DriverPage:
        """Return the first page of drivers, or the one at `cursor`; of one fleet, or of the whole account."""
        ...

    async def fleet(self, fleet: FleetId) -> Fleet:
        """Retrieve one fleet."""
        ...

    async def driver(self, driver: DriverId) -> Driver:
        """Retrieve one driver."""
        ...

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        """Attach or detach a driver, under the idempotency key of the intent."""
        ...


class Source(Protocol):
    """One place where the desired memberships are kept."""

    @property
    def poll_seconds(self) -> float:
        """Return the pause between two checks for changes."""
        ...

    async def read(self) -> SourceReading:
        """Read the whole source, or raise `errors.SourceError`: never return a part."""
        ...

    async def peek(self) -> str | None:
        """Return an opaque revision that changes whenever the content may have changed, without reading it.

        Returns None if the source has no cheap revision. Raises `errors.SourceError` if the source cannot be examined.
        Revisions of `peek` compare only with each other, not with that of a reading.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """A write that is about to be sent, and its idempotency key; `approved` if a guard held it until an approval."""

    key: IntentKey
    change: Change
    approved: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent of an earlier run that has no final outcome.

    `attempts`, `last_attempt` and `code` are what that run recorded of it; `last_attempt` is `None` if the run ended
    before it could record anything. `resent` says that a later run has already sent it again.
    """

    intent: Intent
    run: RunId
    recorded: datetime.datetime
    attempts: int = 0
    last_attempt: datetime.datetime | None = None
    code: str | None = None
    resent: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PastRefusals:
    """Refusals of one change in a row, for the row with the fingerprint `row`; the rest is about the last of them."""

    row: str
    count: int
    last: datetime.datetime
    code: str
    message: str
    request_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class OwnWrite:
    """A write of ours that took effect, for the row with the fingerprint `row`; its run began at `run_started`."""

    action: Action
    row: str
    made: datetime.datetime
    run_started: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class RecentChanges:
    """The writes of one run in one fleet that took effect or may have (outcomes `applied` and `unknown`).

    `made` is when the run recorded its intents. `approved` are those that a guard held until an approval allowed them.
    """

    fleet: FleetId
    action: Action
    made: datetime.datetime
    count: int
    approved: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class JournalOwner:
    """The account that a journal belongs to, `None` before the first run, and the names of its known fleets.

    `managed` are the fleets among them that earlier runs managed, and that no later run gave up. `learned` is the rate
    limit that runs found last.
    """

    account: Account | None
    fleets: Mapping[FleetId, str]
    managed: frozenset[FleetId] = frozenset()
    learned: LearnedRate | None = None


class Journal(SourceMemory, Protocol):
    """The durable record, as a run writes it.

    Every method that writes returns only when the data is on disk, or raises `errors.JournalError`.
    """

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the only writer, and return the intents that earlier runs left open.

        Calling it again returns those that are still open. Raises errors.JournalBusy if another process is the writer.
        """
        ...

    async def check(self) -> None:
        """Raise errors.JournalError unless this process is still the only writer. Fast: called before every write."""
        ...

    async def owner(self) -> JournalOwner:
        """Return the account that the journal belongs to, and the fleets that it knows."""
        ...

    async def claim(self, account: Account, *, fleets: Mapping[FleetId, str], managed: Collection[FleetId]) -> None:
        """Record that the journal belongs to this account, and its fleets. Forgets the fleets of another account.

        `managed` are all fleets, among these and those known, that later runs must find in the sources.
        """
        ...

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        resent: Collection[IntentKey] = (),
        spent: str | None = None,
    ) -> None:
        """Record a run with its guarded plan and all intents, before the first write is sent.

        `resent` are open intents of earlier runs that this run sends again under their keys. The same commit uses up
        the approval of the digest `spent`, so that it allows no further run, and keeps it with this run.
        """
        ...

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Record further intents of a run that has begun, before they are sent."""
        ...

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record the outcomes of a group of intents, of this run or an earlier one.

        An intent whose outcome is unknown stays open, with the time of this call as that of its last attempt.
        """
        ...

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the report of a run that ended, begun or not: a run without writes is never begun."""
        ...

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        ...

    async def resolutions(self) -> Resolutions:
        """Return what each reference resolved to when it was last used: e-mail addresses, metadata and fleet names."""
        ...

    async def remember(self, resolutions: Resolutions) -> None:
        """Record what these references resolve to now."""
        ...

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[tuple[Action, DriverId, FleetId], int]:
        """Return how many writes of each change, in a row and since then, were accepted but not seen in Charge."""
        ...

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[tuple[Action, DriverId, FleetId], PastRefusals]:
        """Return the changes of these drivers whose newest write was refused, or accepted and never seen in Charge."""
        ...

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Return our writes to each membership of these drivers that took effect, the newest `most` first.

        Leaves out outcome `already`, which was not our write, and writes that were accepted but never seen in Charge.
        """
        ...

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return the changes of runs that began after `since`, without repairs, the oldest first."""
        ...

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force, the oldest first."""
        ...

    async def newest_entry(self) -> datetime.datetime | None:
        """Return the time of the newest entry about a run, or None if there is none."""
        ...

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Return each membership that is known to be absent from the sources, with the time since when."""
        ...

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record memberships that are absent from the sources since `since`, and forget those that returned.

        `newly_absent` holds none that is already recorded as absent.
        """
        ...

    async def prune(self, *, before: datetime.datetime) -> None:
        """Delete runs that finished before then, with their intents. Open intents and their runs stay."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class PastApproval:
    """The approval that a run used up: of which digest, by whom and when.

    `approved` is `None`, and `by` empty, if it was given to the run itself (`once --approve`).
    """

    digest: str
    by: str = ""
    approved: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PastRun:
    """A run as recorded.

    `finished`, `result` and `exit_code` are `None` while the run is in progress or if it was cut off. `approval` is the
    one that allowed changes of it.
    """

    run: RunId
    trigger: str
    started: datetime.datetime
    finished: datetime.datetime | None
    result: str | None
    exit_code: int | None
    outcomes: Mapping[str, int]
    approval: PastApproval | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PastChange:
    """A write as recorded; `outcome` is `None` while it is open."""

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


class RunHistory(registers.NameRegister, registers.PauseRegister, registers.ChangeStatistics, Protocol):
    """The durable record, as commands and the status page read it. Works without being the writer."""

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        """Return past runs, the newest first: those that are older than `before`, and that ended with `result`."""
        ...

    async def runs_after(self, run: RunId | None, *, limit: int) -> tuple[PastRun, ...]:
        """Return the first runs that were recorded after this one, or at all. Their order does not depend on clocks."""
        ...

    async def run(self, run: RunId) -> PastRun | None:
        """Return one past run, or `None`. The cost does not depend on the number of runs."""
        ...

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Return the first `limit` run ids that begin with this text, sorted."""
        ...

    async def documents(self, run: RunId) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Return the plan and the report of a run as JSON documents, each `None` if it does not exist."""
        ...

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Return past writes that match every argument given, the oldest first; `limit` keeps only the newest."""
        ...

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime, by: str = "") -> None:
        """Allow the held changes of exactly this plan once, until then. `by` is who says so; nothing verifies it."""
        ...


class Clock(Protocol):
    """Wall-clock time, which can be set, and two clocks that only move forward."""

    def now(self) -> datetime.datetime:
        """Return the current time, aware, in UTC."""
        ...

    def uptime(self) -> float:
        """Return seconds since an arbitrary moment. They also pass while the machine is suspended."""
        ...

    def cpu_time(self) -> float:
        """Return the CPU seconds that this process has used."""
        ...


class Stage(enum.StrEnum):
    """A part of a run, with the text that people see while it is in progress."""

    READING_FLEETS = "Reading fleets"
    READING_FLEET_DRIVERS = "Reading fleets' drivers"
    READING_ALL_DRIVERS = "Reading all drivers"
    READING_DRIVERS = "Reading drivers"
    CHANGING_MEMBERSHIPS = "Changing memberships"


class Progress(Protocol):
    """An observer of a run."""

    def stage(self, name: Stage, total: int | None) -> None:
        """Begin a stage; `total` is its number of steps, if known."""
        ...

    def step(self, count: int = 1) -> None:
        """Count steps of the current stage as done."""
        ...
