"""What the service knows of itself, as values: what the page, the metrics and the notices tell.

Invariant: a `Status` is a snapshot; whoever shows it needs nothing else but the journal's record. Neighbours: `service`
makes it, the `status` edge shows it, `report` is what one run came to.
"""

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from worker.core.model.desired import SourceRevision
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.ports import Stage
from worker.core.model.report import Report


class Trigger(enum.StrEnum):
    """What a run was started by; where several reasons came together, the first of them in this order."""

    START = "start"
    REQUEST = "request"
    SIGNAL = "signal"
    SOURCE = "source"
    BOUNDARY = "boundary"
    RETRY = "retry"
    INTERVAL = "interval"


class Part(enum.StrEnum):
    """What can be broken while the service goes on with what it last had."""

    SETTINGS = "settings"
    SOURCE = "source"
    JOURNAL = "journal"
    CHARGE = "charge"
    KEY = "key"


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A managed fleet after the last run that could be planned; counts are memberships.

    `in_sync` are as desired; `drifted` should be otherwise and are not yet, with neither guard nor refusal in the way;
    `held` wait for an approval, `frozen` were reversed too often by somebody else, `refused` Charge did not allow.
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
    """The run in progress; `total` is `None` where it is not known yet."""

    run: RunId
    trigger: str
    since: datetime.datetime
    stage: Stage | None = None
    done: int = 0
    total: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A part that does not work since then; the last good state goes on to be used, and nothing is changed."""

    part: Part
    since: datetime.datetime
    error: FleetSyncError


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A source's last revision that could be read, and when it was first seen."""

    source: SourceRevision
    since: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the service at `now`. `last` is the last run that ended, `last_success` when one last ended with 0.

    `pace` and `ceiling` are requests a second; `journal_bytes` is `None` where the journal is not a file.
    """

    now: datetime.datetime
    started: datetime.datetime
    version: str
    account: Account
    interval: datetime.timedelta
    pace: float
    ceiling: float
    standing_by: str = ""
    running: Running | None = None
    last: Report | None = None
    last_trigger: str = ""
    last_success: datetime.datetime | None = None
    next_run: datetime.datetime | None = None
    fleets: tuple[Fleet, ...] = ()
    broken: tuple[Broken, ...] = ()
    sources: tuple[Source, ...] = ()
    driver_names: Mapping[DriverId, str] = dataclasses.field(default_factory=dict)
    journal_bytes: int | None = None
