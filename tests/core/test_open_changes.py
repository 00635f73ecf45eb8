"""The changes of the last run that are not done."""

import dataclasses

from tests.web import doubles
from worker.core.model.errors import FleetSyncError
from worker.core.model.outcomes import Applied, ChangeResult, Deferred, Refused, Stale, Unknown
from worker.core.model.serialization import plan_document
from worker.core.monitoring import open_changes
from worker.core.safety import guard


def test_every_change_that_is_not_done_has_its_state_and_reason() -> None:
    made = [doubles.change("attach", number, 0) for number in range(6)]
    results = [
        ChangeResult(made[0], Applied(1)),
        ChangeResult(made[1], Refused(1, "driver_blocked", "suspended")),
        ChangeResult(made[2], Deferred(0, "stopped", "not sent")),
        ChangeResult(made[3], Unknown(1, "timeout", "no answer")),
        ChangeResult(made[4], Stale("gone")),
    ]
    waiting = [doubles.held("detach", 7, 1), doubles.held("detach", 8, 1, by=guard.FLAPPING, message="again")]
    plan = doubles.guarded(changes=made, held=waiting)
    present = doubles.calm(last=doubles.run(plan=plan, results=results))
    found = {each.change: (each.state, each.code, each.message) for each in open_changes.open_changes(present)}
    assert found == {
        made[1]: ("refused", "driver_blocked", "suspended"),
        made[2]: ("deferred", "stopped", "not sent"),
        made[3]: ("unknown", "timeout", "no answer"),
        made[4]: ("stale", "", "gone"),
        made[5]: ("pending", "", "not sent yet"),
        waiting[0].change: ("held", guard.PER_FLEET, waiting[0].message),
        waiting[1].change: ("frozen", guard.FLAPPING, "again"),
    }


def test_the_held_changes_of_a_recorded_plan_are_those_of_the_plan() -> None:
    waiting = [doubles.held("detach", 7, 1), doubles.held("attach", 8, 1, by=guard.FLAPPING, message="again")]
    plan = doubles.guarded(held=waiting)
    found = open_changes.held_in_document(plan_document(plan))
    present = doubles.calm(last=doubles.run(plan=plan))
    without_origins = [
        dataclasses.replace(each, change=dataclasses.replace(each.change, origin=None))
        for each in open_changes.open_changes(present)
    ]
    assert found == without_origins
    frozen, held = sorted(open_changes.by_reason(found), key=lambda group: group.reason)
    assert frozen.reason == ("frozen", "again", guard.FLAPPING)
    assert held.reason == ("held", waiting[0].message, guard.PER_FLEET)


def test_a_driver_is_wanted_where_the_open_changes_lead() -> None:
    plan = doubles.guarded(changes=[doubles.change("attach", 0, 5)], held=[doubles.held("detach", 0, 3)])
    present = doubles.calm(last=doubles.run(plan=plan))
    assert open_changes.wanted_fleets(present, doubles.driver(0)) == {doubles.fleet(5)}
    assert open_changes.wanted_fleets(present, doubles.driver(1)) == {doubles.fleet(3)}
    assert open_changes.wanted_fleets(present, doubles.driver(999)) == frozenset()


def test_without_a_plan_there_is_nothing_open() -> None:
    failed = doubles.run(error=FleetSyncError("no", code="no", remedy="No."))
    assert open_changes.open_changes(doubles.calm(last=None)) == ()
    assert open_changes.open_changes(doubles.calm(last=failed)) == ()
