"""Plans a saved plan again: the changes that still fit what Charge holds now, for the guard to evaluate anew.

Invariant: nothing is planned that the saved plan does not contain, nor in a fleet that is unmanaged since. Neighbours:
`cli.plan_file` loads the plan, `observation` says what is stale, `engine.plan_builder` reads and evaluates.
"""

from collections.abc import Collection, Iterable

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, DriverById, DriverRef, FleetById, FleetEntry, FleetRef, Mode, Origin, Row
from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Outcome, Stale
from worker.core.model.plan import Action, Change, ConcernedDriver, GuardedPlan, HeldChange, Plan
from worker.core.planning import observation, vanished_fleets
from worker.core.planning.ignored_drivers import IgnoredDrivers

_ORIGIN = Origin("saved plan", 0, 0)


def changes(saved: GuardedPlan) -> tuple[Change, ...]:
    """Return all changes of a saved plan, held or not, in the order of plans."""
    return tuple(sorted((*saved.changes, *(held.change for held in saved.held)), key=lambda change: change.order))


def held_before(saved: GuardedPlan) -> tuple[HeldChange, ...]:
    """Return the changes that were held when the plan was made, also those that an approval allowed then."""
    return (*saved.held, *saved.approved)


def needs_fleets(saved: GuardedPlan, excluded: Iterable[DriverRef | FleetRef]) -> bool:
    """Return whether it takes more than the plan's drivers to say what still fits.

    That is so if it has a detach, held or not, or if the settings exclude a driver or fleet otherwise than by id.
    """
    by_id = all(isinstance(each, DriverById | FleetById) for each in excluded)
    return not by_id or any(change.action is Action.DETACH for change in changes(saved))


def required_reading(saved: GuardedPlan, ignored: Collection[DriverRef]) -> Desired:
    """Return what must be read to evaluate a plan again: its managed fleets, its drivers and the ignored ones."""
    return Desired(
        ignored=frozenset(ignored),
        sources=saved.sources,
        fleets=tuple(FleetEntry(FleetById(fleet), _ORIGIN, mode) for fleet, mode in saved.modes.items()),
        rows=tuple(Row(FleetById(change.fleet), DriverById(change.driver), _ORIGIN) for change in changes(saved)),
    )


def stale_changes(
    saved: GuardedPlan, actual: Actual, *, unmanaged: Collection[FleetRef], ignored: IgnoredDrivers
) -> dict[Change, Outcome]:
    """Return the changes that must not be sent any more, each with its outcome."""
    return {
        change: outcome
        for change in changes(saved)
        if (
            outcome := _no_longer_managed(change.fleet, saved, actual, unmanaged)
            or _ignored_since(change, ignored)
            or observation.stale_reason(change, actual)
        )
    }


def _no_longer_managed(
    fleet: FleetId, saved: GuardedPlan, actual: Actual, unmanaged: Collection[FleetRef]
) -> Outcome | None:
    if not vanished_fleets.listed({fleet} - saved.listed_unmanaged, actual, unmanaged):
        return None
    return Stale("the fleet is listed in unmanaged of the section [guard]; nothing was sent")


def _ignored_since(change: Change, ignored: IgnoredDrivers) -> Outcome | None:
    if change.driver in ignored.entries:
        return Stale("the driver is listed in ignore_drivers of the section [guard]; nothing was sent")
    if ignored.unclear([change]):
        return Stale("an entry of ignore_drivers in the section [guard] may mean anyone; nothing was sent")
    return None


def plan_again(saved: GuardedPlan, actual: Actual, *, without: Collection[Change]) -> Plan:
    """Plan the changes of a saved plan except those `without`; members and the fleets of drivers are those of now."""
    return Plan(
        changes=tuple(change for change in changes(saved) if change not in without),
        problems=saved.problems,
        members=actual.count_members(saved.modes),
        in_sync=saved.in_sync,
        drivers=saved.drivers,
        concerned={
            driver: ConcernedDriver(actual.memberships.get(driver, frozenset()), each.wanted)
            for driver, each in saved.concerned.items()
        },
        exact=frozenset(fleet for fleet, mode in saved.modes.items() if mode is Mode.EXACT),
    )
