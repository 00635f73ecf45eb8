"""Laws of notifications, over any history of states."""

import dataclasses
import datetime

from hypothesis import given
from hypothesis import strategies as some

from tests.core.notifiable import ANN, BOB, CARS, NOON, VANS, after, held, kinds, mark_failed
from worker.core.model.errors import ReadingError, Stopped, Unreachable
from worker.core.model.outcomes import Applied, ChangeResult, Deferred, Refused, Unknown
from worker.core.model.plan import Action, Change
from worker.core.monitoring import notifications, status

changes = some.builds(Change, some.sampled_from(Action), some.sampled_from([ANN, BOB]), some.sampled_from([VANS, CARS]))
results = some.builds(
    ChangeResult,
    changes,
    some.sampled_from(
        [
            Applied(1),
            Refused(1, "policy_blocked", "no"),
            Deferred(0, "refused_before", "later"),
            Unknown(1, "timeout", "no answer"),
        ]
    ),
)
plans = some.builds(
    lambda changes: held(*changes),
    some.lists(changes, max_size=2),
)
failures = some.sampled_from(
    [None, Stopped("ended", exit_code=143), ReadingError("too many"), Unreachable("no answer")]
)
states = some.builds(
    lambda results, guarded, error, parts: after(
        *results,
        guarded=guarded,
        error=error,
        planned=guarded is not None,
        broken=tuple(mark_failed(part) for part in parts),
    ),
    some.lists(results, max_size=3),
    plans | some.none(),
    failures,
    some.sets(some.sampled_from(status.Part)),
)


@given(some.lists(states), states)
def test_the_same_state_is_never_reported_twice(history: list[status.Status], present: status.Status) -> None:
    assert kinds(*history, present, present)[-1] == []
    later = dataclasses.replace(present, now=NOON + datetime.timedelta(hours=1))
    assert kinds(*history, present, later)[-1] == []


@given(some.lists(states))
def test_beginnings_and_ends_take_turns(history: list[status.Status]) -> None:
    """A recovery is sent only for a state that was notified, and a state is sent again only after a recovery."""
    told, open_parts = notifications.NotificationState(), set[str]()
    for present in history:
        notices, told = notifications.diff(present, told)
        for each in notices:
            named = {item["part"] for item in each.body["items"] if "part" in item}
            match each.kind:
                case notifications.Kind.BROKEN:
                    assert named and not named & open_parts
                    open_parts |= named
                case notifications.Kind.HELD | notifications.Kind.REFUSED:
                    open_parts.add(each.kind.value)
                case notifications.Kind.RECOVERED:
                    assert named and named <= open_parts
                    open_parts -= named
        assert open_parts == told.broken | ({"held"} if told.held else set()) | ({"refused"} if told.refused else set())


@given(some.lists(states), states)
def test_a_restart_reports_at_most_the_present_state(history: list[status.Status], present: status.Status) -> None:
    fresh, _ = notifications.diff(present, notifications.NotificationState())
    assert notifications.Kind.RECOVERED not in {each.kind for each in fresh}
    assert len({each.kind for each in fresh}) == len(fresh)
