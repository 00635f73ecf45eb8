"""When a write counts as done in vain."""

import pytest

from worker.core import values
from worker.journal import lookups

ATTACH: lookups.Write = (values.Action.ATTACH, values.DriverId("drv_a"), values.FleetId("flt_a"))
DETACH: lookups.Write = (values.Action.DETACH, values.DriverId("drv_a"), values.FleetId("flt_a"))
OTHER: lookups.Write = (values.Action.ATTACH, values.DriverId("drv_b"), values.FleetId("flt_a"))

Run = tuple[str | None, list[tuple[lookups.Write, str | None]]]


def run(result: str | None, *writes: tuple[lookups.Write, str | None]) -> Run:
    return result, list(writes)


@pytest.mark.parametrize(
    ("history", "counted"),
    [
        ([], {}),
        ([run("converged", (ATTACH, "applied"))], {ATTACH: 1}),
        ([run("converged", (ATTACH, "applied")), run("converged", (ATTACH, "already"))], {ATTACH: 2}),
        # a clean run that did not plan it saw it
        ([run("converged", (ATTACH, "applied")), run("in_sync")], {}),
        ([run("converged", (ATTACH, "applied")), run("converged", (OTHER, "applied"))], {OTHER: 1}),
        # a run that saw only a part, held something, failed or was cut off says nothing
        ([run("converged", (ATTACH, "applied")), run("partial", (OTHER, "refused"))], {ATTACH: 1}),
        ([run("converged", (ATTACH, "applied")), run("held", (OTHER, "applied"))], {ATTACH: 1, OTHER: 1}),
        ([run("converged", (ATTACH, "applied")), run(None, (OTHER, None))], {ATTACH: 1}),
        # what was not done counts for nothing, and ends nothing
        ([run("converged", (ATTACH, "applied")), run("partial", (ATTACH, "unknown"))], {ATTACH: 1}),
        ([run("partial", (ATTACH, "refused")), run("partial", (ATTACH, "deferred"))], {}),
        # the opposite begins anew
        ([run("converged", (ATTACH, "applied")), run("partial", (DETACH, "applied"))], {DETACH: 1}),
        ([run("partial", (ATTACH, "applied"), (DETACH, "applied"), (ATTACH, "applied"))], {ATTACH: 1}),
    ],
)
def test_a_write_counts_until_it_was_seen_or_undone(history: list[Run], counted: dict[lookups.Write, int]) -> None:
    assert lookups.unseen(history) == counted
