"""How a run ended: the table of results and exit codes."""

import dataclasses
import datetime

import pytest

from tests.core import worlds
from tests.core.worlds import VANS, A, B
from worker.core.model.errors import FleetSyncError, JournalError, ProcessSuspended, SourceError, Stopped
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import (
    OUTCOME_NAMES,
    Already,
    Applied,
    ChangeResult,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.plan_digest import held_digest
from worker.core.model.problem import Problem
from worker.core.model.report import LearnedRate, Report, plan_exit_code

ATTACH = Change(Action.ATTACH, A, VANS)
DETACH = Change(Action.DETACH, B, VANS)
HELD = HeldChange(DETACH, "max_detach_fraction", "too many")

APPLIED = Applied(1)
ALREADY = Already(1)
REFUSED = Refused(1, "driver_blocked", "no")
STALE = Stale("it is there already")
DEFERRED = Deferred(0, "attach_failed", "its attach failed")
UNKNOWN = Unknown(6, "charge_unreachable", "reset")


def guarded(
    *, changes: tuple[Change, ...] = (), held: tuple[HeldChange, ...] = (), unsettled: bool = False
) -> GuardedPlan:
    return GuardedPlan(
        account=worlds.ACCOUNT,
        created=worlds.NOW,
        sources=(),
        changes=changes,
        held=held,
        problems=(),
        in_sync=0,
        fleets=1,
        drivers=2,
        cost=Cost(0, 0.0),
        digest="sha256:0",
        unsettled=unsettled,
    )


def ended(
    *came: Outcome,
    plan: GuardedPlan | None = None,
    error: FleetSyncError | None = None,
    observed: bool = False,
    paused: bool = False,
) -> Report:
    results = tuple(ChangeResult(ATTACH, outcome) for outcome in came)
    return Report(RunId("run_1"), worlds.NOW, worlds.NOW, plan, results, error=error, observed=observed, paused=paused)


STOPPED, FULL = Stopped("SIGTERM", exit_code=143), JournalError("disk full")


@pytest.mark.parametrize(
    ("finished", "result", "exit_code"),
    [
        (ended(plan=guarded()), "in_sync", 0),
        (ended(plan=guarded(), observed=True), "in_sync", 0),
        (ended(plan=guarded(changes=(ATTACH,)), observed=True), "observed", 0),
        (ended(plan=guarded(changes=(ATTACH,), held=(HELD,)), observed=True), "held", 3),
        (ended(plan=guarded(changes=(ATTACH,), unsettled=True), observed=True), "partial", 4),
        (ended(APPLIED, plan=guarded()), "converged", 0),
        (ended(APPLIED, ALREADY, plan=guarded()), "converged", 0),
        (ended(plan=guarded(held=(HELD,))), "held", 3),
        (ended(APPLIED, plan=guarded(held=(HELD,))), "held", 3),
        (ended(APPLIED, REFUSED, plan=guarded()), "partial", 4),
        (ended(STALE, plan=guarded()), "partial", 4),
        (ended(DEFERRED, plan=guarded()), "partial", 4),
        (ended(UNKNOWN, plan=guarded()), "partial", 4),
        (ended(UNKNOWN, plan=guarded(held=(HELD,))), "partial", 4),
        (ended(plan=guarded(unsettled=True)), "partial", 4),
        (ended(APPLIED, plan=guarded(held=(HELD,), unsettled=True)), "partial", 4),
        (ended(plan=guarded(held=(HELD,), unsettled=True), paused=True), "paused", 0),
        (ended(APPLIED, plan=guarded(), paused=True), "paused", 0),
        (ended(plan=guarded(), paused=True, error=FULL), "failed", 1),
        (ended(), "failed", 1),
        (ended(error=SourceError([])), "failed", 1),
        (ended(APPLIED, UNKNOWN, plan=guarded(held=(HELD,)), error=FULL), "failed", 1),
        (ended(APPLIED, plan=guarded(), error=STOPPED), "failed", 143),
    ],
)
def test_the_table_of_results(finished: Report, result: str, exit_code: int) -> None:
    """1 wins over 4, and 4 over 3; a stopped run ends with the exit code of its signal."""
    assert finished.result == result
    assert finished.exit_code == exit_code


@pytest.mark.parametrize("detailed", [False, True])
@pytest.mark.parametrize(
    ("plan", "plain", "in_detail"),
    [
        (guarded(), 0, 0),
        (guarded(changes=(ATTACH,)), 0, 2),
        (guarded(changes=(ATTACH,), held=(HELD,)), 3, 3),
        (guarded(held=(HELD,), unsettled=True), 4, 4),
        (guarded(changes=(ATTACH,), unsettled=True), 4, 4),
    ],
)
def test_the_exit_code_of_a_plan(plan: GuardedPlan, plain: int, in_detail: int, detailed: bool) -> None:
    assert plan_exit_code(plan, detailed=detailed) == (in_detail if detailed else plain)


def test_every_outcome_is_counted_even_those_that_did_not_happen() -> None:
    counts = ended(APPLIED, APPLIED, STALE, plan=guarded()).counts
    assert counts == {"applied": 2, "already": 0, "refused": 0, "stale": 1, "deferred": 0, "unknown": 0}
    assert tuple(counts) == OUTCOME_NAMES


def test_only_applied_and_already_are_done() -> None:
    done = [
        outcome.name
        for outcome in (APPLIED, ALREADY, REFUSED, STALE, DEFERRED, UNKNOWN)
        if ChangeResult(ATTACH, outcome).done
    ]
    assert done == ["applied", "already"]


def test_what_is_to_be_approved_are_the_held_changes_whatever_else_was_done() -> None:
    plan = guarded(changes=(ATTACH,), held=(HELD,))
    assert ended().held_digest == ended(APPLIED, plan=guarded(changes=(ATTACH,))).held_digest == ""
    for outcome in (REFUSED, APPLIED):
        assert ended(outcome, plan=plan).held_digest == held_digest(worlds.ACCOUNT, (DETACH,))


@pytest.mark.parametrize(("note", "result", "exit_code"), [(True, "converged", 0), (False, "partial", 4)])
def test_a_run_is_not_converged_if_a_driver_that_it_changed_is_not_where_the_sources_want_it(
    note: bool, result: str, exit_code: int
) -> None:
    problem = Problem(A, "the driver is not in a fleet, although the sources want it", note=note)
    finished = dataclasses.replace(ended(APPLIED, plan=guarded(changes=(ATTACH,))), problems=(problem,))
    assert (finished.result, finished.exit_code) == (result, exit_code)


@pytest.mark.parametrize(("hours", "fresh"), [(-0.1, False), (0.0, True), (23.9, True), (24.0, False), (48.0, False)])
def test_a_learned_rate_is_used_for_a_day_and_never_before_it_was_learned(hours: float, fresh: bool) -> None:
    learned = LearnedRate(40.0, worlds.NOW)
    assert learned.is_fresh(worlds.NOW + datetime.timedelta(hours=hours)) is fresh


def test_only_a_run_that_was_stopped_or_suspended_was_interrupted() -> None:
    ends = {"stopped": STOPPED, "suspended": ProcessSuspended("stood still"), "full": FULL, "none": None}
    found = {name for name, error in ends.items() if ended(plan=guarded(), error=error).was_interrupted}
    assert found == {"stopped", "suspended"}
