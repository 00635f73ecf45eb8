"""Delays a detach until its membership has been absent from the sources for a while.

Invariants: absences that one run finds are due in one run, so that a grace period never splits what the guard would
judge as a whole; what a run cannot judge keeps its time. Neighbours: `planner` says what is absent, `safety.guard`
judges what is due, `ports.Journal` remembers since when.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping

from worker.core.model.desired import Row
from worker.core.model.identifiers import Membership
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.problem import Problem
from worker.core.model.serialization import format_time

Absences = Mapping[Membership, datetime.datetime]
"""Since when memberships are absent."""


@dataclasses.dataclass(frozen=True, slots=True)
class GracePeriodResult:
    """A plan without the detaches that are not due yet, and when the next one of them is.

    `fresh` is absent from this run on, `over` is no longer.
    """

    plan: Plan
    newly_absent: frozenset[Membership] = frozenset()
    returned: frozenset[Membership] = frozenset()
    next_end: datetime.datetime | None = None


def apply_grace_period(
    plan: Plan, known: Absences, *, grace: datetime.timedelta, now: datetime.datetime
) -> GracePeriodResult:
    """Take the detaches that are not due at `now` out of a plan; each of them is told as a problem.

    `plan` was made with `known`, so that it says which of those it could not judge.
    """
    if not grace:
        # Else a time of long ago would make an absence due at once when there is a grace again.
        return GracePeriodResult(plan, returned=frozenset(known))
    absent = {(change.driver, change.fleet): change for change in plan.changes if change.action is Action.DETACH}
    ends = {membership: known.get(membership, now) + grace for membership in absent}
    later = {membership: end for membership, end in ends.items() if end > now}
    waiting = {absent[membership]: end for membership, end in later.items()}
    return GracePeriodResult(
        plan=dataclasses.replace(
            plan,
            changes=tuple(change for change in plan.changes if change not in waiting),
            problems=tuple(sorted({*plan.problems, *_problems(waiting.items(), grace=grace)})),
            later=frozenset(later),
        ),
        newly_absent=frozenset(absent.keys() - known.keys()),
        returned=frozenset(known.keys() - absent.keys() - plan.unjudged),
        next_end=min(later.values(), default=None),
    )


def _problems(waiting: Iterable[tuple[Change, datetime.datetime]], *, grace: datetime.timedelta) -> Iterable[Problem]:
    for change, end in waiting:
        where = str(change.origin or f"{change.driver}/{change.fleet}")
        yield Problem(
            where,
            f"{change.driver} in fleet {change.fleet} is absent from the sources since {format_time(end - grace)}; the"
            f" detach waits until {format_time(end)} (sync.detach_grace_seconds)",
            note=True,
        )


def next_boundary(
    rows: Iterable[Row], *, grace_ends: datetime.datetime | None = None, now: datetime.datetime
) -> datetime.datetime | None:
    """Give the first moment after `now` at which a row begins or ends, or a grace does; None where there is none."""
    moments = (moment for row in rows for moment in (row.starts, row.ends) if moment is not None and moment > now)
    boundary = min(moments, default=None)
    if grace_ends is None or grace_ends <= now:
        return boundary
    return grace_ends if boundary is None else min(boundary, grace_ends)
