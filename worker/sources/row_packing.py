"""Packs the rows of a list, while it is parsed, into the columns that they become.

Invariant: packed or not, rows mean the same; those that need a message are not packed, so that each has its place.
Neighbours: the formats in which a row may be a mapping pack what they parse, `membership_document` reads the rest row
by row.
"""

import datetime
import functools
from array import array
from collections.abc import Sequence
from typing import Any

from worker.core.model.rows import Batch
from worker.sources import membership_document, positions

_KEYS = frozenset(membership_document.ROW_KEYS)


class Packer:
    """Implements positions.Pack for the lists of one document. `zone` is that of dates without a time."""

    def __init__(self, zone: datetime.tzinfo | None) -> None:
        """Begin a document."""
        self._moments = membership_document.Moments(functools.partial(membership_document.moment, zone=zone))

    def __call__(
        self, items: Sequence[object], marks: Sequence[positions.Mark], lines: positions.Lines
    ) -> Batch | None:
        """Return rows in columns, or None if one of the items is not a row or has a problem."""
        if (columns := _columns(items)) is None:
            return None
        drivers, starts, ends, notes = columns
        keys, periods = membership_document.parse_drivers(drivers), self._moments.periods(starts, ends)
        if keys is None or periods is None or (valid := membership_document.parse_notes(notes)) is None:
            return None
        found, places = lines.each(list(map(_start_of_driver, items, marks)))
        return Batch(keys, array("q", found), array("q", places), *periods, valid)


def _columns(items: Sequence[Any]) -> Sequence[Sequence[str]] | None:
    """Return the texts of the keys of all rows; None unless each item is a row and each of its keys has a text."""
    if {*map(type, items)} == {str}:
        return items, (), (), ()
    rows = [{"driver": item} if isinstance(item, str) else item for item in items]
    if not all(isinstance(row, dict) and "driver" in row and row.keys() <= _KEYS for row in rows):
        return None
    if not all(isinstance(text, str) and (text or key == "note") for row in rows for key, text in row.items()):
        return None
    return [[row.get(key, "") for row in rows] for key in membership_document.ROW_KEYS]


def _start_of_driver(row: Any, mark: positions.Mark) -> int:
    if isinstance(mark, int):
        return mark
    assert isinstance(mark, array)  # noqa: S101 - nothing in the row is a list or mapping
    return mark[2 * list(row).index("driver") + 2]
