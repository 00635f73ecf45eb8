"""What the sources ask for, derived from the model without any code of the product.

Invariant: a reference resolves to everything that it may mean; `wanted` is certain, `possible` is what may be meant.
Neighbours: `audit` records what references resolved to and when, `oracles` compares what runs do with this.
"""

import collections
import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetRef,
    Mode,
    Row,
    SourceReading,
)

Pair = tuple[str, str]
"""A driver and a fleet."""


@dataclasses.dataclass(frozen=True)
class Directory:
    """The drivers and fleets that references can resolve to."""

    emails: Mapping[str, str]
    metadata: Mapping[str, Mapping[str, str]]
    names: Mapping[str, str]

    def drivers(self, reference: DriverRef) -> frozenset[str]:
        """Return every driver that a reference may mean."""
        match reference:
            case DriverById(id=driver):
                return frozenset({driver} & self.emails.keys())
            case DriverByEmail(email=email):
                return frozenset(driver for driver, address in self.emails.items() if address.lower() == email)
            case DriverByMetadata(key=key, value=value):
                return frozenset(driver for driver, data in self.metadata.items() if data.get(key) == value)

    def fleets(self, reference: FleetRef) -> frozenset[str]:
        """Return every fleet that a reference may mean."""
        if isinstance(reference, FleetById):
            return frozenset({reference.id} & self.names.keys())
        return frozenset(fleet for fleet, name in self.names.items() if name == reference.name)


@dataclasses.dataclass
class Expected:
    """What the sources ask for at one moment.

    `modes` are the modes of the fleets that are certainly managed, `perhaps` those of fleets that an ambiguous name may
    mean. `unclear` fleets have a reference that resolves to no driver or to several, `lost` ones to none. `waiting`
    drivers are wanted in a fleet that does not resolve, `stranded` ones in one that certainly does not exist. `leads`
    maps each reference to its driver.
    """

    modes: dict[str, Mode] = dataclasses.field(default_factory=dict)
    perhaps: dict[str, set[Mode]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    wanted: set[Pair] = dataclasses.field(default_factory=set)
    possible: set[Pair] = dataclasses.field(default_factory=set)
    unclear: set[str] = dataclasses.field(default_factory=set)
    lost: set[str] = dataclasses.field(default_factory=set)
    waiting: set[str] = dataclasses.field(default_factory=set)
    stranded: set[str] = dataclasses.field(default_factory=set)
    leads: dict[str, str] = dataclasses.field(default_factory=dict)
    references: int = 0
    unresolved: int = 0
    contradictory: bool = False


def expected(
    readings: Sequence[SourceReading], directory: Directory, now: datetime.datetime, default: Mode
) -> Expected:
    """Return what these sources ask for."""
    found = Expected()
    _fleets(found, readings, directory, default)
    rows = [row for reading in readings for row in reading.rows]
    for row in rows:
        drivers = directory.drivers(row.driver)
        if len(drivers) == 1 and not isinstance(row.driver, DriverById):
            (found.leads[str(row.driver)],) = drivers
    active = [row for row in rows if _active(row, now)]
    for row in active:
        _row(found, directory.drivers(row.driver), directory.fleets(row.fleet))
    named = {row.driver for row in active}
    found.references += len(named)
    found.unresolved += sum(len(directory.drivers(reference)) != 1 for reference in named)
    return found


def _fleets(found: Expected, readings: Sequence[SourceReading], directory: Directory, default: Mode) -> None:
    stated: dict[str, set[Mode]] = collections.defaultdict(set)
    spoken: dict[str, set[Mode]] = collections.defaultdict(set)
    entries = [entry for reading in readings for entry in reading.fleets]
    for entry in entries:
        fleets = directory.fleets(entry.fleet)
        for fleet in fleets:
            found.perhaps[fleet].add(entry.mode or default)
        if entry.mode:
            spoken[str(entry.fleet)].add(entry.mode)
        if len(fleets) == 1:
            (fleet,) = fleets
            found.modes.setdefault(fleet, default)
            if entry.mode:
                stated[fleet].add(entry.mode)
    for fleet, modes in stated.items():
        found.modes[fleet] = min(modes, key=lambda mode: mode is Mode.EXACT)
    found.contradictory = any(len(modes) > 1 for modes in (*stated.values(), *spoken.values()))
    references = {entry.fleet for entry in entries}
    found.references = len(references)
    found.unresolved = sum(len(directory.fleets(reference)) != 1 for reference in references)


def _row(found: Expected, drivers: frozenset[str], fleets: frozenset[str]) -> None:
    found.possible |= {(driver, fleet) for driver in drivers for fleet in fleets}
    if len(drivers) == 1 == len(fleets):
        found.wanted |= {(driver, fleet) for driver in drivers for fleet in fleets}
    if len(fleets) != 1:
        found.waiting |= drivers
    if not fleets:
        found.stranded |= drivers
    if len(drivers) != 1:
        found.waiting |= drivers
    if len(drivers) != 1 == len(fleets):
        found.unclear |= fleets
    if not drivers and len(fleets) == 1:
        found.lost |= fleets


def _active(row: Row, now: datetime.datetime) -> bool:
    return (row.starts is None or row.starts <= now) and (row.ends is None or now < row.ends)
