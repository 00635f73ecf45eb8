"""Says in words what a snapshot of the service means: is everything all right, and if not, what needs whom.

Invariant: the same snapshot gives the same words, and the most urgent comes first. Neighbours: `status` is the
snapshot, `fleets` counts, `guard` names what holds a change, the `status` edge and the notices show what this says.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Iterator, Sequence
from typing import assert_never

from worker.core import errors, guard, outcomes, report, status, values, words

REFUSED_BEFORE = "refused_before"
"""The code of a change that is not tried this time, because Charge refused it lately."""

"""The guards that hold a membership because it did not stay as it was made."""


class Condition(enum.StrEnum):
    """How things are, in one word."""

    STARTING = "starting"
    STANDING_BY = "standing_by"
    IN_SYNC = "in_sync"
    WORKING = "working"
    DRIFTING = "drifting"
    ATTENTION = "attention"
    BROKEN = "broken"


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


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """How things are: in one word, in words that stand still while nothing changes, in one sentence, item by item.

    `headline` also says how fresh that is; `items` are what somebody should look at, the most urgent first.
    """

    condition: Condition
    gist: str
    headline: str
    items: tuple[Item, ...]


def summary(present: status.Status) -> Summary:
    """Say how things are. Goes through everything that is held or was refused, once."""
    items = attention(present)
    urgent = tuple(item for item in items if item.kind is not Kind.NOTE)
    condition = _condition(present, urgent)
    gist = _gist(present, condition, urgent)
    return Summary(condition, gist, _headline(present, condition, gist), items)


# --- Is everything all right? -----------------------------------------------------------------------------


def _condition(present: status.Status, urgent: Sequence[Item]) -> Condition:
    """Give the one word: the worst first, and a routine look at what is in sync disturbs nobody."""
    if any(item.kind is Kind.BROKEN for item in urgent):
        return Condition.BROKEN
    if present.standing_by:
        return Condition.STANDING_BY
    if present.last is None:
        return Condition.STARTING
    if urgent:
        return Condition.ATTENTION
    if present.running and (present.running.stage == status.CHANGING or _drifted(present)):
        return Condition.WORKING
    return Condition.DRIFTING if _drifted(present) else Condition.IN_SYNC


def _gist(present: status.Status, condition: Condition, urgent: Sequence[Item]) -> str:
    match condition:
        case Condition.BROKEN | Condition.ATTENTION:
            return _urgency(urgent)
        case Condition.STANDING_BY:
            return f"Standing by: {present.standing_by}"
        case Condition.STARTING:
            stage = present.running.stage if present.running else ""
            return f"Starting: the first run is on its way{f' ({stage.lower()})' if stage else ''}"
        case Condition.WORKING:
            return "Working: changing memberships"
        case Condition.DRIFTING:
            drifting = [fleet for fleet in present.fleets if fleet.drifted]
            where = f"{words.counted(_drifted(present), 'membership')} in {words.counted(len(drifting), 'fleet')}"
            return f"Drifted: {where} not yet as they should be"
        case Condition.IN_SYNC:
            return f"In sync: {_size(present)}"
        case _ as never:  # pragma: no cover
            assert_never(never)


def _headline(present: status.Status, condition: Condition, gist: str) -> str:
    match condition:
        case Condition.WORKING if present.running and present.running.total:
            return f"{gist}, {present.running.done:,} of {present.running.total:,} done."
        case Condition.IN_SYNC | Condition.DRIFTING:
            return f"{gist}, {_checked(present)}{_following(present)}."
        case _:
            return f"{gist}."


def _size(present: status.Status) -> str:
    members = sum(fleet.in_sync for fleet in present.fleets)
    return f"{words.counted(len(present.fleets), 'fleet')}, {words.counted(members, 'membership')}"


def _checked(present: status.Status) -> str:
    return f"checked {words.ago(present.last.finished, present.now)}" if present.last else "not checked yet"


def _following(present: status.Status) -> str:
    if present.running:
        return ", checking again now"
    return f", next {words.ahead(present.next_run, present.now)}" if present.next_run else ""


def _urgency(urgent: Sequence[Item]) -> str:
    """Say what is most urgent, and how much else there is."""
    first = urgent[0].kind
    same = [item for item in urgent if item.kind is first]
    others = len(urgent) - len(same)
    more = f"; {words.counted(others, 'more thing needs', 'more things need')} a look" if others else ""
    return f"{_SENTENCES[first](same)}{more}"


def _first_title(items: Sequence[Item]) -> str:
    return items[0].title


def _held_sentence(items: Sequence[Item]) -> str:
    held = [change for item in items for change in item.changes]
    are, they_wait = ("is", "it waits") if len(held) == 1 else ("are", "they wait")
    if not any(item.digest for item in items):
        return f"{_changes(held)} {are} held, and no approval lifts that: what was read cannot be right"
    return f"{_changes(held)} {are} held: {they_wait} for your approval"


def _frozen_sentence(items: Sequence[Item]) -> str:
    count = sum(len(item.changes) for item in items)
    return f"{words.counted(count, 'membership is', 'memberships are')} frozen: what was changed did not stay so"


def _refused_sentence(items: Sequence[Item]) -> str:
    return f"Charge refused {words.counted(len(items), 'change')}"


def _unknown_sentence(items: Sequence[Item]) -> str:
    return f"What became of {words.counted(len(items), 'change')} is not known yet: the next run looks"


def _problem_sentence(items: Sequence[Item]) -> str:
    return f"{words.counted(len(items), 'problem')} in what was read: fleets concerned lose nobody until it is solved"


_SENTENCES = {
    Kind.BROKEN: _first_title,
    Kind.HELD: _held_sentence,
    Kind.FROZEN: _frozen_sentence,
    Kind.REFUSED: _refused_sentence,
    Kind.UNKNOWN: _unknown_sentence,
    Kind.PROBLEM: _problem_sentence,
}


# --- What needs attention ---------------------------------------------------------------------------------


def attention(present: status.Status) -> tuple[Item, ...]:
    """Give everything that somebody should look at, the most urgent first."""
    items = [*_broken(present)]
    if present.last is not None:
        items += [*_held(present.last), *_results(present.last), *_problems(present.last)]
    order = list(Kind)
    return tuple(sorted(items, key=lambda item: order.index(item.kind)))


def approval(present: status.Status) -> Approval | None:
    """Give what approving the plan of the last run would let through; None where there is nothing to approve."""
    judged = present.last.judged if present.last else None
    held = tuple(each for each in judged.held if each.guard != guard.MUST_SEE) if judged else ()
    return Approval(judged.digest, held) if judged and held else None


def _drifted(present: status.Status) -> int:
    return sum(fleet.drifted for fleet in present.fleets)


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
            f"{_changes(changes)} {'frozen' if frozen else 'held'}",
            message=message,
            remedy=_HELD_REMEDIES.get(name, _APPROVE),
            fleet=fleet,
            guard=name,
            digest=last.judged.digest if lifted and last.judged else "",
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
            case outcomes.Deferred() if result.outcome.code == REFUSED_BEFORE:
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
    REFUSED_BEFORE: "Charge refused it: it is tried again with growing pauses, and at once when its row changes.",
}


def _problems(last: report.Report) -> Iterator[Item]:
    planned = last.judged.problems if last.judged else ()
    for problem in (*planned, *last.problems):
        yield Item(Kind.NOTE if problem.note else Kind.PROBLEM, problem.where, message=problem.message)


def refused(outcome: outcomes.Outcome) -> bool:
    """Tell whether Charge does not allow a change, as it said now or lately."""
    return isinstance(outcome, outcomes.Refused) or (
        isinstance(outcome, outcomes.Deferred) and outcome.code == REFUSED_BEFORE
    )


def _changes(changes: Sequence[values.Change]) -> str:
    actions = {change.action.value for change in changes}
    (word,) = actions if len(actions) == 1 else ("change",)
    return words.counted(len(changes), word, f"{word}es" if word.endswith("ch") else "")
