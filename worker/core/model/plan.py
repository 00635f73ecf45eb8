"""Changes to memberships, and the plans made of them, before and after the guard.

Invariant: a plan never changes after it was made: the plan that is shown is the plan that is saved, approved and
applied. Neighbours: `planning.planner` makes a `Plan`, `safety.guard` splits it, `plan_digest` names it.
"""

import dataclasses
import datetime
import enum
from collections.abc import Mapping

from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.identifiers import Account, DriverId, FleetId, Membership
from worker.core.model.problem import Problem


class Action(enum.StrEnum):
    """What a change does to one membership."""

    ATTACH = "attach"
    DETACH = "detach"


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
class HeldChange:
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
class GuardedPlan:
    """A plan after the guard: the very object that is shown, saved, approved and applied.

    `changes` may be made, `held` may not; together they are the plan. `unsettled` says that a reference stayed
    unresolved or a listing incomplete, so that the plan does not cover everything.
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
