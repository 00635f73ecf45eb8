"""Decides what others are told of the service, and in which words.

Invariant: a state is told once, when it begins, and once more when it has ended; what was told is a value (`Told`)
that lives as long as the process. Neighbours: `status` is what is looked at, `overview` words it for the status
page, `notices.webhook` delivers.

The text is plain, as Slack and those who speak like it expect it. Names and messages come from documents and from
Charge: whatever in them could be read as markup, a mention, another line or a key is defused.
"""

import collections
import dataclasses
import datetime
import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import ChangeResult, is_refusal
from worker.core.model.plan import Action, GuardedPlan
from worker.core.model.report import Report
from worker.core.model.secret import redact
from worker.core.model.serialization import Document, change_document, error_document, format_time, result_document
from worker.core.monitoring import alerts, humanize, status
from worker.core.safety import guard

MOST_ITEMS = 20
"""So many items are in a body, the first ones; the numbers beside them count all."""

RUN = "run"
"""What is broken where a run failed for a reason that is none of `status.Part`."""

_MOST_LINES = 5
_LONGEST_NAME = 80
_LONGEST_MESSAGE = 400

_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_UNSEEN = "\N{ZERO WIDTH SPACE}"

_Failure = tuple[datetime.datetime, FleetSyncError]
_Change = tuple[str, int, str]


class Kind(enum.StrEnum):
    """What a notice is about."""

    BROKEN = "broken"
    HELD = "held"
    REFUSED = "refused"
    RECOVERED = "recovered"


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """One message: what it is about, its text, and the whole JSON document with it."""

    kind: Kind
    text: str
    body: Document


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationState:
    """What was told and has not ended: the plans with held changes, by digest; refused changes; broken parts."""

    held: frozenset[str] = frozenset()
    refused: frozenset[_Change] = frozenset()
    broken: frozenset[str] = frozenset()


def diff(present: status.Status, told: NotificationState) -> tuple[tuple[Notification, ...], NotificationState]:
    """Give what is to be told of the present state, the most urgent first, and what has been told then.

    `present` is to be a snapshot from after a run, or from when a part broke or worked again: not from in between.
    """
    broken, held, refused = _broken_now(present, told.broken), _held_now(present), _refused_now(present)
    after = NotificationState(
        held=told.held if held is None else held and told.held | held,
        refused=_still_refused(present, told.refused) | {result.change.order for result in refused},
        broken=frozenset(broken),
    )
    found: list[Notification] = []
    if new := {part: failure for part, failure in broken.items() if part not in told.broken}:
        found.append(_broken(present, new))
    if present.last and present.last.guarded and after.held - told.held:
        found.append(_held(present, present.last, present.last.guarded))
    if fresh := after.refused - told.refused:
        found.append(
            _refused(present, sorted(refused, key=lambda result: result.change.order not in fresh), len(fresh))
        )
    if over := tuple(_over(told, after)):
        found.append(_recovered(present, over))
    return tuple(found), after


# --- What is the case -------------------------------------------------------------------------------------


def _broken_now(present: status.Status, told: frozenset[str]) -> Mapping[str, _Failure]:
    """Give what is broken, by its name; a failed run only where nothing else explains it."""
    found: dict[str, _Failure] = {each.part.value: (each.since, each.error) for each in present.broken}
    last = present.last
    if last is None or last.error is None:
        return found
    if RUN in told or not (last.was_interrupted or found or present.running):
        found[RUN] = (last.finished, last.error)
    return found


def _held_now(present: status.Status) -> frozenset[str] | None:
    """Give the digest of the plan where something of it is held; `None` where the last run had no plan."""
    if present.last is None or present.last.guarded is None:
        return None
    return frozenset({present.last.remaining_digest} if present.last.guarded.held else ())


def _refused_now(present: status.Status) -> list[ChangeResult]:
    return [result for result in present.last.results if is_refusal(result.outcome)] if present.last else []


def _still_refused(present: status.Status, told: frozenset[_Change]) -> frozenset[_Change]:
    """Keep what the last run did not settle: it failed, or never came to it."""
    if present.last is None or present.last.guarded is None or present.last.error is not None:
        return told
    return told & {result.change.order for result in present.last.results if not result.done}


def _over(before: NotificationState, after: NotificationState) -> Iterator[str]:
    yield from sorted(before.broken - after.broken)
    if before.held and not after.held:
        yield Kind.HELD.value
    if before.refused and not after.refused:
        yield Kind.REFUSED.value


# --- Notices ----------------------------------------------------------------------------------------------


_BROKEN = {part.value: f"{what}; {effect}" for part, (what, effect) in alerts.PARTS.items()} | {
    RUN: "The last run failed"
}
_RECOVERED = {
    status.Part.SETTINGS.value: "The settings can be used again.",
    status.Part.SOURCE.value: "The source can be read again.",
    status.Part.JOURNAL.value: "The journal can be written again.",
    status.Part.CHARGE.value: "Charge answers again.",
    status.Part.KEY.value: "Charge accepts the key again.",
    RUN: "The last run did not fail.",
    Kind.HELD.value: "Nothing is held any more.",
    Kind.REFUSED.value: "Charge refuses none of the changes any more.",
}


def _broken(present: status.Status, new: Mapping[str, _Failure]) -> Notification:
    lines, items = list[str](), list[Document]()
    for part, (since, error) in new.items():
        message = _plain(error.message, _LONGEST_MESSAGE)
        lines.append(f"{_BROKEN[part]}. Since {since:%Y-%m-%d %H:%M} UTC: {message}")
        lines.append(_plain(error.remedy, _LONGEST_MESSAGE))
        items.append({"part": part, "since": format_time(since), **error_document(error)})
    return _notice(Kind.BROKEN, present, lines, items)


def _held(present: status.Status, last: Report, guarded: GuardedPlan) -> Notification:
    actions = {each.change.action for each in guarded.held}
    one, many = ("detach", "detaches") if actions == {Action.DETACH} else ("change", "changes")
    lines = [f"{humanize.count(len(guarded.held), one, many)} held, until somebody decides."]
    counted = collections.Counter((each.change.fleet, each.guard) for each in guarded.held)
    lines += _first(f"{_fleet(present, fleet)}: {number} ({name})" for (fleet, name), number in counted.items())
    if all(each.guard == guard.MUST_SEE for each in guarded.held):
        lines.append("What was read cannot be right, and no approval lifts that: look at the key and the source.")
    else:
        lines.append(f"To allow exactly this: fleet-sync approve {last.remaining_digest}. Else correct the source.")
    items = [{**change_document(each.change), "guard": each.guard, "message": each.message} for each in guarded.held]
    return _notice(Kind.HELD, present, lines, items)


def _refused(present: status.Status, refused: Sequence[ChangeResult], new: int) -> Notification:
    items = [result_document(result) for result in refused]
    lines = [f"{humanize.count(len(refused), 'change')} refused by Charge, {new} of them new."]
    lines += _first(
        f"{item['action']} {_driver(present, item['driver'])}, {_fleet(present, item['fleet'])}: "
        f"{_plain(item['message'], _LONGEST_MESSAGE)}"
        for item in items
    )
    lines.append(
        "Each is tried again, ever more rarely, and at once when its row changes: correct the source or Charge."
    )
    return _notice(Kind.REFUSED, present, lines, items)


def _recovered(present: status.Status, over: Sequence[str]) -> Notification:
    return _notice(Kind.RECOVERED, present, [_RECOVERED[each] for each in over], [{"part": each} for each in over])


def _notice(kind: Kind, present: status.Status, lines: Sequence[str], items: Sequence[Document]) -> Notification:
    last, mode = present.last, present.account.mode
    guarded = last.guarded if last else None
    text = "\n".join([f"fleet-sync{'' if mode == 'unknown' else f', {mode} account'}: {kind.value}.", *lines])
    body = {
        "text": text,
        "kind": kind.value,
        "account": {"base_url": present.account.base_url, "mode": mode},
        "run": last.run if last else None,
        "result": last.result.value if last else None,
        "digest": last.remaining_digest if last and guarded and guarded.held else None,
        "held": len(guarded.held) if guarded else 0,
        "refused": len(_refused_now(present)),
        "items": [_bounded(item) for item in items[:MOST_ITEMS]],
        "at": format_time(present.now),
    }
    return Notification(kind, text, body)


# --- Words ------------------------------------------------------------------------------------------------


def _first(lines: Iterable[str]) -> list[str]:
    """Give the first few lines, and say how many more there are."""
    every = list(lines)
    more = len(every) - _MOST_LINES
    return every if more <= 0 else [*every[:_MOST_LINES], f"… and {more} more"]


def _fleet(present: status.Status, fleet: FleetId) -> str:
    name = next((each.name for each in present.fleets if each.fleet == fleet), "")
    return _plain(name or fleet, _LONGEST_NAME)


def _driver(present: status.Status, driver: DriverId) -> str:
    return _plain(present.driver_names.get(driver) or driver, _LONGEST_NAME)


def _plain(text: str, longest: int) -> str:
    """Write foreign text as one line that means nothing but itself: no markup, no link, no mention."""
    line = _short(" ".join("".join(each if each.isprintable() else " " for each in text).split()), longest)
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(f"@{_UNSEEN}", escaped)


def _short(text: str, longest: int) -> str:
    masked = redact(text)
    return masked if len(masked) <= longest else f"{masked[: longest - 1]}…"


def _bounded(item: Document) -> Document:
    return {key: _short(value, _LONGEST_MESSAGE) if isinstance(value, str) else value for key, value in item.items()}
