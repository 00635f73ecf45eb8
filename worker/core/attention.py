"""What somebody should look at, item by item, each with what it is about and what to do.

Invariant: the most urgent comes first. Neighbours: `status` is the snapshot, `guard` names what holds a change,
`overview` makes one sentence of the items, page and notices show them.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Iterator, Sequence

from worker.core import errors, guard, outcomes, report, status, values, words


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
class Item:
    """Something that somebody should look at. `digest` is what an approval must name, where one helps."""

    kind: Kind
    title: str
    message: str = ""
    remedy: str = ""
    since: datetime.datetime | None = None
    fleet: values.FleetId | None = None
    driver: values.DriverId | None = None
    guard: str = ""
    digest: str = ""
    code: str = ""
    request_id: str = ""
    changes: tuple[values.Change, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """What approving the present plan would let through."""

    digest: str
    held: tuple[values.Held, ...]


def items(present: status.Status) -> tuple[Item, ...]:
    """Give everything that somebody should look at, the most urgent first."""
    found = [*_broken(present)]
    if present.last is not None:
        found += [*_held(present.last), *_results(present.last), *_problems(present.last)]
    order = list(Kind)
    return tuple(sorted(found, key=lambda item: order.index(item.kind)))


def approval(present: status.Status) -> Approval | None:
    """Give what approving the plan of the last run would let through; None where there is nothing to approve."""
    judged = present.last.judged if present.last else None
    held = tuple(each for each in judged.held if each.guard != guard.MUST_SEE) if judged else ()
    return Approval(present.last.digest_left, held) if present.last and held else None


PARTS = {
    status.Part.KEY: ("Charge does not accept the key", "nothing is being changed"),
    status.Part.JOURNAL: ("The journal cannot be written", "nothing is being changed"),
    status.Part.CHARGE: ("Charge does not give clear answers", "nothing is being changed"),
    status.Part.SOURCE: ("The source cannot be read", "nothing is being changed"),
    status.Part.SETTINGS: ("The settings cannot be used", "the last good ones stay in use"),
}
"""What each broken part means, the worst first."""


def _broken(present: status.Status) -> Iterator[Item]:
    order = list(PARTS)
    for each in sorted(present.broken, key=lambda broken: order.index(broken.part)):
        what, effect = PARTS[each.part]
        title = f"{what} since {words.clock(each.since, present.now)}: {effect}"
        yield _error(title, each.error, since=each.since)
    error = present.last.error if present.last else None
    told = {each.error.message for each in present.broken}
    if present.last and error and error.message not in told and not present.last.cut_short:
        title = f"The last run failed at {words.clock(present.last.finished, present.now)}: not everything was done"
        yield _error(title, error, since=present.last.finished)


def _error(title: str, error: errors.FleetSyncError, *, since: datetime.datetime) -> Item:
    request = error.request_id if isinstance(error, errors.ChargeError) else None
    return Item(
        Kind.BROKEN,
        title,
        message=error.message,
        remedy=error.remedy,
        since=since,
        code=error.code,
        request_id=request or "",
    )


def _held(last: report.Report) -> Iterator[Item]:
    groups: dict[tuple[str, values.FleetId, str], list[values.Change]] = collections.defaultdict(list)
    for each in last.judged.held if last.judged else ():
        groups[each.guard, each.change.fleet, each.message].append(each.change)
    for (name, fleet, message), changes in groups.items():
        frozen = name in guard.FREEZING
        lifted = name != guard.MUST_SEE and last.judged is not None
        yield Item(
            Kind.FROZEN if frozen else Kind.HELD,
            f"{counted(changes)} {'frozen' if frozen else 'held'}",
            message=message,
            remedy=_HELD_REMEDIES.get(name, _APPROVE),
            fleet=fleet,
            guard=name,
            digest=last.digest_left if lifted else "",
            changes=tuple(changes),
        )


_APPROVE = "If this is what you want, approve exactly this plan; else correct the source."
_HELD_REMEDIES = {
    guard.MUST_SEE: "See that the key is this account's and the source is right; no approval lifts this.",
    guard.MOVED: "See whether this is the same person. If so, approve exactly this plan; else correct the source.",
    **dict.fromkeys(
        guard.FREEZING, "Find out who else changes this membership, and agree on one source; approving tries it again."
    ),
}


def _results(last: report.Report) -> Iterator[Item]:
    for result in last.results:
        match result.outcome:
            case outcomes.Refused():
                yield _unmade(Kind.REFUSED, result.change, result.outcome)
            case outcomes.Deferred() if result.outcome.code == outcomes.REFUSED_BEFORE:
                yield _unmade(Kind.REFUSED, result.change, result.outcome)
            case outcomes.Unknown():
                yield _unmade(Kind.UNKNOWN, result.change, result.outcome)
            case _:
                pass


def _unmade(
    kind: Kind, change: values.Change, outcome: outcomes.Refused | outcomes.Deferred | outcomes.Unknown
) -> Item:
    verb = "refused" if kind is Kind.REFUSED else "without a clear answer"
    remedy = "Nothing: the next run reads what became of it."
    if kind is Kind.REFUSED:
        remedy = _REFUSED_REMEDIES.get(outcome.code, _LOOK_UP)
    return Item(
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
    errors.NotFound.code: "See whether the driver and the fleet still exist in Charge, and correct the source.",
    outcomes.REFUSED_BEFORE: (
        "Charge refused it: it is tried again with growing pauses, and at once when its row changes."
    ),
}


def _problems(last: report.Report) -> Iterator[Item]:
    planned = last.judged.problems if last.judged else ()
    for problem in (*planned, *last.problems):
        yield Item(Kind.NOTE if problem.note else Kind.PROBLEM, problem.where, message=problem.message)


def counted(changes: Sequence[values.Change]) -> str:
    """Count changes by what they do: 3 detaches, 2 changes."""
    actions = {change.action.value for change in changes}
    (word,) = actions if len(actions) == 1 else ("change",)
    return words.counted(len(changes), word, f"{word}es" if word.endswith("ch") else "")
