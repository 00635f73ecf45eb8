"""Resolves references to ids, by what was read from Charge.

Invariants: a reference resolves to exactly one id, or to a reason why not, never to a guess; "does not exist" and
"could not be read" are different reasons. Neighbours: `planner` and the online check call this; `engine.reader` reads
what is needed to resolve the references.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import assert_never

from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetRef,
)
from worker.core.model.identifiers import DriverId, FleetId, Resolutions
from worker.core.planning import near_misses, similar


@dataclasses.dataclass(frozen=True, slots=True)
class Unresolved:
    """The reason why a reference does not resolve; `candidates` are the drivers that it may mean."""

    reason: str
    candidates: tuple[DriverId, ...] = ()


_SHOWN_NEAR_MISSES = 3

FleetAnswer = FleetId | Unresolved
DriverAnswer = DriverId | Unresolved


def resolve_fleets(references: Iterable[FleetRef], known: Mapping[FleetId, Fleet]) -> dict[FleetRef, FleetAnswer]:
    """Resolve fleet references among `known`. To resolve a name, it must hold every fleet of the account."""
    by_name: dict[str, list[FleetId]] = {}
    for fleet in known.values():
        by_name.setdefault(fleet.name, []).append(fleet.id)
    return {reference: _fleet(reference, known, by_name) for reference in references}


def resolved_ids(answers: Iterable[FleetAnswer]) -> frozenset[FleetId]:
    """Return the ids among the answers."""
    return frozenset(answer for answer in answers if not isinstance(answer, Unresolved))


def _fleet(
    reference: FleetRef,
    known: Mapping[FleetId, Fleet],
    by_name: Mapping[str, list[FleetId]],
) -> FleetAnswer:
    match reference:
        case FleetById(id=fleet):
            return fleet if fleet in known else Unresolved(f"fleet {fleet} does not exist in this account")
        case FleetByName(name=name):
            match sorted(by_name.get(name, [])):
                case [fleet]:
                    return fleet
                case []:
                    return Unresolved(f'no fleet is named "{name}"{_near_fleets(name, known)}')
                case several:
                    return Unresolved(f'{len(several)} fleets are named "{name}" ({", ".join(several)}): use the id')
        case _:
            assert_never(reference)


def _near_fleets(name: str, known: Mapping[FleetId, Fleet]) -> str:
    """Return which fleets the name nearly matches, and how they differ; or the names that it may misspell."""
    folded = near_misses.fold(name)
    near = {
        fleet.id: near_misses.describe(fleet.name, name)
        for fleet in known.values()
        if fleet.name and near_misses.fold(fleet.name) == folded
    }
    if near:
        return _shown(near, "the name of fleet")
    return similar.suggest(name, (fleet.name for fleet in known.values()))


def _shown(near: Mapping[DriverId, str] | Mapping[FleetId, str], what: str) -> str:
    """Return near misses as a part of a message, the first few in order."""
    shown = [f"{what} {each} differs only in {difference}" for each, difference in sorted(near.items())]
    more = f"; and {len(shown) - _SHOWN_NEAR_MISSES} more" if len(shown) > _SHOWN_NEAR_MISSES else ""
    return "".join(f"; {each}" for each in shown[:_SHOWN_NEAR_MISSES]) + more


def resolve_driver(
    reference: DriverRef, actual: Actual, *, remembered: Resolutions = types.MappingProxyType({})
) -> DriverAnswer:
    """Resolve a driver reference; it may still mean the driver that it resolved to in earlier runs (`remembered`)."""
    answer = _driver(reference, actual)
    before = remembered.get(str(reference))
    if not isinstance(answer, Unresolved) or before is None or before in answer.candidates:
        return answer
    return Unresolved(f"{answer.reason} (it resolved to {before} before)", (*answer.candidates, DriverId(before)))


def _driver(reference: DriverRef, actual: Actual) -> DriverAnswer:
    match reference:
        case DriverById(id=driver):
            return _driver_by_id(driver, actual)
        case DriverByEmail(email=email):
            return _only(reference, actual.emails.get(email, ()), f"the e-mail address {email}", actual)
        case DriverByMetadata(key=key, value=value):
            return _only(reference, actual.metadata.get((key, value), ()), f"the metadata {key}={value}", actual)
        case _:
            assert_never(reference)


def _driver_by_id(driver: DriverId, actual: Actual) -> DriverAnswer:
    if driver in actual.memberships:
        return driver
    if driver in actual.unreadable:
        return Unresolved(f"driver {driver} cannot be read: Charge sends an object that is malformed")
    if driver in actual.absent or actual.directory_complete:
        return Unresolved(f"driver {driver} does not exist in this account")
    return Unresolved(f"driver {driver} could not be read; it is not known whether it exists")


def _only(reference: DriverRef, found: tuple[DriverId, ...], what: str, actual: Actual) -> DriverAnswer:
    if len(found) > 1:
        drivers = ", ".join(_with_status(driver, actual) for driver in sorted(found))
        return Unresolved(f"{len(found)} drivers have {what} ({drivers}): use the id", found)
    near = actual.near_misses.get(reference, {})
    if not actual.directory_complete:
        reason = f"{what} could not be looked up: the list of all drivers is incomplete"
        return Unresolved(reason, found or tuple(sorted(near)))
    if found:
        return found[0]
    if actual.unreadable and not near:
        return Unresolved(
            f"no driver has {what}, but not every driver can be read (unreadable: {len(actual.unreadable)})"
        )
    suggestion = "" if near else similar.question(actual.similar.get(reference, ()))
    return Unresolved(f"no driver has {what}{_shown(near, 'that of driver')}{suggestion}", tuple(sorted(near)))


def _with_status(driver: DriverId, actual: Actual) -> str:
    """Return a driver's id, with the status if it is not active. Nothing is concluded from it."""
    status = actual.statuses.get(driver)
    return f"{driver} is {status}" if status else driver
