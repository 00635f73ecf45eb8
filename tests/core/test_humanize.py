"""Numbers and times in words."""

import datetime

import pytest

from tests.core.snapshots import MINUTE, NOW
from worker.core.monitoring import humanize


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (47.9 * 3600, "47 h"),
        (48 * 3600, "2 days"),
    ],
)
def test_a_length_of_time_has_one_unit(seconds: float, said: str) -> None:
    assert humanize.duration(datetime.timedelta(seconds=seconds)) == said


def test_moments_are_told_from_now() -> None:
    assert humanize.ago(NOW, NOW + datetime.timedelta(seconds=4)) == "just now"
    assert humanize.ago(NOW, NOW - datetime.timedelta(seconds=4)) == "just now"
    assert humanize.ago(NOW, NOW + datetime.timedelta(seconds=5)) == "5 s ago"
    assert humanize.ago(NOW, NOW + datetime.timedelta(seconds=40)) == "40 s ago"
    assert humanize.ago(NOW + datetime.timedelta(days=9), NOW) == "in 9 days"
    assert humanize.time_until(NOW + MINUTE, NOW) == "in 1 min"
    assert humanize.time_until(NOW, NOW) == "any moment"
    assert humanize.time_of_day(NOW - datetime.timedelta(days=1), NOW) == "2026-10-04 08:00"
    paris = datetime.timezone(datetime.timedelta(hours=2))
    assert humanize.time_of_day(NOW.astimezone(paris), NOW) == "08:00"


def test_a_number_goes_with_its_noun() -> None:
    assert [humanize.count(number, "fleet") for number in (0, 1, 2, 1234)] == [
        "0 fleets",
        "1 fleet",
        "2 fleets",
        "1,234 fleets",
    ]
    assert [humanize.count(number, "detach", "detaches") for number in (1, 2)] == ["1 detach", "2 detaches"]
