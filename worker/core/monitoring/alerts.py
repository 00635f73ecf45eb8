"""Lists what needs attention as alerts, each with its subject and its remedy.

Invariant: the most urgent alert comes first. Neighbours: `status` is the snapshot, `safety.guard` defines the guard
codes, `summary` counts alerts, `web` shows them.
"""

import collections
import dataclasses
import datetime
import enum
from collections.abc import Iterator, Sequence

from worker.core.model.errors import ChargeError, FleetSyncError, NotFound
from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import REFUSED_BEFORE, ChangeResult, Deferred, Refused, Stale, Unknown
from worker.core.model.people import clean
from worker.core.model.plan import Change, HeldChange
from worker.core.model.problem import ProblemCode
from worker.core.model.report import Report
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import humanize, reasons, status
from worker.core.safety import guard, refusal_backoff


class Kind(enum.StrEnum):
    """What an alert is about, the most urgent first. A note is harmless."""

    BROKEN = "broken"
    PAUSED = "paused"
    HELD = "held"
    FROZEN = "frozen"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PROBLEM = "problem"
    NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """Something that needs attention, about the `changes`. `digest` is what to approve, if an approval helps.

    At `next_try` the first of the changes is tried again.
    """

    kind: Kind
    title: str
    message: str = ""
    remedy: str = ""
    since: datetime.datetime | None = None
    fleet: FleetId | None = None
    guard: str = ""
    digest: str = ""
    code: str = ""
    request_id: str = ""
    changes: tuple[Change, ...] = ()
    next_try: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """What an approval of the current plan would allow: changes, and sources that lost rows."""

    digest: str
    held: tuple[HeldChange, ...]
    shrunk: tuple[ShrunkSource, ...] = ()


def alerts(present: status.Status) -> tuple[Alert, ...]:
    """Return all alerts, the most urgent first."""
    found = [*_broken(present), *_paused(present)]
    if present.last is not None:
        found += [*_held(present.last), *_results(present.last), *_problems(present.last)]
    order = list(Kind)
    return tuple(sorted(found, key=lambda alert: order.index(alert.kind)))


def approval(present: status.Status) -> Approval | None:
    """Return what an approval of the last run's plan would allow, or None if there is nothing to approve."""
    guarded = present.last.guarded if present.last else None
    if guarded is None:
        return None
    held = tuple(each for each in guarded.held if each.guard != guard.MUST_SEE)
    return Approval(guarded.held_digest, held, guarded.shrunk) if held or guarded.shrunk else None


PARTS = {
    status.Part.KEY: ("Charge rejects the key", "no changes are made"),
    status.Part.JOURNAL: ("The journal cannot be written", "no changes are made"),
    status.Part.CHARGE: ("Charge does not reply properly", "no changes are made"),
    status.Part.CLOCK: ("This machine's clock is not trusted", "no one is detached"),
    status.Part.SOURCE: ("The source cannot be read", "no changes are made"),
    status.Part.SETTINGS: ("The settings are invalid", "the last valid ones stay in use"),
}
"""The title and the effect of each broken part, the worst first."""

_TITLES = {"source_stale": "A source is too old"}
"""The titles of errors that say more than that a part is broken."""


def _broken(present: status.Status) -> Iterator[Alert]:
    order = list(PARTS)
    for each in sorted(present.broken, key=lambda broken: order.index(broken.part)):
        what, effect = PARTS[each.part]
        what = _TITLES.get(each.error.code, what)
        title = f"{what} since {humanize.time_of_day(each.since, present.now)}: {effect}"
        yield _error(title, each.error, since=each.since)
    error = present.last.error if present.last else None
    listed = {each.error.message for each in present.broken}
    if present.last and error and error.message not in listed and not present.last.was_interrupted:
        ended = humanize.time_of_day(present.last.finished, present.now)
        title = f"The last run failed at {ended}: some changes were not made"
        yield _error(title, error, since=present.last.finished)


def _paused(present: status.Status) -> Iterator[Alert]:
    for pause in present.pauses:
        until = f"until {humanize.time_of_day(pause.until, present.now)}" if pause.until else "until someone resumes"
        only = f" --fleet {pause.fleet}" if pause.fleet else ""
        others = "" if pause.fleet or len(present.pauses) == 1 else " Either ends the pauses of single fleets too."
        by = f" by {clean(pause.by)}" if pause.by else ""
        yield Alert(
            Kind.PAUSED,
            f"{'Writes' if pause.fleet else 'All writes'} are paused{by}, {until}",
            message=clean(pause.reason),
            remedy=f"To go on, use Resume or `fleet-sync resume{only}`.{others}",
            since=pause.since,
            fleet=pause.fleet,
        )


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
    """Yield an alert for each source that shrank, with the changes held for it, and for each other reason to hold."""
    if last.guarded is None:
        return
    groups = {
        group.reason: group
        for group in reasons.group(
            last.guarded.held, reason=lambda each: (each.guard, each.message), fleet=lambda each: each.change.fleet
        )
    }
    for shrunk in last.guarded.shrunk:
        group = groups.pop((guard.SOURCE_SHRANK, shrunk.message), None)
        yield Alert(
            Kind.HELD,
            "A source lost too many rows: detaches are held",
            message=shrunk.message,
            remedy=_HELD_REMEDIES[guard.SOURCE_SHRANK],
            guard=guard.SOURCE_SHRANK,
            digest=last.held_digest,
            changes=_changes(group) if group else (),
        )
    for (name, message), group in groups.items():
        frozen = name in guard.FREEZING
        changes = _changes(group)
        where = "" if group.fleet else f" in {humanize.count(len(group.fleets), 'fleet')}"
        yield Alert(
            Kind.FROZEN if frozen else Kind.HELD,
            f"{counted(changes)} {'frozen' if frozen else 'held'}{where}",
            message=message,
            remedy=_HELD_REMEDIES.get(name, _APPROVE),
            fleet=group.fleet,
            guard=name,
            digest="" if name == guard.MUST_SEE else last.held_digest,
            changes=changes,
        )


def _changes(group: reasons.Group[tuple[str, str], HeldChange]) -> tuple[Change, ...]:
    return tuple(each.change for held in group.fleets.values() for each in held)


_APPROVE = "If this is what you want, approve exactly this plan; if not, correct the source."
_HELD_REMEDIES = {
    guard.SOURCE_SHRANK: "Check whether the source is whole. If it is meant to be smaller, approve exactly this plan.",
    guard.SOURCE_REWRITTEN: (
        "Find out who rewrote the history of the source. If that is right, approve exactly this plan; if not, restore "
        "the branch."
    ),
    guard.MUST_SEE: (
        "Check that the key belongs to this account and that the source is correct. This cannot be approved."
    ),
    guard.REFERENCE_MOVED: (
        "Check whether this is the same person or fleet. If so, approve exactly this plan; if not, correct the source."
    ),
    **dict.fromkeys(
        guard.FREEZING,
        "Find out who else changes this membership, and keep it in one place only. An approval tries once more.",
    ),
}


def _results(last: Report) -> Iterator[Alert]:
    """Yield an alert for each fleet and code, with every change that it is about."""
    groups: dict[tuple[Kind, FleetId, str], list[ChangeResult]] = collections.defaultdict(list)
    for result in last.results:
        match result.outcome:
            case Refused():
                groups[Kind.REFUSED, result.change.fleet, result.outcome.code].append(result)
            case Deferred() if result.outcome.code == REFUSED_BEFORE:
                earlier = refusal_backoff.earlier_refusal(result.outcome)
                groups[Kind.REFUSED, result.change.fleet, earlier[0] if earlier else REFUSED_BEFORE].append(result)
            case Unknown():
                groups[Kind.UNKNOWN, result.change.fleet, result.outcome.code].append(result)
            case _:
                pass
    for (kind, _, code), results in groups.items():
        yield _not_done(kind, code, results)


def _not_done(kind: Kind, code: str, results: Sequence[ChangeResult]) -> Alert:
    changes, outcomes = tuple(result.change for result in results), [result.outcome for result in results]
    state = "refused" if kind is Kind.REFUSED else "without a clear reply"
    remedy = "Nothing to do: the next run finds out whether it took effect."
    if kind is Kind.REFUSED:
        remedy = _REFUSED_REMEDIES.get(code, _REFUSED)
    waiting = (refusal_backoff.earlier_refusal(each) for each in outcomes if isinstance(each, Deferred))
    return Alert(
        kind,
        f"{counted(changes)} {state}",
        message=outcomes[0].message,
        remedy=remedy,
        fleet=changes[0].fleet,
        code=code,
        request_id=next((each.request_id for each in outcomes if not isinstance(each, Stale) and each.request_id), ""),
        changes=changes,
        next_try=min((earlier[1] for earlier in waiting if earlier), default=None),
    )


_REFUSED = (
    "Look up the code in Charge's API reference, or give Charge's support the request id. "
    "The change is tried again after longer and longer pauses, and at once when its row changes."
)
_REFUSED_REMEDIES = {
    NotFound.code: "Check whether the driver and the fleet still exist in Charge, and correct the source.",
    REFUSED_BEFORE: ("The change is tried again after longer and longer pauses, and at once when its row changes."),
}


def _problems(last: Report) -> Iterator[Alert]:
    planned = last.guarded.problems if last.guarded else ()
    for problem in (*planned, *last.problems):
        if problem.code is ProblemCode.CLOCK_NOT_TRUSTED:
            continue  # it is a broken part
        kind = Kind.NOTE if problem.note else Kind.PROBLEM
        yield Alert(kind, problem.where, message=problem.message, remedy=problem.remedy, code=problem.code.value)


def counted(changes: Sequence[Change]) -> str:
    """Return the number of changes with their common noun, as in `3 detaches` or `2 changes`."""
    actions = {change.action.value for change in changes}
    (word,) = actions if len(actions) == 1 else ("change",)
    return humanize.count(len(changes), word, f"{word}es" if word.endswith("ch") else "")
