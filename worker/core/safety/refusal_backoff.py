"""Backoff for refused changes: they are tried again after longer and longer pauses, and at once when the row changes.

Invariant: only changes that Charge refused are postponed, and never for longer than `LONGEST_PAUSE`. Neighbours:
`service.app` keeps one instance, `engine.reconciler` leaves out what it postpones.
"""

import dataclasses
import datetime
from collections.abc import Iterable

from worker.core.model.outcomes import REFUSED_BEFORE, ChangeResult, Deferred, Outcome, Refused
from worker.core.model.plan import Change
from worker.core.model.serialization import format_time

FIRST_PAUSE = datetime.timedelta(minutes=1)
LONGEST_PAUSE = datetime.timedelta(hours=6)
"""The first pause is `FIRST_PAUSE`; each further refusal doubles it, up to this."""

_DOUBLINGS = 9  # 512 minutes, more than the longest pause


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    """The refusals of a change in a row: its row, the last outcome, when to try again, and when it was last planned."""

    row: str
    times: int
    outcome: Refused
    due: datetime.datetime
    planned: datetime.datetime


class RefusalBackoff:
    """The refusals of one account while the service runs."""

    def __init__(self) -> None:
        """Start with no refusal."""
        self._refusals: dict[tuple[str, int, str], _Refusal] = {}  # by fleet, action and driver
        self._last_plan: datetime.datetime | None = None

    def note(self, results: Iterable[ChangeResult], now: datetime.datetime) -> None:
        """Record outcomes: a refusal lengthens the pause, a success ends it."""
        for result in results:
            key = result.change.order
            if isinstance(result.outcome, Refused):
                before = self._refusals.get(key)
                times = before.times + 1 if before and before.row == result.change.row else 1
                due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, _DOUBLINGS))
                self._refusals[key] = _Refusal(result.change.row, times, result.outcome, due, now)
            elif result.done:
                self._refusals.pop(key, None)

    def postponed(self, changes: Iterable[Change], now: datetime.datetime) -> dict[Change, Outcome]:
        """Return the planned changes that must not be tried yet, each with its outcome.

        Forgets a refusal if its change is planned for another row, or was not planned for `LONGEST_PAUSE`: a single
        incomplete reading, which plans no detaches, does not reset the backoff.
        """
        planned = {change.order: change for change in changes}
        kept = {}
        for key, refusal in self._refusals.items():
            if key not in planned:
                if now - refusal.planned <= LONGEST_PAUSE:
                    kept[key] = refusal
            elif planned[key].row == refusal.row:
                kept[key] = dataclasses.replace(refusal, planned=now)
        self._refusals, self._last_plan = kept, now
        due_later = {key: refusal for key, refusal in kept.items() if key in planned and refusal.due > now}
        return {planned[key]: _deferred(refusal) for key, refusal in due_later.items()}

    def next_due(self, now: datetime.datetime) -> datetime.datetime | None:
        """Return when a refused change may be tried again, or None; `now` if it is due already.

        Ignores changes that were due when the last plan was made: that run could have sent them, and a change that a
        guard holds would otherwise start one run after another.
        """
        last_plan = self._last_plan
        due = [
            each.due for each in self._refusals.values() if last_plan is None or each.due > last_plan <= each.planned
        ]
        return max(min(due), now) if due else None


def _deferred(refusal: _Refusal) -> Deferred:
    refused = refusal.outcome
    details = ", ".join(part for part in (refused.message, refused.request_id) if part)
    message = (
        f"Charge refused this with {refused.code} ({details}); it is tried again at {format_time(refusal.due)}, or at"
        " once when its row changes"
    )
    return Deferred(0, REFUSED_BEFORE, message)
