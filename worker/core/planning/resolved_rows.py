"""Resolves the rows of the desired state to ids, and says what they want of each driver.

Invariant: a row is plain if it names an existing driver by id, without dates, in a fleet that resolves. What plain rows
want is found by the driver's id; all other rows, and those of drivers whom these mean too, are resolved one by one.
Neighbours: `resolver` resolves single references, `planner` compares the result with what Charge holds.
"""

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, DriverById, DriverRef, FleetById, FleetRef, Origin, Row
from worker.core.model.identifiers import DriverId, FleetId, Membership, Resolutions
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.rows import Key, Rows, key_of, reference_of
from worker.core.planning import resolver

_NONE = frozenset[FleetId]()
_Targets = Mapping[frozenset[FleetRef], frozenset[FleetId] | None]


@dataclasses.dataclass(slots=True)
class ResolvedRows:
    """The rows, resolved to ids; `managed` are the fleets among these.

    `targets` has the fleets that each set of references leads to, or None if not each of them leads to its own.
    `special` are the keys of the rows that are resolved one by one: `special_rows`, with the answer to each driver in
    `drivers`. Of these, `wanted` are memberships of active rows, `released` those of inactive rows only, and `further`
    rows that want a membership for other times than its first row.

    A fleet is `unclear` if a row of it does not resolve; a driver is `waiting` if an unresolved row may mean this
    driver, or may want this driver in a fleet. `references` counts those of active rows, `unresolved` those without an
    answer.
    """

    rows: Rows
    fleets: Mapping[FleetRef, resolver.FleetAnswer]
    managed: frozenset[FleetId]
    targets: _Targets
    drivers: Mapping[DriverRef, resolver.DriverAnswer]
    special: Collection[Key]
    special_rows: Sequence[Row]
    wanted: dict[Membership, Row] = dataclasses.field(default_factory=dict)
    released: dict[Membership, Row] = dataclasses.field(default_factory=dict)
    further: dict[object, Row] = dataclasses.field(default_factory=dict)
    unclear: set[FleetId] = dataclasses.field(default_factory=set)
    waiting: set[DriverId] = dataclasses.field(default_factory=set)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    references: int = 0
    unresolved: int = 0
    _special_wanted: dict[DriverId, frozenset[FleetId]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, desired: Desired, actual: Actual, *, now: datetime.datetime | None, remembered: Resolutions
    ) -> "ResolvedRows":
        """Resolve all rows. Inactive rows create no change; their position is reported on the detach they explain."""
        rows = Rows.of(desired.rows)
        fleets = resolver.resolve_fleets({entry.fleet for entry in desired.fleets}, actual.fleets)
        fleets |= {reference: resolver.Unresolved(reason) for reference, reason in desired.unzoned.items()}
        targets = {references: _targets(references, fleets) for references in frozenset(rows.undated.values())}
        special = _special_keys(rows, targets, actual)
        drivers = {
            reference: resolver.resolve_driver(reference, actual, remembered=remembered)
            for reference in map(reference_of, special)
        }
        meant = {each for each in drivers.values() if not isinstance(each, resolver.Unresolved)}
        drivers |= {DriverById(driver): driver for driver in meant}
        special |= meant
        special_rows = sorted(rows.at(rows.referring(special)), key=lambda row: row.origin)
        resolved = cls(rows, fleets, resolver.resolved_ids(fleets.values()), targets, drivers, special, special_rows)
        resolved._resolve_special_rows(now)
        resolved._count_references(desired, now)
        return resolved

    @property
    def resolutions(self) -> dict[str, DriverId | FleetId]:
        """Return what the references other than ids resolve to."""
        return {
            str(reference): answer
            for reference, answer in [*self.drivers.items(), *self.fleets.items()]
            if not isinstance(reference, DriverById | FleetById) and not isinstance(answer, resolver.Unresolved)
        }

    def fleets_wanted(self, driver: DriverId) -> frozenset[FleetId]:
        """Return the fleets in which active rows want a driver."""
        if driver in self.special:
            return self._special_wanted.get(driver, _NONE)
        references = self.rows.undated.get(driver)
        return _NONE if references is None else self.targets[references] or _NONE

    def drivers_wanted(self) -> Iterator[tuple[DriverId, frozenset[FleetId]]]:
        """Return the drivers that active rows want in any fleet, with these fleets."""
        yield from self._special_wanted.items()
        for key, references in self.rows.undated.items():
            if isinstance(key, str) and key not in self.special:
                yield key, self.targets[references] or _NONE

    def explain(self, memberships: Iterable[Membership]) -> Iterator[tuple[Membership, Row]]:
        """Return each of these memberships, which are wanted, with the first active row that wants it."""
        plain: dict[tuple[Key, resolver.FleetAnswer], Membership] = {}
        for membership in memberships:
            if row := self.wanted.get(membership):
                yield membership, row
            else:
                plain[membership] = membership
        rows = self.rows.at(self.rows.referring({driver for driver, _ in plain}))
        for row in rows if self.rows.are_in_order else sorted(rows, key=lambda row: row.origin):
            if found := plain.pop((key_of(row.driver), self.fleets[row.fleet]), None):
                yield found, row

    def want_only_now(self, memberships: Iterable[Membership]) -> frozenset[Membership]:
        """Return those of these memberships that no row without dates wants."""
        undated = {(self.drivers[row.driver], self.fleets[row.fleet]) for row in self.special_rows if row.undated}
        return frozenset(each for each in memberships if each[0] in self.special and each not in undated)

    def boundaries(
        self, drivers: Collection[DriverId], now: datetime.datetime | None
    ) -> dict[DriverId, datetime.datetime]:
        """Return when the next row of each of these drivers begins or ends; nothing without `now`."""
        found: dict[DriverId, datetime.datetime] = {}
        for row in self.special_rows if now else ():
            driver = self.drivers[row.driver]
            if isinstance(driver, resolver.Unresolved) or driver not in drivers:
                continue
            for moment in (row.starts, row.ends):
                if moment and now and moment > now:
                    found[driver] = min(moment, found.get(driver, moment))
        return found

    def awaited(self, now: datetime.datetime | None) -> frozenset[str]:
        """Return the references of rows that begin later, or may begin: without `now` of all rows with dates."""
        rows = (row for row in self.special_rows if not row.active(now) and not (now and row.over(now)))
        return frozenset(str(reference) for row in rows for reference in (row.driver, row.fleet))

    def _resolve_special_rows(self, now: datetime.datetime | None) -> None:
        for row in self.special_rows:
            self._add(row, self.fleets[row.fleet], self.drivers[row.driver], active=row.active(now))
        shared: dict[frozenset[FleetId], frozenset[FleetId]] = {}
        for driver, fleet in self.wanted:
            fleets = self._special_wanted.get(driver, _NONE) | {fleet}
            self._special_wanted[driver] = shared.setdefault(fleets, fleets)

    def _add(self, row: Row, fleet: resolver.FleetAnswer, driver: resolver.DriverAnswer, *, active: bool) -> None:
        if isinstance(driver, resolver.Unresolved):
            if active:
                self.waiting.update(driver.candidates)
                self._add_unresolved_driver(row, fleet, driver)
        elif isinstance(fleet, resolver.Unresolved):
            if active:
                self.waiting.add(driver)
        else:
            self._keep(self.wanted if active else self.released, (driver, fleet), row)

    def _keep(self, rows: dict[Membership, Row], membership: Membership, row: Row) -> None:
        """Keep the first row of a membership; report a row that repeats one through other references."""
        first = rows.setdefault(membership, row)
        if (first.starts, first.ends) != (row.starts, row.ends):
            first = self.further.setdefault((membership, row.starts, row.ends), row)
        if first is not row:
            same = f"{row.driver} in fleet {row.fleet} is also listed at {first.origin}"
            message = f"{same}, as {first.driver} in fleet {first.fleet}; harmless"
            self.problems.append(Problem(str(row.origin), message, note=True, code=ProblemCode.DUPLICATE_ROW))

    def _add_unresolved_driver(self, row: Row, fleet: resolver.FleetAnswer, driver: resolver.Unresolved) -> None:
        if not isinstance(fleet, resolver.Unresolved):
            self.unclear.add(fleet)
        message = f"{driver.reason}; no driver is detached from fleet {row.fleet} until this is fixed"
        if driver.candidates:
            message += ", and the drivers that it may mean are not detached from any fleet"
        self.problems.append(Problem(str(row.origin), message, code=ProblemCode.UNRESOLVED_DRIVER))

    def _count_references(self, desired: Desired, now: datetime.datetime | None) -> None:
        """Count the references of active rows, and those without an answer."""
        active = {row.driver for row in self.special_rows if row.active(now)}
        plain = len(self.rows.undated) - sum(key in self.rows.undated for key in self.special)
        self.references = plain + len(active) + len(self.fleets)
        unresolved = sum(isinstance(self.drivers[reference], resolver.Unresolved) for reference in active)
        self.unresolved = unresolved + self._add_unresolved_fleets(desired)

    def _add_unresolved_fleets(self, desired: Desired) -> int:
        """Report each unresolved fleet reference at its first position; return how many there are."""
        first: dict[FleetRef, Origin] = {}
        for entry in sorted(desired.fleets, key=lambda entry: entry.origin):
            first.setdefault(entry.fleet, entry.origin)
        unresolved = {ref: answer for ref, answer in self.fleets.items() if isinstance(answer, resolver.Unresolved)}
        for reference, answer in unresolved.items():
            message = f"{answer.reason}; its drivers are not attached to it and not detached from any other fleet"
            is_zone = reference in desired.unzoned
            code = ProblemCode.UNKNOWN_TIME_ZONE if is_zone else ProblemCode.UNRESOLVED_FLEET
            self.problems.append(Problem(str(first[reference]), message, code=code))
        return len(unresolved)


def _special_keys(rows: Rows, targets: _Targets, actual: Actual) -> set[Key]:
    """Return the keys of the rows that are not plain."""
    seen = actual.memberships
    special = {
        key
        for key, references in rows.undated.items()
        if not isinstance(key, str) or key not in seen or targets[references] is None
    }
    return special | {key_of(row.driver) for row in rows.dated}


def _targets(
    references: Collection[FleetRef], fleets: Mapping[FleetRef, resolver.FleetAnswer]
) -> frozenset[FleetId] | None:
    """Return the fleets that references lead to, or None if not each of them leads to a fleet of its own."""
    found = resolver.resolved_ids(fleets[reference] for reference in references)
    return found if len(found) == len(references) else None
