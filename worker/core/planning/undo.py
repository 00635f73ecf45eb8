"""Plans the inverse of a past run.

Invariants: only changes that the run itself made are inverted, and only if the membership is still as the run left it.
An attach is not inverted if that would leave a moved driver in no fleet. Neighbours: `engine.plan_builder` reads what
is needed; `safety.guard` evaluates the plan like any other.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.core.model.actual import Actual
from worker.core.model.desired import Desired, DriverById, FleetById, FleetEntry, Origin, Row
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, Unknown
from worker.core.model.plan import Action, Change, ConcernedDriver, Plan
from worker.core.model.ports import PastChange
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.serialization import format_time

_NO_POSITION = Origin("undo", 1, 1)
_POSSIBLY_DONE = (Applied.name, Unknown.name, None)
_OPPOSITE = {Action.ATTACH: Action.DETACH, Action.DETACH: Action.ATTACH}


def reported(report: Mapping[str, Any] | None) -> frozenset[Change]:
    """Return the changes that a run made by its own report, also those that it sent again for an earlier run."""
    return frozenset(_change(each) for each in (report or {}).get("changes", ()) if each["outcome"] in _POSSIBLY_DONE)


def _change(document: Mapping[str, Any]) -> Change:
    return Change(Action(document["action"]), DriverId(document["driver"]), FleetId(document["fleet"]))


def plan_inverse(
    run: RunId,
    history: Sequence[PastChange],
    actual: Actual,
    *,
    managed: Collection[FleetId] = (),
    plan: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan the inverse of a run. `history` holds all past writes to its drivers, the oldest of each driver first.

    A change that is not in the run's own `plan` was a repair of what another client had removed, and is not undone.
    `managed` are fleets that are not changed, and whose members count in limits over all fleets. A change that is not
    inverted becomes a problem with the reason; so do those that the run's `report` has and an earlier run began.
    """
    own = {past.change: past for past in history if past.run == run and past.outcome in _POSSIBLY_DONE}
    planned = own.keys() if plan is None else {_change(each) for each in plan["changes"]}
    done = [past for change, past in own.items() if change in planned]
    changes, problems = _inverted(done, history, actual)
    problems += [_not_undone(change, "it restored what another client had removed") for change in own.keys() - planned]
    stranding = _stranding(run, changes, history, actual, report=report)
    problems += [_not_undone(change, reason) for change, reason in stranding.items()]
    changes = [change for change in changes if change not in stranding]
    problems += _sent_again(run, history, report or {})
    fleets = {past.change.fleet for past in done}
    concerned = _concerned(changes, actual)
    return Plan(
        changes=tuple(sorted(changes, key=lambda change: change.order)),
        problems=tuple(sorted({*problems, *_incomplete_fleets(actual, fleets)})),
        members=actual.count_members({*fleets, *managed}),
        in_sync=0,
        drivers=len(concerned),
        incomplete=len(fleets & actual.incomplete.keys()),
        concerned=concerned,
        exact=frozenset(fleets),
    )


def _inverted(
    done: Iterable[PastChange], history: Sequence[PastChange], actual: Actual
) -> tuple[list[Change], list[Problem]]:
    """Return the opposite of each change that is still as the run left it, and the reasons why others stay."""
    last = {(past.change.driver, past.change.fleet): past for past in history if past.outcome == Applied.name}
    changes, problems = [], []
    for past in done:
        change = past.change
        if reason := _reason_to_leave(past, last.get((change.driver, change.fleet), past), actual):
            problems.append(_not_undone(change, reason))
        else:
            changes.append(Change(_OPPOSITE[change.action], change.driver, change.fleet))
    return changes, problems


def _stranding(
    run: RunId,
    changes: Sequence[Change],
    history: Sequence[PastChange],
    actual: Actual,
    *,
    report: Mapping[str, Any] | None,
) -> dict[Change, str]:
    """Return the detaches that would leave a moved driver in no fleet, each with the reason not to make it.

    This run or a later one detached the driver from the former fleet, and this plan does not attach the driver again.
    The run may have sent again what an earlier one began; its report says what, and without one all detaches count.
    """
    after = _concerned(changes, actual)
    made = reported(report)
    lost: dict[DriverId, PastChange] = {}
    reached: set[DriverId] = set()
    for each in history:
        driver = each.change.driver
        if each.run == run or each.change in made or report is None:
            reached.add(driver)
        if driver in reached and each.change.action is Action.DETACH and each.outcome in _POSSIBLY_DONE:
            lost[driver] = each
    return {
        change: f"{past.run} detached the driver from {past.change.fleet}, or may have, so without this membership"
        " the driver would be in no fleet"
        for change in changes
        if (past := lost.get(change.driver)) and not after[change.driver].wanted
    }


def _sent_again(run: RunId, history: Sequence[PastChange], report: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what a run sent again for an earlier one, which was killed or got no clear answer."""
    own = {past.change for past in history if past.run == run}
    began = {past.change: past.run for past in history if format_time(past.recorded) < report.get("started", "")}
    for change in reported(report):
        if change not in own and change in began:
            yield _not_undone(
                change, f"{began[change]} began this change, and {run} sent it again: undo {began[change]}"
            )


def _not_undone(change: Change, reason: str) -> Problem:
    return Problem(f"{change.driver}/{change.fleet}", f"{reason}; not undone", code=ProblemCode.NOT_UNDONE)


def _concerned(changes: Sequence[Change], actual: Actual) -> dict[DriverId, ConcernedDriver]:
    """Return the fleets in which each driver was seen; as wanted, those in which the undo would leave the driver."""
    wanted = {change.driver: actual.memberships[change.driver] for change in changes}
    for change in changes:
        own = frozenset({change.fleet})
        before = wanted[change.driver]
        wanted[change.driver] = before | own if change.action is Action.ATTACH else before - own
    return {driver: ConcernedDriver(actual.memberships[driver], fleets) for driver, fleets in wanted.items()}


def required_reading(run: RunId, history: Sequence[PastChange], *, managed: Collection[FleetId] = ()) -> Desired:
    """Return what must be read to undo a run: its fleets, its drivers, and the `managed` fleets."""
    changes = sorted({past.change for past in history if past.run == run}, key=lambda change: change.order)
    fleets = sorted({*managed, *(change.fleet for change in changes)})
    return Desired(
        sources=(),
        fleets=tuple(FleetEntry(FleetById(fleet), _NO_POSITION) for fleet in fleets),
        rows=tuple(Row(FleetById(change.fleet), DriverById(change.driver), _NO_POSITION) for change in changes),
    )


def _reason_to_leave(past: PastChange, last: PastChange, actual: Actual) -> str | None:
    """Return the reason why a change is not inverted, or None."""
    change = past.change
    fleets = actual.memberships.get(change.driver)
    if past.outcome != Applied.name:
        return "it is not known whether the run changed this membership"
    if last.key != past.key:
        return f"{last.run} changed this membership later"
    if fleets is None:
        return "the driver no longer exists or could not be read"
    if not change.done_in(fleets):
        return "another client has changed this membership since"
    if change.action is Action.ATTACH and change.fleet in actual.incomplete:
        return "the listing of its fleet is incomplete, so no driver is detached from it"
    return None


def _incomplete_fleets(actual: Actual, fleets: Collection[FleetId]) -> list[Problem]:
    return [
        Problem(fleet, reason, code=ProblemCode.INCOMPLETE_LISTING)
        for fleet, reason in actual.incomplete.items()
        if fleet in fleets
    ]
