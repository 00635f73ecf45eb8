"""When a change that another client keeps reverting is frozen."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B
from worker.core.model.plan import Action, Change
from worker.core.model.ports import OwnWrite
from worker.core.safety import flap_detection

ATTACH, DETACH = Action.ATTACH, Action.DETACH
HERE = (A, VANS)
CHANGE = Change(ATTACH, A, VANS, row="abc")


def wrote(minute: float, action: Action = ATTACH, row: str = "abc") -> OwnWrite:
    """Return a write of ours, in a run that began a minute before it."""
    made = worlds.NOW + datetime.timedelta(minutes=minute)
    return OwnWrite(action, row, made, made - datetime.timedelta(minutes=1))


THRICE = (wrote(20), wrote(10), wrote(0))


def test_the_third_reversal_freezes_the_membership_and_both_sides_are_reported() -> None:
    (reason,) = flap_detection.find_frozen([CHANGE], {HERE: THRICE}).values()
    assert reason == (
        "we made this change at 2026-10-05T08:00:00.000Z, 2026-10-05T08:10:00.000Z and 2026-10-05T08:20:00.000Z, and "
        "each time another client reverted it (seen at 2026-10-05T08:09:00.000Z, 2026-10-05T08:19:00.000Z and since "
        "the last); it is not made again until its row is edited or this plan is approved"
    )


@pytest.mark.parametrize(
    "writes",
    [
        (),
        (wrote(20), wrote(10)),
        (wrote(20), wrote(10), wrote(0, row="other")),
        (wrote(20, row="edited"), wrote(10), wrote(0)),
        (wrote(20), wrote(10, DETACH), wrote(0)),
        (wrote(30, DETACH), *THRICE),
        (wrote(24 * 60 + 0.1), wrote(10), wrote(0)),
    ],
    ids=["never", "twice", "then another row", "now another row", "we undid it", "we undid it last", "rarely"],
)
def test_what_is_not_made_three_times_within_a_day_for_one_row_is_repaired(writes: tuple[OwnWrite, ...]) -> None:
    assert flap_detection.find_frozen([CHANGE], {HERE: writes}) == {}


def test_a_day_exactly_is_within_a_day_and_earlier_writes_do_not_count() -> None:
    assert CHANGE in flap_detection.find_frozen([CHANGE], {HERE: (wrote(24 * 60), wrote(10), wrote(0))})
    assert CHANGE in flap_detection.find_frozen([CHANGE], {HERE: (*THRICE, wrote(-1, DETACH), wrote(-9, row="old"))})


def test_another_row_or_the_opposite_change_is_free() -> None:
    edited = Change(ATTACH, A, VANS, row="edited")
    opposite = Change(DETACH, A, VANS)
    assert flap_detection.find_frozen([edited], {HERE: THRICE}) == {}
    assert flap_detection.find_frozen([opposite], {HERE: THRICE}) == {}


def test_a_detach_that_somebody_reverses_is_frozen_by_itself() -> None:
    """No row asks for a detach, so its fingerprint is always the same."""
    detach, other = Change(DETACH, A, VANS), Change(ATTACH, A, DEPOT)
    writes = tuple(wrote(minute, DETACH, "") for minute in (20, 10, 0))
    assert set(flap_detection.find_frozen([detach, other], {HERE: writes})) == {detach}


def test_where_an_attach_is_frozen_its_driver_keeps_every_fleet() -> None:
    detach, elsewhere = Change(DETACH, A, DEPOT), Change(ATTACH, A, NORTH)
    another = Change(DETACH, B, DEPOT)
    frozen = flap_detection.find_frozen([CHANGE, detach, elsewhere, another], {HERE: THRICE})
    assert set(frozen) == {CHANGE, detach}
    assert f"attach of this driver to {VANS} is frozen" in frozen[detach]


_WRITES = st.lists(
    st.builds(wrote, st.integers(0, 3000), st.sampled_from(Action), st.sampled_from(["", "abc"])), max_size=5
)


@worlds.LAW
@given(worlds.worlds(), st.data())
def test_no_driver_with_a_frozen_attach_loses_a_fleet(world: worlds.World, data: st.DataObject) -> None:
    """Every frozen change is planned and was made three times for the row that asks for it now."""
    changes = world.plan().changes
    writes = {}
    for change in changes:
        drawn = data.draw(_WRITES | st.just([wrote(n, change.action, change.row) for n in range(3)]))
        newest_first = sorted(drawn, key=lambda write: write.made, reverse=True)
        writes[change.driver, change.fleet] = newest_first
    frozen = flap_detection.find_frozen(changes, writes)
    assert set(frozen) <= set(changes)
    stopped = {change.driver for change in frozen if change.action is ATTACH}
    assert not {change for change in changes if change.action is DETACH and change.driver in stopped} - set(frozen)
    for change in frozen:
        newest = writes[change.driver, change.fleet][: flap_detection.REVERSALS]
        same = [write for write in newest if (write.action, write.row) == (change.action, change.row)]
        assert len(same) == flap_detection.REVERSALS or (change.action is DETACH and change.driver in stopped)
