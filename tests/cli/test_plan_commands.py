"""The ages that commands take and print."""

import datetime

import click
import pytest

from worker.cli import plan_commands


@pytest.mark.parametrize(
    ("text", "minutes", "written"),
    [
        ("90m", 90, "90m"),
        ("0m", 0, "0d"),
        ("60m", 60, "1h"),
        ("24h", 1440, "1d"),
        ("36h", 2160, "36h"),
        ("3d", 4320, "3d"),
        ("999999d", 1_439_998_560, "999999d"),
    ],
)
def test_an_age_is_a_number_of_minutes_hours_or_days_and_written_in_the_largest_that_fits(
    text: str, minutes: int, written: str
) -> None:
    age = plan_commands.Age().convert(text, None, None)
    assert age == datetime.timedelta(minutes=minutes)
    assert plan_commands._written(age) == written
    assert plan_commands.Age().convert(written, None, None) == age


@pytest.mark.parametrize("text", ["", "24", "h", "1w", "-1h", "1.5h", "1h30m", "24h\n", "1000000d"])
def test_what_is_no_age_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write a number and m, h or d, as in 24h"):
        plan_commands.Age().convert(text, None, None)
