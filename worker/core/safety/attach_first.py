"""Keeps a moving driver in at least one fleet: if an attach fails or is skipped, the driver's detaches are deferred.

Invariant: no detach is sent for a driver with an attach that is held, postponed or refused. Neighbours:
`engine.plan_builder` skips what `refusal_backoff` postpones, `guard` holds changes, `engine.driver_lane` does the same
for attaches that fail.
"""

from collections.abc import Collection, Iterable, Mapping

from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change


def deferred_detach(fleet: FleetId) -> Deferred:
    """Return the outcome of a detach whose driver could not be attached to this fleet."""
    return Deferred(0, "attach_first", f"not sent: the driver must be attached to {fleet} first")


def dependent_detaches(changes: Iterable[Change], stopped: Collection[Change]) -> dict[Change, FleetId]:
    """Return the detaches that must wait if the changes in `stopped` are not made, each with the missing fleet."""
    missing = {change.driver: change.fleet for change in stopped if change.action is Action.ATTACH}
    return {
        change: missing[change.driver]
        for change in changes
        if change.action is Action.DETACH and change.driver in missing
    }


def skipped_changes(
    changes: Iterable[Change], postponed: Mapping[Change, Outcome], *, held: Collection[Change] = ()
) -> dict[Change, Outcome]:
    """Return the changes not to be sent: postponed ones, and detaches that wait for a postponed or held attach."""
    changes = tuple(changes)
    own = {change: postponed[change] for change in changes if change in postponed}
    waiting = dependent_detaches(changes, [*own, *held])
    skipped = {change: deferred_detach(fleet) for change, fleet in waiting.items()} | own
    return {change: skipped[change] for change in changes if change in skipped}
