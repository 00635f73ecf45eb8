"""Decides whether this machine's clock can be trusted, and takes out of a plan what depends on the time.

Charge's own clock decides: every reply states its time. Invariant: under a clock that is not trusted, a plan has no
detaches, nothing is wanted by a row with dates, and no absence is recorded or forgotten. Neighbours:
`engine.clock_check` collects what that needs, `engine.plan_builder` restricts plans, `membership_writer` asks before
each attempt.
"""

import dataclasses
import datetime
from collections.abc import Sequence

from worker.core.model.actual import StatedTime
from worker.core.model.errors import ClockNotTrusted
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change, GuardedPlan, Plan
from worker.core.model.problem import Problem, ProblemCode

TOLERANCE = datetime.timedelta(minutes=5)
"""How far the clock may be from Charge's. Larger than the latency of a request; Charge states whole seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClockReading:
    """This machine's clocks at one moment: `now` may be wrong; `uptime` is in seconds and only moves forward."""

    now: datetime.datetime
    uptime: float


@dataclasses.dataclass(frozen=True, slots=True)
class Assessment:
    """Why the clock is not trusted, or an empty text, and what it shows; the time is from `earliest` to `latest`."""

    reason: str
    now: datetime.datetime
    earliest: datetime.datetime
    latest: datetime.datetime

    @property
    def trusted(self) -> bool:
        """Return whether the clock is trusted."""
        return not self.reason

    @property
    def problem(self) -> Problem:
        """Return what the operator is told. It stays the same while only time passes."""
        message = f"{self.reason}: no driver is detached, and rows with dates and approvals have no effect"
        return Problem("clock", message, code=ProblemCode.CLOCK_NOT_TRUSTED, remedy=ClockNotTrusted.remedy)


def assess(
    present: ClockReading,
    *,
    began: ClockReading,
    stated: Sequence[StatedTime],
    newest_entry: datetime.datetime | None,
) -> Assessment:
    """Compare the clock with the times that Charge stated in this run, or without any with what else is known.

    `began` is from the start of the run. `newest_entry` is the time of the journal's newest entry before this run: a
    clock that is behind it was set back, or was ahead then. A clock that is ahead cannot be noticed by that.
    """
    if stated:
        ahead = -_median([_charge_ahead(each, present) for each in stated])
        compared = "Charge's"
    elif newest_entry is not None and newest_entry - present.now > TOLERANCE:
        ahead = present.now - newest_entry
        compared = "the newest entry of the journal, and Charge's replies state no time"
    else:
        ahead = (present.now - began.now) - datetime.timedelta(seconds=present.uptime - began.uptime)
        compared = "what it was at the start of the run"
    if abs(ahead) <= TOLERANCE:
        return Assessment("", present.now, present.now, present.now)
    side = "ahead of" if ahead > datetime.timedelta() else "behind"
    reason = f"this machine's clock is {_roughly(abs(ahead))} {side} {compared}"
    right = present.now - ahead
    return Assessment(reason, present.now, min(present.now, right), max(present.now, right))


def _charge_ahead(each: StatedTime, present: ClockReading) -> datetime.timedelta:
    """Return how far Charge's clock is ahead of this machine's now, by what it stated some time ago."""
    return each.time - present.now + datetime.timedelta(seconds=present.uptime - each.uptime)


def _median(differences: Sequence[datetime.timedelta]) -> datetime.timedelta:
    """Return the median, so that a few replies with a wrong time change nothing.

    Of the two middle ones it takes the one by which it is later: a cache can make the time of a reply too old, but not
    too new.
    """
    return sorted(differences)[len(differences) // 2]


def _roughly(length: datetime.timedelta) -> str:
    """Return a length of time in one unit, so that a problem does not change while only time passes."""
    minutes = int(length.total_seconds()) // 60
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def restrict(plan: Plan, clock: Assessment) -> Plan:
    """Return the plan; by a clock that is not trusted, without its detaches and with the problem.

    These detaches count as delayed, as by a grace period: the guard still sees them.
    """
    if clock.trusted:
        return plan
    return dataclasses.replace(
        plan,
        changes=tuple(change for change in plan.changes if not is_forbidden(change)),
        problems=tuple(sorted({*plan.problems, clock.problem})),
        later=frozenset((change.driver, change.fleet) for change in plan.changes if is_forbidden(change)),
    )


def forbidden(saved: GuardedPlan, clock: Assessment) -> dict[Change, Outcome]:
    """Return the changes of a saved plan that must wait for a clock that is trusted."""
    if clock.trusted:
        return {}
    return {
        change: Deferred(0, ClockNotTrusted.code, f"not sent: {clock.reason}")
        for change in saved.changes
        if is_forbidden(change, dated=change in saved.dated)
    }


def is_forbidden(change: Change, *, dated: bool = False) -> bool:
    """Return whether a change must not be made under a clock that is not trusted; `dated` if its rows have dates."""
    return dated or change.action is Action.DETACH
