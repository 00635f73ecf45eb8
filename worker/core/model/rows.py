"""Rows in columns: they take a third of the memory of as many objects, and their drivers are found without a search.

Invariants: a row is made anew whenever it is asked for, equal to the one that was added; two rows have equal keys if
and only if they refer to the driver in the same way. Neighbours: `desired` defines a row, `sources` add rows one by
one, `planning.merge_sources` joins what several sources say, `planning.resolved_rows` resolves them.
"""

import array
import datetime
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import overload

from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef, FleetRef, Origin, Row
from worker.core.model.identifiers import DriverId

Key = DriverId | DriverByEmail | DriverByMetadata
"""A reference to a driver; in place of one by id, the id itself."""

Details = tuple[datetime.datetime | None, datetime.datetime | None, str]
"""Start, end and note of a row."""

_PLAIN: Details = (None, None, "")


def key_of(reference: DriverRef) -> Key:
    """Return the key of a reference to a driver."""
    return reference.id if isinstance(reference, DriverById) else reference


def reference_of(key: Key) -> DriverRef:
    """Return the reference to a driver that has a key."""
    return DriverById(key) if isinstance(key, str) else key


class Rows(Sequence[Row]):
    """Rows of one or several sources. Rows are added while a document is read, and stay as they are after that."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        """Start with these rows."""
        self._keys: list[Key] = []
        self._fleets: dict[FleetRef, int] = {}
        self._names: dict[str, int] = {}
        self._fleet_of, self._name_of = array.array("I"), array.array("I")
        self._lines, self._columns = array.array("q"), array.array("q")
        self._details: dict[int, Details] = {}
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
        """Return the rows in columns: the same object if they are already."""
        return rows if isinstance(rows, Rows) else cls(rows)

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        if row.starts is not None or row.ends is not None or row.note:
            self._details[len(self._keys)] = (row.starts, row.ends, row.note)
        name, line, column = origin = row.origin
        if origin < self._last:
            self.are_in_order = False
        self._last = origin
        self._fleet_of.append(self._fleets.setdefault(row.fleet, len(self._fleets)))
        self._name_of.append(self._names.setdefault(name, len(self._names)))
        self._lines.append(line)
        self._columns.append(column)
        self._keys.append(key_of(row.driver))

    def extend(
        self,
        keys: Sequence[Key],
        fleets: Sequence[FleetRef],
        *,
        name: str,
        lines: Sequence[int],
        columns: Sequence[int],
        details: Mapping[int, Details] = MappingProxyType({}),
    ) -> None:
        """Add rows of one document whose places ascend, in a fraction of the time of adding each.

        `details` are those of the rows that have some, by their index among these.
        """
        if not keys:
            return
        self.are_in_order &= self._last <= Origin(name, lines[0], columns[0])
        self._last = Origin(name, lines[-1], columns[-1])
        self._details.update((len(self) + index, each) for index, each in details.items())
        distinct = {id(fleet): fleet for fleet in fleets}  # to hash a reference takes longer than all the rest
        numbers = {each: self._fleets.setdefault(fleet, len(self._fleets)) for each, fleet in distinct.items()}
        self._fleet_of.extend(map(numbers.__getitem__, map(id, fleets)))
        self._name_of.extend(itertools.repeat(self._names.setdefault(name, len(self._names)), len(keys)))
        self._lines.extend(lines)
        self._columns.extend(columns)
        self._keys.extend(keys)

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
        self._details.update((len(self) + position, details) for position, details in other._details.items())
        fleets = [self._fleets.setdefault(fleet, len(self._fleets)) for fleet in other._fleets]
        names = [self._names.setdefault(name, len(self._names)) for name in other._names]
        self._fleet_of.extend(map(fleets.__getitem__, other._fleet_of))
        self._name_of.extend(map(names.__getitem__, other._name_of))
        self._lines.extend(other._lines)
        self._columns.extend(other._columns)
        self._keys.extend(other._keys)

    def at(self, positions: Iterable[int]) -> Iterator[Row]:
        """Return the rows at some positions, none of them negative."""
        fleets, names = list(self._fleets), list(self._names)
        for position in positions:
            key = self._keys[position]
            origin = Origin(names[self._name_of[position]], self._lines[position], self._columns[position])
            starts, ends, note = self._details.get(position, _PLAIN)
            yield Row(fleets[self._fleet_of[position]], reference_of(key), origin, starts, ends, note)

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
        return self.at([position for position, each in self._details.items() if each[:2] != _PLAIN[:2]])

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
        for position, (key, number) in enumerate(zip(self._keys, self._fleet_of, strict=True)):
            if (details := self._details.get(position)) and details[:2] != _PLAIN[:2]:
                identity = (key, number, *details[:2])
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
