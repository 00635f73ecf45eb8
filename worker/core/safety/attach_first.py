"""Who moves is never in no fleet: where a driver's attach is not made, his detaches wait.

Invariant: of a driver whose attach is left out, every detach is. Neighbours: `engine.cycle` leaves out what
`patience` postpones, `flapping` what it freezes, `engine.apply` does the same for attaches that fail.
"""

from collections.abc import Collection, Iterable, Mapping

from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change


def deferred_detach(fleet: FleetId) -> Deferred:
    """Give the outcome of a detach whose driver could not be attached to this fleet."""
    message = f"waits for the next run: the driver could not be attached to {fleet}, and is not left without a fleet"
    return Deferred(0, "attach_first", message)


def dependent_detaches(changes: Iterable[Change], stopped: Collection[Change]) -> dict[Change, FleetId]:
    """Give the detaches that wait where these changes are not made, each with the fleet that is still missing."""
    missing = {change.driver: change.fleet for change in stopped if change.action is Action.ATTACH}
    return {
        change: missing[change.driver]
        for change in changes
        if change.action is Action.DETACH and change.driver in missing
    }


def skipped_changes(changes: Iterable[Change], postponed: Mapping[Change, Outcome]) -> dict[Change, Outcome]:
    """Give those of the changes that are not to be sent: what is postponed, and what waits for a postponed attach."""
    changes = tuple(changes)
    stopped = {change: postponed[change] for change in changes if change in postponed}
    left = {change: deferred_detach(fleet) for change, fleet in dependent_detaches(changes, stopped).items()} | stopped
    return {change: left[change] for change in changes if change in left}
