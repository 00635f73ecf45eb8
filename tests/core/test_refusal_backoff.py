"""When a refused change is tried again."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B
from worker.core.model.desired import Origin
from worker.core.model.outcomes import Already, Applied, ChangeResult, Deferred, Outcome, Refused, Unknown
from worker.core.model.plan import Action, Change
from worker.core.safety import refusal_backoff

ATTACH, DETACH = Action.ATTACH, Action.DETACH
CHANGE = Change(ATTACH, A, VANS, Origin("membership.yaml", 4, 9), row="abc")
REFUSED = Refused(1, "policy_blocked", "409: not on Sundays", "req_7")
MINUTE = datetime.timedelta(minutes=1)


def refused(*changes: Change) -> list[ChangeResult]:
    return [ChangeResult(change, REFUSED) for change in changes]


def after(minutes: float) -> datetime.datetime:
    return worlds.NOW + minutes * MINUTE


def test_the_pauses_double_from_a_minute_up_to_six_hours() -> None:
    patient, now, pauses = refusal_backoff.RefusalBackoff(), worlds.NOW, []
    for _ in range(40):
        patient.note(refused(CHANGE), now)
        due = patient.next_due(now)
        assert due is not None
        assert patient.postponed([CHANGE], due - datetime.timedelta(seconds=1)).keys() == {CHANGE}
        assert patient.postponed([CHANGE], due) == {}
        pauses.append((due - now) // MINUTE)
        now = due
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[360] * 31]


def test_what_is_postponed_says_what_charge_said_and_when_it_is_tried_again() -> None:
    patient = refusal_backoff.RefusalBackoff()
    patient.note(refused(CHANGE), worlds.NOW)
    assert patient.postponed([CHANGE], worlds.NOW) == {
        CHANGE: Deferred(
            0,
            "refused_before",
            "Charge refused this with policy_blocked (409: not on Sundays, req_7); it is tried again at "
            "2026-10-05T08:01:00.000Z, or at once when its row changes",
        )
    }
    patient.note([ChangeResult(CHANGE, Refused(1, "gone", "404"))], worlds.NOW)
    (told,) = patient.postponed([CHANGE], worlds.NOW).values()
    assert isinstance(told, Deferred)
    assert "with gone (404); it is tried again at 2026-10-05T08:02:00.000Z" in told.message


@pytest.mark.parametrize("outcome", [Applied(1), Already(1)])
def test_a_success_begins_anew(outcome: Outcome) -> None:
    patient = refusal_backoff.RefusalBackoff()
    for _ in range(5):
        patient.note(refused(CHANGE), worlds.NOW)
    patient.note([ChangeResult(CHANGE, outcome)], after(20))
    assert patient.next_due(worlds.NOW) is None
    patient.note(refused(CHANGE), after(30))
    assert patient.next_due(after(30)) == after(31)


@pytest.mark.parametrize(
    "outcome",
    [
        Deferred(0, "refused_before", ""),
        Deferred(2, "timeout", ""),
        Unknown(1, "timeout", ""),
    ],
)
def test_neither_the_postponement_itself_nor_bad_weather_counts(outcome: Outcome) -> None:
    patient = refusal_backoff.RefusalBackoff()
    patient.note(refused(CHANGE), worlds.NOW)
    patient.note([ChangeResult(CHANGE, outcome)], after(0.5))
    assert patient.next_due(worlds.NOW) == after(1)
    patient.note(refused(CHANGE), after(1))
    assert patient.next_due(after(1)) == after(3)


def test_an_edited_row_is_tried_at_once_and_a_moved_one_is_not() -> None:
    patient = refusal_backoff.RefusalBackoff()
    for _ in range(3):
        patient.note(refused(CHANGE), worlds.NOW)
    moved = Change(ATTACH, A, VANS, Origin("membership.yaml", 9, 9), row="abc")
    assert patient.postponed([moved], worlds.NOW).keys() == {moved}
    edited = Change(ATTACH, A, VANS, row="xyz")
    assert patient.postponed([edited], worlds.NOW) == {}
    patient.note(refused(edited), worlds.NOW)
    assert patient.next_due(worlds.NOW) == after(1)
    patient.note(refused(CHANGE), worlds.NOW)
    assert patient.next_due(worlds.NOW) == after(1)


def test_what_nobody_wants_any_more_wakes_nobody_and_is_forgotten_after_the_longest_pause() -> None:
    patient, others = refusal_backoff.RefusalBackoff(), [Change(DETACH, A, VANS), Change(ATTACH, B, VANS)]
    for _ in range(10):
        patient.note(refused(CHANGE), worlds.NOW)
    assert patient.postponed(others, after(1)) == {}
    assert patient.next_due(after(1)) is None
    assert patient.postponed(others, worlds.NOW + refusal_backoff.LONGEST_PAUSE + MINUTE) == {}
    again = worlds.NOW + refusal_backoff.LONGEST_PAUSE + 2 * MINUTE
    assert patient.postponed([CHANGE], again) == {}
    patient.note(refused(CHANGE), again)
    assert patient.next_due(again) == again + MINUTE


def test_a_reading_that_is_not_whole_begins_no_pause_anew() -> None:
    """It plans no detaches: a change that was refused five times keeps its long pause."""
    patient, detach = refusal_backoff.RefusalBackoff(), Change(DETACH, A, VANS)
    for _ in range(5):
        patient.note(refused(detach), worlds.NOW)
    assert patient.postponed([], after(1)) == {}
    assert patient.postponed([detach], after(15)).keys() == {detach}
    assert patient.next_due(after(15)) == after(16)
    assert patient.postponed([detach], after(16)) == {}
    patient.note(refused(detach), after(16))
    assert patient.next_due(after(16)) == after(16 + 32)


def test_what_becomes_due_while_a_run_postpones_it_is_tried_at_once_after_it() -> None:
    patient = refusal_backoff.RefusalBackoff()
    patient.note(refused(CHANGE), worlds.NOW)
    assert patient.postponed([CHANGE], after(0.9)).keys() == {CHANGE}
    assert patient.next_due(after(5)) == after(5)
    assert patient.postponed([CHANGE], after(5)) == {}
    assert patient.next_due(after(6)) is None


def test_what_was_due_already_wakes_nobody_again() -> None:
    """Otherwise a held change that was refused once would start one run after another."""
    patient, other = refusal_backoff.RefusalBackoff(), Change(ATTACH, B, DEPOT)
    patient.note(refused(CHANGE), worlds.NOW)
    patient.note(refused(other), after(3))
    assert patient.next_due(worlds.NOW) == after(1)
    assert patient.postponed([CHANGE, other], after(1)).keys() == {other}
    assert patient.next_due(after(1)) == after(4)
    assert patient.postponed([CHANGE, other], after(4)) == {}
    assert patient.next_due(after(4)) is None


@worlds.LAW
@given(worlds.worlds(), st.data())
def test_only_what_was_refused_waits_and_never_longer_than_six_hours(world: worlds.World, data: st.DataObject) -> None:
    changes = world.plan().changes
    patient = refusal_backoff.RefusalBackoff()
    counts = {change: data.draw(st.integers(0, 12)) for change in changes}
    for acquire in range(12):
        patient.note(refused(*(change for change in changes if counts[change] > acquire)), worlds.NOW)
    assert patient.postponed(changes, worlds.NOW).keys() == {change for change in changes if counts[change]}
    assert patient.postponed(changes, worlds.NOW + refusal_backoff.LONGEST_PAUSE) == {}
