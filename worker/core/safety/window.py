"""Limits on attaches and detaches, counted over a window so that many small runs cannot wear them down.

Invariant: detaches that an approval allowed do not count: they neither use up a limit nor enlarge the number of members
that its fraction refers to. Neighbours: `guard` applies the limits, `ports.Journal` has the changes.
"""

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Iterator

from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Action, RecentCounts
from worker.core.model.ports import OpenIntent, RecentChanges
from worker.core.model.serialization import format_time

DEFAULT_LENGTH = datetime.timedelta(hours=24)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Our changes within the last `length`, the oldest first."""

    changes: tuple[RecentChanges, ...] = ()
    length: datetime.timedelta = DEFAULT_LENGTH

    def of(self, fleets: Collection[FleetId]) -> "Window":
        """Return the window with the changes in these fleets only."""
        return dataclasses.replace(self, changes=tuple(each for each in self.changes if each.fleet in fleets))

    def without(self, writes: Iterable[OpenIntent]) -> "Window":
        """Return the window as if these writes had not been sent."""
        taken = collections.Counter(
            (each.recorded, each.intent.change.fleet, each.intent.change.action, each.intent.approved)
            for each in writes
        )
        left = (
            dataclasses.replace(each, count=each.count - taken[each.made, each.fleet, each.action, each.approved])
            for each in self.changes
        )
        return dataclasses.replace(self, changes=tuple(each for each in left if each.count > 0))

    def count(self, action: Action, *, approved: bool = False) -> int:
        """Return the number of attaches or detaches; those that an approval allowed only with `approved`."""
        counted = (each for each in self.changes if each.action is action and (approved or not each.approved))
        return sum(each.count for each in counted)

    def members_before(self, members: int) -> int:
        """Return how many of the present members and of those detached within the window were not attached within it.

        It is at most 0 if we attached more than there are.
        """
        return members + self.count(Action.DETACH) - self.count(Action.ATTACH, approved=True)

    def counts(self) -> RecentCounts:
        """Return what a plan says about the window."""
        both = [(self.count(action), self.count(action, approved=True)) for action in (Action.DETACH, Action.ATTACH)]
        return RecentCounts(
            hours=self.length / datetime.timedelta(hours=1),
            detached=both[0][0],
            attached=both[1][0],
            approved=sum(every - counted for counted, every in both),
            since=self.changes[0].made if self.changes else None,
        )

    def later(self) -> Iterator[tuple[datetime.datetime, "Window"]]:
        """Yield each time when changes leave the window, in order, with the window after it."""
        for end in sorted({each.made + self.length for each in self.changes}):
            rest = tuple(each for each in self.changes if each.made + self.length > end)
            yield end, dataclasses.replace(self, changes=rest)


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """A fraction of members that may be attached or detached within the window; the first `free` are never held."""

    code: str
    action: Action
    fraction: float
    free: int

    def is_exceeded(self, recent: Window, *, members: int, due: int) -> bool:
        """Return whether `due` changes after the recent ones exceed the limit. Without members only `free` counts."""
        total, before = recent.count(self.action) + due, recent.members_before(members)
        return total > self.free and (before <= 0 or total / before > self.fraction)

    def reason(self, recent: Window, *, members: int, due: int, where: str) -> str:
        """Return what would be exceeded, what was done within the window, and when the limit allows the changes."""
        done, before = recent.count(self.action), recent.members_before(members)
        total, verb = done + due, f"{self.action}ed"
        limit = f"more than {self.code} = {self.fraction:g}"
        if not recent.changes:
            share = f" ({due / members:.1%})" if members else ""
            return f"{due} of {_memberships(members)} {where}{share} would be {verb}, {limit}"
        since = format_time(recent.changes[0].made)
        other = Action.ATTACH if self.action is Action.DETACH else Action.DETACH
        share = f"{total} of {before} ({total / before:.1%})" if before > 0 else f"{total} of {max(before, 0)}"
        return (
            f"{_memberships(due)} {where} would be {verb}, after {done} {verb} and"
            f" {recent.count(other, approved=True)} {other}ed since {since}: together {share}, {limit}"
            f"{self._frees_at(recent, members=members, due=due)}"
        )

    def _frees_at(self, recent: Window, *, members: int, due: int) -> str:
        for end, rest in recent.later():
            if not self.is_exceeded(rest, members=members, due=due):
                return f"; allowed without an approval after {format_time(end)} if nothing else changes"
        return ""


def _memberships(count: int) -> str:
    return f"{count} membership" if count == 1 else f"{count} memberships"
