"""Notices fleets that vanish from the sources: each was managed in an earlier run, and no source names it any more.

A document that was cut short between two fleets is valid and says less; nothing else would notice. Invariant: a fleet
that vanished is reported in every run until a source names it again or the operator calls it unmanaged. Neighbours:
`planner` says which fleets are managed, `ports.Journal` remembers them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, FleetById, FleetRef
from worker.core.model.identifiers import DriverId, FleetId, Resolutions
from worker.core.model.plan import Plan
from worker.core.model.problem import Problem, ProblemCode


def vanished(
    desired: Desired,
    plan: Plan,
    *,
    before: Collection[FleetId],
    remembered: Resolutions,
) -> frozenset[FleetId]:
    """Return the fleets of `before` that no source names any more and that `plan` does not manage.

    A reference that resolves to nothing still names the fleet that is `remembered`: that is a problem of its own. So
    does one that resolves to another fleet while either has a change, which is held.
    """
    changed = {change.fleet for change in plan.changes}
    named = set[FleetId | DriverId | None]()
    for entry in desired.fleets:
        if isinstance(entry.fleet, FleetById):
            named.add(entry.fleet.id)
            continue
        earlier, now = (known.get(str(entry.fleet)) for known in (remembered, plan.resolutions))
        if now is None or {earlier, now} & changed:
            named.add(earlier)
    return frozenset(before) - plan.members.keys() - named


def is_unmanaged(fleet: FleetId, name: str, unmanaged: Collection[FleetRef]) -> bool:
    """Return whether the operator has taken a fleet out of the sources on purpose; entries are ids or exact names."""
    return any(entry.id == fleet if isinstance(entry, FleetById) else entry.name == name for entry in unmanaged)


def listed(fleets: Iterable[FleetId], actual: Actual, unmanaged: Collection[FleetRef]) -> frozenset[FleetId]:
    """Return the fleets that `unmanaged` lists."""
    named = {fleet: actual.fleets[fleet].name if fleet in actual.fleets else "" for fleet in fleets}
    return frozenset(fleet for fleet, name in named.items() if is_unmanaged(fleet, name, unmanaged))


def problems(fleets: Iterable[FleetId], names: Mapping[FleetId, str]) -> Iterator[Problem]:
    """Yield a problem for each fleet that vanished."""
    for fleet in fleets:
        shown = f'fleet "{names[fleet]}"' if names.get(fleet) else "this fleet"
        message = (
            f"{shown} was managed in an earlier run, but no source names it any more; no driver is detached from it."
            " If it was taken out on purpose, add it to unmanaged in the section [guard]"
        )
        yield Problem(fleet, message, code=ProblemCode.SCOPE_SHRANK)
