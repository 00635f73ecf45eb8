"""Reads what python-calamine does not report: formulas without a value, errors, hidden rows, and cells that it drops.

Invariants: a cell that appears twice, or a sheet in two parts, is refused, because the library would read only one of
them. Memory and time are bounded: a workbook that would unpack to more than `MAX_UNPACKED` bytes, or whose cells span
more than `MAX_CELLS`, is refused before its values are read. Document types and entities are refused. Neighbours:
`xlsx_format` reads the values.
"""

import dataclasses
import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO
from xml.parsers import expat

from worker.sources import positions

MAX_UNPACKED = 16 * positions.MAX_BYTES
MAX_CELLS = 50_000_000

NOT_A_WORKBOOK = "this is not an xlsx workbook, or it was cut short"

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)
_OUT_OF_ORDER = (
    "its rows or cells are repeated or out of order, so some would be lost: open the workbook in a spreadsheet program "
    "and save it"
)
_CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")

Cell = tuple[int, int]
"""A row and a column, both counted from 1."""


@dataclasses.dataclass(slots=True)
class Structure:
    """What is known about the cells of one worksheet, apart from their values."""

    without_value: set[Cell] = dataclasses.field(default_factory=set)
    errors: set[Cell] = dataclasses.field(default_factory=set)
    hidden_rows: list[int] = dataclasses.field(default_factory=list)
    rows: int = 0
    columns: int = 0


def read(data: bytes, sheets: Sequence[str]) -> dict[str, Structure]:
    """Return the structure of each of these worksheets of a workbook. Raises Malformed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            paths = _paths(archive)
            return {sheet: _scan(archive, paths[sheet]) for sheet in sheets}
    except _UNREADABLE:
        raise positions.Malformed((1, 1), NOT_A_WORKBOOK) from None


def check_size(data: bytes) -> None:
    """Raise Malformed unless this is a zip archive that unpacks to at most `MAX_UNPACKED` bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except _UNREADABLE:
        raise positions.Malformed((1, 1), NOT_A_WORKBOOK) from None
    if size > MAX_UNPACKED:
        raise positions.Malformed((1, 1), "the workbook is too large when unpacked", code="source_too_large")


def _scan(archive: zipfile.ZipFile, path: str) -> Structure:
    scanner = _Scanner()
    with archive.open(path) as member:
        scanner.scan(member)
    if scanner.structure.rows * scanner.structure.columns > MAX_CELLS:
        raise positions.Malformed((1, 1), f"the cells span more than {MAX_CELLS:,}", code="source_too_large")
    return scanner.structure


def _paths(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the path of each worksheet in the archive by its name."""
    relations = _elements(archive.read("xl/_rels/workbook.xml.rels"), "Relationship")
    targets = {each["Id"]: posixpath.normpath(posixpath.join("/xl", each["Target"]))[1:] for each in relations}
    sheets = _elements(archive.read("xl/workbook.xml"), "sheet")
    return {each["name"]: targets[_local(each)["id"]] for each in sheets}


def _local(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name.rpartition(":")[2]: text for name, text in attributes.items()}


def _elements(xml: bytes, name: str) -> list[Mapping[str, str]]:
    """Return the attributes of all elements with this local name."""
    found: list[Mapping[str, str]] = []

    def start(element: str, attributes: Mapping[str, str]) -> None:
        if element.rpartition(":")[2] == name:
            found.append(attributes)

    parser = _parser()
    parser.StartElementHandler = start
    parser.Parse(xml, True)
    return found


def _parser() -> "expat.XMLParserType":
    def refuse(*_: object) -> None:
        raise positions.Malformed((1, 1), "the workbook contains a document type: save it again as xlsx")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    return parser


class _Scanner:
    """Walks over the XML of a worksheet."""

    def __init__(self) -> None:
        self.structure = Structure()
        self._row = self._column = self._parts = 0
        self._has_formula = self._has_value = self._in_value = False

    def scan(self, xml: IO[bytes]) -> None:
        parser = _parser()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.ParseFile(xml)

    def _start(self, element: str, attributes: Mapping[str, str]) -> None:
        match element.rpartition(":")[2]:
            case "sheetData":
                self._parts += 1
                _check(in_order=self._parts == 1)
            case "row":
                before, self._row = self._row, int(attributes.get("r", self._row + 1))
                self._column = 0
                _check(in_order=self._row > before)
                self.structure.rows = max(self.structure.rows, self._row)
                if attributes.get("hidden") in ("1", "true"):
                    self.structure.hidden_rows.append(self._row)
            case "c":
                found = _CELL.fullmatch(attributes.get("r", ""))
                before, self._column = self._column, _column(found[1]) if found else self._column + 1
                _check(in_order=self._column > before and (not found or int(found[2]) == self._row))
                self.structure.columns = max(self.structure.columns, self._column)
                self._has_formula = self._has_value = False
                if attributes.get("t") == "e":
                    self.structure.errors.add((self._row, self._column))
            case "f":
                self._has_formula = True
            case "v" | "is":
                self._in_value = True
            case _:
                pass

    def _text(self, text: str) -> None:
        if self._in_value and text:
            self._has_value = True

    def _end(self, element: str) -> None:
        match element.rpartition(":")[2]:
            case "v" | "is":
                self._in_value = False
            case "c" if self._has_formula and not self._has_value:
                self.structure.without_value.add((self._row, self._column))
            case _:
                pass


def _check(*, in_order: bool) -> None:
    if not in_order:
        raise positions.Malformed((1, 1), _OUT_OF_ORDER)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
