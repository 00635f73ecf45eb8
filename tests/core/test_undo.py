"""The inverse of a run: changes that it made itself and that nobody has touched since."""

import dataclasses
import datetime
from typing import Any

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, NOW, VANS, A, B, C
from worker.core.model.actual import Actual
from worker.core.model.desired import DriverById, FleetById, Origin
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, RunId
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.ports import PastChange
from worker.core.model.serialization import format_time
from worker.core.planning import undo

ATTACH, DETACH = Action.ATTACH, Action.DETACH
RUN, LATER, EARLIER = (RunId(name) for name in ("run_2", "run_3", "run_1"))


def past(
    action: Action,
    driver: DriverId,
    fleet: FleetId = VANS,
    *,
    run: RunId = RUN,
    outcome: str | None = "applied",
) -> PastChange:
    """Make a past write; its key follows from its change."""
    return PastChange(
        run=run,
        trigger="once",
        recorded=NOW + datetime.timedelta(minutes=int(run[-1])),
        key=IntentKey(f"{run}-{action}-{driver}-{fleet}"),
        change=Change(action, driver, fleet, Origin("membership.yaml", 4, 9)),
        outcome=outcome,
        attempts=1,
        request_id="req_1",
        code=None,
        message=None,
    )


def problems(plan: Plan) -> dict[str, str]:
    return {problem.where: problem.message for problem in plan.problems}


def test_what_a_run_did_is_turned_around_in_the_order_of_every_plan() -> None:
    history = [past(ATTACH, C), past(ATTACH, A), past(DETACH, B), past(DETACH, A, DEPOT)]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS, NORTH], B: [], C: [VANS]}))
    assert plan.changes == (
        Change(ATTACH, B, VANS),
        Change(DETACH, A, VANS),
        Change(DETACH, C, VANS),
        Change(ATTACH, A, DEPOT),
    )
    assert (plan.problems, plan.drivers, plan.incomplete) == ((), 3, 0)
    assert plan.members == {VANS: 2, DEPOT: 0}


def test_what_a_run_sent_again_is_reported_with_the_run_that_began_it() -> None:
    """A run was killed, and the next one reports its changes as applied."""
    report = {
        "started": format_time(past(ATTACH, B).recorded),
        "changes": [
            {"action": "detach", "driver": A, "fleet": VANS, "outcome": "applied"},
            {"action": "attach", "driver": B, "fleet": VANS, "outcome": "applied"},
            {"action": "attach", "driver": C, "fleet": VANS, "outcome": "refused"},
        ],
    }
    history = [past(DETACH, A, run=EARLIER), past(ATTACH, C, run=EARLIER), past(ATTACH, B), past(DETACH, A, run=LATER)]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [], B: [VANS], C: []}), report=report)
    assert plan.changes == (Change(DETACH, B, VANS),)
    assert problems(plan) == {f"{A}/{VANS}": "run_1 began this change, and run_2 sent it again: undo run_1; not undone"}
    assert undo.reported(None) == frozenset()


@pytest.mark.parametrize("outcome", ["already", "refused", "stale", "deferred"])
def test_what_the_run_did_not_do_itself_is_not_undone(outcome: str) -> None:
    """Changes by other clients and changes that were not made are left alone."""
    history = [past(ATTACH, A, outcome=outcome), past(ATTACH, B)]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS], B: [VANS]}))
    assert plan.changes == (Change(DETACH, B, VANS),)
    assert plan.problems == ()


@pytest.mark.parametrize("outcome", ["unknown", None])
def test_what_the_run_may_have_done_is_left_as_it_is_and_said(outcome: str | None) -> None:
    """A killed run that no later run has settled yet must not look as if there were nothing to undo."""
    plan = undo.plan_inverse(RUN, [past(ATTACH, A, outcome=outcome)], worlds.seen({A: [VANS]}))
    assert plan.changes == ()
    assert problems(plan) == {f"{A}/{VANS}": "it is not known whether the run changed this membership; not undone"}


def test_what_changed_since_is_left_as_it_is_and_said() -> None:
    """Changed by hand, by a later run, by later runs that changed it back; and a driver that no longer exists."""
    attached = [past(ATTACH, driver) for driver in worlds.DRIVERS[:4]]
    again, gone, by_hand, back = (each.change.driver for each in attached)
    history = [
        *attached,
        past(DETACH, again, run=LATER),
        past(DETACH, back, run=LATER),
        past(ATTACH, back, run=RunId("run_4")),
    ]
    plan = undo.plan_inverse(RUN, history, worlds.seen({again: [], by_hand: [DEPOT], back: [VANS]}))
    assert plan.changes == ()
    assert problems(plan) == {
        f"{again}/{VANS}": "run_3 changed this membership later; not undone",
        f"{gone}/{VANS}": "the driver no longer exists or could not be read; not undone",
        f"{by_hand}/{VANS}": "another client has changed this membership since; not undone",
        f"{back}/{VANS}": "run_4 changed this membership later; not undone",
    }


def test_a_later_write_that_came_to_nothing_changed_nothing() -> None:
    history = [
        past(DETACH, A, run=EARLIER),
        past(ATTACH, A),
        past(DETACH, A, run=LATER, outcome="refused"),
        past(DETACH, A, DEPOT, run=LATER),
    ]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS, NORTH]}))
    assert plan.changes == (Change(DETACH, A, VANS),)


@pytest.mark.parametrize("outcome", ["unknown", None])
def test_half_of_a_move_is_not_undone_where_the_driver_would_be_in_no_fleet(outcome: str | None) -> None:
    """The detach of A probably took effect, but that is not known; B stays in a fleet, and C was in none before."""
    history = [past(ATTACH, A), past(DETACH, A, DEPOT, outcome=outcome), past(ATTACH, C)]
    history += [past(ATTACH, B), past(DETACH, B, DEPOT, outcome=outcome)]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS], B: [VANS, DEPOT], C: [VANS]}))
    assert plan.changes == (Change(DETACH, B, VANS), Change(DETACH, C, VANS))
    assert f"{A}/{VANS}" in problems(plan)
    assert set(plan.concerned) == {B, C}


def _plan(*changes: PastChange) -> dict[str, Any]:
    names = ("action", "driver", "fleet")
    return {"changes": [{name: getattr(each.change, name) for name in names} for each in changes]}


def test_what_happened_before_the_run_strands_no_driver() -> None:
    """The history is ordered for each driver, not over all of them."""
    history = [past(DETACH, A, run=EARLIER), past(ATTACH, A), past(DETACH, B, run=EARLIER), past(ATTACH, B)]
    seen = worlds.seen({A: [VANS], B: [VANS]})
    plan = undo.plan_inverse(RUN, history, seen, report={})
    assert (plan.changes, plan.problems) == ((Change(DETACH, A, VANS), Change(DETACH, B, VANS)), ())
    assert undo.plan_inverse(RUN, history, seen).changes == (), "it was killed, and may have sent the detaches again"


def test_a_detach_that_the_run_sent_again_for_an_earlier_one_strands_the_driver() -> None:
    history = [past(DETACH, A, DEPOT, run=EARLIER), past(ATTACH, A)]
    again = {"action": "detach", "driver": A, "fleet": DEPOT, "outcome": "applied"}
    report = {"started": format_time(past(ATTACH, A).recorded), "changes": [again]}
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS]}), report=report)
    assert plan.changes == ()
    assert "run_1 detached the driver" in problems(plan)[f"{A}/{VANS}"]


def test_a_repair_is_not_undone() -> None:
    """Another client removed a membership during the run, and the run restored it: the driver had it before."""
    attach, repair = past(ATTACH, A), past(ATTACH, A, DEPOT)
    plan = undo.plan_inverse(RUN, [attach, repair], worlds.seen({A: [VANS, DEPOT]}), plan=_plan(attach))
    assert plan.changes == (Change(DETACH, A, VANS),)
    assert problems(plan) == {f"{A}/{DEPOT}": "it restored what another client had removed; not undone"}


def test_an_attach_that_the_run_had_to_repair_is_undone_once() -> None:
    attach = past(ATTACH, A)
    repair = dataclasses.replace(attach, key=IntentKey("repair"))
    plan = undo.plan_inverse(RUN, [attach, repair], worlds.seen({A: [VANS]}), plan=_plan(attach))
    assert (plan.changes, plan.problems) == ((Change(DETACH, A, VANS),), ())


def test_a_move_whose_detach_a_later_run_made_is_undone_from_the_end() -> None:
    """The run was stopped between attach and detach, and the next one made the detach."""
    earlier = past(DETACH, A, NORTH, run=EARLIER)
    history = [earlier, past(ATTACH, A), past(DETACH, A, DEPOT, outcome="deferred"), past(DETACH, A, DEPOT, run=LATER)]
    plan = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS]}))
    assert plan.changes == ()
    assert problems(plan) == {
        f"{A}/{VANS}": f"run_3 detached the driver from {DEPOT}, or may have, so without this membership the driver"
        " would be in no fleet; not undone"
    }
    assert undo.plan_inverse(LATER, history, worlds.seen({A: [VANS]})).changes == (Change(ATTACH, A, DEPOT),)
    both = undo.plan_inverse(RUN, history, worlds.seen({A: [VANS, DEPOT]}))
    assert both.changes == (Change(DETACH, A, VANS),)


def test_nobody_is_detached_from_a_fleet_that_was_not_seen_whole() -> None:
    history = [past(ATTACH, A), past(DETACH, B), past(ATTACH, C, NORTH)]
    actual = worlds.seen({A: [VANS], B: [], C: [NORTH]})
    actual = Actual(fleets=actual.fleets, memberships=actual.memberships, incomplete={VANS: "cut short"})
    plan = undo.plan_inverse(RUN, history, actual)
    assert plan.changes == (Change(DETACH, C, NORTH), Change(ATTACH, B, VANS))
    assert problems(plan) == {
        VANS: "cut short",
        f"{A}/{VANS}": "the listing of its fleet is incomplete, so no driver is detached from it; not undone",
    }
    assert plan.incomplete == 1


def test_a_fleet_that_the_run_did_not_touch_is_nobodys_business() -> None:
    actual = Actual(fleets={}, memberships={A: frozenset({VANS})}, incomplete={DEPOT: "cut short"})
    plan = undo.plan_inverse(RUN, [past(ATTACH, A), past(ATTACH, A, DEPOT, run=LATER)], actual)
    assert (plan.problems, plan.incomplete, set(plan.members)) == ((), 0, {VANS})


def test_what_has_to_be_read_is_the_runs_own_fleets_and_drivers() -> None:
    history = [past(ATTACH, B), past(DETACH, A, DEPOT), past(ATTACH, C, NORTH, run=LATER)]
    wanted = undo.required_reading(RUN, history)
    assert {entry.fleet for entry in wanted.fleets} == {FleetById(VANS), FleetById(DEPOT)}
    assert {row.driver for row in wanted.rows} == {DriverById(A), DriverById(B)}
    assert undo.required_reading(RUN, []).fleets == ()
