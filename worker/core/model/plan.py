"""Changes to memberships, and the plans made of them, before and after the guard.

Invariant: a plan never changes after it was made: the plan that is shown is the plan that is saved, approved and
applied. Neighbours: `planning.planner` makes a `Plan`, `safety.guard` splits it, `plan_digest` names it.
"""

import dataclasses
import datetime
import enum
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.desired import Mode, Origin, SourceRevision
from worker.core.model.identifiers import Account, DriverId, FleetId, Membership, Resolutions
from worker.core.model.people import Person, mentioned
from worker.core.model.plan_digest import held_digest
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import ShrunkSource, SourceSize


class Action(enum.StrEnum):
    """What a change does to one membership."""

    ATTACH = "attach"
    DETACH = "detach"

    @property
    def rank(self) -> int:
        """Return the position in every order of changes: attach before detach.

        The safety of a move rests on this order: detaching first would leave the driver in no fleet between the two
        writes, or for good if the attach then fails.
        """
        return 0 if self is Action.ATTACH else 1


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One membership to attach or detach. Only `action`, `driver` and `fleet` say which: the rest is not compared.

    `origin` is the position of the row that asks for it, if one does. `row` is the fingerprint of that row
    (`plan_digest.row_fingerprint`): flap detection and refusal backoff start anew when it changes.
    """

    action: Action
    driver: DriverId
    fleet: FleetId
    origin: Origin | None = dataclasses.field(default=None, compare=False)
    row: str = dataclasses.field(default="", compare=False)

    @property
    def order(self) -> tuple[str, int, str]:
        """Return the sort key: by fleet, attaches first, then by driver."""
        return (self.fleet, self.action.rank, self.driver)

    def done_in(self, fleets: frozenset[FleetId]) -> bool:
        """Return whether a driver that is in `fleets` is as the change intends."""
        return (self.fleet in fleets) is (self.action is Action.ATTACH)


@dataclasses.dataclass(frozen=True, slots=True)
class ConcernedDriver:
    """A driver whom a plan changes: the fleets that the driver was seen in, and those that the sources want."""

    seen: frozenset[FleetId]
    wanted: frozenset[FleetId]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The difference between desired and actual state, before the guard; changes are sorted by `Change.order`.

    `members` maps each managed fleet to the number of its members now. `references` counts the distinct references that
    are active now, `unresolved` those among them that did not resolve, `incomplete` the fleets whose listing is not
    trusted. `resolutions` maps e-mail addresses, metadata and fleet names to what they resolve to; `awaited` are those
    of rows that begin later. `undecided` are known absences that this run can neither confirm nor refute; `later` are
    memberships whose detach waits for the end of its grace period; `suppressed` are those whose change a setting keeps
    out of the plan: the fleet is in additive mode, or the driver is ignored. `concerned` has every driver with a
    change. `sources` are the sizes of the sources that were read. `dated` are the attaches that only rows with a `from`
    or an `until` ask for. `exact` are the managed fleets in exact mode; `vanished` are fleets that earlier runs managed
    and that no source names any more. `boundaries` is when a row of a driver with a change begins or ends next.
    """

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    members: Mapping[FleetId, int]
    in_sync: int
    drivers: int
    references: int = 0
    unresolved: int = 0
    incomplete: int = 0
    resolutions: Resolutions = dataclasses.field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    undecided: frozenset[Membership] = frozenset()
    later: frozenset[Membership] = frozenset()
    suppressed: frozenset[Membership] = frozenset()
    concerned: Mapping[DriverId, ConcernedDriver] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, SourceSize] = dataclasses.field(default_factory=dict)
    dated: frozenset[Change] = frozenset()
    exact: frozenset[FleetId] = frozenset()
    vanished: frozenset[FleetId] = frozenset()
    boundaries: Mapping[DriverId, datetime.datetime] = dataclasses.field(default_factory=dict)

    @property
    def unsettled(self) -> bool:
        """Return whether the plan may lack changes: a reference, a listing or the scope of the sources is in doubt."""
        return bool(self.unresolved or self.incomplete or self.vanished)

    @property
    def modes(self) -> Mapping[FleetId, Mode]:
        """Return the mode of each managed fleet."""
        return {fleet: Mode.EXACT if fleet in self.exact else Mode.ADDITIVE for fleet in self.members}


@dataclasses.dataclass(frozen=True, slots=True)
class HeldChange:
    """A change that a guard holds, the code of the guard, and the reason."""

    change: Change
    guard: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to apply a plan: requests, and seconds at the configured rate limit."""

    requests: int
    seconds: float

    @classmethod
    def of(
        cls,
        changes: Collection[Change],
        concerned: Mapping[DriverId, ConcernedDriver],
        *,
        reading: int,
        per_second: float,
    ) -> "Cost":
        """Return what it takes to make changes: the writes, the proofs, and reading back (`reading` requests)."""
        detaches = [change for change in changes if change.action is Action.DETACH]
        proofs = sum(bool(concerned[change.driver].wanted) for change in detaches)
        requests = len(changes) + proofs + min(len({change.driver for change in changes}), reading)
        return cls(requests, round(requests / per_second, 1))


@dataclasses.dataclass(frozen=True, slots=True)
class RecentCounts:
    """Our changes in the managed fleets within the window of the limits, since the first of them at `since`.

    `detached` and `attached` leave out the `approved` ones: those that an approval allowed.
    """

    hours: float
    detached: int = 0
    attached: int = 0
    approved: int = 0
    since: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GuardedPlan:
    """A plan after the guard: the very object that is shown, saved, approved and applied.

    `changes` are allowed and `held` are not; together they are the whole plan. `unsettled` means that the plan may not
    cover everything: a reference did not resolve, a listing is incomplete, a fleet vanished from the sources, or the
    clock is not trusted. `approved` are those of the allowed changes that a guard held until the digest `approval` was
    approved. `shrunk` are the sources that lost too many rows. `held_digest` is what approves the held changes and
    these sources; it is empty without any. `people` and `fleet_names` have the harmless names of those that the plan is
    about; no digest covers them. `dated` are the attaches that only rows with dates ask for. `modes` has every managed
    fleet; `listed_unmanaged` are those that a source names although `guard.unmanaged` lists them.
    """

    account: Account
    created: datetime.datetime
    sources: tuple[SourceRevision, ...]
    changes: tuple[Change, ...]
    held: tuple[HeldChange, ...]
    problems: tuple[Problem, ...]
    in_sync: int
    fleets: int
    drivers: int
    cost: Cost
    digest: str
    unsettled: bool = False
    approved: tuple[HeldChange, ...] = ()
    approval: str = ""
    shrunk: tuple[ShrunkSource, ...] = ()
    concerned: Mapping[DriverId, ConcernedDriver] = dataclasses.field(default_factory=dict, compare=False)
    people: Mapping[DriverId, Person] = dataclasses.field(default_factory=dict, compare=False)
    fleet_names: Mapping[FleetId, str] = dataclasses.field(default_factory=dict, compare=False)
    dated: frozenset[Change] = frozenset()
    modes: Mapping[FleetId, Mode] = dataclasses.field(default_factory=dict, compare=False)
    listed_unmanaged: frozenset[FleetId] = dataclasses.field(default=frozenset(), compare=False)
    recent: RecentCounts = RecentCounts(24.0)
    held_digest: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Compute `held_digest` once: a page may ask for it every second, and there may be many held changes."""
        digest = (
            held_digest(self.account, (held.change for held in self.held), self.shrunk) if self.needs_approval else ""
        )
        object.__setattr__(self, "held_digest", digest)

    @property
    def names(self) -> dict[str, str]:
        """Return the names of drivers and fleets by id, sorted by id."""
        shown: dict[str, str] = {driver: person.shown for driver, person in self.people.items()}
        return dict(sorted((id, name) for id, name in (shown | {**self.fleet_names}).items() if name))

    @property
    def relevant_problems(self) -> tuple[Problem, ...]:
        """Return the problems, without the note on a new journal where nothing is to be done."""
        if self.changes or self.needs_approval:
            return self.problems
        return tuple(problem for problem in self.problems if problem.code is not ProblemCode.JOURNAL_NEW)

    @property
    def needs_approval(self) -> bool:
        """Return whether anything waits for an approval: held changes, or a source that shrank."""
        return bool(self.held or self.shrunk)

    def approval_used_by(self, changes: Iterable[Change]) -> str | None:
        """Return the digest whose approval is used up by making these changes, or None."""
        return self.approval if not self.approved_changes.isdisjoint(changes) else None

    @property
    def approved_changes(self) -> frozenset[Change]:
        """Return the allowed changes that need the approval."""
        return frozenset(hold.change for hold in self.approved)


def concerned_ids(
    changes: Iterable[Change], held: Iterable[HeldChange], problems: Iterable[Problem]
) -> tuple[frozenset[DriverId], frozenset[FleetId]]:
    """Return the drivers and fleets that changes, held changes and problems are about."""
    every = [*changes, *(each.change for each in held)]
    texts = [str(problem) for problem in problems]
    named = mentioned(texts)
    drivers = {change.driver for change in every} | {DriverId(id) for id in named if id.startswith("drv_")}
    fleets = {change.fleet for change in every} | {FleetId(id) for id in named if id.startswith("flt_")}
    return frozenset(drivers), frozenset(fleets)
