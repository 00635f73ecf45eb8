"""Compares changes with a reading, which may show that a change is done or not done, or leave it open.

Invariant: a change of a driver that was not read counts neither as done nor as not done. Neighbours:
`engine.reconciler` uses this for saved plans, for open intents of earlier runs, and to verify accepted changes.
"""

import datetime
from collections.abc import Iterable, Iterator

from worker.core.model.actual import Actual
from worker.core.model.identifiers import DriverId, IntentKey
from worker.core.model.outcomes import (
    NOT_CONVERGING,
    Already,
    Applied,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.plan import Action, Change
from worker.core.model.ports import OpenIntent

CUT_OFF = "cut_off"
"""The code of an unclear write whose run ended before it could record an attempt."""

_ENDLESS = datetime.timedelta.max

NOT_MADE = "not_made"
"""The code of an unclear write that can no longer take effect."""


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


def settle_intents(
    open_intents: Iterable[OpenIntent], actual: Actual, *, now: datetime.datetime, late_effects: datetime.timedelta
) -> Iterator[tuple[IntentKey, Outcome]]:
    """Yield what a reading decides about each open intent.

    A change that the reading does not show may still take effect until `late_effects` have passed since its last
    attempt: until then its outcome is unknown, and it stays open. If the run ended before it could record an attempt,
    or recorded it by a clock that was ahead, the time counts from now. `late_effects` is the longest time there is
    while the clock is not trusted. An intent whose outcome would not change is left out.
    """
    for each in open_intents:
        change = each.intent.change
        fleets = actual.memberships.get(change.driver)
        if fleets is not None and change.done_in(fleets):
            yield each.intent.key, Applied(max(1, each.attempts), message="found done by a later reading")
        elif change.driver in actual.absent:
            yield each.intent.key, _outcome_for_deleted_driver(each)
        elif fleets is not None and each.last_attempt is None:
            message = "the run was cut off; the change is not done, but may have been sent and still take effect"
            yield each.intent.key, Unknown(max(1, each.attempts), CUT_OFF, message)
        elif fleets is not None and each.last_attempt and now < each.last_attempt and late_effects < _ENDLESS:
            message = "it may still take effect; when it was sent is not known, because the clock was wrong"
            yield each.intent.key, Unknown(max(1, each.attempts), each.code or CUT_OFF, message)
        elif fleets is not None and is_past_horizon(each, now=now, late_effects=late_effects):
            yield each.intent.key, _outcome_past_horizon(each)


def is_past_horizon(each: OpenIntent, *, now: datetime.datetime, late_effects: datetime.timedelta) -> bool:
    """Return whether an unclear write can no longer take effect."""
    return each.last_attempt is not None and now - each.last_attempt > late_effects


def _outcome_past_horizon(each: OpenIntent) -> Outcome:
    if each.code == NOT_CONVERGING:
        return Refused(each.attempts, NOT_CONVERGING, "Charge accepted the change, but no reading has shown it")
    return Deferred(each.attempts, NOT_MADE, "no reading has shown the change, and it can no longer take effect")


def _outcome_for_deleted_driver(each: OpenIntent) -> Outcome:
    if each.intent.change.action is Action.DETACH:
        return Already(max(1, each.attempts), message="the driver no longer exists")
    return Refused(max(1, each.attempts), "driver_not_found", "the driver no longer exists")


def unread_drivers(open_intents: Iterable[OpenIntent], actual: Actual) -> frozenset[DriverId]:
    """Return the drivers that must be retrieved before every open intent can be closed."""
    drivers = {each.intent.change.driver for each in open_intents}
    return frozenset(drivers - actual.memberships.keys() - actual.absent)
