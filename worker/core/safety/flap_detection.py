"""Detects memberships that another client keeps reverting, so that two writers do not fight forever.

Invariant: whether a change is frozen depends on our own writes, not on the current time. It stays frozen until its row
changes, we make the opposite change, the plan is approved, or the journal deletes one of the writes after
`journal.keep_days`. Neighbours: `guard` holds frozen changes, `ports.Journal` records the writes.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence

from worker.core.model.identifiers import Membership
from worker.core.model.plan import Change
from worker.core.model.ports import OwnWrite
from worker.core.model.serialization import format_time
from worker.core.safety import attach_first

REVERSALS = 3
"""A change is frozen after this many writes of it in a row, each reverted by another client."""

WINDOW = datetime.timedelta(hours=24)
"""The longest time between the first and the last of them. A change that is reverted more rarely is reapplied."""

Writes = Mapping[Membership, Sequence[OwnWrite]]


def find_frozen(changes: Iterable[Change], writes: Writes) -> dict[Change, str]:
    """Return the changes to hold, each with the reason; `writes` are our newest writes of each membership.

    If an attach is frozen, the detaches of its driver are held too, so that the driver stays in a fleet.
    """
    changes = tuple(changes)
    stopped = {
        change: _timeline(latest)
        for change in changes
        if _repeats(change, latest := writes.get((change.driver, change.fleet), ())[:REVERSALS])
    }
    followers = {
        change: f"the attach of this driver to {fleet} is frozen, and no driver may end up without a fleet"
        for change, fleet in attach_first.dependent_detaches(changes, stopped).items()
    }
    return followers | stopped


def _repeats(change: Change, latest: Sequence[OwnWrite]) -> bool:
    """Return whether the newest writes all made this change for this row, within the window."""
    if len(latest) < REVERSALS or latest[0].made - latest[-1].made > WINDOW:
        return False
    return all((write.action, write.row) == (change.action, change.row) for write in latest)


def _timeline(latest: Sequence[OwnWrite]) -> str:
    """Return what both sides did, the oldest first. The run of each write saw the one before it reverted."""
    oldest_first = latest[::-1]
    made = _join([format_time(write.made) for write in oldest_first])
    seen = _join([*(format_time(write.run_started) for write in oldest_first[1:]), "since the last"])
    return (
        f"we made this change at {made}, and each time another client reverted it (seen at {seen}); it is not made"
        " again until its row is edited or this plan is approved"
    )


def _join(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
