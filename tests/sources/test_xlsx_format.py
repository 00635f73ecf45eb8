"""Spreadsheets in xlsx: text is read, and everything that would have to be guessed is an error with its cell."""

import datetime
import io
import random
import zipfile
from typing import Any

import pytest

from tests.sources import conftest, workbooks
from worker.sources import completeness, document_reader, membership_document, row_mapping

HEADER = ["Staff no.", "Depot", "Start", "Remark"]


def read(rows: list[list[Any]], *, mapping: dict[str, Any] | None = None, **sheet: Any) -> membership_document.Contents:
    fleets = {"fleets": {"Paris": "Paris vans", "Lyon": "Lyon vans"}}
    rows_of = {"driver": "employee_id={Staff no.}", "fleet": "{Depot}", **fleets, **(mapping or {})}
    options = document_reader.DocumentOptions(rows=row_mapping.RowMapping(**rows_of))
    data = workbooks.workbook(workbooks.sheet(rows, **sheet))
    return document_reader.read("hr.xlsx", ".xlsx", data, options)


def problems(rows: list[list[Any]], **options: Any) -> list[str]:
    return [str(problem) for problem in read(rows, **options).problems]


def test_a_sheet_is_read_like_any_table() -> None:
    contents = read([HEADER, ["0123", "Paris", "", ""], [], ["77", " Lyon ", "", 5.0]])
    assert contents.problems == ()
    assert [(str(row.driver), str(row.fleet), str(row.origin)) for row in contents.rows] == [
        ("employee_id=0123", '"Paris vans"', "hr.xlsx:A2"),
        ("employee_id=77", '"Lyon vans"', "hr.xlsx:A4"),
    ]


def test_a_sheet_with_our_own_columns_needs_no_mapping(read: conftest.Read) -> None:
    data = workbooks.workbook(workbooks.sheet([["Driver", "Fleet", "Note"], ["x@y", "a", 12], ["z@y", "b", True]]))
    reading = read("a.xlsx", data)
    assert [(str(row.driver), row.note) for row in reading.rows] == [("x@y", "12"), ("z@y", "TRUE")]


def test_an_unmapped_value_is_an_error_with_its_cell() -> None:
    found = problems([HEADER, ["1", "Paris", "", ""], ["2", "Nantes", "", ""]])
    assert found == ['hr.xlsx:B3: "Nantes" is not in [sources.fleets]: add it, or set other_fleets']


def test_numbers_in_columns_that_make_references_are_errors() -> None:
    """0123 is the number 123, and a long id is 1.16E+20: the text is lost."""
    found = problems([HEADER, [123, "Paris", 1, 1], ["1", True, "", ""]])
    assert [problem.split(": ")[0] for problem in found] == ["hr.xlsx:A2", "hr.xlsx:B3", "hr.xlsx:B3"]
    assert "format the column as text" in found[0]


def test_dates_are_read_as_dates() -> None:
    date = workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>46022</v>')
    for changes in ({"starts": "{Start}"}, {"starts": "{Start}", "date_format": "%d.%m.%Y"}):
        (row,) = read([HEADER, ["1", "Paris", date, ""]], mapping=changes).rows
        assert row.starts == datetime.datetime(2025, 12, 31, tzinfo=datetime.UTC)
    noon = workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>46022.5</v>')
    (found,) = problems([HEADER, ["1", "Paris", noon, ""]], mapping={"starts": "{Start}"})
    assert found.startswith("hr.xlsx:C2: ") and "has no time zone" in found


def test_a_date_that_would_lose_its_century_is_an_error() -> None:
    """Many a system writes 2099-12-31 for a membership without an end: as 31.12.99 it would have ended in 1999."""
    mapping = {"ends": "{Start}", "date_format": "%d.%m.%y"}
    soon, forever = (workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>{day}</v>') for day in (46022, 73050))
    (row,) = read([HEADER, ["1", "Paris", soon, ""]], mapping=mapping).rows
    assert row.ends == datetime.datetime(2025, 12, 31, tzinfo=datetime.UTC)
    (found,) = problems([HEADER, ["1", "Paris", forever, ""]], mapping=mapping)
    assert found.startswith('hr.xlsx:C2: "2099-12-31" is not a date: date_format')


@pytest.mark.parametrize("changes", [{}, {"date_format": "%d.%m.%Y"}])
def test_a_date_cell_with_a_small_number_is_before_all_dates_that_can_be_meant(changes: dict[str, str]) -> None:
    first = workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>1</v>')
    (found,) = problems([HEADER, ["1", "Paris", first, ""]], mapping={"ends": "{Start}", **changes})
    assert found.startswith("hr.xlsx:C2: ") and "is before 1950" in found


def test_a_date_that_is_no_number_is_an_error() -> None:
    """Programs write NaN where a date is missing; as a date before all others it would end every membership."""
    nothing = workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>NaN</v>')
    (found,) = problems([HEADER, ["1", "Paris", nothing, ""]], mapping={"ends": "{Start}"})
    assert found.startswith('hr.xlsx:C2: "NaN" is not a date')


_XMLNS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_HEAD = '<row r="1"><c r="A1" t="str"><v>driver</v></c><c r="B1" t="str"><v>fleet</v></c></row>'
_ANN = '<c r="A2" t="str"><v>ann@b.example</v></c>'
_IN_A = '<c r="B2" t="str"><v>a</v></c>'


@pytest.mark.parametrize(
    "rows",
    [
        f'<row r="2">{_ANN}{_IN_A}</row><row r="2">{_ANN.replace("ann", "bob")}{_IN_A}</row>',
        f'<row r="2">{_ANN}{_IN_A}</row><row r="3">{_ANN.replace("ann", "bob")}{_IN_A}</row>',
        f'<row r="2">{_ANN}{_ANN.replace("ann", "bob")}{_IN_A}</row>',
        f'<row r="2">{_ANN}{_IN_A}</row></sheetData><sheetData><row r="3">'
        f"{_ANN.replace('ann', 'bob').replace('2', '3')}{_IN_A.replace('2', '3')}</row>",
    ],
    ids=["row", "cell of another row", "cell", "sheet in two parts"],
)
def test_what_is_there_twice_is_an_error(rows: str) -> None:
    """The library reads one of the two, and the other would count as left out."""

    def read_sheet(rows: str) -> membership_document.Contents:
        data = workbooks.workbook(f'<worksheet xmlns="{_XMLNS}"><sheetData>{_HEAD}{rows}</sheetData></worksheet>')
        return document_reader.read("a.xlsx", ".xlsx", data, document_reader.DocumentOptions())

    assert len(read_sheet(f'<row r="2">{_ANN}{_IN_A}</row>').rows) == 1
    (problem,) = read_sheet(rows).problems
    assert "are repeated or out of order" in problem.message


def test_a_formula_without_a_value_is_an_error_where_it_is_used() -> None:
    """A program that writes formulas but does not calculate them leaves such cells; they read as empty."""
    formula = workbooks.Raw("><f>A1</f>")
    found = problems([HEADER, ["1", formula, "", formula]])
    assert found[0].startswith("hr.xlsx:B2: a formula without a calculated value")
    assert "hr.xlsx:D2" not in " ".join(found)
    assert "save it" in found[0] and "clear" in found[0]  # the value that was saved may be an empty text
    calculated = workbooks.Raw('t="str"><f>A1</f><v>Paris</v>')
    assert problems([HEADER, ["1", calculated, "", ""]]) == []


def test_an_error_value_is_an_error_where_it_is_used() -> None:
    error = workbooks.Raw('t="e"><v>#N/A</v>')
    found = problems([HEADER, ["1", error, "", error]])
    assert "hr.xlsx:B2: an error value, such as #N/A: correct the formula" in found
    assert "hr.xlsx:D2" not in " ".join(found)


@pytest.mark.parametrize("value", ["#ERROR!", "#GETTING_DATA", "Err:508"])
def test_an_error_value_that_the_library_does_not_know_is_named(value: str) -> None:
    """Google Sheets and LibreOffice write such values; the workbook is not cut short."""
    (found,) = problems([HEADER, ["1", "Paris", "", workbooks.Raw(f't="e"><v>{value}</v>')]])
    assert found == f'hr.xlsx:1:1: a cell has the error value "{value}": correct its formula, or clear it'


@pytest.mark.integration
def test_where_the_library_panics_only_the_document_is_refused() -> None:
    """Its panic is no Exception: it would end the service."""
    date = workbooks.Raw(f's="{workbooks.DATE_STYLE}"><v>-1e308</v>')
    (found,) = problems([HEADER, ["1", "Paris", "", date]])
    assert "is not an xlsx workbook" in found


def test_merged_cells_are_errors_where_they_are_used() -> None:
    rows: list[list[Any]] = [HEADER, ["1", "Paris", "", ""], ["2", "Paris", "", ""]]
    (found,) = problems(rows, merged=["B2:C3"])
    assert found == "hr.xlsx:B2: merged cells up to C3: unmerge them, and fill in each"
    assert problems(rows, merged=["C2:D3"]) == []


def test_hidden_rows_count_and_are_reported() -> None:
    rows: list[list[Any]] = [HEADER, ["1", "Paris", "", ""], ["2", "Paris", "", ""], ["3", "Lyon", "", ""]]
    contents = read(rows, hidden=[2])
    assert len(contents.rows) == 3
    (notice,) = contents.notices
    assert str(notice) == "hr.xlsx: row 2 is hidden in the sheet; it counts like any other"
    (notice,) = read(rows, hidden=[3, 4]).notices
    assert str(notice) == "hr.xlsx: 2 rows (the first is 3) are hidden in the sheet; they count like any other"


def test_exactly_one_visible_sheet_may_have_content() -> None:
    table, empty = workbooks.sheet([["driver", "fleet"], ["x@y", "a"]]), workbooks.sheet([])

    def found(*sheets: str, states: tuple[str, ...] = ()) -> list[str]:
        data = workbooks.workbook(*sheets, states=states)
        contents = document_reader.read("a.xlsx", ".xlsx", data, document_reader.DocumentOptions())
        return [problem.message for problem in contents.problems]

    assert found(empty, table) == []
    assert found(table, table, states=("hidden", "visible")) == []
    assert "several visible sheets" in found(table, table)[0]
    assert "the document is empty" in found(empty)[0]
    assert "the document is empty" in found(workbooks.sheet([[" ", workbooks.Raw("><v></v>")]]))[0]


def test_a_trailer_cannot_prove_a_workbook() -> None:
    data = workbooks.workbook(workbooks.sheet([["driver", "fleet"], ["x@y", "a"], ["#END 1", ""]]))
    options = document_reader.DocumentOptions(checks=completeness.Completeness(trailer="#END.*"))
    (problem,) = document_reader.read("a.xlsx", ".xlsx", data, options).problems
    assert "a trailer is a line of text" in problem.message


def test_a_workbook_cut_anywhere_is_an_error() -> None:
    data = workbooks.workbook(workbooks.sheet([["driver", "fleet"], ["x@y", "a"], ["z@y", "a"]]))
    chance = random.Random(5)
    for cut in [0, 1, len(data) - 1, *(chance.randrange(len(data)) for _ in range(60))]:
        assert document_reader.read("a.xlsx", ".xlsx", data[:cut], document_reader.DocumentOptions()).problems


@pytest.mark.parametrize(
    "sheet",
    [
        "",
        "<worksheet>",
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>',
    ],
)
def test_a_sheet_that_is_no_sheet_or_a_bomb_is_an_error(sheet: str) -> None:
    data = workbooks.workbook(sheet)
    (problem,) = document_reader.read("a.xlsx", ".xlsx", data, document_reader.DocumentOptions()).problems
    assert problem.message


def test_a_document_type_is_refused() -> None:
    """Entities can make a small file expand without end."""
    sheet = '<!DOCTYPE worksheet [<!ENTITY a "x@y">]>' + workbooks.sheet([["driver", "fleet"], ["x@y", "a"]])
    data = workbooks.workbook(sheet)
    (problem,) = document_reader.read("a.xlsx", ".xlsx", data, document_reader.DocumentOptions()).problems
    assert "contains a document type" in problem.message


def test_a_workbook_that_would_unpack_to_more_than_a_gigabyte_is_refused_unread() -> None:
    data = io.BytesIO(workbooks.workbook(workbooks.sheet([["driver", "fleet"], ["x@y", "a"]])))
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("xl/media/image1.png", b"")
        archive.infolist()[-1].file_size = 2**30
    contents = document_reader.read("a.xlsx", ".xlsx", data.getvalue(), document_reader.DocumentOptions())
    assert contents.code == "source_too_large"
