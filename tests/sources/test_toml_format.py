"""Places in TOML, for every construct of the language."""

import tomllib

import pytest

from tests.sources import conftest
from worker.sources import positions
from worker.sources.formats import toml_format

EVERYTHING = (
    r'''# a remark with [brackets] and "marks"
top = 1
"quoted \"key\"" . 'literal.part' = [ 1, 'a # b', """x""", # remark ]
  { in = 1, line.dotted = 2979-05-27 07:32:00Z }, [[], [ 2.5e3, ] ] ]
[a]
[a.b]  # remark
text = """
many "" lines \""" [no.header]
""""
raw = '''
    + "'''\nno = 'entry'\n'''"
    + r"""
empty = ""
when = 07:32:00
[a.c]
x.y.z = true
x.y.w = inf
[[a.d]]
one = 1
[[a.d.e]]
deep = 1
[[a.d.e]]
deep = 2
[a.d.f]
table = {}
[[a.d]]
one = 2
"""
)


def test_every_part_of_a_document_has_its_place() -> None:
    document = toml_format.parse(EVERYTHING)
    assert document.data == tomllib.loads(EVERYTHING)
    lines = EVERYTHING.splitlines()

    def start(place: positions.Place) -> str:
        return f"{place[0]} {lines[place[0] - 1][place[1] - 1 :]}"

    assert start(document.at(("top",))) == "2 1"
    listed: positions.Path = ('quoted "key"', "literal.part")
    assert start(document.key_at(listed)).startswith("3 'literal.part'")
    assert start(document.at((*listed, 1))).startswith("3 'a # b'")
    assert start(document.at((*listed, 2))).startswith('3 """x"""')
    assert start(document.key_at((*listed, 3, "line", "dotted"))).startswith("4 dotted")
    assert start(document.at((*listed, 3, "line", "dotted"))).startswith("4 2979-05-27")
    assert start(document.at((*listed, 4, 1, 0))).startswith("4 2.5e3")
    assert start(document.key_at(("a",))) == "5 a]"
    assert start(document.key_at(("a", "b", "raw"))).startswith("10 raw")
    assert start(document.at(("a", "b", "empty"))) == '13 ""'
    assert start(document.at(("a", "c", "x", "y", "w"))) == "17 inf"
    assert start(document.at(("a", "d", 0, "e", 1, "deep"))) == "23 2"
    assert start(document.at(("a", "d", 0, "f", "table"))) == "25 {}"
    assert start(document.at(("a", "d", 1))) == "26 [[a.d]]"
    assert start(document.at(("a", "d", 1, "one"))) == "27 2"


def test_bare_values_can_be_kept_as_the_text_they_are_written_as() -> None:
    document = toml_format.parse("a = [0x1F, 1_000, 2026-01-01 08:00:00Z, 'x', {b = +1.0}, true] # end", texts=True)
    assert document.data == {"a": ["0x1F", "1_000", "2026-01-01 08:00:00Z", "x", {"b": "+1.0"}, "true"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[fleets]\na = []\na = []\n", "a.toml:3:7: this key already has a value: keep one of them"),
        ("[fleets]\n[fleets]\n", "a.toml:2:8: this table is already declared"),
        ("fleets = {a = []}\n[fleets.b]\n", "a.toml:2:10: this table is already declared"),
        ("fleets = {a = [], a = []}\n", "a.toml:1:25: this is already defined, or appears twice"),
        ("[fleets]\na = [x@y]\n", "a.toml:2:6: expected a value"),
        ("[fleets]\na = ['x@y'\n", "a.toml:3:1: this list is not closed"),
        ("[fleets]\na = ['x@", "this text is not closed"),
        ("[fleets]\na = {drivers = []\n", "this table is not closed"),
        ("[fleets]\nParis vans = []\n", "a.toml:2:7: a key without a value"),
        ("[fleets]\na = [] b\n", "a.toml:2:8: text after the value"),
        ("[fleets]\né = []\n", "a.toml:2:1: not a key"),
        ("[fleets]\na = ['x\ty', \"\x07\"]\n", "this character is not allowed"),
        ("[fleets]\na = [2026-02-30]\n", "a.toml:2:6: not a date or time"),
        ("[fleets\n", "a.toml:1:8: "),
        ("fleets = " + "9" * 5000, "a.toml:1:1: "),
    ],
)
def test_invalid_toml_is_refused_with_its_place(text: str, problem: str, refused: conftest.Refused) -> None:
    assert any(problem in line for line in refused("a.toml", text)), refused("a.toml", text)


def test_a_fleet_with_a_mode_can_be_written_as_tables(read: conftest.Read) -> None:
    reading = read(
        "a.toml",
        '[fleets."Paris vans"]\nmode = "additive"\n[[fleets."Paris vans".drivers]]\ndriver = "b@c"\n'
        "until = 2026-01-01\n",
    )
    assert reading.fleets[0].mode == "additive"
    assert str(reading.rows[0].origin) == "a.toml:4:10"
    assert reading.rows[0].ends is not None
