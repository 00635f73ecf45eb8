"""Holds changes against a reading: does one still fit, was one made, or does the reading say nothing of it.

Invariant: what was not read is neither done nor undone. Neighbours: `engine.cycle` reads, and asks this of saved plans
and of what was answered as done; `recovery` does the same for intents that were left open.
"""

from worker.core import outcomes, values


def misfit(change: values.Change, actual: values.Actual) -> outcomes.Outcome | None:
    """Give what becomes of a saved change that is not to be made, or None. An unread attach is left to the write."""
    if change.driver in actual.absent:
        return outcomes.Stale("the driver no longer exists")
    fleets = actual.memberships.get(change.driver)
    attach = change.action is values.Action.ATTACH
    if fleets is None:
        message = "the driver could not be read, and nobody is detached unseen; nothing was sent"
        return None if attach else outcomes.Deferred(0, "driver_unread", message)
    if not change.done_in(fleets):
        return None
    there = "is in the fleet already" if attach else "is no longer in the fleet"
    return outcomes.Stale(f"the driver {there}; nothing was sent")


def unread(change: values.Change, actual: values.Actual) -> bool:
    """Tell whether a reading says nothing of a change: who is not seen in a fleet that was seen whole is out of it."""
    if change.driver in actual.memberships or change.driver in actual.absent:
        return False
    seen = change.fleet in actual.fleets and change.fleet not in actual.incomplete
    return change.action is values.Action.ATTACH or not seen


def verified(result: outcomes.Result, actual: values.Actual) -> outcomes.Result:
    """Give the result as it is, or as unknown where a fresh reading contradicts it."""
    outcome = result.outcome
    if not isinstance(outcome, outcomes.Applied | outcomes.Already):
        return result
    fleets = actual.memberships.get(result.change.driver)
    if fleets is None or result.change.done_in(fleets):
        return result
    message = "Charge answered that it was done, but a fresh reading does not show it"
    return outcomes.Result(
        result.change, outcomes.Unknown(outcome.attempts, outcomes.NOT_CONVERGING, message, outcome.request_id)
    )
