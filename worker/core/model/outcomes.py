"""What can come of a change: a closed union, consumed by `match` with `assert_never`.

Invariant: every change that a run allowed ends as exactly one of these. Neighbours: `engine.apply` decides which,
`report` counts them, `journal` stores them.
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
    """The write was sent and had nothing to do: somebody else had made it since the reading."""

    name: ClassVar[str] = "already"
    attempts: int
    request_id: str | None = None
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """Charge refused the write for its own sake; `code` is Charge's."""

    name: ClassVar[str] = "refused"
    attempts: int
    code: str
    message: str
    request_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stale:
    """The change of a saved plan no longer fitted what Charge holds, and nothing was sent."""

    name: ClassVar[str] = "stale"
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Deferred:
    """The write is not made, and left to the next run; where it was sent, Charge was seen not to have made it."""

    name: ClassVar[str] = "deferred"
    attempts: int
    code: str
    message: str
    request_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """The write was sent, and whether it took effect could not be read. The next run's reading settles it."""

    name: ClassVar[str] = "unknown"
    attempts: int
    code: str
    message: str
    request_id: str | None = None


NOT_CONVERGING = "not_converging"
"""The code of what an answer called done, and a fresh reading did not show."""

REFUSED_BEFORE = "refused_before"
"""The code of what is not tried this time, because Charge refused it lately."""

Outcome = Applied | Already | Refused | Stale | Deferred | Unknown

OUTCOME_NAMES = tuple(kind.name for kind in (Applied, Already, Refused, Stale, Deferred, Unknown))
"""Every outcome's name, in the order of the report."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeResult:
    """A change and what came of it."""

    change: Change
    outcome: Outcome

    @property
    def done(self) -> bool:
        """Tell whether the membership is now as the change intended."""
        return isinstance(self.outcome, Applied | Already)


def is_refusal(outcome: Outcome) -> bool:
    """Tell whether Charge does not allow a change, as it said now or lately."""
    return isinstance(outcome, Refused) or (isinstance(outcome, Deferred) and outcome.code == REFUSED_BEFORE)
