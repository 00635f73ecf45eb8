"""What a reading decides about the open intents of earlier runs."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, NOW, VANS, A, B
from worker.core.model.actual import Actual
from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.outcomes import NOT_CONVERGING, Already, Applied, Deferred, Outcome, Refused, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent, OpenIntent
from worker.core.planning import observation

ATTACH, DETACH = Action.ATTACH, Action.DETACH
RUN = RunId("run_1")
LATE = datetime.timedelta(seconds=120)


def left_open(*changes: Change, **details: object) -> list[OpenIntent]:
    """Return open intents of these changes, under the keys `key-0`, `key-1` and so on."""
    intents = [
        OpenIntent(Intent(IntentKey(f"key-{number}"), change), RUN, NOW) for number, change in enumerate(changes)
    ]
    return [dataclasses.replace(each, **details) for each in intents]  # type: ignore[arg-type]


def settled(intents: list[OpenIntent], actual: Actual, *, after: datetime.timedelta = LATE) -> dict[str, Outcome]:
    """Return the outcomes that a reading decides at some time after the intents were recorded."""
    return dict(observation.settle_intents(intents, actual, now=NOW + after, late_effects=LATE))


@pytest.mark.parametrize(
    ("action", "fleets", "name", "attempts"),
    [
        (ATTACH, [VANS, NORTH], "applied", 1),
        (ATTACH, [NORTH], "unknown", 1),
        (DETACH, [NORTH], "applied", 1),
        (DETACH, [VANS, NORTH], "unknown", 1),
        (DETACH, [], "applied", 1),
    ],
)
def test_a_reading_shows_a_write_as_done_or_leaves_it_unknown_because_it_may_still_arrive(
    action: Action, fleets: list[FleetId], name: str, attempts: int
) -> None:
    """Story: a detach in flight at the kill landed 12 s later; the journal said "not made"."""
    found = settled(left_open(Change(action, A, VANS)), worlds.seen({A: fleets}))[IntentKey("key-0")]
    assert isinstance(found, Applied | Unknown)
    assert (found.name, found.attempts) == (name, attempts)
    assert not isinstance(found, Unknown) or found.code == "cut_off"


@pytest.mark.parametrize(("code", "outcome"), [("timeout", "deferred"), (NOT_CONVERGING, "refused")])
def test_an_unclear_write_is_closed_as_not_made_once_it_can_no_longer_take_effect(code: str, outcome: str) -> None:
    intents = left_open(Change(ATTACH, A, VANS), attempts=2, last_attempt=NOW, code=code)
    actual = worlds.seen({A: [NORTH]})
    assert settled(intents, actual, after=LATE) == {}
    (found,) = settled(intents, actual, after=LATE + datetime.timedelta(seconds=1)).values()
    assert isinstance(found, Deferred | Refused)
    assert (found.name, found.attempts) == (outcome, 2)


def test_an_unclear_write_that_a_later_reading_shows_is_applied() -> None:
    """Story: a read lagged behind a write: eight real changes stayed `unknown` forever."""
    intents = left_open(Change(ATTACH, A, VANS), attempts=2, last_attempt=NOW, code=NOT_CONVERGING)
    (found,) = settled(intents, worlds.seen({A: [VANS]})).values()
    assert found == Applied(2, message="found done by a later reading")


def test_a_driver_that_no_longer_exists_closes_the_intent_too() -> None:
    actual = Actual(fleets={}, memberships={}, absent=frozenset({A}))
    (attach,) = settled(left_open(Change(ATTACH, A, VANS)), actual).values()
    assert isinstance(attach, Refused) and attach.code == "driver_not_found"
    (detach,) = settled(left_open(Change(DETACH, A, VANS)), actual).values()
    assert isinstance(detach, Already)


def test_an_intent_whose_driver_was_not_read_stays_open_and_the_driver_is_retrieved() -> None:
    """Unknown is not absent."""
    intents = left_open(Change(ATTACH, A, VANS), Change(DETACH, B, VANS))
    actual = Actual(fleets={}, memberships={A: frozenset({VANS})}, incomplete={VANS: "cut short"})
    assert list(settled(intents, actual)) == ["key-0"]
    assert observation.unread_drivers(intents, actual) == {B}
    absent = Actual(fleets={}, memberships={}, absent=frozenset({A, B}))
    assert observation.unread_drivers(intents, absent) == frozenset()
    assert observation.unread_drivers([], actual) == frozenset()


def test_every_intent_of_a_driver_is_decided_for_itself() -> None:
    """A move that was cut off between the attach and the detach."""
    intents = left_open(Change(ATTACH, A, DEPOT), Change(DETACH, A, VANS))
    names = {key: outcome.name for key, outcome in settled(intents, worlds.seen({A: [VANS, DEPOT]})).items()}
    assert names == {"key-0": "applied", "key-1": "unknown"}


@worlds.LAW
@given(
    st.lists(st.builds(Change, st.sampled_from(Action), *map(st.sampled_from, (worlds.DRIVERS, worlds.FLEETS)))),
    worlds.worlds(),
)
def test_each_intent_is_decided_once_or_its_driver_is_still_to_be_read(
    changes: list[Change], world: worlds.World
) -> None:
    intents = left_open(*changes)
    keys = [key for key, _ in observation.settle_intents(intents, world.actual, now=NOW, late_effects=LATE)]
    assert len(keys) == len(set(keys))
    unread = observation.unread_drivers(intents, world.actual)
    assert {each.intent.key for each in intents if each.intent.change.driver not in unread} == set(keys)


@pytest.mark.parametrize(
    ("seconds", "late_effects", "code", "found"),
    [
        (-1, LATE, "timeout", "timeout"),
        (-1, LATE, "", "cut_off"),
        (0, LATE, "timeout", None),
        (-1, datetime.timedelta.max, "timeout", None),
    ],
)
def test_a_write_that_a_clock_recorded_in_the_future_is_unknown_unless_the_clock_is_still_wrong(
    seconds: int, late_effects: datetime.timedelta, code: str, found: str | None
) -> None:
    intents = left_open(Change(ATTACH, A, VANS), attempts=2, last_attempt=NOW, code=code)
    now, actual = NOW + datetime.timedelta(seconds=seconds), worlds.seen({A: [NORTH]})
    outcomes = [each for _, each in observation.settle_intents(intents, actual, now=now, late_effects=late_effects)]
    assert [each.code for each in outcomes if isinstance(each, Unknown)] == ([found] if found else [])
    assert all(isinstance(each, Unknown) and each.attempts == 2 for each in outcomes)


def test_what_was_sent_at_least_once_counts_as_one_attempt() -> None:
    """A run that was cut off recorded none."""
    absent = Actual(fleets={}, memberships={}, absent=frozenset({A, B}))
    outcomes = settled(left_open(Change(ATTACH, A, VANS), Change(DETACH, B, VANS)), absent).values()
    assert [each.attempts for each in outcomes if isinstance(each, Already | Refused)] == [1, 1]
