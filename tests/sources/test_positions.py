"""Decoding and places, the same for every format."""

import hypothesis
import pytest
from hypothesis import strategies

from tests.sources import conftest
from worker.sources import document_reader, positions

DOCUMENTS = {
    "a.yaml": "fleets: {é: [x@y]}",
    "a.json": '{"fleets": {"é": ["x@y"]}}',
    "a.toml": 'fleets."é" = ["x@y"]',
    "a.csv": "driver,fleet\nx@y,é\n",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_byte_order_mark_is_stripped(name: str, read: conftest.Read) -> None:
    """Spreadsheets write one."""
    reading = read(name, b"\xef\xbb\xbf" + DOCUMENTS[name].encode())
    assert len(reading.rows) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf_16_is_read_if_it_has_a_byte_order_mark(
    name: str, mark: str, read: conftest.Read, refused: conftest.Refused
) -> None:
    """Spreadsheets write one when they save "Unicode text"."""
    data = (mark + DOCUMENTS[name]).encode("utf-16-le")
    if mark:
        assert len(read(name, data).rows) == 1
        assert len(read(name, (mark + DOCUMENTS[name]).encode("utf-16-be")).rows) == 1
    else:
        assert "a NUL character" in refused(name, data)[0] or "is not UTF-8" in refused(name, data)[0]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32"])
def test_other_unicode_encodings_are_refused_with_what_to_do(
    name: str, encoding: str, refused: conftest.Refused
) -> None:
    (problem,) = refused(name, DOCUMENTS[name].encode(encoding))
    assert "UTF-8" in problem


@pytest.mark.parametrize("name", DOCUMENTS)
def test_bytes_that_are_not_utf_8_are_refused_with_their_place(name: str, refused: conftest.Refused) -> None:
    before, _, _ = DOCUMENTS[name].partition("é")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    (problem, *_) = refused(name, DOCUMENTS[name].encode("latin-1"))
    advice = document_reader.ENCODING_ADVICE
    assert problem == f"{name}:{line}:{column}: byte 0xe9 is not UTF-8: {advice}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_nul_is_refused_with_its_place(name: str, refused: conftest.Refused) -> None:
    (problem,) = refused(name, DOCUMENTS[name].replace("é", "\0"))
    assert "a NUL character" in problem


@pytest.mark.integration
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_larger_than_64_mib_is_refused(name: str, refused: conftest.Refused) -> None:
    (problem,) = refused(name, b"[" * (64 * 1024 * 1024 + 1))
    assert problem == f"{name}:1:1: larger than 64 MiB: split it into several documents in a folder"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.yaml", "fleets: " + "[" * 5000, "1:28"),
        ("a.yaml", "- " * 5000 + "a", "1:41"),
        ("a.yaml", "{a: " * 5000, "1:81"),
        ("a.json", '{"fleets":\n' + "[" * 5000, "2:20"),
        ("a.json", '{"a":' * 5000, "1:101"),
        ("a.toml", "fleets = " + "[" * 5000 + "]" * 5000, "1:30"),
        ("a.toml", "fleets = " + "[" * 30 + "]" * 30, "1:30"),
        ("a.toml", "fleets = " + "{a = " * 5000 + "1" + "}" * 5000, "1:110"),
        ("a.toml", "fleets = " + '{"[" = ' * 30 + "1" + "}" * 30, "1:150"),
        ("a.toml", "a" + ".a" * 5000 + " = 1", "1:1"),
        ("a.toml", "[a" + ".a" * 5000 + "]", "1:2"),
    ],
)
def test_deep_nesting_is_refused_with_its_place(name: str, text: str, place: str, refused: conftest.Refused) -> None:
    (problem,) = refused(name, text)
    assert problem.startswith(f"{name}:{place}: nested deeper than 20 levels")


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_are_counted_with_either_ending(name: str, ending: str, read: conftest.Read) -> None:
    document = {
        "a.yaml": "fleets:\n  a:\n    - x@y\n",
        "a.json": '{"fleets":\n{"a":\n  ["x@y"]\n}}\n',
        "a.toml": '[fleets]\na = [\n  "x@y",\n]\n',
        "a.csv": "driver,fleet\n\nx@y,a\n",
    }[name]
    assert read(name, document.replace("\n", ending).encode()).rows[0].origin.line == 3


@hypothesis.given(strategies.text("a\r\n\u2028é", max_size=30), strategies.integers(0, 30))
def test_a_place_leads_back_to_its_offset(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    line, column = positions.Lines(text).at(offset)
    unified = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    between = text[max(offset - 1, 0) : offset + 1] == "\r\n"
    assert line == unified.count("\n") + 1 - between
    assert column >= 1


def test_the_place_of_a_missing_value_is_that_of_what_encloses_it() -> None:
    document = positions.Document({"a": ["b"]}, positions.Lines("x" * 99), (0, {"a": (1, (5, [6]))}))
    assert document.at(("a", 7)) == (1, 6)
    assert document.at(("a", 0, "c")) == (1, 7)
    assert document.at(("b",)) == (1, 1)
    assert document.key_at(("a",)) == (1, 2)
    assert document.key_at(("a", 0)) == (1, 7)


@hypothesis.given(
    strategies.text("a\r\n", max_size=30), strategies.lists(strategies.integers(0, 30), min_size=1, max_size=12)
)
def test_the_places_of_many_offsets_are_those_of_each(text: str, offsets: list[int]) -> None:
    lines, ascending = positions.Lines(text), sorted(min(offset, len(text)) for offset in offsets)
    assert list(zip(*map(list, lines.each(ascending)), strict=True)) == [lines.at(offset) for offset in ascending]


def test_the_marks_of_a_flat_mapping_are_packed_and_lead_to_its_keys_and_values() -> None:
    flat = positions.pack(3, {"driver": (4, 12), "note": (20, 26)})
    document = positions.Document([{"driver": "x@y", "note": "n"}], positions.Lines("x" * 99), (0, [flat]))
    assert [document.key_at((0, key)) for key in ("driver", "note")] == [(1, 5), (1, 21)]
    assert [document.at((0, key)) for key in ("driver", "note")] == [(1, 13), (1, 27)]
    assert document.at((0, "from")) == document.at((0,)) == (1, 4)
    assert document.entry_at(flat, {"driver": "x@y", "note": "n"}, "note") == (1, 27)


def test_the_marks_of_a_nested_mapping_stay_as_they_are() -> None:
    nested = positions.pack(3, {"driver": (4, 12), "tags": (20, (26, [27]))})
    assert nested == (3, {"driver": (4, 12), "tags": (20, (26, [27]))})
    document = positions.Document({"driver": "x@y", "tags": ["a"]}, positions.Lines("x" * 99), nested)
    assert document.at(("tags", 0)) == (1, 28)
    assert document.entry_at(nested, {"driver": "x@y", "tags": ["a"]}, "tags") == (1, 27)
    assert list(document.items_at(("tags",))) == [27]


@pytest.mark.parametrize(
    ("text", "quoted"), [("a", '"a"'), ("x" * 60, f'"{"x" * 60}"'), ("x" * 61, f'"{"x" * 57}…"'), ("", '""')]
)
def test_a_long_text_is_quoted_in_part(text: str, quoted: str) -> None:
    assert positions.quote(text) == quoted


@pytest.mark.parametrize(
    ("word", "suggestion"), [("drivr", '; did you mean "Driver"?'), ("FLEET", '; did you mean "fleet"?'), ("xyz", "")]
)
def test_a_similar_word_is_suggested_as_it_is_known(word: str, suggestion: str) -> None:
    assert positions.did_you_mean(word, ["Driver", "fleet", "note"]) == suggestion
    assert positions.did_you_mean(word, []) == ""
