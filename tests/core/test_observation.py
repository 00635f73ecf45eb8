"""What a reading shows about a change: that it no longer fits, that it is done, or nothing."""

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, GHOST, NORTH, VANS, A, B
from worker.core.model.outcomes import Already, Applied, ChangeResult, Deferred, Outcome, Refused, Stale, Unknown
from worker.core.model.plan import Action, Change
from worker.core.planning import observation

ATTACH, DETACH = Action.ATTACH, Action.DETACH
SEEN = worlds.seen({A: [VANS]}, incomplete=[NORTH], absent=[GHOST])
"""A is in VANS, B was not read, and NORTH is incomplete."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(ATTACH, A, DEPOT), None),
        (Change(DETACH, A, VANS), None),
        (Change(ATTACH, B, VANS), None),
        (Change(ATTACH, A, VANS), "the driver is already in the fleet; nothing was sent"),
        (Change(DETACH, A, DEPOT), "the driver is no longer in the fleet; nothing was sent"),
        (Change(DETACH, GHOST, VANS), "the driver no longer exists"),
        (Change(DETACH, B, VANS), "so the detach was not sent"),
    ],
)
def test_a_saved_change_is_made_only_where_it_fits(change: Change, said: str | None) -> None:
    found = observation.stale_reason(change, SEEN)
    if said is None:
        assert found is None
    else:
        assert isinstance(found, Stale | Deferred)
        assert said in found.message


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        (Change(ATTACH, A, DEPOT), False),
        (Change(DETACH, GHOST, VANS), False),
        (Change(ATTACH, B, VANS), True),
        (Change(DETACH, B, VANS), False),
        (Change(DETACH, B, NORTH), True),
        (Change(DETACH, B, worlds.fleet_id("Y")), True),
    ],
)
def test_who_is_not_seen_in_a_fleet_that_was_seen_whole_is_out_of_it(change: Change, unread: bool) -> None:
    assert observation.is_unobserved(change, SEEN) is unread


@pytest.mark.parametrize(
    ("change", "outcome", "name"),
    [
        (Change(ATTACH, A, VANS), Applied(1, "req_1"), "applied"),
        (Change(ATTACH, A, DEPOT), Applied(1, "req_1"), "unknown"),
        (Change(DETACH, A, VANS), Already(1, "req_1"), "unknown"),
        (Change(ATTACH, B, VANS), Applied(1, "req_1"), "applied"),
        (Change(ATTACH, A, DEPOT), Refused(1, "no", "no", "req_1"), "refused"),
    ],
)
def test_what_was_answered_as_done_is_doubted_only_where_a_reading_contradicts_it(
    change: Change, outcome: Outcome, name: str
) -> None:
    found = observation.check_against(ChangeResult(change, outcome), SEEN)
    assert found.outcome.name == name
    if name == "unknown":
        assert found.outcome == Unknown(
            1, "not_converging", "Charge accepted the change, but a later reading does not show it", "req_1"
        )
