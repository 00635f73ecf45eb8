"""Describes how the rows of a table become memberships: templates, filters, and the declared scope.

Invariant: a mapping is valid: the settings refuse templates and date formats that `check_…` refuses.
Neighbours: `table_reader` applies a mapping, `settings.source_sections` has its keys, `years` checks dates.
"""

import dataclasses
import datetime
import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

from worker.core.planning import days
from worker.sources import positions, years

OtherFleets = Literal["error", "ignore", "by_name"]

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_TIME_DIRECTIVE = re.compile(r"%[-#]?[HIMSpfzZcXsTRr]")
_UNSEPARATED = re.compile(r"%[djmyY]%[djmyY]")
_SAMPLE = datetime.datetime(2026, 12, 31, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class RowMapping:
    """How rows are read. `driver`, `fleet`, `starts`, `ends` and `note` are texts with `{columns}`.

    `keep` and `drop` list values of columns. A column with only one of them treats every other value as the opposite,
    unless it only looks like a listed one, which is an error; with both, any other value is an error.
    `fleets` is the declared scope: what rows call a fleet, and the fleet's reference. Its fleets are managed even if no
    row names them. `other_fleets` says what happens to rows whose fleet is not in the scope. Without a scope, every row
    refers to its fleet by id or name.
    """

    driver: str
    fleet: str
    starts: str = ""
    ends: str = ""
    note: str = ""
    date_format: str = ""
    keep: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    drop: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    other_fleets: OtherFleets = "error"
    fleets: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def reference_columns(self) -> list[str]:
        """Return the names of the columns that refer to drivers and fleets, sorted."""
        return sorted({*_PLACEHOLDER.findall(self.driver), *_PLACEHOLDER.findall(self.fleet)})

    @property
    def columns(self) -> list[str]:
        """Return the names of all columns that the mapping uses, sorted."""
        templates = (self.driver, self.fleet, self.starts, self.ends, self.note)
        named = {name for text in templates for name in _PLACEHOLDER.findall(text)}
        return sorted(named | {*self.keep, *self.drop})


def fold(name: str) -> str:
    """Return a column's name as it is compared: without regard to case and to spaces around it."""
    return name.strip().casefold()


class Template:
    """A text with `{columns}` that is filled in from the cells of a row."""

    def __init__(self, text: str, indexes: Mapping[str, int]) -> None:
        """Look up the columns, which must exist, in `indexes` by their folded names."""
        self._first, *self._literals = _PLACEHOLDER.split(text)[::2]
        self._indexes = [indexes[fold(name)] for name in _PLACEHOLDER.findall(text)]
        self._is_simple = len(self._indexes) == 1
        self.index = self._indexes[0] if self._indexes else 0
        """The column to point at in messages."""

    def fill(self, cells: Sequence[str]) -> str:
        """Return the text for a row, or an empty text if one of its columns is empty there."""
        if self._is_simple:  # the common case, and much faster
            cell = cells[self.index].strip()
            return self._first + cell + self._literals[0] if cell else ""
        filled = self._first
        for index, literal in zip(self._indexes, self._literals, strict=True):
            cell = cells[index].strip()
            if not cell:
                return ""
            filled += cell + literal
        return filled

    def fill_each(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Return the text for each row, in half the time of `fill`; nothing if the template is empty."""
        if not self._is_simple:
            return list(map(self.fill, rows)) if self._first or self._indexes else []
        first, last, index = self._first, self._literals[0], self.index
        stripped = [cells[index].strip() for cells in rows]
        return [cell and first + cell + last for cell in stripped] if first or last else stripped


def has_column(text: str) -> bool:
    """Return whether a template depends on the row."""
    return _PLACEHOLDER.search(text) is not None


def check_template(text: str) -> str:
    """Return a template unchanged. Raises ValueError with a message for the operator if a brace has no partner."""
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        raise ValueError("write each column in braces of its own, as in employee_id={Employee ID}")
    return text


def check_date_format(date_format: str) -> str:
    """Return a date format unchanged. Raises ValueError with a message for the operator if it loses a date."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # since Python 3.13, for a day without a year
            lossless = parse_date(_SAMPLE.strftime(date_format), date_format) == _SAMPLE
    except (ValueError, DeprecationWarning):
        lossless = False
    if not lossless or _TIME_DIRECTIVE.search(date_format):
        raise ValueError('write the day, month and year of a date, as in "%d.%m.%Y"; a time cannot be read')
    return date_format


def _parse_usual(text: str, date_format: str) -> datetime.datetime | None:
    """Return the date of a text with two digits for day and month, which takes `strptime` ten times as long.

    Returns None if the text or the format is not a usual one. Raises ValueError if there is no such day.
    """
    pattern = _usual_pattern(date_format)
    if not pattern or not (found := pattern.fullmatch(text)):
        return None
    year, month, day = map(int, found.group("Y", "m", "d"))
    return datetime.datetime(year, month, day)  # noqa: DTZ001 - as above


@functools.cache
def _usual_pattern(date_format: str) -> re.Pattern[str] | None:
    parts = re.split("%([dmY])", date_format)
    if sorted(parts[1::2]) != ["Y", "d", "m"] or "%" in "".join(parts[::2]):
        return None
    digits = {"Y": "(?P<Y>[0-9]{4})", "m": "(?P<m>[0-9]{2})", "d": "(?P<d>[0-9]{2})"}
    return re.compile("".join(digits[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)))


def parse_date(text: str, date_format: str, zone: datetime.tzinfo | None = datetime.UTC) -> datetime.datetime:
    """Parse a date in a format of `strptime`; see `membership_document.moment`.

    Raises ValueError with a message for the operator.
    """
    day = parse_day(text, date_format)
    years.require_plausible(text, day.year)
    return days.start_of_day(day, zone) if zone else day


def parse_day(text: str, date_format: str) -> datetime.datetime:
    """Parse a date of any year and return its naive midnight. Raises ValueError with a message for the operator."""
    try:
        day = _parse_usual(text, date_format)
        if day is None:
            day = datetime.datetime.strptime(text, date_format)  # noqa: DTZ007 - a date has no zone of its own
            if _UNSEPARATED.search(date_format) and day.strftime(date_format) != text:
                raise ValueError  # 01122026 without its 0 would be 11 February
    except ValueError:
        example = _SAMPLE.strftime(date_format)
        raise ValueError(f"{positions.quote(text)} is not a date: date_format expects one like {example}") from None
    return day
