"""The changes of the last run that are not done: pending, held, frozen, refused or unclear, each with its reason.

Invariant: every change of the last plan that is not done appears once. Neighbours: `alerts` groups the same changes for
the overview, `web.pages` lists those of a fleet, a driver or a run.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import Deferred, Stale, is_refusal
from worker.core.model.plan import Action, Change
from worker.core.monitoring import reasons, status
from worker.core.safety import guard, refusal_backoff

Reason = tuple[str, str, str]
"""The state, the message and the code of an open change."""


@dataclasses.dataclass(frozen=True, slots=True)
class OpenChange:
    """A change that is not done. `state` is a word of the page's legend, `code` a guard's or Charge's."""

    change: Change
    state: str
    message: str = ""
    code: str = ""


def open_changes(present: status.Status) -> tuple[OpenChange, ...]:
    """Return the changes of the last run that are not done, in the order of plans."""
    last = present.last
    if last is None or last.guarded is None:
        return ()
    found = [_held(each.change, code=each.guard, message=each.message) for each in last.guarded.held]
    results = {result.change: result for result in last.results}
    for change in last.guarded.changes:
        result = results.get(change)
        if result is None:
            found.append(OpenChange(change, "pending", "not sent yet"))
        elif not result.done:
            outcome = result.outcome
            code = "" if isinstance(outcome, Stale) else getattr(outcome, "code", "")
            state = "refused" if is_refusal(outcome) else outcome.name
            message = refusal_backoff.shared_message(outcome) if isinstance(outcome, Deferred) else outcome.message
            found.append(OpenChange(change, state, message, code))
    return tuple(sorted(found, key=lambda each: each.change.order))


def held_in_document(plan: Mapping[str, Any]) -> list[OpenChange]:
    """Return the held changes of a plan as the journal has it."""
    return [
        _held(
            Change(Action(each["action"]), DriverId(each["driver"]), FleetId(each["fleet"])),
            code=each["guard"],
            message=each["message"],
        )
        for each in plan["held"]
    ]


def _held(change: Change, *, code: str, message: str) -> OpenChange:
    return OpenChange(change, "frozen" if code in guard.FREEZING else "held", message, code)


def by_reason(changes: Iterable[OpenChange]) -> tuple[reasons.Group[Reason, OpenChange], ...]:
    """Group the changes by state, message and code, so that each reason is shown once."""
    return reasons.group(
        changes, reason=lambda each: (each.state, each.message, each.code), fleet=lambda each: each.change.fleet
    )


def wanted_fleets(present: status.Status, driver: DriverId) -> frozenset[FleetId]:
    """Return the fleets that a driver is in once every change of the last plan is made."""
    wanted = set(present.reading.memberships.get(driver, ()))
    for each in open_changes(present):
        if each.change.driver == driver:
            (wanted.add if each.change.action is Action.ATTACH else wanted.discard)(each.change.fleet)
    return frozenset(wanted)
