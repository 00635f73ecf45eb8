"""What a run does about writes of earlier runs whose effect is unclear."""

import dataclasses

from tests.core.worlds import DEPOT, NOW, VANS, A, B
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import NOT_CONVERGING, Deferred, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent, OpenIntent
from worker.core.planning import unclear_writes

ATTACH, DETACH = Change(Action.ATTACH, A, VANS), Change(Action.DETACH, B, DEPOT)
OPEN = OpenIntent(Intent(IntentKey("key"), ATTACH), RunId("run_1"), NOW, attempts=2, last_attempt=NOW, code="timeout")


def test_a_planned_change_is_sent_again_once() -> None:
    assert unclear_writes.sort_out([OPEN], {ATTACH, DETACH}).resendable == {ATTACH: OPEN}
    again = unclear_writes.sort_out([dataclasses.replace(OPEN, resent=True)], {ATTACH, DETACH})
    assert again.resendable == {}
    (outcome,) = again.waiting.values()
    assert isinstance(outcome, Unknown)
    assert (outcome.attempts, outcome.code) == (2, "unclear_write")


def test_an_unclear_write_that_is_no_longer_planned_is_a_problem() -> None:
    found = unclear_writes.sort_out([OPEN], {DETACH})
    assert (found.resendable, found.waiting) == ({}, {})
    assert [(problem.where, problem.message) for problem in found.problems] == [
        (f"{A}/{VANS}", "the attach that run_1 sent may still take effect")
    ]


def test_no_other_fleet_is_taken_from_a_driver_whose_wanted_one_may_still_go() -> None:
    """The document was corrected while a detach was on its way: with the new detach the driver is in no fleet."""
    late = dataclasses.replace(OPEN, intent=Intent(IntentKey("key"), Change(Action.DETACH, B, VANS)))
    found = unclear_writes.sort_out([late], {ATTACH, DETACH})
    assert found.waiting == {
        DETACH: Deferred(
            0,
            "unclear_write",
            f"not sent: the detach from {VANS} that run_1 sent may still take effect,"
            " and the driver must stay in a fleet",
        )
    }
    assert len(found.problems) == 1
    leaver = unclear_writes.sort_out([late], {late.intent.change, DETACH})
    assert (leaver.waiting, leaver.resendable) == ({}, {late.intent.change: late})


def test_a_write_that_charge_accepted_is_not_sent_again_under_its_key() -> None:
    found = unclear_writes.sort_out([dataclasses.replace(OPEN, code=NOT_CONVERGING)], {ATTACH})
    assert (found.resendable, found.waiting, found.problems) == ({}, {}, ())


def test_a_change_that_was_sent_and_is_not_sent_again_is_unknown_for_whatever_reason() -> None:
    found = unclear_writes.sort_out([OPEN], {ATTACH, DETACH})
    waits, gone = Deferred(0, "attach_first", "waits"), Stale("the driver no longer exists")
    assert found.unless_sent({ATTACH: waits, DETACH: waits}) == {
        ATTACH: Unknown(2, "attach_first", "waits; the attempt of run_1 may still take effect"),
        DETACH: waits,
    }
    assert found.unless_sent({ATTACH: gone}) == {ATTACH: gone}
