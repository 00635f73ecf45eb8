"""The state of the service as values: what the status page, the metrics and the notifications show.

Invariant: a `Status` is a snapshot; to show it, nothing else is needed except the run history. Neighbours:
`service.state` makes it, `web` shows it, `summary`, `alerts` and `notifications` put it into words.
"""

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from worker.core.model.desired import SourceRevision
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.ports import Stage
from worker.core.model.report import Report


class Trigger(enum.StrEnum):
    """Why a run was started. Of several reasons, the first in this order counts."""

    START = "start"
    REQUEST = "request"
    SIGNAL = "signal"
    SOURCE = "source"
    BOUNDARY = "boundary"
    RETRY = "retry"
    INTERVAL = "interval"


class Part(enum.StrEnum):
    """What can be broken while the service keeps running."""

    SETTINGS = "settings"
    SOURCE = "source"
    JOURNAL = "journal"
    CHARGE = "charge"
    KEY = "key"
    CLOCK = "clock"


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A managed fleet after the last run that had a plan; counts are memberships.

    `in_sync` are as desired. `drifted` differ and were neither held nor refused. `held` wait for an approval, `frozen`
    were reverted too often by another client, and `refused` were rejected by Charge. `incomplete` is the reason why the
    listing of the fleet is not trusted.
    """

    fleet: FleetId
    name: str
    in_sync: int = 0
    drifted: int = 0
    held: int = 0
    frozen: int = 0
    refused: int = 0
    incomplete: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """The run in progress; `total` is `None` if it is not known yet."""

    run: RunId
    trigger: str
    since: datetime.datetime
    stage: Stage | None = None
    done: int = 0
    total: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A part that has not worked since `since`. Its last good state stays in use, and nothing is changed."""

    part: Part
    since: datetime.datetime
    error: FleetSyncError


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The last revision of a source that could be read, and when it was first seen.

    `max_age` is how old the source may be, if that is limited.
    """

    source: SourceRevision
    since: datetime.datetime
    max_age: datetime.timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The drivers of the last reading, and their fleets after the run; of a very large account only those concerned.

    `is_whole` says that it has every driver that was read.
    """

    people: Mapping[DriverId, Person] = dataclasses.field(default_factory=dict)
    memberships: Mapping[DriverId, frozenset[FleetId]] = dataclasses.field(default_factory=dict)
    is_whole: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the service at `now`.

    `last` is the last run that ended, `last_success` when a run last ended with exit code 0. `rate` and `ceiling` are
    requests a second. `standing_by` says which other process is the writer, if one is. `journal_bytes` is `None` if the
    journal is not a file. `account_name` is the account's name in its folder, if it is one of several.
    """

    now: datetime.datetime
    started: datetime.datetime
    version: str
    account: Account
    rate: float
    ceiling: float
    standing_by: str = ""
    running: Running | None = None
    last: Report | None = None
    last_success: datetime.datetime | None = None
    next_run: datetime.datetime | None = None
    fleets: tuple[Fleet, ...] = ()
    broken: tuple[Broken, ...] = ()
    sources: tuple[Source, ...] = ()
    driver_names: Mapping[DriverId, str] = dataclasses.field(default_factory=dict)
    reading: Reading = Reading()
    pauses: tuple[Pause, ...] = ()
    journal_bytes: int | None = None
    account_name: str = ""
