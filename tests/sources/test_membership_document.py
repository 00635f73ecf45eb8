"""The meaning of membership documents, in every format. Neighbours: test_document_mistakes.py has what is refused."""

import datetime
import itertools
import json
import re

import hypothesis
import pytest
from hypothesis import strategies

from tests.sources import conftest
from worker.core.model.desired import DriverByMetadata, FleetByName, Mode
from worker.core.model.rows import key_of
from worker.core.planning import near_misses, references
from worker.sources import document_reader, membership_document

FLEET = "flt_HpGdGBwWHWAAZnAxuxiPdUiO8uLj8Kk8"
DRIVER = "drv_jFme4vQtEAyhWAWt18YgmYvHSUL4AXx5"

SAME = {
    "a.yaml": f"""
fleets:
  {FLEET}:
    - {DRIVER}
    - employee_id=0123
  Paris vans:
    - {{driver: Bob@Example.com, from: 2026-12-01, until: 2027-01-01T08:00:00+02:00, note: seasonal}}
""",
    "a.json": f"""
{{"fleets": {{
  "{FLEET}": ["{DRIVER}", "employee_id=0123"],
  "Paris vans": [{{"driver": "Bob@Example.com", "from": "2026-12-01", "until": "2027-01-01T08:00:00+02:00",
                   "note": "seasonal"}}]
}}}}
""",
    "a.toml": f"""
[fleets]
{FLEET} = ["{DRIVER}", "employee_id=0123"]
[[fleets."Paris vans"]]
driver = "Bob@Example.com"
from = 2026-12-01
until = 2027-01-01 08:00:00+02:00
note = "seasonal"
""",
    "a.csv": f"""driver,fleet,from,until,note
{DRIVER},{FLEET},,,
employee_id=0123,{FLEET},,,
Bob@Example.com,Paris vans,2026-12-01,2027-01-01T08:00:00+02:00,seasonal
""",
}


@pytest.mark.parametrize("name", SAME)
def test_every_format_says_the_same(name: str, read: conftest.Read) -> None:
    reading = read(name, SAME[name])
    assert [str(entry.fleet) for entry in reading.fleets] == [FLEET, '"Paris vans"']
    assert [(str(row.fleet), str(row.driver), row.note) for row in reading.rows] == [
        (FLEET, DRIVER, ""),
        (FLEET, "employee_id=0123", ""),
        ('"Paris vans"', "bob@example.com", "seasonal"),
    ]
    assert reading.rows[2].starts == datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
    assert reading.rows[2].ends == datetime.datetime(2027, 1, 1, 6, tzinfo=datetime.UTC)
    assert reading.rows[0].starts is None


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("a.yaml", ["4:7", "5:7", "7:16"]),
        ("a.json", ["3:44", "3:84", "4:29"]),
        ("a.toml", ["3:41", "3:81", "5:10"]),
        ("a.csv", ["2:1", "3:1", "4:1"]),
    ],
)
def test_the_place_of_a_row_is_where_its_driver_starts(name: str, places: list[str], read: conftest.Read) -> None:
    assert [str(row.origin) for row in read(name, SAME[name]).rows] == [f"{name}:{place}" for place in places]


@pytest.mark.parametrize(
    ("name", "places"),
    [("a.yaml", ["3:3", "6:3"]), ("a.json", ["3:3", "4:3"]), ("a.toml", ["3:1", "4:10"]), ("a.csv", ["2:38", "4:17"])],
)
def test_the_place_of_a_fleet_is_where_its_key_starts(name: str, places: list[str], read: conftest.Read) -> None:
    assert [str(entry.origin) for entry in read(name, SAME[name]).fleets] == [f"{name}:{place}" for place in places]


def test_a_fleet_may_have_its_own_mode(read: conftest.Read) -> None:
    reading = read(
        "a.yaml",
        "fleets:\n  a: {mode: additive, drivers: []}\n  b: {mode: exact, drivers: [x@y]}\n"
        "  c: {drivers: []}\n  d: []\n",
    )
    assert [entry.mode for entry in reading.fleets] == [Mode.ADDITIVE, Mode.EXACT, None, None]


def test_a_fleet_with_an_empty_list_is_managed_and_has_no_rows(read: conftest.Read) -> None:
    reading = read("a.yaml", f"fleets: {{{FLEET}: []}}")
    assert len(reading.fleets) == 1
    assert reading.rows == ()


def test_duplicate_rows_are_left_to_the_planner(read: conftest.Read) -> None:
    assert len(read("a.yaml", "fleets: {a: [x@y, x@y]}").rows) == 2


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml", "a.csv"])
@pytest.mark.parametrize("text", ["0123", "no", "1.16E+20", "0x1F", "1_000", "null", "2026-01-01", "true", "12:30:45"])
def test_what_looks_like_a_number_or_boolean_stays_text(name: str, text: str, read: conftest.Read) -> None:
    """A spreadsheet turned member ids into 1.16E+20 (GAMADV-XTD3 177)."""
    document = {
        "a.yaml": f"fleets:\n  {text}:\n    - employee_id={text}\n    - {{driver: x@y, note: {text}}}\n",
        "a.json": f'{{"fleets": {{"{text}": ["employee_id={text}", {{"driver": "x@y", "note": "{text}"}}]}}}}',
        "a.toml": f'fleets."{text}" = ["employee_id={text}", {{driver = "x@y", note = "{text}"}}]',
        "a.csv": f"driver,fleet,note\nemployee_id={text},{text},\nx@y,{text},{text}\n",
    }
    reading = read(name, document[name])
    assert reading.fleets[0].fleet == FleetByName(text)
    assert reading.rows[0].driver == DriverByMetadata("employee_id", text)
    assert reading.rows[1].note == text


@pytest.mark.parametrize(("offset", "hour"), [("+14:00", 10), ("+00:00", 0), ("-0530", 5), ("-23:59", 23)])
def test_any_utc_offset_is_read(offset: str, hour: int) -> None:
    assert membership_document.moment(f"2026-01-02T00:00{offset}").hour == hour


REFERENCES = strategies.one_of(
    strategies.from_regex(r"drv_[A-Za-z0-9]{32}", fullmatch=True),
    strategies.from_regex(r"[a-z0-9.]{1,9}@[a-z0-9.]{1,9}", fullmatch=True),
    strategies.from_regex(r"[a-z_]{1,9}=[A-Za-z0-9 #:'\"\\,{}\[\]|>*&!%@`-]{1,9}", fullmatch=True).filter(
        lambda text: text == text.strip() and "= " not in text
    ),
)
NAMES = strategies.text(strategies.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda text: (
        text.isprintable()
        and text == text.strip()
        and not set(text) & set(near_misses.BLANKS)
        and not text.startswith(("flt_", "ch_sk_"))
    )
)


@pytest.mark.integration
@hypothesis.given(strategies.dictionaries(NAMES, strategies.lists(REFERENCES, max_size=4), min_size=1, max_size=4))
def test_every_format_reads_back_what_was_written(fleets: dict[str, list[str]]) -> None:
    as_json = json.dumps({"fleets": fleets}, ensure_ascii=False)
    rows = [(name, driver) for name, drivers in fleets.items() for driver in drivers]
    as_csv = "driver,fleet\n" + "".join(f"{_cell(driver)},{_cell(name)}\n" for name, driver in rows)
    as_toml = "[fleets]\n" + "".join(f"{_text(n)} = [{', '.join(map(_text, d))}]\n" for n, d in fleets.items())
    expected = [(name, str(references.parse_driver(driver))) for name, driver in rows]
    for suffix, text in ((".json", as_json), (".yaml", as_json), (".toml", as_toml), (".csv", as_csv)):
        if suffix == ".csv" and not rows:
            continue
        contents = _contents(suffix, text)
        assert contents.problems == ()
        assert [(str(row.fleet)[1:-1], str(row.driver)) for row in contents.rows] == expected
        lines = re.split(r"\r\n?|\n", text)
        for row, (_, driver) in zip(contents.rows, rows, strict=True):
            start = lines[row.origin.line - 1][row.origin.column - 1 :]
            assert start.startswith((driver, _text(driver), _cell(driver), json.dumps(driver, ensure_ascii=False)))


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _contents(suffix: str, text: str) -> membership_document.Contents:
    return document_reader.read("a", suffix, text.encode(), document_reader.DocumentOptions())


@hypothesis.given(strategies.sampled_from([".json", ".yaml", ".toml", ".csv"]), strategies.data())
def test_a_document_cut_or_changed_anywhere_causes_problems_but_no_crash(
    suffix: str, data: strategies.DataObject
) -> None:
    text = SAME[f"a{suffix}"]
    start = data.draw(strategies.integers(0, len(text)))
    end = data.draw(strategies.integers(start, len(text)))
    filling = data.draw(strategies.text("[]{}\"',:=#-\n\t \\&*!|>a0@\u00e9\u2028\U0001f600", max_size=5))
    contents = _contents(suffix, text[:start] + filling + text[end:])
    assert all(re.match(r"a:[1-9][0-9]*:[1-9][0-9]*$", problem.where) for problem in contents.problems)
    assert all(problem.message for problem in contents.problems)


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml", "a.csv"])
def test_many_fleets_with_rows_of_every_form_are_read_whole(name: str, read: conftest.Read) -> None:
    """Depth is that of the deepest value, not the number of lists and mappings."""
    fleets = {
        f"Fleet {number}": [f"employee_id={number}", {"driver": f"d{number}@example.com", "note": "x"}]
        for number in range(50)
    }
    documents = {
        "a.yaml": json.dumps({"fleets": fleets}, indent=1),
        "a.json": json.dumps({"fleets": fleets}),
        "a.toml": "[fleets]\n"
        + "".join(
            f'"{fleet}" = ["employee_id={number}", {{driver = "d{number}@example.com", note = "x"}}]\n'
            for number, fleet in enumerate(fleets)
        ),
        "a.csv": "driver,fleet,note\n"
        + "".join(
            f"employee_id={number},{fleet},\nd{number}@example.com,{fleet},x\n" for number, fleet in enumerate(fleets)
        ),
    }
    reading = read(name, documents[name])
    assert [str(entry.fleet) for entry in reading.fleets] == [f'"{fleet}"' for fleet in fleets]
    assert len(reading.rows) == 100
    assert [row.note for row in reading.rows] == ["", "x"] * 50


@pytest.mark.integration
@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.toml", "a.csv"])
def test_a_large_document_is_read_whole(name: str, read: conftest.Read) -> None:
    drivers = [f"drv_{index:032}" for index in range(20_000)]
    parts = {
        "a.yaml": ("fleets:\n  a:\n", (f"    - {driver}\n" for driver in drivers), ""),
        "a.json": ('{"fleets": {"a": [""', (f',\n"{driver}"' for driver in drivers), "]}}"),
        "a.toml": ("[fleets]\na = [\n", (f'  "{driver}",\n' for driver in drivers), "]\n"),
        "a.csv": ("driver,fleet\n", (f"{driver},a\n" for driver in drivers), ""),
    }
    text = "".join(itertools.chain(*parts[name])).replace('["",', "[")
    assert len(read(name, text).rows) == 20_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.yaml",
            "fleets:\n  Vans:\n    description: |\n      The vans.\n      On call: 24/7\n    drivers: [x@y]\n",
        ),
        ("a.json", '{"fleets": {"Vans": {"description": "On call:\\n24/7", "drivers": ["x@y"]}}}'),
        ("a.toml", '[fleets.Vans]\ndescription = "vans"\ndrivers = ["x@y"]\n'),
        ("a.yaml", "fleets:\n  Vans:\n    description: 2026\n    drivers: [x@y]\n"),
        ("a.yaml", "fleets:\n  Vans:\n    description: ''\n    drivers: [x@y]\n"),
    ],
)
def test_a_fleet_may_have_a_description(name: str, text: str, read: conftest.Read) -> None:
    reading = read(name, text)
    assert [(str(row.fleet), str(row.driver)) for row in reading.rows] == [('"Vans"', "x@y")]


def test_the_teams_of_an_organisation_are_brought_over_by_renaming_keys(read: conftest.Read) -> None:
    """A public list of members has teams with a description, and people in two spellings of one address."""
    organisation = {
        "teams": {
            "Release managers": {
                "description": "Cut releases: weekly",
                "members": ["Ann@Example.com", "bob@example.com"],
            },
            "Security": {"description": "Private reports go here", "members": ["ann@example.com"]},
            "Alumni": {"description": "", "members": []},
        }
    }
    text = json.dumps(organisation).replace('"teams"', '"fleets"').replace('"members"', '"drivers"')
    reading = read("org.json", text)
    assert [(str(row.fleet), str(row.driver)) for row in reading.rows] == [
        ('"Release managers"', "ann@example.com"),
        ('"Release managers"', "bob@example.com"),
        ('"Security"', "ann@example.com"),
    ]
    assert len(reading.fleets) == 3


DAY, NEXT = (datetime.datetime(2026, 3, day, tzinfo=datetime.UTC) for day in (1, 2))
NAIVE_DAY, NAIVE_NEXT = DAY.replace(tzinfo=None), NEXT.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("starts", "ends", "inverted"),
    [
        (None, None, False),
        (DAY, None, False),
        (None, DAY, False),
        (DAY, NEXT, False),
        (DAY, DAY, True),
        (NEXT, DAY, True),
        (NAIVE_DAY, NAIVE_NEXT, False),
        (NAIVE_NEXT, NAIVE_DAY, True),
        (NAIVE_DAY, NEXT, False),
        (DAY, NAIVE_DAY, True),
        (NAIVE_NEXT, DAY, True),
    ],
)
def test_a_row_must_end_after_it_begins(
    starts: datetime.datetime | None, ends: datetime.datetime | None, inverted: bool
) -> None:
    assert membership_document.is_inverted(starts, ends) is inverted


@pytest.mark.parametrize(
    ("starts", "ends", "periods"),
    [
        ([], [], ((), ())),
        (["", ""], ["", ""], ((), ())),
        (["2026-03-01", ""], ["", ""], ([DAY, None], ())),
        (["", ""], ["", "2026-03-02"], ((), [None, NEXT])),
        (["2026-03-01", ""], ["2026-03-02", "2026-03-02"], ([DAY, None], [NEXT, NEXT])),
        (["2026-03-02", ""], ["", "2026-03-01"], ([NEXT, None], [None, DAY])),
        (["2026-03-02"], ["2026-03-02"], None),
        (["", "2026-03-02"], ["2026-03-01", "2026-03-01"], None),
        (["2026-03-01"], ["soon"], None),
        (["soon"], [""], None),
    ],
)
def test_many_periods_are_read_or_none(starts: list[str], ends: list[str], periods: object) -> None:
    assert membership_document.Moments(membership_document.moment).periods(starts, ends) == periods


@pytest.mark.parametrize(
    ("texts", "notes"),
    [
        ([], ()),
        (["", ""], ()),
        (["", "a"], ["", "a"]),
        (["a", "\x1b"], None),
        (["ch_sk_x"], None),
        (["a\tb"], ["a\tb"]),
    ],
)
def test_many_notes_are_read_or_none(texts: list[str], notes: object) -> None:
    assert membership_document.parse_notes(texts) == notes


@pytest.mark.parametrize(
    "texts", [[DRIVER, "x@y"], ["x@y", "employee_id=1"], ["x@y"], [DRIVER], ["Employee=1", "Employee=2"]]
)
def test_many_drivers_are_read_as_each_alone(texts: list[str]) -> None:
    keys = membership_document.parse_drivers(texts)
    assert keys is not None
    assert list(keys) == [key_of(membership_document.parse_driver(text)) for text in texts]


@pytest.mark.parametrize("text", ["nobody", "drv_short", "ch_sk_live_1=a", ""])
def test_many_drivers_are_not_read_if_one_of_them_is_none(text: str) -> None:
    assert membership_document.parse_drivers(["x@y", text]) is None
    with pytest.raises(ValueError, match=r"not a valid|secret"):
        membership_document.parse_driver(text)


def test_a_date_without_a_zone_stays_naive_and_a_time_needs_one() -> None:
    assert membership_document.moment("2026-03-01", None) == NAIVE_DAY
    assert membership_document.moment("2026-03-01t00:00z", None) == DAY
    with pytest.raises(ValueError, match="has no time zone: append Z"):
        membership_document.moment("2026-03-01T00:00")
    for wrong in ("2026-02-30", "2026-03-01T24:01Z", "0001-01-01T00:00+02:00", "01.03.2026", "2026-03-01 "):
        with pytest.raises(ValueError, match="is not a date: write 2026-12-31"):
            membership_document.moment(wrong)
