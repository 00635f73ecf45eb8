"""Templates of rows, and what the settings refuse of them."""

import datetime
from collections.abc import Sequence

import pytest

from worker.sources import row_mapping

INDEXES = {"name": 0, "staff no.": 1, "depot": 2}
CELLS = ["Alice", " 77 ", ""]


@pytest.mark.parametrize(
    ("text", "filled", "index"),
    [
        ("{Staff no.}", "77", 1),
        ("employee_id={Staff no.}", "employee_id=77", 1),
        ("{STAFF NO.}@example.com", "77@example.com", 1),
        ("{ staff no. }", "77", 1),
        ("{Depot}", "", 2),
        ("depot {Depot}", "", 2),
        ("{Name}-{Staff no.}", "Alice-77", 0),
        ("a {Staff no.} b {Name} c", "a 77 b Alice c", 1),
        ("{Name}{Depot}", "", 0),
        ("always", "always", 0),
        ("", "", 0),
    ],
)
def test_a_template_is_filled_in_unless_one_of_its_columns_is_empty(text: str, filled: str, index: int) -> None:
    template = row_mapping.Template(text, INDEXES)
    assert (template.fill(CELLS), template.index) == (filled, index)


@pytest.mark.parametrize("text", ["{Name}", "x{Name}", "{Name}x", "x{Name}y", "{Name}{Depot}", "{Name} {Name}", "x"])
@pytest.mark.parametrize("rows", [[], [CELLS], [CELLS, ["", "1", "2"], [" ", "", ""], ["Bob", "", " Paris "]]])
def test_many_rows_are_filled_in_as_each_alone(text: str, rows: Sequence[Sequence[str]]) -> None:
    template = row_mapping.Template(text, INDEXES)
    assert template.fill_each(rows) == [template.fill(cells) for cells in rows]


def test_an_empty_template_has_nothing_for_many_rows() -> None:
    assert row_mapping.Template("", INDEXES).fill_each([CELLS, CELLS]) == []


def test_the_columns_of_a_mapping_are_those_of_its_templates_and_filters() -> None:
    mapping = row_mapping.RowMapping(
        driver="{b}{a}", fleet="{c}", starts="{d}", ends="{e}", note="{f} x {a}", keep={"g": ["1"]}, drop={"h": ["1"]}
    )
    assert mapping.columns == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert mapping.reference_columns == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "depends"), [("{a}", True), ("x {a} y", True), ("x", False), ("", False), ("{}", False)]
)
def test_a_template_depends_on_a_row_if_it_has_a_column(text: str, depends: bool) -> None:
    assert row_mapping.has_column(text) is depends


@pytest.mark.parametrize("text", ["{", "}", "{}", "{a", "a}", "{{a}}", "{a}{"])
def test_a_brace_without_its_partner_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write each column in braces"):
        row_mapping.check_template(text)


def test_what_is_not_refused_stays_as_it_is_written() -> None:
    assert row_mapping.check_template("{a}-{b}") == "{a}-{b}"
    assert row_mapping.check_date_format("%d.%m.%Y") == "%d.%m.%Y"
    assert row_mapping.fold(" Staff NO. ") == "staff no."


@pytest.mark.parametrize("date_format", ["", "%d.%m.", "%Y", "%H:%M", "%d.%m.%Y %H:%M", "%d.%m.%Y %Z", "%m/%Y", "%q"])
def test_a_format_that_loses_a_date_or_has_a_time_is_refused(date_format: str) -> None:
    with pytest.raises(ValueError, match="write the day, month and year of a date"):
        row_mapping.check_date_format(date_format)


def test_a_date_begins_in_its_zone_or_stays_without_one() -> None:
    paris = datetime.timezone(datetime.timedelta(hours=1))
    assert row_mapping.parse_date("31.12.2026", "%d.%m.%Y") == datetime.datetime(2026, 12, 31, tzinfo=datetime.UTC)
    begun = row_mapping.parse_date("31.12.2026", "%d.%m.%Y", paris)
    assert begun == datetime.datetime(2026, 12, 30, 23, tzinfo=datetime.UTC)
    assert row_mapping.parse_date("31.12.2026", "%d.%m.%Y", None).tzinfo is None


@pytest.mark.parametrize("text", ["31.02.2026", "1.1.26", "2026-12-31", "31.12.2026 ", ""])
def test_another_text_is_no_date_and_the_error_shows_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a date: date_format expects one like 31\.12\.2026"):
        row_mapping.parse_date(text, "%d.%m.%Y")
