"""Represents a table of text: a header, and rows whose cells know their places.

Invariant: every cell is text, exactly as it is written. Neighbours: `formats` parses tables, `row_mapping` turns their
rows into memberships.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from worker.sources import positions

TableRow = tuple[int, Sequence[str], Sequence[positions.Place] | None]
"""A row's line, its cells, and their places; None if the cells follow each other in that line, one character apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A header, and rows that can be iterated once.

    `faults` are mistakes after which the parser could continue. They are complete when all rows have been iterated.
    In a sheet, places are cells; `hidden_rows` are the rows that people do not see there.
    """

    header: TableRow
    rows: Iterable[TableRow]
    faults: Sequence[tuple[positions.Place, str]] = ()
    is_sheet: bool = False
    hidden_rows: Sequence[int] = ()


def cell_name(place: positions.Place) -> str:
    """Return a place in a sheet as spreadsheets write it, such as `C2`."""
    row, column = place
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row}"


def place(row: TableRow, index: int) -> positions.Place:
    """Return the place of a cell. Places are computed when they are needed: most cells never cause a message."""
    line, cells, places = row
    if places is not None:
        return places[index] if index < len(places) else places[-1]
    if not index:
        return line, 1
    return line, 1 + sum(map(len, cells[:index])) + min(index, len(cells))


def places(rows: Sequence[TableRow], index: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the lines and the columns of one cell of each row, all of which have it. Quicker than `place` for each."""
    lines = [known[index][0] if known else line for line, _, known in rows]
    if not index:
        return lines, [1] * len(rows)
    return lines, [known[index][1] if known else 1 + index + sum(map(len, cells[:index])) for _, cells, known in rows]
