"""Parse CSV (RFC 4180, comma-separated) into the shape of the other formats, with the place of every cell.

Invariant: every row has exactly as many cells as the header. The cells are split here because the standard library's
reader does not report columns within a line and accepts stray quotation marks. Neighbours: `positions` defines the
result, `membership_document` interprets it.
"""

import re
from collections.abc import Iterator, Sequence

from worker.sources import positions

COLUMNS = ("driver", "fleet", "from", "until", "note")
REQUIRED = ("driver", "fleet")

_CELL = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r\n?|\n|\Z)')

Cell = tuple[str, int]
"""The text of a cell and its offset."""


def parse(text: str) -> positions.Document:
    """Parse a document and group its rows by fleet, in order of first appearance. Raises Malformed."""
    lines = positions.Lines(text)
    rows = _rows(text, lines)
    header = next(rows, [])
    columns = _columns(header, lines)
    table = _Table(columns)
    for row in rows:
        table.add(row)
    if not table.rows:
        raise positions.Malformed((1, 1), "there is no row below the header: a source must name at least one fleet")
    return positions.Document({"fleets": table.fleets}, lines, (0, {"fleets": (0, (0, table.marks))}), table.faults)


class _Table:
    """Collects the rows of each fleet."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._groups: dict[str, tuple[list[dict[str, str]], list[positions.Mark]]] = {}
        self.rows = 0
        self.fleets: dict[str, list[dict[str, str]]] = {}
        self.marks: dict[str, tuple[int, positions.Mark]] = {}
        self.faults: list[tuple[int, str]] = []

    def add(self, row: Sequence[Cell]) -> None:
        self.rows += 1
        start = row[0][1]
        if len(row) != len(self._columns):
            self.faults.append(
                (start, f"{len(row)} cells, but the header has {len(self._columns)}: write one cell for every column")
            )
            return
        cells = dict(zip(self._columns, row, strict=True))
        for column, (text, offset) in cells.items():
            if column != "note" and text != text.strip():
                self.faults.append((offset, f"the {column} begins or ends with a space: remove it"))
        fleet, offset = cells.pop("fleet")
        if not fleet:
            self.faults.append((offset, "the fleet is missing: write its id or name"))
            return
        drivers, marks = self._group(fleet, offset)
        drivers.append({column: text for column, (text, _) in cells.items() if text})
        marks.append((start, {column: (offset, offset) for column, (_, offset) in cells.items()}))

    def _group(self, fleet: str, offset: int) -> tuple[list[dict[str, str]], list[positions.Mark]]:
        if fleet not in self._groups:
            marks = list[positions.Mark]()
            self._groups[fleet] = self.fleets.setdefault(fleet, []), marks
            self.marks[fleet] = offset, (offset, marks)
        return self._groups[fleet]


def _rows(text: str, lines: positions.Lines) -> Iterator[list[Cell]]:
    """Yield the rows of the text, skipping empty lines."""
    at, row = 0, list[Cell]()
    while at < len(text) or row:
        found = _CELL.match(text, at)
        if not found:
            raise positions.Malformed(lines.at(at), _stray(text, at))
        quoted, plain, end = found.groups()
        row.append((plain if quoted is None else quoted.replace('""', '"'), at))
        at = found.end()
        if end != ",":
            if len(row) > 1 or found.end() - found.start() > len(end):
                yield row
            row = []


def _stray(text: str, at: int) -> str:
    if text[at] == '"' and text.count('"', at) % 2:
        return "this quotation mark is never closed: close it, or double it inside a cell"
    return "quotation mark inside a cell: enclose the whole cell in quotation marks, and double those inside it"


def _columns(header: Sequence[Cell], lines: positions.Lines) -> list[str]:
    """Return the column names. Raises Malformed at the first mistake: rows have no meaning without a valid header."""
    names = [name for name, _ in header]
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), "")):
        shown = "tabs" if mark == "\t" else f'"{mark}"'
        raise positions.Malformed((1, 1), f"columns are separated by {shown}: save the document with commas instead")
    for index, (name, offset) in enumerate(header):
        if name not in COLUMNS:
            advice = f"the columns are {', '.join(COLUMNS)}{positions.did_you_mean(name, COLUMNS)}"
            raise positions.Malformed(lines.at(offset), f"unknown column {positions.quote(name)}: {advice}")
        if name in names[:index]:
            raise positions.Malformed(lines.at(offset), f'duplicate column "{name}": keep one of them')
    if missing := [name for name in REQUIRED if name not in names]:
        raise positions.Malformed(
            (1, 1), f'no column "{missing[0]}": the first line must name the columns, such as driver,fleet'
        )
    return names
