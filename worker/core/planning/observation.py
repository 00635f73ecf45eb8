"""Compares changes with a reading, which may show that a change is done or not done, or leave it open.

Invariant: a change of a driver that was not read counts neither as done nor as not done. Neighbours:
`engine.reconciler` uses this for saved plans, for open intents of earlier runs, and to verify accepted changes.
"""

from collections.abc import Iterable, Iterator

from worker.core.model.actual import Actual
from worker.core.model.identifiers import DriverId, IntentKey
from worker.core.model.outcomes import (
    NOT_CONVERGING,
    Already,
    Applied,
    ChangeResult,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.plan import Action, Change
from worker.core.model.ports import OpenIntent


def stale_reason(change: Change, actual: Actual) -> Outcome | None:
    """Return the outcome of a saved change that must not be sent, or None.

    An attach of a driver that could not be read is sent: Charge answers it with the driver's state.
    """
    if change.driver in actual.absent:
        return Stale("the driver no longer exists")
    fleets = actual.memberships.get(change.driver)
    attach = change.action is Action.ATTACH
    if fleets is None:
        message = "the driver could not be read, so the detach was not sent"
        return None if attach else Deferred(0, "driver_unread", message)
    if not change.done_in(fleets):
        return None
    state = "is already in the fleet" if attach else "is no longer in the fleet"
    return Stale(f"the driver {state}; nothing was sent")


def is_unobserved(change: Change, actual: Actual) -> bool:
    """Return whether a reading leaves open if a change is done.

    A driver that does not appear in a complete listing of the fleet is not in it.
    """
    if change.driver in actual.memberships or change.driver in actual.absent:
        return False
    complete = change.fleet in actual.fleets and change.fleet not in actual.incomplete
    return change.action is Action.ATTACH or not complete


def check_against(result: ChangeResult, actual: Actual) -> ChangeResult:
    """Return the result, changed to unknown if a later reading contradicts it."""
    outcome = result.outcome
    if not isinstance(outcome, Applied | Already):
        return result
    fleets = actual.memberships.get(result.change.driver)
    if fleets is None or result.change.done_in(fleets):
        return result
    message = "Charge accepted the change, but a later reading does not show it"
    return ChangeResult(result.change, Unknown(outcome.attempts, NOT_CONVERGING, message, outcome.request_id))


def settle_intents(open_intents: Iterable[OpenIntent], actual: Actual) -> Iterator[tuple[IntentKey, Outcome]]:
    """Yield the outcome of each open intent that the reading decides.

    The number of attempts is not known: it counts as one if the change is done, else as none.
    """
    for each in open_intents:
        change = each.intent.change
        fleets = actual.memberships.get(change.driver)
        if each.code == NOT_CONVERGING:
            continue  # the guard of that name counts these
        if fleets is not None and change.done_in(fleets):
            yield each.intent.key, Applied(1, message="found done after the run was cut off")
        elif fleets is not None:
            yield each.intent.key, Deferred(0, "cut_off", "found not done after the run was cut off")
        elif change.driver in actual.absent:
            yield each.intent.key, Refused(0, "driver_not_found", "the driver no longer exists")


def unread_drivers(open_intents: Iterable[OpenIntent], actual: Actual) -> frozenset[DriverId]:
    """Return the drivers that must be retrieved before every open intent can be closed."""
    drivers = {each.intent.change.driver for each in open_intents}
    return frozenset(drivers - actual.memberships.keys() - actual.absent)
