"""Which detaches are deferred because an attach is not made."""

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B
from worker.core.model.outcomes import Deferred, Outcome
from worker.core.model.plan import Action, Change
from worker.core.safety import attach_first

ATTACH, DETACH = Action.ATTACH, Action.DETACH


@worlds.LAW
@given(worlds.worlds(), st.data())
def test_who_waits_for_an_attach_keeps_every_fleet_and_nobody_else_waits(
    world: worlds.World, data: st.DataObject
) -> None:
    changes = world.plan().changes
    attaches = frozenset(change for change in changes if change.action is ATTACH)
    chosen = data.draw(st.frozensets(st.sampled_from(changes)) | st.just(attaches)) if changes else attaches
    postponed: dict[Change, Outcome] = {change: Deferred(0, "refused_before", "later") for change in chosen}
    left = attach_first.skipped_changes(changes, postponed)
    stuck = {change.driver for change in chosen if change.action is ATTACH}
    assert left.keys() == {
        change for change in changes if change in chosen or (change.action is DETACH and change.driver in stuck)
    }
    for change, outcome in left.items():
        assert isinstance(outcome, Deferred)
        assert (outcome.attempts, outcome.code) == (0, "refused_before" if change in chosen else "attach_first")
    assert attach_first.skipped_changes(changes, {}) == {}


def test_somebody_who_cannot_move_yet_stays_where_he_is() -> None:
    attach, detach = Change(ATTACH, A, VANS), Change(DETACH, A, DEPOT)
    others = [Change(ATTACH, A, NORTH), Change(DETACH, B, DEPOT)]
    later = Deferred(0, "refused_before", "later")
    assert attach_first.skipped_changes([attach, detach, *others], {attach: later}) == {
        attach: later,
        detach: attach_first.deferred_detach(VANS),
    }
    assert attach_first.skipped_changes([attach, detach, *others], {detach: later}) == {detach: later}
