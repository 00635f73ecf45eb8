"""Notices memberships that somebody else keeps reversing, so that two writers do not fight for ever.

Invariant: whether a change is frozen follows from what our own writes did, and never from the time of day: it stays
frozen until its row changes, we make the opposite, somebody approves, or the journal forgets one of those writes after
`journal.keep_days`. Neighbours: `guard` holds what is frozen, `ports.Journal` remembers the writes.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence

from worker.core.model.identifiers import Membership
from worker.core.model.plan import Change
from worker.core.model.ports import OwnWrite
from worker.core.model.serialization import format_time
from worker.core.safety import attach_first

REVERSALS = 3
"""So many writes of the same change, each of them reversed by somebody else, and the next one is not made."""

WINDOW = datetime.timedelta(hours=24)
"""Between the first and the last of them at most: what is reversed more rarely than that is repaired each time."""

Writes = Mapping[Membership, Sequence[OwnWrite]]


def find_frozen(changes: Iterable[Change], writes: Writes) -> dict[Change, str]:
    """Give the changes that are not to be made, each with the reason; `writes` are our newest of each membership.

    Where an attach is frozen, the detaches of its driver wait too: nobody is to end up in no fleet.
    """
    changes = tuple(changes)
    stopped = {
        change: _story(latest)
        for change in changes
        if _repeats(change, latest := writes.get((change.driver, change.fleet), ())[:REVERSALS])
    }
    followers = {
        change: f"waits: the driver's attach to {fleet} is frozen, and nobody is left without a fleet"
        for change, fleet in attach_first.dependent_detaches(changes, stopped).items()
    }
    return followers | stopped


def _repeats(change: Change, latest: Sequence[OwnWrite]) -> bool:
    """Tell whether the newest writes are all this change for this row, and close together."""
    if len(latest) < REVERSALS or latest[0].made - latest[-1].made > WINDOW:
        return False
    return all((write.action, write.row) == (change.action, change.row) for write in latest)


def _story(latest: Sequence[OwnWrite]) -> str:
    """Tell what both sides did, the oldest first: each write shows that its run found the one before reversed."""
    oldest_first = latest[::-1]
    made = _listed([format_time(write.made) for write in oldest_first])
    seen = _listed([*(format_time(write.run_started) for write in oldest_first[1:]), "since the last"])
    return (
        f"we made this change at {made}, and each time somebody else reversed it: seen at {seen}; it is not made again"
        " until its row is edited or this plan is approved"
    )


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
