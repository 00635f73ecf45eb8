"""Rows in columns: they take a third of the memory of as many objects, and their drivers are found without a search.

Invariants: a row is made anew whenever it is asked for, equal to the one that was added; two rows have equal keys if
and only if they refer to the driver in the same way. Neighbours: `desired` defines a row, `sources` add rows one by
one, `planning.merge_sources` joins what several sources say, `planning.resolved_rows` resolves them.
"""

import array
import dataclasses
import datetime
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef, FleetRef, Origin, Row
from worker.core.model.identifiers import DriverId

Key = DriverId | DriverByEmail | DriverByMetadata
"""A reference to a driver; in place of one by id, the id itself."""

T = TypeVar("T")


def key_of(reference: DriverRef) -> Key:
    """Return the key of a reference to a driver."""
    return reference.id if isinstance(reference, DriverById) else reference


def reference_of(key: Key) -> DriverRef:
    """Return the reference to a driver that has a key."""
    return DriverById(key) if isinstance(key, str) else key


def _value(column: Sequence[T | None], position: int) -> T | None:
    return column[position] if position < len(column) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one document, whose places ascend, without their fleets.

    `starts`, `ends` and `notes` are those of each row, or nothing if no row has any.
    """

    keys: Sequence[Key]
    lines: Sequence[int]
    columns: Sequence[int]
    starts: Sequence[datetime.datetime | None] = ()
    ends: Sequence[datetime.datetime | None] = ()
    notes: Sequence[str] = ()


class Rows(Sequence[Row]):
    """Rows of one or several sources. Rows are added while a document is read, and stay as they are after that."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        """Start with these rows."""
        self._keys: list[Key] = []
        self._fleets: dict[FleetRef, int] = {}
        self._names: dict[str, int] = {}
        self._fleet_of, self._name_of = array.array("I"), array.array("I")
        self._lines, self._columns = array.array("q"), array.array("q")
        self._starts: list[datetime.datetime | None] = []
        self._ends: list[datetime.datetime | None] = []
        self._notes: list[str | None] = []
        """These three end with the last row that has one."""
        self._last = Origin("", 0, 0)
        self.are_in_order = True
        """Whether the rows are in the order of their origins."""
        self._undated: dict[Key, frozenset[FleetRef]] = {}
        self._repeated: list[int] = []
        self._indexed = 0
        for row in rows:
            self.append(row)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Rows":
        """Return the rows in columns: the same object if they already are."""
        return rows if isinstance(rows, Rows) else cls(rows)

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        name, line, column = origin = row.origin
        if origin < self._last:
            self.are_in_order = False
        self._last = origin
        self._fleet_of.append(self.number(row.fleet))
        self._name_of.append(self._names.setdefault(name, len(self._names)))
        self._lines.append(line)
        self._columns.append(column)
        if row.starts is not None or row.ends is not None or row.note:
            self._add_details([row.starts], [row.ends], [row.note])
        self._keys.append(key_of(row.driver))

    def number(self, fleet: FleetRef) -> int:
        """Return the number that stands for a fleet in `extend`."""
        return self._fleets.setdefault(fleet, len(self._fleets))

    def extend(self, batch: Batch, fleets: Sequence[int], *, name: str) -> None:
        """Add rows of a document, each with the number of its fleet, in a fraction of the time of adding each."""
        if not batch.keys:
            return
        self.are_in_order &= self._last <= Origin(name, batch.lines[0], batch.columns[0])
        self._last = Origin(name, batch.lines[-1], batch.columns[-1])
        self._fleet_of.extend(fleets)
        self._name_of.extend(itertools.repeat(self._names.setdefault(name, len(self._names)), len(fleets)))
        self._lines.extend(batch.lines)
        self._columns.extend(batch.columns)
        self._add_details(batch.starts, batch.ends, batch.notes)
        self._keys.extend(batch.keys)

    def _add_details(self, *added: Sequence[object]) -> None:
        """Add the starts, ends and notes of rows whose keys are not added yet."""
        columns: tuple[list[Any], ...] = self._starts, self._ends, self._notes
        for column, values in zip(columns, added, strict=True):
            if any(values):
                column.extend(itertools.repeat(None, len(self) - len(column)))
                column.extend(values)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> "Row | Rows":
        """Return a row, or some of them. Raises IndexError."""
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        return next(self.at((range(len(self))[index],)))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has equal rows in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return self.at(range(len(self)))

    @classmethod
    def chained(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return the rows of several parts, one part after the other. The only part is returned as it is."""
        if len(parts) == 1:
            return parts[0]
        chained = cls()
        for part in filter(None, parts):
            chained._extend(part)
        return chained

    def _extend(self, other: "Rows") -> None:
        self.are_in_order &= other.are_in_order and self._last <= other[0].origin
        self._last = other._last
        fleets = [self.number(fleet) for fleet in other._fleets]
        names = [self._names.setdefault(name, len(self._names)) for name in other._names]
        self._fleet_of.extend(map(fleets.__getitem__, other._fleet_of))
        self._name_of.extend(map(names.__getitem__, other._name_of))
        self._lines.extend(other._lines)
        self._columns.extend(other._columns)
        self._add_details(other._starts, other._ends, other._notes)
        self._keys.extend(other._keys)

    def at(self, positions: Iterable[int]) -> Iterator[Row]:
        """Return the rows at some positions, none of them negative."""
        fleets, names = list(self._fleets), list(self._names)
        for position in positions:
            key = self._keys[position]
            origin = Origin(names[self._name_of[position]], self._lines[position], self._columns[position])
            fleet, note = fleets[self._fleet_of[position]], _value(self._notes, position) or ""
            starts, ends = _value(self._starts, position), _value(self._ends, position)
            yield Row(fleet, reference_of(key), origin, starts, ends, note)

    def select(self, positions: Iterable[int]) -> "Rows":
        """Return the rows at some positions, none of them negative."""
        return Rows(self.at(positions))

    def in_order(self) -> "Rows":
        """Return the rows in the order of their origins."""
        return self if self.are_in_order else Rows(sorted(self, key=lambda row: row.origin))

    @property
    def keys(self) -> Sequence[Key]:
        """Return the key of each row."""
        return self._keys

    def referring(self, keys: Collection[Key]) -> Iterator[int]:
        """Return the positions of the rows that refer to a driver by one of these keys."""
        return (position for position, key in enumerate(self._keys) if key in keys) if keys else iter(())

    @property
    def dated(self) -> Iterator[Row]:
        """Return the rows with a start or an end."""
        periods = enumerate(itertools.zip_longest(self._starts, self._ends))
        return self.at([position for position, period in periods if any(period)])

    @property
    def undated(self) -> Mapping[Key, frozenset[FleetRef]]:
        """Return in which fleets rows without dates want each driver. Most drivers share one of a few sets."""
        self._index()
        return self._undated

    @property
    def repeated(self) -> Sequence[int]:
        """Return the positions of the rows that repeat fleet, driver and dates of an earlier one."""
        self._index()
        return self._repeated

    def _index(self) -> None:
        """Index the rows, unless that is done already."""
        if self._indexed == len(self):
            return
        self._undated, self._repeated, self._indexed = {}, [], len(self)
        fleets = list(self._fleets)
        singles = [frozenset({fleet}) for fleet in fleets]
        unions: dict[tuple[frozenset[FleetRef], int], frozenset[FleetRef]] = {}
        dated: set[object] = set()
        columns = itertools.zip_longest(self._keys, self._fleet_of, self._starts, self._ends)
        for position, (key, number, starts, ends) in enumerate(columns):
            if starts is not None or ends is not None:
                identity = (key, number, starts, ends)
                if identity in dated:
                    self._repeated.append(position)
                dated.add(identity)
            elif (before := self._undated.get(key)) is None:
                self._undated[key] = singles[number]
            else:
                if (union := unions.get((before, number))) is None:
                    union = before if fleets[number] in before else before | singles[number]
                    unions[before, number] = union
                if union is before:
                    self._repeated.append(position)
                self._undated[key] = union
