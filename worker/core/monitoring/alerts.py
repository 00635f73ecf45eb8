"""What somebody should look at, item by item, each with what it is about and what to do.

Invariant: the most urgent comes first. Neighbours: `status` is the snapshot, `guard` names what holds a change,
`overview` makes one sentence of the items, page and notices show them.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Iterator, Sequence

from worker.core.model.errors import ChargeError, FleetSyncError, NotFound
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import REFUSED_BEFORE, Deferred, Refused, Unknown
from worker.core.model.plan import Change, HeldChange
from worker.core.model.report import Report
from worker.core.monitoring import humanize, status
from worker.core.safety import guard


class Kind(enum.StrEnum):
    """What an item is about, the most urgent first. A note is harmless."""

    BROKEN = "broken"
    HELD = "held"
    FROZEN = "frozen"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PROBLEM = "problem"
    NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should look at. `digest` is what an approval must name, where one helps."""

    kind: Kind
    title: str
    message: str = ""
    remedy: str = ""
    since: datetime.datetime | None = None
    fleet: FleetId | None = None
    driver: DriverId | None = None
    guard: str = ""
    digest: str = ""
    code: str = ""
    request_id: str = ""
    changes: tuple[Change, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """What approving the present plan would let through."""

    digest: str
    held: tuple[HeldChange, ...]


def alerts(present: status.Status) -> tuple[Alert, ...]:
    """Give everything that somebody should look at, the most urgent first."""
    found = [*_broken(present)]
    if present.last is not None:
        found += [*_held(present.last), *_results(present.last), *_problems(present.last)]
    order = list(Kind)
    return tuple(sorted(found, key=lambda item: order.index(item.kind)))


def approval(present: status.Status) -> Approval | None:
    """Give what approving the plan of the last run would let through; None where there is nothing to approve."""
    guarded = present.last.guarded if present.last else None
    held = tuple(each for each in guarded.held if each.guard != guard.MUST_SEE) if guarded else ()
    return Approval(present.last.remaining_digest, held) if present.last and held else None


PARTS = {
    status.Part.KEY: ("Charge does not accept the key", "nothing is being changed"),
    status.Part.JOURNAL: ("The journal cannot be written", "nothing is being changed"),
    status.Part.CHARGE: ("Charge does not give clear answers", "nothing is being changed"),
    status.Part.SOURCE: ("The source cannot be read", "nothing is being changed"),
    status.Part.SETTINGS: ("The settings cannot be used", "the last good ones stay in use"),
}
"""What each broken part means, the worst first."""


def _broken(present: status.Status) -> Iterator[Alert]:
    order = list(PARTS)
    for each in sorted(present.broken, key=lambda broken: order.index(broken.part)):
        what, effect = PARTS[each.part]
        title = f"{what} since {humanize.time_of_day(each.since, present.now)}: {effect}"
        yield _error(title, each.error, since=each.since)
    error = present.last.error if present.last else None
    told = {each.error.message for each in present.broken}
    if present.last and error and error.message not in told and not present.last.was_interrupted:
        ended = humanize.time_of_day(present.last.finished, present.now)
        title = f"The last run failed at {ended}: not everything was done"
        yield _error(title, error, since=present.last.finished)


def _error(title: str, error: FleetSyncError, *, since: datetime.datetime) -> Alert:
    request = error.request_id if isinstance(error, ChargeError) else None
    return Alert(
        Kind.BROKEN,
        title,
        message=error.message,
        remedy=error.remedy,
        since=since,
        code=error.code,
        request_id=request or "",
    )


def _held(last: Report) -> Iterator[Alert]:
    groups: dict[tuple[str, FleetId, str], list[Change]] = collections.defaultdict(list)
    for each in last.guarded.held if last.guarded else ():
        groups[each.guard, each.change.fleet, each.message].append(each.change)
    for (name, fleet, message), changes in groups.items():
        frozen = name in guard.FREEZING
        lifted = name != guard.MUST_SEE and last.guarded is not None
        yield Alert(
            Kind.FROZEN if frozen else Kind.HELD,
            f"{counted(changes)} {'frozen' if frozen else 'held'}",
            message=message,
            remedy=_HELD_REMEDIES.get(name, _APPROVE),
            fleet=fleet,
            guard=name,
            digest=last.remaining_digest if lifted else "",
            changes=tuple(changes),
        )


_APPROVE = "If this is what you want, approve exactly this plan; else correct the source."
_HELD_REMEDIES = {
    guard.MUST_SEE: "See that the key is this account's and the source is right; no approval lifts this.",
    guard.REFERENCE_MOVED: (
        "Check whether this is the same person. If so, approve exactly this plan; if not, correct the source."
    ),
    **dict.fromkeys(
        guard.FREEZING, "Find out who else changes this membership, and agree on one source; approving tries it again."
    ),
}


def _results(last: Report) -> Iterator[Alert]:
    for result in last.results:
        match result.outcome:
            case Refused():
                yield _unmade(Kind.REFUSED, result.change, result.outcome)
            case Deferred() if result.outcome.code == REFUSED_BEFORE:
                yield _unmade(Kind.REFUSED, result.change, result.outcome)
            case Unknown():
                yield _unmade(Kind.UNKNOWN, result.change, result.outcome)
            case _:
                pass


def _unmade(kind: Kind, change: Change, outcome: Refused | Deferred | Unknown) -> Alert:
    verb = "refused" if kind is Kind.REFUSED else "without a clear answer"
    remedy = "Nothing: the next run reads what became of it."
    if kind is Kind.REFUSED:
        remedy = _REFUSED_REMEDIES.get(outcome.code, _LOOK_UP)
    return Alert(
        kind,
        f"{change.action.value.capitalize()} {verb}",
        message=outcome.message,
        remedy=remedy,
        fleet=change.fleet,
        driver=change.driver,
        code=outcome.code,
        request_id=outcome.request_id or "",
        changes=(change,),
    )


_LOOK_UP = (
    "Look the code up in Charge's API reference, or give Charge's support the request id. "
    "It is tried again with growing pauses, and at once when its row changes."
)
_REFUSED_REMEDIES = {
    NotFound.code: "See whether the driver and the fleet still exist in Charge, and correct the source.",
    REFUSED_BEFORE: ("Charge refused it: it is tried again with growing pauses, and at once when its row changes."),
}


def _problems(last: Report) -> Iterator[Alert]:
    planned = last.guarded.problems if last.guarded else ()
    for problem in (*planned, *last.problems):
        yield Alert(Kind.NOTE if problem.note else Kind.PROBLEM, problem.where, message=problem.message)


def counted(changes: Sequence[Change]) -> str:
    """Count changes by what they do: 3 detaches, 2 changes."""
    actions = {change.action.value for change in changes}
    (word,) = actions if len(actions) == 1 else ("change",)
    return humanize.count(len(changes), word, f"{word}es" if word.endswith("ch") else "")
