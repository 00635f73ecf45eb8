"""Mistakes in membership documents: each is refused with its place, in words that say what to write."""

import pytest

from tests.sources import conftest
from worker.sources import membership_document


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "fleets:\n  a:\n"),
        ("a.yaml", "fleets:\n  a: ~\n"),
        ("a.yaml", "fleets:\n  a: {mode: exact}\n"),
        ("a.yaml", "fleets:\n  a:\n    drivers:\n"),
        ("a.yaml", "fleets:\n  a: x@y\n"),
        ("a.json", '{"fleets": {"a": null}}'),
        ("a.json", '{"fleets": {"a": ""}}'),
        ("a.toml", 'fleets.a = "x@y"'),
        ("a.toml", "fleets.a = 1"),
    ],
)
def test_a_fleet_without_a_list_is_refused_rather_than_empty(name: str, text: str, refused: conftest.Refused) -> None:
    """Forgetting the list must not empty the fleet."""
    (problem,) = refused(name, text)
    assert "write [] for a fleet without drivers" in problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", ""),
        ("a.yaml", "\n  \n"),
        ("a.yaml", "# only a comment\n"),
        ("a.yaml", "---\n"),
        ("a.yaml", "fleets:\n"),
        ("a.yaml", "fleets: {}\n"),
        ("a.yaml", "fleets: []\n"),
        ("a.yaml", "- x@y\n"),
        ("a.yaml", "{}"),
        ("a.yaml", "text"),
        ("a.json", ""),
        ("a.json", "null"),
        ("a.json", "{}"),
        ("a.json", "[]"),
        ("a.json", '{"fleets": {}}'),
        ("a.toml", ""),
        ("a.toml", "# nothing\n"),
        ("a.toml", "[fleets]\n"),
        ("a.csv", ""),
        ("a.csv", "driver,fleet\n"),
        ("a.csv", "driver,fleet\n\n\n"),
    ],
)
def test_an_empty_source_is_an_error(name: str, text: str, refused: conftest.Refused) -> None:
    """An empty read deleted every user and group (awslabs/ssosync 194)."""
    (problem,) = refused(name, text)
    assert problem.startswith(f"{name}:1:1: ") or "fleets" in problem


def test_every_problem_of_a_document_is_reported_at_once_and_in_order(refused: conftest.Refused) -> None:
    fleet = f"flt_{'V' * 32}"
    text = f"""
fleet: {{}}
fleets:
  flt_short:
    - drv_short
    - {{driver: x@y, form: 2026-01-01}}
    - {{driver: x@y, from: 2026-13-01}}
    - {{driver: x@y, from: 2026-02-01, until: 2026-02-01}}
    - {{note: nobody}}
    - plainly wrong
    -
    - [x@y]
  {fleet}:
    mode: exakt
    drivers: []
    driver: x@y
"""
    found = refused("a.yaml", text)
    assert [problem.split(": ")[0] for problem in found] == [
        "a.yaml:2:1",
        "a.yaml:4:3",
        "a.yaml:5:7",
        "a.yaml:6:21",
        "a.yaml:7:27",
        "a.yaml:8:46",
        "a.yaml:9:7",
        "a.yaml:10:7",
        "a.yaml:11:6",
        "a.yaml:12:7",
        "a.yaml:14:11",
        "a.yaml:16:5",
    ]
    assert 'unknown key "fleet"' in found[0]
    assert 'did you mean "fleets"?' in found[0]
    assert "flt_ and exactly 32 letters or digits" in found[1]
    assert "drv_ and exactly 32 letters or digits" in found[2]
    assert 'did you mean "from"?' in found[3]
    assert '"2026-13-01" is not a date' in found[4]
    assert '"until" must be after "from"' in found[5]
    assert "the driver is missing" in found[6]
    assert "'plainly wrong'" in found[7]
    assert 'did you mean "exact"?' in found[10]
    assert 'did you mean "drivers"?' in found[11]


def test_metadata_as_a_mapping_is_refused_with_the_right_notation(refused: conftest.Refused) -> None:
    unknown, missing = refused("a.yaml", "fleets:\n  a:\n    - employee_id: 10042\n")
    assert "write metadata as key=value" in missing + unknown


@pytest.mark.parametrize("text", ["0123", "no", "1.16E+20", "true"])
def test_a_bare_number_or_boolean_is_not_a_driver(text: str, refused: conftest.Refused) -> None:
    (problem,) = refused("a.yaml", f"fleets:\n  a:\n    - {text}\n")
    assert problem.startswith(f"a.yaml:3:7: '{text}' ")


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "2026-1-1",
        "01.12.2026",
        "12/01/2026",
        "tomorrow",
        "20260101",
        "2026-W01-1",
        "0",
        "2026-01-01T25:00Z",
        "2026-01-01T00:00+02:60",
        "2026-01-01T00:00+0199",
        "2026-01-01T00:00-24:00",
    ],
)
@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a.csv"])
def test_an_invalid_date_is_refused_with_its_place(name: str, text: str, refused: conftest.Refused) -> None:
    document = {
        "a.yaml": f"fleets:\n  a: [{{driver: x@y, from: {text}}}]\n",
        "a.json": f'{{"fleets":\n {{"a": [{{"driver": "x@y", "from": "{text}"}}]}}}}',
        "a.csv": f"driver,fleet,from\nx@y,a,{text}\n",
    }
    column = {"a.yaml": 27, "a.json": 35, "a.csv": 7}
    (problem,) = refused(name, document[name])
    assert problem.startswith(f'{name}:2:{column[name]}: "{text}" is not a date: write 2026-12-31')


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_moment_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date"):
        membership_document.moment(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "fleets: {a: [{driver: x@y, until: 2026-01-01T08:00:00}]}"),
        ("a.toml", 'fleets.a = [{driver = "x@y", until = 2026-01-01T08:00:00}]'),
    ],
)
def test_a_time_without_an_offset_is_refused(name: str, text: str, refused: conftest.Refused) -> None:
    (problem,) = refused(name, text)
    assert "has no time zone: append Z for UTC" in problem


@pytest.mark.parametrize("key", ["driver", "from", "until"])
@pytest.mark.parametrize("text", ["", "null", "[]", "{}"])
def test_a_key_without_text_is_refused_rather_than_ignored(key: str, text: str, refused: conftest.Refused) -> None:
    """An `until` without a value must not mean "forever"."""
    entry = {"driver": '"x@y"', "from": '"2026-01-01"', "until": '"2026-02-01"'} | {key: text or '""'}
    row = ", ".join(f'"{name}": {value}' for name, value in entry.items())
    (problem,) = refused("a.json", f'{{"fleets": {{"a": [{{{row}}}]}}}}')
    assert f'"{key}" has no text' in problem


@pytest.mark.parametrize("odd", ["\u200b", "\u00a0", "\u2028", "\u202e"])
def test_an_invisible_character_in_a_reference_is_refused(odd: str, refused: conftest.Refused) -> None:
    in_driver, in_fleet = refused("a.csv", f"driver,fleet\nx@y{odd}z,a\nx@y,Paris{odd}vans\n")
    assert "invisible character" in in_driver
    assert "invisible character" in in_fleet


def test_a_control_character_in_a_note_is_refused(refused: conftest.Refused) -> None:
    (problem,) = refused("a.json", '{"fleets": {"a": [{"driver": "x@y", "note": "\\u001b[2J"}]}}')
    assert "control character U+001B" in problem


@pytest.mark.parametrize(
    "text",
    [
        "fleets: {a: [ch_sk_live_Sesame]}",
        "fleets: {a: [drv_ch_sk_live_Sesame]}",
        "fleets: {a: [employee_id=ch_sk_live_Sesame]}",
        "fleets: {a: [{driver: x@y, note: ch_sk_live_Sesame}]}",
        "fleets: {a: [{driver: x@y, from: ch_sk_live_Sesame}]}",
        "fleets: {a: [{driver: x@y, ch_sk_live_Sesame: 1}]}",
        "fleets: {a: {mode: ch_sk_live_Sesame, drivers: []}}",
        "fleets: {ch_sk_live_Sesame: [], ch_sk_live_Sesame: []}",
        "ch_sk_live_Sesame: {}",
    ],
)
def test_a_secret_key_in_a_document_is_redacted_in_the_message(text: str, refused: conftest.Refused) -> None:
    assert "Sesame" not in "\n".join(refused("a.yaml", text))


def test_a_description_is_text_without_a_key(refused: conftest.Refused) -> None:
    (empty,) = refused("a.yaml", "fleets:\n  Vans:\n    description: [vans]\n    drivers: [x@y]\n")
    assert empty.startswith('a.yaml:3:18: "description" has no text')
    (leaked,) = refused("a.yaml", "fleets:\n  Vans:\n    description: use ch_sk_live_123\n    drivers: [x@y]\n")
    assert "looks like a secret Charge key" in leaked
