"""When a refused change is tried again."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NOW, VANS, A, B
from worker.core.model.desired import Origin
from worker.core.model.outcomes import Deferred
from worker.core.model.plan import Action, Change
from worker.core.model.ports import PastRefusals
from worker.core.safety import refusal_backoff

ATTACH = Action.ATTACH
CHANGE = Change(ATTACH, A, VANS, Origin("membership.yaml", 4, 9), row="abc")
OTHER = Change(ATTACH, B, DEPOT)
MINUTE = datetime.timedelta(minutes=1)


def refusals(*changes: Change, count: int = 1, last: datetime.datetime = NOW) -> refusal_backoff.Refusals:
    """Return refusals of these changes, `count` in a row, the last of them at `last`."""
    past = {
        change: PastRefusals(change.row, count, last, "policy_blocked", "409: not on Sundays", "req_7")
        for change in changes
    }
    return {(change.action, change.driver, change.fleet): refusal for change, refusal in past.items()}


def after(minutes: float) -> datetime.datetime:
    return NOW + minutes * MINUTE


def test_the_pauses_double_from_a_minute_up_to_six_hours() -> None:
    pauses = []
    for count in range(1, 41):
        past = refusals(CHANGE, count=count)
        due = refusal_backoff.next_due([CHANGE], past, planned=NOW, now=NOW)
        assert due is not None
        assert refusal_backoff.postponed([CHANGE], past, due - datetime.timedelta(seconds=1)).keys() == {CHANGE}
        assert refusal_backoff.postponed([CHANGE], past, due) == {}
        pauses.append((due - NOW) // MINUTE)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[360] * 31]


def test_a_postponed_change_says_what_charge_said_and_when_it_is_tried_again() -> None:
    assert refusal_backoff.postponed([CHANGE], refusals(CHANGE), NOW) == {
        CHANGE: Deferred(
            0,
            "refused_before",
            "Charge refused this change with policy_blocked (409: not on Sundays, req_7); it is tried again at "
            "2026-10-05T08:01:00.000Z, or at once when its row changes",
        )
    }


def test_an_edited_row_is_tried_at_once_and_a_moved_one_is_not() -> None:
    past = refusals(CHANGE, count=3)
    moved = Change(ATTACH, A, VANS, Origin("membership.yaml", 9, 9), row="abc")
    assert refusal_backoff.postponed([moved], past, NOW).keys() == {moved}
    edited = Change(ATTACH, A, VANS, row="xyz")
    assert refusal_backoff.postponed([edited], past, NOW) == {}
    assert refusal_backoff.next_due([edited], past, planned=NOW, now=NOW) is None


def test_a_change_that_is_no_longer_planned_wakes_nobody() -> None:
    assert refusal_backoff.postponed([OTHER], refusals(CHANGE), NOW) == {}
    assert refusal_backoff.next_due([OTHER], refusals(CHANGE), planned=NOW, now=NOW) is None


def test_a_change_that_becomes_due_during_the_run_that_postpones_it_is_tried_right_after_it() -> None:
    past = refusals(CHANGE)
    assert refusal_backoff.postponed([CHANGE], past, after(0.9)).keys() == {CHANGE}
    assert refusal_backoff.next_due([CHANGE], past, planned=after(0.9), now=after(5)) == after(5)


def test_a_change_that_was_due_already_wakes_nobody_again() -> None:
    """Otherwise a held change that was refused once would start one run after another."""
    past = {**refusals(CHANGE), **refusals(OTHER, last=after(3))}
    assert refusal_backoff.next_due([CHANGE, OTHER], past, planned=NOW, now=NOW) == after(1)
    assert refusal_backoff.next_due([CHANGE, OTHER], past, planned=after(1), now=after(1)) == after(4)
    assert refusal_backoff.next_due([CHANGE, OTHER], past, planned=after(4), now=after(4)) is None


@worlds.LAW
@given(worlds.worlds(), st.data())
def test_only_refused_changes_wait_and_never_longer_than_six_hours(world: worlds.World, data: st.DataObject) -> None:
    changes = world.plan().changes
    refused = [change for change in changes if data.draw(st.booleans())]
    past = refusals(*refused, count=data.draw(st.integers(1, 50)))
    assert refusal_backoff.postponed(changes, past, NOW).keys() == set(refused)
    assert refusal_backoff.postponed(changes, past, NOW + refusal_backoff.LONGEST_PAUSE) == {}


def test_what_is_written_of_an_earlier_refusal_can_be_read_back() -> None:
    now = NOW
    past = PastRefusals("row", 1, now, "driver_blocked", "409: (no)\nmore", "req_1")
    change = Change(Action.ATTACH, A, VANS, row="row")
    (outcome,) = refusal_backoff.postponed([change], {(change.action, change.driver, change.fleet): past}, now).values()
    assert isinstance(outcome, Deferred)
    assert refusal_backoff.earlier_refusal(outcome) == ("driver_blocked", refusal_backoff.due_time(past))
    assert refusal_backoff.earlier_refusal(Deferred(0, "stopped", "not sent")) is None


def test_what_several_refused_changes_share_leaves_out_what_is_of_one_only() -> None:
    past = {**refusals(CHANGE), **refusals(OTHER, count=3)}
    waiting = refusal_backoff.postponed([CHANGE, OTHER], past, NOW).values()
    assert {refusal_backoff.shared_message(each) for each in waiting if isinstance(each, Deferred)} == {
        "Charge refused this change with policy_blocked (409: not on Sundays); it is tried again later, or at once "
        "when its row changes"
    }
    assert refusal_backoff.shared_message(Deferred(0, "stopped", "not sent")) == "not sent"
