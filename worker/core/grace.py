"""Lets a detach wait until its membership was absent from the sources for a while: who is back in time loses nothing.

Invariants: what one run finds absent is due in one run, so that a grace never cuts into pieces what the guard would
judge as a whole; what a run cannot judge keeps its time. Neighbours: `planner` says what is absent, `guard` judges
what is due, `ports.Journal` remembers since when.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping

from worker.core import formats, values

Absences = Mapping[values.Membership, datetime.datetime]
"""Since when memberships are absent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """A plan without the detaches that are not due yet, and when the next one of them is.

    `fresh` is absent from this run on, `over` is no longer.
    """

    plan: values.Plan
    fresh: frozenset[values.Membership] = frozenset()
    over: frozenset[values.Membership] = frozenset()
    next_end: datetime.datetime | None = None


def outlook(plan: values.Plan, known: Absences, *, grace: datetime.timedelta, now: datetime.datetime) -> Outlook:
    """Take the detaches that are not due at `now` out of a plan; each of them is told as a problem.

    `plan` was made with `known`, so that it says which of those it could not judge.
    """
    if not grace:
        # Else a time of long ago would make an absence due at once when there is a grace again.
        return Outlook(plan, over=frozenset(known))
    absent = {(change.driver, change.fleet): change for change in plan.changes if change.action is values.Action.DETACH}
    ends = {membership: known.get(membership, now) + grace for membership in absent}
    later = {membership: end for membership, end in ends.items() if end > now}
    waiting = {absent[membership]: end for membership, end in later.items()}
    return Outlook(
        plan=dataclasses.replace(
            plan,
            changes=tuple(change for change in plan.changes if change not in waiting),
            problems=tuple(sorted({*plan.problems, *_problems(waiting.items(), grace=grace)})),
            later=frozenset(later),
        ),
        fresh=frozenset(absent.keys() - known.keys()),
        over=frozenset(known.keys() - absent.keys() - plan.unjudged),
        next_end=min(later.values(), default=None),
    )


def _problems(
    waiting: Iterable[tuple[values.Change, datetime.datetime]], *, grace: datetime.timedelta
) -> Iterable[values.Problem]:
    for change, end in waiting:
        where = str(change.origin or f"{change.driver}/{change.fleet}")
        yield values.Problem(
            where,
            f"{change.driver} in fleet {change.fleet} is absent from the sources since {formats.time(end - grace)}; the"
            f" detach waits until {formats.time(end)} (sync.detach_grace_seconds)",
            note=True,
        )
