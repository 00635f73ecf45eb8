"""JSON as RFC 8259 defines it, with every scalar kept as text."""

import json

import hypothesis
import pytest
from hypothesis import strategies

from tests.sources import conftest
from worker.sources import positions
from worker.sources.formats import json_format


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"fleets": {"a": [],\n"a": []}}', '2:1: duplicate key "a", first used in line 1: keep one of them'),
        ('{"fleets": {"a": ["x@y"', "1:24: expected ]: was the document cut off?"),
        ('{"fleets": {"a": []', "1:20: expected }: was the document cut off?"),
        ('{"fleets": {"a": ["x@', "1:19: this text never ends"),
        ('{"fleets": {"a": ["x@y" "x@z"]}}', "1:25: expected a comma or ]"),
        ('{"fleets": {"a": ["x@y",]}}', "1:25: expected a value"),
        ('{"fleets": {"a": [],}}', "1:21: expected a key"),
        ("{'fleets': {}}", "1:2: expected a key"),
        ('{"fleets" {}}', "1:11: expected a colon"),
        ('{"fleets": {"a": [0123]}}', "1:19: expected a value"),
        ('{"fleets": {"a": [NaN]}}', "1:19: expected a value"),
        ('{"fleets": {"a": [x@y]}}', "1:19: expected a value"),
        ('{"fleets": {"a": []}} {}', "1:23: text after the end of the document"),
        ('{"fleets": {"a": []}}}', "1:22: text after the end of the document"),
        ('{"fleets": {"a": ["\\q"]}}', "invalid escape"),
        ('{"fleets": {"a": ["x\n"]}}', "control character in a text"),
        ('{"fleets": {"a": ["x@\\ud800"]}}', "half of a surrogate pair"),
        ('// fleets\n{"fleets": {"a": []}}', "1:1: expected a value"),
    ],
)
def test_invalid_json_is_refused_with_its_place(text: str, problem: str, refused: conftest.Refused) -> None:
    assert problem in "\n".join(refused("a.json", text))


@pytest.mark.parametrize("text", ["10042", "1.16E+20", "-0", "12345678901234567890123", "true", "false", "1.10"])
def test_numbers_and_booleans_keep_their_text(text: str, read: conftest.Read) -> None:
    assert read("a.json", f'{{"fleets": {{"a": [{{"driver": "x@y", "note": {text}}}]}}}}').rows[0].note == text


VALUES = strategies.recursive(
    strategies.one_of(strategies.none(), strategies.text(max_size=5)),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=3), inner),
    max_leaves=10,
)


@hypothesis.given(VALUES, strategies.booleans(), strategies.sampled_from([None, 0, 2]))
def test_every_valid_document_means_what_the_standard_library_reads(
    data: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
    assert json_format.parse(text).data == data


@hypothesis.given(strategies.text('[]{},:"\\ \n0123456789.eE+-truefalsn', max_size=12))
def test_what_the_standard_library_refuses_is_refused(text: str) -> None:
    try:
        expected = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        with pytest.raises(positions.Malformed):
            json_format.parse(text)
    else:
        found = json_format.parse(text).data
        assert isinstance(expected, bool) or type(found) is type(expected)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
