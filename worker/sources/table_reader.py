"""Turns the rows of a table into memberships.

Invariant: one pass finds every problem, each with its place. A row becomes a membership, is left out because the
mapping says so, or is a problem. The order of rows and columns does not matter.
Neighbours: `formats` parses the table, `row_mapping` says how to read it; `membership_document` parses references,
moments and notes.
"""

import dataclasses
import datetime
import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from worker.core.model.desired import DriverRef, FleetEntry, FleetRef, Origin, Row
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.rows import Batch, Rows
from worker.core.model.secret import redact
from worker.core.planning import near_misses
from worker.sources import membership_document, positions, row_mapping, table

COLUMNS = ("driver", "fleet", "from", "until", "note")
"""The columns of a table without a mapping. The first two are required."""

NAME_COLUMN = "name"
"""A column of our own shape for people only: an export writes it, and what is in it is not read."""

_BATCH = 250
"""How many rows are read at once. A problem among them costs the time of reading them twice."""

_NO_ROWS = "there is no row below the header: a source must name at least one fleet"
_SCOPE = "[sources.fleets]"
_NO_DRIVER = f"the driver is missing: {membership_document.DRIVER_FORMS}"
_NONE_KEPT = "no row is left: check keep, drop and other_fleets in [sources.rows]"

_Problem = tuple[positions.Place, str]

T = TypeVar("T")


def required_columns(mapping: row_mapping.RowMapping | None) -> frozenset[str]:
    """Return the folded names of the columns that a table must have."""
    return frozenset(map(row_mapping.fold, COLUMNS[:2] if mapping is None else mapping.columns))


def used_columns(mapping: row_mapping.RowMapping | None) -> frozenset[str]:
    """Return the folded names of the columns that are read if they are there."""
    return frozenset(map(row_mapping.fold, COLUMNS if mapping is None else mapping.columns))


def reference_columns(mapping: row_mapping.RowMapping | None) -> frozenset[str]:
    """Return the folded names of the columns that refer to drivers and fleets."""
    return frozenset(map(row_mapping.fold, COLUMNS[:2] if mapping is None else mapping.reference_columns))


def read(
    parsed: table.Table,
    mapping: row_mapping.RowMapping | None,
    name: str,
    *,
    zone: datetime.tzinfo | None = datetime.UTC,
) -> membership_document.Contents:
    """Return the fleets, rows and problems of a table. Without a mapping, the table must have our own columns.

    `zone` is that of dates without a time; None: that of their fleet.
    """
    header = _Header(parsed)
    if problems := header.problems(mapping):  # without a valid header, rows have no meaning
        return membership_document.contents(name, problems=problems, spell=header.spell)
    reader = _Reader(header, mapping or _own_mapping(header.indexes), name, is_own=mapping is None, zone=zone)
    rows = iter(parsed.rows)
    while batch := list(itertools.islice(rows, _BATCH)):
        reader.add_each(batch)
    notices = (*_hidden_rows(name, parsed.hidden_rows), *reader.notices())
    return dataclasses.replace(reader.contents(parsed.faults), notices=notices)


def _hidden_rows(name: str, rows: Sequence[int]) -> tuple[Problem, ...]:
    if not rows:
        return ()
    message = f"{len(rows)} rows (the first is {rows[0]}) are hidden in the sheet; they count like any other"
    if len(rows) == 1:
        message = f"row {rows[0]} is hidden in the sheet; it counts like any other"
    return (Problem(name, message, note=True, code=ProblemCode.HIDDEN_ROWS),)


def _own_mapping(columns: Collection[str]) -> row_mapping.RowMapping:
    """Return the mapping of those of our own columns that a table has."""
    driver, fleet, starts, ends, note = (f"{{{name}}}" if name in columns else "" for name in COLUMNS)
    return row_mapping.RowMapping(driver, fleet, starts, ends, note)


def _rows(count: int) -> str:
    return f" ({count} rows)" if count > 1 else ""


def _nearly(text: str, meant: str, where: str, count: int = 1) -> str:
    """Return the beginning of a message about a text that only looks like one of the settings."""
    difference = near_misses.describe(text, meant, places=("the table", "the settings"))
    texts = f"{positions.quote(text)}{_rows(count)} is nearly {positions.quote(meant)}"
    return f"{texts} in {where}, but differs in {difference}"


def _by_fold(**lists: Sequence[str] | None) -> dict[str, tuple[str, str]]:
    """Return each value of these lists, and the name of its list, by the folded value."""
    return {near_misses.fold(value): (value, name) for name, values in lists.items() for value in values or ()}


class _Header:
    """The columns of a table. Columns without a name at the right edge do not count."""

    def __init__(self, parsed: table.Table) -> None:
        self._row = parsed.header
        self.is_sheet = parsed.is_sheet
        self.spell = table.cell_name if parsed.is_sheet else positions.line_and_column
        self._names = [name.strip() for name in self._row[1]]
        while self._names and not self._names[-1]:
            self._names.pop()
        self.width = len(self._names)
        self.indexes: dict[str, int] = {}
        for index, name in enumerate(self._names):
            self.indexes.setdefault(row_mapping.fold(name), index)

    def problems(self, mapping: row_mapping.RowMapping | None) -> list[_Problem]:
        """Return every reason why the rows cannot be read."""
        used = used_columns(mapping)
        problems = []
        for index, name in enumerate(self._names):
            folded = row_mapping.fold(name)
            if folded not in used:
                if mapping is None and folded != NAME_COLUMN:
                    problems.append((table.place(self._row, index), _unknown_column(name)))
            elif self.indexes[folded] != index:
                problems.append((table.place(self._row, index), f'duplicate column "{name}": keep one of them'))
        for name in COLUMNS[:2] if mapping is None else mapping.columns:
            if row_mapping.fold(name) not in self.indexes:
                problems.append((table.place(self._row, 0), f"no column {positions.quote(name)}{self._similar(name)}"))
        return problems

    def _similar(self, name: str) -> str:
        """Return which column may be meant, as a part of a message."""
        for near in self._names:
            if near_misses.fold(near) == near_misses.fold(name):
                difference = near_misses.describe(near, name, places=("the table", "the expected name"))
                return f"; {positions.quote(near)} differs only in {difference}"
        return positions.did_you_mean(name, filter(None, self._names))


def _unknown_column(name: str) -> str:
    advice = f"the columns are {', '.join(COLUMNS)}; to read other columns, write [sources.rows]"
    return f"unknown column {positions.quote(name)}: {advice}{positions.did_you_mean(name, COLUMNS)}"


class _Reader:
    """Collects fleets, rows and problems, one row at a time."""

    def __init__(
        self, header: _Header, mapping: row_mapping.RowMapping, name: str, *, is_own: bool, zone: datetime.tzinfo | None
    ) -> None:
        self._header = header
        self._width = header.width
        self._mapping = mapping
        self._name = name
        self._own_columns = [(name, header.indexes[name]) for name in COLUMNS[:4] if is_own and name in header.indexes]
        self._count = self._wanted = 0
        self._rows = Rows()
        self._problems: list[_Problem] = []
        template = functools.partial(row_mapping.Template, indexes=header.indexes)
        self._driver, self._fleet = template(mapping.driver), template(mapping.fleet)
        self._starts, self._ends, self._note = template(mapping.starts), template(mapping.ends), template(mapping.note)
        self._is_dated = bool(mapping.starts or mapping.ends)
        keep, drop = (
            {row_mapping.fold(column): values for column, values in each.items()}
            for each in (mapping.keep, mapping.drop)
        )
        self._filters = [(header.indexes[name], keep.get(name), drop.get(name)) for name in {**keep, **drop}]
        self._filter_values = {index: _by_fold(keep=keep, drop=drop) for index, keep, drop in self._filters}
        date_format = mapping.date_format
        parse_date = functools.partial(row_mapping.parse_date, date_format=date_format, zone=zone)
        parse_moment = functools.partial(membership_document.moment, zone=zone)
        self._moments = membership_document.Moments(parse_date if date_format else parse_moment)
        scope = Origin(f"{name} [sources.fleets]", 0, 0)
        self._fleets: dict[str, FleetRef | None] = {
            text: membership_document.parse_fleet(reference) for text, reference in mapping.fleets.items()
        }
        """The fleet that a text in a row means; None if such rows are left out or a problem."""
        self._numbers = {text: self._rows.number(fleet) for text, fleet in self._fleets.items() if fleet}
        self._entries = {fleet: FleetEntry(fleet, scope) for fleet in self._fleets.values() if fleet}
        self._unmapped: dict[str, tuple[positions.Place, int]] = {}
        """Each text that is in no row of the scope, with its first place and how many rows have it."""
        self._declared = {near_misses.fold(text): text for text in mapping.fleets}

    def contents(self, faults: Sequence[_Problem]) -> membership_document.Contents:
        """Return what was read, with the problems of the parser."""
        problems = [*faults, *self._problems, *self._unmapped_fleets()]
        if not problems and not self._wanted:
            empty = [((1, 1), _NONE_KEPT if self._count else _NO_ROWS)]
            return membership_document.contents(
                self._name, problems=empty, code="source_empty", spell=self._header.spell
            )
        return membership_document.contents(
            self._name,
            fleets=tuple(self._entries.values()),
            rows=self._rows,
            problems=problems,
            count=self._count,
            spell=self._header.spell,
        )

    def notices(self) -> Iterator[Problem]:
        """Yield a note for each text that `other_fleets` leaves out although it nearly equals one in the scope."""
        if self._mapping.other_fleets != "ignore":
            return
        for text, (place, count) in self._unmapped.items():
            nearly = _nearly(text, self._declared[near_misses.fold(text)], _SCOPE, count)
            message = f"{nearly}; other_fleets ignores it"
            where = f"{self._name}:{self._header.spell(place)}"
            yield Problem(where, redact(message), note=True, code=ProblemCode.FLEET_NOT_DECLARED)

    def _unmapped_fleets(self) -> Iterator[_Problem]:
        if self._mapping.other_fleets == "ignore":
            return
        for text, (place, count) in self._unmapped.items():
            if meant := self._declared.get(near_misses.fold(text)):
                yield place, f"{_nearly(text, meant, _SCOPE, count)}: correct the cell, or add it"
            else:
                message = f"{positions.quote(text)} is not in {_SCOPE}{_rows(count)}: add it, or set other_fleets"
                yield place, message

    def add_each(self, rows: Sequence[table.TableRow]) -> None:
        """Read rows: at once, or one by one if one of them is a problem or the first of its fleet."""
        if not self._add_at_once(rows):
            for row in rows:
                self.add(row)

    def _add_at_once(self, rows: Sequence[table.TableRow]) -> bool:
        """Read rows that need no message. Otherwise keep nothing of them, and return False."""
        cells = [each for _, each, _ in rows]
        if set(map(len, cells)) != {self._width} or self._header.is_sheet:
            return False
        for _, index in self._own_columns:
            column = [each[index] for each in cells]
            if column != list(map(str.strip, column)):
                return False
        if (kept := self._filtered(rows)) is None:
            return False
        texts = self._fleet.fill_each([each for _, each, _ in kept])
        found = list(map(self._numbers.get, texts))
        fleets = [number for number in found if number is not None]
        if len(fleets) < len(found):
            if not self._are_ignored(set(texts) - self._numbers.keys()):
                return False
            kept = [row for row, number in zip(kept, found, strict=True) if number is not None]
        cells = [each for _, each, _ in kept]
        keys = membership_document.parse_drivers(self._driver.fill_each(cells))
        periods = self._moments.periods(self._starts.fill_each(cells), self._ends.fill_each(cells))
        notes = membership_document.parse_notes(self._note.fill_each(cells))
        if keys is None or periods is None or notes is None:
            return False
        self._count += len(rows)
        self._wanted += len(kept)
        lines, columns = table.places(kept, self._driver.index)
        self._rows.extend(Batch(keys, lines, columns, *periods, notes), fleets, name=self._name)
        return True

    def _are_ignored(self, texts: Collection[str]) -> bool:
        """Return whether rows with these texts, none of which is in the scope, are left out without a note."""
        is_ignoring = self._mapping.fleets and self._mapping.other_fleets == "ignore"
        return bool(is_ignoring) and self._declared.keys().isdisjoint(map(near_misses.fold, texts))

    def _filtered(self, rows: Sequence[table.TableRow]) -> Sequence[table.TableRow] | None:
        """Return the rows that the filters keep; None if a value is a problem."""
        if not self._filters:
            return rows
        columns = operator.itemgetter(*[index for index, _, _ in self._filters])
        values = [columns(cells) for _, cells, _ in rows]
        before = len(self._problems)
        passes = {each: self._passes_filters(row) for each, row in dict(zip(values, rows, strict=True)).items()}
        if len(self._problems) > before:
            del self._problems[before:]
            return None
        return list(itertools.compress(rows, map(passes.__getitem__, values)))

    def add(self, row: table.TableRow) -> None:
        """Read one row."""
        self._count += 1
        cells = row[1]
        if (len(cells) != self._width and not self._fits(row)) or (self._filters and not self._passes_filters(row)):
            return
        for name, index in self._own_columns:
            if cells[index] != cells[index].strip():
                self._problems.append((table.place(row, index), f"the {name} begins or ends with a space: remove it"))
        fleet = self._fleet_of(row)
        if fleet is None and self._mapping.fleets and self._mapping.other_fleets == "ignore":
            return
        self._wanted += 1
        driver = self._driver_of(row)
        starts, ends = self._period(row) if self._is_dated else (None, None)
        note = self._parsed(row, self._note, membership_document.parse_note) or "" if self._mapping.note else ""
        if fleet is not None and driver is not None:
            self._rows.append(Row(fleet, driver, self._origin(row, self._driver), starts, ends, note))

    def _driver_of(self, row: table.TableRow) -> DriverRef | None:
        message = _NO_DRIVER
        try:
            if text := self._driver.fill(row[1]):
                return membership_document.parse_driver(text)
        except ValueError as error:
            message = str(error)
        self._problem(row, self._driver, message)
        return None

    def _period(self, row: table.TableRow) -> tuple[datetime.datetime | None, datetime.datetime | None]:
        """Return the first moment of a row, and the first one after it."""
        starts = self._parsed(row, self._starts, self._moments.__getitem__)
        ends = self._parsed(row, self._ends, self._moments.__getitem__)
        if membership_document.is_inverted(starts, ends):
            self._problem(row, self._ends, membership_document.ENDS_TOO_EARLY)
        return starts, ends

    def _fits(self, row: table.TableRow) -> bool:
        """Return whether a row has all cells of the header. Empty cells beyond its right edge do not count."""
        cells = row[1]
        if len(cells) > self._width and not any(cell.strip() for cell in cells[self._width :]):
            return True
        message = f"{len(cells)} cells, but the header has {self._width}: write one cell for every column"
        self._problems.append((table.place(row, 0), message))
        return False

    def _passes_filters(self, row: table.TableRow) -> bool:
        """Return whether every filter keeps the row.

        A value that is in neither list of a filter, or with one list only looks like a value of it, is a problem.
        """
        unknown = []
        for index, keep, drop in self._filters:
            cell = row[1][index].strip()
            if keep is not None and cell in keep:
                continue
            if drop is not None and cell in drop:
                return False
            if meant := self._filter_values[index].get(near_misses.fold(cell)):
                unknown.append((index, f"{_nearly(cell, *meant)}: correct the cell, or list it too"))
            elif drop is None:
                return False
            elif keep is not None:
                unknown.append((index, f"{positions.quote(cell)} is in neither keep nor drop: add it to one of them"))
        self._problems += [(table.place(row, index), message) for index, message in unknown]
        return not unknown

    def _fleet_of(self, row: table.TableRow) -> FleetRef | None:
        """Return the fleet of a row, or None if the row is left out or a problem."""
        text = self._fleet.fill(row[1])
        if text in self._fleets:
            return self._fleets[text]
        if self._mapping.fleets and self._mapping.other_fleets == "ignore":
            if near_misses.fold(text) in self._declared:
                self._count_unmapped(text, row)
            return None
        if not text:
            self._problem(row, self._fleet, "the fleet is missing: write its id or name")
            return None
        if self._mapping.fleets and self._mapping.other_fleets == "error":
            self._count_unmapped(text, row)
            return None
        self._fleets[text] = fleet = self._parsed(row, self._fleet, membership_document.parse_fleet)
        if fleet is not None:
            self._numbers[text] = self._rows.number(fleet)
            self._entries.setdefault(fleet, FleetEntry(fleet, self._origin(row, self._fleet)))
        return fleet

    def _count_unmapped(self, text: str, row: table.TableRow) -> None:
        place, count = self._unmapped.get(text) or (table.place(row, self._fleet.index), 0)
        self._unmapped[text] = place, count + 1

    def _origin(self, row: table.TableRow, template: row_mapping.Template) -> Origin:
        place = table.place(row, template.index)
        if self._header.is_sheet:
            return Origin(f"{self._name}:{table.cell_name(place)}", 0, 0)
        return Origin(self._name, *place)

    def _parsed(self, row: table.TableRow, template: row_mapping.Template, parse: Callable[[str], T]) -> T | None:
        """Return the value of a row, or None if it has none or an invalid one."""
        text = template.fill(row[1])
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self._problem(row, template, str(error))
            return None

    def _problem(self, row: table.TableRow, template: row_mapping.Template, message: str) -> None:
        self._problems.append((table.place(row, template.index), message))
