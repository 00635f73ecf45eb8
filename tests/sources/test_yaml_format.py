"""YAML features beyond lists, mappings and text are refused, with a message that says what to write."""

import pytest

from tests.sources import conftest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fleets:\n  a: [x@y]\n  a: []\n", '3:3: duplicate key "a", first used in line 2: keep one of them'),
        ("fleets: {a: []}\nfleets: {b: []}\n", '2:1: duplicate key "fleets", first used in line 1'),
        ("fleets:\n  a: [{driver: x@y, driver: x@z}]\n", '2:21: duplicate key "driver", first used in line 2'),
        ("fleets:\n  a: &crew [x@y]\n", "2:6: anchors are not supported"),
        ("fleets:\n  &a a: []\n", "2:3: anchors are not supported"),
        ("fleets:\n  a: &crew [x@y]\n  b: *crew\n", "2:6: anchors are not supported"),
        ("fleets:\n  b: *crew\n", "2:6: aliases are not supported"),
        ("fleets:\n  <<: {a: []}\n", "2:3: merge keys are not supported"),
        ("fleets:\n  a: !!set {x@y}\n", "2:6: tags are not supported"),
        ("fleets:\n  a: [!!str x@y]\n", "2:7: tags are not supported"),
        ("!fleets\nfleets: {}\n", "1:1: tags are not supported"),
        ("fleets:\n  a: [!!python/object/apply:os.system [id]]\n", "2:7: tags are not supported"),
        ("fleets:\n\ta: []\n", "2:1: tab in the indentation: indent with spaces"),
        ("fleets:\n  a:\n    - b=1\n  \t- b=2\n", "4:3: tab in the indentation: indent with spaces"),
        ("fleets: {a: []}\n---\nfleets: {b: []}\n", "2:1: second document in one file"),
        ("fleets:\n  ? [a]\n  : []\n", "2:5: a key must be text"),
        ("fleets:\n  a:\n    - b=1\n      - b=2\n", "3:7: the text continues on the next line"),
        ("fleets:\n  a: [x@y, \x07]\n", "2:12: control character U+0007"),
        ("fleets:\n  a: [x@y, '\x9b']\n", "2:13: control character U+009B"),
        ("fleets:\n  a: # one\x85    - x@y\n", "2:11: control character U+0085: remove it"),
        ("fleets:\n  a: # one\u2028    - x@y\n", "2:11: control character U+2028: remove it"),
        ("fleets:\n  a: # one\u2029    - x@y\n", "2:11: control character U+2029: remove it"),
        ("fleets:\n  a: # one\r    - x@y\n", "2:11: control character U+000D: remove it"),
        ("fleets:\n  a: [x@y] # \u202a\n", "2:14: control character U+202A: remove it"),
        ("fleets:\n  a: [x@y] # \u202e\n", "2:14: control character U+202E: remove it"),
        ("fleets:\n  a: [x@y] # \u2066\n", "2:14: control character U+2066: remove it"),
        ("fleets:\n  a: [x@y] # \u2069\n", "2:14: control character U+2069: remove it"),
        ("fleets:\n  a: [x@y\n", "is not closed"),
        ("fleets:\n  a: [x@y]]\n", "2:11: "),
        ("fleets:\n  a: 'x@y\n", "the document ends too early"),
        ("fleets:\n  a:\n    - x@y\n   - x@z\n", "4:4: this does not match"),
        ("fleets:\n  a: b: c\n", "2:7: unexpected colon"),
        ("fleets:\n  b: []\n  a\n", "write the key, a colon and a space"),
        ("fleets:\n  a: [@b]\n", "2:7: a value cannot begin with @: enclose the text in quotation marks"),
        ("fleets:\n  a: [\n\tx@y]\n", "3:1: tab in the indentation"),
        ("fleets:\n  a: -\t- x@y\n", "2:"),
        ('fleets:\n  a: ["\\q"]\n', "2:8: invalid escape"),
        ('fleets:\n  a: ["\\ud800@b"]\n', "2:"),
        ("fleets:\n  a: [*]\n", "2:8: * and & begin YAML references"),
        ("%YAML 9.9\n---\nfleets: {}\n", "1:1: "),
        ("fleets: {a: []}\n...\n}", "3:1: "),
    ],
)
def test_unsupported_yaml_is_refused_with_its_place(text: str, problem: str, refused: conftest.Refused) -> None:
    assert problem in "\n".join(refused("a.yaml", text))


def test_duplicate_keys_do_not_hide_other_problems(refused: conftest.Refused) -> None:
    assert len(refused("a.yaml", "fleets:\n  a: [wrong]\n  a: []\n  flt_b: []\n")) == 3


@pytest.mark.parametrize("end", range(8, 60, 4))
def test_a_document_cut_within_brackets_is_refused(end: int, refused: conftest.Refused) -> None:
    assert refused("a.yaml", "fleets: {'a': ['x@y', 'z@y'], 'b': [{driver: 'x@y'}, 'a@b']}"[:end])


def test_an_alias_bomb_is_refused_at_its_first_anchor(refused: conftest.Refused) -> None:
    bomb = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    (problem,) = refused("a.yaml", bomb)
    assert problem.startswith("a.yaml:1:4: anchors are not supported")


def test_quoted_text_may_contain_what_is_refused_unquoted(read: conftest.Read) -> None:
    reading = read("a.yaml", "fleets:\n  '<<': [\"a=*b\", 'a=&b', 'a=!b', \"a=\\xe9\", 'a=@b']\n")
    assert [str(row.driver) for row in reading.rows] == ["a=*b", "a=&b", "a=!b", "a=é", "a=@b"]


def test_a_block_scalar_may_have_several_lines(read: conftest.Read) -> None:
    reading = read("a.yaml", "fleets:\n  a:\n    - driver: x@y\n      note: |\n        one\n        two\n")
    assert reading.rows[0].note == "one\ntwo\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_lines_end_in_any_of_several_ways(end: str, read: conftest.Read) -> None:
    reading = read("a.yaml", f"fleets: # those of HR{end}  a:{end}    - x@y{end}")
    assert [str(row.driver) for row in reading.rows] == ["x@y"]


def test_columns_count_characters_and_not_bytes(read: conftest.Read) -> None:
    reading = read("a.yaml", "fleets: {'\U0001f600é\u2028': [], b: [x@y]}".replace("\u2028", "ü"))
    assert str(reading.rows[0].origin) == "a.yaml:1:25"
