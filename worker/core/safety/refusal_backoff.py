"""Remembers what Charge refused, so that it is tried again ever more rarely, and at once when its row changes.

Invariant: only what was refused for its own sake waits, and never longer than `LONGEST`. Neighbours: the service keeps
one of these, `engine.cycle` leaves out what it postpones.
"""

import dataclasses
import datetime
from collections.abc import Iterable

from worker.core.model.outcomes import REFUSED_BEFORE, ChangeResult, Deferred, Outcome, Refused
from worker.core.model.plan import Change
from worker.core.model.serialization import format_time

FIRST_PAUSE = datetime.timedelta(minutes=1)
LONGEST_PAUSE = datetime.timedelta(hours=6)
"""The pause after the first refusal; it doubles with each, up to the longest."""

_DOUBLINGS = 9  # 512 minutes, more than the longest pause


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    """How often in a row a change was refused for its row, what was said at last, when it is due, and was planned."""

    row: str
    times: int
    outcome: Refused
    due: datetime.datetime
    planned: datetime.datetime


class RefusalBackoff:
    """The refusals of one account, for as long as the service runs."""

    def __init__(self) -> None:
        """Start with no refusal."""
        self._refusals: dict[tuple[str, int, str], _Refusal] = {}  # by fleet, action and driver
        self._asked: datetime.datetime | None = None

    def note(self, results: Iterable[ChangeResult], now: datetime.datetime) -> None:
        """Take note of what came of changes: a refusal makes the pause longer, a success ends it."""
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
        """Give those of all planned changes that are not due yet, with the outcome that says why.

        What is planned for another row is forgotten. So is what was planned for nobody for longer than `LONGEST`: one
        reading that is not whole plans no detaches, and begins nothing anew.
        """
        wanted = {change.order: change for change in changes}
        kept = {}
        for key, refusal in self._refusals.items():
            if key not in wanted:
                if now - refusal.planned <= LONGEST_PAUSE:
                    kept[key] = refusal
            elif wanted[key].row == refusal.row:
                kept[key] = dataclasses.replace(refusal, planned=now)
        self._refusals, self._asked = kept, now
        return {wanted[key]: _waits(each) for key, each in kept.items() if key in wanted and each.due > now}

    def next_due(self, now: datetime.datetime) -> datetime.datetime | None:
        """Give the first moment, from `now` on, at which something has become due that the last plan could not send.

        What was due when `postponed` was last asked wakes nobody: that run could have sent it, and what a guard holds
        would start one run after another.
        """
        asked = self._asked
        due = [each.due for each in self._refusals.values() if asked is None or each.due > asked <= each.planned]
        return max(min(due), now) if due else None


def _waits(refusal: _Refusal) -> Deferred:
    refused = refusal.outcome
    said = ", ".join(part for part in (refused.message, refused.request_id) if part)
    message = (
        f"Charge refused this with {refused.code} ({said}); it is tried again at {format_time(refusal.due)}, or at"
        " once when its row changes"
    )
    return Deferred(0, REFUSED_BEFORE, message)
