"""When a write counts as done in vain."""

import pytest

from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.plan import Action
from worker.journal import lookups

ATTACH: lookups.Write = (Action.ATTACH, DriverId("drv_a"), FleetId("flt_a"))
DETACH: lookups.Write = (Action.DETACH, DriverId("drv_a"), FleetId("flt_a"))
OTHER: lookups.Write = (Action.ATTACH, DriverId("drv_b"), FleetId("flt_a"))

Past = tuple[lookups.Write, str | None, str | None]
UNSEEN = ("unknown", lookups.UNSEEN)
DONE = ("applied", None)


@pytest.mark.parametrize(
    ("history", "counted"),
    [
        ([], {}),
        ([(ATTACH, *UNSEEN)], {ATTACH: 1}),
        ([(ATTACH, *UNSEEN), (OTHER, *UNSEEN), (ATTACH, *UNSEEN)], {ATTACH: 2, OTHER: 1}),
        # seen at last
        ([(ATTACH, *UNSEEN), (ATTACH, *DONE)], {}),
        ([(ATTACH, *UNSEEN), (ATTACH, "already", None), (ATTACH, *UNSEEN)], {ATTACH: 1}),
        # what was not answered as done counts for nothing, and ends nothing
        ([(ATTACH, *UNSEEN), (ATTACH, "unknown", "charge_fault"), (ATTACH, "refused", "gone")], {ATTACH: 1}),
        # another write of the same membership is another matter
        ([(ATTACH, *UNSEEN), (DETACH, *DONE)], {ATTACH: 1}),
    ],
)
def test_a_write_counts_until_it_was_seen(history: list[Past], counted: dict[lookups.Write, int]) -> None:
    assert lookups.unseen(history) == counted
