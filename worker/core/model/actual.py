"""Actual state: what Charge holds, as far as one reading shows it.

Invariant: present, absent and unknown are three different things. Neighbours: `planning.inventory` collects this from
pages, `desired` is what the sources want.
"""

import collections
import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from worker.core.model.desired import DriverRef
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import Person


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """A driver as Charge shows it now; `fleets` are the fleets that it is linked to."""

    id: DriverId
    fleets: frozenset[FleetId]
    email: str = ""
    name: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    status: str = "active"


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet as Charge shows it now. `total_drivers` is `None` if Charge did not send it."""

    id: FleetId
    name: str = ""
    status: str = "active"
    total_drivers: int | None = None
    timezone: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Actual:
    """What Charge holds, as far as one reading shows it.

    `memberships` maps every driver that was seen to its own `fleets`. A driver missing there was not seen, which proves
    that it does not exist only if it is in `absent` (Charge answered 404) or `directory_complete` is true. `incomplete`
    maps each managed fleet whose listing is not trusted to the reason; a driver not seen in such a fleet may still be a
    member. `statuses` has the drivers whose status is not active, `unreadable` those whose object cannot be read.
    `near_misses` maps references to the drivers that they would match but for Unicode form, letter case, spaces at the
    ends or invisible characters, and to that difference; `similar` maps references without a match to the e-mail
    addresses that they may misspell. `requests` is the number of requests that the reading took.
    """

    fleets: Mapping[FleetId, Fleet]
    memberships: Mapping[DriverId, frozenset[FleetId]]
    incomplete: Mapping[FleetId, str] = dataclasses.field(default_factory=dict)
    emails: Mapping[str, tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    metadata: Mapping[tuple[str, str], tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    near_misses: Mapping[DriverRef, Mapping[DriverId, str]] = dataclasses.field(default_factory=dict)
    similar: Mapping[DriverRef, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    people: Mapping[DriverId, Person] = dataclasses.field(default_factory=dict)
    statuses: Mapping[DriverId, str] = dataclasses.field(default_factory=dict)
    unreadable: frozenset[DriverId] = frozenset()
    absent: frozenset[DriverId] = frozenset()
    directory_complete: bool = False
    requests: int = 0

    def with_drivers(self, retrieved: "Actual") -> "Actual":
        """Return this reading with the drivers that were retrieved one by one after it."""
        return dataclasses.replace(
            self,
            memberships={**self.memberships, **retrieved.memberships},
            people={**self.people, **retrieved.people},
            statuses={**self.statuses, **retrieved.statuses},
            unreadable=self.unreadable - retrieved.memberships.keys(),
            absent=self.absent | retrieved.absent,
        )

    def count_combinations(self) -> Mapping[frozenset[FleetId], int]:
        """Return how many drivers were seen in exactly these fleets: a million drivers have a few hundred of them."""
        return collections.Counter(self.memberships.values())

    def count_members(self, fleets: Iterable[FleetId]) -> dict[FleetId, int]:
        """Return how many drivers were seen in each of these fleets."""
        members = dict.fromkeys(sorted(fleets), 0)
        for own, count in self.count_combinations().items():
            for fleet in own & members.keys():
                members[fleet] += count
        return members

    @property
    def inactive(self) -> dict[str, str]:
        """Return the statuses of drivers and fleets that are not active, by id."""
        statuses = {str(driver): status for driver, status in self.statuses.items()}
        return statuses | {fleet.id: fleet.status for fleet in self.fleets.values() if fleet.status != "active"}


@dataclasses.dataclass(frozen=True, slots=True)
class StatedTime:
    """The time that a reply of Charge stated, and this machine's uptime then, in seconds.

    The uptime is taken half-way between request and reply. Charge states whole seconds, rounded down.
    """

    time: datetime.datetime
    uptime: float


class TimeSource(Protocol):
    """States what time it is: the part of `ports.Charge` that sends nothing."""

    def stated_times(self) -> Sequence[StatedTime]:
        """Return what time the newest readings stated, the newest last. Few or none if replies state no time."""
        ...
