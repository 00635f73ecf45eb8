"""`Retry-After` as a date: every zone that a server may write is understood, above all the one that means UTC."""

import pytest

from tests.support import clocks
from worker.charge import codec
from worker.core.model.errors import RateLimited

NOON = "Tue, 01 Dec 2026 12:00:00"
HALF_A_MINUTE_LATER = "Tue, 01 Dec 2026 12:00:30"
ZONES = ["GMT", "+0000", "-0000"]
"""Zone -0000 is UTC too, but Python reads such a date as one without a zone."""


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("own_zone", [*ZONES, None])
def test_a_429_whose_date_has_this_zone_says_how_long_to_wait(zone: str, own_zone: str | None) -> None:
    headers = {"retry-after": f"{HALF_A_MINUTE_LATER} {zone}"}
    if own_zone is not None:
        headers["date"] = f"{NOON} {own_zone}"
    error = codec.failure(429, headers, b"", now=clocks.NOON)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 30.0
