"""The vocabulary: the immutable values in which every part of fleet-sync speaks.

Invariant: nothing here changes after it was made, and nothing here knows where it came from or goes to.
Neighbours: `references` makes the references, `planner` the plan, `guard` the judgement, `report` the report.
"""

import dataclasses
import datetime
import enum
import re
from collections.abc import Mapping
from typing import NewType

DriverId = NewType("DriverId", str)
FleetId = NewType("FleetId", str)
RunId = NewType("RunId", str)
Membership = tuple[DriverId, FleetId]
IntentKey = NewType("IntentKey", str)
"""An idempotency key. It belongs to one intent: shared by the retries of one write, by no other write."""

_PLACE = re.compile(r"(.*):([0-9]{1,9}):([0-9]{1,9})", re.DOTALL)


class Mode(enum.StrEnum):
    """How a managed fleet is kept: `exact` attaches and detaches, `additive` never detaches."""

    EXACT = "exact"
    ADDITIVE = "additive"


class Action(enum.StrEnum):
    """What a change does to one membership."""

    ATTACH = "attach"
    DETACH = "detach"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The place of a row in a source; line and column count from 1."""

    name: str
    line: int
    column: int

    def __str__(self) -> str:
        """Write the place as editors and compilers do."""
        return f"{self.name}:{self.line}:{self.column}"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something the operator should know: where it stands (`file:line:column`, an id, a setting) and what it is.

    A `note` is harmless: nothing waits for anybody to solve it. That is not written down, and tells no two apart.
    Problems are sorted as somebody reads a file who corrects it: line 3 before line 10.
    """

    where: str
    message: str
    note: bool = dataclasses.field(default=False, compare=False)

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{self.where}: {self.message}"

    def __lt__(self, other: "Problem") -> bool:
        """Tell whether this problem comes before another one."""
        return self.order < other.order

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Give the place in every list: by file, then by line and column as numbers."""
        found = _PLACE.fullmatch(self.where)
        name, line, column = found.groups() if found else (self.where, 0, 0)
        return (name, int(line), int(column), self.where, self.message)


# --- What should be ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class DriverById:
    """A driver named by its Charge id."""

    id: DriverId

    def __str__(self) -> str:
        """Write the reference as it stands in a document."""
        return self.id


@dataclasses.dataclass(frozen=True, slots=True)
class DriverByEmail:
    """A driver named by an e-mail address, held in lower case: addresses compare without regard to case."""

    email: str

    def __str__(self) -> str:
        """Write the reference as it stands in a document."""
        return self.email


@dataclasses.dataclass(frozen=True, slots=True)
class DriverByMetadata:
    """A driver named by one entry of its metadata, compared as text."""

    key: str
    value: str

    def __str__(self) -> str:
        """Write the reference as it stands in a document."""
        return f"{self.key}={self.value}"


DriverRef = DriverById | DriverByEmail | DriverByMetadata


@dataclasses.dataclass(frozen=True, slots=True)
class FleetById:
    """A fleet named by its Charge id."""

    id: FleetId

    def __str__(self) -> str:
        """Write the reference as it stands in a document."""
        return self.id


@dataclasses.dataclass(frozen=True, slots=True)
class FleetByName:
    """A fleet named by its exact name in Charge."""

    name: str

    def __str__(self) -> str:
        """Write the reference as it stands in a document, in quotation marks."""
        return f'"{self.name}"'


FleetRef = FleetById | FleetByName


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One membership that a source declares. `starts` is inclusive, `ends` exclusive; both are aware, in UTC."""

    fleet: FleetRef
    driver: DriverRef
    origin: Origin
    starts: datetime.datetime | None = None
    ends: datetime.datetime | None = None
    note: str = ""

    def active(self, now: datetime.datetime) -> bool:
        """Tell whether the row wants the membership at `now`."""
        return (self.starts is None or self.starts <= now) and not self.over(now)

    def over(self, now: datetime.datetime) -> bool:
        """Tell whether the row has ended at `now`, and will never again want the membership."""
        return self.ends is not None and self.ends <= now


@dataclasses.dataclass(frozen=True, slots=True)
class FleetEntry:
    """A fleet that appears in a source, and is thereby managed; `mode` where the source gives one."""

    fleet: FleetRef
    origin: Origin
    mode: Mode | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SourceRevision:
    """Which source was read, and its content's `sha256:…`."""

    kind: str
    name: str
    revision: str


@dataclasses.dataclass(frozen=True, slots=True)
class SourceReading:
    """Everything that one source says, read whole. Never empty: an empty source is an error of reading."""

    source: SourceRevision
    fleets: tuple[FleetEntry, ...]
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """What all sources together say: the managed fleets with their modes, and every row."""

    sources: tuple[SourceRevision, ...]
    fleets: tuple[FleetEntry, ...]
    rows: tuple[Row, ...]
    notices: tuple[Problem, ...] = ()


# --- What is ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """A driver as Charge shows it now: `fleets` is what it is linked to at this moment."""

    id: DriverId
    fleets: frozenset[FleetId]
    email: str = ""
    name: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet as Charge shows it now. `total_drivers` is `None` where Charge did not say."""

    id: FleetId
    name: str = ""
    status: str = "active"
    total_drivers: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Actual:
    """What Charge holds, as far as one reading saw it.

    `memberships` gives every driver seen its own `fleets`; a driver not in it was not seen, which proves nothing
    unless it stands in `absent` (Charge said 404) or `directory_complete` is true. `incomplete` gives each managed
    fleet whose listing cannot be trusted the reason; no membership of such a fleet may be taken for absent. `requests`
    is what the reading cost.
    """

    fleets: Mapping[FleetId, Fleet]
    memberships: Mapping[DriverId, frozenset[FleetId]]
    incomplete: Mapping[FleetId, str] = dataclasses.field(default_factory=dict)
    emails: Mapping[str, tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    metadata: Mapping[tuple[str, str], tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    names: Mapping[DriverId, str] = dataclasses.field(default_factory=dict)
    absent: frozenset[DriverId] = frozenset()
    directory_complete: bool = False
    requests: int = 0


# --- What to do -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One membership to attach or detach; `origin` is the row that asks for it, where one does.

    `row` is that row's fingerprint (`digest.fingerprint`): memory goes by it. It makes no other change of this one.
    """

    action: Action
    driver: DriverId
    fleet: FleetId
    origin: Origin | None = None
    row: str = dataclasses.field(default="", compare=False)

    @property
    def order(self) -> tuple[str, str, str]:
        """Give the place in every list: by fleet, attaches first, then by driver."""
        return (self.fleet, self.action, self.driver)

    def done_in(self, fleets: frozenset[FleetId]) -> bool:
        """Tell whether a driver who is in `fleets` is as the change intends."""
        return (self.fleet in fleets) is (self.action is Action.ATTACH)


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Whose memberships these are: the API's base address, and the key's mode (`test`, `live` or `unknown`)."""

    base_url: str
    mode: str


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The difference between desired and actual, before any judgement; changes are sorted by `Change.order`.

    `members` counts the memberships that each managed fleet holds now; `references` the distinct references that count
    at this moment, `unresolved` those of them that led nowhere; `incomplete` the fleets whose listing is not trusted.
    `resolutions` tells whom each e-mail address or metadata entry led to. `unjudged` are those of the absences known
    before that this run could not judge; `later` the memberships that go when their grace has ended.
    """

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    members: Mapping[FleetId, int]
    in_sync: int
    drivers: int
    references: int = 0
    unresolved: int = 0
    incomplete: int = 0
    resolutions: Mapping[str, DriverId] = dataclasses.field(default_factory=dict)
    unjudged: frozenset[Membership] = frozenset()
    later: frozenset[Membership] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A change that a guard holds back, the guard's name, and what would allow it."""

    change: Change
    guard: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What carrying out a plan takes: requests over the wire, and seconds at the configured pace."""

    requests: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A plan after the guard: the very object that is shown, saved, approved and applied.

    `changes` may be made, `held` may not; together they are the plan. `unsettled` says that a reference stayed
    unresolved or a listing incomplete, so that the plan does not cover everything.
    """

    account: Account
    created: datetime.datetime
    sources: tuple[SourceRevision, ...]
    changes: tuple[Change, ...]
    held: tuple[Held, ...]
    problems: tuple[Problem, ...]
    in_sync: int
    fleets: int
    drivers: int
    cost: Cost
    digest: str
    unsettled: bool = False
