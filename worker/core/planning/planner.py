"""Compares desired with actual state and plans the changes: the dangerous decision, as one pure function.

Invariants: a detach is planned only for a membership that was seen and that no active row wants, in a managed fleet in
exact mode whose listing is complete and whose references are all resolved; nothing is planned for other fleets; the
order of the input does not matter. Neighbours: `resolver` resolves references, `safety.guard` evaluates the plan.
"""

import collections
import datetime
import types
from collections.abc import Collection, Iterable, Iterator

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, Mode, Row
from worker.core.model.identifiers import DriverId, FleetId, Membership, Resolutions
from worker.core.model.plan import Action, Change, ConcernedDriver, Plan
from worker.core.model.plan_digest import row_fingerprint
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import SourceSize
from worker.core.planning import merge_sources, resolver
from worker.core.planning.resolved_rows import ResolvedRows


def plan(
    *,
    desired: Desired,
    actual: Actual,
    now: datetime.datetime | None,
    mode: Mode,
    absences: Collection[Membership] = (),
    remembered: Resolutions = types.MappingProxyType({}),
) -> Plan:
    """Plan the changes that bring the managed fleets in sync, as far as references and listings allow.

    `now` is None if no clock can be trusted: then rows with dates change nothing, but their references resolve. `mode`
    is that of fleets without their own; `absences` and `remembered` come from earlier runs. A row's fleet must be in
    `desired.fleets`, every driver in an index of `actual` in its `memberships`. Raises errors.DesiredError.
    """
    resolved = ResolvedRows.of(desired, actual, now=now, remembered=remembered)
    attaches, wanted = _attaches(resolved, actual)
    exact = _exact(desired, resolved, mode)
    shrinkable = exact - resolved.unclear - actual.incomplete.keys()
    members, drivers = _count(actual, resolved.managed, attaches)
    changes = _sorted([*attaches, *_detaches(resolved, actual, shrinkable)])
    return Plan(
        changes=changes,
        problems=_problems(desired, resolved, actual),
        members=members,
        in_sync=wanted - len(attaches),
        drivers=drivers,
        references=resolved.references,
        unresolved=resolved.unresolved,
        incomplete=len(resolved.managed & actual.incomplete.keys()),
        resolutions=resolved.resolutions,
        awaited=resolved.awaited(now),
        concerned=_concerned(changes, resolved, actual),
        sources=_sizes(desired, resolved),
        dated=_dated(attaches, resolved),
        boundaries=resolved.boundaries({change.driver for change in changes}, now),
        undecided=frozenset(each for each in absences if _undecided(each, resolved, exact, shrinkable)),
        suppressed=frozenset(_unwanted(resolved, actual, resolved.managed - exact)),
        exact=exact,
    )


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: change.order))


def _problems(desired: Desired, resolved: ResolvedRows, actual: Actual) -> tuple[Problem, ...]:
    problems = {*desired.notices, *resolved.problems, *_incomplete_fleets(actual, resolved.managed)}
    return tuple(sorted(problems, key=lambda problem: problem.order))


def _dated(attaches: Iterable[Change], resolved: ResolvedRows) -> frozenset[Change]:
    """Return the attaches that only rows with dates want, whichever row explains them."""
    dated = resolved.want_only_now((change.driver, change.fleet) for change in attaches)
    return frozenset(change for change in attaches if (change.driver, change.fleet) in dated)


def _attaches(resolved: ResolvedRows, actual: Actual) -> tuple[list[Change], int]:
    """Return the attaches, and how many memberships are wanted."""
    missing, wanted = [], 0
    for driver, fleets in resolved.drivers_wanted():
        wanted += len(fleets)
        if absent := fleets - actual.memberships[driver]:
            missing += [(driver, fleet) for fleet in absent]
    return [_change(Action.ATTACH, each, row) for each, row in resolved.explain(missing)], wanted


def _detaches(resolved: ResolvedRows, actual: Actual, shrinkable: frozenset[FleetId]) -> Iterator[Change]:
    for membership in _unwanted(resolved, actual, shrinkable):
        yield _change(Action.DETACH, membership, resolved.released.get(membership))


def _unwanted(resolved: ResolvedRows, actual: Actual, among: frozenset[FleetId]) -> Iterator[Membership]:
    """Yield the memberships of these fleets that no active row wants or may want."""
    for driver, fleets in actual.memberships.items() if among else ():
        if driver in resolved.waiting:
            continue
        wanted = resolved.fleets_wanted(driver)
        for fleet in fleets & among:
            if fleet not in wanted:
                yield driver, fleet


def _concerned(changes: Iterable[Change], resolved: ResolvedRows, actual: Actual) -> dict[DriverId, ConcernedDriver]:
    """Return what was seen of each driver with a change, and what the sources want for the driver."""
    drivers = dict.fromkeys(change.driver for change in changes)
    return {each: ConcernedDriver(actual.memberships[each], resolved.fleets_wanted(each)) for each in drivers}


def _sizes(desired: Desired, resolved: ResolvedRows) -> dict[str, SourceSize]:
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


def _exact(desired: Desired, resolved: ResolvedRows, mode: Mode) -> frozenset[FleetId]:
    """Return the managed fleets in exact mode."""
    entries = ((entry, resolved.fleets[entry.fleet]) for entry in desired.fleets)
    stated = merge_sources.stated_modes(
        (entry, fleet) for entry, fleet in entries if not isinstance(fleet, resolver.Unresolved)
    )
    return frozenset({fleet for fleet in resolved.managed if stated.get(fleet, mode) is Mode.EXACT})


def _undecided(
    absence: Membership, resolved: ResolvedRows, exact: frozenset[FleetId], shrinkable: frozenset[FleetId]
) -> bool:
    """Return whether this run can neither confirm nor refute that a membership is absent from the sources."""
    driver, fleet = absence
    if fleet in resolved.fleets_wanted(driver):
        return False
    if fleet in resolved.managed:
        return fleet in exact and (driver in resolved.waiting or fleet not in shrinkable)
    return any(isinstance(answer, resolver.Unresolved) for answer in resolved.fleets.values())


def _count(actual: Actual, managed: frozenset[FleetId], attaches: Iterable[Change]) -> tuple[dict[FleetId, int], int]:
    """Return the number of members of each managed fleet, and of the drivers that are or should be in one."""
    drivers = {change.driver for change in attaches}
    missing = sum(managed.isdisjoint(actual.memberships[driver]) for driver in drivers)
    sizes = actual.count_combinations()
    members = sum(count for fleets, count in sizes.items() if not managed.isdisjoint(fleets))
    return actual.count_members(managed), members + missing


def _incomplete_fleets(actual: Actual, managed: Iterable[FleetId]) -> Iterator[Problem]:
    for fleet in managed:
        if reason := actual.incomplete.get(fleet):
            message = f"{reason}; no driver is detached from this fleet in this run"
            yield Problem(fleet, message, code=ProblemCode.INCOMPLETE_LISTING)
