"""Says in words what a snapshot of the service means: is everything all right, and if not, what comes first.

Invariant: the same snapshot gives the same words. Neighbours: `status` is the snapshot, `attention` has the items,
`fleets` counts, the `status` edge and the notices show what this says.
"""

import dataclasses
import enum
from collections.abc import Sequence
from typing import assert_never

from worker.core import attention, status, words


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
    items: tuple[attention.Item, ...]


def summary(present: status.Status) -> Summary:
    """Say how things are. Goes through everything that is held or was refused, once."""
    items = attention.items(present)
    urgent = tuple(item for item in items if item.kind is not attention.Kind.NOTE)
    condition = _condition(present, urgent)
    gist = _gist(present, condition, urgent)
    return Summary(condition, gist, _headline(present, condition, gist), items)


def _condition(present: status.Status, urgent: Sequence[attention.Item]) -> Condition:
    """Give the one word: the worst first, and a routine look at what is in sync disturbs nobody."""
    if any(item.kind is attention.Kind.BROKEN for item in urgent):
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


def _gist(present: status.Status, condition: Condition, urgent: Sequence[attention.Item]) -> str:
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


def _urgency(urgent: Sequence[attention.Item]) -> str:
    """Say what is most urgent, and how much else there is."""
    first = urgent[0].kind
    same = [item for item in urgent if item.kind is first]
    others = len(urgent) - len(same)
    more = f"; {words.counted(others, 'more thing needs', 'more things need')} a look" if others else ""
    return f"{_SENTENCES[first](same)}{more}"


def _first_title(items: Sequence[attention.Item]) -> str:
    return items[0].title


def _held_sentence(items: Sequence[attention.Item]) -> str:
    held = [change for item in items for change in item.changes]
    are, they_wait = ("is", "it waits") if len(held) == 1 else ("are", "they wait")
    if not any(item.digest for item in items):
        return f"{attention.counted(held)} {are} held, and no approval lifts that: what was read cannot be right"
    return f"{attention.counted(held)} {are} held: {they_wait} for your approval"


def _frozen_sentence(items: Sequence[attention.Item]) -> str:
    count = sum(len(item.changes) for item in items)
    return f"{words.counted(count, 'membership is', 'memberships are')} frozen: what was changed did not stay so"


def _refused_sentence(items: Sequence[attention.Item]) -> str:
    return f"Charge refused {words.counted(len(items), 'change')}"


def _unknown_sentence(items: Sequence[attention.Item]) -> str:
    return f"What became of {words.counted(len(items), 'change')} is not known yet: the next run looks"


def _problem_sentence(items: Sequence[attention.Item]) -> str:
    return f"{words.counted(len(items), 'problem')} in what was read: fleets concerned lose nobody until it is solved"


_SENTENCES = {
    attention.Kind.BROKEN: _first_title,
    attention.Kind.HELD: _held_sentence,
    attention.Kind.FROZEN: _frozen_sentence,
    attention.Kind.REFUSED: _refused_sentence,
    attention.Kind.UNKNOWN: _unknown_sentence,
    attention.Kind.PROBLEM: _problem_sentence,
}


def _drifted(present: status.Status) -> int:
    return sum(fleet.drifted for fleet in present.fleets)
