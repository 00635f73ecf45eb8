"""When a plan says that something else is due although no source changes."""

import dataclasses
import datetime

import pytest

from tests.core.worlds import NOW, VANS, A
from worker.core.model.desired import Desired, DriverById, FleetById, Origin, Row
from worker.core.model.pauses import Pause
from worker.core.model.plan import Plan
from worker.core.planning import grace_period
from worker.core.safety import clock_trust
from worker.engine import plan_builder

TRUSTED = clock_trust.Assessment("", NOW, NOW, NOW)
HOUR = datetime.timedelta(hours=1)
EMPTY = grace_period.GracePeriodResult(Plan((), (), {}, in_sync=0, drivers=0))


@pytest.mark.parametrize(
    ("row_ends", "grace_ends", "pause_ends", "due"),
    [
        (None, None, None, None),
        (3, None, None, 3),
        (3, 2, None, 2),
        (3, 2, 1, 1),
        (2, 3, 4, 2),
        (-1, None, 4, 4),
        (None, -1, None, None),
    ],
)
def test_the_next_boundary_is_that_of_a_row_a_grace_period_or_a_pause(
    row_ends: int | None, grace_ends: int | None, pause_ends: int | None, due: int | None
) -> None:
    ends, grace, pause, expected = (
        None if hours is None else NOW + hours * HOUR for hours in (row_ends, grace_ends, pause_ends, due)
    )
    row = Row(FleetById(VANS), DriverById(A), Origin("a", 1, 1), ends=ends)
    desired = Desired(sources=(), fleets=(), rows=(row,))
    waiting = dataclasses.replace(EMPTY, next_end=grace)
    in_force = [Pause(NOW), Pause(NOW, until=pause)]
    assert plan_builder._next_boundary(desired, waiting, in_force, TRUSTED) == expected
    wrong = dataclasses.replace(TRUSTED, reason="behind")
    assert plan_builder._next_boundary(desired, waiting, in_force, wrong) is None
