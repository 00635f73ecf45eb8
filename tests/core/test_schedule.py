"""When the desired state changes by itself, because a row begins or ends or a grace period ends."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from worker.core.model.desired import DriverById, FleetById, Origin, Row
from worker.core.planning import grace_period

MOMENTS = st.integers(-50, 50).map(lambda minutes: worlds.NOW + datetime.timedelta(minutes=minutes))
ROWS = st.lists(
    st.builds(
        Row,
        st.just(FleetById(worlds.VANS)),
        st.sampled_from([DriverById(driver) for driver in worlds.DRIVERS]),
        st.just(Origin("membership.yaml", 1, 1)),
        st.none() | MOMENTS,
        st.none() | MOMENTS,
    ),
    max_size=6,
)


@worlds.LAW
@given(ROWS, st.none() | MOMENTS)
def test_until_the_next_boundary_nothing_changes_and_there_something_does(
    rows: list[Row], ends: datetime.datetime | None
) -> None:
    boundary = grace_period.next_boundary(rows, grace_ends=ends, now=worlds.NOW)
    moments = [moment for row in rows for moment in (row.starts, row.ends) if moment] + ([ends] if ends else [])
    later = [moment for moment in moments if moment > worlds.NOW]
    assert boundary == (min(later) if later else None)
    before = boundary - datetime.timedelta(seconds=1) if boundary else worlds.NOW + datetime.timedelta(days=9)
    assert [row.active(before) for row in rows] == [row.active(worlds.NOW) for row in rows]
