"""Compares desired with actual state and plans the changes: the dangerous decision, as one pure function.

Invariants: a detach is planned only for a membership that was seen and that no active row wants, in a managed fleet in
exact mode whose listing is complete and whose references are all resolved; nothing is planned for other fleets; the
order of the input does not matter. Neighbours: `resolver` resolves references, `safety.guard` evaluates the plan.
"""

import collections
import dataclasses
import datetime
import types
from collections.abc import Collection, Iterable, Iterator, Mapping

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, DriverById, DriverRef, FleetById, FleetRef, Mode, Origin, Row
from worker.core.model.identifiers import DriverId, FleetId, Membership, Resolutions
from worker.core.model.plan import Action, Change, ConcernedDriver, Plan
from worker.core.model.plan_digest import row_fingerprint
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import SourceSize
from worker.core.planning import merge_sources, resolver


def plan(
    *,
    desired: Desired,
    actual: Actual,
    now: datetime.datetime,
    mode: Mode,
    absences: Collection[Membership] = (),
    remembered: Resolutions = types.MappingProxyType({}),
) -> Plan:
    """Plan the changes that bring the managed fleets in sync, as far as references and listings allow.

    `mode` applies to fleets without one of their own. `absences` are those known from earlier runs. `remembered` maps
    references to what they resolved to before: one that no longer resolves may still mean that driver.

    Every row's fleet must have an entry in `desired.fleets`, and every driver in the indexes of `actual` must be in its
    `memberships`. Raises errors.DesiredError if a fleet has two modes, under its id and its name.
    """
    resolved = _ResolvedRows.of(desired, actual, now=now, remembered=remembered)
    attaches = _attaches(resolved, actual)
    exact = _exact(desired, resolved, mode)
    shrinkable = exact - resolved.unclear - actual.incomplete.keys()
    detaches = _detaches(resolved, actual, shrinkable)
    members, drivers = _count(actual, resolved)
    changes = tuple(sorted([*attaches, *detaches], key=lambda change: change.order))
    return Plan(
        changes=changes,
        problems=_problems(desired, resolved, actual),
        members=members,
        in_sync=len(resolved.wanted) - len(attaches),
        drivers=drivers,
        references=resolved.references,
        unresolved=resolved.unresolved,
        incomplete=len(resolved.managed & actual.incomplete.keys()),
        resolutions=resolved.resolutions,
        concerned=_concerned(changes, resolved, actual),
        sources=_sizes(desired, resolved),
        dated=frozenset(attaches) - _undated(attaches, resolved, desired),
        unjudged=frozenset(each for each in absences if _unjudged(each, resolved, exact, shrinkable)),
        exact=exact,
    )


def _problems(desired: Desired, resolved: "_ResolvedRows", actual: Actual) -> tuple[Problem, ...]:
    problems = {*desired.notices, *resolved.problems, *_incomplete_fleets(actual, resolved.managed)}
    return tuple(sorted(problems, key=lambda problem: problem.order))


@dataclasses.dataclass(slots=True)
class _ResolvedRows:
    """The rows, resolved to ids.

    `wanted` are memberships of active rows; `released` those of inactive rows only. `further` are rows that want a
    membership for other times than its first row. A fleet is `unclear` if a row of it does not resolve; a driver is
    `waiting` if an unresolved row may mean this driver, or may want this driver in a fleet. `drivers` has the answer to
    each driver reference.
    """

    fleets: Mapping[FleetRef, resolver.FleetAnswer]
    managed: frozenset[FleetId]
    drivers: Mapping[DriverRef, resolver.DriverAnswer]
    wanted: dict[Membership, Row] = dataclasses.field(default_factory=dict)
    released: dict[Membership, Row] = dataclasses.field(default_factory=dict)
    further: dict[object, Row] = dataclasses.field(default_factory=dict)
    unclear: set[FleetId] = dataclasses.field(default_factory=set)
    waiting: set[DriverId] = dataclasses.field(default_factory=set)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    references: int = 0
    unresolved: int = 0
    resolutions: dict[str, DriverId | FleetId] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        desired: Desired,
        actual: Actual,
        *,
        now: datetime.datetime,
        remembered: Resolutions,
    ) -> "_ResolvedRows":
        """Resolve all rows. Inactive rows create no change; their position is reported on the detach they explain."""
        fleets = resolver.resolve_fleets({entry.fleet for entry in desired.fleets}, actual.fleets)
        fleets |= {reference: resolver.Unresolved(reason) for reference, reason in desired.unzoned.items()}
        drivers = {
            row.driver: resolver.resolve_driver(row.driver, actual, before=_driver_before(row.driver, remembered))
            for row in desired.rows
        }
        resolved = cls(fleets, resolver.resolved_ids(fleets.values()), drivers)
        active = [row for row in desired.rows if row.active(now)]
        for row in sorted(desired.rows, key=lambda row: row.origin):
            resolved._add(row, fleets[row.fleet], drivers[row.driver], active=row.active(now))
        unresolved = {row.driver for row in active if isinstance(drivers[row.driver], resolver.Unresolved)}
        resolved.resolutions = {
            str(reference): answer
            for reference, answer in [*drivers.items(), *fleets.items()]
            if not isinstance(reference, DriverById | FleetById) and not isinstance(answer, resolver.Unresolved)
        }
        resolved.references = len({row.driver for row in active}) + len(fleets)
        resolved.unresolved = len(unresolved) + resolved._add_unresolved_fleets(desired)
        return resolved

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


def _driver_before(reference: DriverRef, remembered: Resolutions) -> DriverId | None:
    """Return the driver that a reference resolved to in earlier runs, if it did."""
    before = remembered.get(str(reference))
    return None if before is None else DriverId(before)


def _undated(attaches: Iterable[Change], resolved: _ResolvedRows, desired: Desired) -> frozenset[Change]:
    """Return the attaches that a row without dates wants, whichever row explains them."""
    by_membership = {(change.driver, change.fleet): change for change in attaches}
    if not by_membership:
        return frozenset()
    rows = ((resolved.drivers[row.driver], resolved.fleets[row.fleet]) for row in desired.rows if row.undated)
    return frozenset(by_membership[each] for each in rows if each in by_membership)


def _attaches(resolved: _ResolvedRows, actual: Actual) -> list[Change]:
    return [
        _change(Action.ATTACH, (driver, fleet), row)
        for (driver, fleet), row in resolved.wanted.items()
        if fleet not in actual.memberships[driver]
    ]


def _detaches(resolved: _ResolvedRows, actual: Actual, shrinkable: frozenset[FleetId]) -> Iterator[Change]:
    for driver, fleets in actual.memberships.items():
        if driver in resolved.waiting:
            continue
        for fleet in fleets & shrinkable:
            if (driver, fleet) not in resolved.wanted:
                yield _change(Action.DETACH, (driver, fleet), resolved.released.get((driver, fleet)))


def _concerned(changes: Iterable[Change], resolved: _ResolvedRows, actual: Actual) -> dict[DriverId, ConcernedDriver]:
    """Return what was seen of each driver with a change, and what the sources want for the driver."""
    wanted: dict[DriverId, set[FleetId]] = {change.driver: set() for change in changes}
    for driver, fleet in resolved.wanted:
        if driver in wanted:
            wanted[driver].add(fleet)
    return {driver: ConcernedDriver(actual.memberships[driver], frozenset(fleets)) for driver, fleets in wanted.items()}


def _sizes(desired: Desired, resolved: _ResolvedRows) -> dict[str, SourceSize]:
    """Return how many rows each source has, which fleets it names, and its version."""
    rows: collections.Counter[str] = collections.Counter()
    for source in desired.sources:
        rows[source.name] += source.rows
    read = {source.name: source for source in desired.sources}
    return {
        name: SourceSize(
            rows[name],
            resolver.resolved_ids(resolved.fleets[fleet] for fleet in fleets),
            read[name].version,
            read[name].rewritten,
        )
        for name, fleets in desired.named.items()
    }


def _change(action: Action, membership: Membership, row: Row | None) -> Change:
    """Return the change, with the position and fingerprint of the row that explains it, if there is one."""
    if row is None:
        return Change(action, *membership)
    return Change(action, *membership, row.origin, row_fingerprint(row))


def _exact(desired: Desired, resolved: _ResolvedRows, mode: Mode) -> frozenset[FleetId]:
    """Return the managed fleets in exact mode."""
    entries = ((entry, resolved.fleets[entry.fleet]) for entry in desired.fleets)
    stated = merge_sources.stated_modes(
        (entry, fleet) for entry, fleet in entries if not isinstance(fleet, resolver.Unresolved)
    )
    return frozenset({fleet for fleet in resolved.managed if stated.get(fleet, mode) is Mode.EXACT})


def _unjudged(
    absence: Membership, resolved: _ResolvedRows, exact: frozenset[FleetId], shrinkable: frozenset[FleetId]
) -> bool:
    """Return whether this run can neither confirm nor refute that a membership is absent from the sources."""
    driver, fleet = absence
    if absence in resolved.wanted:
        return False
    if fleet in resolved.managed:
        return fleet in exact and (driver in resolved.waiting or fleet not in shrinkable)
    return any(isinstance(answer, resolver.Unresolved) for answer in resolved.fleets.values())


def _count(actual: Actual, resolved: _ResolvedRows) -> tuple[dict[FleetId, int], int]:
    """Return the number of members of each managed fleet, and of the drivers that are or should be in one."""
    missing = {driver for driver, _ in resolved.wanted if resolved.managed.isdisjoint(actual.memberships[driver])}
    sizes = actual.count_combinations()
    members = sum(count for fleets, count in sizes.items() if not resolved.managed.isdisjoint(fleets))
    return actual.count_members(resolved.managed), members + len(missing)


def _incomplete_fleets(actual: Actual, managed: Iterable[FleetId]) -> Iterator[Problem]:
    for fleet in managed:
        if reason := actual.incomplete.get(fleet):
            message = f"{reason}; no driver is detached from this fleet in this run"
            yield Problem(fleet, message, code=ProblemCode.INCOMPLETE_LISTING)
