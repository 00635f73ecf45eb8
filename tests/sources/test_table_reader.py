"""Rows of a table with columns of its own: mapped, filtered, and within a declared scope."""

import datetime
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from worker.core.model.desired import FleetById, FleetByName
from worker.core.model.identifiers import FleetId
from worker.sources import completeness, document_reader, membership_document, row_mapping

PARIS = FleetId("flt_" + "P" * 32)
LYON = FleetId("flt_" + "L" * 32)
SCOPE = {"Paris - Vans": str(PARIS), "Lyon": str(LYON), "Nantes": "Nantes vans"}

HEADER = "Employee ID;Name;Department;Status;Start;End"


def mapping(**changes: Any) -> row_mapping.RowMapping:
    return row_mapping.RowMapping(
        **{"driver": "employee_id={Employee ID}", "fleet": "{Department}", "fleets": SCOPE, **changes}
    )


def read(text: str, rows: row_mapping.RowMapping | None = None, **options: Any) -> membership_document.Contents:
    reading = document_reader.DocumentOptions(rows=rows or mapping(), **options)
    return document_reader.read("hr.csv", ".csv", text.encode(), reading)


def problems(text: str, rows: row_mapping.RowMapping | None = None, **options: Any) -> list[str]:
    return [str(problem) for problem in read(text, rows, **options).problems]


def memberships(contents: membership_document.Contents) -> list[tuple[str, str]]:
    assert contents.problems == ()
    return [(str(row.driver), str(row.fleet)) for row in contents.rows]


def test_columns_are_mapped_to_drivers_and_fleets() -> None:
    contents = read(f"{HEADER}\n0123;Ann;Paris - Vans;Active;;\n77;Bob;Lyon;Active;;\n")
    assert memberships(contents) == [("employee_id=0123", PARIS), ("employee_id=77", LYON)]
    assert [str(row.origin) for row in contents.rows] == ["hr.csv:2:1", "hr.csv:3:1"]


def test_every_declared_fleet_is_managed_even_if_no_row_names_it() -> None:
    """The last member of a fleet can leave it this way."""
    contents = read(f"{HEADER}\n1;Ann;Lyon;;;\n")
    assert {entry.fleet for entry in contents.fleets} == {FleetById(PARIS), FleetById(LYON), FleetByName("Nantes vans")}
    assert str(contents.fleets[0].origin) == "hr.csv [sources.fleets]"


def test_without_a_scope_rows_name_fleets_by_id_or_name() -> None:
    contents = read(f"{HEADER}\n1;Ann;Paris vans;;;\n2;Bob;{LYON};;;\n3;Eve;Paris vans;;;\n", mapping(fleets={}))
    assert memberships(contents) == [
        ("employee_id=1", '"Paris vans"'),
        ("employee_id=2", LYON),
        ("employee_id=3", '"Paris vans"'),
    ]
    assert [str(entry.origin) for entry in contents.fleets] == ["hr.csv:2:7", "hr.csv:3:7"]


def test_several_columns_and_text_make_one_reference() -> None:
    rows = mapping(driver="{First}.{Last}@acme.example", fleet="{Site} - {Kind}")
    contents = read("First,Last,Site,Kind\nAnn,Lee,Paris,Vans\n", rows)
    assert memberships(contents) == [("ann.lee@acme.example", PARIS)]


def test_an_unmapped_fleet_is_an_error_with_its_first_place_and_the_number_of_rows() -> None:
    found = problems(f"{HEADER}\n1;Ann;Lyon;;;\n2;Bob;Lille;;;\n3;Eve;Metz;;;\n4;Joe;Lille;;;\n")
    assert found == [
        'hr.csv:3:7: "Lille" is not in [sources.fleets] (2 rows): add it, or set other_fleets',
        'hr.csv:4:7: "Metz" is not in [sources.fleets]: add it, or set other_fleets',
    ]


def test_an_unmapped_fleet_that_looks_like_one_of_the_scope_is_shown_with_its_code_points() -> None:
    assert problems(f"{HEADER}\n1;Ann;Paris\u00a0- Vans;;;\n2;Bob;Lyon;;;\n3;Bob;LYON;;;\n4;Joe;LYON;;;\n") == [
        'hr.csv:2:7: "Paris\u00a0- Vans" is nearly "Paris - Vans" in [sources.fleets], but differs in Unicode form '
        "(U+00A0 in the table, U+0020 in the settings): correct the cell, or add it",
        'hr.csv:4:7: "LYON" (2 rows) is nearly "Lyon" in [sources.fleets], but differs in letter case: '
        "correct the cell, or add it",
    ]


def test_other_fleets_can_be_ignored_or_read_by_name() -> None:
    text = f"{HEADER}\n1;Ann;Lyon;;;\n2;Bob;Lille;;;\n3;Eve;;;;\n"
    assert memberships(read(text, mapping(other_fleets="ignore"))) == [("employee_id=1", LYON)]
    by_name = mapping(other_fleets="by_name")
    assert memberships(read(text.replace("3;Eve;;;;\n", ""), by_name))[1] == ("employee_id=2", '"Lille"')
    assert problems(text, by_name) == ["hr.csv:4:7: the fleet is missing: write its id or name"]


@pytest.mark.parametrize("filler", [0, 300])
def test_an_ignored_fleet_that_is_nearly_one_of_the_scope_is_reported(filler: int) -> None:
    """Whoever typed it means that fleet, and the driver of the row is about to be detached from it."""
    others = "".join(f"x{number};Joe;Lille;;;\n" for number in range(filler))
    text = f"{HEADER}\n1;Ann;Lyon;;;\n2;Bob;lyon;;;\n3;Eve;Ly\u200bon;;;\n{others}4;Zoe;lyon;;;\n5;Joe;;;;\n"
    contents = read(text, mapping(other_fleets="ignore"))
    assert memberships(contents) == [("employee_id=1", LYON)]
    assert [str(notice) for notice in contents.notices] == [
        'hr.csv:3:7: "lyon" (2 rows) is nearly "Lyon" in [sources.fleets], but differs in letter case; '
        "other_fleets ignores it",
        'hr.csv:4:7: "Ly\u200bon" is nearly "Lyon" in [sources.fleets], but differs in invisible characters '
        "(U+200B in the table, nothing in the settings); other_fleets ignores it",
    ]
    assert {(notice.note, notice.code.value) for notice in contents.notices} == {(True, "fleet_not_declared")}
    assert read(text.replace("lyon", "Metz").replace("\u200b", "d"), mapping(other_fleets="ignore")).notices == ()


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({"keep": {"Status": ["Active", "On leave"]}}, ["1", "2"]),
        ({"drop": {"Status": ["Left", "On leave"]}}, ["1", "4"]),
        ({"keep": {"Status": ["Active", ""]}, "drop": {"Status": ["Left", "On leave"]}}, ["1", "4"]),
        ({"keep": {"Status": ["Active", ""]}, "drop": {"Name": ["Joe"]}}, ["1"]),
    ],
)
def test_filters_decide_which_rows_count(filters: Any, kept: list[str]) -> None:
    text = f"{HEADER}\n1;Ann;Lyon;Active;;\n2;Bob;Lyon;On leave;;\n3;Eve;Lyon;Left;;\n4;Joe;Lyon;;;\n"
    assert [driver for driver, _ in memberships(read(text, mapping(**filters)))] == [f"employee_id={id}" for id in kept]


@pytest.mark.parametrize("dropped", ["status", "Status", " STATUS "])
def test_with_keep_and_drop_any_other_value_is_an_error(dropped: str) -> None:
    """A status that HR introduces tomorrow must not detach anyone, however the column is written."""
    rows = mapping(keep={"status": ["Active"]}, drop={dropped: ["Left"]})
    found = problems(f"{HEADER}\n1;Ann;Lyon;Active;;\n2;Bob;Lille;Sabbatical;;\n", rows)
    assert found == ['hr.csv:3:13: "Sabbatical" is in neither keep nor drop: add it to one of them']


@pytest.mark.parametrize("filler", [0, 300])
@pytest.mark.parametrize("name", ["keep", "drop"])
def test_a_value_that_only_looks_like_a_listed_one_is_an_error(name: str, filler: int) -> None:
    """Alone, `keep` would leave the row out and detach the driver; `drop` would keep one who left."""
    status = {"Status": ["Left", "Active"]}
    others = "".join(f"x{number};Joe;Lyon;Other;;\n" for number in range(filler))
    text = f"{HEADER}\n{others}1;Ann;Lyon;Active;;\n2;Bob;Lyon;active;;\n3;Eve;Lyon;Active\u200b;;\n"
    letter_case, invisible = problems(text, mapping(**{name: status}))
    assert letter_case == (
        f'hr.csv:{filler + 3}:12: "active" is nearly "Active" in {name}, but differs in letter case: '
        "correct the cell, or list it too"
    )
    assert invisible.endswith(
        "but differs in invisible characters (U+200B in the table, nothing in the settings): "
        "correct the cell, or list it too"
    )


def test_a_value_that_another_filter_drops_may_look_like_a_listed_one() -> None:
    rows = mapping(keep={"Status": ["Active"]}, drop={"Name": ["Bob"]})
    assert len(memberships(read(f"{HEADER}\n1;Ann;Lyon;Active;;\n2;Bob;Lyon;active;;\n", rows))) == 1


def test_several_spellings_of_a_value_can_be_listed() -> None:
    rows = mapping(keep={"Status": ["Active", "active"]})
    assert len(memberships(read(f"{HEADER}\n1;Ann;Lyon;Active;;\n2;Bob;Lyon;active;;\n", rows))) == 2


def test_rows_that_are_left_out_need_not_be_valid() -> None:
    rows = mapping(drop={"Status": ["Left"]})
    assert len(memberships(read(f"{HEADER}\n;;Closed site;Left;never;\n1;Ann;Lyon;Active;;\n", rows))) == 1


def test_if_every_row_is_left_out_the_source_is_empty() -> None:
    contents = read(f"{HEADER}\n1;Ann;Lyon;Left;;\n", mapping(keep={"Status": ["present"]}))
    assert contents.code == "source_empty"
    assert "no row is left" in str(contents.problems[0])


def test_dates_in_a_format_of_their_own_are_midnight_utc() -> None:
    rows = mapping(starts="{Start}", ends="{End}", date_format="%d.%m.%Y")
    (row,) = read(f"{HEADER}\n1;Ann;Lyon;;01.02.2026;31.12.2026\n", rows).rows
    assert row.starts == datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
    assert row.ends == datetime.datetime(2026, 12, 31, tzinfo=datetime.UTC)
    found = problems(f"{HEADER}\n1;Ann;Lyon;;2026-02-01;\n2;Bob;Lyon;;2.1.2026;1.1.2026\n", rows)
    assert found == [
        'hr.csv:2:13: "2026-02-01" is not a date: date_format expects one like 31.12.2026',
        'hr.csv:3:22: "until" must be after "from": it is the first moment without the membership',
    ]


def test_a_note_is_text_with_columns_too() -> None:
    (row,) = read(f"{HEADER}\n1;Ann;Lyon;Active;;\n", mapping(note="{Name} ({Status})")).rows
    assert row.note == "Ann (Active)"


def test_cells_may_have_spaces_around_them() -> None:
    assert memberships(read(f"{HEADER}\n 1 ;Ann; Lyon;;;\n")) == [("employee_id=1", LYON)]


def test_a_missing_driver_is_an_error() -> None:
    found = problems(f"{HEADER}\n;Ann;Lyon;;;\n")
    assert found == ["hr.csv:2:1: the driver is missing: write an id, an e-mail address or key=value"]


def test_every_missing_or_duplicate_column_is_reported_at_once() -> None:
    rows = mapping(starts="{Start}", keep={"Status": ["Active"]})
    found = problems("Departments;Employee ID;Begin;employee id;Begin\n1;2;3;4;5\n", rows)
    assert found == [
        'hr.csv:1:1: no column "Department"; did you mean "Departments"?',
        'hr.csv:1:1: no column "Start"',
        'hr.csv:1:1: no column "Status"',
        'hr.csv:1:31: duplicate column "employee id": keep one of them',
    ]


def test_a_column_that_looks_like_a_missing_one_is_shown_with_its_code_points() -> None:
    assert problems("Employee\u00a0ID;Department\n1;Lyon\n") == [
        'hr.csv:1:1: no column "Employee ID"; "Employee\u00a0ID" differs only in Unicode form '
        "(U+00A0 in the table, U+0020 in the expected name)"
    ]


def test_the_delimiter_is_recognized_by_the_columns_that_are_mapped() -> None:
    text = "Name, first;Employee ID;Department, site, floor;Department\nAnn;1;x;Lyon\n"
    assert memberships(read(text)) == [("employee_id=1", LYON)]
    assert "no column" in problems(text, delimiter="comma")[0]


def test_an_encoding_can_be_named() -> None:
    rows = mapping(fleet="{Abteilung}", fleets={"München": str(PARIS)})
    data = "Employee ID;Abteilung\n1;München\n".encode("cp1252")
    options = document_reader.DocumentOptions(rows=rows, encoding="cp1252")
    assert len(document_reader.read("hr.csv", ".csv", data, options).rows) == 1
    (unreadable, unmapped) = document_reader.read(
        "hr.csv", ".csv", data, document_reader.DocumentOptions(rows=rows)
    ).problems
    assert "hr.csv:2:4: byte 0xfc is not UTF-8" in str(unreadable) and "is not in [sources.fleets]" in str(unmapped)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(encoding: str) -> None:
    """Also where the encoding is named: spreadsheets write the mark, whatever the settings say."""
    data = f"\ufeff{HEADER}\n1;Ann;Lyon;Active;;\n".encode(encoding.replace("-sig", ""))
    options = document_reader.DocumentOptions(rows=mapping(), encoding=encoding)
    assert memberships(document_reader.read("hr.csv", ".csv", data, options)) == [("employee_id=1", LYON)]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("cp1252", "\ufeff"), ("utf-16", "\ufeff"), ("latin-1", "\ufeff"), ("cp1252", ""), ("ISO-8859-15", "")],
)
def test_a_document_that_became_utf_8_is_not_read_as_something_else(encoding: str, mark: str) -> None:
    """Its names would be others, and with other_fleets = "ignore" their rows would count as left out."""
    data = f"{mark}Name;{HEADER}\nx;1;Ann;München;Active;;\nx;2;Eve;Lyon;Active;;\n".encode()
    rows = mapping(fleets={"München": str(PARIS), "Lyon": str(LYON)}, other_fleets="ignore")
    options = document_reader.DocumentOptions(rows=rows, encoding=encoding)
    (problem,) = document_reader.read("hr.csv", ".csv", data, options).problems
    assert problem.message == f"the document is UTF-8, but encoding is {encoding}: correct encoding"


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "cp1253", "gbk", "shift_jis", "iso-8859-2", "mac-roman"])
def test_a_document_in_the_encoding_that_is_named_is_read_in_it(encoding: str) -> None:
    """Also one like "联通" in GBK, whose bytes look like UTF-8."""
    words = {"cp1251": "Ромашка Ёж", "cp1253": "Αθήνα", "gbk": "联通", "shift_jis": "東京", "iso-8859-2": "Łódź"}
    name = words.get(encoding, "Zürich Örebro")
    data = f"{HEADER}\n1;Ann;{name};Active;;\n".encode(encoding)
    options = document_reader.DocumentOptions(rows=mapping(fleets={name: str(PARIS)}), encoding=encoding)
    assert memberships(document_reader.read("hr.csv", ".csv", data, options)) == [("employee_id=1", PARIS)]


@pytest.mark.parametrize(("encoding", "data"), [("auto", b"\xef\xbb\xbf%s\xfc\n"), ("cp1252", b"%s\xfc\x81\n")])
def test_what_cannot_be_decoded_does_not_cause_other_problems(encoding: str, data: bytes) -> None:
    """With a byte order mark, the first column still has its name; text in a named encoding is read in it."""
    rows = mapping(fleets={"München": str(PARIS), "x": str(LYON)}, note="{Name}")
    head = (
        b"Employee ID;Department;Name\n1;M\xfcnchen;\n2;x;"
        if encoding == "cp1252"
        else b"Employee ID;Department;Name\n2;x;"
    )
    options = document_reader.DocumentOptions(rows=rows, encoding=encoding)
    (problem,) = document_reader.read("hr.csv", ".csv", data.replace(b"%s", head), options).problems
    assert f"is not {'UTF-8' if encoding == 'auto' else encoding}" in problem.message


def test_rows_of_other_formats_cannot_be_mapped() -> None:
    options = document_reader.DocumentOptions(rows=mapping())
    (problem,) = document_reader.read("hr.json", ".json", b'{"fleets": {}}', options).problems
    assert "[sources.rows] reads tables" in str(problem)


CELLS = strategies.sampled_from(["1", "0123", "a b", 'q"q', "é"])
PEOPLE = strategies.lists(
    strategies.tuples(CELLS, strategies.sampled_from([*SCOPE, "Lille"]), strategies.sampled_from(["Active", "Left"])),
    min_size=1,
    max_size=6,
)


def _written(people: list[tuple[str, str, str]], columns: list[int], delimiter: str) -> str:
    names = ("Employee ID", "Department", "Status")
    lines = [[names[column] for column in columns], *([person[column] for column in columns] for person in people)]
    quoted = ([f'"{cell.replace(chr(34), chr(34) * 2)}"' if '"' in cell else cell for cell in line] for line in lines)
    return "".join(f"{delimiter.join(line)}\n" for line in quoted)


@hypothesis.given(PEOPLE, strategies.permutations([0, 1, 2]), strategies.sampled_from(",;\t"), strategies.data())
def test_the_order_of_rows_and_columns_does_not_matter(
    people: list[tuple[str, str, str]], columns: list[int], delimiter: str, data: strategies.DataObject
) -> None:
    rows = mapping(other_fleets="ignore", keep={"Status": ["Active"]})
    one = read(_written(people, [0, 1, 2], ","), rows)
    other = read(_written(data.draw(strategies.permutations(people)), columns, delimiter), rows)
    assert sorted((str(row.driver), str(row.fleet)) for row in one.rows) == sorted(
        (str(row.driver), str(row.fleet)) for row in other.rows
    )
    assert {entry.fleet for entry in one.fleets} == {entry.fleet for entry in other.fleets}
    assert sorted(problem.message for problem in one.problems) == sorted(problem.message for problem in other.problems)


@hypothesis.given(PEOPLE, strategies.sampled_from(["", "Lille", "lyon", "Lyon2", "flt_x"]), strategies.integers(0, 6))
def test_an_unmapped_value_is_an_error_with_its_place(
    people: list[tuple[str, str, str]], value: str, position: int
) -> None:
    people = [person for person in people if person[1] != "Lille"]
    people.insert(position, ("9", value, "Active"))
    line = people.index(("9", value, "Active")) + 2
    found = problems(_written(people, [0, 1, 2], ";"))
    assert [problem.split(": ")[0] for problem in found] == [f"hr.csv:{line}:3"]


PROOFS = strategies.sampled_from(["sha256", "rows", "both", "trailer"])


@hypothesis.given(PEOPLE, PROOFS, strategies.data())
def test_a_table_cut_at_any_byte_is_an_error(
    people: list[tuple[str, str, str]], proof: str, data: strategies.DataObject
) -> None:
    """So it detaches no one, and leaves no fleet unmanaged."""
    checks = completeness.Completeness(trailer=r"#END (?P<rows>\d+)" if proof == "trailer" else "")
    rows = mapping(other_fleets="ignore")
    trailer = f"#END {len(people)}\n" if proof == "trailer" else ""
    whole = (_written(people, [0, 1, 2], data.draw(strategies.sampled_from(",;\t"))) + trailer).encode()
    manifest = None if proof == "trailer" else _manifest(whole, len(people), proof)
    options = document_reader.DocumentOptions(rows=rows, checks=checks)
    complete = document_reader.read("hr.csv", ".csv", whole, options, manifest=manifest)
    hypothesis.assume(not complete.problems)
    assert {entry.fleet for entry in complete.fleets} == {FleetById(PARIS), FleetById(LYON), FleetByName("Nantes vans")}
    cut = data.draw(strategies.integers(0, len(whole) - 1))
    contents = document_reader.read("hr.csv", ".csv", whole[:cut], options, manifest=manifest)
    if not contents.problems:  # only the line break after the trailer is missing
        assert proof == "trailer" and cut == len(whole) - 1
        assert [(row.driver, row.fleet) for row in contents.rows] == [(row.driver, row.fleet) for row in complete.rows]
        assert contents.fleets == complete.fleets


def _manifest(data: bytes, rows: int, proof: str) -> bytes:
    import hashlib
    import json

    says = {"rows": rows, "sha256": hashlib.sha256(data).hexdigest(), "job": "nightly"}
    return json.dumps({key: says[key] for key in says if proof in (key, "both") or key == "job"}).encode()
