"""Says in words what a snapshot of the service means: is everything all right, and if not, what comes first.

Invariant: the same snapshot gives the same words. Neighbours: `status` is the snapshot, `attention` has the items,
`fleets` counts, the `status` edge and the notices show what this says.
"""

import dataclasses
import enum
from collections.abc import Sequence
from typing import assert_never

from worker.core.model.ports import Stage
from worker.core.monitoring import alerts, humanize, status


class Condition(enum.StrEnum):
    """How things are, in one word."""

    STARTING = "starting"
    STANDING_BY = "standing_by"
    IN_SYNC = "in_sync"
    WORKING = "working"
    DRIFTING = "drifting"
    ATTENTION = "attention"
    BROKEN = "broken"


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """How things are: in one word, in words that stand still while nothing changes, in one sentence, item by item.

    `headline` also says how fresh that is; `items` are what somebody should look at, the most urgent first.
    """

    condition: Condition
    gist: str
    headline: str
    items: tuple[alerts.Alert, ...]


def summarize(present: status.Status) -> Summary:
    """Say how things are. Goes through everything that is held or was refused, once."""
    items = alerts.alerts(present)
    urgent = tuple(item for item in items if item.kind is not alerts.Kind.NOTE)
    condition = _condition(present, urgent)
    gist = _gist(present, condition, urgent)
    return Summary(condition, gist, _headline(present, condition, gist), items)


def _condition(present: status.Status, urgent: Sequence[alerts.Alert]) -> Condition:
    """Give the one word: the worst first, and a routine look at what is in sync disturbs nobody."""
    if any(item.kind is alerts.Kind.BROKEN for item in urgent):
        return Condition.BROKEN
    if present.standing_by:
        return Condition.STANDING_BY
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
        case Condition.STANDING_BY:
            return f"Standing by: {present.standing_by}"
        case Condition.STARTING:
            stage = present.running.stage if present.running else None
            return f"Starting: the first run is on its way{f' ({stage.lower()})' if stage else ''}"
        case Condition.WORKING:
            return "Working: changing memberships"
        case Condition.DRIFTING:
            drifting = [fleet for fleet in present.fleets if fleet.drifted]
            where = f"{humanize.count(_drifted(present), 'membership')} in {humanize.count(len(drifting), 'fleet')}"
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
    return f"{humanize.count(len(present.fleets), 'fleet')}, {humanize.count(members, 'membership')}"


def _checked(present: status.Status) -> str:
    return f"checked {humanize.ago(present.last.finished, present.now)}" if present.last else "not checked yet"


def _following(present: status.Status) -> str:
    if present.running:
        return ", checking again now"
    return f", next {humanize.time_until(present.next_run, present.now)}" if present.next_run else ""


def _urgency(urgent: Sequence[alerts.Alert]) -> str:
    """Say what is most urgent, and how much else there is."""
    first = urgent[0].kind
    same = [item for item in urgent if item.kind is first]
    others = len(urgent) - len(same)
    more = f"; {humanize.count(others, 'more thing needs', 'more things need')} a look" if others else ""
    return f"{_SENTENCES[first](same)}{more}"


def _first_title(items: Sequence[alerts.Alert]) -> str:
    return items[0].title


def _held_sentence(items: Sequence[alerts.Alert]) -> str:
    held = [change for item in items for change in item.changes]
    are, they_wait = ("is", "it waits") if len(held) == 1 else ("are", "they wait")
    if not any(item.digest for item in items):
        return f"{alerts.counted(held)} {are} held, and no approval lifts that: what was read cannot be right"
    return f"{alerts.counted(held)} {are} held: {they_wait} for your approval"


def _frozen_sentence(items: Sequence[alerts.Alert]) -> str:
    count = sum(len(item.changes) for item in items)
    return f"{humanize.count(count, 'membership is', 'memberships are')} frozen: what was changed did not stay so"


def _refused_sentence(items: Sequence[alerts.Alert]) -> str:
    return f"Charge refused {humanize.count(len(items), 'change')}"


def _unknown_sentence(items: Sequence[alerts.Alert]) -> str:
    return f"What became of {humanize.count(len(items), 'change')} is not known yet: the next run looks"


def _problem_sentence(items: Sequence[alerts.Alert]) -> str:
    return f"{humanize.count(len(items), 'problem')} in what was read: fleets concerned lose nobody until it is solved"


_SENTENCES = {
    alerts.Kind.BROKEN: _first_title,
    alerts.Kind.HELD: _held_sentence,
    alerts.Kind.FROZEN: _frozen_sentence,
    alerts.Kind.REFUSED: _refused_sentence,
    alerts.Kind.UNKNOWN: _unknown_sentence,
    alerts.Kind.PROBLEM: _problem_sentence,
}


def _drifted(present: status.Status) -> int:
    return sum(fleet.drifted for fleet in present.fleets)
