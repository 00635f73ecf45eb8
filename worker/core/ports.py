"""What the engine needs of the world, as protocols; the edges implement them and the tests fake them.

Invariant: one call of `Charge` is one request and one attempt; pace, retries and paging belong to the engine.
Neighbours: `charge.client`, `sources.files`, `journal.memory` and `journal.sql` implement these; `service` chooses.
"""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import NewType, Protocol

from worker.core import outcomes, report, values

Cursor = NewType("Cursor", str)
"""Where the next page of a listing is: opaque, given back exactly as it came."""


@dataclasses.dataclass(frozen=True, slots=True)
class DriverPage:
    """One page of drivers; `next` is `None` at the end of the listing."""

    drivers: tuple[values.Driver, ...]
    next: Cursor | None


@dataclasses.dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of fleets; `next` is `None` at the end of the listing."""

    fleets: tuple[values.Fleet, ...]
    next: Cursor | None


@dataclasses.dataclass(frozen=True, slots=True)
class WriteReply:
    """The driver as the answer to a write shows it, and the request id where the answer bore one."""

    driver: values.Driver
    request_id: str | None = None


class Charge(Protocol):
    """The remote API. Every method sends one request once, and raises `errors.ChargeError` where that fails."""

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        """List fleets: the first page, or the one at `cursor`."""
        ...

    async def drivers_page(self, cursor: Cursor | None, *, fleet: values.FleetId | None = None) -> DriverPage:
        """List drivers, of one fleet or all: the first page, or the one at `cursor`."""
        ...

    async def fleet(self, fleet: values.FleetId) -> values.Fleet:
        """Retrieve one fleet."""
        ...

    async def driver(self, driver: values.DriverId) -> values.Driver:
        """Retrieve one driver."""
        ...

    async def write(self, change: values.Change, *, key: values.IntentKey) -> WriteReply:
        """Attach or detach, under the idempotency key of its intent."""
        ...


class Source(Protocol):
    """Where the desired membership is kept."""

    async def read(self) -> values.SourceReading:
        """Read everything the source says, or raise `errors.SourceError`: never a part."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """A write that is about to be made, under its idempotency key."""

    key: values.IntentKey
    change: values.Change


class Journal(Protocol):
    """The durable record. Every method returns when what it was given is on disk, or raises `errors.JournalError`."""

    async def begin(self, run: values.RunId, *, trigger: str, judged: values.Judged, intents: Sequence[Intent]) -> None:
        """Record the run with its judged plan and every intent, before the first write is sent."""
        ...

    async def record(self, run: values.RunId, group: Sequence[tuple[values.IntentKey, outcomes.Outcome]]) -> None:
        """Record what came of some intents, in one group."""
        ...

    async def finish(self, run: values.RunId, finished: report.Report) -> None:
        """Record the end of the run, and its report."""
        ...


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime.datetime:
        """Give the present moment, aware, in UTC."""
        ...


class Progress(Protocol):
    """Somebody who watches a run."""

    def stage(self, name: str, total: int | None) -> None:
        """Say what begins now, and of how many steps it consists where that is known."""
        ...

    def step(self, count: int = 1) -> None:
        """Say that so many steps of the present stage are done."""
        ...
