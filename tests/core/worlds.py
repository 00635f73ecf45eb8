"""Generated worlds: an account, a reading of it, and sources, with all faults that can occur.

The driver or fleet that each reference resolves to is stated here, not looked up: the laws compare the planner with it.
"""

import dataclasses
import datetime
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from tests.support import laws
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import (
    Desired,
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetEntry,
    FleetRef,
    Mode,
    Origin,
    Row,
    SourceReading,
    SourceRevision,
)
from worker.core.model.identifiers import Account, DriverId, FleetId, Membership
from worker.core.model.plan import Action, Change, Plan
from worker.core.planning import merge_sources, planner

_T = TypeVar("_T")
_Window = tuple[datetime.datetime | None, datetime.datetime | None, bool]

LAW = laws.examples(60)
"""Every machine generates the same examples."""

NOW = datetime.datetime(2026, 10, 5, 8, tzinfo=datetime.UTC)
_LATER, _EARLIER = NOW + datetime.timedelta(days=30), NOW - datetime.timedelta(days=30)

ACCOUNT = Account("https://api.chargeapi.co/v1", "test")


def driver_id(letter: str) -> DriverId:
    """Return a well-formed driver id."""
    return DriverId(f"drv_{letter * 32}")


def fleet_id(letter: str) -> FleetId:
    """Return a well-formed fleet id."""
    return FleetId(f"flt_{letter * 32}")


A, B, C, D, E, F = DRIVERS = tuple(driver_id(letter) for letter in "ABCDEF")
GHOST = driver_id("Z")
VANS, DEPOT, NORTH, TWIN_1, TWIN_2 = FLEETS = tuple(fleet_id(letter) for letter in "VWNTU")
NAMES = dict(zip(FLEETS, ("Paris vans", "Lyon depot", "North", "Twins", "Twins"), strict=True))

FLEET_REFS: Mapping[FleetRef, FleetId | None] = {
    **{FleetById(fleet): fleet for fleet in FLEETS},
    **{FleetByName(NAMES[fleet]): fleet for fleet in (VANS, DEPOT, NORTH)},
    FleetByName("Twins"): None,
    FleetById(fleet_id("Y")): None,
    FleetByName("Nowhere"): None,
}
"""Every kind of fleet reference, and the fleet that it resolves to."""

DRIVER_REFS: Mapping[DriverRef, DriverId | None] = {
    **{DriverById(driver): driver for driver in DRIVERS},
    **{DriverByEmail(f"{driver[-1].lower()}@example.com"): driver for driver in DRIVERS},
    **{DriverByMetadata("employee_id", f"0{driver[-1]}"): driver for driver in DRIVERS},
    DriverByMetadata("depot", "Lyon"): None,  # two drivers have it
    DriverById(GHOST): None,
    DriverByEmail("nobody@example.com"): None,
}
"""Every kind of driver reference, and the driver that it resolves to in a complete directory."""

WINDOWS: Sequence[_Window] = (
    (None, None, True),
    (_EARLIER, None, True),
    (NOW, _LATER, True),
    (None, NOW, False),
    (_LATER, None, False),
    (_EARLIER, NOW - datetime.timedelta(seconds=1), False),
)
"""Start, end, and whether the row is active now."""

_ACTIVE = {window[:2]: window[2] for window in WINDOWS}


@dataclasses.dataclass(frozen=True)
class World:
    """The sources, the reading, the default mode, the resolutions of earlier runs, and the time if it is known."""

    readings: tuple[SourceReading, ...]
    actual: Actual
    mode: Mode
    remembered: Mapping[str, DriverId] = dataclasses.field(default_factory=dict)
    now: datetime.datetime | None = NOW

    @property
    def desired(self) -> Desired:
        """Return the merged sources."""
        return merge_sources.merge(self.readings)

    def plan(self) -> Plan:
        """Plan this world."""
        return planner.plan(
            desired=self.desired, actual=self.actual, now=self.now, mode=self.mode, remembered=self.remembered
        )

    def in_exact_mode(self) -> "World":
        """Return the world with every fleet in exact mode."""
        readings = tuple(
            dataclasses.replace(
                reading, fleets=tuple(dataclasses.replace(entry, mode=None) for entry in reading.fleets)
            )
            for reading in self.readings
        )
        return dataclasses.replace(self, readings=readings, mode=Mode.EXACT)

    def after(self, changes: Iterable[Change]) -> "World":
        """Return the world after these changes."""
        return dataclasses.replace(self, actual=applied(self.actual, changes))

    def leads_to(self, reference: DriverRef) -> DriverId | None:
        """Return the driver that a reference resolves to in this reading, or None."""
        if not isinstance(reference, DriverById) and not self.actual.directory_complete:
            return None
        driver = DRIVER_REFS[reference]
        return driver if driver in self.actual.memberships else None

    def found(self, reference: DriverRef) -> tuple[DriverId, ...]:
        """Return the drivers whom this reading found by an address or metadata: one, several, or not all there are."""
        match reference:
            case DriverByEmail(email=email):
                return self.actual.emails.get(email, ())
            case DriverByMetadata(key=key, value=value):
                return self.actual.metadata.get((key, value), ())
            case _:
                return ()

    @property
    def entries(self) -> list[FleetEntry]:
        """Return the fleet entries of all sources."""
        return [entry for reading in self.readings for entry in reading.fleets]

    @property
    def active(self) -> list[Row]:
        """Return the active rows of all sources."""
        rows = [row for reading in self.readings for row in reading.rows]
        return [row for row in rows if _ACTIVE[row.starts, row.ends]]

    @property
    def managed(self) -> set[FleetId]:
        """Return the fleets that a source names and that resolve."""
        return {fleet for entry in self.entries if (fleet := FLEET_REFS[entry.fleet])}

    @property
    def wanted(self) -> set[Membership]:
        """Return the memberships that active rows want, as far as they resolve."""
        pairs = ((self.leads_to(row.driver), FLEET_REFS[row.fleet]) for row in self.active)
        return {(driver, fleet) for driver, fleet in pairs if driver and fleet}

    @property
    def additive(self) -> set[FleetId]:
        """Return the managed fleets in additive mode."""
        stated = {FLEET_REFS[entry.fleet]: entry.mode for entry in self.entries if entry.mode}
        return {fleet for fleet in self.managed if stated.get(fleet, self.mode) is Mode.ADDITIVE}

    @property
    def unclear(self) -> set[FleetId]:
        """Return the fleets with a row whose driver does not resolve."""
        return {fleet for row in self.active if not self.leads_to(row.driver) and (fleet := FLEET_REFS[row.fleet])}

    @property
    def waiting(self) -> set[DriverId]:
        """Return the drivers that an unresolved row may mean, or may want in a fleet."""
        known = {driver for row in self.active if not FLEET_REFS[row.fleet] and (driver := self.leads_to(row.driver))}
        lost = {row.driver for row in self.active if not self.leads_to(row.driver)}
        before = {self.remembered[str(each)] for each in lost if str(each) in self.remembered}
        return known | before | {driver for each in lost for driver in self.found(each)}

    @property
    def shrinkable(self) -> set[FleetId]:
        """Return the fleets from which drivers may be detached."""
        return self.managed - self.additive - self.unclear - self.actual.incomplete.keys()

    def shuffled(self, chance: random.Random) -> "World":
        """Return the same world with everything in another order."""
        readings = [
            dataclasses.replace(reading, fleets=_shuffled(reading.fleets, chance), rows=_shuffled(reading.rows, chance))
            for reading in self.readings
        ]
        actual = dataclasses.replace(
            self.actual,
            fleets=dict(_shuffled(self.actual.fleets.items(), chance)),
            memberships=dict(_shuffled(self.actual.memberships.items(), chance)),
            incomplete=dict(_shuffled(self.actual.incomplete.items(), chance)),
            metadata={entry: _shuffled(found, chance) for entry, found in self.actual.metadata.items()},
        )
        return World(_shuffled(readings, chance), actual, self.mode, self.remembered)


def _shuffled(items: Iterable[_T], chance: random.Random) -> tuple[_T, ...]:
    mixed = list(items)
    chance.shuffle(mixed)
    return tuple(mixed)


def applied(actual: Actual, changes: Iterable[Change]) -> Actual:
    """Return the reading after these changes."""
    memberships = dict(actual.memberships)
    for change in changes:
        here = memberships[change.driver]
        attach = change.action is Action.ATTACH
        memberships[change.driver] = here | {change.fleet} if attach else here - {change.fleet}
    return dataclasses.replace(actual, memberships=memberships)


def members(actual: Actual, fleet: FleetId) -> set[DriverId]:
    """Return the members of a fleet."""
    return {driver for driver, fleets in actual.memberships.items() if fleet in fleets}


def seen(
    memberships: Mapping[DriverId, Iterable[FleetId]],
    *,
    incomplete: Iterable[FleetId] = (),
    absent: Iterable[DriverId] = (),
    directory_complete: bool = False,
) -> Actual:
    """Return a reading of the account of this module."""
    shown = {driver: frozenset(fleets) for driver, fleets in memberships.items()}
    return Actual(
        fleets={fleet: Fleet(fleet, NAMES[fleet]) for fleet in FLEETS},
        memberships=shown,
        incomplete=dict.fromkeys(incomplete, "a page could not be read"),
        emails={f"{driver[-1].lower()}@example.com": (driver,) for driver in DRIVERS if driver in shown},
        metadata={
            ("depot", "Lyon"): tuple(driver for driver in (E, F) if driver in shown),
            **{("employee_id", f"0{driver[-1]}"): (driver,) for driver in DRIVERS if driver in shown},
        },
        absent=frozenset(absent),
        directory_complete=directory_complete,
    )


def wish(wishes: Mapping[FleetRef, Iterable[DriverRef]], mode: Mode | None = None) -> tuple[SourceReading, ...]:
    """Return one source with a row for each of these, in order."""
    entries, rows = [], []
    for line, (fleet, drivers) in enumerate(wishes.items(), 1):
        entries.append(FleetEntry(fleet, Origin("membership.yaml", 100 * line, 1), mode))
        origins = (Origin("membership.yaml", 100 * line + row, 5) for row in range(1, 100))
        rows += [Row(fleet, driver, origin) for driver, origin in zip(drivers, origins, strict=False)]
    revision = SourceRevision("file", "membership.yaml", "sha256:0")
    return (SourceReading(revision, tuple(entries), tuple(rows)),)


def by_id(fleet: FleetId, *drivers: DriverId) -> dict[FleetRef, list[DriverRef]]:
    """Return the wish for exactly these drivers in a fleet, all by id."""
    return {FleetById(fleet): [DriverById(driver) for driver in drivers]}


_GOOD_FLEETS = [reference for reference, fleet in FLEET_REFS.items() if fleet]
_GOOD_DRIVERS = [reference for reference, driver in DRIVER_REFS.items() if driver]


# Strategies are made once: making them for each world took 44 % of its time.
_LISTED = {
    amiss: st.lists(st.sampled_from(references), min_size=1, max_size=5)
    for amiss, references in ((False, _GOOD_FLEETS), (True, [*FLEET_REFS]))
}
_WANTED = {False: st.sampled_from(_GOOD_DRIVERS), True: st.sampled_from([*DRIVER_REFS])}
_WHEN = st.sampled_from([*[WINDOWS[0]] * 5, *WINDOWS])
_MODES = st.fixed_dictionaries({fleet: st.sampled_from([None, None, *Mode]) for fleet in FLEETS})
_REMEMBERED = st.dictionaries(st.sampled_from([str(ref) for ref in DRIVER_REFS]), st.sampled_from(DRIVERS))
_MEMBERSHIPS = st.fixed_dictionaries(dict.fromkeys(DRIVERS, st.frozensets(st.sampled_from(FLEETS), max_size=3)))
_TWO_DRIVERS = st.frozensets(st.sampled_from(DRIVERS), max_size=2)
_TWO_FLEETS = st.frozensets(st.sampled_from(FLEETS), max_size=2)
_SOURCES, _DEFAULT_MODE, _COIN = st.integers(1, 3), st.sampled_from(Mode), st.booleans()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Generate a world; half of them have no fault, so that there are changes."""
    amiss = draw(_COIN)
    listed = draw(_LISTED[amiss])
    modes = draw(_MODES)
    rows = draw(st.lists(st.tuples(st.sampled_from(listed), _WANTED[amiss], _WHEN), max_size=12))
    sources = draw(_SOURCES)
    readings = tuple(_reading(number, listed, rows[number::sources], modes) for number in range(sources))
    remembered = draw(_REMEMBERED)
    return World(readings, _draw_actual(draw, amiss=amiss), draw(_DEFAULT_MODE), remembered)


def _draw_actual(draw: st.DrawFn, *, amiss: bool) -> Actual:
    """Generate a reading: a driver that was not read makes its fleets incomplete."""
    memberships = draw(_MEMBERSHIPS)
    if not amiss:
        return seen(memberships, absent=[GHOST], directory_complete=True)
    complete = draw(_COIN)
    unread = frozenset() if complete else draw(_TWO_DRIVERS)
    incomplete = draw(_TWO_FLEETS).union(*(memberships[one] for one in unread))
    shown = {driver: fleets for driver, fleets in memberships.items() if driver not in unread}
    absent = [GHOST] if draw(_COIN) else []
    return seen(shown, incomplete=incomplete, absent=absent, directory_complete=complete)


def _reading(
    number: int,
    listed: Sequence[FleetRef],
    rows: Sequence[tuple[FleetRef, DriverRef, _Window]],
    modes: Mapping[FleetId, Mode | None],
) -> SourceReading:
    """Return a source of these rows; only the first states modes, and every fleet of a row has an entry."""
    name = f"source-{number}.yaml"
    named = [*listed, *(row[0] for row in rows)] if number == 0 else [row[0] for row in rows]
    stated = modes if number == 0 else {}
    entries = tuple(
        FleetEntry(reference, Origin(name, line, 1), stated.get(FLEET_REFS[reference] or VANS))
        for line, reference in enumerate(named, 1)
    )
    return SourceReading(
        SourceRevision("file", name, f"sha256:{number}"),
        entries,
        tuple(
            Row(fleet, driver, Origin(name, line, 5), starts, ends)
            for line, (fleet, driver, (starts, ends, _)) in enumerate(rows, 1)
        ),
    )


def pairs(plan: Plan, action: Action) -> set[Membership]:
    """Return the memberships that a plan changes by this action."""
    return {(change.driver, change.fleet) for change in plan.changes if change.action is action}


def plan_of(readings: tuple[SourceReading, ...], actual: Actual, mode: Mode = Mode.EXACT) -> Plan:
    """Plan a world of these readings."""
    return World(readings, actual, mode).plan()
