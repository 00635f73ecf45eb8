"""Who moves is never in no fleet: where a driver's attach is not made, his detaches wait.

Invariant: of a driver whose attach is left out, every detach is. Neighbours: `engine.cycle` leaves out what
`patience` postpones, `engine.apply` does the same for attaches that fail.
"""

from collections.abc import Iterable, Mapping

from worker.core import outcomes, values


def waits_for(fleet: values.FleetId) -> outcomes.Deferred:
    """Give the outcome of a detach whose driver could not be attached to this fleet."""
    message = f"waits for the next run: the driver could not be attached to {fleet}, and is not left without a fleet"
    return outcomes.Deferred(0, "attach_first", message)


def left_out(
    changes: Iterable[values.Change], postponed: Mapping[values.Change, outcomes.Outcome]
) -> dict[values.Change, outcomes.Outcome]:
    """Give those of the changes that are not to be sent: what is postponed, and what waits for a postponed attach."""
    changes = tuple(changes)
    missing = {
        change.driver: change.fleet
        for change in changes
        if change in postponed and change.action is values.Action.ATTACH
    }
    left: dict[values.Change, outcomes.Outcome] = {}
    for change in changes:
        if change in postponed:
            left[change] = postponed[change]
        elif change.action is values.Action.DETACH and change.driver in missing:
            left[change] = waits_for(missing[change.driver])
    return left
