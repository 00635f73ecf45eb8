"""Compares changes with a reading: does one still fit, was one made, or does the reading say nothing about it?

Invariant: a driver that was not read is neither done nor undone. Neighbours: `engine.reconciler` reads, and asks this
about saved plans, about open intents of earlier runs, and about changes that were reported as done.
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
    """Give what becomes of a saved change that is not to be made, or None. An unread attach is left to the write."""
    if change.driver in actual.absent:
        return Stale("the driver no longer exists")
    fleets = actual.memberships.get(change.driver)
    attach = change.action is Action.ATTACH
    if fleets is None:
        message = "the driver could not be read, and nobody is detached unseen; nothing was sent"
        return None if attach else Deferred(0, "driver_unread", message)
    if not change.done_in(fleets):
        return None
    there = "is in the fleet already" if attach else "is no longer in the fleet"
    return Stale(f"the driver {there}; nothing was sent")


def is_unobserved(change: Change, actual: Actual) -> bool:
    """Tell whether a reading says nothing of a change: who is not seen in a fleet that was seen whole is out of it."""
    if change.driver in actual.memberships or change.driver in actual.absent:
        return False
    seen = change.fleet in actual.fleets and change.fleet not in actual.incomplete
    return change.action is Action.ATTACH or not seen


def check_against(result: ChangeResult, actual: Actual) -> ChangeResult:
    """Give the result as it is, or as unknown where a fresh reading contradicts it."""
    outcome = result.outcome
    if not isinstance(outcome, Applied | Already):
        return result
    fleets = actual.memberships.get(result.change.driver)
    if fleets is None or result.change.done_in(fleets):
        return result
    message = "Charge answered that it was done, but a fresh reading does not show it"
    return ChangeResult(result.change, Unknown(outcome.attempts, NOT_CONVERGING, message, outcome.request_id))


def settle_intents(open_intents: Iterable[OpenIntent], actual: Actual) -> Iterator[tuple[IntentKey, Outcome]]:
    """Give each intent whose driver the reading showed, or showed to be absent, its outcome.

    How often the earlier life sent it is not known: one attempt is counted where it took effect, none where not.
    """
    for each in open_intents:
        change = each.intent.change
        fleets = actual.memberships.get(change.driver)
        if fleets is not None and change.done_in(fleets):
            yield each.intent.key, Applied(1, message="found done after the run was cut off")
        elif fleets is not None:
            yield each.intent.key, Deferred(0, "cut_off", "found not done after the run was cut off")
        elif change.driver in actual.absent:
            yield each.intent.key, Refused(0, "driver_not_found", "the driver no longer exists")


def unread_drivers(open_intents: Iterable[OpenIntent], actual: Actual) -> frozenset[DriverId]:
    """Give the drivers that have to be retrieved before everything can be closed."""
    drivers = {each.intent.change.driver for each in open_intents}
    return frozenset(drivers - actual.memberships.keys() - actual.absent)
