"""Leaves the drivers of `guard.ignore_drivers` out of plans: they are never attached or detached.

Invariant: an entry that resolves to no driver, or to several, may mean anyone: then no driver is detached at all. The
driver that it resolved to before, and every driver that it may mean, are ignored. Neighbours: `resolver` resolves
entries, `engine.plan_builder` calls this for every plan.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.actual import Actual
from worker.core.model.desired import DriverById, DriverRef
from worker.core.model.identifiers import DriverId, Resolutions
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.problem import Problem, ProblemCode
from worker.core.planning import resolver


@dataclasses.dataclass(frozen=True, slots=True)
class IgnoredDrivers:
    """The drivers that are ignored, each with its entry, and the entries that lead to none or several.

    `resolutions` are the drivers that entries lead to, which later runs may rely on. `absent` are ids that the account
    does not have: no other driver can be meant, but one may be missing from the list.
    """

    entries: Mapping[DriverId, DriverRef]
    unresolved: Mapping[DriverRef, resolver.Unresolved]
    resolutions: Resolutions
    absent: frozenset[DriverId] = frozenset()

    def unclear(self, changes: Iterable[Change]) -> frozenset[Change]:
        """Return the changes that an entry may forbid that leads to no driver, or to several."""
        if not self.unresolved:
            return frozenset()
        return frozenset(change for change in changes if change.action is Action.DETACH)


def find(entries: Collection[DriverRef], actual: Actual, remembered: Resolutions) -> IgnoredDrivers:
    """Resolve the entries. An id is ignored whatever was read; `remembered` is what others resolved to before."""
    drivers = {entry.id: entry for entry in entries if isinstance(entry, DriverById)}
    found: dict[DriverId, DriverRef] = {}
    unresolved: dict[DriverRef, resolver.Unresolved] = {}
    resolutions: dict[str, DriverId] = {}
    for entry in sorted(set(entries) - set(drivers.values()), key=str):
        answer = resolver.resolve_driver(entry, actual, remembered=remembered)
        if isinstance(answer, resolver.Unresolved):
            unresolved[entry] = answer
            found |= dict.fromkeys(answer.candidates, entry)
        else:
            found[answer] = entry
            resolutions[str(entry)] = answer
    return IgnoredDrivers({**found, **drivers}, unresolved, resolutions, actual.absent & drivers.keys())


def leave_out(plan: Plan, ignored: IgnoredDrivers) -> Plan:
    """Return a plan without changes of ignored drivers, each with a note, and without detaches if an entry is unclear.

    Memberships whose detach is left out because of an unclear entry are `undecided`: their absence goes on.
    """
    unclear = ignored.unclear(plan.changes)
    changes = tuple(change for change in plan.changes if change not in unclear and change.driver not in ignored.entries)
    notes = [_note(change, ignored) for change in plan.changes if change.driver in ignored.entries]
    problems = [_problem(entry, answer) for entry, answer in ignored.unresolved.items()]
    problems += map(_absent, ignored.absent)
    drivers = {change.driver for change in changes}
    return dataclasses.replace(
        plan,
        changes=changes,
        problems=tuple(sorted({*plan.problems, *notes, *problems})),
        references=plan.references + len(ignored.unresolved) + len(ignored.resolutions) + len(ignored.absent),
        unresolved=plan.unresolved + len(ignored.unresolved) + len(ignored.absent),
        resolutions={**plan.resolutions, **ignored.resolutions},
        undecided=plan.undecided | {(change.driver, change.fleet) for change in unclear},
        suppressed=plan.suppressed
        | {(change.driver, change.fleet) for change in plan.changes if change.driver in ignored.entries},
        concerned={driver: each for driver, each in plan.concerned.items() if driver in drivers},
    )


def _note(change: Change, ignored: IgnoredDrivers) -> Problem:
    what = "attached to" if change.action is Action.ATTACH else "detached from"
    where = str(change.origin or f"{change.driver}/{change.fleet}")
    entry = ignored.entries[change.driver]
    who = entry if str(entry) != change.driver else "the driver"
    message = f"{change.driver} is not {what} fleet {change.fleet}: {who} is listed in guard.ignore_drivers"
    return Problem(where, message, note=True, code=ProblemCode.DRIVER_IGNORED)


def _problem(entry: DriverRef, answer: resolver.Unresolved) -> Problem:
    return Problem(
        "guard.ignore_drivers",
        f"{answer.reason}; {entry} may mean anyone, so no driver is detached until this is fixed",
        code=ProblemCode.UNRESOLVED_DRIVER,
    )


def _absent(driver: DriverId) -> Problem:
    return Problem(
        "guard.ignore_drivers",
        f"driver {driver} does not exist in this account, so no driver is ignored because of this entry",
        code=ProblemCode.UNRESOLVED_DRIVER,
    )
