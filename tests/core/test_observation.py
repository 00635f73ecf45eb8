"""What a reading shows about a change: that it no longer fits, that it is done, or nothing."""

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, GHOST, NORTH, VANS, A, B
from worker.core.model.outcomes import Deferred, Stale
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
