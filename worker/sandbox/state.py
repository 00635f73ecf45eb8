"""The state behind the sandbox: drivers, fleets, and who is in which; and a diary of what the API did to it.

Invariant: both directions of a membership are changed together, in `attach` and `detach` and nowhere else.
Neighbours: `people` invents who there is, `endpoints` writes through `apply`, `objects` shows it to clients.
"""

import dataclasses
import datetime
import itertools
from collections.abc import Iterable, Mapping
from typing import Literal, Self

from worker.sandbox import fake_data

Action = Literal["attach", "detach"]
Status = Literal["active", "suspended", "archived"]

_FIRST_DAY = datetime.datetime(2025, 1, 6, 8, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """A driver's own data. `number` counts what was created before it: a higher one is newer."""

    id: str
    number: int
    created: str
    email: str
    name: str
    metadata: Mapping[str, str]
    status: Status


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet's own data. `number` counts what was created before it: a higher one is newer."""

    id: str
    number: int
    created: str
    name: str
    status: Status


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """One write of the API that was carried out; `changed` is false where it left everything as it was."""

    action: Action
    driver: str
    fleet: str
    key: str | None
    changed: bool


class SandboxState:
    """Everything that an account holds. Its methods but `apply` act behind the API's back, as another writer does."""

    def __init__(self, *, seed: int = 1) -> None:
        """Start empty; ids that nobody gives follow from the seed."""
        self.drivers: dict[str, Driver] = {}
        self.fleets: dict[str, Fleet] = {}
        self.effects: list[Effect] = []
        self.updated: dict[str, str] = {}
        self._rng = fake_data.generator(seed)
        self._numbers = itertools.count()
        self._fleets_of: dict[str, dict[str, None]] = {}
        self._members: dict[str, dict[str, None]] = {}
        # A listing of a million drivers asks for the order once a page; sorting anew each time would be quadratic.
        self._order: dict[str, tuple[str, ...]] = {}

    @classmethod
    def populate(cls, *, drivers: int, fleets: int, seed: int = 1) -> Self:
        """Make an account that looks real: most drivers in one fleet, some in two, a few in none."""
        roster = cls(seed=seed)
        ids = [roster.add_fleet(name=name) for name in itertools.islice(fake_data.fleets(), fleets)]
        weights = list(itertools.accumulate(1 / (1 + 0.3 * place) for place in range(fleets)))
        rng = fake_data.generator(seed)
        for number, (name, email) in enumerate(itertools.islice(fake_data.drivers(rng), drivers)):
            count = 0 if not ids else rng.choices((0, 1, 2), weights=(4, 84, 12))[0]
            roster.add_driver(
                email=email,
                name=name,
                metadata={"employee_id": str(10_001 + number)},
                fleets=rng.choices(ids, cum_weights=weights, k=count) if count else (),
            )
        return roster

    def add_fleet(self, *, name: str = "", id: str | None = None, status: Status = "active") -> str:
        """Add a fleet, and return its id."""
        number = next(self._numbers)
        fleet = id or fake_data.identifier("flt", self._rng)
        if fleet in self.fleets:
            raise ValueError(f"there is a fleet {fleet} already")
        self.fleets[fleet] = Fleet(fleet, number, _created(number), name or f"Fleet {number}", status)
        self._members[fleet] = {}
        self._order.pop("fleets", None)
        return fleet

    def add_driver(
        self,
        *,
        email: str = "",
        name: str = "",
        metadata: Mapping[str, str] | None = None,
        fleets: Iterable[str] = (),
        id: str | None = None,
        status: Status = "active",
    ) -> str:
        """Add a driver who is in these fleets, and return the id."""
        number = next(self._numbers)
        driver = id or fake_data.identifier("drv", self._rng)
        if driver in self.drivers:
            raise ValueError(f"there is a driver {driver} already")
        address = email or f"driver{number}@example.com"
        self.drivers[driver] = Driver(
            driver, number, _created(number), address, name or f"Driver {number}", dict(metadata or {}), status
        )
        self._fleets_of[driver] = {}
        self._order.pop("drivers", None)
        for fleet in fleets:
            self.attach(driver, fleet)
        return driver

    def change_driver(
        self,
        driver: str,
        *,
        email: str | None = None,
        metadata: Mapping[str, str] | None = None,
        status: Status | None = None,
    ) -> None:
        """Give a driver another address, other metadata or another status."""
        old = self.drivers[driver]
        self.drivers[driver] = dataclasses.replace(
            old,
            email=old.email if email is None else email,
            metadata=old.metadata if metadata is None else dict(metadata),
            status=status or old.status,
        )

    def change_fleet(self, fleet: str, *, name: str | None = None, status: Status | None = None) -> None:
        """Give a fleet another name or another status."""
        old = self.fleets[fleet]
        self.fleets[fleet] = dataclasses.replace(
            old, name=old.name if name is None else name, status=status or old.status
        )

    def remove_driver(self, driver: str) -> None:
        """Make a driver vanish, with all memberships."""
        for fleet in self.fleets_of(driver):
            self.detach(driver, fleet)
        del self.drivers[driver], self._fleets_of[driver]
        self._order.pop("drivers", None)

    def attach(self, driver: str, fleet: str) -> bool:
        """Put a driver into a fleet, and tell whether that changed anything."""
        if fleet in self._fleets_of[driver]:
            return False
        self._members[fleet][driver] = None
        self._fleets_of[driver][fleet] = None
        self._order.pop(fleet, None)
        return True

    def detach(self, driver: str, fleet: str) -> bool:
        """Take a driver out of a fleet, and tell whether that changed anything."""
        if fleet not in self._fleets_of[driver]:
            return False
        del self._fleets_of[driver][fleet], self._members[fleet][driver]
        self._order.pop(fleet, None)
        return True

    def apply(self, action: Action, driver: str, fleet: str, *, key: str | None, at: str) -> None:
        """Carry out a write of the API, and note it in `effects`; `at` becomes `updated` where it changed something."""
        changed = (self.attach if action == "attach" else self.detach)(driver, fleet)
        self.effects.append(Effect(action, driver, fleet, key, changed))
        if changed:
            self.updated[driver] = self.updated[fleet] = at

    def members(self, fleet: str) -> frozenset[str]:
        """Give the drivers of a fleet."""
        return frozenset(self._members[fleet])

    def count(self, fleet: str) -> int:
        """Give the number of drivers of a fleet."""
        return len(self._members[fleet])

    def fleets_of(self, driver: str) -> tuple[str, ...]:
        """Give the fleets of a driver, in the order in which they came."""
        return tuple(self._fleets_of[driver])

    def memberships(self) -> frozenset[tuple[str, str]]:
        """Give every membership as a pair of driver and fleet."""
        return frozenset((driver, fleet) for driver, fleets in self._fleets_of.items() for fleet in fleets)

    def newest_drivers(self, fleet: str | None = None) -> tuple[str, ...]:
        """Give the drivers, of one fleet or all, newest first: the order of every listing."""
        return self._newest("drivers" if fleet is None else fleet, self.drivers if fleet is None else None)

    def newest_fleets(self) -> tuple[str, ...]:
        """Give all fleets, newest first."""
        return self._newest("fleets", self.fleets)

    def number(self, id: str) -> int:
        """Give the place of a driver or a fleet in the order of creation."""
        found = self.drivers.get(id) or self.fleets[id]
        return found.number

    def _newest(self, name: str, everything: Iterable[str] | None) -> tuple[str, ...]:
        order = self._order.get(name)
        if order is None:
            ids = self._members[name] if everything is None else everything
            order = self._order[name] = tuple(sorted(ids, key=self.number, reverse=True))
        return order


def _created(number: int) -> str:
    return stamp((_FIRST_DAY + datetime.timedelta(minutes=7 * number)).timestamp())


def stamp(seconds: float) -> str:
    """Write a moment, in seconds since 1970, as the API does: RFC 3339 in UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
