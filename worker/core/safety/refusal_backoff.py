"""Delays a change that Charge refused: longer with each refusal in a row, and not at all once its row changes.

A write that Charge accepted and that no reading has ever shown counts as a refusal. Invariants: pure, so a restart
forgets nothing; no pause is longer than `LONGEST_PAUSE`. Neighbours: `ports.Journal` has the past refusals,
`engine.plan_builder` leaves out what is postponed, `service.scheduler` wakes up when the next pause ends.
"""

import datetime
import re
from collections.abc import Iterable, Mapping

from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import REFUSED_BEFORE, Deferred, Outcome
from worker.core.model.plan import Action, Change
from worker.core.model.ports import PastRefusals
from worker.core.model.serialization import format_time

FIRST_PAUSE = datetime.timedelta(minutes=1)
LONGEST_PAUSE = datetime.timedelta(hours=6)
"""The pause after the first refusal; it doubles with each, up to the longest."""

_MAX_DOUBLINGS = 9  # 512 minutes, more than the longest pause

Refusals = Mapping[tuple[Action, DriverId, FleetId], PastRefusals]


def postponed(changes: Iterable[Change], refusals: Refusals, now: datetime.datetime) -> dict[Change, Outcome]:
    """Return the changes that are not to be sent yet, each with the outcome that says why.

    A refusal that is still to come was recorded by a clock that was ahead, and delays nothing.
    """
    return {
        change: _deferred(refusal, due)
        for change in changes
        if (refusal := _refusals_of(change, refusals)) and refusal.last <= now < (due := due_time(refusal))
    }


def next_due(
    changes: Iterable[Change], refusals: Refusals, *, planned: datetime.datetime, now: datetime.datetime
) -> datetime.datetime | None:
    """Return when the next of these changes may be tried again, from `now` on, or None.

    Ignores changes that were already due when the plan was made: that run could have sent them, and waking up for a
    change that a guard holds would start one run after another.
    """
    times = (due_time(refusal) for change in changes if (refusal := _refusals_of(change, refusals)))
    due = min((time for time in times if time > planned), default=None)
    return None if due is None else max(due, now)


def due_time(refusal: PastRefusals) -> datetime.datetime:
    """Return when a refused change may be tried again."""
    doublings = min(refusal.count - 1, _MAX_DOUBLINGS)
    return refusal.last + min(LONGEST_PAUSE, FIRST_PAUSE * int(2**doublings))


def _refusals_of(change: Change, refusals: Refusals) -> PastRefusals | None:
    """Return the refusals of a change for the row that asks for it now."""
    refusal = refusals.get((change.action, change.driver, change.fleet))
    return refusal if refusal and refusal.row == change.row else None


def earlier_refusal(outcome: Deferred) -> tuple[str, datetime.datetime] | None:
    """Return Charge's code and the time of the next try, if this change waits because Charge refused it before."""
    found = _WRITTEN.match(outcome.message)
    return (found[1], datetime.datetime.fromisoformat(found[2])) if found else None


def shared_message(outcome: Deferred) -> str:
    """Return why this change waits, without what is of this change only: Charge's request id, and when it is due."""
    return _OF_ONE_CHANGE.sub(r"\1; it is tried again later, ", outcome.message)


_OF_ONE_CHANGE = re.compile(r"(?:, req_\w+)?(\)); it is tried again at \S+, ")
_WRITTEN = re.compile(r"Charge refused this change with (\S+) \(.*\); it is tried again at (\S+), ", re.DOTALL)
"""What `_deferred` writes."""


def _deferred(refusal: PastRefusals, due: datetime.datetime) -> Deferred:
    details = ", ".join(part for part in (refusal.message, refusal.request_id) if part)
    message = (
        f"Charge refused this change with {refusal.code} ({details}); it is tried again at {format_time(due)}, or at"
        " once when its row changes"
    )
    return Deferred(0, REFUSED_BEFORE, message)
