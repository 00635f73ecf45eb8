"""The state of the sandbox: drivers, fleets and memberships, and a record of the effects of API writes.

Invariant: only `attach` and `detach` change a membership, and they change both directions together.
Neighbours: `fake_data` invents drivers and fleets, `endpoints` writes through `apply`, `objects` encodes the state.
"""

import collections
import copy
import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Self

from worker.sandbox import fake_data

Action = Literal["attach", "detach"]
Status = Literal["active", "suspended", "archived"]

_FIRST_DAY = datetime.datetime(2025, 1, 6, 8, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """The data of a driver, without memberships. A higher `number` means created later."""

    id: str
    number: int
    created: str
    email: str
    name: str
    metadata: Mapping[str, str]
    status: Status


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """The data of a fleet, without memberships. A higher `number` means created later."""

    id: str
    number: int
    created: str
    name: str
    status: Status


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """An API write that was carried out. `changed` is false if it changed nothing."""

    action: Action
    driver: str
    fleet: str
    key: str | None
    changed: bool


class SandboxState:
    """The state of an account. All methods except `apply` act as another writer: the API records no effect."""

    def __init__(self, *, seed: int = 1) -> None:
        """Start empty. Ids that are not given are derived from the seed."""
        self.drivers: dict[str, Driver] = {}
        self.fleets: dict[str, Fleet] = {}
        self.effects: list[Effect] = []
        self.updated: dict[str, str] = {}
        self.clock: Callable[[], float] = lambda: 0.0
        self.remember_seconds = 0.0
        """How long changes are remembered for `as_of`, by `clock`."""
        self._rng = fake_data.generator(seed)
        self._numbers = itertools.count()
        self._changes: collections.deque[tuple[float, str, str]] = collections.deque()
        self._fleets_of: dict[str, dict[str, None]] = {}
        self._members: dict[str, dict[str, None]] = {}
        # A listing asks for the order once per page: for a million drivers, sorting each time would be quadratic.
        self._order: dict[str, tuple[str, ...]] = {}

    @classmethod
    def populate(cls, *, drivers: int, fleets: int, seed: int = 1) -> Self:
        """Return a realistic account: most drivers are in one fleet, some in two, a few in none."""
        populated = cls(seed=seed)
        ids = [populated.add_fleet(name=name) for name in itertools.islice(fake_data.fleets(), fleets)]
        weights = list(itertools.accumulate(1 / (1 + 0.3 * place) for place in range(fleets)))
        rng = fake_data.generator(seed)
        for number, (name, email) in enumerate(itertools.islice(fake_data.drivers(rng), drivers)):
            count = 0 if not ids else rng.choices((0, 1, 2), weights=(4, 84, 12))[0]
            populated.add_driver(
                email=email,
                name=name,
                metadata={"employee_id": str(10_001 + number)},
                fleets=rng.choices(ids, cum_weights=weights, k=count) if count else (),
            )
        return populated

    def add_fleet(self, *, name: str = "", id: str | None = None, status: Status = "active") -> str:
        """Add a fleet and return its id."""
        number = next(self._numbers)
        fleet = id or fake_data.identifier("flt", self._rng)
        if fleet in self.fleets:
            raise ValueError(f"fleet {fleet} already exists")
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
        """Add a driver to these fleets and return the driver's id."""
        number = next(self._numbers)
        driver = id or fake_data.identifier("drv", self._rng)
        if driver in self.drivers:
            raise ValueError(f"driver {driver} already exists")
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
        """Change the address, the metadata or the status of a driver."""
        old = self.drivers[driver]
        self.drivers[driver] = dataclasses.replace(
            old,
            email=old.email if email is None else email,
            metadata=old.metadata if metadata is None else dict(metadata),
            status=status or old.status,
        )

    def change_fleet(self, fleet: str, *, name: str | None = None, status: Status | None = None) -> None:
        """Change the name or the status of a fleet."""
        old = self.fleets[fleet]
        self.fleets[fleet] = dataclasses.replace(
            old, name=old.name if name is None else name, status=status or old.status
        )

    def remove_driver(self, driver: str) -> None:
        """Delete a driver and all the driver's memberships."""
        for fleet in self.fleets_of(driver):
            self.detach(driver, fleet)
        del self.drivers[driver], self._fleets_of[driver]
        self._order.pop("drivers", None)

    def attach(self, driver: str, fleet: str) -> bool:
        """Attach a driver to a fleet. Return whether that changed anything."""
        if fleet in self._fleets_of[driver]:
            return False
        self._members[fleet][driver] = None
        self._fleets_of[driver][fleet] = None
        self._changed(driver, fleet)
        return True

    def detach(self, driver: str, fleet: str) -> bool:
        """Detach a driver from a fleet. Return whether that changed anything."""
        if fleet not in self._fleets_of[driver]:
            return False
        del self._fleets_of[driver][fleet], self._members[fleet][driver]
        self._changed(driver, fleet)
        return True

    def apply(self, action: Action, driver: str, fleet: str, *, key: str | None, at: str) -> None:
        """Carry out an API write and record it in `effects`. If it changes something, `updated` becomes `at`."""
        changed = (self.attach if action == "attach" else self.detach)(driver, fleet)
        self.effects.append(Effect(action, driver, fleet, key, changed))
        if changed:
            self.updated[driver] = self.updated[fleet] = at

    def as_of(self, moment: float) -> "SandboxState":
        """Return the state with the memberships as they were at this moment, as far back as they are remembered.

        Everything else is current. The returned state must not be changed.
        """
        later = [(driver, fleet) for time, driver, fleet in self._changes if time > moment and driver in self.drivers]
        if not later:
            return self
        past = copy.copy(self)
        past.remember_seconds = 0.0
        past._order = {}
        past._fleets_of = self._fleets_of | {driver: dict(self._fleets_of[driver]) for driver, _ in later}
        past._members = self._members | {fleet: dict(self._members[fleet]) for _, fleet in later}
        for driver, fleet in reversed(later):
            (past.detach if fleet in past._fleets_of[driver] else past.attach)(driver, fleet)
        return past

    def _changed(self, driver: str, fleet: str) -> None:
        self._order.pop(fleet, None)
        if self.remember_seconds:
            now = self.clock()
            self._changes.append((now, driver, fleet))
            while self._changes[0][0] < now - self.remember_seconds:
                self._changes.popleft()

    def members(self, fleet: str) -> frozenset[str]:
        """Return the drivers of a fleet."""
        return frozenset(self._members[fleet])

    def count(self, fleet: str) -> int:
        """Return the number of drivers in a fleet."""
        return len(self._members[fleet])

    def fleets_of(self, driver: str) -> tuple[str, ...]:
        """Return the fleets of a driver, in the order of attachment."""
        return tuple(self._fleets_of[driver])

    def memberships(self) -> frozenset[tuple[str, str]]:
        """Return every membership as a pair of driver and fleet."""
        return frozenset((driver, fleet) for driver, fleets in self._fleets_of.items() for fleet in fleets)

    def newest_drivers(self, fleet: str | None = None) -> tuple[str, ...]:
        """Return all drivers, or those of a fleet, newest first, which is the order of listings."""
        return self._newest("drivers" if fleet is None else fleet, self.drivers if fleet is None else None)

    def newest_fleets(self) -> tuple[str, ...]:
        """Return all fleets, newest first."""
        return self._newest("fleets", self.fleets)

    def number(self, id: str) -> int:
        """Return the number of a driver or a fleet in the order of creation."""
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
    """Return a time, in seconds since 1970, as the API writes it: RFC 3339 in UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
