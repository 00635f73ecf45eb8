"""CSV: each row is one membership and has exactly the cells of the header."""

import csv
import io

import hypothesis
import pytest
from hypothesis import strategies

from tests.sources import conftest
from tests.support import laws
from worker.sources import positions, table
from worker.sources.formats import csv_format


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("driver,fleet\nx@y\n", "2:1: 1 cells, but the header has 2: write one cell for every column"),
        ("driver,fleet\nx@y,a,b\n", "2:1: 3 cells, but the header has 2"),
        ("driver,fleet,until\nx@y,a\n", "2:1: 2 cells, but the header has 3"),
        (
            "driver,fleet,form\nx@y,a,\n",
            '1:14: unknown column "form": the columns are driver, fleet, from, until, note',
        ),
        ("driver,fleet,form\nx@y,a,\n", 'did you mean "from"?'),
        ("Drivers,Fleet\nx@y,a\n", 'did you mean "driver"?'),
        ("driver,fleet,driver\nx@y,a,b\n", '1:14: duplicate column "driver"'),
        ("driver\nx@y\n", '1:1: no column "fleet"'),
        ("fleet\nx@y\n", '1:1: no column "driver"'),
        ("x@y,a\n", '1:1: unknown column "x@y"'),
        ("driver,fleet\n,a\n", "2:1: the driver is missing"),
        ("driver,fleet\nx@y,\n", "2:5: the fleet is missing"),
        ("driver,fleet\nx@y, a\n", "2:5: the fleet begins or ends with a space: remove it"),
        ('driver,fleet\nx@y,a"b\n', "quotation mark inside a cell"),
        ('driver,fleet\nx@y,"a"b\n', "2:5: quotation mark inside a cell"),
        ('driver,fleet\nx@y,"a\nx@z,a\n', "2:5: this quotation mark is never closed"),
        ('driver,fleet\n"x@y","a"b"\nx@w,"a\nb"\n"x@z","a\n', "5:7: this quotation mark is never closed"),
        ("driver,fleet,from,until\nx@y,a,2026-02-01,2026-01-01\n", '2:18: "until" must be after "from"'),
    ],
)
def test_mistakes_are_refused_with_their_place(text: str, problem: str, refused: conftest.Refused) -> None:
    assert problem in "\n".join(refused("a.csv", text))


def test_all_ragged_and_all_wrong_rows_are_reported_at_once(refused: conftest.Refused) -> None:
    found = refused("a.csv", "driver,fleet,from\nx@y\nx@y,flt_a,\nx@y,a,never\nx@y,,\nnone,a,\n")
    assert [line.split(": ")[0] for line in found] == [
        f"a.csv:{place}" for place in ("2:1", "3:5", "4:7", "5:5", "6:1")
    ]


@pytest.mark.parametrize("rows", ["x@y\n", "x@y,\n", "x@y\nz@y,a,b\n,a\n"])
def test_if_every_row_is_faulty_only_the_rows_are_reported(rows: str, refused: conftest.Refused) -> None:
    """A message that the document has no "fleets" would mislead: CSV has no such key."""
    found = refused("a.csv", f"driver,fleet\n{rows}")
    assert [line.split(":")[1] for line in found] == [str(2 + row) for row in range(rows.count("\n"))]


def test_columns_may_be_in_any_order(read: conftest.Read) -> None:
    reading = read("a.csv", 'note,fleet,driver\n"said ""no"",\nthen yes",a,x@y\n,a,z@y\n')
    assert [(str(row.driver), row.note, str(row.origin)) for row in reading.rows] == [
        ("x@y", 'said "no",\nthen yes', "a.csv:3:13"),
        ("z@y", "", "a.csv:4:4"),
    ]


def test_a_fleet_in_several_rows_is_one_entry_at_the_first_of_them(read: conftest.Read) -> None:
    reading = read("a.csv", "driver,fleet\nx@y,a\nx@y,b\nz@y,a\n")
    assert [str(entry.origin) for entry in reading.fleets] == ["a.csv:2:5", "a.csv:3:5"]
    assert len(reading.rows) == 3


def test_empty_dates_mean_no_limit(read: conftest.Read) -> None:
    (row,) = read("a.csv", "driver,fleet,from,until,note\nx@y,a,,,\n").rows
    assert (row.starts, row.ends, row.note) == (None, None, "")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_is_read(ending: str, read: conftest.Read) -> None:
    text = ending.join(["driver,fleet", "x@y,a", "", "z@y,a"])
    assert [row.origin.line for row in read("a.csv", text.encode()).rows] == [2, 4]


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_semicolons_and_tabs_are_recognized_by_the_header(mark: str, read: conftest.Read) -> None:
    (row,) = read("a.csv", mark.join(["driver", "fleet", "note"]) + "\n" + mark.join(["x@y", "a", "b"])).rows
    assert (str(row.driver), str(row.fleet), row.note, str(row.origin)) == ("x@y", '"a"', "b", "a.csv:2:1")


def test_header_names_compare_without_regard_to_case_and_spaces(read: conftest.Read) -> None:
    (row,) = read("a.csv", "Driver, FLEET ,Note\nx@y,a,b\n").rows
    assert (str(row.driver), row.note) == ("x@y", "b")


def test_blank_rows_and_columns_of_a_spreadsheet_are_ignored(read: conftest.Read) -> None:
    text = "driver;fleet;;\nx@y;a;;\n;;;\n  ;;\t;\nz@y;a;;\n\n"
    assert [str(row.origin) for row in read("a.csv", text).rows] == ["a.csv:2:1", "a.csv:5:1"]


def test_content_in_a_column_without_a_header_is_an_error(refused: conftest.Refused) -> None:
    (problem,) = refused("a.csv", "driver,fleet,\nx@y,a,lost\n")
    assert problem == "a.csv:2:1: 3 cells, but the header has 2: write one cell for every column"


def test_every_problem_of_a_spreadsheet_is_reported_in_one_pass(refused: conftest.Refused) -> None:
    """Wrong encoding, stray quotation marks, dates, ragged rows and references at once."""
    text = 'Driver;Fleet;From\nx@y;Orl\xe9ans;\nx@y;a"b;\nx@y;a;31.12.2026\nx@y\nnone;a;\n"x@y;a;\n'
    places = [problem.split(": ")[0] for problem in refused("a.csv", text.encode("latin-1"))]
    assert places == [f"a.csv:{place}" for place in ("2:8", "3:5", "4:7", "5:1", "6:1", "7:1")]


def test_a_cell_with_line_breaks_does_not_shift_the_places_after_it(read: conftest.Read) -> None:
    text = 'driver,note,fleet\r\nx@y,"one\r\ntwo",a\r\nz@y,,b\r\n'
    reading = read("a.csv", text)
    assert [str(entry.origin) for entry in reading.fleets] == ["a.csv:3:6", "a.csv:4:6"]
    assert [row.note for row in reading.rows] == ["one\ntwo", ""]


CELLS = strategies.text("ab \"',;\n", min_size=1, max_size=5)


@hypothesis.given(strategies.lists(strategies.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_what_the_standard_library_writes_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("driver", "fleet", "note"), *rows])
    parsed = csv_format.parse(written.getvalue(), required={"driver"})
    assert [tuple(cells) for _, cells, _ in parsed.rows] == [row for row in rows if any(cell.strip() for cell in row)]
    assert parsed.faults == []


LONG = "x" * 40_000
SHAPES = strategies.sampled_from(
    ["x,a", "x,a\ny,b", f"{LONG},a", f'{LONG}{LONG},"a"', '"x",a', f'"{LONG}\n,{LONG}",a', 'x,"a ""b"""', " ,", ""]
)
"""Rows as they are written, of any length, with and without quotation marks and content."""


@hypothesis.given(strategies.lists(SHAPES, max_size=6))
@laws.examples(50)
def test_long_texts_are_cut_into_the_rows_that_the_standard_library_reads(shapes: list[str]) -> None:
    text = "\n".join(["driver,fleet", *shapes])
    reader = csv.reader(io.StringIO(text, newline=""))
    expected = [(reader.line_num - sum(cell.count("\n") for cell in cells), cells) for cells in reader]
    parsed = csv_format.parse(text, required=set(), delimiter="comma")
    read = [(parsed.header[0], parsed.header[1]), *((line, cells) for line, cells, _ in parsed.rows)]
    assert read == [(line, cells) for line, cells in expected if any(cell.strip() for cell in cells)]
    assert parsed.faults == []


@pytest.mark.integration
def test_a_large_document_in_which_every_row_has_a_stray_quotation_mark_is_refused_soon() -> None:
    parsed = csv_format.parse("driver,fleet\n" + 'x@y,"a"b\n' * 200_000, required=("driver", "fleet"))
    assert list(parsed.rows) == []
    assert len(parsed.faults) == 200_000


@hypothesis.given(
    strategies.text('a,;"\n\r\t ', max_size=20), strategies.sampled_from(["auto", *csv_format.DELIMITERS])
)
def test_no_text_makes_the_parser_hang_or_crash(text: str, delimiter: str) -> None:
    parsed = csv_format.parse("driver,fleet\n" + text, required={"driver"}, delimiter=delimiter)
    for row in parsed.rows:
        assert all(min(table.place(row, index)) >= 1 for index in range(len(row[1])))


def test_a_column_with_names_is_for_people_only(read: conftest.Read) -> None:
    plain = read("a.csv", "driver,fleet\nx@y,a\n")
    for text in ("driver,fleet,name\nx@y,a,Emma\n", "Name,driver,fleet\n=1+1,x@y,a\n", "driver,name,fleet\nx@y,,a\n"):
        reading = read("a.csv", text)
        assert [(row.driver, row.fleet) for row in reading.rows] == [(row.driver, row.fleet) for row in plain.rows]


@pytest.mark.parametrize(
    ("text", "required", "cells"),
    [
        ("a,b;c\n", [], ["a", "b;c"]),
        ("a,b;c\n", ["b;c"], ["a", "b;c"]),
        ("a,b;c\n", ["c"], ["a,b", "c"]),
        ("A B,x\tFleet ;y\n", ["fleet", "a b"], ["A B", "x\tFleet ;y"]),
        ("a;b;c,d\n", [], ["a", "b", "c,d"]),
        ("a\n", ["a"], ["a"]),
        ("\n\na;b\n", ["a", "b"], ["a", "b"]),
    ],
)
def test_the_delimiter_is_the_one_that_finds_most_of_the_columns(
    text: str, required: list[str], cells: list[str]
) -> None:
    assert csv_format.parse(text, required=required).header[1] == cells


@pytest.mark.parametrize(
    ("delimiter", "cells"), [("comma", ["a;b\tc", "d"]), ("semicolon", ["a", "b\tc,d"]), ("tab", ["a;b", "c,d"])]
)
def test_a_delimiter_that_is_named_is_not_guessed(delimiter: str, cells: list[str]) -> None:
    assert csv_format.parse("a;b\tc,d\n", required=["a"], delimiter=delimiter).header[1] == cells


def test_each_cell_of_a_row_with_quotation_marks_knows_its_place() -> None:
    parsed = csv_format.parse('a,b,c\n"x\ny","1 ""2""",z\n\nlast,"",\n', required=["a"])
    assert parsed.header == (1, ["a", "b", "c"], None)
    assert list(parsed.rows) == [
        (2, ["x\ny", '1 "2"', "z"], [(2, 1), (3, 4), (3, 14)]),
        (5, ["last", "", ""], [(5, 1), (5, 6), (5, 9)]),
    ]


def test_rows_of_nothing_but_separators_and_spaces_are_none() -> None:
    parsed = csv_format.parse('a,b\n, \n \t,\n"",""\n" ", \nx,\n', required=["a"])
    assert [(line, cells) for line, cells, _ in parsed.rows] == [(6, ["x", ""])]


def test_without_a_header_the_first_fault_is_the_reason() -> None:
    for text, place, message in (("", (1, 1), positions.EMPTY), ('a"b,c\n', (1, 1), "quotation mark inside a cell")):
        with pytest.raises(positions.Malformed, match=message) as caught:
            csv_format.parse(text, required=["a"])
        assert caught.value.place == place


def test_a_fault_is_where_it_is_written_and_the_rows_around_it_are_read() -> None:
    parsed = csv_format.parse('a,b\n1,2\n3,x"y\n4,5\n6,"7\n8,9\n', required=["a"])
    assert [(line, cells) for line, cells, _ in parsed.rows] == [(2, ["1", "2"]), (4, ["4", "5"])]
    (stray, message), (open_, never) = parsed.faults
    assert (stray, open_) == ((3, 3), (5, 3))
    assert message.startswith("quotation mark inside a cell") and "is never closed" in never


def test_a_row_behind_a_line_end_that_editors_do_not_show_is_refused(refused: conftest.Refused) -> None:
    (problem,) = refused("a.csv", "driver,fleet,note\nx@y,a,note\rx@z,a,note\n")
    assert problem == "a.csv:2:11: a single carriage return ends no line here: remove it, or quote the cell"


@pytest.mark.parametrize(
    "text",
    [
        'driver,fleet,note\nx@y,a,"one\rtwo"\n',
        "driver,fleet,note\r\r\nx@y,a,note\r\r\n",
        "driver,fleet,note\rx@y,a,note\r",
    ],
)
def test_other_carriage_returns_are_read(text: str, read: conftest.Read) -> None:
    assert [str(row.driver) for row in read("a.csv", text).rows] == ["x@y"]
