"""Dates of rows: in every format that a mapping may name, and none that cannot be meant."""

import datetime
import zoneinfo
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from worker.sources import document_reader, membership_document, row_mapping


@hypothesis.given(
    strategies.lists(strategies.text("01239", min_size=1, max_size=4), min_size=3, max_size=3),
    strategies.sampled_from(["%d.%m.%Y", "%Y-%m-%d", "%m/%d/%Y", "%d %m %Y", "%d.%m.%y", "%d%%%m.%Y", "%d. %B %Y"]),
)
def test_dates_are_those_that_the_standard_library_reads(numbers: list[str], date_format: str) -> None:
    text = date_format
    for directive, number in zip(("%d", "%m", "%Y"), numbers, strict=True):
        text = text.replace(directive, number)
    try:
        expected = datetime.datetime.strptime(text, date_format)  # noqa: DTZ007 - a date has no zone of its own
    except ValueError:
        with pytest.raises(ValueError, match="is not a date"):
            row_mapping.parse_day(text, date_format)
    else:
        assert row_mapping.parse_day(text, date_format) == expected


@pytest.mark.parametrize(
    ("date_format", "written", "cut"),
    [("%d%m%Y", "01122026", "1122026"), ("%Y%m%d", "20261101", "2026111"), ("%d%m%y", "011226", "11226")],
)
def test_digits_without_anything_between_them_are_not_guessed_to_be_day_and_month(
    date_format: str, written: str, cut: str
) -> None:
    """A spreadsheet takes 01122026 for a number and drops its 0: 1122026 is no 11 February."""
    assert row_mapping.parse_date(written, date_format, None).strftime(date_format) == written
    with pytest.raises(ValueError, match="is not a date"):
        row_mapping.parse_date(cut, date_format, None)
    assert row_mapping.parse_date("1Dec2026", "%d%b%Y", None) == datetime.datetime(2026, 12, 1)  # noqa: DTZ001


@pytest.mark.parametrize("date_format", ["%d.%m.%y", "%x"])
def test_a_year_of_two_digits_is_not_guessed_to_be_long_ago(date_format: str) -> None:
    """The standard library takes 31.12.99, which often means that there is no end, for 1999."""
    end = datetime.datetime(2099, 12, 31).strftime(date_format)  # noqa: DTZ001
    with pytest.raises(ValueError, match="may be in 1999 or 2099: write four digits"):
        row_mapping.parse_date(end, date_format, None)
    near = datetime.datetime(2031, 12, 31)  # noqa: DTZ001
    assert row_mapping.parse_date(near.strftime(date_format), date_format, None) == near
    assert row_mapping.parse_date("31.12.1999", "%d.%m.%Y", None).year == 1999


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        ("%d.%m.%Y", "31.12.0026"),
        ("%Y%m%d", "00261231"),
        ("%d.%B %Y", "31.December 0026"),
        ("%d.%m.%Y", "01.01.0001"),
        ("%d.%m.%Y", "31.12.1949"),
        ("", "0026-12-31"),
        ("", "0001-01-01"),
        ("", "0001-01-01T00:00:00Z"),
        ("", "1900-01-01"),
        ("", "1949-12-31T23:59+00:00"),
    ],
)
@pytest.mark.parametrize("name", ["starts", "ends"])
def test_a_date_long_ago_is_an_error_in_every_column_and_format(name: str, date_format: str, text: str) -> None:
    """0001-01-01 and 1900-01-01 are the "no end" of other programs, and 0026 is a typing error."""
    column: dict[str, Any] = {name: "{Date}"}
    rows = row_mapping.RowMapping("{Driver}", "{Fleet}", date_format=date_format, **column)
    written = f"Driver,Fleet,Date\nx@y,Vans,{text}\n".encode()
    (found,) = document_reader.read("hr.csv", ".csv", written, document_reader.DocumentOptions(rows=rows)).problems
    assert found.message == (f'"{text}" is before 1950: correct the year, or leave the date out if there is none')


@pytest.mark.parametrize("zone", [None, datetime.UTC, zoneinfo.ZoneInfo("Asia/Tokyo")])
def test_dates_from_1950_on_are_read(zone: datetime.tzinfo | None) -> None:
    """East of Greenwich, the first of them begins in 1949 in UTC."""
    for parsed in (
        row_mapping.parse_date("01.01.1950", "%d.%m.%Y", zone),
        membership_document.moment("1950-01-01", zone),
    ):
        assert parsed.astimezone(zone).replace(tzinfo=None) == datetime.datetime(1950, 1, 1)  # noqa: DTZ001


def test_an_escaped_percent_sign_stands_for_one() -> None:
    assert row_mapping.parse_date("24%12%2026", "%d%%%m%%%Y", None) == datetime.datetime(2026, 12, 24)  # noqa: DTZ001
    with pytest.raises(ValueError, match="is not a date"):
        row_mapping.parse_date("24%%12%%2026", "%d%%%m%%%Y", None)


def test_usual_dates_are_not_left_to_the_standard_library_which_is_slow() -> None:
    assert row_mapping._parse_usual("24.12.2026", "%d.%m.%Y") == datetime.datetime(2026, 12, 24)  # noqa: DTZ001
