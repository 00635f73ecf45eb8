"""Parses CSV as RFC 4180 defines it and spreadsheets write it: separated by commas, semicolons or tabs.

Invariant: cells are split by this module alone, because the standard library's reader does not report columns within a
line and accepts stray quotation marks. Rows of nothing but separators are skipped. Line breaks inside a cell are LF.
Neighbours: `table` defines the result, `row_mapping` interprets it.
"""

import functools
import itertools
import re
from collections.abc import Collection, Iterator, Sequence

from worker.sources import positions, table

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}

_PART = 16_384
"""Characters cut into rows at once, more if a row is longer. Larger parts no longer fit into the processor's cache."""


def parse(text: str, *, required: Collection[str], delimiter: str = "auto") -> table.Table:
    """Parse a document. Its delimiter is recognized by the `required` columns, named in lower case.

    The rows are parsed while they are iterated. Raises Malformed if there is no header.
    """
    text = text.replace("\r\n", "\n")
    faults: list[tuple[positions.Place, str]] = []
    if "\r" in text:
        faults += _hidden_line_ends(text)
        text = text.replace("\r", "\n")
    character = DELIMITERS.get(delimiter) or _recognize(text, required)
    rows = _rows(text, character, faults)
    header = next(rows, None)
    if header is None:
        line, column, message = (*faults[0][0], faults[0][1]) if faults else (1, 1, positions.EMPTY)
        raise positions.Malformed((line, column), message)
    return table.Table(header, rows, faults)


def _hidden_line_ends(text: str) -> Iterator[tuple[positions.Place, str]]:
    """Yield the first single CR outside of quoted cells if lines end in LF: the row behind it could be hidden."""
    at = quotation_marks = 0
    for found in positions.LONE_CR.finditer(text) if "\n" in text else ():
        quotation_marks += text.count('"', at, found.start())
        at = found.start()
        if quotation_marks % 2 == 0:
            message = "a single carriage return ends no line here: remove it, or quote the cell"
            yield positions.Lines(text).at(at), message
            return


def _recognize(text: str, required: Collection[str]) -> str:
    """Return the delimiter that finds the most required columns in the header; of several, the most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        _, cells, _ = next(_rows(text, delimiter, []), (1, (), None))
        names = {name.strip().lower() for name in cells}
        return len(names & set(required)), len(cells)

    return max(DELIMITERS.values(), key=score)


def _rows(text: str, delimiter: str, faults: list[tuple[positions.Place, str]]) -> Iterator[table.TableRow]:
    """Return the rows with content. A row with a stray quotation mark is reported in `faults` and skipped."""
    return itertools.chain.from_iterable(_parts(text, delimiter, faults))


def _parts(text: str, delimiter: str, faults: list[tuple[positions.Place, str]]) -> Iterator[Sequence[table.TableRow]]:
    """Yield the rows with content: many at a time up to the next quotation mark, and a row that has one by itself."""
    blank = f"{delimiter} \t"
    at, line, quotation_mark, left = 0, 1, -1, text.count('"')
    while at < len(text):
        if quotation_mark < at:
            quotation_mark = _find(text, '"', at)
        end = text.rfind("\n", at, min(quotation_mark, at + _PART))
        if end < 0:
            end = _find(text, "\n", at)
        if quotation_mark < end:
            cells, places, end, fault = _quoted_row(text, at, line, delimiter, left=left)
            left -= text.count('"', at, end)
            if fault:
                faults.append(fault)
            elif any(cell.strip() for cell in cells):
                yield [(line, cells, places)]
        else:
            written = text[at:end].split("\n")
            yield [(number, row.split(delimiter), None) for number, row in enumerate(written, line) if row.strip(blank)]
        line += text.count("\n", at, end) + 1
        at = end + 1


def _find(text: str, character: str, at: int) -> int:
    """Return the offset of the next such character, or of the end of the text."""
    found = text.find(character, at)
    return len(text) if found < 0 else found


_Row = tuple[list[str], list[positions.Place], int, tuple[positions.Place, str] | None]


def _quoted_row(text: str, at: int, line: int, delimiter: str, *, left: int) -> _Row:
    """Split a row that contains quotation marks. Return its cells, their places, its end, and its fault if any.

    `left` is the number of quotation marks from the row on: to count them again for each row would take hours.
    """
    pattern = _cell_pattern(delimiter)
    row_start = line_start = at
    cells: list[str] = []
    places: list[positions.Place] = []
    while True:
        place = line, at - line_start + 1
        if not (found := pattern.match(text, at)):
            if text[at] == '"' and (left - text.count('"', row_start, at)) % 2:
                return cells, places, len(text), (place, "this quotation mark is never closed: close or double it")
            return cells, places, _find(text, "\n", at), (place, _STRAY)
        quoted, plain, separator = found.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        places.append(place)
        if breaks := text.count("\n", at, found.start(3)):
            line += breaks
            line_start = text.rindex("\n", at, found.start(3)) + 1
        at = found.end()
        if separator != delimiter:
            return cells, places, found.start(3), None


_STRAY = "quotation mark inside a cell: enclose the whole cell in quotation marks, and double those inside it"


@functools.cache
def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'(?:"([^"]*(?:""[^"]*)*)"|([^"{delimiter}\n]*))({delimiter}|\n|\Z)')
