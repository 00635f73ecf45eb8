"""Collects what the pages of a reading show, and says which fleets were seen whole.

Invariants: a driver's own `fleets` is what counts; a fleet is whole only if its listing ended properly, agrees with
every driver's own `fleets`, contradicted itself nowhere and counts what the fleet's `total_drivers` says.
Neighbours: `engine.reading` fetches the pages, `planner` gets the sum as `values.Actual`.
"""

from collections.abc import Iterable

from worker.core.model.actual import Actual, Driver, Fleet
from worker.core.model.desired import DriverByEmail, DriverByMetadata, DriverRef
from worker.core.model.identifiers import DriverId, FleetId

TOLERANCE = 0.01
"""By how much of `total_drivers` a count may differ after a second reading, as other writers are at work."""


class Inventory:
    """Every driver seen so far; only the references that somebody asked for are indexed."""

    def __init__(self, references: Iterable[DriverRef], *, all_emails: bool = False) -> None:
        """Start empty; `references` are those that will be looked up, `all_emails` asks for every address."""
        self._all_emails = all_emails
        self._memberships: dict[DriverId, frozenset[FleetId]] = {}
        self._names: dict[DriverId, str] = {}
        self._absent: set[DriverId] = set()
        self._contradicted: set[FleetId] = set()
        self._shared: dict[frozenset[FleetId], frozenset[FleetId]] = {}
        wanted = frozenset(references)
        self._emails: dict[str, set[DriverId]] = {
            reference.email: set() for reference in wanted if isinstance(reference, DriverByEmail)
        }
        self._metadata: dict[tuple[str, str], set[DriverId]] = {
            (reference.key, reference.value): set() for reference in wanted if isinstance(reference, DriverByMetadata)
        }
        self._keys = frozenset(key for key, _ in self._metadata)

    def add(self, driver: Driver) -> bool:
        """Note a driver as a page shows it; tell whether it is new. Shown twice, the later one counts."""
        before = self._memberships.get(driver.id)
        # One object for each combination of fleets: a million drivers share a few hundred.
        self._memberships[driver.id] = self._shared.setdefault(driver.fleets, driver.fleets)
        if before is not None:
            self._contradicted |= before ^ driver.fleets
            return False
        if driver.name or driver.email:
            self._names[driver.id] = driver.name or driver.email
        if (email := driver.email.lower()) in self._emails:
            self._emails[email].add(driver.id)
        elif self._all_emails and email:
            self._emails[email] = {driver.id}
        for key in self._keys & driver.metadata.keys():
            if (entry := (key, driver.metadata[key])) in self._metadata:
                self._metadata[entry].add(driver.id)
        return True

    def add_absent(self, driver: DriverId) -> None:
        """Note that Charge knows no such driver."""
        self._absent.add(driver)

    def unseen(self, drivers: Iterable[DriverId]) -> list[DriverId]:
        """Give those of `drivers` that no page showed."""
        return sorted(set(drivers) - self._memberships.keys())

    def members(self, fleet: FleetId) -> frozenset[DriverId]:
        """Give the drivers whose own `fleets` names the fleet."""
        return frozenset(driver for driver, fleets in self._memberships.items() if fleet in fleets)

    def count(self) -> int:
        """Count the drivers seen."""
        return len(self._memberships)

    def sizes(self) -> dict[FleetId, int]:
        """Count the members of every fleet in one pass."""
        sizes: dict[FleetId, int] = {}
        for fleets in self._memberships.values():
            for fleet in fleets:
                sizes[fleet] = sizes.get(fleet, 0) + 1
        return sizes

    def merge(self, later: "Inventory") -> bool:
        """Take over everybody whom only a later reading showed, and whom references lead to there; tell whether so."""
        unseen = later._memberships.keys() - self._memberships.keys()
        for driver in unseen:
            self._set(driver, later._memberships[driver])
        for email, found in later._emails.items():
            self._emails.setdefault(email, set()).update(found)
        for entry, found in later._metadata.items():
            self._metadata[entry] |= found
        self._names.update((driver, later._names[driver]) for driver in unseen & later._names.keys())
        return bool(unseen)

    def replace_fleet(self, later: "Inventory", fleet: FleetId) -> None:
        """Take over who is in the fleet from a later reading of it, everybody of which was learned."""
        before, now = self.members(fleet), later.members(fleet)
        for driver in before - now:
            self._set(driver, self._memberships[driver] - {fleet})
        for driver in now:
            self._set(driver, self._memberships[driver] | {fleet})
        self._contradicted.discard(fleet)

    def incompleteness_reason(
        self, fleet: Fleet, *, count: int, listed: frozenset[DriverId] | None = None, final: bool = False
    ) -> str | None:
        """Give the reason why the fleet was not seen whole, or None.

        `count` is how many drivers name the fleet as theirs; `listed` those that a listing of just this fleet showed;
        `final` after a second reading, when a small difference from `total_drivers` is tolerated.
        """
        if fleet.id in self._contradicted:
            return "a driver was shown both with and without this fleet"
        if listed is not None and not self._agrees(fleet.id, listed, count):
            return "the fleet's listing and its drivers' own `fleets` disagree"
        if fleet.total_drivers is None:
            return "Charge did not say how many drivers it has"
        if abs(count - fleet.total_drivers) > (TOLERANCE * fleet.total_drivers if final else 0):
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
        """Hand everything over."""
        return Actual(
            fleets=fleets,
            memberships=self._memberships,
            incomplete=incomplete,
            emails={email: tuple(sorted(found)) for email, found in self._emails.items()},
            metadata={entry: tuple(sorted(found)) for entry, found in self._metadata.items()},
            names=self._names,
            absent=frozenset(self._absent - self._memberships.keys()),
            directory_complete=directory_complete,
            requests=requests,
        )

    def _agrees(self, fleet: FleetId, listed: frozenset[DriverId], count: int) -> bool:
        return len(listed) == count and all(fleet in self._memberships[driver] for driver in listed)

    def _set(self, driver: DriverId, fleets: frozenset[FleetId]) -> None:
        self._memberships[driver] = self._shared.setdefault(fleets, fleets)
