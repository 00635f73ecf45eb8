"""Keeps a moving driver in at least one fleet: if an attach fails or is skipped, the driver's detaches are deferred.

Invariant: if one attach of a driver is left out, all detaches of the driver are. Neighbours: `engine.reconciler` leaves
out what `refusal_backoff` postpones, `flap_detection` what is frozen; `engine.applier` handles attaches that fail.
"""

from collections.abc import Collection, Iterable, Mapping

from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change


def deferred_detach(fleet: FleetId) -> Deferred:
    """Return the outcome of a detach whose driver could not be attached to this fleet."""
    message = f"left to the next run: the driver could not be attached to {fleet} and must not end up without a fleet"
    return Deferred(0, "attach_first", message)


def dependent_detaches(changes: Iterable[Change], stopped: Collection[Change]) -> dict[Change, FleetId]:
    """Return the detaches that depend on an attach among `stopped`, each with the fleet of that attach."""
    missing = {change.driver: change.fleet for change in stopped if change.action is Action.ATTACH}
    return {
        change: missing[change.driver]
        for change in changes
        if change.action is Action.DETACH and change.driver in missing
    }


def skipped_changes(changes: Iterable[Change], postponed: Mapping[Change, Outcome]) -> dict[Change, Outcome]:
    """Return the changes that must not be sent: postponed ones, and detaches that depend on a postponed attach."""
    changes = tuple(changes)
    stopped = {change: postponed[change] for change in changes if change in postponed}
    dependent = {change: deferred_detach(fleet) for change, fleet in dependent_detaches(changes, stopped).items()}
    skipped = dependent | stopped
    return {change: skipped[change] for change in changes if change in skipped}
