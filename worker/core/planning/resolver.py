"""Resolves references to ids, by what was read from Charge.

Invariants: a reference resolves to exactly one id, or to a reason why not, never to a guess; "does not exist" and
"could not be read" are different reasons. Neighbours: `planner` and the online check call this; `engine.reader` reads
what is needed to resolve the references.
"""

import dataclasses
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
from worker.core.model.identifiers import DriverId, FleetId


@dataclasses.dataclass(frozen=True, slots=True)
class Unresolved:
    """The reason why a reference does not resolve; `candidates` are the drivers that it may mean."""

    reason: str
    candidates: tuple[DriverId, ...] = ()


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
                    return Unresolved(f'no fleet is named "{name}"')
                case several:
                    return Unresolved(f'{len(several)} fleets are named "{name}" ({", ".join(several)}): use the id')
        case _:
            assert_never(reference)


def resolve_driver(reference: DriverRef, actual: Actual, *, before: DriverId | None = None) -> DriverAnswer:
    """Resolve a driver reference; `before` is the driver that it resolved to in earlier runs, and may still mean."""
    answer = _driver(reference, actual)
    if isinstance(answer, Unresolved) and before is not None and before not in answer.candidates:
        return Unresolved(f"{answer.reason} (it resolved to {before} before)", (*answer.candidates, before))
    return answer


def _driver(reference: DriverRef, actual: Actual) -> DriverAnswer:
    match reference:
        case DriverById(id=driver):
            return _driver_by_id(driver, actual)
        case DriverByEmail(email=email):
            return _only(actual.emails.get(email, ()), f"the e-mail address {email}", actual)
        case DriverByMetadata(key=key, value=value):
            return _only(actual.metadata.get((key, value), ()), f"the metadata {key}={value}", actual)
        case _:
            assert_never(reference)


def _driver_by_id(driver: DriverId, actual: Actual) -> DriverAnswer:
    if driver in actual.memberships:
        return driver
    if driver in actual.absent or actual.directory_complete:
        return Unresolved(f"driver {driver} does not exist in this account")
    return Unresolved(f"driver {driver} could not be read; it is not known whether it exists")


def _only(found: tuple[DriverId, ...], what: str, actual: Actual) -> DriverAnswer:
    if len(found) > 1:
        return Unresolved(f"{len(found)} drivers have {what} ({', '.join(sorted(found))}): use the id", found)
    if not actual.directory_complete:
        return Unresolved(f"{what} could not be looked up: the list of all drivers is incomplete", found)
    return found[0] if found else Unresolved(f"no driver has {what}")
