"""Parses the one visible worksheet of an xlsx workbook into a table of text.

Invariant: no value is guessed. In used columns, merged cells, error values and formulas without a calculated value are
faults. In columns that form references, numbers are faults too, because a spreadsheet does not preserve 0123 or 1E+20.
Neighbours: `xlsx_structure` reads what python-calamine does not report; `table` defines the result.
"""

import contextlib
import datetime
import functools
import io
import re
from collections.abc import Collection, Iterator, Sequence

import python_calamine

from worker.sources import positions, row_mapping, table
from worker.sources.formats import xlsx_structure

_Value = int | float | str | bool | datetime.time | datetime.date | datetime.datetime | datetime.timedelta

_Fault = tuple[positions.Place, str]
_Range = tuple[tuple[int, int], tuple[int, int]]

_NO_DATE = "1899-12-30T00:00:00"
"""What python-calamine returns for a date cell that is not a number. The first real date in a sheet is 1900-01-01."""

_NO_VALUE = (
    "a formula without a calculated value: open the workbook in a spreadsheet program and save it, or clear the cell "
    "if the formula yields an empty text"
)
_UNKNOWN_ERROR = re.compile("error value '(.*)'")
_ONE_SHEET = "keep the table in one visible sheet, and hide or remove the others"


def parse(data: bytes, *, used: Collection[str], references: Collection[str], date_format: str = "") -> table.Table:
    """Parse a workbook. `used` and `references` are folded names of columns; dates are written in `date_format`.

    Raises Malformed.
    """
    xlsx_structure.check_size(data)
    with _failures():
        sheet, structure = _only_sheet(data)
        values = sheet.to_python(skip_empty_area=False)
    rows = _rows(values, date_format or "%Y-%m-%d")
    header = next(rows, None)
    if header is None:
        raise positions.Malformed((1, 1), positions.EMPTY, code="source_empty")
    columns = {row_mapping.fold(name): number for number, name in reversed([*enumerate(header[1], 1)])}
    faults = [
        *_numbers(values[header[0] :], header[0] + 1, sorted(columns[name] for name in columns if name in references)),
        *_faults(structure, sheet.merged_cell_ranges or [], {columns[name] for name in columns if name in used}),
    ]
    hidden = [row for row in structure.hidden_rows if row > header[0]]
    return table.Table(header, rows, sorted(faults), is_sheet=True, hidden_rows=hidden)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except python_calamine.CalamineError as error:
        if found := _UNKNOWN_ERROR.search(str(error)):
            message = f"a cell has the error value {positions.quote(found[1])}: correct its formula, or clear it"
            raise positions.Malformed((1, 1), message) from None
        raise positions.Malformed((1, 1), xlsx_structure.NOT_A_WORKBOOK) from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of the library: it is no Exception, and cannot be imported
            raise positions.Malformed((1, 1), xlsx_structure.NOT_A_WORKBOOK) from None
        raise


def _only_sheet(data: bytes) -> tuple[python_calamine.CalamineSheet, xlsx_structure.Structure]:
    """Return the one visible worksheet with content. Its structure is checked first: its values may exhaust memory."""
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    structures = xlsx_structure.read(data, [sheet.name for sheet in workbook.sheets_metadata if _is_visible(sheet)])
    filled = [name for name, structure in structures.items() if structure.columns]
    sheets = [workbook.get_sheet_by_name(name) for name in filled[:2]]
    if len(sheets) > 1:
        raise positions.Malformed((1, 1), f"the workbook has several visible sheets with content: {_ONE_SHEET}")
    if not sheets:
        raise positions.Malformed((1, 1), positions.EMPTY, code="source_empty")
    return sheets[0], structures[filled[0]]


def _is_visible(sheet: python_calamine.SheetMetadata) -> bool:
    visible = sheet.visible == python_calamine.SheetVisibleEnum.Visible
    return visible and sheet.typ == python_calamine.SheetTypeEnum.WorkSheet


def _rows(values: Sequence[Sequence[_Value]], date_format: str) -> Iterator[table.TableRow]:
    """Yield the rows with content."""
    for line, row in enumerate(values, 1):
        cells = [_text(value, date_format) for value in row]
        if any(cell.strip() for cell in cells):
            yield line, cells, [(line, column) for column in range(1, len(cells) + 1)]


def _text(value: _Value, date_format: str) -> str:
    """Return a value as text. The time of a date is kept, so that parsing the date refuses it."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() != datetime.time():
        return value.isoformat()
    if isinstance(value, datetime.date):
        return "NaN" if value.isoformat() == _NO_DATE else _written(value, date_format)
    return str(value)


@functools.lru_cache(maxsize=65_536)
def _written(date: datetime.date, date_format: str) -> str:
    """Return a date in this format; as ISO, which parsing refuses, where the format loses its century."""
    text, exact = date.strftime(date_format), date.isoformat()[:10]
    with contextlib.suppress(ValueError):
        if row_mapping.parse_day(text, date_format).date().isoformat() == exact:
            return text
    return exact


def _numbers(values: Sequence[Sequence[_Value]], first: int, columns: Sequence[int]) -> Iterator[_Fault]:
    """Yield a fault for every cell of these columns that is not text."""
    for line, row in enumerate(values, first):
        for column in columns:
            if not isinstance(row[column - 1], str):
                yield (line, column), "a number, date or truth value where text is needed: format the column as text"


def _faults(
    structure: xlsx_structure.Structure, merged: Sequence[_Range], columns: Collection[int]
) -> Iterator[_Fault]:
    for cell in structure.without_value:
        if cell[1] in columns:
            yield cell, _NO_VALUE
    for cell in structure.errors:
        if cell[1] in columns:
            yield cell, "an error value, such as #N/A: correct the formula"
    for (top, left), (bottom, right) in merged:
        if any(left < column <= right + 1 for column in columns):
            name = table.cell_name((bottom + 1, right + 1))
            yield (top + 1, left + 1), f"merged cells up to {name}: unmerge them, and fill in each"
