"""Desired state: what the sources want, as references, rows and managed fleets.

Invariant: nothing here is resolved: a reference is what a document says, and may match nothing in Charge. Neighbours:
`planning.references` parses references, `planning.merge_sources` combines sources, `actual` is what Charge holds.
"""

import dataclasses
import datetime
import enum
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.problem import Problem


class Mode(enum.StrEnum):
    """How a managed fleet is kept in sync: `exact` attaches and detaches, `additive` never detaches."""

    EXACT = "exact"
    ADDITIVE = "additive"


_POSITION = re.compile(r"(.*):([1-9][0-9]{0,8}):([1-9][0-9]{0,8})", re.DOTALL)


class Origin(NamedTuple):
    """The position of a row in a source; line and column count from 1.

    A row of a sheet has a cell in its name instead, and a declared fleet no position: their line is 0.

    A tuple, because every row has one, and a tuple is created and compared several times as fast as a dataclass.
    """

    name: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return the position as editors and compilers write it, or the name alone."""
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Return the origin that is written like this."""
        found = _POSITION.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found else cls(text, 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class DriverById:
    """A driver given by Charge id."""

    id: DriverId

    def __str__(self) -> str:
        """Return the reference as a document writes it."""
        return self.id


@dataclasses.dataclass(frozen=True, slots=True)
class DriverByEmail:
    """A driver given by e-mail address; its ASCII letters are in lower case, because their case does not count."""

    email: str

    def __str__(self) -> str:
        """Return the reference as a document writes it."""
        return self.email


@dataclasses.dataclass(frozen=True, slots=True)
class DriverByMetadata:
    """A driver given by one entry of its metadata, compared as text."""

    key: str
    value: str

    def __str__(self) -> str:
        """Return the reference as a document writes it."""
        return f"{self.key}={self.value}"


DriverRef = DriverById | DriverByEmail | DriverByMetadata


@dataclasses.dataclass(frozen=True, slots=True)
class FleetById:
    """A fleet given by Charge id."""

    id: FleetId

    def __str__(self) -> str:
        """Return the reference as a document writes it."""
        return self.id


@dataclasses.dataclass(frozen=True, slots=True)
class FleetByName:
    """A fleet given by its exact name in Charge."""

    name: str

    def __str__(self) -> str:
        """Return the reference as a document writes it, in quotation marks."""
        return f'"{self.name}"'


FleetRef = FleetById | FleetByName


def is_fleet_name(reference: str) -> bool:
    """Return whether the text of a reference is the name of a fleet: only those are in quotation marks."""
    return reference.startswith('"')


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One membership that a source declares. `starts` is inclusive, `ends` exclusive; both are aware, in UTC.

    A naive one is the midnight of a date in the time zone of the fleet, until `planning.local_dates` knows that zone.
    """

    fleet: FleetRef
    driver: DriverRef
    origin: Origin
    starts: datetime.datetime | None = None
    ends: datetime.datetime | None = None
    note: str = ""

    @property
    def undated(self) -> bool:
        """Return whether the row always wants the membership: it has neither a start nor an end."""
        return self.starts is None and self.ends is None

    def active(self, now: datetime.datetime | None) -> bool:
        """Return whether the row wants the membership at `now`; a row with dates does not if the time is not known."""
        if now is None:
            return self.undated
        return (self.starts is None or self.starts <= now) and not self.over(now)

    def over(self, now: datetime.datetime) -> bool:
        """Return whether the row has ended at `now`, and will never want the membership again."""
        return self.ends is not None and self.ends <= now


@dataclasses.dataclass(frozen=True, slots=True)
class FleetEntry:
    """A fleet that appears in a source, which makes it managed; `mode` is set if the source gives one."""

    fleet: FleetRef
    origin: Origin
    mode: Mode | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SourceRevision:
    """A source that was read, and the `sha256:…` of its content.

    `rows` are counted before any of them is left out. `proof` says how the source was shown to be whole, or `none`.
    `modified` is when its content last changed, if that is known. `version` is its place in the history of versions,
    if it has one; `rewritten` is the version that an earlier run read, if this one does not descend from it.
    """

    kind: str
    name: str
    revision: str
    rows: int = 0
    proof: str = "none"
    modified: datetime.datetime | None = None
    version: str = ""
    rewritten: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceReading:
    """Everything that one source says. Never empty: reading an empty source is an error.

    Its `repr` leaves the rows out: asyncio formats the result of the main task when it restores the SIGINT handler.
    """

    source: SourceRevision
    fleets: tuple[FleetEntry, ...] = dataclasses.field(repr=False)
    rows: Sequence[Row] = dataclasses.field(repr=False)
    notices: tuple[Problem, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """What all sources say together: the managed fleets with their modes, and every row.

    `named` has the fleets that each source names. `unzoned` are fleets whose time zone is needed and not known, with
    the reason. `ignored` are drivers that must be known by reference, because no change may concern them.
    """

    sources: tuple[SourceRevision, ...]
    fleets: tuple[FleetEntry, ...] = dataclasses.field(repr=False)
    rows: Sequence[Row] = dataclasses.field(repr=False)
    notices: tuple[Problem, ...] = ()
    named: Mapping[str, frozenset[FleetRef]] = dataclasses.field(default_factory=dict)
    unzoned: Mapping[FleetRef, str] = dataclasses.field(default_factory=dict)
    ignored: frozenset[DriverRef] = frozenset()
