"""Delays a detach until its membership has been absent from the sources for the grace period.

Invariants: absences that one run finds become due in one run, so that the guard evaluates them together; an absence
that a run cannot decide keeps its start time. Neighbours: `planner` finds absences, `safety.guard` evaluates the
detaches that are due, `ports.Journal` remembers when each absence began.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence

from worker.core.model.desired import Row
from worker.core.model.identifiers import Membership
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.rows import Rows
from worker.core.model.serialization import format_time

Absences = Mapping[Membership, datetime.datetime]
"""Absent memberships, each with the time since when."""


@dataclasses.dataclass(frozen=True, slots=True)
class GracePeriodResult:
    """A plan without the detaches that are not due yet.

    `newly_absent` are absent since this run, `returned` no longer. `next_end` is when the next grace period ends.
    """

    plan: Plan
    newly_absent: frozenset[Membership] = frozenset()
    returned: frozenset[Membership] = frozenset()
    next_end: datetime.datetime | None = None


def apply_grace_period(
    plan: Plan, known: Absences, *, grace: datetime.timedelta, now: datetime.datetime
) -> GracePeriodResult:
    """Remove the detaches that are not due at `now` from a plan, and add a note for each.

    `plan` must have been made with the absences `known`: its `undecided` refers to them.
    """
    if not grace:
        # Forget all absences: an old start time would make a detach due at once when a grace period is set again.
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
        returned=frozenset(known.keys() - absent.keys() - plan.undecided),
        next_end=min(later.values(), default=None),
    )


def _problems(waiting: Iterable[tuple[Change, datetime.datetime]], *, grace: datetime.timedelta) -> Iterable[Problem]:
    for change, end in waiting:
        where = str(change.origin or f"{change.driver}/{change.fleet}")
        yield Problem(
            where,
            f"{change.driver} in fleet {change.fleet} is absent from the sources since {format_time(end - grace)}; it"
            f" is detached after {format_time(end)} (sync.detach_grace_seconds)",
            note=True,
            code=ProblemCode.DETACH_DELAYED,
        )


def next_boundary(
    rows: Sequence[Row], *, grace_ends: datetime.datetime | None = None, now: datetime.datetime
) -> datetime.datetime | None:
    """Return the next time after `now` when a row begins or ends or a grace period ends, or None."""
    dated = Rows.of(rows).dated
    moments = (moment for row in dated for moment in (row.starts, row.ends) if moment is not None and moment > now)
    boundary = min(moments, default=None)
    if grace_ends is None or grace_ends <= now:
        return boundary
    return grace_ends if boundary is None else min(boundary, grace_ends)
