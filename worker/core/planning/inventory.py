"""Collects the drivers of one reading, page by page, and decides which fleets were read completely.

Invariants: a driver's own `fleets` decide its memberships; a fleet is complete only if its listing ended properly,
agrees with the `fleets` of every driver, showed no driver both ways, and matches the fleet's `total_drivers`.
Neighbours: `engine.driver_reader` fetches the pages, `planner` gets the result as `actual.Actual`.
"""

import collections
from collections.abc import Collection, Iterable

from worker.core.model.actual import Actual, Driver, Fleet
from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import People, Person, pack
from worker.core.planning import near_misses, references, similar

TOLERANCE = 0.01
"""Fraction of `total_drivers` by which a second reading may differ, because other clients write meanwhile."""


class Inventory:
    """The drivers seen so far. Indexes only the references that it was created with."""

    def __init__(self, wanted: Iterable[DriverRef], *, all_emails: bool = False) -> None:
        """Start empty; index the references `wanted`, and with `all_emails` every e-mail address."""
        self._all_emails = all_emails
        self._memberships: dict[DriverId, frozenset[FleetId]] = {}
        self._people: dict[DriverId, str] = {}
        self._statuses: dict[DriverId, str] = {}
        self._absent: set[DriverId] = set()
        self._unreadable: set[DriverId] = set()
        self._contradicted: set[FleetId] = set()
        self._shared: dict[frozenset[FleetId], frozenset[FleetId]] = {}
        wanted = frozenset(reference for reference in wanted if not isinstance(reference, DriverById))
        self._emails: dict[str, set[DriverId]] = {
            reference.email: set() for reference in wanted if isinstance(reference, DriverByEmail)
        }
        self._metadata: dict[tuple[str, str], set[DriverId]] = {
            (reference.key, reference.value): set() for reference in wanted if isinstance(reference, DriverByMetadata)
        }
        self._uses_emails = all_emails or bool(self._emails)
        self._near_misses = near_misses.Index(wanted)
        self._others: dict[DriverId, str] = {}

    def add(self, driver: Driver) -> bool:
        """Add a driver as a page shows it, and return whether it is new. If it is shown twice, the later one counts."""
        before = self._memberships.get(driver.id)
        # One object for each combination of fleets: a million drivers share a few hundred.
        self._memberships[driver.id] = self._shared.setdefault(driver.fleets, driver.fleets)
        if driver.status != "active":
            self._statuses[driver.id] = driver.status
        if before is not None:
            self._contradicted |= before ^ driver.fleets
            return False
        if driver.name or driver.email:
            self._people[driver.id] = pack(Person(driver.name, driver.email))
        if self._uses_emails:
            self._add_email(driver.id, driver.email)
        for entry in driver.metadata.items() if self._metadata else ():
            if entry in self._metadata:
                self._metadata[entry].add(driver.id)
            self._near_misses.add_metadata(driver.id, *entry)
        return True

    def _add_email(self, driver: DriverId, written: str) -> None:
        if (email := references.lower_ascii(written)) in self._emails:
            self._emails[email].add(driver)
        elif self._all_emails and email:
            self._emails[email] = {driver}
        elif self._emails and email and len(self._others) <= similar.MOST_CANDIDATES:
            self._others[driver] = email
        self._near_misses.add_email(driver, written, compared=email)

    def add_absent(self, driver: DriverId) -> None:
        """Record that Charge answered 404 for a driver."""
        self._absent.add(driver)

    def add_unreadable(self, driver: DriverId) -> None:
        """Record a driver whose object cannot be read: its fleets are unknown, and no other driver's are."""
        self._unreadable.add(driver)

    def unseen(self, drivers: Iterable[DriverId]) -> list[DriverId]:
        """Return, sorted, those of `drivers` that no page showed."""
        return sorted(set(drivers) - self._memberships.keys())

    def unreadable(self) -> frozenset[DriverId]:
        """Return the drivers of which no readable object was seen."""
        return frozenset(driver for driver in self._unreadable if driver not in self._memberships)

    def count(self) -> int:
        """Return how many drivers were seen, readable or not."""
        return len(self._memberships) + len(self.unreadable())

    def sizes(self) -> dict[FleetId, int]:
        """Return the number of members of every fleet. One pass over all drivers."""
        sizes: dict[FleetId, int] = {}
        for fleets, count in collections.Counter(self._memberships.values()).items():
            for fleet in fleets:
                sizes[fleet] = sizes.get(fleet, 0) + count
        return sizes

    def merge(self, later: "Inventory") -> bool:
        """Add the drivers and references that only a later reading showed; return whether it showed new drivers."""
        unseen = later._memberships.keys() - self._memberships.keys()
        for driver in unseen:
            self._set(driver, later._memberships[driver])
        for email, found in later._emails.items():
            self._emails.setdefault(email, set()).update(found)
        for entry, found in later._metadata.items():
            self._metadata[entry] |= found
        self._near_misses.merge(later._near_misses)
        self._others.update(later._others)
        self._people.update((driver, later._people[driver]) for driver in unseen & later._people.keys())
        self._statuses.update(later._statuses)
        self._unreadable |= later._unreadable
        return bool(unseen)

    def replace_fleets(self, later: "Inventory", fleets: Collection[FleetId]) -> None:
        """Replace the members of these fleets by those of a later reading, which must be merged first."""
        replaced = frozenset(fleets)
        for driver, before in list(self._memberships.items()):
            now = (before - replaced) | (later._memberships.get(driver, frozenset()) & replaced)
            if now != before:
                self._set(driver, now)
        self._contradicted -= replaced

    def incompleteness_reason(
        self, fleet: Fleet, *, count: int, listed: frozenset[DriverId] | None = None, final: bool = False
    ) -> str | None:
        """Return the reason why the reading of a fleet is incomplete, or None.

        `count` is the number of drivers whose own `fleets` contain it; `listed` are the drivers in the fleet's own
        listing, if it was listed. `final` tolerates a difference of `TOLERANCE` from `total_drivers`, for a second
        reading. Drivers that cannot be read may be members, and account for a difference.
        """
        if fleet.id in self._contradicted:
            return "a driver appeared both with and without this fleet"
        if listed is not None and not self._agrees(fleet.id, listed, count):
            return "the fleet's listing and its drivers' own `fleets` disagree"
        return self.total_reason(fleet, count=count, final=final)

    def total_reason(self, fleet: Fleet, *, count: int, final: bool = False) -> str | None:
        """Return the reason why `count` members contradict the fleet's `total_drivers`, or None."""
        if fleet.total_drivers is None:
            return "Charge did not send its `total_drivers`"
        missing = fleet.total_drivers - count
        explained = 0 <= missing <= len(self.unreadable())
        if not explained and abs(missing) > (TOLERANCE * fleet.total_drivers if final else 0):
            return f"the listing shows {count} drivers, but `total_drivers` says {fleet.total_drivers}"
        return None

    def actual(
        self,
        *,
        fleets: dict[FleetId, Fleet],
        incomplete: dict[FleetId, str],
        directory_complete: bool,
        requests: int,
    ) -> Actual:
        """Return everything that was collected."""
        return Actual(
            fleets=fleets,
            memberships=self._memberships,
            incomplete=incomplete,
            emails={email: tuple(sorted(found)) for email, found in self._emails.items()},
            metadata={entry: tuple(sorted(found)) for entry, found in self._metadata.items()},
            near_misses=self._near_misses.found,
            similar=self._similar(),
            people=People(self._people),
            statuses=self._statuses,
            unreadable=self.unreadable(),
            absent=frozenset(driver for driver in self._absent if driver not in self._memberships),
            directory_complete=directory_complete,
            requests=requests,
        )

    def _similar(self) -> dict[DriverRef, tuple[str, ...]]:
        """Return the addresses that references without a match may misspell."""
        unmatched = [email for email, found in self._emails.items() if not found]
        if not unmatched or len(self._others) > similar.MOST_CANDIDATES:
            return {}
        addresses = similar.Addresses(self._others.values())
        return {DriverByEmail(email): found for email in unmatched if (found := addresses.similar(email))}

    def _agrees(self, fleet: FleetId, listed: frozenset[DriverId], count: int) -> bool:
        return len(listed) == count and all(fleet in self._memberships[driver] for driver in listed)

    def _set(self, driver: DriverId, fleets: frozenset[FleetId]) -> None:
        self._memberships[driver] = self._shared.setdefault(fleets, fleets)
