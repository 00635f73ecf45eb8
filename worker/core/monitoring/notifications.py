"""Decides which notifications to send, and their text.

Invariant: a state is notified once when it begins and once when it ends. What was notified is a value
(`NotificationState`) that lives as long as the process. Neighbours: `status` is the snapshot, `alerts` defines the
texts for broken parts, `notifications.webhook` delivers.

The text is plain, as Slack and compatible services expect it. Names and messages come from documents and from Charge,
so markup, mentions, line breaks and keys in them are neutralized.
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
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.model.secret import redact
from worker.core.model.serialization import (
    Document,
    change_document,
    error_document,
    format_time,
    result_document,
    shrunk_document,
)
from worker.core.monitoring import alerts, humanize, status
from worker.core.safety import guard

MOST_ITEMS = 20
"""The number of items in a body, which holds the first ones; the counts in the body include all."""

RUN = "run"
"""The name of the broken part if a run failed for a reason that is not a `status.Part`."""

SCOPE = "scope"
"""The name of the broken part if fleets vanished from the sources."""

_MOST_LINES = 5
_LONGEST_NAME = 80
_LONGEST_MESSAGE = 400

_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_INVISIBLE = "\N{ZERO WIDTH SPACE}"

SCOPE_REMEDY = (
    "If a source was cut short, restore it. If the fleet was taken out on purpose, add it to `unmanaged` in the "
    "section `[guard]`."
)

_Failure = tuple[datetime.datetime, FleetSyncError]
_Change = tuple[str, int, str]


class Kind(enum.StrEnum):
    """What a notification is about."""

    BROKEN = "broken"
    HELD = "held"
    REFUSED = "refused"
    RECOVERED = "recovered"


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """A message: its kind, its text, and the JSON document that contains it."""

    kind: Kind
    text: str
    body: Document


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationState:
    """What was notified and has not ended: plans with held changes, refused changes, broken parts, vanished fleets."""

    held: frozenset[str] = frozenset()
    refused: frozenset[_Change] = frozenset()
    broken: frozenset[str] = frozenset()
    vanished: frozenset[str] = frozenset()


def diff(present: status.Status, before: NotificationState) -> tuple[tuple[Notification, ...], NotificationState]:
    """Return the notifications to send, the most urgent first, and the state after sending them.

    `present` must be a snapshot from the end of a run, or from the moment when a part broke or recovered.
    """
    broken, held, refused = _broken_now(present, before.broken), _held_now(present), _refused_now(present)
    after = NotificationState(
        held=before.held if held is None else held and before.held | held,
        refused=_still_refused(present, before.refused) | {result.change.order for result in refused},
        broken=frozenset(broken),
        vanished=_still_vanished(present, before.vanished),
    )
    found: list[Notification] = []
    if new := {part: failure for part, failure in broken.items() if part not in before.broken}:
        found.append(_broken(present, new))
    if after.vanished - before.vanished:
        found.append(_vanished(present, _vanished_now(present)))
    if present.last and present.last.guarded and after.held - before.held:
        found.append(_held(present, present.last, present.last.guarded))
    if newly_refused := after.refused - before.refused:
        new_first = sorted(refused, key=lambda result: result.change.order not in newly_refused)
        found.append(_refused(present, new_first, len(newly_refused)))
    if ended := tuple(_ended(before, after)):
        found.append(_recovered(present, ended))
    return tuple(found), after


# --- The current state ------------------------------------------------------------------------------------


def _broken_now(present: status.Status, notified: frozenset[str]) -> Mapping[str, _Failure]:
    """Return what is broken, by name. A failed run counts only if no broken part explains it."""
    found: dict[str, _Failure] = {each.part.value: (each.since, each.error) for each in present.broken}
    last = present.last
    if last is None or last.error is None:
        return found
    if RUN in notified or not (last.was_interrupted or found or present.running):
        found[RUN] = (last.finished, last.error)
    return found


def _still_vanished(present: status.Status, notified: frozenset[str]) -> frozenset[str]:
    """Return the fleets that vanished by the last plan, or those that were notified if the last run had none."""
    if present.last is None or present.last.guarded is None:
        return notified
    return frozenset(problem.where for problem in _vanished_now(present))


def _vanished_now(present: status.Status) -> list[Problem]:
    """Return the problems of the last plan about fleets that vanished from the sources."""
    planned = present.last.guarded.problems if present.last and present.last.guarded else ()
    return [problem for problem in planned if problem.code is ProblemCode.SCOPE_SHRANK]


def _held_now(present: status.Status) -> frozenset[str] | None:
    """Return the digest of the last plan if changes of it are held; `None` if the last run had no plan."""
    if present.last is None or present.last.guarded is None:
        return None
    return frozenset({present.last.held_digest} if present.last.guarded.needs_approval else ())


def _refused_now(present: status.Status) -> list[ChangeResult]:
    return [result for result in present.last.results if is_refusal(result.outcome)] if present.last else []


def _still_refused(present: status.Status, notified: frozenset[_Change]) -> frozenset[_Change]:
    """Return the notified refusals that the last run did not end: it failed, or did not make the change."""
    if present.last is None or present.last.guarded is None or present.last.error is not None:
        return notified
    settled = {result.change for result in present.last.results if result.done}
    open_ones = {*present.last.guarded.changes, *(result.change for result in present.last.results)} - settled
    return notified & {change.order for change in open_ones}


def _ended(before: NotificationState, after: NotificationState) -> Iterator[str]:
    yield from sorted(before.broken - after.broken)
    if before.vanished and not after.vanished:
        yield SCOPE
    if before.held and not after.held:
        yield Kind.HELD.value
    if before.refused and not after.refused:
        yield Kind.REFUSED.value


# --- Messages ---------------------------------------------------------------------------------------------


_BROKEN = {part.value: f"{what}; {effect}" for part, (what, effect) in alerts.PARTS.items()} | {
    RUN: "The last run failed"
}
_RECOVERED = {
    status.Part.SETTINGS.value: "The settings are valid again.",
    status.Part.SOURCE.value: "The source can be read again.",
    status.Part.JOURNAL.value: "The journal can be written again.",
    status.Part.CHARGE.value: "Charge replies again.",
    status.Part.KEY.value: "Charge accepts the key again.",
    status.Part.CLOCK.value: "This machine's clock is right again.",
    RUN: "The last run succeeded.",
    SCOPE: "Every fleet is in a source again, or was taken out on purpose.",
    Kind.HELD.value: "No changes are held any more.",
    Kind.REFUSED.value: "Charge no longer refuses any change.",
}


def _broken(present: status.Status, new: Mapping[str, _Failure]) -> Notification:
    lines, items = list[str](), list[Document]()
    for part, (since, error) in new.items():
        message = _plain(error.message, _LONGEST_MESSAGE)
        lines.append(f"{_BROKEN[part]}. Since {since:%Y-%m-%d %H:%M} UTC: {message} ({error.code})")
        lines.append(_plain(error.remedy, _LONGEST_MESSAGE))
        items.append({"part": part, "since": format_time(since), **error_document(error)})
    return _notification(Kind.BROKEN, present, lines, items)


def _vanished(present: status.Status, problems: Sequence[Problem]) -> Notification:
    are = "fleet that was managed is" if len(problems) == 1 else "fleets that were managed are"
    lines = [f"{len(problems)} {are} in no source any more; no driver is detached there."]
    lines += _first(f"{problem.where}: {_plain(problem.message, _LONGEST_MESSAGE)}" for problem in problems)
    lines.append(SCOPE_REMEDY)
    items = [
        {"part": SCOPE, "fleet": each.where, "code": each.code.value, "message": each.message} for each in problems
    ]
    return _notification(Kind.BROKEN, present, lines, items)


def _held(present: status.Status, last: Report, guarded: GuardedPlan) -> Notification:
    actions = {each.change.action for each in guarded.held}
    one, many = ("detach", "detaches") if actions == {Action.DETACH} else ("change", "changes")
    lines = [f"{humanize.count(len(guarded.held), one, many)} held until you decide."] if guarded.held else []
    lines += _first(_plain(each.message, _LONGEST_MESSAGE) for each in guarded.shrunk)
    counted = collections.Counter((each.change.fleet, each.guard) for each in guarded.held)
    lines += _first(f"{_fleet(present, fleet)}: {number} ({name})" for (fleet, name), number in counted.items())
    frozen = [each for each in guarded.held if each.guard in guard.FREEZING]
    lines += _by_reason(  # an approval alone does not help: the other writer has to be found
        (each.message, f"{each.change.action} {_driver(present, each.change.driver)}") for each in frozen
    )
    if not guarded.shrunk and all(each.guard == guard.MUST_SEE for each in guarded.held):
        lines.append("The reading cannot be right, and an approval does not help: check the key and the source.")
    else:
        command = f"fleet-sync{f' --account {present.account_name}' if present.account_name else ''} approve"
        lines.append(f"To allow exactly this: {command} {last.held_digest}. If it is wrong, correct the source.")
    items = [{**change_document(each.change), "guard": each.guard, "message": each.message} for each in guarded.held]
    items += [{"guard": guard.SOURCE_SHRANK, **shrunk_document(each)} for each in guarded.shrunk]
    return _notification(Kind.HELD, present, lines, items)


def _refused(present: status.Status, refused: Sequence[ChangeResult], new: int) -> Notification:
    items = [result_document(result) for result in refused]
    lines = [f"{humanize.count(len(refused), 'change')} refused by Charge, {new} of them new."]
    lines += _by_reason(
        (item["message"], f"{item['action']} {_driver(present, item['driver'])}, {_fleet(present, item['fleet'])}")
        for item in items
    )
    lines.append(
        "Each is tried again after longer and longer pauses, and at once when its row changes. "
        "Correct the source or Charge."
    )
    return _notification(Kind.REFUSED, present, lines, items)


def _recovered(present: status.Status, ended: Sequence[str]) -> Notification:
    return _notification(
        Kind.RECOVERED, present, [_RECOVERED[each] for each in ended], [{"part": each} for each in ended]
    )


def _notification(kind: Kind, present: status.Status, lines: Sequence[str], items: Sequence[Document]) -> Notification:
    last, mode = present.last, present.account.mode
    guarded = last.guarded if last else None
    account = " ".join(each for each in ("" if mode == "unknown" else mode, "account", present.account_name) if each)
    of = "" if account == "account" else f", {account}"
    text = "\n".join([f"fleet-sync{of}: {kind.value}.", *lines])
    name = {"name": present.account_name} if present.account_name else {}
    body = {
        "text": text,
        "kind": kind.value,
        "account": {"base_url": present.account.base_url, "mode": mode, **name},
        "run": last.run if last else None,
        "result": last.result.value if last else None,
        "digest": last.held_digest if last and guarded and guarded.needs_approval else None,
        "held": len(guarded.held) if guarded else 0,
        "refused": len(_refused_now(present)),
        "items": [_bounded(item) for item in items[:MOST_ITEMS]],
        "at": format_time(present.now),
    }
    return Notification(kind, text, body)


# --- Text -----------------------------------------------------------------------------------------------


def _first(lines: Iterable[str]) -> list[str]:
    """Return the first few lines, and a line with the number of the others."""
    every = list(lines)
    more = len(every) - _MOST_LINES
    return every if more <= 0 else [*every[:_MOST_LINES], f"… and {more} more"]


def _by_reason(changes: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each message, with the first few changes that it is about."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for message, change in changes:
        found[message].append(change)
    return _first(f"{'; '.join(_first(each))}: {_plain(message, _LONGEST_MESSAGE)}" for message, each in found.items())


def _fleet(present: status.Status, fleet: FleetId) -> str:
    name = next((each.name for each in present.fleets if each.fleet == fleet), "")
    return _plain(name or fleet, _LONGEST_NAME)


def _driver(present: status.Status, driver: DriverId) -> str:
    return _plain(present.driver_names.get(driver) or driver, _LONGEST_NAME)


def _plain(text: str, longest: int) -> str:
    """Return text from outside as one line without markup, links or mentions."""
    line = _short(" ".join("".join(each if each.isprintable() else " " for each in text).split()), longest)
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(f"@{_INVISIBLE}", escaped)


def _short(text: str, longest: int) -> str:
    masked = redact(text)
    return masked if len(masked) <= longest else f"{masked[: longest - 1]}…"


def _bounded(item: Document) -> Document:
    return {key: _short(value, _LONGEST_MESSAGE) if isinstance(value, str) else value for key, value in item.items()}
