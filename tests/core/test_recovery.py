"""Intents that an earlier run left open are closed by a reading, and by nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, NOW, VANS, A, B
from worker.core.model.actual import Actual
from worker.core.model.identifiers import FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, Deferred, Outcome, Refused
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent, OpenIntent
from worker.core.planning import observation

ATTACH, DETACH = Action.ATTACH, Action.DETACH
RUN = RunId("run_1")


def left_open(*changes: Change) -> list[OpenIntent]:
    """Return open intents of these changes, with the keys `key-0`, `key-1` and so on."""
    return [OpenIntent(Intent(IntentKey(f"key-{number}"), change), RUN, NOW) for number, change in enumerate(changes)]


def closed(change: Change, actual: Actual) -> Outcome | None:
    """Return the outcome that closes one open change, or None if it stays open."""
    settled = dict(observation.settle_intents(left_open(change), actual))
    return settled.get(IntentKey("key-0"))


@pytest.mark.parametrize(
    ("action", "fleets", "name", "attempts"),
    [
        (ATTACH, [VANS, NORTH], "applied", 1),
        (ATTACH, [NORTH], "deferred", 0),
        (DETACH, [NORTH], "applied", 1),
        (DETACH, [VANS, NORTH], "deferred", 0),
        (DETACH, [], "applied", 1),
    ],
)
def test_a_driver_who_was_seen_tells_what_became_of_the_write(
    action: Action, fleets: list[FleetId], name: str, attempts: int
) -> None:
    found = closed(Change(action, A, VANS), worlds.seen({A: fleets}))
    assert isinstance(found, Applied | Deferred)
    assert (found.name, found.attempts) == (name, attempts)
    assert "after the run was cut off" in found.message


def test_a_driver_who_no_longer_exists_closes_the_intent_too() -> None:
    actual = Actual(fleets={}, memberships={}, absent=frozenset({A}))
    for action in Action:
        found = closed(Change(action, A, VANS), actual)
        assert isinstance(found, Refused)
        assert (found.code, found.attempts) == ("driver_not_found", 0)


def test_who_was_not_read_stays_open_and_is_to_be_retrieved() -> None:
    """Unknown is not absent."""
    intents = left_open(Change(ATTACH, A, VANS), Change(DETACH, B, VANS))
    actual = Actual(fleets={}, memberships={A: frozenset({VANS})}, incomplete={VANS: "cut short"})
    assert [key for key, _ in observation.settle_intents(intents, actual)] == ["key-0"]
    assert observation.unread_drivers(intents, actual) == {B}
    assert (
        observation.unread_drivers(intents, Actual(fleets={}, memberships={}, absent=frozenset({A, B}))) == frozenset()
    )
    assert observation.unread_drivers([], actual) == frozenset()


def test_every_intent_of_a_driver_is_closed_for_itself() -> None:
    """A move that was cut off between the attach and the detach."""
    intents = left_open(Change(ATTACH, A, DEPOT), Change(DETACH, A, VANS))
    names = {key: outcome.name for key, outcome in observation.settle_intents(intents, worlds.seen({A: [VANS, DEPOT]}))}
    assert names == {"key-0": "applied", "key-1": "deferred"}


@worlds.LAW
@given(
    st.lists(st.builds(Change, st.sampled_from(Action), *map(st.sampled_from, (worlds.DRIVERS, worlds.FLEETS)))),
    worlds.worlds(),
)
def test_each_intent_is_closed_once_or_its_driver_is_still_to_be_read(
    changes: list[Change], world: worlds.World
) -> None:
    intents = left_open(*changes)
    settled = [key for key, _ in observation.settle_intents(intents, world.actual)]
    assert len(settled) == len(set(settled))
    unread = observation.unread_drivers(intents, world.actual)
    assert {each.intent.key for each in intents if each.intent.change.driver not in unread} == set(settled)
