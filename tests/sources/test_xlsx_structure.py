"""What is found in the XML of a worksheet, apart from the values of its cells."""

import pytest

from tests.sources import workbooks
from worker.sources import positions
from worker.sources.formats import xlsx_structure


def found(rows: str) -> xlsx_structure.Structure:
    """Return the structure of a sheet with these rows."""
    sheet = workbooks.sheet([]).replace("<sheetData></sheetData>", f"<sheetData>{rows}</sheetData>")
    return xlsx_structure.read(workbooks.workbook(sheet), ["Sheet1"])["Sheet1"]


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        ("", (0, 0)),
        ('<row r="2"><c r="B2"/><c r="D2"/></row>', (2, 4)),
        ('<row r="2"><c r="D2"/></row><row r="7"><c r="B7"/></row>', (7, 4)),
        ('<row><c/><c/></row><row r="4"><c r="C4"/><c/></row><row><c/></row>', (5, 4)),
        ('<row r="1"><c r="Z1"/><c r="AA1"/><c r="ABC1"/></row>', (1, 731)),
    ],
)
def test_a_sheet_is_as_large_as_its_last_row_and_column(rows: str, size: tuple[int, int]) -> None:
    structure = found(rows)
    assert (structure.rows, structure.columns) == size


@pytest.mark.parametrize(
    ("cells", "without_value"),
    [
        ("<c><f>A2</f></c>", {(1, 1)}),
        ("<c><f>A2</f><v></v></c>", {(1, 1)}),
        ("<c><f>A2</f><v>7</v></c>", set()),
        ("<c><f>A2</f><is><t>x</t></is></c>", set()),
        ("<c><f/></c><c/><c><v>7</v></c>", {(1, 1)}),
        ("<c><v>7</v></c><c><f>A2</f></c>", {(1, 2)}),
        ("<c><f>A2</f><v>7</v></c><c><f>A2</f></c>", {(1, 2)}),
        ("<c><v/><f>A2</f></c>", {(1, 1)}),
    ],
)
def test_a_formula_has_a_value_if_there_is_text_in_its_value(
    cells: str, without_value: set[xlsx_structure.Cell]
) -> None:
    assert found(f"<row>{cells}</row>").without_value == without_value


def test_errors_are_the_cells_of_that_type() -> None:
    rows = '<row r="3"><c r="B3" t="e"><v>#N/A</v></c><c r="C3" t="str"/></row><row r="9"><c r="A9" t="e"/></row>'
    assert found(rows).errors == {(3, 2), (9, 1)}


def test_hidden_rows_are_those_that_say_so_in_either_spelling() -> None:
    rows = '<row hidden="1"/><row hidden="true"/><row hidden="0"/><row hidden="false"/><row/><row hidden="1"/>'
    assert found(rows).hidden_rows == [1, 2, 6]


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="2"/><row r="2"/>',
        '<row r="2"/><row r="1"/>',
        '<row r="0"/>',
        '<row r="1"><c r="B1"/><c r="B1"/></row>',
        '<row r="1"><c r="B1"/><c r="A1"/></row>',
        '<row r="1"><c/><c r="A1"/></row>',
        '<row r="1"><c r="A2"/></row>',
        "<row/></sheetData><sheetData>",
    ],
)
def test_what_is_repeated_or_out_of_order_is_refused(rows: str) -> None:
    with pytest.raises(positions.Malformed, match="repeated or out of order"):
        found(rows)


def test_a_sheet_that_spans_too_many_cells_is_refused_without_its_values() -> None:
    assert found('<row r="1000000"><c r="AX1000000"/></row>').columns == 50
    with pytest.raises(positions.Malformed, match="the cells span more than 50,000,000") as caught:
        found('<row r="1000000"><c r="AY1000000"/></row>')
    assert caught.value.code == "source_too_large"


def test_elements_count_whatever_prefix_they_have() -> None:
    sheet = '<x:worksheet xmlns:x="urn:x"><x:sheetData><x:row><x:c t="e"/></x:row></x:sheetData></x:worksheet>'
    structures = xlsx_structure.read(workbooks.workbook(sheet, workbooks.sheet([["a"]])), ["Sheet1", "Sheet2"])
    assert structures["Sheet1"].errors == {(1, 1)}
    assert (structures["Sheet2"].rows, structures["Sheet2"].errors) == (1, set())


def test_what_is_no_archive_is_no_workbook() -> None:
    data = b"driver,fleet\n"
    with pytest.raises(positions.Malformed, match="not an xlsx workbook"):
        xlsx_structure.check_size(data)
    with pytest.raises(positions.Malformed, match="not an xlsx workbook"):
        xlsx_structure.read(data, ["Sheet1"])
