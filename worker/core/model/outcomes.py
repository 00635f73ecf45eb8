"""The outcomes of a change: a closed union, consumed by `match` with `assert_never`.

Invariant: every change that the guard allowed ends with exactly one outcome. Neighbours: `engine.applier` decides
which, `report` counts them, `journal` stores them.
"""

import dataclasses
from typing import ClassVar

from worker.core.model.plan import Change


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """The write was made, and Charge showed the driver in the intended state."""

    name: ClassVar[str] = "applied"
    attempts: int
    request_id: str | None = None
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Already:
    """The write was sent and changed nothing: another client had made the change since the reading."""

    name: ClassVar[str] = "already"
    attempts: int
    request_id: str | None = None
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _NotMade:
    """A write that was not made, or perhaps not: the reason, and the id of the request whose reply gave it."""

    attempts: int
    code: str
    message: str
    request_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Refused(_NotMade):
    """Charge rejected this write in particular; `code` is Charge's."""

    name: ClassVar[str] = "refused"


@dataclasses.dataclass(frozen=True, slots=True)
class Stale:
    """The change comes from a saved plan and no longer fits what Charge holds. Nothing was sent."""

    name: ClassVar[str] = "stale"
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Deferred(_NotMade):
    """The write was not made and is left to the next run. If it was sent, a reading showed that it had no effect."""

    name: ClassVar[str] = "deferred"


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown(_NotMade):
    """The write was sent, and no reading could show whether it took effect. The next run's reading decides."""

    name: ClassVar[str] = "unknown"


NOT_CONVERGING = "not_converging"
"""The code of a write that Charge accepted, but that a later reading does not show."""

REFUSED_BEFORE = "refused_before"
"""The code of a change that is not sent in this run, because Charge refused it recently."""

Outcome = Applied | Already | Refused | Stale | Deferred | Unknown

OUTCOME_NAMES = tuple(kind.name for kind in (Applied, Already, Refused, Stale, Deferred, Unknown))
"""The names of all outcomes, in the order of the report."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeResult:
    """A change and its outcome. A `repair` is not in the plan: it restores a membership that another writer removed."""

    change: Change
    outcome: Outcome
    repair: bool = False

    @property
    def done(self) -> bool:
        """Return whether the membership is now as the change intended."""
        return isinstance(self.outcome, Applied | Already)


SUPERSEDED = "superseded"
"""The code of a change that is not sent, because a source changed during the run."""


def is_superseded(outcome: Outcome) -> bool:
    """Return whether the change was not sent because a source changed during the run."""
    return isinstance(outcome, Deferred) and outcome.code == SUPERSEDED


def is_refusal(outcome: Outcome) -> bool:
    """Return whether Charge refused the change, in this run or recently."""
    return isinstance(outcome, Refused) or (isinstance(outcome, Deferred) and outcome.code == REFUSED_BEFORE)
