"""Summarizes a snapshot of the service: one condition, one headline, and the alerts.

Invariant: the same snapshot gives the same text. Neighbours: `status` is the snapshot, `alerts` lists what needs
attention, `fleet_counts` counts; `web` shows the result.
"""

import dataclasses
import enum
from collections.abc import Sequence
from typing import assert_never

from worker.core.model import pauses
from worker.core.model.ports import Stage
from worker.core.monitoring import alerts, humanize, status


class Condition(enum.StrEnum):
    """The overall condition, in one word."""

    STARTING = "starting"
    STANDING_BY = "standing_by"
    IN_SYNC = "in_sync"
    WORKING = "working"
    DRIFTING = "drifting"
    PAUSED = "paused"
    ATTENTION = "attention"
    BROKEN = "broken"


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """The condition of the service, and the text for it.

    `gist` stays the same while only time passes; `headline` adds when the last check was. `items` are the alerts, the
    most urgent first.
    """

    condition: Condition
    gist: str
    headline: str
    items: tuple[alerts.Alert, ...]


def summarize(present: status.Status) -> Summary:
    """Summarize a snapshot. Takes time proportional to the number of held and refused changes."""
    found = alerts.alerts(present)
    urgent = tuple(alert for alert in found if alert.kind is not alerts.Kind.NOTE)
    condition = _condition(present, urgent)
    gist = _gist(present, condition, urgent)
    return Summary(condition, gist, _headline(present, condition, gist), found)


def _condition(present: status.Status, urgent: Sequence[alerts.Alert]) -> Condition:
    """Return the worst condition that applies. A routine run while everything is in sync stays `in_sync`."""
    if any(alert.kind is alerts.Kind.BROKEN for alert in urgent):
        return Condition.BROKEN
    if present.standing_by:
        return Condition.STANDING_BY
    if pauses.everywhere(present.pauses) is not None:
        return Condition.PAUSED
    if present.last is None:
        return Condition.STARTING
    if urgent:
        return Condition.ATTENTION
    if present.running and (present.running.stage is Stage.CHANGING_MEMBERSHIPS or _drifted(present)):
        return Condition.WORKING
    return Condition.DRIFTING if _drifted(present) else Condition.IN_SYNC


def _gist(present: status.Status, condition: Condition, urgent: Sequence[alerts.Alert]) -> str:
    match condition:
        case Condition.BROKEN | Condition.ATTENTION:
            return _urgency(urgent)
        case Condition.PAUSED:
            return _paused(present, urgent)
        case Condition.STANDING_BY:
            return f"Standing by: {present.standing_by}"
        case Condition.STARTING:
            stage = present.running.stage if present.running else None
            return f"Starting: the first run is in progress{f' ({stage.lower()})' if stage else ''}"
        case Condition.WORKING:
            return "Working: changing memberships"
        case Condition.DRIFTING:
            drifting = [fleet for fleet in present.fleets if fleet.drifted]
            where = f"{humanize.count(_drifted(present), 'membership')} in {humanize.count(len(drifting), 'fleet')}"
            observed = present.last is not None and present.last.observed
            return f"Drifted: {where} not yet in sync{' (fleet-sync only observes)' if observed else ''}"
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
    return f"{humanize.count(len(present.fleets), 'fleet')}, {humanize.count(members, 'membership')}"


def _checked(present: status.Status) -> str:
    return f"checked {humanize.ago(present.last.finished, present.now)}" if present.last else "not checked yet"


def _following(present: status.Status) -> str:
    if present.running:
        return ", checking again now"
    return f", next {humanize.time_until(present.next_run, present.now)}" if present.next_run else ""


def _urgency(urgent: Sequence[alerts.Alert]) -> str:
    """Return a sentence about the most urgent kind of alert, with the number of other alerts."""
    first = urgent[0].kind
    same = [alert for alert in urgent if alert.kind is first]
    others = len(urgent) - len(same)
    more = f"; {humanize.count(others, 'more alert')}" if others else ""
    return f"{_SENTENCES[first](same)}{more}"


def _paused(present: status.Status, urgent: Sequence[alerts.Alert]) -> str:
    first = _first_title([alert for alert in urgent if alert.kind is alerts.Kind.PAUSED and alert.fleet is None])
    waiting = _drifted(present)
    return f"{first}; {humanize.count(waiting, 'change')} planned" if waiting else first


def _first_title(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    return alerts_of_kind[0].title


def _held_sentence(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    held = [change for alert in alerts_of_kind for change in alert.changes]
    if not held:
        return "A source lost too many rows, and waits for your approval"
    are, wait = ("is", "waits") if len(held) == 1 else ("are", "wait")
    if not any(alert.digest for alert in alerts_of_kind):
        return f"{alerts.counted(held)} {are} held and cannot be approved: the reading cannot be right"
    return f"{alerts.counted(held)} {are} held and {wait} for your approval"


def _frozen_sentence(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    count = sum(len(alert.changes) for alert in alerts_of_kind)
    return f"{humanize.count(count, 'membership is', 'memberships are')} frozen: our changes keep being reverted"


def _refused_sentence(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    return f"Charge refused {humanize.count(sum(len(alert.changes) for alert in alerts_of_kind), 'change')}"


def _unknown_sentence(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    count = humanize.count(sum(len(alert.changes) for alert in alerts_of_kind), "change")
    return f"It is not known whether {count} took effect: the next run finds out"


def _problem_sentence(alerts_of_kind: Sequence[alerts.Alert]) -> str:
    count = humanize.count(len(alerts_of_kind), "problem")
    return f"{count} in the last reading: no one is detached from the affected fleets until this is fixed"


_SENTENCES = {
    alerts.Kind.BROKEN: _first_title,
    alerts.Kind.PAUSED: _first_title,
    alerts.Kind.HELD: _held_sentence,
    alerts.Kind.FROZEN: _frozen_sentence,
    alerts.Kind.REFUSED: _refused_sentence,
    alerts.Kind.UNKNOWN: _unknown_sentence,
    alerts.Kind.PROBLEM: _problem_sentence,
}


def _drifted(present: status.Status) -> int:
    return sum(fleet.drifted for fleet in present.fleets)
