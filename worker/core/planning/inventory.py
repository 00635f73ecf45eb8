"""Collects the drivers of one reading, page by page, and decides which fleets were read completely.

Invariants: a driver's own `fleets` decide its memberships; a fleet is complete only if its listing ended properly,
agrees with the `fleets` of every driver, showed no driver both ways, and matches the fleet's `total_drivers`.
Neighbours: `engine.driver_reader` fetches the pages, `planner` gets the result as `actual.Actual`.
"""

import collections
from collections.abc import Collection, Iterable
from typing import cast

from worker.core.model.actual import Actual, Driver, Fleet
from worker.core.model.desired import DriverByEmail, DriverByMetadata, DriverRef
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import People, Person, pack
from worker.core.planning import near_misses, references, similar
from worker.core.planning.expected_drivers import ExpectedDrivers

DISAGREEMENT = "the fleet's listing and its drivers' own `fleets` disagree"

TOLERANCE = 0.01
"""Fraction of `total_drivers` by which a second reading may differ, because other clients write meanwhile."""


MOST_NAMED = 20_000
"""Drivers up to which a reading keeps every name; of more, only of those that may have a change."""


class Inventory:
    """The drivers seen so far. Indexes only the references that are expected."""

    def __init__(self, expected: ExpectedDrivers, *, all_emails: bool = False) -> None:
        """Start without having seen anyone; index the references, and with `all_emails` every e-mail address."""
        wanted = expected.references
        self._all_emails = all_emails
        # An expected driver not yet seen maps to its own id. The keys are the sources' id objects, not those of a page.
        self._memberships: dict[DriverId, frozenset[FleetId] | DriverId] = {each: each for each in expected.named()}
        self.expected = len(self._memberships)
        """How many drivers are expected by id."""
        self._seen = 0
        self._is_in_sync = expected.is_in_sync
        self._people: dict[DriverId, str] = {}
        self._people_in_sync: dict[DriverId, str] = {}
        self._statuses: dict[DriverId, str] = {}
        self._absent: set[DriverId] = set()
        self._unreadable: set[DriverId] = set()
        self._contradicted: set[FleetId] = set()
        self._shared: dict[frozenset[FleetId], frozenset[FleetId]] = {}
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
        if driver.id not in self._people:
            self._add_person(driver)
        if isinstance(before, frozenset):
            self._contradicted |= before ^ driver.fleets
            return False
        self._seen += 1
        if self._uses_emails:
            self._add_email(driver.id, driver.email)
        for entry in driver.metadata.items() if self._metadata else ():
            if entry in self._metadata:
                self._metadata[entry].add(driver.id)
            self._near_misses.add_metadata(driver.id, *entry)
        return True

    def _add_person(self, driver: Driver) -> None:
        """Keep the name, unless there are many and no change can concern the driver."""
        if not self._is_in_sync(driver.id, driver.fleets):
            if driver.name or driver.email:
                self._people[driver.id] = pack(Person(driver.name, driver.email))
        elif self._seen < MOST_NAMED:
            self._people_in_sync[driver.id] = pack(Person(driver.name, driver.email))
        elif self._people_in_sync:
            self._people_in_sync = {}

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

    def unseen(self) -> list[DriverId]:
        """Return, sorted, the drivers that are expected by id and that no page showed."""
        if len(self._memberships) == self._seen:
            return []
        return sorted(driver for driver, fleets in self._memberships.items() if not isinstance(fleets, frozenset))

    def has_seen(self, driver: DriverId) -> bool:
        """Return whether a driver was seen."""
        return self._fleets(driver) is not None

    def expected_id(self, driver: DriverId) -> DriverId:
        """Return the id of a driver as the sources have it, until the driver is seen: equal, and no object of its own.

        A million ids of pages take 85 MB.
        """
        known = self._memberships.get(driver)
        return known if isinstance(known, str) else driver

    def unreadable(self) -> frozenset[DriverId]:
        """Return the drivers of which no readable object was seen."""
        return frozenset(driver for driver in self._unreadable if not self.has_seen(driver))

    def count(self) -> int:
        """Return how many drivers were seen, readable or not."""
        return self._seen + len(self.unreadable())

    def sizes(self) -> dict[FleetId, int]:
        """Return the number of members of every fleet. One pass over all drivers."""
        sizes: dict[FleetId, int] = {}
        combinations = (fleets for fleets in self._memberships.values() if isinstance(fleets, frozenset))
        for fleets, count in collections.Counter(combinations).items():
            for fleet in fleets:
                sizes[fleet] = sizes.get(fleet, 0) + count
        return sizes

    def merge(self, later: "Inventory") -> bool:
        """Add the drivers and references that only a later reading showed; return whether it showed new drivers."""
        new = {
            driver: fleets
            for driver, fleets in later._memberships.items()
            if isinstance(fleets, frozenset) and not self.has_seen(driver)
        }
        for driver, fleets in new.items():
            self._set(driver, fleets)
        self._seen += len(new)
        for email, found in later._emails.items():
            self._emails.setdefault(email, set()).update(found)
        for entry, found in later._metadata.items():
            self._metadata[entry] |= found
        self._near_misses.merge(later._near_misses)
        self._others.update(later._others)
        self._people = later._people | self._people
        self._statuses.update(later._statuses)
        self._unreadable |= later._unreadable
        return bool(new)

    def replace_fleets(self, later: "Inventory", fleets: Collection[FleetId]) -> None:
        """Replace the members of these fleets by those of a later reading, which must be merged first."""
        replaced = frozenset(fleets)
        for driver, before in self._memberships.items():
            if isinstance(before, frozenset):
                now = (before - replaced) | ((later._fleets(driver) or frozenset()) & replaced)
                if now != before:
                    self._set(driver, now)
        self._contradicted -= replaced

    def incompleteness_reason(
        self,
        fleet: Fleet,
        *,
        count: int,
        listed: int | None = None,
        malformed: frozenset[DriverId] | None = None,
        final: bool = False,
    ) -> str | None:
        """Return the reason why the reading of a fleet is incomplete, or None.

        `count` is the number of drivers whose own `fleets` contain it; `listed` is that in the fleet's own
        listing, if it was listed, and `malformed` are its objects that could not be read. `final` tolerates a
        difference of `TOLERANCE` from `total_drivers`, for a second reading. Drivers that cannot be read may be
        members, and account for a difference; those that the fleet's own listing does not show are none.
        """
        if fleet.id in self._contradicted:
            return "a driver appeared both with and without this fleet"
        if listed is not None and listed != count:
            return DISAGREEMENT
        return self.total_reason(fleet, count=count, malformed=malformed, final=final)

    def total_reason(
        self, fleet: Fleet, *, count: int, malformed: frozenset[DriverId] | None = None, final: bool = False
    ) -> str | None:
        """Return the reason why `count` members contradict the fleet's `total_drivers`, or None."""
        if fleet.total_drivers is None:
            return "Charge did not send its `total_drivers`"
        missing = fleet.total_drivers - count
        unreadable = self.unreadable()
        explained = 0 <= missing <= len(unreadable if malformed is None else unreadable & malformed)
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
        """Return everything that was collected; nothing may be added after that."""
        for driver in self.unseen():
            del self._memberships[driver]
        return Actual(
            fleets=fleets,
            memberships=cast("dict[DriverId, frozenset[FleetId]]", self._memberships),
            incomplete=incomplete,
            emails={email: tuple(sorted(found)) for email, found in self._emails.items()},
            metadata={entry: tuple(sorted(found)) for entry, found in self._metadata.items()},
            near_misses=self._near_misses.found,
            similar=self._similar(),
            people=People(self._people | self._people_in_sync),
            statuses=self._statuses,
            unreadable=self.unreadable(),
            absent=frozenset(driver for driver in self._absent if not self.has_seen(driver)),
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

    def agrees(self, fleet: FleetId, listed: Iterable[DriverId]) -> bool:
        """Return whether the own `fleets` of all drivers in a fleet's listing, as shown so far, contain the fleet."""
        shown = map(self._memberships.__getitem__, listed)
        return all(isinstance(fleets, frozenset) and fleet in fleets for fleets in shown)

    def _fleets(self, driver: DriverId) -> frozenset[FleetId] | None:
        """Return the fleets of a driver who was seen."""
        found = self._memberships.get(driver)
        return found if isinstance(found, frozenset) else None

    def _set(self, driver: DriverId, fleets: frozenset[FleetId]) -> None:
        self._memberships[driver] = self._shared.setdefault(fleets, fleets)
