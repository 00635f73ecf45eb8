"""Pauses: while one is in force, no membership is written; reading, planning and alerts go on.

Invariant: a pause says who began it and why, and covers either one fleet or all. Neighbours: `registers` records them,
`engine.pause_watch` obeys them.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Sequence

from worker.core.model.identifiers import FleetId
from worker.core.model.people import clean
from worker.core.model.plan import Change
from worker.core.model.problem import Problem, ProblemCode

PAUSED = "writes_paused"
"""The code of a change that is not sent because of a pause."""

WHERE = "pause"
"""The place of the note about a pause of all fleets; that about a fleet has the fleet's id."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """A pause of one fleet, or of all if `fleet` is `None`. Without `until` it lasts until somebody ends it.

    `by` is who began it, as that person said: nothing verifies it.
    """

    since: datetime.datetime
    until: datetime.datetime | None = None
    by: str = ""
    reason: str = ""
    fleet: FleetId | None = None

    def is_active(self, now: datetime.datetime) -> bool:
        """Return whether the pause is in force."""
        return self.until is None or now < self.until

    def covers(self, change: Change) -> bool:
        """Return whether the change must not be sent."""
        return self.fleet is None or self.fleet == change.fleet

    def __str__(self) -> str:
        """Return since when, by whom, until when and why, in one line."""
        by = f" by {clean(self.by)}" if self.by else ""
        until = f", until {_utc(self.until)}" if self.until else ", until resumed"
        reason = f": {clean(self.reason)}" if self.reason else ""
        return f"paused since {_utc(self.since)}{by}{until}{reason}"


def everywhere(pauses: Iterable[Pause]) -> Pause | None:
    """Return the pause that covers all fleets, or None."""
    return next((pause for pause in pauses if pause.fleet is None), None)


def left_out(changes: Iterable[Change], pauses: Sequence[Pause]) -> frozenset[Change]:
    """Return the changes that must not be sent."""
    return frozenset(change for change in changes if any(pause.covers(change) for pause in pauses))


def notes(pauses: Iterable[Pause]) -> list[Problem]:
    """Return a note about each pause, for the plan and the record."""
    return [
        Problem(
            pause.fleet or WHERE,
            f"{'' if pause.fleet else 'all fleets are '}{pause}",
            note=True,
            code=ProblemCode.PAUSED,
        )
        for pause in pauses
    ]


def _utc(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"
